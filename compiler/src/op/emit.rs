//! Building graphs, seen from the operations: gradients emit nodes through [`Emit`].

use smallvec::SmallVec;

use super::{
    Broadcast, Cast, Concat, Constant, Contract, Elementwise, Iota, Op, Pad, Permute, Reduce,
    ReduceKind, Reshape, Reverse, Slice, StopGradient, Unfold, Window,
};
use crate::types::{Axes, DType, Scalar, Shape, TensorType};

/// Number of a node in its graph. Operands have smaller numbers than their users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);

impl NodeId {
    /// The number as an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A graph under construction.
///
/// The provided methods are shorthands for the primitives; they panic where [`Emit::emit`] does.
pub trait Emit {
    /// Appends a node.
    ///
    /// # Panics
    /// If the operands do not fit the operation ([`super::Primitive::infer`]).
    fn emit(&mut self, op: Op, operands: &[NodeId]) -> NodeId;

    /// The type of a node.
    fn type_of(&self, node: NodeId) -> &TensorType;

    /// An elementwise function by its name in the table.
    ///
    /// # Panics
    /// If there is no such entry.
    fn apply(&mut self, name: &str, operands: &[NodeId]) -> NodeId {
        let function = Elementwise::named(name)
            .unwrap_or_else(|| panic!("no elementwise primitive is called {name}"));
        self.emit(function.into(), operands)
    }

    /// `a + b`, of equal types.
    fn add(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.apply("add", &[a, b])
    }

    /// `a - b`, of equal types.
    fn sub(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.apply("sub", &[a, b])
    }

    /// `a * b`, of equal types.
    fn mul(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.apply("mul", &[a, b])
    }

    /// `a / b`, of equal types.
    fn div(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.apply("div", &[a, b])
    }

    /// `-a`.
    fn neg(&mut self, a: NodeId) -> NodeId {
        self.apply("neg", &[a])
    }

    /// `yes` where `condition` holds, else `no`; all of one shape.
    fn select(&mut self, condition: NodeId, yes: NodeId, no: NodeId) -> NodeId {
        self.apply("select", &[condition, yes, no])
    }

    /// One value everywhere.
    fn constant(&mut self, dtype: DType, shape: &[usize], value: f64) -> NodeId {
        let constant =
            Constant { value: Scalar::new(dtype, value), shape: Shape::from_slice(shape) };
        self.emit(constant.into(), &[])
    }

    /// A constant with the type of `node`.
    fn constant_like(&mut self, node: NodeId, value: f64) -> NodeId {
        let TensorType { dtype, shape } = self.type_of(node).clone();
        self.constant(dtype, &shape, value)
    }

    /// The position along an axis of a shape.
    fn iota(&mut self, dtype: DType, shape: &[usize], axis: usize) -> NodeId {
        self.emit(Iota { axis, dtype, shape: Shape::from_slice(shape) }.into(), &[])
    }

    /// `node` converted to `dtype`; `node` itself if it has that type.
    fn cast(&mut self, node: NodeId, dtype: DType) -> NodeId {
        if self.type_of(node).dtype == dtype {
            return node;
        }
        self.emit(Cast { dtype }.into(), &[node])
    }

    /// The same elements under another shape; `node` itself if it has that shape.
    fn reshape(&mut self, node: NodeId, shape: &[usize]) -> NodeId {
        if self.type_of(node).shape.as_slice() == shape {
            return node;
        }
        self.emit(Reshape { shape: Shape::from_slice(shape) }.into(), &[node])
    }

    /// Axis `i` of the result is axis `order[i]` of `node`; `node` itself for the identity.
    fn permute(&mut self, node: NodeId, order: &[usize]) -> NodeId {
        if order.iter().enumerate().all(|(i, &axis)| i == axis) {
            return node;
        }
        self.emit(Permute { order: Axes::from_slice(order) }.into(), &[node])
    }

