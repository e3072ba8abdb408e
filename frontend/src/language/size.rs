//! Sizes: what is known of an extent before its number is.
//!
//! A [`Size`] is a polynomial with integer coefficients over free dims (`2*h + 1`). Quotients that
//! no polynomial expresses (`h // 2`) are opaque symbols of it: equal only to themselves. All of
//! the language's whole numbers are sizes, also those that are no extent of anything.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// An indeterminate of a [`Size`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Symbol {
    /// A dim whose number is given later.
    Free(Arc<str>),
    /// An exact quotient: the second divides the first, as a constraint says.
    Quotient(Box<Size>, Box<Size>),
    /// A quotient rounded down.
    Floor(Box<Size>, Box<Size>),
}

/// Symbols that are multiplied, sorted; a power is a repetition.
type Monomial = Vec<Symbol>;

/// A polynomial with integer coefficients. Arithmetic saturates at the bounds of `i64`; anything
/// that large is refused where it is used as an extent.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size {
    /// Coefficients, none of them 0, by monomial; the empty monomial is the constant term.
    terms: BTreeMap<Monomial, i64>,
}

/// What is known of two sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// The first is less, equal or greater whatever the free dims are.
    Known(Ordering),
    /// They differ by something that depends on the free dims.
    Undecided,
}

/// A quotient of two sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Division {
    /// The divisor divides the dividend.
    Exact(Size),
    /// It does not, or it is 0.
    Inexact,
    /// It depends on the free dims.
    Undecided,
}

impl Size {
    /// The size that is a number.
    pub fn constant(value: i64) -> Size {
        let mut size = Size::default();
        size.accumulate(Monomial::new(), value);
        size
    }

    /// A free dim.
    pub fn free(name: &str) -> Size {
        Size::symbol(Symbol::Free(name.into()))
    }

    fn symbol(symbol: Symbol) -> Size {
        Size { terms: BTreeMap::from([(vec![symbol], 1)]) }
    }

    /// The number, if it does not depend on free dims.
    pub fn as_constant(&self) -> Option<i64> {
        match self.terms.len() {
            0 => Some(0),
            1 => self.terms.get(&Monomial::new()).copied(),
            _ => None,
        }
    }

    /// Whether it is this number.
    pub fn is(&self, value: i64) -> bool {
        self.as_constant() == Some(value)
    }

    /// The name of the free dim that it is, if it is one.
    pub fn as_free(&self) -> Option<&str> {
        match self.terms.iter().next() {
            Some((monomial, 1)) if self.terms.len() == 1 => match monomial.as_slice() {
                [Symbol::Free(name)] => Some(name),
                _ => None,
            },
            _ => None,
        }
    }

    /// Dividend and divisor, if it is a quotient rounded down and nothing else.
    fn as_floor(&self) -> Option<(&Size, &Size)> {
        match self.terms.iter().next() {
            Some((monomial, 1)) if self.terms.len() == 1 => match monomial.as_slice() {
                [Symbol::Floor(dividend, divisor)] => Some((dividend, divisor)),
                _ => None,
            },
            _ => None,
        }
    }

    fn accumulate(&mut self, monomial: Monomial, coefficient: i64) {
        let sum = self.terms.get(&monomial).copied().unwrap_or(0).saturating_add(coefficient);
        if sum == 0 {
            self.terms.remove(&monomial);
        } else {
            self.terms.insert(monomial, sum);
        }
    }

    /// `self + other`.
    pub fn add(&self, other: &Size) -> Size {
        let mut sum = self.clone();
        for (monomial, &coefficient) in &other.terms {
            sum.accumulate(monomial.clone(), coefficient);
        }
        sum
    }

    /// `-self`.
    pub fn negate(&self) -> Size {
        let terms = self.terms.iter();
        Size { terms: terms.map(|(m, c)| (m.clone(), c.saturating_neg())).collect() }
    }

    /// `self - other`.
    pub fn subtract(&self, other: &Size) -> Size {
        self.add(&other.negate())
    }

    /// `self * other`.
    pub fn multiply(&self, other: &Size) -> Size {
        let mut product = Size::default();
        for (left, &a) in &self.terms {
            for (right, &b) in &other.terms {
                let mut monomial: Monomial = left.iter().chain(right).cloned().collect();
                monomial.sort_unstable();
                product = product.add(&Size::reduced(monomial, a.saturating_mul(b)));
            }
        }
        product
    }

