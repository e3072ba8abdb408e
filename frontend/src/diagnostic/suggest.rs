//! "Did you mean": the nearest of the names that exist.

/// The candidate nearest to a misspelt `name`, if one is near enough to be what was meant.
///
/// Distance is the optimal string alignment distance (insertions, deletions, replacements and
/// exchanges of neighbours each count one). One edit is allowed for up to four letters, two for up
/// to eight, three beyond; among equally near candidates the first one wins.
pub fn closest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = name.chars().count();
    let allowed = match length {
        0..=1 => return None,
        2..=4 => 1,
        5..=8 => 2,
        _ => 3,
    };
    candidates
        .into_iter()
        // The distance is at least the difference in length; this keeps long input cheap.
        .filter(|candidate| candidate.chars().count().abs_diff(length) <= allowed)
        .map(|candidate| (strsim::osa_distance(name, candidate), candidate))
        .filter(|(distance, candidate)| (1..=allowed).contains(distance) && *candidate != name)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let names = ["linear", "relu", "tanh", "let"];
        assert_eq!(closest("linaer", names), Some("linear"));
        assert_eq!(closest("tahn", names), Some("tanh"));
        assert_eq!(closest("lte", names), Some("let"));
        assert_eq!(closest("gelu_of_x", names), None);
        assert_eq!(closest("x", names), None);
        assert_eq!(closest("relu", names), None);
    }
}
