//! `scan`: a loop of the compiled program.
//!
//! The body is evaluated once, on nodes that stand for the carried values and for the elements of
//! one step. What a step carries on are the `var`s that the body assigns: tensors, which keep element
//! type and shape, and lists and tuples of such, which keep their form.

use std::collections::BTreeSet;
use std::rc::Rc;

use cygnet_compiler::graph::{Emit, Graph, NodeId, ScanBuilder};
use cygnet_compiler::op::Iota;
use cygnet_compiler::types::{DType, Shape};
use cygnet_runtime::program::MAX_LOOP_DEPTH;

use super::{Eval, Evaluator, Number, Stop, Yields};
use crate::diagnostic::Diagnostic;
use crate::language::scope::{BindingKind, Scope};
use crate::language::size::Size;
use crate::language::value::{Axis, Given, Tensor, Value};
use crate::source::Span;
use crate::syntax::ast::{Block, Expr, ExprKind, Generator, Loop, Pattern, Statement};

/// What one generator of a `scan` runs over.
struct Source<'p> {
    generator: &'p Generator,
    /// Number of steps.
    length: Size,
    /// The elements of all steps along the first axis.
    stacked: Tensor,
    /// The place that the axis had.
    place: usize,
}

/// A `var` that the body assigns.
struct Carry<'p> {
    name: &'p str,
    /// Where the `var` is bound.
    bound: Span,
    /// Where the body assigns it.
    assigned: Span,
    /// Its value before the first step.
    initial: Parts,
}

/// The tensors that a `var` consists of.
enum Parts {
    One(Tensor),
    /// A list, or a tuple.
    Many {
        parts: Vec<Parts>,
        is_list: bool,
    },
}

impl Parts {
    /// All tensors, in order.
    fn tensors(&self) -> Vec<&Tensor> {
        match self {
            Parts::One(tensor) => vec![tensor],
            Parts::Many { parts, .. } => parts.iter().flat_map(Parts::tensors).collect(),
        }
    }

    /// The value that is made of other tensors in the same way.
    fn with<'p>(&self, tensors: &mut impl Iterator<Item = Tensor>) -> Value<'p> {
        match self {
            Parts::One(_) => tensors.next().map_or(Value::Unknown, Value::Tensor),
            Parts::Many { parts, is_list } => {
                let parts = parts.iter().map(|part| part.with(tensors)).collect();
                if *is_list { Value::List(parts) } else { Value::Tuple(parts) }
            }
        }
    }
}

