//! Conversions between element types.

use egg::Id;

use crate::op::Op;
use crate::optimize::algebra::language::{Kind, Term};
use crate::optimize::algebra::rule::Exactness::Exact;
use crate::optimize::algebra::rule::Rule;
use crate::optimize::algebra::site::Site;
use crate::types::DType;

/// The rules.
pub(super) fn rules() -> Vec<Rule> {
    vec![Rule::procedure(
        "a conversion by way of a type that holds every value is direct",
        Exact,
        &[Kind::Cast],
        direct,
    )]
}

/// Whether every value of one type is a value of the other.
fn holds(wide: DType, narrow: DType) -> bool {
    use DType::{Bool, F32, F64, I32, U8};
    match narrow {
        Bool => true,
        U8 => matches!(wide, U8 | I32 | F32 | F64),
        I32 => matches!(wide, I32 | F64),
        F32 => matches!(wide, F32 | F64),
        F64 => wide == F64,
    }
}

fn direct(site: &mut Site<'_>, _: Id, term: &Term) -> Option<Id> {
    let Op::Cast(outer) = site.op(term).clone() else { return None };
    let inner = term.children[0];
    let between = site.ty(inner).dtype;
    let sources = site.terms_of(inner, Kind::Cast).map(|cast| cast.children[0]);
    let source = sources.into_iter().find(|&source| holds(between, site.ty(source).dtype))?;
    Some(site.cast(source, outer.dtype))
}
