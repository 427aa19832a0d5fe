//! Texts as platforms take them: cut into pieces that fit, and buttons as numbered lines where there are none. Pure.

use unicode_segmentation::UnicodeSegmentation;

use crate::action::Button;

/// What a platform counts a text's length in, and how much of it one message holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Measure {
    /// Bytes of UTF-8.
    Bytes(usize),
    /// Unicode's code points.
    Chars(usize),
    /// Units of UTF-16, as Java and JavaScript count.
    Utf16(usize),
}

impl Measure {
    fn max(self) -> usize {
        match self {
            Self::Bytes(max) | Self::Chars(max) | Self::Utf16(max) => max,
        }
    }

    fn of(self, text: &str) -> usize {
        match self {
            Self::Bytes(_) => text.len(),
            Self::Chars(_) => text.chars().count(),
            Self::Utf16(_) => text.encode_utf16().count(),
        }
    }

    /// Returns whether a text fits into one message.
    pub(super) fn fits(self, text: &str) -> bool {
        self.of(text) <= self.max()
    }
}

/// The fence of a block of code.
const FENCE: &str = "```";

/// Cuts a text into pieces that fit. A piece ends after a line if one ends in its second half, else after a word, else between two
/// characters as people see them. A block of code that is cut is closed at the end of the piece and opened again in the next; but for
/// these fences the pieces together are the text. Pieces of nothing but white space are left out, so a text of nothing else has none.
pub(super) fn split(text: &str, measure: Measure) -> Vec<String> {
    split_after(text, measure, measure)
}

/// As [`split`], for a first message that holds another amount than those after it. Where the first piece would be nothing but white space,
/// the piece that comes first instead is as long as any.
pub(super) fn split_after(text: &str, first: Measure, later: Measure) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut open: Option<&str> = None;
    while !rest.is_empty() {
        let measure = if pieces.is_empty() { first } else { later };
        let opening = open.map(|fence| format!("{fence}\n")).unwrap_or_default();
        let head = opening.len();
        let whole = opening + rest;
        if measure.fits(&whole) {
            pieces.push(whole);
            break;
        }
        // Room for the fence that may have to be closed; where there is hardly room for fences, blocks are cut as any text.
        let closing = 1 + FENCE.len();
        let room = measure.max().saturating_sub(closing);
        let fenced = room > 2 * (measure.of(&whole[..head]) + closing);
        let (mut piece, taken) = if fenced {
            // At the least one character after the fence; it may be one of many bytes.
            let least = head + rest.chars().next().map_or(1, char::len_utf8);
            let end = cut(&whole, measure, room).max(least);
            (whole[..end].to_owned(), end - head)
        } else {
            let end = cut(rest, measure, measure.max());
            (rest[..end].to_owned(), end)
        };
        let (before, after) = rest.split_at(taken);
        open = if fenced { open_fence(open, before) } else { None };
        if open.is_some() {
            if !piece.ends_with('\n') {
                piece.push('\n');
            }
            piece.push_str(FENCE);
        }
        pieces.push(piece);
        rest = after;
    }
    pieces.retain(|piece| !piece.trim().is_empty());
    pieces
}

/// Returns the line that opened the block which is still open after `text`, if `open` was before it.
fn open_fence<'a>(open: Option<&'a str>, text: &'a str) -> Option<&'a str> {
    text.lines().filter(|line| line.trim_start().starts_with(FENCE)).fold(open, |open, line| match open {
        // What follows an opening fence is a language; longer than that it is text.
        None if line.len() <= 32 => Some(line.trim()),
        None => Some(FENCE),
        Some(_) => None,
    })
}

/// Returns the best place to cut within `room`, never 0.
fn cut(text: &str, measure: Measure, room: usize) -> usize {
    let (mut used, mut limit, mut first) = (0, 0, 0);
    for (index, grapheme) in text.grapheme_indices(true) {
        used += measure.of(grapheme);
        if index == 0 {
            first = grapheme.len();
        }
        if used > room {
            break;
        }
        limit = index + grapheme.len();
    }
    if limit == 0 {
        // One character larger than a message: its code points are all that is left to cut between.
        return cut_inside(&text[..first], measure, room);
    }
    let head = &text[..limit];
    let is_late = |index: &usize| *index > limit / 2;
    let after_line = head.rfind('\n').map(|index| index + 1).filter(is_late);
    let after_word = || {
        let last = head.char_indices().rev().find(|(_, c)| c.is_whitespace());
        // Not inside `\r\n` or another cluster that ends with white space.
        last.map(|(index, c)| index + c.len_utf8()).filter(is_late)
    };
    after_line.or_else(after_word).unwrap_or(limit)
}

fn cut_inside(grapheme: &str, measure: Measure, room: usize) -> usize {
    let mut used = 0;
    let fitting = grapheme.char_indices().take_while(|(index, c)| {
        used += measure.of(&grapheme[*index..*index + c.len_utf8()]);
        used <= room
    });
    let end = fitting.last().map(|(index, c)| index + c.len_utf8());
    end.unwrap_or_else(|| grapheme.chars().next().map_or(1, char::len_utf8))
}

