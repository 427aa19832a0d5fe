//! Finds secrets in what comes back, whole or cut into pieces, as they are or encoded, and puts as many `*` in their place. So
//! nothing becomes longer or shorter, and who is told a length is told the truth.
//!
//! It finds what a server repeats, also where that is escaped for JSON or a URL, in base64 or in hexadecimal. A server that means to
//! hide a secret from it can; such a server has the secret already.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};

use crate::secret::Secret;

/// Shorter texts are not looked for: they are everywhere.
const FORM_BYTES_MIN: usize = 4;

/// Where a search stands. The root of the tree of forms is 0.
type State = u32;

/// Knows secrets in each of their forms. Looking for all of them takes one pass, whatever they are (Aho and Corasick).
pub struct Redactor {
    nodes: Vec<Node>,
    /// Where each byte leads from the root: there almost every byte of an answer is read.
    first: Box<[State; 256]>,
}

/// What was read last is the beginning of some form.
#[derive(Default)]
struct Node {
    /// What may come next, in order.
    next: Vec<(u8, State)>,
    /// The longest end of what was read that is a shorter beginning of some form.
    fallback: State,
    /// How much of a form was read, in bytes.
    depth: usize,
    /// The longest form that ends here, in bytes; 0: none.
    found: usize,
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redactor([redacted])")
    }
}

impl Redactor {
    /// Returns what finds these secrets. One of fewer than 4 bytes is not looked for.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let mut redactor = Self { nodes: vec![Node::default()], first: Box::new([0; 256]) };
        for form in secrets.into_iter().flat_map(|secret| forms(secret.expose())) {
            redactor.insert(&form);
        }
        redactor.link();
        redactor
    }

    fn insert(&mut self, form: &[u8]) {
        let mut at = 0;
        for (index, &byte) in form.iter().enumerate() {
            at = match self.child(at, byte) {
                Some(child) => child,
                None => {
                    let child = State::try_from(self.nodes.len()).expect("secrets fit into memory many times over");
                    self.nodes.push(Node { depth: index + 1, ..Node::default() });
                    let next = &mut self.nodes[at as usize].next;
                    let place = next.partition_point(|(other, _)| *other < byte);
                    next.insert(place, (byte, child));
                    child
                }
            };
        }
        self.nodes[at as usize].found = form.len();
    }

    /// Says for each node where to go on when nothing fits: from the root outwards, so that what is fallen back on is known.
    fn link(&mut self) {
        for &(byte, child) in &self.nodes[0].next {
            self.first[usize::from(byte)] = child;
        }
        let mut queue = VecDeque::from([0]);
        while let Some(at) = queue.pop_front() {
            for index in 0..self.nodes[at as usize].next.len() {
                let (byte, child) = self.nodes[at as usize].next[index];
                let fallback = if at == 0 { 0 } else { self.step(self.nodes[at as usize].fallback, byte) };
                let found = self.nodes[fallback as usize].found;
                let node = &mut self.nodes[child as usize];
                node.fallback = fallback;
                node.found = node.found.max(found);
                queue.push_back(child);
            }
        }
    }

    fn child(&self, at: State, byte: u8) -> Option<State> {
        let next = &self.nodes[at as usize].next;
        next.binary_search_by_key(&byte, |(other, _)| *other).ok().map(|index| next[index].1)
    }

    fn step(&self, mut at: State, byte: u8) -> State {
        while at != 0 {
            match self.child(at, byte) {
                Some(child) => return child,
                None => at = self.nodes[at as usize].fallback,
            }
        }
        self.first[usize::from(byte)]
    }

    /// Returns a text without secrets, if it has any.
    pub fn redacted(self: &Arc<Self>, text: &[u8]) -> Option<Bytes> {
        let mut scan = Scan::new(Arc::clone(self));
        let clean = [scan.push(Bytes::copy_from_slice(text)), scan.finish()].concat();
        (clean != text).then(|| clean.into())
    }
}

/// A search through something that comes in pieces.
#[derive(Debug)]
pub struct Scan {
    redactor: Arc<Redactor>,
    at: State,
    /// The end of what was read, which may be the beginning of a secret: never longer than the longest form.
    held: Vec<u8>,
}

impl Scan {
    /// Returns a search that has seen nothing yet.
    pub fn new(redactor: Arc<Redactor>) -> Self {
        Self { redactor, at: 0, held: Vec::new() }
    }

