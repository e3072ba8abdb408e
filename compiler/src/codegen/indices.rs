//! Index arithmetic: expressions in loop axes as 64-bit integers.
//!
//! An expression is split by loop depth: the part that an outer loop fixes is computed once, when
//! that loop's index is known, and remembered while the loop's body is emitted. Inside, only the
//! terms of inner axes are added.

use cranelift::codegen::ir::{self, InstBuilder, types};
use cranelift::frontend::FunctionBuilder;

use crate::index::{Atom, Expression};
use crate::kernel::loops::AxisId;

/// What a region of code knows: an axis whose index is fixed in it, and computed values.
#[derive(Default)]
struct Scope {
    axis: Option<(AxisId, ir::Value)>,
    expressions: Vec<(Expression, ir::Value)>,
    quotients: Vec<(Expression, i64, ir::Value)>,
    pointers: Vec<((ir::Value, u32, Expression), ir::Value)>,
    /// Values that are also on the stack, from where loops inside read them.
    kept: Vec<(Expression, ir::StackSlot)>,
}

/// Evaluates expressions and remembers their values, scope by scope.
pub(super) struct Indices {
    /// Bounds of the axes, for the ranges of dividends.
    extents: Vec<usize>,
    scopes: Vec<Scope>,
}

impl Indices {
    pub(super) fn new(extents: Vec<usize>) -> Indices {
        Indices { extents, scopes: vec![Scope::default()] }
    }

    /// Bounds of the axes.
    pub(super) fn extents(&self) -> &[usize] {
        &self.extents
    }

    /// Starts a region of code, all of which is dominated by its beginning. Values computed in it
    /// are forgotten when it is left.
    pub(super) fn enter(&mut self, axis: Option<(AxisId, ir::Value)>) {
        self.scopes.push(Scope { axis, ..Scope::default() });
    }

    pub(super) fn leave(&mut self) {
        self.scopes.pop();
    }

    /// The scope in which an axis got its index; `None` if it does not run.
    fn depth(&self, axis: AxisId) -> Option<usize> {
        self.scopes.iter().position(|scope| scope.axis.is_some_and(|(known, _)| known == axis))
    }

    /// The index along an axis that runs.
    pub(super) fn index(&self, axis: AxisId) -> Option<ir::Value> {
        let found = self.scopes.iter().filter_map(|scope| scope.axis);
        found.into_iter().find(|(known, _)| *known == axis).map(|(_, index)| index)
    }

    /// The innermost scope that fixes an axis of an atom; `None` if some axis does not run.
    fn atom_depth(&self, atom: &Atom) -> Option<usize> {
        match atom {
            Atom::Axis(axis) => self.depth(*axis),
            Atom::Quotient(inner, _) | Atom::Remainder(inner, _) => {
                let depths = inner.terms().iter().map(|(atom, _)| self.atom_depth(atom));
                depths.reduce(|a, b| Some(a?.max(b?))).unwrap_or(Some(0))
            }
        }
    }

    /// Computes what is known here of an expression that code inside this scope will need.
    pub(super) fn prepare(&mut self, builder: &mut FunctionBuilder<'_>, expression: &Expression) {
        let known = self.known_part(expression);
        if known.as_constant().is_none() {
            let value = self.varying(builder, &known);
            if self.divides_here(&known) {
                self.keep(builder, known, value);
            }
        }
        for (atom, _) in expression.terms() {
            if let Atom::Quotient(inner, _) | Atom::Remainder(inner, _) = atom
                && self.atom_depth(atom).is_none()
            {
                self.prepare(builder, inner);
            }
        }
    }

    /// Whether an expression divides an index that runs in the innermost loop.
    fn divides_here(&self, expression: &Expression) -> bool {
        let innermost = self.scopes.iter().rposition(|scope| scope.axis.is_some());
        let divisions =
            expression.terms().iter().filter(|(atom, _)| !matches!(atom, Atom::Axis(_)));
        innermost.is_some()
            && divisions.into_iter().any(|(atom, _)| self.atom_depth(atom) == innermost)
    }

