//! Why something could not be done. It owns the classes of failure and the conversions that make `?` short.

use std::error::Error;
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

/// The result of nearly every function here, and of every handler.
pub type Result<T = (), E = Failure> = std::result::Result<T, E>;

/// Why something could not be done: each case is a class that a bot can act on, the texts are for people.
///
/// The host answers with these, and a bot returns one to say why it failed. Texts, parse errors and the errors of
/// `std::io` and `serde_json` become [`Failure::Other`] through `?`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// Too many requests. Trying again is worth it after this long, not before.
    RateLimited(Duration),
    /// The platform refuses the connector's credentials. Only the operator can mend that.
    Unauthorized,
    /// The platform refuses this act: blocked by the user, or no permission in the conversation.
    Forbidden,
    /// What was named does not exist, or does not exist any more.
    NotFound,
    /// The request itself is wrong; sent again it fails again. The text says what is wrong with it.
    Invalid(String),
    /// No answer came in time. What was asked for may or may not have happened.
    TimedOut,
    /// The platform, or a part of the host, is down. Trying again later is worth it. The text says which part.
    Unavailable(String),
    /// A limit of this bot is used up. The text names the configuration key of the limit.
    QuotaExceeded(String),
    /// The operator has not granted this. The text is the configuration line that would.
    NotGranted(String),
    /// Anything else; from a bot, whatever it wants to say of its own failure.
    Other(String),
}

impl Display for Failure {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::RateLimited(after) => {
                write!(formatter, "rate limited, try again in {after:?}")
            }
            Self::Unauthorized => formatter.write_str("credentials refused"),
            Self::Forbidden => formatter.write_str("forbidden"),
            Self::NotFound => formatter.write_str("not found"),
            Self::Invalid(why) => write!(formatter, "invalid: {why}"),
            Self::TimedOut => formatter.write_str("timed out"),
            Self::Unavailable(what) => write!(formatter, "unavailable: {what}"),
            Self::QuotaExceeded(what) => write!(formatter, "quota exceeded: {what}"),
            Self::NotGranted(what) => write!(formatter, "not granted: {what}"),
            Self::Other(text) => formatter.write_str(text),
        }
    }
}

impl Error for Failure {}

impl From<&str> for Failure {
    fn from(text: &str) -> Self {
        Self::Other(text.to_owned())
    }
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self::Other(text)
    }
}

/// A blanket conversion from every error would collide with the one from `Failure` itself.
macro_rules! other_from {
    ($($error:ty),+ $(,)?) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::Other(error.to_string())
            }
        })+
    };
}

other_from!(
    serde_json::Error,
    std::fmt::Error,
    std::io::Error,
    std::num::ParseFloatError,
    std::num::ParseIntError,
    std::str::Utf8Error,
    std::string::FromUtf8Error,
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_reads_well_within_a_chain() {
        let wait = Failure::RateLimited(Duration::from_millis(1_500));
        assert_eq!(wait.to_string(), "rate limited, try again in 1.5s");
        let grant = Failure::NotGranted("http = [\"example.com\"]".into());
        assert_eq!(grant.to_string(), "not granted: http = [\"example.com\"]");
    }

    #[test]
    fn the_question_mark_takes_texts_and_parse_errors() {
        fn parse(text: &str) -> Result<i64> {
            if text.is_empty() {
                Err("nothing to parse")?;
            }
            Ok(text.parse::<i64>()?)
        }
        assert_eq!(parse("7"), Ok(7));
        assert_eq!(parse(""), Err(Failure::Other("nothing to parse".into())));
        let wrong = parse("seven").expect_err("refused");
        assert_eq!(wrong, Failure::Other("invalid digit found in string".into()));
    }
}
