//! What a form sends: names and values, in the order of its fields. Pure.

use crate::admin::query::decode;

/// Most fields of a form: those of a page of listings, and some more.
const FIELDS_MAX: usize = 1_200;

/// What a form sent.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// Reads a body of `application/x-www-form-urlencoded`. What is none, or too much, is left out.
    pub(super) fn read(body: &[u8]) -> Self {
        let Ok(text) = std::str::from_utf8(body) else { return Self::default() };
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).take(FIELDS_MAX).filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(name)?, decode(value)?))
        });
        Self(pairs.collect())
    }

    /// Returns the value of a field that is there and not empty.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.all(name).next().filter(|value| !value.is_empty())
    }

    /// Returns the values of all fields of a name.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// Returns the fields whose names begin with a group and a dot, without it.
    pub(super) fn group(&self, group: &str) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter_map(move |(name, value)| {
            let name = name.strip_prefix(group)?.strip_prefix('.')?;
            Some((name, value.as_str()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_as_browsers_write_it() {
        let form =
            Form::read("a=1&b=x+y%26%C3%A9&choose=p&choose=q&empty=&setting.mode=calm&setting.x.y=2&flag".as_bytes());
        assert_eq!(
            (form.text("a"), form.text("b"), form.text("empty"), form.text("c")),
            (Some("1"), Some("x y&é"), None, None)
        );
        assert_eq!(form.all("choose").collect::<Vec<_>>(), ["p", "q"]);
        assert_eq!(form.group("setting").collect::<Vec<_>>(), [("mode", "calm"), ("x.y", "2")]);
    }

    #[test]
    fn what_is_no_form_is_left_out() {
        for body in [&b"\xff=1"[..], b"a=%", b"a=%zz", b"a=%ff", b""] {
            assert_eq!(Form::read(body), Form::default(), "{body:?}");
        }
        let many = vec!["a=1"; FIELDS_MAX + 5].join("&");
        assert_eq!(Form::read(many.as_bytes()).all("a").count(), FIELDS_MAX);
    }
}
