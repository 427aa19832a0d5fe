//! The way from one page of a listing to the next.

use crate::admin::query::encode;
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

/// Which piece of a listing is shown that the API gives no other pieces of than its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// Counted from 0.
    page: usize,
}

impl Piece {
    /// Entries of a piece.
    const ROWS: usize = 100;
    /// What the API gives at most. Whoever has more of it looks for a part of it.
    const LISTED_MAX: usize = 1_000;

    /// Reads which page an address asks for.
    pub(super) fn new(page: Option<&str>) -> Self {
        let page = page.and_then(|page| page.parse::<usize>().ok()).unwrap_or(1);
        Self { page: page.clamp(1, Self::LISTED_MAX / Self::ROWS) - 1 }
    }

    /// Returns how much to ask for: the piece, all before it, and one that says that there is more.
    pub(super) fn limit(self) -> String {
        ((self.page + 1) * Self::ROWS + 1).min(Self::LISTED_MAX).to_string()
    }

    /// Returns what is in the piece, and links to those beside it.
    pub(super) fn cut<T>(
        self,
        listed: Vec<T>,
        text: &'static Text,
        (path, parameters): (&str, &[(&str, &str)]),
    ) -> (Vec<T>, Pager) {
        let (first, number) = (self.page * Self::ROWS, listed.len());
        let shown: Vec<_> = listed.into_iter().skip(first).take(Self::ROWS).collect();
        let link = |page: usize| {
            let number = if page == 0 { String::new() } else { (page + 1).to_string() };
            let parameters: Vec<_> = parameters.iter().copied().chain([("page", number.as_str())]).collect();
            address(path, &parameters)
        };
        let last = first + shown.len();
        let range = if shown.is_empty() { String::new() } else { format!("{}–{last}", first + 1) };
        let before = (self.page > 0).then(|| link(self.page - 1));
        (shown, Pager::new(text, range, before, (number > last).then(|| link(self.page + 1))))
    }
}

/// Returns an address with parameters: those that are empty are left out.
pub(super) fn address(path: &str, parameters: &[(&str, &str)]) -> String {
    let given = parameters.iter().filter(|(_, value)| !value.is_empty());
    let pairs: Vec<_> = given.map(|(name, value)| format!("{name}={}", encode(value))).collect();
    if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::super::text::ENGLISH;
    use super::*;

    #[test]
    fn a_listing_is_gone_through_piece_by_piece() {
        let cut = |page: &str, number: u32| {
            let (shown, pager) = Piece::new(Some(page)).cut((0..number).collect(), &ENGLISH, ("/x", &[("a", "b")]));
            (shown.first().copied(), shown.len(), pager.range, pager.before, pager.after)
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(Piece::new(None).limit(), "101");
        assert_eq!(cut("1", 101), (Some(0), 100, "1–100".into(), None, text("/x?a=b&page=2")));
        assert_eq!(cut("2", 101), (Some(100), 1, "101–101".into(), text("/x?a=b"), None));
        assert_eq!(cut("3", 250), (Some(200), 50, "201–250".into(), text("/x?a=b&page=2"), None));
        assert_eq!(cut("nonsense", 0), (None, 0, String::new(), None, None));
        assert_eq!((Piece::new(Some("99")).limit(), cut("99", 1_000).4), ("1000".into(), None));
    }

    #[test]
    fn an_address_has_what_is_given_and_nothing_of_it_breaks_out() {
        assert_eq!(address("/bots", &[("search", ""), ("page", "2")]), "/bots?page=2");
        assert_eq!(address("/bots", &[("search", "a&b=c/é\"")]), "/bots?search=a%26b%3Dc%2F%C3%A9%22");
        assert_eq!(address("/bots", &[]), "/bots");
    }
}