impl<'p> Evaluator<'p> {
    /// `scan`: gives what the steps yield, stacked, or nothing.
    pub fn scan(&mut self, the_loop: &'p Loop, scope: &Rc<Scope<'p>>) -> Eval<Value<'p>> {
        self.loops += 1;
        let value = self.scan_inside(the_loop, scope);
        self.loops -= 1;
        if value.is_err() {
            self.assigned_in_block(&the_loop.body, scope);
        }
        value
    }

    fn scan_inside(&mut self, the_loop: &'p Loop, scope: &Rc<Scope<'p>>) -> Eval<Value<'p>> {
        if self.loops > MAX_LOOP_DEPTH {
            return Err(self.report(
                Diagnostic::error("deep-loop", "loops stand too deep inside each other")
                    .primary(the_loop.span, format!("{} loops", self.loops))
                    .help(format!("at most {MAX_LOOP_DEPTH}; unroll a short one with `for`")),
            ));
        }
        let sources = self.sources(the_loop, scope)?;
        let carries = self.carries(the_loop, scope)?;
        let length = sources[0].length.as_constant().and_then(|n| n.try_into().ok()).unwrap_or(0);

        let mut builder = self.graph.as_ref().map(|graph| ScanBuilder::begin(graph, length, false));
        for carry in &carries {
            let tensors = carry.initial.tensors().into_iter().cloned().enumerate();
            let inside: Vec<Tensor> = tensors
                .map(|(number, tensor)| {
                    let name = match &carry.initial {
                        Parts::One(_) => carry.name.to_owned(),
                        Parts::Many { .. } => format!("{}.{number}", carry.name),
                    };
                    self.stand_in(tensor, |graph, node| {
                        Some(builder.as_mut()?.carry(graph, &name, node))
                    })
                })
                .collect();
            scope.assign(carry.name, carry.initial.with(&mut inside.into_iter()));
        }
        let inner = Scope::inside(scope);
        for source in &sources {
            self.bind_elements(source, &mut builder, &inner);
        }
        self.yields.push(Yields::default());
        let body = self.block_in(&the_loop.body, &inner);
        let yielded = self.yields.pop().unwrap_or_default().values;
        body?;
        if let Some(until) = &the_loop.until {
            let end = self.end(until, &inner)?;
            if let Some((builder, node)) = builder.as_mut().zip(end.node) {
                builder.until(node);
            }
        }

        let mut next = Vec::new();
        for carry in &carries {
            let value = scope.lookup(carry.name).map_or(Value::Unknown, |known| known.value);
            self.carried(carry, carry.name, (&carry.initial, &value), &mut next)?;
        }
        let yields = self.yielded(the_loop, &yielded)?;
        let axis = self.stacked_axis(the_loop, &sources[0], scope);
        self.finish_scan(builder, scope, &carries, next, &yields, &sources[0], axis)
    }

    /// What the generators run over; all have the same length.
    fn sources(&mut self, the_loop: &'p Loop, scope: &Rc<Scope<'p>>) -> Eval<Vec<Source<'p>>> {
        let mut sources: Vec<Source<'p>> = Vec::new();
        for generator in &the_loop.generators {
            let source = self.source(generator, the_loop, scope)?;
            if let Some(first) = sources.first() {
                let (length, other) = (first.length.clone(), source.length.clone());
                let span = first.generator.span;
                if !self.sizes_agree(&length, &other) {
                    return Err(self.report(
                        Diagnostic::error(
                            "loop-lengths",
                            "what a `scan` runs over side by side has different lengths",
                        )
                        .primary(generator.span, format!("{other} elements"))
                        .secondary(span, format!("{length} elements"))
                        .help("give both as many elements"),
                    ));
                }
            }
            sources.push(source);
        }
        Ok(sources)
    }

    fn source(
        &mut self,
        generator: &'p Generator,
        the_loop: &'p Loop,
        scope: &Rc<Scope<'p>>,
    ) -> Eval<Source<'p>> {
        let span = generator.source.span;
        match self.expr(&generator.source, scope)? {
            Value::Range(start, end) => {
                let length = end.subtract(&start);
                let axis = Axis { id: self.axes.unnamed(), size: length.clone() };
                let mut stacked = self.iota(DType::I32, vec![axis]);
                let first = start.as_constant().unwrap_or(0);
                if first != 0 {
                    stacked.node = self.emit([&stacked], |graph, [node]| {
                        let first = graph.constant_like(node, first as f64);
                        graph.add(node, first)
                    });
                }
                Ok(Source { generator, length, stacked, place: 0 })
            }
            Value::Tensor(tensor) => {
                let Some(along) = &the_loop.along else {
                    let shown = self.show(&tensor);
                    return Err(self.report(
                        Diagnostic::error("scan-along", "a `scan` over a tensor needs an axis")
                            .primary(span, format!("this is {shown}"))
                            .help("name the axis: `scan x_t in x along t`"),
                    ));
                };
                let place = self.axis_place(&tensor, along, scope)?;
                let length = tensor.axes[place].size.clone();
                let order: Vec<usize> = std::iter::once(place)
                    .chain((0..tensor.axes.len()).filter(|&axis| axis != place))
                    .collect();
                let node = self.emit([&tensor], |graph, [node]| graph.permute(node, &order));
                let axes = order.iter().map(|&axis| tensor.axes[axis].clone()).collect();
                let stacked = Tensor { dtype: tensor.dtype, axes, node };
                Ok(Source { generator, length, stacked, place })
            }
            other => {
                Err(self.unfit(&other, span, "what a `scan` runs over", "a tensor or a range"))
            }
        }
    }

    /// The `var`s outside that the body assigns, with their values as tensors.
    fn carries(&mut self, the_loop: &'p Loop, scope: &Rc<Scope<'p>>) -> Eval<Vec<Carry<'p>>> {
        let mut known = BTreeSet::new();
        let mut carries = Vec::new();
        for (name, assigned) in assignments(&the_loop.body) {
            let Some(binding) = scope.lookup(name) else { continue };
            if binding.kind != BindingKind::Variable || !known.insert(name) {
                continue;
            }
            let what = format!("`{name}`, which the `scan` carries,");
            let initial = self.parts_of(&binding.value, binding.span, &what)?;
            carries.push(Carry { name, bound: binding.span, assigned, initial });
        }
        Ok(carries)
    }

    /// The tensors that a value consists of.
    fn parts_of(&mut self, value: &Value<'p>, span: Span, what: &str) -> Eval<Parts> {
        let tensor = match (value, Number::of(value)) {
            (Value::Tensor(tensor), _) => tensor.clone(),
            (Value::List(parts) | Value::Tuple(parts), _) => {
                let parts = parts.iter().map(|part| self.parts_of(part, span, what));
                let parts = parts.collect::<Eval<_>>()?;
                return Ok(Parts::Many { parts, is_list: matches!(value, Value::List(_)) });
            }
            (Value::Bool(value), _) => self.constant_tensor(DType::Bool, f64::from(*value)),
            (Value::Scalar(_), _) => self.expect_tensor(value, span, what)?,
            (Value::Int(_), Some(number)) => self.spread(&number, DType::I32, &[], span)?,
            (_, Some(number)) => self.spread(&number, DType::F32, &[], span)?,
            (other, None) => {
                return Err(self.unfit(other, span, what, "a tensor or a list of tensors"));
            }
        };
        Ok(Parts::One(tensor))
    }

    fn constant_tensor(&mut self, dtype: DType, value: f64) -> Tensor {
        let node = self.emit_nodes([], |graph, []| graph.constant(dtype, &[], value));
        Tensor { dtype, axes: Vec::new(), node }
    }

    /// The same tensor as it is inside the loop.
    fn stand_in(
        &mut self,
        tensor: Tensor,
        build: impl FnOnce(&mut Graph, NodeId) -> Option<NodeId>,
    ) -> Tensor {
        let node =
            tensor.node.zip(self.graph.as_mut()).and_then(|(node, graph)| build(graph, node));
        Tensor { node, ..tensor }
    }

    /// Binds the names of a generator to the element of the step, and counters to its number.
    fn bind_elements(
        &mut self,
        source: &Source<'p>,
        builder: &mut Option<ScanBuilder>,
        scope: &Rc<Scope<'p>>,
    ) {
        let Some((pattern, counters)) = source.generator.patterns.split_last() else { return };
        let span = source.generator.source.span;
        for counter in counters {
            let axis = Axis { id: self.axes.unnamed(), size: source.length.clone() };
            let positions = {
                let shape = Shape::from_slice(&Evaluator::extents(std::slice::from_ref(&axis)));
                // Inside the loop's body: it depends on no step and is moved out.
                let node = self.emit_nodes([], |graph, []| {
                    graph.emit(Iota { axis: 0, dtype: DType::I32, shape }.into(), &[])
                });
                Tensor { dtype: DType::I32, axes: vec![axis], node }
            };
            let element = self.element(&positions, counter, builder);
            self.bind_pattern(counter, Given { value: element, span }, false, scope);
        }
        let element = self.element(&source.stacked, pattern, builder);
        self.bind_pattern(pattern, Given { value: element, span }, false, scope);
    }

    fn element(
        &mut self,
        stacked: &Tensor,
        pattern: &'p Pattern,
        builder: &mut Option<ScanBuilder>,
    ) -> Value<'p> {
        let name = match pattern {
            Pattern::Name(name) => &name.name,
            Pattern::Ignore(_) | Pattern::Tuple(..) => "element",
        };
        let tensor = self.stand_in(stacked.clone(), |graph, node| {
            Some(builder.as_mut()?.element(graph, name, node))
        });
        Value::Tensor(Tensor { axes: stacked.axes[1..].to_vec(), ..tensor })
    }

    /// The new values of the tensors of a carry, or of the part of it that is called `name`.
    fn carried(
        &mut self,
        carry: &Carry<'p>,
        name: &str,
        (old, value): (&Parts, &Value<'p>),
        next: &mut Vec<Tensor>,
    ) -> Eval<()> {
        match (old, value) {
            (Parts::One(old), value) => next.push(self.carried_tensor(carry, name, old, value)?),
            (Parts::Many { parts, .. }, Value::List(values) | Value::Tuple(values))
                if parts.len() == values.len() =>
            {
                for (place, part) in parts.iter().zip(values.iter()).enumerate() {
                    self.carried(carry, &format!("{name}[{place}]"), part, next)?;
                }
            }
            (Parts::Many { parts, .. }, Value::List(values) | Value::Tuple(values)) => {
                let count = |count: usize| match count {
                    1 => "1 part".to_owned(),
                    count => format!("{count} parts"),
                };
                let (before, after) = (count(parts.len()), count(values.len()));
                return Err(self.carry_differs(carry, name, "has", [&before, &after]));
            }
            (Parts::Many { .. }, other) => {
                let what = format!("the new value of `{name}`");
                return Err(self.unfit(other, carry.assigned, &what, "a list, as it was before"));
            }
        }
        Ok(())
    }

    /// The new value of a tensor that is carried, with its axes in their order.
    fn carried_tensor(
        &mut self,
        carry: &Carry<'p>,
        name: &str,
        old: &Tensor,
        value: &Value<'p>,
    ) -> Eval<Tensor> {
        let what = format!("the new value of `{name}`");
        let new = match (value, Number::of(value)) {
            (Value::Tensor(tensor), _) => tensor.clone(),
            (_, Some(number)) => self.spread(&number, old.dtype, &old.axes, carry.assigned)?,
            (other, None) => return Err(self.unfit(other, carry.assigned, &what, "a tensor")),
        };
        let places = (new.dtype == old.dtype && new.axes.len() == old.axes.len())
            .then(|| self.places(&old.axes, &new.axes))
            .flatten();
        let agree = places.as_ref().is_some_and(|places| {
            let mut pairs = new.axes.iter().zip(places);
            pairs.all(|(axis, &place)| self.sizes_agree(&old.axes[place].size, &axis.size))
        });
        match places.filter(|_| agree) {
            Some(places) => Ok(self.repeat(&new, &old.axes, &places)),
            None => {
                let (before, after) = (self.show(old), self.show(&new));
                Err(self.carry_differs(carry, name, "is", [&before, &after]))
            }
        }
    }

    /// Reports that a step changes the form of what it carries.
    fn carry_differs(
        &mut self,
        carry: &Carry<'p>,
        name: &str,
        is: &str,
        [before, after]: [&str; 2],
    ) -> Stop {
        let then = if is == "is" { "becomes" } else { "gets" };
        self.report(
            Diagnostic::error(
                "scan-carry",
                format!("`{name}` {is} {before} before a step and {after} after it"),
            )
            .primary(carry.assigned, format!("here it {then} {after}"))
            .secondary(carry.bound, format!("before the loop it {is} {before}"))
            .note("all steps of a `scan` run the same code")
            .help("keep element type and shape, or unroll the loop with `for`"),
        )
    }

    /// The condition behind `until`, looked at after each step.
    fn end(&mut self, until: &'p Expr, scope: &Rc<Scope<'p>>) -> Eval<Tensor> {
        let value = self.expr(until, scope)?;
        let tensor = match &value {
            Value::Bool(value) => self.constant_tensor(DType::Bool, f64::from(*value)),
            value => self.expect_tensor(value, until.span, "the condition of `until`")?,
        };
        if tensor.dtype == DType::Bool && tensor.axes.is_empty() {
            return Ok(tensor);
        }
        let shown = self.show(&tensor);
        Err(self.report(
            Diagnostic::error("scan-until", "the condition of `until` must be a single `bool`")
                .primary(until.span, format!("this is {shown}"))
                .help("all samples take the same steps: `until all(done)`"),
        ))
    }

    /// The tensors that a step yields.
    fn yielded(&mut self, the_loop: &'p Loop, yielded: &[Value<'p>]) -> Eval<Vec<Tensor>> {
        let value = match yielded {
            [] => return Ok(Vec::new()),
            [value] => value,
            _ => {
                return Err(self.report(
                    Diagnostic::error("scan-yields", "a step of a `scan` yields more than once")
                        .primary(the_loop.span, format!("{} times", yielded.len()))
                        .help("yield a tuple: `yield (a, b)`"),
                ));
            }
        };
        let span = the_loop.span;
        match value {
            Value::Tuple(parts) => {
                parts.iter().map(|part| self.expect_tensor(part, span, "what is yielded")).collect()
            }
            value => Ok(vec![self.expect_tensor(value, span, "what is yielded")?]),
        }
    }

    /// The axis along which results are stacked: that of the tensor that the loop runs along, or
    /// one called as `along` says.
    fn stacked_axis(
        &mut self,
        the_loop: &'p Loop,
        first: &Source<'p>,
        scope: &Rc<Scope<'p>>,
    ) -> Axis {
        let axis = first.stacked.axes[0].clone();
        if self.axes.name(axis.id).is_some() {
            return axis;
        }
        let Some(along) = &the_loop.along else { return axis };
        let id = match self.lookup_dim(&along.name, scope) {
            Some(Value::Int(int)) => int.axis,
            _ => None,
        };
        let id = id.unwrap_or_else(|| self.axes.named(&along.name));
        Axis { id, size: axis.size }
    }

    /// Closes the loop: variables get the values after the last step.
    #[expect(clippy::too_many_arguments, reason = "the parts of one loop")]
    fn finish_scan(
        &mut self,
        builder: Option<ScanBuilder>,
        scope: &Rc<Scope<'p>>,
        carries: &[Carry<'p>],
        next: Vec<Tensor>,
        yields: &[Tensor],
        first: &Source<'p>,
        axis: Axis,
    ) -> Eval<Value<'p>> {
        let nodes = |tensors: &[Tensor]| tensors.iter().map(|t| t.node).collect::<Option<Vec<_>>>();
        let finished = match (builder, nodes(&next), nodes(yields)) {
            (Some(builder), Some(next), Some(yields)) => {
                let origin = self.current_origin();
                self.graph.as_mut().map(|graph| {
                    graph.set_origin(origin);
                    builder.finish(graph, &next, &yields)
                })
            }
            _ => None,
        };
        let mut next = next.into_iter().enumerate();
        for carry in carries {
            let old = carry.initial.tensors().into_iter();
            let tensors: Vec<Tensor> = (old.zip(&mut next))
                .map(|(old, (number, tensor))| {
                    let node = finished.as_ref().map(|nodes| nodes.carries[number]);
                    Tensor { axes: old.axes.clone(), node, ..tensor }
                })
                .collect();
            scope.assign(carry.name, carry.initial.with(&mut tensors.into_iter()));
        }
        let mut results = yields.iter().enumerate().map(|(number, tensor)| {
            let node = finished.as_ref().map(|nodes| nodes.yields[number]);
            Value::Tensor(self.stacked(tensor, node, first.place, axis.clone()))
        });
        match yields {
            [] => Ok(Value::Unit),
            [_] => Ok(results.next().unwrap_or(Value::Unit)),
            _ => Ok(Value::Tuple(results.collect())),
        }
    }

    /// What the steps yielded, stacked: the axis stands where it stood in what the loop runs over.
    fn stacked(
        &mut self,
        element: &Tensor,
        node: Option<NodeId>,
        place: usize,
        mut axis: Axis,
    ) -> Tensor {
        let place = place.min(element.axes.len());
        if element.axes.iter().any(|other| other.id == axis.id) {
            // The elements have this axis already: what they are stacked along is another one.
            axis.id = self.axes.unnamed();
        }
        let mut axes = element.axes.clone();
        axes.insert(place, axis);
        let mut order: Vec<usize> = (1..axes.len()).collect();
        order.insert(place, 0);
        let node = self.emit_nodes([node], |graph, [node]| graph.permute(node, &order));
        Tensor { dtype: element.dtype, axes, node }
    }
}

/// The names that a block assigns, and where, inner blocks included.
fn assignments(block: &Block) -> Vec<(&str, Span)> {
    fn own<'a>(block: &'a Block, names: &mut Vec<(&'a str, Span)>) {
        for statement in &block.statements {
            if let Statement::Assignment(assignment) = statement {
                names.push((&assignment.name.name, assignment.value.span));
            }
        }
    }
    let mut names = Vec::new();
    own(block, &mut names);
    block.each(&mut |expr| match &expr.kind {
        ExprKind::Block(block) => own(block, &mut names),
        ExprKind::If { then, .. } => own(then, &mut names),
        ExprKind::Loop(inner) => own(&inner.body, &mut names),
        _ => {}
    });
    names
}
