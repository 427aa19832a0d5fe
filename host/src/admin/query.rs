//! The part of an address behind the question mark: which of the parameters that a route knows are given, and that no others are.

use std::time::Duration;

use super::parameter::Parameter;
use super::problem::Problem;
use crate::clock::Timestamp;
use crate::logs::escape;
use crate::units::Span;

/// Entries of a listing where nobody says how many.
pub(super) const LIMIT_DEFAULT: u32 = 100;
/// Most entries of a listing: the bodies of all of them are in memory at once.
pub(super) const LIMIT_MAX: u32 = 1_000;

/// The parameters of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads the parameters, each of which must be one of `known`.
    ///
    /// # Errors
    ///
    /// One is unknown, is there twice, or is no text.
    pub(super) fn parse(query: Option<&str>, known: &[Parameter]) -> Result<Self, Problem> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let text = |part| decode(part).ok_or_else(|| bad(format!("`{part}` is not percent-encoded UTF-8")));
            let (key, value) = (text(key)?, text(value)?);
            if !known.iter().any(|parameter| parameter.name == key) {
                return Err(bad(unknown(&key, known)));
            }
            if pairs.iter().any(|(given, _)| *given == key) {
                return Err(bad(format!("`{key}` is there twice")));
            }
            pairs.push((key, value));
        }
        Ok(Self(pairs))
    }

    /// Returns the query with one parameter more, or another value of it, as it stands in an address.
    pub(super) fn with(&self, parameter: &str, value: &str) -> String {
        let others =
            self.0.iter().filter(|(key, _)| key != parameter).map(|(key, value)| (key.as_str(), value.as_str()));
        let pairs = others.chain([(parameter, value)]).map(|(key, value)| format!("{}={}", encode(key), encode(value)));
        pairs.collect::<Vec<_>>().join("&")
    }

    /// Returns a parameter that is given and not empty.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(given, value)| given == key && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// Returns a parameter that is given, empty or not.
    pub(super) fn given(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(given, _)| given == key).map(|(_, value)| value.as_str())
    }

    /// Returns a parameter that is a name of some kind.
    ///
    /// # Errors
    ///
    /// It is none.
    pub(super) fn name<N>(&self, key: &str) -> Result<Option<N>, Problem>
    where
        N: std::str::FromStr<Err: std::fmt::Display>,
    {
        let parse = |text: &str| text.parse().map_err(|error| bad(format!("`{key}`: {error}")));
        self.text(key).map(parse).transpose()
    }

    /// Returns a parameter that is a whole number.
    ///
    /// # Errors
    ///
    /// It is none.
    pub(super) fn number(&self, key: &str) -> Result<Option<u64>, Problem> {
        let parse = |text: &str| {
            // `parse` would take a sign as well.
            let number = text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
            number.ok_or_else(|| bad(format!("`{key}` must be a whole number, not {}", escape(text))))
        };
        self.text(key).map(parse).transpose()
    }

    /// Returns whether a parameter is `true`. One that is absent is not.
    ///
    /// # Errors
    ///
    /// It is neither `true` nor `false`.
    pub(super) fn flag(&self, key: &str) -> Result<bool, Problem> {
        match self.text(key) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => Err(bad(format!("`{key}` must be `true` or `false`, not {}", escape(other)))),
        }
    }

    /// Returns a parameter that is a moment: in RFC 3339, or how long before `now`, such as `10m`.
    ///
    /// # Errors
    ///
    /// It is neither.
    pub(super) fn moment(&self, key: &str, now: Timestamp) -> Result<Option<Timestamp>, Problem> {
        let parse = |text: &str| {
            text.parse::<Timestamp>().ok().or_else(|| text.parse().ok().map(|Span(span)| now.saturating_sub(span)))
        };
        let wanted = |text: &str| {
            bad(format!(
                "`{key}` must be a moment such as 2026-11-21T12:00:00Z, or how long ago, such as 10m, not {}",
                escape(text)
            ))
        };
        self.text(key).map(|text| parse(text).ok_or_else(|| wanted(text))).transpose()
    }

    /// Returns a parameter that is a length of time, such as `1h`.
    ///
    /// # Errors
    ///
    /// It is none, or zero.
    pub(super) fn span(&self, key: &str) -> Result<Option<Duration>, Problem> {
        let parse = |text: &str| text.parse().ok().map(|Span(span)| span).filter(|span| !span.is_zero());
        let wanted = |text: &str| bad(format!("`{key}` must be a length of time such as 10m, not {}", escape(text)));
        self.text(key).map(|text| parse(text).ok_or_else(|| wanted(text))).transpose()
    }

    /// Returns how many entries are asked for.
    ///
    /// # Errors
    ///
    /// It is no number, or one that is not allowed.
    pub(super) fn limit(&self) -> Result<u32, Problem> {
        let Some(text) = self.text("limit") else { return Ok(LIMIT_DEFAULT) };
        let limit = text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
        limit.ok_or_else(|| bad(format!("`limit` must be a whole number from 1 to {LIMIT_MAX}, not {}", escape(text))))
    }
}

fn bad(detail: String) -> Problem {
    Problem::BadRequest(detail)
}

fn unknown(key: &str, known: &[Parameter]) -> String {
    let known = match known {
        [] => "none".to_owned(),
        known => known.iter().map(|parameter| parameter.name).collect::<Vec<_>>().join(", "),
    };
    format!("unknown parameter `{}`; this path takes: {known}", escape(key))
}

/// Percent-encodes all that is not plain in an address.
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// Undoes what addresses and forms do to texts. None: they did not do it, or it is no UTF-8.
pub(super) fn decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || u8::try_from(char::from(bytes.next()?).to_digit(16)?).ok();
                let (high, low) = (digit()?, digit()?);
                high << 4 | low
            }
            byte => byte,
        });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grants::ConnectorKey;

    const KNOWN: &[Parameter] = &[crate::admin::parameter::CONNECTOR, crate::admin::parameter::LIMIT];

    #[test]
    fn parameters_are_decoded() {
        let query = Query::parse(Some("connector=echo%2Fqq&&limit=7"), KNOWN).unwrap();
        let key: Option<ConnectorKey> = query.name("connector").unwrap();
        assert_eq!((key.unwrap().to_string().as_str(), query.limit()), ("echo/qq", Ok(7)));
        assert_eq!(query.with("limit", "a b&c"), "connector=echo%2Fqq&limit=a%20b%26c");
        let query = Query::parse(None, KNOWN).unwrap();
        assert_eq!((query.text("connector"), query.limit()), (None, Ok(LIMIT_DEFAULT)));
    }

    #[test]
    fn what_is_wrong_is_named_with_what_would_be_right() {
        let of = |query| Query::parse(Some(query), KNOWN);
        let limit = |query| of(query).and_then(|query| query.limit());
        for (query, said) in [
            ("state=lost", "unknown parameter `state`; this path takes: connector, limit"),
            ("limit=1&limit=2", "`limit` is there twice"),
            ("limit=%zz", "`%zz` is not percent-encoded UTF-8"),
            ("limit=%f", "`%f` is not percent-encoded UTF-8"),
            ("limit=0", "`limit` must be a whole number from 1 to 1000, not 0"),
            ("limit=1001", "`limit` must be a whole number from 1 to 1000, not 1001"),
            ("limit=%1b[2J", "`limit` must be a whole number from 1 to 1000, not \\u{1b}[2J"),
        ] {
            assert_eq!(limit(query), Err(Problem::BadRequest(said.to_owned())), "{query}");
        }
    }
}
