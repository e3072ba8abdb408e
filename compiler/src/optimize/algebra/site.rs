//! Building terms: what rules and the import of graphs write their results with.

use std::collections::BTreeSet;

use egg::Id;
use smallvec::SmallVec;

use super::facts::{RuleId, Terms};
use super::language::{Kind, SourceId, Term};
use crate::index::{Atom, IndexMap};
use crate::op::{Cast, Constant, Elementwise, Iota, Op, Primitive, Reduce, ReduceKind, View};
use crate::types::{Axes, DType, Scalar, Shape, TensorType};

/// A place in the e-graph where new terms are made, all from one source.
///
/// Terms are made in canonical form: operands of commutative functions in order, movement as one
/// view, no view that changes nothing, no view of a constant.
pub struct Site<'a> {
    /// The e-graph.
    pub terms: &'a mut Terms,
    /// Where new terms come from.
    source: SourceId,
    rule: Option<RuleId>,
}

impl<'a> Site<'a> {
    /// A site for terms from `source`.
    pub fn new(terms: &'a mut Terms, source: SourceId) -> Site<'a> {
        Site { terms, source, rule: None }
    }

    /// The site of a rule applied to a class.
    pub fn of_rule(terms: &'a mut Terms, rule: RuleId, class: Id) -> Site<'a> {
        let from = terms[class].data.source;
        let source = terms.analysis.provenance.rule(rule, from);
        Site { terms, source, rule: Some(rule) }
    }

    /// The type of a class.
    pub fn ty(&self, class: Id) -> &TensorType {
        &self.terms[class].data.ty
    }

    /// The value of a class, if it is the same everywhere and known.
    pub fn constant(&self, class: Id) -> Option<f64> {
        self.terms[class].data.constant.map(Scalar::value)
    }

    /// Whether a class can be computed from fixed weights alone.
    pub fn is_fixed(&self, class: Id) -> bool {
        self.terms[class].data.fixed
    }

    /// The operation of a term.
    pub fn op(&self, term: &Term) -> &Op {
        self.terms.analysis.operations.get(term.operation)
    }

    /// The terms of one kind in a class.
    pub fn terms_of(&self, class: Id, kind: Kind) -> impl Iterator<Item = &Term> {
        self.terms[class].nodes.iter().filter(move |term| term.kind == kind)
    }

    /// The views in a class: maps and what they look at.
    pub fn views(&self, class: Id) -> impl Iterator<Item = (&IndexMap, Id)> {
        self.terms_of(class, Kind::View).filter_map(|term| match self.op(term) {
            Op::View(view) => Some((&view.map, self.terms.find(term.children[0]))),
            _ => None,
        })
    }

    /// Applications of a function in a class.
    pub fn applications(
        &self,
        class: Id,
        name: &str,
    ) -> impl Iterator<Item = SmallVec<[Id; 3]>> + use<'_> {
        let function = Elementwise::named(name).expect("an entry of the table");
        self.terms_of(class, Kind::Function(function)).map(|term| term.children.clone())
    }

    /// An operation applied to classes, as it is.
    pub fn add(&mut self, op: Op, children: &[Id]) -> Id {
        let kind = Kind::of(&op);
        let operation = self.terms.analysis.operations.number(op);
        let children = children.iter().map(|&child| self.terms.find(child)).collect();
        self.terms.add(Term { kind, operation, children, source: self.source })
    }

    /// A function of classes.
    pub fn apply(&mut self, function: Elementwise, operands: &[Id]) -> Id {
        let mut operands: SmallVec<[Id; 3]> =
            operands.iter().map(|&operand| self.terms.find(operand)).collect();
        if function.entry().commutative {
            operands.sort_by_key(|&operand| (self.constant(operand).is_some(), operand));
        }
        self.add(function.into(), &operands)
    }

    /// A function of classes by its name.
    pub fn named(&mut self, name: &str, operands: &[Id]) -> Id {
        self.apply(Elementwise::named(name).expect("an entry of the table"), operands)
    }

    /// One value everywhere.
    pub fn splat(&mut self, ty: &TensorType, value: f64) -> Id {
        let value = Scalar::new(ty.dtype, value);
        self.add(Constant { value, shape: ty.shape.clone() }.into(), &[])
    }

    /// Conversion to another element type.
    pub fn cast(&mut self, operand: Id, dtype: DType) -> Id {
        if self.ty(operand).dtype == dtype {
            operand
        } else {
            self.add(Cast { dtype }.into(), &[operand])
        }
    }

    /// A class seen through a map.
    pub fn view(&mut self, map: &IndexMap, operand: Id) -> Id {
        let (mut map, mut operand) = (map.clone(), self.terms.find(operand));
        // Classes may look at each other in circles once rules have made some of them one.
        let mut seen = vec![operand];
        loop {
            if map.is_identity(&self.ty(operand).shape) {
                return operand;
            }
            let mut views = self.views(operand).filter(|(_, base)| !seen.contains(base));
            let Some((joined, base)) =
                views.find_map(|(inner, base)| Some((map.compose(inner)?, base)))
            else {
                break;
            };
            (map, operand) = (joined, base);
            seen.push(base);
        }
        let ty = TensorType::new(self.ty(operand).dtype, map.domain());
        if let Some(value) = self.terms[operand].data.constant
            && map.fill().is_none_or(|fill| fill == value)
        {
            return self.splat(&ty, value.value());
        }
        match self.viewed_iota(&map, operand) {
            Some(iota) => self.add(iota.into(), &[]),
            None => self.add(View { map }.into(), &[operand]),
        }
    }

    /// What a view of positions along an axis is, if it is positions along an axis.
    fn viewed_iota(&self, map: &IndexMap, operand: Id) -> Option<Iota> {
        let term = self.terms_of(operand, Kind::Iota).next()?;
        let Op::Iota(iota) = self.op(term) else { return None };
        let index = &map.indices()[iota.axis];
        let [(Atom::Axis(axis), 1)] = index.terms() else { return None };
        let fits = map.constraints().is_empty() && index.offset() == 0;
        let shape = Shape::from_slice(map.domain());
        fits.then_some(Iota { axis: *axis, dtype: iota.dtype, shape })
    }

    /// A reduction over axes; the operand itself if there are none.
    pub fn reduce(&mut self, kind: ReduceKind, operand: Id, axes: &[usize]) -> Id {
        if axes.is_empty() {
            return operand;
        }
        self.add(Reduce { kind, axes: Axes::from_slice(axes) }.into(), &[operand])
    }

    /// `factor * operand`.
    pub fn times(&mut self, operand: Id, factor: f64) -> Id {
        let ty = self.ty(operand).clone();
        let factor = self.splat(&ty, factor);
        self.named("mul", &[operand, factor])
    }

    /// Makes two classes one on behalf of the rule that this site belongs to.
    pub fn equate(&mut self, a: Id, b: Id) {
        if let (true, Some(rule)) = (self.terms.union(a, b), self.rule) {
            self.terms.analysis.applied[usize::from(rule)] += 1;
        }
    }

    /// What the graph's node becomes.
    pub fn import(&mut self, op: &Op, operands: &[Id]) -> Id {
        match op {
            Op::StopGradient(_) => operands[0],
            Op::Elementwise(function) => self.apply(*function, operands),
            Op::Cast(cast) => self.cast(operands[0], cast.dtype),
            Op::Reduce(reduce) => self.reduce(reduce.kind, operands[0], &reduce.axes),
            Op::Concat(_) if operands.len() == 1 => operands[0],
            op if op.is_movement() => {
                let map = op.index_map(&self.ty(operands[0]).shape).expect("movement has a map");
                self.view(&map, operands[0])
            }
            op => self.add(op.clone(), operands),
        }
    }

    /// Whether a class is an operand of more than one term: then it is computed whatever becomes
    /// of one of them.
    pub fn has_other_users(&self, class: Id) -> bool {
        self.terms[class].parents().len() > 1
    }

    /// Classes with a term of one of these names that has `class` as an operand.
    pub fn users(&self, class: Id, name: &str) -> BTreeSet<Id> {
        let parents = self.terms[class].parents();
        let matching = parents.filter(|&parent| {
            let term = self.terms.id_to_node(parent);
            matches!(term.kind, Kind::Function(function) if function.name() == name)
        });
        matching.map(|parent| self.terms.find(parent)).collect()
    }
}
