//! Colours: whether there are any, and which one a word of the host's gets.

use std::env;
use std::io::{self, IsTerminal as _};
use std::sync::OnceLock;

use clap::ValueEnum;

/// When there are colours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum When {
    // On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`
    #[default]
    Auto,
    // In files and pipes as well
    Always,
    // Nowhere.
    Never,
}

static IS_ON: OnceLock<bool> = OnceLock::new();

/// Decides it for this process. Only the first call counts.
pub(super) fn choose(when: When) {
    let set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
    let _ = IS_ON.set(is_wanted(when, io::stdout().is_terminal(), set("NO_COLOR"), is_dumb));
}

/// Returns whether there are colours.
pub(super) fn is_on() -> bool {
    IS_ON.get().copied().unwrap_or(false)
}

fn is_wanted(when: When, is_terminal: bool, is_refused: bool, is_dumb: bool) -> bool {
    match when {
        When::Always => true,
        When::Never => false,
        When::Auto => is_terminal && !is_refused && !is_dumb,
    }
}

/// What a colour says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paint {
    Good,
    Warning,
    Bad,
    Faint,
}

impl Paint {
    /// Returns what a word says that the host has for the state of something: a phase, a severity, a verdict.
    pub(super) fn of(word: &str) -> Option<Self> {
        match word {
            "ok" | "running" | "connected" | "done" | "delivered" | "resolved" | "serving" => Some(Self::Good),
            "warning" | "warn" | "degraded" | "starting" | "probation" | "draining" | "connecting"
            | "authenticating" | "backing-off" | "backoff" | "contested" | "pending" | "acknowledged"
            | "discovered" => Some(Self::Warning),
            "problem" | "critical" | "error" | "rejected" | "quarantined" | "auth-failed" | "firing"
            | "unavailable" | "lost" | "dead" | "refused" => Some(Self::Bad),
            "disabled" | "stopped" => Some(Self::Faint),
            _ => None,
        }
    }

    /// Returns a text in this colour.
    pub(super) fn apply(self, text: &str) -> String {
        let code = match self {
            Self::Good => "32",
            Self::Warning => "33",
            Self::Bad => "31",
            Self::Faint => "2",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

#[cfg(test)]
mod tests {
    use bothost::bot::phase::Phase;

    use super::*;

    #[test]
    fn there_are_colours_on_a_terminal_only_and_only_where_nobody_minds() {
        assert!(is_wanted(When::Auto, true, false, false));
        for (is_terminal, is_refused, is_dumb) in [(false, false, false), (true, true, false), (true, false, true)] {
            assert!(!is_wanted(When::Auto, is_terminal, is_refused, is_dumb));
        }
        assert!(is_wanted(When::Always, false, true, true) && !is_wanted(When::Never, true, false, false));
    }

    #[test]
    fn a_phase_has_the_colour_of_how_it_is() {
        assert_eq!(Paint::of(Phase::Running.as_str()), Some(Paint::Good));
        assert_eq!(Paint::of(Phase::Starting.as_str()), Some(Paint::Warning));
        assert_eq!(Paint::of(Phase::Disabled.as_str()), Some(Paint::Faint));
        assert_eq!(Paint::of("quarantined"), Some(Paint::Bad));
        assert_eq!(Paint::of("a bot's own word"), None);
        assert_eq!(Paint::Bad.apply("x"), "\u{1b}[31mx\u{1b}[0m");
    }
}
