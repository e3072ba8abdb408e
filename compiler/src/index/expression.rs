//! Integer expressions in axis indices: sums of multiples of axes, quotients and remainders.

use std::fmt;

use num_integer::gcd;
use smallvec::SmallVec;

/// A term of an [`Expression`], without its coefficient.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Atom {
    /// The index along an axis of the domain.
    Axis(usize),
    /// Quotient, rounded toward negative infinity; the divisor is at least 2.
    Quotient(Box<Expression>, i64),
    /// Remainder of that division, never negative; the divisor is at least 2.
    Remainder(Box<Expression>, i64),
}

impl Atom {
    /// Whether the value depends on `axis`.
    pub fn depends_on(&self, axis: usize) -> bool {
        match self {
            Atom::Axis(known) => *known == axis,
            Atom::Quotient(inner, _) | Atom::Remainder(inner, _) => inner.depends_on(axis),
        }
    }
}

/// `constant + sum of coefficient * atom`, in a normal form: atoms sorted and distinct,
/// coefficients not zero.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Expression {
    terms: SmallVec<[(Atom, i64); 2]>,
    constant: i64,
}

impl Expression {
    /// A number.
    pub fn constant(constant: i64) -> Expression {
        Expression { terms: SmallVec::new(), constant }
    }

    /// The index along `axis`.
    pub fn axis(axis: usize) -> Expression {
        Expression::atom(Atom::Axis(axis))
    }

    fn atom(atom: Atom) -> Expression {
        Expression { terms: SmallVec::from_iter([(atom, 1)]), constant: 0 }
    }

    /// The terms: atoms with their coefficients.
    pub fn terms(&self) -> &[(Atom, i64)] {
        &self.terms
    }

    /// The constant part.
    pub fn offset(&self) -> i64 {
        self.constant
    }

    /// The sum of the terms whose atoms fulfil a condition, without the constant.
    pub fn part(&self, condition: impl Fn(&Atom) -> bool) -> Expression {
        let terms = self.terms.iter().filter(|(atom, _)| condition(atom)).cloned().collect();
        Expression { terms, constant: 0 }
    }

    /// The value, if it does not depend on any axis.
    pub fn as_constant(&self) -> Option<i64> {
        self.terms.is_empty().then_some(self.constant)
    }

    /// The sum.
    pub fn plus(&self, other: &Expression) -> Expression {
        let mut sum = self.clone();
        sum.constant += other.constant;
        for (atom, coefficient) in &other.terms {
            sum.add_term(atom.clone(), *coefficient);
        }
        sum
    }

    /// The product with a number.
    pub fn times(&self, factor: i64) -> Expression {
        if factor == 0 {
            return Expression::constant(0);
        }
        let terms = self.terms.iter().map(|(atom, c)| (atom.clone(), c * factor)).collect();
        Expression { terms, constant: self.constant * factor }
    }

    fn add_term(&mut self, atom: Atom, coefficient: i64) {
        match self.terms.binary_search_by(|(known, _)| known.cmp(&atom)) {
            Ok(place) => {
                self.terms[place].1 += coefficient;
                if self.terms[place].1 == 0 {
                    self.terms.remove(place);
                }
            }
            Err(place) => self.terms.insert(place, (atom, coefficient)),
        }
        self.join_division();
    }

    /// Rewrites `c * k * (e / k) + c * (e % k)` to `c * e`, also where e is a quotient itself, whose
    /// quotient by k is written as one division.
    fn join_division(&mut self) {
        let joined = self.terms.iter().enumerate().find_map(|(place, (atom, c))| {
            let Atom::Remainder(inner, k) = atom else { return None };
            let (dividend, divisor) = match &inner.terms[..] {
                [(Atom::Quotient(dividend, j), 1)] if inner.constant == 0 => (dividend, j * k),
                _ => (inner, *k),
            };
            let quotient = self.terms.iter().position(|(other, coefficient)| {
                matches!(other, Atom::Quotient(e, d) if e == dividend && *d == divisor)
                    && *coefficient == c * k
            })?;
            Some((place, quotient, inner.times(*c)))
        });
        if let Some((remainder, quotient, whole)) = joined {
            self.terms.remove(remainder.max(quotient));
            self.terms.remove(remainder.min(quotient));
            *self = self.plus(&whole);
        }
    }