    /// A product, in which an exact quotient and its divisor make the dividend: `2 * (c / 2)`.
    fn reduced(monomial: Monomial, coefficient: i64) -> Size {
        for (place, symbol) in monomial.iter().enumerate() {
            let Symbol::Quotient(dividend, divisor) = symbol else { continue };
            let mut others = monomial.clone();
            others.remove(place);
            let others = Size { terms: BTreeMap::from([(others, coefficient)]) };
            if let Division::Exact(rest) = others.divide(divisor) {
                return rest.multiply(dividend);
            }
        }
        let mut size = Size::default();
        size.accumulate(monomial, coefficient);
        size
    }

    /// `self / divisor`, if it is exact.
    pub fn divide(&self, divisor: &Size) -> Division {
        if divisor.terms.is_empty() {
            return Division::Inexact;
        }
        if self == divisor {
            return Division::Exact(Size::constant(1));
        }
        let mut divisors = divisor.terms.iter();
        if let (Some((monomial, &coefficient)), None) = (divisors.next(), divisors.next()) {
            let quotient: Option<BTreeMap<Monomial, i64>> = self
                .terms
                .iter()
                .map(|(m, &c)| {
                    let whole = coefficient != 0 && c.wrapping_rem(coefficient) == 0;
                    let rest = without(m, monomial)?;
                    whole.then(|| (rest, c.wrapping_div(coefficient)))
                })
                .collect();
            if let Some(terms) = quotient {
                return Division::Exact(Size { terms });
            }
        }
        match (self.as_constant(), divisor.as_constant()) {
            (Some(_), Some(_)) => Division::Inexact,
            _ => Division::Undecided,
        }
    }

    /// `self / divisor` where a constraint says that it is exact.
    pub fn quotient(&self, divisor: &Size) -> Size {
        match self.divide(divisor) {
            Division::Exact(quotient) => quotient,
            _ => Size::symbol(Symbol::Quotient(Box::new(self.clone()), Box::new(divisor.clone()))),
        }
    }

    /// `self // divisor`, rounded down; `None` if the divisor is 0.
    pub fn floor_divide(&self, divisor: &Size) -> Option<Size> {
        if divisor.terms.is_empty() {
            return None;
        }
        if let (Some(a), Some(b)) = (self.as_constant(), divisor.as_constant()) {
            let quotient = a.wrapping_div(b);
            let below = a.wrapping_rem(b) != 0 && (a < 0) != (b < 0);
            return Some(Size::constant(quotient - i64::from(below)));
        }
        // Rounding twice is rounding once: (h // 2) // 2 is h // 4.
        if let (Some((inner, by)), Some(number)) = (self.as_floor(), divisor.as_constant())
            && number > 0
            && by.as_constant().is_some_and(|by| by > 0)
        {
            return inner.floor_divide(&by.multiply(divisor));
        }
        // What the divisor divides leaves the rounding: (2*h + 1) // 2 is h.
        let (mut whole, mut rest) = (Size::default(), Size::default());
        for (monomial, &coefficient) in &self.terms {
            let term = Size { terms: BTreeMap::from([(monomial.clone(), coefficient)]) };
            match term.divide(divisor) {
                Division::Exact(quotient) => whole = whole.add(&quotient),
                _ => rest = rest.add(&term),
            }
        }
        let rounded = match (rest.as_constant(), divisor.as_constant()) {
            (Some(0), _) => Size::default(),
            (Some(_), Some(_)) => rest.floor_divide(divisor)?,
            _ => Size::symbol(Symbol::Floor(Box::new(rest), Box::new(divisor.clone()))),
        };
        Some(whole.add(&rounded))
    }

    /// Whether the dim called `name` occurs in it.
    pub fn depends_on(&self, name: &str) -> bool {
        self.terms.keys().flatten().any(|symbol| match symbol {
            Symbol::Free(free) => **free == *name,
            Symbol::Quotient(a, b) | Symbol::Floor(a, b) => {
                a.depends_on(name) || b.depends_on(name)
            }
        })
    }

    /// How it compares with `other`.
    pub fn compare(&self, other: &Size) -> Comparison {
        match self.subtract(other).as_constant() {
            Some(difference) => Comparison::Known(difference.cmp(&0)),
            None => Comparison::Undecided,
        }
    }
}

