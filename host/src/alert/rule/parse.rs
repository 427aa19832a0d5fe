//! Reads an expression. The grammar is in `alert/rule/expression.rs`. Whatever the text, its reading is bounded.

use std::time::Duration;

use super::expression::{Function, Matcher, Node, Operator, Over, Selector, Test};
use crate::document::nearest;
use crate::units::{Span, UnitError};

/// Longest expression, in bytes.
const TEXT_BYTES_MAX: usize = 1_024;
/// Numbers, metrics, functions and operators in one expression.
const PARTS_MAX: usize = 64;
/// Parentheses and signs within each other.
const DEPTH_MAX: usize = 32;
/// Functions over a window in one expression; each keeps what it has seen.
const WINDOWS_MAX: usize = 8;
/// The longest window.
pub(super) const WINDOW_MAX: Duration = Duration::from_secs(6 * 3_600);

/// Why a text is no expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column} of the expression: {fault}")]
pub struct ExpressionError {
    /// In characters of the expression, from 1.
    pub column: usize,
    /// What is wrong there.
    pub fault: ExpressionFault,
}

/// What is wrong with an expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionFault {
    /// Something else has to stand there.
    #[error("{wanted} must stand here, not {found}")]
    Unexpected {
        /// What may.
        wanted: &'static str,
        /// What does.
        found: String,
    },
    /// There is no such function.
    #[error("there is no function `{name}`{}", did_you_mean(*near))]
    NoFunction {
        /// As it is written.
        name: String,
        /// The one that was likely meant.
        near: Option<&'static str>,
    },
    /// A function of what was seen within a window.
    #[error("`{0}` needs a window: `{0}(NAME[5m])`")]
    NoWindow(&'static str),
    /// A function of what is there now.
    #[error("`count` has no window: it is how many series there are now")]
    Windowed,
    /// A window that is no time.
    #[error("in the window: {0}")]
    Window(UnitError),
    /// A window that is empty, or too long.
    #[error("a window is longer than nothing and at most 6h")]
    WindowLength,
    /// A number that none is.
    #[error("`{0}` is no number")]
    Number(String),
    /// A text without its end.
    #[error("the quote that begins here never ends")]
    Unquoted,
    /// Too much of something.
    #[error("an expression has at most {most} {of}")]
    TooMany {
        /// How many there may be.
        most: usize,
        /// Of what.
        of: &'static str,
    },
}

fn did_you_mean(near: Option<&str>) -> String {
    match near {
        Some(near) => format!("; did you mean `{near}`?"),
        None => {
            let names: Vec<&str> = Function::ALL.iter().map(|(name, _)| *name).collect();
            format!("; there are {} and count", names.join(", "))
        }
    }
}

pub(super) fn parse(text: &str) -> Result<Node, ExpressionError> {
    let mut parser = Parser { text, at: 0, parts: 0, windows: 0, depth: 0 };
    if text.len() > TEXT_BYTES_MAX {
        return Err(parser.fault(ExpressionFault::TooMany { most: TEXT_BYTES_MAX, of: "bytes" }));
    }
    let node = parser.expression()?;
    match parser.peek() {
        None => Ok(node),
        Some(_) => Err(parser.unexpected("an operator, or the end,")),
    }
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    parts: usize,
    windows: usize,
    depth: usize,
}

type Parsed<T> = Result<T, ExpressionError>;

impl<'t> Parser<'t> {
    fn expression(&mut self) -> Parsed<Node> {
        let mut left = self.term()?;
        while let Some(operator) = self.operator(&[Operator::Add, Operator::Subtract])? {
            left = Node::Binary { operator, left: Box::new(left), right: Box::new(self.term()?) };
        }
        Ok(left)
    }

    fn term(&mut self) -> Parsed<Node> {
        let mut left = self.factor()?;
        while let Some(operator) = self.operator(&[Operator::Multiply, Operator::Divide])? {
            left = Node::Binary { operator, left: Box::new(left), right: Box::new(self.factor()?) };
        }
        Ok(left)
    }

    fn operator(&mut self, of: &[Operator]) -> Parsed<Option<Operator>> {
        let next = self.peek();
        let found = of.iter().copied().find(|operator| next == Some(operator.as_char()));
        if found.is_some() {
            self.part()?;
            self.at += 1;
        }
        Ok(found)
    }

    fn factor(&mut self) -> Parsed<Node> {
        self.part()?;
        match self.peek() {
            Some('-') => {
                self.at += 1;
                Ok(Node::Negated(Box::new(self.deeper(Self::factor)?)))
            }
            Some('(') => {
                self.at += 1;
                let inner = self.deeper(Self::expression)?;
                self.expect(')', "`)`")?;
                Ok(inner)
            }
            Some(digit) if digit.is_ascii_digit() => self.number().map(Node::Number),
            Some(letter) if begins_name(letter) => self.call_or_selector(),
            _ => Err(self.unexpected("a number, a metric or a function")),
        }
    }

    fn deeper(&mut self, read: impl FnOnce(&mut Self) -> Parsed<Node>) -> Parsed<Node> {
        if self.depth == DEPTH_MAX {
            return Err(self.fault(ExpressionFault::TooMany { most: DEPTH_MAX, of: "parentheses within each other" }));
        }
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        read
    }

    fn part(&mut self) -> Parsed<()> {
        self.parts += 1;
        if self.parts > PARTS_MAX {
            return Err(self.fault(ExpressionFault::TooMany { most: PARTS_MAX, of: "parts" }));
        }
        Ok(())
    }