    /// Smallest and largest value over a domain with these extents (conservative; extents of 0
    /// count as 1).
    pub fn range(&self, domain: &[usize]) -> (i64, i64) {
        let mut range = (self.constant, self.constant);
        for (atom, coefficient) in &self.terms {
            let (low, high) = match atom {
                Atom::Axis(axis) => (0, (domain[*axis] as i64 - 1).max(0)),
                Atom::Quotient(inner, k) => {
                    let (low, high) = inner.range(domain);
                    (low.div_euclid(*k), high.div_euclid(*k))
                }
                Atom::Remainder(inner, k) => {
                    let (low, high) = inner.range(domain);
                    if low.div_euclid(*k) == high.div_euclid(*k) {
                        (low.rem_euclid(*k), high.rem_euclid(*k))
                    } else {
                        (0, k - 1)
                    }
                }
            };
            let (a, b) = (low * coefficient, high * coefficient);
            range = (range.0 + a.min(b), range.1 + a.max(b));
        }
        range
    }

    /// The quotient by `divisor` (at least 1), simplified over a domain with these extents.
    pub fn divided(&self, divisor: i64, domain: &[usize]) -> Expression {
        if divisor == 1 {
            return self.clone();
        }
        let (multiple, rest) = self.split(divisor);
        let (low, high) = rest.range(domain);
        let whole = multiple.plus(&Expression::constant(low.div_euclid(divisor)));
        if low.div_euclid(divisor) == high.div_euclid(divisor) {
            return whole;
        }
        // (a / j) / k = a / (j k)
        if let ([(Atom::Quotient(inner, inner_divisor), 1)], 0) = (&rest.terms[..], rest.constant) {
            return multiple.plus(&inner.divided(inner_divisor * divisor, domain));
        }
        // (a % (j k)) / k = (a / k) % j
        if let ([(Atom::Remainder(inner, outer), 1)], 0) = (&rest.terms[..], rest.constant)
            && outer % divisor == 0
        {
            let digit = inner.divided(divisor, domain).remainder(outer / divisor, domain);
            return multiple.plus(&digit);
        }
        if let Some((factor, high, _)) = rest.digits(divisor, domain) {
            return multiple.plus(&high.divided(divisor / factor, domain));
        }
        multiple.plus(&Expression::atom(Atom::Quotient(Box::new(rest), divisor)))
    }

    /// The remainder by `divisor` (at least 1), simplified over a domain with these extents.
    pub fn remainder(&self, divisor: i64, domain: &[usize]) -> Expression {
        if divisor == 1 {
            return Expression::constant(0);
        }
        let (_, rest) = self.split(divisor);
        let (low, high) = rest.range(domain);
        if low.div_euclid(divisor) == high.div_euclid(divisor) {
            return rest.plus(&Expression::constant(-low.div_euclid(divisor) * divisor));
        }
        // (a % (j k)) % k = a % k
        if let ([(Atom::Remainder(inner, outer), 1)], constant) = (&rest.terms[..], rest.constant)
            && outer % divisor == 0
        {
            return inner.plus(&Expression::constant(constant)).remainder(divisor, domain);
        }
        if let Some((factor, high, low)) = rest.digits(divisor, domain) {
            return high.remainder(divisor / factor, domain).times(factor).plus(&low);
        }
        Expression::atom(Atom::Remainder(Box::new(rest), divisor))
    }

    /// `(factor, high, low)` with `self = factor * high + low`, `0 <= low < factor`, and a factor
    /// above 1 that divides `divisor`: division then concerns `high` alone.
    fn digits(&self, divisor: i64, domain: &[usize]) -> Option<(i64, Expression, Expression)> {
        self.terms.iter().find_map(|(_, coefficient)| {
            let factor = gcd(divisor, *coefficient);
            let (high, low) = self.split(factor);
            let (smallest, largest) = low.range(domain);
            let fits = factor > 1 && smallest >= 0 && largest < factor;
            fits.then_some((factor, high, low))
        })
    }

    /// `(q, r)` with `self = divisor * q + r`: `q` takes what is divisible term by term.
    fn split(&self, divisor: i64) -> (Expression, Expression) {
        let mut multiple = Expression::constant(self.constant.div_euclid(divisor));
        let mut rest = Expression::constant(self.constant.rem_euclid(divisor));
        for (atom, coefficient) in &self.terms {
            if coefficient % divisor == 0 {
                multiple.add_term(atom.clone(), coefficient / divisor);
            } else {
                rest.add_term(atom.clone(), *coefficient);
            }
        }
        (multiple, rest)
    }