impl From<usize> for Size {
    fn from(value: usize) -> Size {
        Size::constant(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

/// The monomial without the factors of `factor`, if it has all of them.
fn without(monomial: &Monomial, factor: &Monomial) -> Option<Monomial> {
    let mut rest = monomial.clone();
    for symbol in factor {
        let place = rest.iter().position(|candidate| candidate == symbol)?;
        rest.remove(place);
    }
    Some(rest)
}

/// A size as an operand of a product or quotient.
struct Factor<'a>(&'a Size);

impl fmt::Display for Factor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let simple =
            self.0.as_constant().is_some_and(|value| value >= 0) || self.0.as_free().is_some();
        if simple { write!(f, "{}", self.0) } else { write!(f, "({})", self.0) }
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Symbol::Free(name) => f.write_str(name),
            Symbol::Quotient(a, b) => write!(f, "{} / {}", Factor(a), Factor(b)),
            Symbol::Floor(a, b) => write!(f, "{} // {}", Factor(a), Factor(b)),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.terms.is_empty() {
            return f.write_str("0");
        }
        // The constant term is the first of the map and the last of the text.
        let (constants, others): (Vec<_>, Vec<_>) =
            self.terms.iter().partition(|(monomial, _)| monomial.is_empty());
        for (position, (monomial, coefficient)) in others.into_iter().chain(constants).enumerate() {
            match (position, *coefficient < 0) {
                (0, true) => f.write_str("-")?,
                (0, false) => {}
                (_, true) => f.write_str(" - ")?,
                (_, false) => f.write_str(" + ")?,
            }
            let magnitude = coefficient.unsigned_abs();
            if magnitude != 1 || monomial.is_empty() {
                write!(f, "{magnitude}{}", if monomial.is_empty() { "" } else { "*" })?;
            }
            for (place, symbol) in monomial.iter().enumerate() {
                let product = monomial.len() > 1 || magnitude != 1;
                let quotient = !matches!(symbol, Symbol::Free(_));
                let separator = if place == 0 { "" } else { "*" };
                match product && quotient {
                    true => write!(f, "{separator}({symbol})")?,
                    false => write!(f, "{separator}{symbol}")?,
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(value: i64) -> Size {
        Size::constant(value)
    }

    #[test]
    fn polynomials_have_one_form() {
        let (h, w) = (Size::free("h"), Size::free("w"));
        let square = h.add(&w).multiply(&h.add(&w));
        let expanded =
            h.multiply(&h).add(&number(2).multiply(&h).multiply(&w)).add(&w.multiply(&w));
        assert_eq!(square, expanded);
        assert_eq!(square.to_string(), "h*h + 2*h*w + w*w");
        assert_eq!(h.subtract(&h), number(0));
        assert_eq!(h.subtract(&number(1)).to_string(), "h - 1");
        assert_eq!(number(-2).multiply(&h).to_string(), "-2*h");
    }

    #[test]
    fn comparisons_are_decided_where_they_can_be() {
        let h = Size::free("h");
        assert_eq!(h.compare(&h), Comparison::Known(Ordering::Equal));
        assert_eq!(h.add(&number(1)).compare(&h), Comparison::Known(Ordering::Greater));
        assert_eq!(h.compare(&number(3)), Comparison::Undecided);
        assert_eq!(number(2).compare(&number(3)), Comparison::Known(Ordering::Less));
    }

    #[test]
    fn exact_division() {
        let (h, w) = (Size::free("h"), Size::free("w"));
        let area = number(6).multiply(&h).multiply(&w);
        let third = area.divide(&number(3).multiply(&w));
        assert_eq!(third, Division::Exact(number(2).multiply(&h)));
        assert_eq!(number(7).divide(&number(2)), Division::Inexact);
        assert_eq!(number(7).divide(&number(0)), Division::Inexact);
        assert_eq!(h.divide(&number(16)), Division::Undecided);
        assert_eq!(h.quotient(&number(16)).to_string(), "h / 16");
        assert_eq!(h.add(&w).divide(&h.add(&w)), Division::Exact(number(1)));
        assert_eq!(h.quotient(&number(16)).multiply(&number(32)), number(2).multiply(&h));
        assert_eq!(h.quotient(&w).multiply(&w).multiply(&w), h.multiply(&w));
    }

    #[test]
    fn rounding_division() {
        let h = Size::free("h");
        let odd = number(2).multiply(&h).add(&number(1));
        assert_eq!(odd.floor_divide(&number(2)), Some(h.clone()));
        assert_eq!(number(-7).floor_divide(&number(2)), Some(number(-4)));
        assert_eq!(number(7).floor_divide(&number(0)), None);
        let quarter = h.floor_divide(&number(2)).unwrap().floor_divide(&number(2));
        assert_eq!(quarter.unwrap().to_string(), "h // 4");
        let half = h.add(&number(1)).floor_divide(&number(2)).unwrap();
        assert_eq!(half.to_string(), "(h + 1) // 2");
        assert_eq!(half.multiply(&number(3)).to_string(), "3*((h + 1) // 2)");
    }

    #[test]
    fn huge_numbers_saturate() {
        let huge = number(i64::MAX);
        assert_eq!(huge.add(&number(1)), huge);
        assert_eq!(huge.multiply(&huge), huge);
        assert_eq!(number(i64::MIN).divide(&number(-1)), Division::Exact(number(i64::MIN)));
    }
}
