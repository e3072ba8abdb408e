//! Indexing: elements and slices of tensors, elements of lists, and fills (`zeros[n, d]`).

use std::rc::Rc;

use cygnet_compiler::graph::Emit;
use cygnet_compiler::op::Slice;
use cygnet_compiler::types::{Axes, DType};

use super::{Eval, Evaluator, Stop};
use crate::diagnostic::Diagnostic;
use crate::language::scope::Scope;
use crate::language::size::Size;
use crate::language::value::{Axis, AxisId, Given, Int, Tensor, Value};
use crate::source::Span;
use crate::syntax::ast::{self, AxisValue, Expr, ExprKind};

/// What is taken of one axis.
enum Pick {
    /// All of it.
    All,
    /// One element; the axis disappears.
    Element(Size),
    /// Elements from the first up to the second, at this distance.
    Part(Size, Size, usize),
}

/// What an index says about one axis.
enum Entry {
    /// Elements at places that are known when the program is compiled.
    Fixed(Pick),
    /// Elements at the places that a tensor holds.
    Tensor(Tensor, Span),
}

impl<'p> Evaluator<'p> {
    /// `base[shape]`.
    pub fn index(
        &mut self,
        base: Given<'p>,
        shape: &'p ast::Shape,
        scope: &Rc<Scope<'p>>,
    ) -> Eval<Value<'p>> {
        match &base.value {
            Value::Tensor(tensor) => self.index_tensor(tensor, shape, scope).map(Value::Tensor),
            Value::Builtin(builtin) if builtin.is_count() => self.count(shape, scope),
            Value::Initializer(_) | Value::Builtin(_) => {
                let what = "what is filled in";
                let initializer = self.expect_initializer(&base.value, base.span, what)?;
                let axes = self.axes_of_shape(shape, scope)?;
                self.draw(initializer, DType::F32, axes).map(Value::Tensor)
            }
            Value::List(parts) | Value::Tuple(parts) => {
                let [ast::Axis { name: None, value: AxisValue::Expr(expr), .. }] =
                    shape.axes.as_slice()
                else {
                    return Err(self.report(
                        Diagnostic::error("list-index", "a list has one index, a whole number")
                            .primary(shape.span, "not one whole number")
                            .help("write `list[0]`"),
                    ));
                };
                let value = self.expr(expr, scope)?;
                let index = self.expect_integer(&value, expr.span, "the index of a list")?;
                let length = parts.len() as i64;
                let place = if index < 0 { index + length } else { index };
                let part = usize::try_from(place).ok().and_then(|place| parts.get(place));
                part.cloned().ok_or_else(|| {
                    self.report(
                        Diagnostic::error(
                            "index-range",
                            format!("a list of {length} has no element {index}"),
                        )
                        .primary(expr.span, format!("this is {index}"))
                        .help("elements are counted from 0; negative ones from the end"),
                    )
                })
            }
            Value::Unknown => Err(Stop),
            other => {
                let found = self.describe(other);
                Err(self.report(
                    Diagnostic::error("not-indexable", format!("{found} has no elements"))
                        .primary(base.span, format!("this is {found}"))
                        .help("tensors and lists have elements; `zeros[n, d]` fills a shape"),
                ))
            }
        }
    }

    /// `arange[t]`: the positions along an axis, as `i32`.
    fn count(&mut self, shape: &'p ast::Shape, scope: &Rc<Scope<'p>>) -> Eval<Value<'p>> {
        let axes = self.axes_of_shape(shape, scope)?;
        if axes.len() != 1 {
            return Err(self.report(
                Diagnostic::error("count-axes", "`arange` counts along one axis")
                    .primary(shape.span, format!("{} axes", axes.len()))
                    .help("repeat the count with `as`: `arange[t] as [t] -> [n, t]`"),
            ));
        }
        Ok(Value::Tensor(self.iota(DType::I32, axes)))
    }

    fn index_tensor(
        &mut self,
        tensor: &Tensor,
        shape: &'p ast::Shape,
        scope: &Rc<Scope<'p>>,
    ) -> Eval<Tensor> {
        let mut picks: Vec<Pick> = tensor.axes.iter().map(|_| Pick::All).collect();
        let mut gathered: Vec<(AxisId, Tensor, Span)> = Vec::new();
        let mut taken: Vec<Option<Span>> = vec![None; picks.len()];
        let unnamed = shape.axes.iter().filter(|entry| entry.name.is_none()).count();
        let open = shape.axes.iter().any(|entry| matches!(entry.value, AxisValue::Ellipsis));
        let mut position = 0;
        for entry in &shape.axes {
            let place = match (&entry.name, &entry.value) {
                (_, AxisValue::Ellipsis) => {
                    position = (tensor.axes.len() + 1 + position).saturating_sub(unnamed);
                    continue;
                }
                (Some(name), _) => self.axis_place(tensor, name, scope)?,
                (None, _) => {
                    position += 1;
                    position - 1
                }
            };
            let AxisValue::Expr(expr) = &entry.value else { continue };
            if place >= picks.len() || (open && unnamed - 1 > picks.len()) {
                let shown = self.show(tensor);
                return Err(self.report(
                    Diagnostic::error("too-many-indices", format!("{shown} has no such axis"))
                        .primary(entry.span, "one index too many")
                        .help("give one index per axis, or name the axis: `x[t: 0]`"),
                ));
            }
            if let Some(before) = taken[place] {
                return Err(self.report(
                    Diagnostic::error("repeated-axis", "an axis is indexed twice")
                        .primary(entry.span, "again here")
                        .secondary(before, "first here")
                        .help("indices without a name go to the axes in order"),
                ));
            }
            taken[place] = Some(entry.span);
            match self.entry(expr, &tensor.axes[place], scope)? {
                Entry::Fixed(pick) => picks[place] = pick,
                Entry::Tensor(indices, span) => {
                    gathered.push((tensor.axes[place].id, indices, span));
                }
            }
        }
        let mut result = self.take(tensor, &picks);
        for (id, indices, span) in gathered {
            let place = result.axes.iter().position(|axis| axis.id == id).ok_or(Stop)?;
            result = self.gather(&result, place, &indices, (shape.span, span))?;
        }
        Ok(result)
    }

    /// The place of the axis called `name`.
    pub(super) fn axis_place(
        &mut self,
        tensor: &Tensor,
        name: &'p ast::Ident,
        scope: &Rc<Scope<'p>>,
    ) -> Eval<usize> {
        let id = match self.lookup_dim(&name.name, scope) {
            Some(Value::Int(Int { axis, .. })) => axis,
            _ => None,
        };
        let by_identity = tensor.axes.iter().position(|axis| Some(axis.id) == id);
        let by_name = || {
            let called = Some(name.name.as_str());
            tensor.axes.iter().position(|axis| self.axes.name(axis.id) == called)
        };
        let place = by_identity.or_else(by_name);
        place.ok_or_else(|| {
            let shown = self.show(tensor);
            self.report(
                Diagnostic::error("no-such-axis", format!("{shown} has no axis `{}`", name.name))
                    .primary(name.span, "not an axis of it")
                    .help("index by position, or name the axes with `as` first"),
            )
        })
    }

    fn entry(&mut self, expr: &'p Expr, axis: &Axis, scope: &Rc<Scope<'p>>) -> Eval<Entry> {
        let ExprKind::Range { start, end, step } = &expr.kind else {
            let value = self.expr(expr, scope)?;
            if let Value::Tensor(indices) = value {
                return Ok(Entry::Tensor(indices, expr.span));
            }
            let index = self.expect_size(&value, expr.span, "an index")?;
            let index = Self::counted_from_end(&index, axis);
            self.check_bound(&index, &axis.size.subtract(&Size::constant(1)), axis, expr.span)?;
            return Ok(Entry::Fixed(Pick::Element(index)));
        };
        let start = match start {
            Some(start) => self.bound(start, axis, scope)?,
            None => Size::constant(0),
        };
        let end = match end {
            Some(end) => self.bound(end, axis, scope)?,
            None => axis.size.clone(),
        };
        if Self::compare_sizes(&start, &end, |ordering| ordering.is_ge()) == Some(true) {
            return Err(self.report(
                Diagnostic::error("empty-slice", format!("the slice {start}..{end} is empty"))
                    .primary(expr.span, "no elements")
                    .help("the end is the first element that is not taken"),
            ));
        }
        let step = match step {
            Some(step) => self.step(step, scope)?,
            None => 1,
        };
        Ok(Entry::Fixed(Pick::Part(start, end, step)))
    }

    /// The distance between elements of a slice.
    fn step(&mut self, expr: &'p Expr, scope: &Rc<Scope<'p>>) -> Eval<usize> {
        let value = self.expr(expr, scope)?;
        let step = self.expect_integer(&value, expr.span, "the step of a slice")?;
        usize::try_from(step).ok().filter(|&step| step > 0).ok_or_else(|| {
            self.report(
                Diagnostic::error("slice-step", format!("a slice cannot have the step {step}"))
                    .primary(expr.span, format!("this is {step}"))
                    .help("a step is at least 1; `reverse(x, along: t)` turns an axis around"),
            )
        })
    }

    fn bound(&mut self, expr: &'p Expr, axis: &Axis, scope: &Rc<Scope<'p>>) -> Eval<Size> {
        let value = self.expr(expr, scope)?;
        let bound = self.expect_size(&value, expr.span, "the end of a slice")?;
        let bound = Self::counted_from_end(&bound, axis);
        self.check_bound(&bound, &axis.size, axis, expr.span)?;
        Ok(bound)
    }

    /// A negative index counts from the end.
    fn counted_from_end(index: &Size, axis: &Axis) -> Size {
        match index.as_constant() {
            Some(number) if number < 0 => axis.size.add(index),
            _ => index.clone(),
        }
    }

    fn check_bound(&mut self, index: &Size, last: &Size, axis: &Axis, span: Span) -> Eval<()> {
        let negative = index.as_constant().is_some_and(|index| index < 0);
        let beyond = Self::compare_sizes(index, last, |ordering| ordering.is_gt()) == Some(true);
        if !negative && !beyond {
            return Ok(());
        }
        let shown = self.show_axis(axis);
        Err(self.report(
            Diagnostic::error("index-range", format!("{index} lies outside the axis `{shown}`"))
                .primary(span, format!("the axis has the size {}", axis.size))
                .help("elements are counted from 0; negative ones from the end"),
        ))
    }

    fn take(&mut self, tensor: &Tensor, picks: &[Pick]) -> Tensor {
        let one = Size::constant(1);
        let bounds: Vec<(Size, Size)> = tensor
            .axes
            .iter()
            .zip(picks)
            .map(|(axis, pick)| match pick {
                Pick::All => (Size::constant(0), axis.size.clone()),
                Pick::Element(index) => (index.clone(), index.add(&one)),
                Pick::Part(start, end, _) => (start.clone(), end.clone()),
            })
            .collect();
        let mut axes = Vec::new();
        for ((axis, pick), (start, end)) in tensor.axes.iter().zip(picks).zip(&bounds) {
            let step = match pick {
                Pick::Element(_) => continue,
                Pick::All => 1,
                Pick::Part(.., step) => *step as i64,
            };
            // The quotient by the step, rounded up.
            let reach = end.subtract(start).add(&Size::constant(step - 1));
            let size = reach.floor_divide(&Size::constant(step)).unwrap_or(reach);
            axes.push(Axis { id: axis.id, size });
        }
        let numbers = |sizes: &mut dyn Iterator<Item = &Size>| -> Axes {
            sizes.map(|size| size.as_constant().unwrap_or(0).max(0) as usize).collect()
        };
        let start = numbers(&mut bounds.iter().map(|(start, _)| start));
        let stop = numbers(&mut bounds.iter().map(|(_, stop)| stop));
        let whole = picks.iter().all(|pick| matches!(pick, Pick::All));
        let shape = Evaluator::extents(&axes);
        let node = self.emit([tensor], |graph, [node]| {
            if whole {
                return node;
            }
            let step = picks.iter().map(|pick| match pick {
                Pick::Part(.., step) => *step,
                _ => 1,
            });
            let step = step.collect();
            let slice = graph.emit(Slice { start, stop, step }.into(), &[node]);
            graph.reshape(slice, &shape)
        });
        Tensor { dtype: tensor.dtype, axes, node }
    }
}