    /// Leaves a value on the stack. The machine-independent optimizer would otherwise compute
    /// what is used in a loop inside again there, each time.
    fn keep(&mut self, builder: &mut FunctionBuilder<'_>, known: Expression, value: ir::Value) {
        if self.top().kept.iter().any(|(kept, _)| *kept == known) {
            return;
        }
        let data = ir::StackSlotData::new(ir::StackSlotKind::ExplicitSlot, 8, 3);
        let slot = builder.create_sized_stack_slot(data);
        builder.ins().stack_store(types::I64, value, slot, 0);
        self.top().kept.push((known, slot));
    }

    /// A value kept in a scope outside the innermost loop.
    fn kept(&self, expression: &Expression) -> Option<ir::StackSlot> {
        let innermost = self.scopes.iter().rposition(|scope| scope.axis.is_some())?;
        let kept = self.scopes[..innermost].iter().rev().flat_map(|scope| &scope.kept);
        kept.into_iter().find(|(known, _)| known == expression).map(|(_, slot)| *slot)
    }

    /// The terms in axes that run, without the constant.
    fn known_part(&self, expression: &Expression) -> Expression {
        expression.part(|atom| self.atom_depth(atom).is_some())
    }

    /// The value of an expression whose axes all run.
    pub(super) fn evaluate(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        expression: &Expression,
    ) -> ir::Value {
        let constant = expression.offset();
        let varying = expression.plus(&Expression::constant(-constant));
        if varying.as_constant().is_some() {
            return builder.ins().iconst(types::I64, constant);
        }
        let value = self.varying(builder, &varying);
        add_constant(builder, value, constant)
    }

    /// `base` plus an expression, without its constant, times the element size `1 << shift`.
    pub(super) fn pointer(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        base: ir::Value,
        shift: u32,
        expression: &Expression,
    ) -> ir::Value {
        let varying = expression.part(|_| true);
        if varying.as_constant().is_some() {
            return base;
        }
        let key = (base, shift, varying);
        let known = self.scopes.iter().rev().flat_map(|scope| &scope.pointers);
        if let Some((_, pointer)) = known.into_iter().find(|(known, _)| *known == key) {
            return *pointer;
        }
        let offset = self.varying(builder, &key.2);
        let bytes = builder.ins().ishl_imm_u(offset, i64::from(shift));
        let pointer = builder.ins().iadd(base, bytes);
        self.top().pointers.push((key, pointer));
        pointer
    }

    fn top(&mut self) -> &mut Scope {
        self.scopes.last_mut().expect("the outermost scope is never left")
    }

    /// The value of an expression without constant part.
    fn varying(&mut self, builder: &mut FunctionBuilder<'_>, e: &Expression) -> ir::Value {
        let innermost = self.scopes.iter().rposition(|scope| scope.axis.is_some()).unwrap_or(0);
        let in_loop = self.scopes[innermost..].iter().rev().flat_map(|scope| &scope.expressions);
        if let Some((_, value)) = in_loop.into_iter().find(|(known, _)| known == e) {
            return *value;
        }
        if let Some(slot) = self.kept(e) {
            let value = builder.ins().stack_load(types::I64, types::I64, slot, 0);
            self.top().expressions.push((e.clone(), value));
            return value;
        }
        let outside = self.scopes[..innermost].iter().rev().flat_map(|scope| &scope.expressions);
        if let Some((_, value)) = outside.into_iter().find(|(known, _)| known == e) {
            return *value;
        }
        let depths = e.terms().iter().map(|(atom, _)| self.atom_depth(atom));
        let depth = depths.max().flatten();
        let outer = e.part(|atom| self.atom_depth(atom) < depth);
        let mut sum = None;
        if outer.as_constant().is_none() {
            sum = Some(self.varying(builder, &outer));
        }
        for (atom, coefficient) in e.terms() {
            if self.atom_depth(atom) < depth {
                continue;
            }
            let value = self.atom(builder, atom);
            let term = multiply(builder, value, *coefficient);
            sum = Some(sum.map_or(term, |sum| builder.ins().iadd(sum, term)));
        }
        let value = sum.unwrap_or_else(|| builder.ins().iconst(types::I64, 0));
        self.top().expressions.push((e.clone(), value));
        value
    }

