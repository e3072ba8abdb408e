//! What the terminal at the other end can show.

use std::io::IsTerminal;

/// Whether output is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ColorChoice {
    /// Coloured on a terminal, unless the environment asks for none (`NO_COLOR`, see
    /// <https://no-color.org>, or `TERM=dumb`).
    #[default]
    Auto,
    /// Always coloured.
    Always,
    /// Never coloured.
    Never,
}

impl ColorChoice {
    /// Whether what is written to `stream` gets colour.
    pub fn for_stream(self, stream: &impl IsTerminal) -> bool {
        let variable = |name: &str| std::env::var(name).unwrap_or_default();
        self.decide(stream.is_terminal(), &variable("NO_COLOR"), &variable("TERM"))
    }

    /// The decision itself; an empty variable counts as one that is not set.
    fn decide(self, is_terminal: bool, no_color: &str, term: &str) -> bool {
        match self {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => is_terminal && no_color.is_empty() && term != "dumb",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_willing_terminal_gets_colour() {
        assert!(ColorChoice::Auto.decide(true, "", "xterm"));
        assert!(!ColorChoice::Auto.decide(false, "", "xterm"));
        assert!(!ColorChoice::Auto.decide(true, "1", "xterm"));
        assert!(!ColorChoice::Auto.decide(true, "", "dumb"));
        assert!(ColorChoice::Always.decide(false, "1", "dumb"));
        assert!(!ColorChoice::Never.decide(true, "", "xterm"));
    }
}