    /// `node` repeated to `shape`: its axis `i` becomes axis `axes[i]`.
    fn broadcast(&mut self, node: NodeId, shape: &[usize], axes: &[usize]) -> NodeId {
        if self.type_of(node).shape.as_slice() == shape {
            return node;
        }
        let op = Broadcast { shape: Shape::from_slice(shape), axes: Axes::from_slice(axes) };
        self.emit(op.into(), &[node])
    }

    /// Per axis, elements `start, start + step, ...` below `stop`; `node` itself if that is all.
    fn slice(&mut self, node: NodeId, start: &[usize], stop: &[usize], step: &[usize]) -> NodeId {
        let shape = &self.type_of(node).shape;
        if start.iter().all(|&i| i == 0) && step.iter().all(|&i| i == 1) && shape[..] == *stop {
            return node;
        }
        let op = Slice {
            start: Axes::from_slice(start),
            stop: Axes::from_slice(stop),
            step: Axes::from_slice(step),
        };
        self.emit(op.into(), &[node])
    }

    /// `axes` (sorted) from their end to their start; `node` itself if there are none.
    fn reverse(&mut self, node: NodeId, axes: &[usize]) -> NodeId {
        if axes.is_empty() {
            return node;
        }
        self.emit(Reverse { axes: Axes::from_slice(axes) }.into(), &[node])
    }

    /// Per axis, `low` and `high` elements of `value` around `node` and `interior` ones between
    /// neighbours; `node` itself if that is none.
    fn pad(
        &mut self,
        node: NodeId,
        low: &[usize],
        high: &[usize],
        interior: &[usize],
        value: f64,
    ) -> NodeId {
        if [low, high, interior].iter().all(|counts| counts.iter().all(|&count| count == 0)) {
            return node;
        }
        let op = Pad {
            low: Axes::from_slice(low),
            high: Axes::from_slice(high),
            interior: Axes::from_slice(interior),
            value: Scalar::new(self.type_of(node).dtype, value),
        };
        self.emit(op.into(), &[node])
    }

    /// Sliding windows over the last axes, `value` outside, see [`Unfold`].
    fn unfold(&mut self, node: NodeId, windows: &[Window], value: f64) -> NodeId {
        let value = Scalar::new(self.type_of(node).dtype, value);
        self.emit(Unfold { windows: SmallVec::from_slice(windows), value }.into(), &[node])
    }

    /// `nodes` one after another along `axis`.
    fn concat(&mut self, nodes: &[NodeId], axis: usize) -> NodeId {
        self.emit(Concat { axis }.into(), nodes)
    }

    /// A scalar repeated to `shape`.
    fn splat(&mut self, scalar: NodeId, shape: &[usize]) -> NodeId {
        self.broadcast(scalar, shape, &[])
    }

    /// Reduction over `axes` (sorted), which the result lacks; `node` itself if there are none.
    fn reduce(&mut self, kind: ReduceKind, node: NodeId, axes: &[usize]) -> NodeId {
        if axes.is_empty() {
            return node;
        }
        self.emit(Reduce { kind, axes: Axes::from_slice(axes) }.into(), &[node])
    }

    /// Sum over `axes` (sorted).
    fn sum(&mut self, node: NodeId, axes: &[usize]) -> NodeId {
        self.reduce(ReduceKind::Sum, node, axes)
    }

    /// Batched product, see [`Contract`].
    fn contract(
        &mut self,
        left: NodeId,
        right: NodeId,
        batch: &[(usize, usize)],
        contracted: &[(usize, usize)],
    ) -> NodeId {
        let op = Contract {
            batch: SmallVec::from_slice(batch),
            contracted: SmallVec::from_slice(contracted),
        };
        self.emit(op.into(), &[left, right])
    }

    /// `node`, through which no cotangent passes.
    fn stop_gradient(&mut self, node: NodeId) -> NodeId {
        self.emit(StopGradient.into(), &[node])
    }
}
