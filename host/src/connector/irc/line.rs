//! One line of IRC: read strictly, written so that nothing in it ends it early. Pure.

use std::fmt::Write as _;

/// Longest line without its tags, in bytes, with the two that end it.
pub(super) const LINE_BYTES_MAX: usize = 512;
/// Longest tags, in bytes, with the `@` and the space.
pub(super) const TAGS_BYTES_MAX: usize = 8191;

/// What the server said, or another through it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Line {
    /// Tags and their values.
    pub(super) tags: Vec<(String, String)>,
    /// Who says it: `nick!user@host`, or a server's name.
    pub(super) source: Option<String>,
    /// A word or three digits, in upper case.
    pub(super) command: String,
    /// The parameters.
    pub(super) params: Vec<String>,
}

impl Line {
    /// Reads a line without its end; none where it is none.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let text = decode(bytes);
        if text.contains(['\0', '\r', '\n']) {
            return None;
        }
        let mut rest = text.as_str();
        let mut line = Self::default();
        if let Some(tagged) = rest.strip_prefix('@') {
            let (tags, after) = tagged.split_once(' ')?;
            line.tags = tags.split(';').filter(|tag| !tag.is_empty()).map(tag).collect();
            rest = after.trim_start_matches(' ');
        }
        if let Some(from) = rest.strip_prefix(':') {
            let (source, after) = from.split_once(' ')?;
            line.source = Some(source.to_owned());
            rest = after.trim_start_matches(' ');
        }
        let (command, mut rest) = rest.split_once(' ').unwrap_or((rest, ""));
        if command.is_empty() || !command.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return None;
        }
        line.command = command.to_ascii_uppercase();
        while !rest.is_empty() {
            rest = rest.trim_start_matches(' ');
            if let Some(last) = rest.strip_prefix(':') {
                line.params.push(last.to_owned());
                break;
            }
            let (param, after) = rest.split_once(' ').unwrap_or((rest, ""));
            if !param.is_empty() {
                line.params.push(param.to_owned());
            }
            rest = after;
        }
        Some(line)
    }

    /// Returns a parameter; empty where there are not so many.
    pub(super) fn param(&self, index: usize) -> &str {
        self.params.get(index).map_or("", String::as_str)
    }

    /// Returns the last parameter: what a line says.
    pub(super) fn text(&self) -> &str {
        self.params.last().map_or("", String::as_str)
    }

    /// Returns the value of a tag that has one.
    pub(super) fn tag(&self, name: &str) -> Option<&str> {
        let found = self.tags.iter().rev().find(|(tag, _)| tag == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Returns the nick of whoever says it.
    pub(super) fn nick(&self) -> &str {
        let source = self.source.as_deref().unwrap_or_default();
        source.split_once('!').map_or(source, |(nick, _)| nick)
    }

    /// Returns the number of a reply.
    pub(super) fn numeric(&self) -> Option<u16> {
        (self.command.len() == 3).then(|| self.command.parse().ok()).flatten()
    }
}

/// UTF-8 as all write today, else the bytes as Latin-1, as some still do.
fn decode(bytes: &[u8]) -> String {
    std::str::from_utf8(bytes).map_or_else(|_| bytes.iter().map(|byte| char::from(*byte)).collect(), str::to_owned)
}

fn tag(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    let mut plain = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(':') => plain.push(';'),
                Some('s') => plain.push(' '),
                Some('r') => plain.push('\r'),
                Some('n') => plain.push('\n'),
                Some(other) => plain.push(other),
                None => {}
            },
            c => plain.push(c),
        }
    }
    (name.to_owned(), plain)
}

/// Writes a line with its end. Nothing in a parameter ends the line, and none but the last has a space.
pub(super) fn compose(command: &str, params: &[&str]) -> String {
    let mut line = command.to_owned();
    for (index, param) in params.iter().enumerate() {
        let param: String = param.chars().filter(|c| !matches!(c, '\r' | '\n' | '\0')).collect();
        let is_last = index + 1 == params.len();
        let needs_colon = param.is_empty() || param.starts_with(':') || param.contains(' ');
        // Writing to a text cannot fail.
        let _ = match (is_last, needs_colon) {
            (true, true) => write!(line, " :{param}"),
            (false, true) => write!(line, " {}", param.trim_start_matches(':').replace(' ', "_")),
            (_, false) => write!(line, " {param}"),
        };
    }
    line.push_str("\r\n");
    line
}