    fn number(&mut self) -> Parsed<f64> {
        let begin = self.at;
        let mut before = ' ';
        let text = self.take(|letter| {
            let is_sign_of_exponent = matches!(letter, '+' | '-') && matches!(before, 'e' | 'E');
            before = letter;
            letter.is_ascii_alphanumeric() || letter == '.' || is_sign_of_exponent
        });
        text.parse().ok().filter(|number: &f64| number.is_finite()).ok_or_else(|| {
            self.at = begin;
            self.fault(ExpressionFault::Number(text.to_owned()))
        })
    }

    fn call_or_selector(&mut self) -> Parsed<Node> {
        let begin = self.at;
        let name = self.name();
        if self.peek() != Some('(') {
            return Ok(Node::Now(self.matchers(name)?));
        }
        let function = Function::ALL.iter().find(|(known, _)| *known == name);
        if function.is_none() && name != "count" {
            let mut names: Vec<&'static str> = Function::ALL.iter().map(|(name, _)| *name).collect();
            names.push("count");
            self.at = begin;
            let near = nearest(name, &names);
            return Err(self.fault(ExpressionFault::NoFunction { name: name.to_owned(), near }));
        }
        self.at += 1;
        if !self.peek().is_some_and(begins_name) {
            return Err(self.unexpected("a metric's name"));
        }
        let metric = self.name();
        let selector = self.matchers(metric)?;
        let node = match (function, self.peek()) {
            (Some((_, function)), Some('[')) => {
                let window = self.window()?;
                Node::Over(Over { function: *function, selector, window })
            }
            (Some((name, _)), _) => return Err(self.fault(ExpressionFault::NoWindow(name))),
            (None, Some('[')) => return Err(self.fault(ExpressionFault::Windowed)),
            (None, _) => Node::Count(selector),
        };
        self.expect(')', "`)`")?;
        Ok(node)
    }

    fn window(&mut self) -> Parsed<Duration> {
        self.windows += 1;
        if self.windows > WINDOWS_MAX {
            return Err(self.fault(ExpressionFault::TooMany { most: WINDOWS_MAX, of: "functions over a window" }));
        }
        self.at += 1;
        let begin = self.at;
        let text = self.take(|letter| letter != ']');
        let end = std::mem::replace(&mut self.at, begin);
        let Span(window) = text.parse().map_err(|error| self.fault(ExpressionFault::Window(error)))?;
        if window.is_zero() || window > WINDOW_MAX {
            return Err(self.fault(ExpressionFault::WindowLength));
        }
        self.at = end;
        self.expect(']', "`]`")?;
        Ok(window)
    }

    fn matchers(&mut self, name: &str) -> Parsed<Selector> {
        let mut selector = Selector { name: name.into(), matchers: Vec::new() };
        if self.peek() != Some('{') {
            return Ok(selector);
        }
        self.at += 1;
        while self.peek() != Some('}') {
            selector.matchers.push(self.matcher()?);
            match self.peek() {
                Some(',') => self.at += 1,
                Some('}') => {}
                _ => return Err(self.unexpected("`,` or `}`")),
            }
        }
        self.at += 1;
        Ok(selector)
    }

    fn matcher(&mut self) -> Parsed<Matcher> {
        self.part()?;
        if !self.peek().is_some_and(begins_name) {
            return Err(self.unexpected("a label's name"));
        }
        let label = self.name().into();
        self.peek();
        let rest = &self.text[self.at..];
        let sign = ["=~", "!=", "="].into_iter().find(|sign| rest.starts_with(sign));
        let Some(sign) = sign else { return Err(self.unexpected("`=`, `!=` or `=~`")) };
        self.at += sign.len();
        let value = self.quoted()?;
        let test = match sign {
            "=~" => Test::IsOneOf(value.split('|').map(Box::from).collect()),
            "!=" => Test::IsNot(value.into()),
            _ => Test::Is(value.into()),
        };
        Ok(Matcher { label, test })
    }

    fn quoted(&mut self) -> Parsed<String> {
        self.expect('"', "a text in quotes")?;
        let begin = self.at - 1;
        let mut value = String::new();
        let mut letters = self.text[self.at..].char_indices();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '"' => {
                    self.at += at + 1;
                    return Ok(value);
                }
                '\\' => value.extend(letters.next().map(|(_, letter)| letter)),
                other => value.push(other),
            }
        }
        self.at = begin;
        Err(self.fault(ExpressionFault::Unquoted))
    }

    fn name(&mut self) -> &'t str {
        self.take(|letter| begins_name(letter) || letter.is_ascii_digit())
    }

    fn take(&mut self, mut is_of_it: impl FnMut(char) -> bool) -> &'t str {
        let rest = &self.text[self.at..];
        let end = rest.find(|letter| !is_of_it(letter)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    /// Returns what stands next, after any blanks.
    fn peek(&mut self) -> Option<char> {
        self.take(char::is_whitespace);
        self.text[self.at..].chars().next()
    }

    fn expect(&mut self, wanted: char, named: &'static str) -> Parsed<()> {
        if self.peek() != Some(wanted) {
            return Err(self.unexpected(named));
        }
        self.at += wanted.len_utf8();
        Ok(())
    }

    fn unexpected(&mut self, wanted: &'static str) -> ExpressionError {
        let found = self.peek().map_or("the end".to_owned(), |letter| format!("`{}`", letter.escape_debug()));
        self.fault(ExpressionFault::Unexpected { wanted, found })
    }

    fn fault(&self, fault: ExpressionFault) -> ExpressionError {
        ExpressionError { column: self.text[..self.at].chars().count() + 1, fault }
    }
}

fn begins_name(letter: char) -> bool {
    letter.is_ascii_alphabetic() || letter == '_' || letter == ':'
}