    /// Returns what of everything so far can be part of no secret any more, with stars where one was. It may be nothing.
    pub fn push(&mut self, bytes: Bytes) -> Bytes {
        let before = self.held.len();
        let mut hits: Vec<Range<usize>> = Vec::new();
        for (index, &byte) in bytes.iter().enumerate() {
            self.at = self.redactor.step(self.at, byte);
            let found = self.redactor.nodes[self.at as usize].found;
            if found > 0 {
                let end = before + index + 1;
                let mut start = end - found;
                // What overlaps is one, so that there are never more than there are bytes.
                while let Some(last) = hits.pop_if(|last| last.end >= start) {
                    start = start.min(last.start);
                }
                hits.push(start..end);
            }
        }
        let hold = self.redactor.nodes[self.at as usize].depth;
        if before == 0 && hits.is_empty() {
            let mut bytes = bytes;
            self.held = bytes.split_off(bytes.len() - hold).to_vec();
            return bytes;
        }
        let mut all = std::mem::take(&mut self.held);
        all.extend_from_slice(&bytes);
        hits.into_iter().for_each(|hit| all[hit].fill(b'*'));
        self.held = all.split_off(all.len() - hold);
        all.into()
    }

    /// Returns what was held back: nothing follows that would make it a secret.
    pub fn finish(&mut self) -> Bytes {
        self.at = 0;
        std::mem::take(&mut self.held).into()
    }

    /// Returns how many bytes are held back.
    pub fn held_len(&self) -> usize {
        self.held.len()
    }
}

/// Returns everything that a secret looks like once it was repeated.
fn forms(secret: &str) -> BTreeSet<Vec<u8>> {
    let bytes = secret.as_bytes();
    let json = serde_json::to_string(secret).unwrap_or_default();
    let json = json.trim_start_matches('"').strip_suffix('"').unwrap_or_default().to_owned();
    let mut forms = BTreeSet::from([
        secret.to_owned(),
        json.replace('/', "\\/"),
        json,
        HEXLOWER.encode(bytes),
        HEXUPPER.encode(bytes),
        BASE64.encode(bytes),
        BASE64_NOPAD.encode(bytes),
        BASE64URL.encode(bytes),
        BASE64URL_NOPAD.encode(bytes),
    ]);
    // What `encodeURIComponent` leaves as it is, others do not.
    for kept in ["-_.~", "-_.~!'()*"] {
        let upper = percent_encoded(bytes, kept);
        forms.extend([upper.replace("%20", "+"), lower_hexadecimal(&upper), upper]);
    }
    forms.extend((0..3).flat_map(|before| {
        [inside_base64(bytes, before), inside_base64(bytes, before).replace('+', "-").replace('/', "_")]
    }));
    let mut forms: BTreeSet<Vec<u8>> = forms.into_iter().map(String::into_bytes).collect();
    forms.retain(|form| form.len() >= FORM_BYTES_MIN);
    forms
}

fn percent_encoded(bytes: &[u8], kept: &str) -> String {
    let mut text = String::with_capacity(bytes.len() * 3);
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || kept.as_bytes().contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push('%');
            text.push_str(&HEXUPPER.encode(&[byte]));
        }
    }
    text
}

/// Returns the same with the digits after each `%` in lower case.
fn lower_hexadecimal(encoded: &str) -> String {
    let mut parts = encoded.split('%');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let (digits, rest) = part.split_at_checked(2).unwrap_or((part, ""));
        text + "%" + &digits.to_ascii_lowercase() + rest
    })
}