    fn atom(&mut self, builder: &mut FunctionBuilder<'_>, atom: &Atom) -> ir::Value {
        match atom {
            Atom::Axis(axis) => self.index(*axis).expect("verified: expressions use axes that run"),
            Atom::Quotient(inner, divisor) => self.quotient(builder, inner, *divisor),
            Atom::Remainder(inner, divisor) => {
                let value = self.evaluate(builder, inner);
                if divisor.count_ones() == 1 {
                    return builder.ins().band_imm_s(value, divisor - 1);
                }
                let quotient = self.quotient(builder, inner, *divisor);
                let multiple = builder.ins().imul_imm_s(quotient, *divisor);
                builder.ins().isub(value, multiple)
            }
        }
    }

    fn quotient(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        dividend: &Expression,
        divisor: i64,
    ) -> ir::Value {
        let known = self.scopes.iter().rev().flat_map(|scope| &scope.quotients);
        let mut known = known.into_iter();
        if let Some((_, _, value)) = known.find(|(e, d, _)| e == dividend && *d == divisor) {
            return *value;
        }
        let value = self.evaluate(builder, dividend);
        let quotient = divide(builder, value, dividend.range(&self.extents), divisor);
        self.top().quotients.push((dividend.clone(), divisor, quotient));
        quotient
    }
}

/// `value + constant`.
pub(super) fn add_constant(
    builder: &mut FunctionBuilder<'_>,
    value: ir::Value,
    constant: i64,
) -> ir::Value {
    if constant == 0 { value } else { builder.ins().iadd_imm_s(value, constant) }
}

/// `value * factor`.
pub(super) fn multiply(
    builder: &mut FunctionBuilder<'_>,
    value: ir::Value,
    factor: i64,
) -> ir::Value {
    match factor {
        1 => value,
        -1 => builder.ins().ineg(value),
        factor if factor > 0 && factor.count_ones() == 1 => {
            builder.ins().ishl_imm_u(value, i64::from(factor.trailing_zeros()))
        }
        factor => builder.ins().imul_imm_s(value, factor),
    }
}

/// The quotient, rounded toward negative infinity, of a value within `range` (both ends included)
/// by a divisor of at least 2.
///
/// Instead of dividing by d, values below 2^31 are multiplied by the rounded-up reciprocal
/// m = floor(2^p / d) + 1, with p = 31 + ceil(log2 d), and shifted right by p: m d exceeds 2^p by
/// at most d, an error of less than 1 / d for such values (Granlund and Montgomery, "Division by
/// invariant integers using multiplication", 1994).
pub(super) fn divide(
    builder: &mut FunctionBuilder<'_>,
    value: ir::Value,
    (low, high): (i64, i64),
    divisor: i64,
) -> ir::Value {
    if divisor.count_ones() == 1 {
        return builder.ins().sshr_imm_u(value, i64::from(divisor.trailing_zeros()));
    }
    // Raised by a multiple of the divisor, the dividend is not negative.
    let raise = if low < 0 { (divisor - 1 - low) / divisor } else { 0 };
    let dividend = add_constant(builder, value, raise * divisor);
    let quotient = if high + raise * divisor < 1 << 31 && divisor < 1 << 31 {
        let power = 31 + i64::from(divisor.ilog2()) + 1;
        let reciprocal = (1i128 << power) / i128::from(divisor) + 1;
        let product = builder.ins().imul_imm_s(dividend, reciprocal as i64);
        builder.ins().ushr_imm_u(product, power)
    } else {
        builder.ins().udiv_imm_u(dividend, divisor)
    };
    add_constant(builder, quotient, -raise)
}
