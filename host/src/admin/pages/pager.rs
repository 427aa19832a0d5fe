//! The way from one page of a listing to the next.

use askama::Template;
use askama::filters::HtmlSafe;

use super::text::Text;

/// Links to the pages before and after.
#[derive(Debug, Clone, Template)]
#[template(path = "pager.html")]
pub(super) struct Pager {
    label: &'static str,
    range: String,
    before: Option<String>,
    after: Option<String>,
    earlier: &'static str,
    later: &'static str,
}

impl HtmlSafe for Pager {}

impl Pager {
    /// Returns links to the pages before and after, where there are some; `range` says what is shown.
    pub(super) fn new(text: &'static Text, range: String, before: Option<String>, after: Option<String>) -> Self {
        Self { label: text.show, range, before, after, earlier: text.earlier_page, later: text.later_page }
    }
}

/// Returns an address with parameters: those that are empty are left out.
pub(super) fn address(path: &str, parameters: &[(&str, &str)]) -> String {
    let given = parameters.iter().filter(|(_, value)| !value.is_empty());
    let pairs: Vec<_> = given.map(|(name, value)| format!("{name}={}", encode(value))).collect();
    if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) }
}

/// Writes a text so that it can be part of an address.
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_what_is_given_and_nothing_of_it_breaks_out() {
        assert_eq!(address("/bots", &[("search", ""), ("page", "2")]), "/bots?page=2");
        assert_eq!(address("/bots", &[("search", "a&b=c/é\"")]), "/bots?search=a%26b%3Dc%2F%C3%A9%22");
        assert_eq!(address("/bots", &[]), "/bots");
    }
}