/// Returns a text with its buttons as numbered lines below it: for a platform that has none.
pub(super) fn with_numbered(text: &str, buttons: &[Vec<Button>]) -> String {
    let mut text = text.to_owned();
    for (index, button) in buttons.iter().flatten().enumerate() {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&format!("{}. {}", index + 1, button.label));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn utf16(text: &str, max: usize) -> Vec<String> {
        split(text, Measure::Utf16(max))
    }

    #[test]
    fn a_text_that_fits_stays_whole_and_white_space_alone_is_no_text() {
        assert_eq!(utf16("abcd", 4), ["abcd"]);
        assert_eq!(utf16("👍👍", 4), ["👍👍"]);
        assert!(utf16("", 4).is_empty() && utf16(" \n ", 4).is_empty());
    }

    #[test]
    fn lines_are_preferred_to_words_and_words_to_anything_else() {
        assert_eq!(utf16("aaa bb\ncc d", 8), ["aaa bb\n", "cc d"]);
        assert_eq!(utf16("a\nbbb ccc", 7), ["a\nbbb ", "ccc"]);
        assert_eq!(utf16("aaaaaaaaaa", 4), ["aaaa", "aaaa", "aa"]);
    }

    #[test]
    fn what_is_drawn_together_stays_together() {
        assert_eq!(utf16("abce\u{301}x", 4), ["abc", "e\u{301}x"]);
        assert_eq!(utf16("a👩\u{200d}🚀", 5), ["a", "👩\u{200d}🚀"]);
        assert_eq!(utf16("ab👍\u{1f3fd}", 4), ["ab", "👍\u{1f3fd}"]);
        assert_eq!(
            split("a\r\nb", Measure::Bytes(2)),
            ["a", "b"],
            "a line's end is one character, and white space by itself"
        );
    }

    #[test]
    fn each_platform_counts_in_its_own_way() {
        assert_eq!(split("äöü", Measure::Bytes(4)), ["äö", "ü"]);
        assert_eq!(split("👍👍👍", Measure::Chars(2)), ["👍👍", "👍"]);
        assert_eq!(split("👍👍👍", Measure::Utf16(2)), ["👍", "👍", "👍"]);
    }

    #[test]
    fn a_block_of_code_that_is_cut_is_closed_and_opened_again() {
        let code = format!("look:\n```rust\n{}```\nso", "let a = 1;\n".repeat(12));
        let pieces = split(&code, Measure::Chars(80));
        assert!(pieces.len() > 1);
        for piece in &pieces {
            assert!(piece.chars().count() <= 80, "{piece}");
            assert_eq!(piece.matches(FENCE).count() % 2, 0, "{piece}");
        }
        assert!(pieces[1].starts_with("```rust\nlet a"), "{pieces:?}");
        let lines = pieces.iter().map(|piece| piece.matches("let a = 1;").count()).sum::<usize>();
        assert_eq!(lines, 12);
    }

    #[test]
    fn a_character_larger_than_a_message_is_cut_inside_a_block_of_code_too() {
        let giant = format!("```\n\u{e9}{}", "\u{301}".repeat(5_000));
        let pieces = split(&giant, Measure::Utf16(4_096));
        assert!(pieces.len() > 1 && pieces.iter().all(|piece| Measure::Utf16(4_096).fits(piece)));
        assert_eq!(pieces.concat().matches('\u{301}').count(), 5_000);
    }

    #[test]
    fn after_a_first_piece_of_another_length_a_block_of_code_goes_on_with_no_more_fences_than_it_needs() {
        let lines = "let a = 1;\n".repeat(12);
        let code = format!("look:\n```rust\n{lines}```\nso");
        let pieces = split_after(&code, Measure::Chars(50), Measure::Chars(200));
        let (first, second) = code.split_at(14 + 2 * 11);
        assert_eq!(pieces, [format!("{first}```"), format!("```rust\n{second}")]);
        let pieces = split_after(&code, Measure::Chars(50), Measure::Chars(80));
        assert!(pieces.len() > 2 && pieces.iter().skip(1).all(|piece| piece.len() > 50 && piece.len() <= 80));
        assert_eq!(split_after("ab", Measure::Chars(2), Measure::Chars(9)), ["ab"]);
    }

    #[test]
    fn buttons_become_numbered_lines() {
        let button = |label: &str| Button { label: label.to_owned(), data: "x".to_owned() };
        let rows = [vec![button("Yes"), button("No")], vec![button("Maybe")]];
        assert_eq!(with_numbered("Sure?", &rows), "Sure?\n1. Yes\n2. No\n3. Maybe");
        assert_eq!(with_numbered("", &rows[1..]), "1. Maybe");
    }

    proptest! {
        #[test]
        fn pieces_fit_and_without_fences_together_are_the_text(text in "[ \\na-cé👍\u{301}\u{200d}]{0,200}", max in 1usize..24) {
            for measure in [Measure::Bytes(max.max(4)), Measure::Chars(max), Measure::Utf16(max.max(2))] {
                let pieces = split(&text, measure);
                let kept: String = text.chars().filter(|c| !c.is_whitespace()).collect();
                let got: String = pieces.concat().chars().filter(|c| !c.is_whitespace()).collect();
                prop_assert_eq!(got, kept);
                for piece in pieces {
                    prop_assert!(measure.fits(&piece), "{:?} {:?}", measure, piece);
                }
            }
        }

        #[test]
        fn with_fences_pieces_fit_too_and_every_block_is_closed(text in "(```[a-z]{0,4}\n|[ \\na-cé한👩\u{200d}\u{301}]{1,12}|한\u{301}{60,120}\n|```\n){0,40}", max in 40usize..90) {
            let is_balanced = text.lines().filter(|line| line.trim_start().starts_with(FENCE)).count() % 2 == 0;
            for piece in split(&text, Measure::Chars(max)) {
                prop_assert!(Measure::Chars(max).fits(&piece), "{:?}", piece);
                let fences = piece.lines().filter(|line| line.trim_start().starts_with(FENCE)).count();
                prop_assert!(!is_balanced || fences % 2 == 0, "{:?}", piece);
            }
        }
    }
}