    /// The expression with each axis `i` replaced by `replacements[i]`, simplified over the
    /// domain of the replacements.
    ///
    /// # Panics
    /// If an axis has no replacement.
    pub fn substitute(&self, replacements: &[Expression], domain: &[usize]) -> Expression {
        let mut result = Expression::constant(self.constant);
        for (atom, coefficient) in &self.terms {
            let replaced = match atom {
                Atom::Axis(axis) => replacements[*axis].clone(),
                Atom::Quotient(inner, k) => {
                    inner.substitute(replacements, domain).divided(*k, domain)
                }
                Atom::Remainder(inner, k) => {
                    inner.substitute(replacements, domain).remainder(*k, domain)
                }
            };
            result = result.plus(&replaced.times(*coefficient));
        }
        result
    }

    /// The same expression with 0 for the indices along axes of extent 1, unless they stand in
    /// quotients or remainders.
    pub(super) fn without_unit_axes(mut self, domain: &[usize]) -> Expression {
        self.terms.retain(|(atom, _)| !matches!(atom, Atom::Axis(axis) if domain[*axis] == 1));
        self
    }

    /// The value at an index.
    ///
    /// # Panics
    /// If an axis is missing.
    pub fn evaluate(&self, index: &[usize]) -> i64 {
        self.terms.iter().fold(self.constant, |sum, (atom, coefficient)| {
            let value = match atom {
                Atom::Axis(axis) => index[*axis] as i64,
                Atom::Quotient(inner, k) => inner.evaluate(index).div_euclid(*k),
                Atom::Remainder(inner, k) => inner.evaluate(index).rem_euclid(*k),
            };
            sum + coefficient * value
        })
    }

    /// Whether the value depends on `axis`.
    pub fn depends_on(&self, axis: usize) -> bool {
        self.terms.iter().any(|(atom, _)| atom.depends_on(axis))
    }

    /// Adds the numbers by which the index along `axis`, as it is, is divided.
    fn add_divisors(&self, axis: usize, divisors: &mut Vec<i64>) {
        for (atom, _) in &self.terms {
            if let Atom::Quotient(inner, k) | Atom::Remainder(inner, k) = atom {
                if *inner.terms == [(Atom::Axis(axis), 1)] && inner.constant == 0 {
                    divisors.push(*k);
                }
                inner.add_divisors(axis, divisors);
            }
        }
    }

    /// A width at which all of these expressions, cut along `axis` into blocks of that many
    /// indices, lose the divisions of its index: with `axis = width * block + within`, quotients
    /// depend on the block only and remainders are `within`. `None` if nothing is divided.
    pub fn block_width<'a>(
        expressions: impl IntoIterator<Item = &'a Expression>,
        axis: usize,
    ) -> Option<usize> {
        let mut divisors = Vec::new();
        expressions.into_iter().for_each(|e| e.add_divisors(axis, &mut divisors));
        let width = divisors.iter().copied().min()?;
        divisors.iter().all(|divisor| divisor % width == 0).then_some(width as usize)
    }

    /// The largest number of an axis that occurs.
    pub fn last_axis(&self) -> Option<usize> {
        let last = |atom: &Atom| match atom {
            Atom::Axis(axis) => Some(*axis),
            Atom::Quotient(inner, _) | Atom::Remainder(inner, _) => inner.last_axis(),
        };
        self.terms.iter().filter_map(|(atom, _)| last(atom)).max()
    }

    /// The distance in value between neighbours along `axis`, if it is the same everywhere.
    pub fn stride(&self, axis: usize) -> Option<i64> {
        let mut stride = 0;
        for (atom, coefficient) in &self.terms {
            match atom {
                Atom::Axis(known) if *known == axis => stride = *coefficient,
                Atom::Axis(_) => {}
                Atom::Quotient(inner, _) | Atom::Remainder(inner, _) => {
                    if inner.depends_on(axis) {
                        return None;
                    }
                }
            }
        }
        Some(stride)
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.terms.is_empty() {
            return write!(f, "{}", self.constant);
        }
        for (place, (atom, coefficient)) in self.terms.iter().enumerate() {
            match (place, *coefficient < 0) {
                (0, true) => f.write_str("-")?,
                (0, false) => {}
                (_, true) => f.write_str(" - ")?,
                (_, false) => f.write_str(" + ")?,
            }
            if coefficient.abs() != 1 {
                write!(f, "{}*", coefficient.abs())?;
            }
            match atom {
                Atom::Axis(axis) => write!(f, "i{axis}")?,
                Atom::Quotient(inner, k) => write!(f, "({inner})//{k}")?,
                Atom::Remainder(inner, k) => write!(f, "({inner})%{k}")?,
            }
        }
        match self.constant {
            0 => Ok(()),
            c if c < 0 => write!(f, " - {}", -c),
            c => write!(f, " + {c}"),
        }
    }
}
