//! Cutting a text into messages that Telegram takes. Pure.

/// Longest text of one message, in UTF-16 units: Telegram counts as Java does.
pub(super) const UNITS_MAX: usize = 4096;

/// Returns the text in pieces of at most `units_max` units that together are the text. A piece ends after a line if one ends
/// in its second half, else after a word, else between two characters that are drawn apart.
pub(super) fn split(text: &str, units_max: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(limit) = end_of_units(rest, units_max) {
        let (piece, after) = rest.split_at(cut(rest, limit));
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    pieces
}

/// Returns where the largest beginning of `text` with at most `units` units ends; none where all of it fits.
fn end_of_units(text: &str, units: usize) -> Option<usize> {
    // No character has more units than bytes.
    if text.len() <= units {
        return None;
    }
    let mut used = 0;
    text.char_indices().find_map(|(index, c)| {
        used += c.len_utf16();
        (used > units).then_some(index)
    })
}

/// Returns the best place to cut at or before `limit`, never 0.
fn cut(text: &str, limit: usize) -> usize {
    let head = &text[..limit];
    let after_last = |is_end: fn(char) -> bool| {
        head.char_indices().rev().find(|(_, c)| is_end(*c)).map(|(index, c)| index + c.len_utf8())
    };
    let is_late = |index: &usize| *index > limit / 2;
    after_last(|c| c == '\n')
        .filter(is_late)
        .or_else(|| after_last(char::is_whitespace).filter(is_late))
        .or_else(|| cut_between_drawn(text, limit))
        // A heap of accents with nothing under it, or a character wider than the limit.
        .unwrap_or_else(|| if limit > 0 { limit } else { text.chars().next().map_or(0, char::len_utf8) })
}

/// Walks back from `limit` while the character there is drawn together with the one before it.
fn cut_between_drawn(text: &str, limit: usize) -> Option<usize> {
    const STEPS_MAX: usize = 32;
    let (mut at, mut next) = (limit, text[limit..].chars().next()?);
    for (index, before) in text[..limit].char_indices().rev().take(STEPS_MAX) {
        if !clings(before, next) {
            return Some(at);
        }
        (at, next) = (index, before);
    }
    None
}

/// Returns whether two neighbours belong to one character as people see it. Knows the common cases, not all of Unicode.
fn clings(before: char, after: char) -> bool {
    const JOINER: char = '\u{200d}';
    let is_mark = matches!(after,
        '\u{300}'..='\u{36f}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{fe20}'..='\u{fe2f}' | '\u{1f3fb}'..='\u{1f3ff}' | '\u{e0020}'..='\u{e007f}');
    let is_flag_half = |c: char| matches!(c, '\u{1f1e6}'..='\u{1f1ff}');
    is_mark || before == JOINER || after == JOINER || (is_flag_half(before) && is_flag_half(after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_text_that_fits_stays_whole() {
        assert_eq!(split("", 4), [""]);
        assert_eq!(split("abcd", 4), ["abcd"]);
        assert_eq!(split("👍👍", 4), ["👍👍"]);
    }

    #[test]
    fn lines_are_preferred_to_words_and_words_to_anything_else() {
        assert_eq!(split("aaa bb\ncc d", 8), ["aaa bb\n", "cc d"]);
        assert_eq!(split("a\nbbb ccc", 7), ["a\nbbb ", "ccc"]);
        assert_eq!(split("aaaaaaaaaa", 4), ["aaaa", "aaaa", "aa"]);
    }

    #[test]
    fn what_is_drawn_together_stays_together() {
        assert_eq!(split("abce\u{301}x", 4), ["abc", "e\u{301}x"]);
        assert_eq!(split("a👩\u{200d}🚀", 5), ["a", "👩\u{200d}🚀"]);
        assert_eq!(split("ab👍\u{1f3fd}", 4), ["ab", "👍\u{1f3fd}"]);
    }

    proptest! {
        #[test]
        fn pieces_fit_and_together_are_the_text(text in "[ \\na-cé👍\u{301}\u{200d}]{0,200}", units in 1usize..20) {
            let pieces = split(&text, units);
            prop_assert_eq!(pieces.concat(), &text[..]);
            for piece in pieces {
                prop_assert!(piece.encode_utf16().count() <= units.max(2));
            }
        }
    }
}
