//! Markdown as Matrix has it: HTML. A small part of it, and what is not understood stays as it was typed. Pure.

use std::fmt::Write as _;

/// Returns the HTML of a text; none where it would say nothing that the text does not.
pub(super) fn html(text: &str) -> Option<String> {
    let mut html = String::with_capacity(text.len() + text.len() / 4);
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("```")
        && let Some((code, behind)) = after.split_once("```")
    {
        inline(before.strip_suffix('\n').unwrap_or(before), &mut html);
        let (language, code) = code.split_once('\n').unwrap_or(("", code));
        let language = language.trim();
        let is_word = !language.is_empty() && language.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let class = if is_word { format!(" class=\"language-{language}\"") } else { String::new() };
        let _ = write!(html, "<pre><code{class}>{}</code></pre>", Escaped(code));
        rest = behind.strip_prefix('\n').unwrap_or(behind);
    }
    inline(rest, &mut html);
    html.contains('<').then_some(html)
}

/// Marks, the longest first, and the element that each stands for.
const MARKS: [(&str, &str); 6] =
    [("**", "strong"), ("__", "strong"), ("~~", "del"), ("*", "em"), ("_", "em"), ("`", "code")];

/// Appends a text without blocks. What a mark encloses is not looked into for the same mark, so the depth is that of the marks.
fn inline(text: &str, html: &mut String) {
    let mut rest = text;
    let mut previous = ' ';
    while let Some(first) = rest.chars().next() {
        if let Some((open, close, enclosed, after)) = link(rest).or_else(|| marked(rest, previous)) {
            html.push_str(&open);
            if close == "</code>" {
                let _ = write!(html, "{}", Escaped(enclosed));
            } else {
                inline(enclosed, html);
            }
            html.push_str(&close);
            (rest, previous) = (after, ')');
        } else {
            let (one, after) = rest.split_at(first.len_utf8());
            match first {
                '\n' => html.push_str("<br>"),
                _ => {
                    let _ = write!(html, "{}", Escaped(one));
                }
            }
            (rest, previous) = (after, first);
        }
    }
}

/// The tags, what they enclose, and what follows.
type Element<'a> = (String, String, &'a str, &'a str);

/// Reads something between two marks, which must touch it; `_` and `*` inside a word are none.
fn marked(text: &str, previous: char) -> Option<Element<'_>> {
    let (mark, element) = MARKS.into_iter().find(|(mark, _)| text.starts_with(mark))?;
    if previous.is_alphanumeric() {
        return None;
    }
    let inside = &text[mark.len()..];
    let end = inside.find(mark)?;
    let (enclosed, after) = (&inside[..end], &inside[end + mark.len()..]);
    let touches = !enclosed.is_empty() && enclosed.trim() == enclosed && !enclosed.contains('\n');
    let ends_word = !after.starts_with(|next: char| next.is_alphanumeric()) && !after.starts_with(&mark[..1]);
    (touches && ends_word).then(|| (format!("<{element}>"), format!("</{element}>"), enclosed, after))
}

/// Reads `[text](https://…)`.
fn link(text: &str) -> Option<Element<'_>> {
    let (label, after) = text.strip_prefix('[')?.split_once("](")?;
    let (address, after) = after.split_once(')')?;
    let is_good = ["https://", "http://"].iter().any(|scheme| address.starts_with(scheme));
    let is_plain = !label.contains(['[', ']', '\n']) && !address.contains(char::is_whitespace);
    (is_good && is_plain).then(|| (format!("<a href=\"{}\">", Escaped(address)), "</a>".to_owned(), label, after))
}

/// A text that is nothing but text in HTML.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            c => f.write_char(c),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_little_markdown_is_understood_and_the_rest_stays_as_it_is() {
        for (text, expected) in [
            ("**a** *b* _c_ ~~d~~", "<strong>a</strong> <em>b</em> <em>c</em> <del>d</del>"),
            ("**a *b* c**", "<strong>a <em>b</em> c</strong>"),
            ("`<b> *x*`", "<code>&lt;b&gt; *x*</code>"),
            ("a\n```rust\nx < 1\n```\nb", "a<pre><code class=\"language-rust\">x &lt; 1\n</code></pre>b"),
            ("[x & y](https://e.org/?a=\"b)", "<a href=\"https://e.org/?a=&quot;b\">x &amp; y</a>"),
            ("*x*\n<i>", "<em>x</em><br>&lt;i&gt;"),
        ] {
            assert_eq!(html(text).as_deref(), Some(expected), "{text}");
        }
        for text in ["plain", "snake_case_name", "2 * 3 * 4", "[x](javascript:y)", "a**", "<b>", "``` open"] {
            assert_eq!(html(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_was_typed_becomes_an_element_of_its_own(text in "[a-z<>&\"*_`~\\[\\]() \n]{0,200}") {
            let allowed = ["strong", "em", "del", "code", "pre", "br"];
            for tag in html(&text).unwrap_or_default().split('<').skip(1) {
                let (name, _) = tag.split_once('>').expect("an end");
                prop_assert!(allowed.contains(&name.trim_start_matches('/')), "{tag}");
            }
        }
    }
}