/// Returns what the base64 of a longer text has of a secret, where `before` bytes, or three, six, … more, stand in front of it: the
/// digits that depend on it alone.
fn inside_base64(secret: &[u8], before: usize) -> String {
    let text = [&[0; 2][..before], secret].concat();
    let digits = BASE64_NOPAD.encode(&text);
    let (first, end) = ((before * 8).div_ceil(6), text.len() * 8 / 6);
    digits.get(first..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn redactor(secrets: &[&str]) -> Arc<Redactor> {
        let secrets: Vec<_> = secrets.iter().map(|secret| Secret::new(*secret)).collect();
        Arc::new(Redactor::new(&secrets))
    }

    /// Returns what comes out, cut into pieces of `size` bytes on its way in.
    fn scanned(redactor: &Arc<Redactor>, text: &[u8], size: usize) -> Vec<u8> {
        let mut scan = Scan::new(Arc::clone(redactor));
        let mut out = Vec::new();
        for piece in text.chunks(size) {
            out.extend(scan.push(Bytes::copy_from_slice(piece)));
            assert!(scan.held_len() <= text.len());
        }
        out.extend(scan.finish());
        out
    }

    #[track_caller]
    fn check(secrets: &[&str], text: &str, expected: &str) {
        let redactor = redactor(secrets);
        for size in 1..=text.len().max(1) {
            let out = String::from_utf8(scanned(&redactor, text.as_bytes(), size)).unwrap();
            assert_eq!(out, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn a_secret_becomes_stars_however_it_is_cut() {
        check(&["hunter2"], "{\"token\": \"hunter2\"}", "{\"token\": \"*******\"}");
        check(&["hunter2"], "hunter2hunter2", "**************");
        check(&["hunter2"], "hunterhunter2", "hunter*******");
        check(&["hunter2"], "hunter", "hunter");
        check(&["hunter2"], "", "");
    }

    #[test]
    fn secrets_within_and_across_one_another_are_all_found() {
        check(&["abcdef", "cdefgh"], "abcdefgh abcdeX cdefgh", "******** abcdeX ******");
        check(&["bcde", "abcdefg"], "abcdefX abcdefg", "a****fX *******");
        check(&["aaaa"], "aaaaaab", "******b");
        check(&["abab!"], "ababab!", "ab*****");
    }

    #[test]
    fn a_secret_is_found_in_every_form_that_a_server_repeats_it_in() {
        let secret = "s3cr3t/\"+ä key?";
        let redactor = redactor(&[secret]);
        let basic = |before: &str| format!("{before}{secret} and more");
        let texts = [
            secret.to_owned(),
            serde_json::json!({ "echo": secret }).to_string(),
            "s3cr3t\\/\\\"+ä key?".to_owned(),
            "s3cr3t%2F%22%2B%C3%A4%20key%3F".to_owned(),
            "s3cr3t%2f%22%2b%c3%a4%20key%3f".to_owned(),
            "s3cr3t%2F%22%2B%C3%A4+key%3F".to_owned(),
            HEXLOWER.encode(secret.as_bytes()),
            HEXUPPER.encode(basic("x").as_bytes()),
            BASE64.encode(secret.as_bytes()),
            BASE64URL.encode(secret.as_bytes()),
            BASE64.encode(basic("Bot ").as_bytes()),
            BASE64.encode(basic("Basic ").as_bytes()),
            BASE64URL.encode(basic("Bearer ").as_bytes()),
        ];
        for text in texts {
            let out = redactor.redacted(text.as_bytes()).unwrap_or_else(|| panic!("it stands in {text}"));
            let stars = out.iter().filter(|byte| **byte == b'*').count();
            assert_eq!(out.len(), text.len(), "{text}");
            assert!(stars >= secret.len(), "{text}: {out:?}");
        }
    }

    #[test]
    fn what_is_no_secret_stays_as_it_is() {
        let redactor = redactor(&["hunter2", "ab", ""]);
        for text in ["", "ab", "hunter", "Hunter2", "aHVudGVy"] {
            assert_eq!(redactor.redacted(text.as_bytes()), None, "{text}");
        }
        assert!(!format!("{redactor:?} {:?}", Scan::new(Arc::clone(&redactor))).contains("hunter2"));
    }

    #[test]
    fn nothing_is_held_back_but_the_beginning_of_a_secret() {
        let mut scan = Scan::new(redactor(&["hunter2"]));
        assert_eq!(scan.push(Bytes::from_static(b"a long text without hun")), "a long text without ");
        assert_eq!(scan.push(Bytes::from_static(b"dred, hunte")), "hundred, ");
        assert_eq!(scan.held_len(), 5);
        assert_eq!(scan.push(Bytes::from_static(b"r2!")), "*******!");
        assert_eq!(scan.finish(), "");
    }

    proptest! {
        #[test]
        fn any_secret_in_any_text_in_any_pieces_is_gone_and_the_length_stays(
            secrets in proptest::collection::vec("[ab]{4,6}", 1..4),
            text in "[abc]{0,60}",
            size in 1usize..20,
        ) {
            let given: Vec<&str> = secrets.iter().map(String::as_str).collect();
            let out = String::from_utf8(scanned(&redactor(&given), text.as_bytes(), size)).unwrap();
            let mut expected = text.clone().into_bytes();
            for secret in &secrets {
                let here = |at: &usize| text[*at..].starts_with(secret.as_str());
                for at in (0..text.len()).filter(here) {
                    expected[at..at + secret.len()].fill(b'*');
                }
            }
            prop_assert_eq!(out.as_bytes(), &expected[..]);
        }

        #[test]
        fn the_base64_of_any_text_around_a_secret_shows_none_of_it(
            before in proptest::collection::vec(any::<u8>(), 0..9),
            secret in "[a-zA-Z0-9]{8,20}",
            after in proptest::collection::vec(any::<u8>(), 0..9),
        ) {
            let text = BASE64.encode(&[&before[..], secret.as_bytes(), &after[..]].concat());
            let out = redactor(&[&secret]).redacted(text.as_bytes()).expect("it is found");
            let stars = out.iter().filter(|byte| **byte == b'*').count();
            prop_assert!(stars + 1 >= secret.len() * 4 / 3 - 1, "{} {:?}", text, out);
        }
    }
}