/// Cuts what comes over a connection into lines. What is longer than a line may be is left out, whole.
#[derive(Debug, Default)]
pub(super) struct Lines {
    buffer: Vec<u8>,
    /// The end of a line that is too long has not come yet.
    is_skipping: bool,
    /// Lines that were left out.
    pub(super) too_long: u64,
}

impl Lines {
    /// Adds what came, and returns the lines that it completes.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Vec<Line> {
        let mut lines = Vec::new();
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.add(&bytes[..end]);
            bytes = &bytes[end + 1..];
            let raw = std::mem::take(&mut self.buffer);
            if !std::mem::take(&mut self.is_skipping) {
                lines.extend(Line::parse(raw.strip_suffix(b"\r").unwrap_or(&raw)));
            }
        }
        self.add(bytes);
        lines
    }

    fn add(&mut self, bytes: &[u8]) {
        if self.is_skipping {
            return;
        }
        if self.buffer.len() + bytes.len() > TAGS_BYTES_MAX + LINE_BYTES_MAX {
            self.buffer.clear();
            self.is_skipping = true;
            self.too_long += 1;
        } else {
            self.buffer.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_has_tags_a_source_a_command_and_parameters() {
        let line = Line::parse(b"@msgid=a\\sb\\:c;+x;time=  :ann!a@h privmsg #tea  :hello: world ").unwrap();
        assert_eq!((line.tag("msgid"), line.tag("+x"), line.nick()), (Some("a b;c"), None, "ann"));
        assert_eq!(
            (line.command.as_str(), line.params.clone()),
            ("PRIVMSG", vec!["#tea".to_owned(), "hello: world ".to_owned()])
        );
        assert_eq!(Line::parse(b":irc.x 433 * bot :in use").unwrap().numeric(), Some(433));
        assert_eq!(Line::parse(b"PING").unwrap().text(), "");
        assert_eq!(Line::parse(b":a PRIVMSG b :gr\xfc\xdf").unwrap().text(), "grüß");
        for none in [&b""[..], b"@a", b":a", b"@a :b", b"\x01", b" PING", b"A\0B"] {
            assert_eq!(Line::parse(none), None, "{none:?}");
        }
    }

    #[test]
    fn what_is_too_long_is_left_out_and_what_follows_is_read() {
        let mut lines = Lines::default();
        assert!(lines.feed(&vec![b'x'; TAGS_BYTES_MAX + LINE_BYTES_MAX + 1]).is_empty());
        let read = lines.feed(b"yyy\r\nPING :a\r\nPI");
        assert_eq!((read.len(), read[0].text(), lines.too_long), (1, "a", 1));
        assert_eq!(lines.feed(b"NG b\n")[0].text(), "b");
    }

    proptest! {
        #[test]
        fn nothing_that_comes_panics_or_is_kept_for_long(pieces in prop::collection::vec(any::<Vec<u8>>(), 0..20)) {
            let mut lines = Lines::default();
            for piece in pieces {
                lines.feed(&piece);
                prop_assert!(lines.buffer.len() <= TAGS_BYTES_MAX + LINE_BYTES_MAX);
            }
        }

        #[test]
        fn what_is_composed_is_one_line_and_reads_as_it_was_meant(target in "[#a-z]{1,9}", text in any::<String>()) {
            let line = compose("PRIVMSG", &[&target, &text]);
            prop_assert_eq!(line.matches(['\r', '\n', '\0']).count(), 2);
            let read = Line::parse(line.trim_end_matches("\r\n").as_bytes()).unwrap();
            let meant: String = text.chars().filter(|c| !matches!(c, '\r' | '\n' | '\0')).collect();
            prop_assert_eq!((read.param(0), read.param(1)), (target.as_str(), meant.as_str()));
        }
    }
}
