//! Initializers, fills and random draws.

use cygnet_compiler::graph::Emit;
use cygnet_compiler::op::{Iota, Random, RandomKind};
use cygnet_compiler::types::{DType, Shape};

use super::{Builtin, Call, Entry, Kind};
use crate::diagnostic::Diagnostic;
use crate::language::evaluate::{Eval, Evaluator, Number};
use crate::language::initializer::{Initializer, stream_number};
use crate::language::value::{Axis, Tensor, Value};
use crate::source::Span;

/// The theme's entries.
pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        name: "zeros",
        parameters: &[],
        doc: "0 everywhere: an initializer, and with brackets a tensor",
        run: |_, _| Ok(constant(Some(0.0))),
    },
    Entry {
        name: "ones",
        parameters: &[],
        doc: "1 everywhere",
        run: |_, _| Ok(constant(Some(1.0))),
    },
    Entry {
        name: "full",
        parameters: &[("value", Kind::Required)],
        doc: "`value` everywhere",
        run: |evaluator, call| Ok(constant(float(evaluator, call, 0, 0.0)?)),
    },
    Entry {
        name: "uniform",
        parameters: &[("low", Kind::Optional), ("high", Kind::Optional)],
        doc: "independent and uniform in [low, high), by default [0, 1)",
        run: |evaluator, call| {
            let low = float(evaluator, call, 0, 0.0)?;
            let high = float(evaluator, call, 1, 1.0)?;
            let both = low.zip(high);
            Ok(Value::Initializer(both.map(|(low, high)| Initializer::Uniform { low, high })))
        },
    },
    Entry {
        name: "normal",
        parameters: &[("mean", Kind::Optional), ("std", Kind::Optional)],
        doc: "independent and normal, by default with mean 0 and standard deviation 1",
        run: |evaluator, call| {
            let mean = float(evaluator, call, 0, 0.0)?;
            let std = float(evaluator, call, 1, 1.0)?;
            let both = mean.zip(std);
            Ok(Value::Initializer(both.map(|(mean, std)| Initializer::Normal { mean, std })))
        },
    },
    Entry {
        name: "uniform_fan",
        parameters: &[("fan", Kind::Required)],
        doc: "uniform in [-1/sqrt(fan), 1/sqrt(fan)): PyTorch's default for linear layers",
        run: |evaluator, call| {
            let bound = float(evaluator, call, 0, 1.0)?.map(|fan| 1.0 / fan.sqrt());
            Ok(Value::Initializer(
                bound.map(|bound| Initializer::Uniform { low: -bound, high: bound }),
            ))
        },
    },
    Entry {
        name: "he",
        parameters: &[("fan", Kind::Required)],
        doc: "normal with mean 0 and standard deviation sqrt(2/fan) (He et al. 2015)",
        run: |evaluator, call| {
            let std = float(evaluator, call, 0, 1.0)?.map(|fan| (2.0 / fan).sqrt());
            Ok(Value::Initializer(std.map(|std| Initializer::Normal { mean: 0.0, std })))
        },
    },
    Entry {
        name: "xavier",
        parameters: &[("fan_in", Kind::Required), ("fan_out", Kind::Required)],
        doc: "uniform in ±sqrt(6/(fan_in + fan_out)) (Glorot & Bengio 2010)",
        run: |evaluator, call| {
            let fan_in = float(evaluator, call, 0, 1.0)?;
            let fan_out = float(evaluator, call, 1, 1.0)?;
            let bound = fan_in.zip(fan_out).map(|(a, b)| (6.0 / (a + b)).sqrt());
            Ok(Value::Initializer(
                bound.map(|bound| Initializer::Uniform { low: -bound, high: bound }),
            ))
        },
    },
    Entry {
        name: "arange",
        parameters: &[("size", Kind::Optional)],
        doc: "with brackets, the positions 0, 1, ... along an axis, as i32",
        run: |evaluator, call| {
            Err(evaluator.report(
                Diagnostic::error("arange-call", "`arange` takes brackets")
                    .primary(call.span, "a call")
                    .help("write `arange[t]` or `arange[10]`"),
            ))
        },
    },
];

