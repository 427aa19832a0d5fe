//! How deep a text nests, measured before anything recurses into it. The parser bounds brackets and not dotted keys, and a
//! table within a table within … a hundred thousand times overflows the stack when it is dropped.

use toml_parser::Source;
use toml_parser::lexer::TokenKind;

/// Deepest nesting within one head of a table, and within one key with its value.
pub(super) const DEPTH_MAX: usize = 64;

/// Returns the byte at which `text` nests deeper than [`DEPTH_MAX`].
pub(super) fn check(text: &str) -> Result<(), usize> {
    // The dots of the key outside all open brackets, and of the key at each of them. Their sum and the number of brackets is
    // the depth.
    let mut outer = Vec::new();
    let mut dots = 0usize;
    let mut depth = 0usize;
    for token in Source::new(text).lex() {
        match token.kind() {
            TokenKind::LeftSquareBracket | TokenKind::LeftCurlyBracket => {
                outer.push(std::mem::take(&mut dots));
                depth += 1;
            }
            TokenKind::RightSquareBracket | TokenKind::RightCurlyBracket => {
                if let Some(before) = outer.pop() {
                    depth -= dots + 1;
                    dots = before;
                }
            }
            TokenKind::Dot => {
                dots += 1;
                depth += 1;
            }
            TokenKind::Comma | TokenKind::Newline => depth -= std::mem::take(&mut dots),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return Err(token.span().start());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nests_little_passes_however_long_it_is() {
        for text in [
            "a.b.c = 1\n".repeat(1000),
            "a = [1.5, 2.5, 3.5]\n".repeat(100),
            format!("a = [{}]", "{ x.y = 1.5 }, ".repeat(1000)),
            format!("a = \"{}\"", "x.y.".repeat(1000)),
            format!("a = \"\"\"{}\n{}\"\"\"", "x.y.".repeat(1000), "[".repeat(1000)),
            format!("# {}", "a.[".repeat(1000)),
            "[a.b]\n[[a.c]]\n".repeat(1000),
            "]".repeat(1000),
        ] {
            assert_eq!(check(&text), Ok(()), "{}", &text[..20]);
        }
    }

    #[test]
    fn what_nests_deep_is_found_in_every_form() {
        for text in [
            "[".repeat(10_000),
            format!("a = {}", "[".repeat(10_000)),
            format!("{} = 1", vec!["a"; 100_000].join(".")),
            format!("{} = 1", vec!["\"a.b\""; 1000].join(" . ")),
            format!("[{}]", vec!["a"; 100_000].join(".")),
            format!("x = {{ y = 1, {} = 1 }}", vec!["a"; 1000].join(".")),
            format!("a = {}", "{ a.b.c = ".repeat(40)),
        ] {
            assert!(check(&text).is_err(), "{}", &text[..20]);
        }
    }
}