fn constant<'p>(value: Option<f64>) -> Value<'p> {
    Value::Initializer(value.map(|value| Initializer::Constant { value }))
}

/// A static float argument, with its default; `None` if it is not known yet.
fn float<'p>(
    evaluator: &mut Evaluator<'p>,
    call: &Call<'p>,
    index: usize,
    default: f64,
) -> Eval<Option<f64>> {
    match call.get(index) {
        Some(given) => {
            let what = format!("an argument of `{}`", call.name);
            evaluator.expect_float(&given.value, given.span, &what)
        }
        None => Ok(Some(default)),
    }
}

impl<'p> Evaluator<'p> {
    /// A value as an initializer: `zeros`, `normal(std: 0.02)`, a number.
    pub fn expect_initializer(
        &mut self,
        value: &Value<'p>,
        span: Span,
        what: &str,
    ) -> Eval<Option<Initializer>> {
        match value {
            Value::Initializer(initializer) => Ok(*initializer),
            Value::Builtin(Builtin::Entry(entry)) => {
                let call = Call { rest: Vec::new(), given: Vec::new(), span, name: entry.name };
                let complete = entry.parameters.iter().all(|(_, kind)| *kind == Kind::Optional);
                match (entry.run)(self, &call) {
                    Ok(Value::Initializer(initializer)) if complete => Ok(initializer),
                    _ => Err(self.unfit(value, span, what, "an initializer or a number")),
                }
            }
            value if Number::of(value).is_some() => {
                let number = self.expect_float(value, span, what)?;
                Ok(number.map(|value| Initializer::Constant { value }))
            }
            value => Err(self.unfit(value, span, what, "an initializer or a number")),
        }
    }

    /// A tensor filled with a constant, or with random numbers drawn anew in each step.
    pub fn draw(
        &mut self,
        initializer: Option<Initializer>,
        dtype: DType,
        axes: Vec<Axis>,
    ) -> Eval<Tensor> {
        let shape = Evaluator::extents(&axes);
        let Some(initializer) = initializer else {
            return Ok(Tensor { dtype, axes, node: None });
        };
        let (kind, offset, scale) = match initializer {
            Initializer::Constant { value } => {
                let node = self.emit_nodes([], |graph, []| graph.constant(dtype, &shape, value));
                return Ok(Tensor { dtype, axes, node });
            }
            Initializer::Uniform { low, high } => (RandomKind::Uniform, low, high - low),
            Initializer::Normal { mean, std } => (RandomKind::Normal, mean, std),
        };
        let Some(activation) = self.activation() else {
            return Err(self.report(
                Diagnostic::error("random-in-function", "a top-level `fn` draws no random numbers")
                    .primary(self.here(), "drawn here")
                    .note("a random stream is named by the instance that draws from it")
                    .help("make the definition a `layer`, or pass the random numbers to it"),
            ));
        };
        let stream = stream_number(&activation.next_stream());
        let node = self.emit_nodes([], |graph, []| {
            let random = Random { kind, stream, dtype, shape: Shape::from_slice(&shape) };
            let mut node = graph.emit(random.into(), &[]);
            if scale != 1.0 {
                let scale = graph.constant_like(node, scale);
                node = graph.mul(node, scale);
            }
            if offset != 0.0 {
                let offset = graph.constant_like(node, offset);
                node = graph.add(node, offset);
            }
            node
        });
        Ok(Tensor { dtype, axes, node })
    }

    /// The positions along the only axis of `axes`.
    pub fn iota(&mut self, dtype: DType, axes: Vec<Axis>) -> Tensor {
        let shape = Evaluator::extents(&axes);
        let node = self.emit_nodes([], |graph, []| {
            let iota = Iota { axis: 0, dtype, shape: Shape::from_slice(&shape) };
            graph.emit(iota.into(), &[])
        });
        Tensor { dtype, axes, node }
    }
}
