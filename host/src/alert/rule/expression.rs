//! What a rule computes from a snapshot: an expression over metrics, as it is written and as it is taken apart.
//!
//! ```text
//! expression = term { ("+" | "-") term }
//! term       = factor { ("*" | "/") factor }
//! factor     = "-" factor | number | "(" expression ")" | call | selector
//! call       = "count" "(" selector ")"
//!            | function "(" selector "[" time "]" ")"
//! function   = "rate" | "increase" | "avg" | "min" | "max" | "p50" | "p90" | "p95" | "p99" | "slope" | "anomaly"
//! selector   = name [ "{" [ matcher { "," matcher } ] "}" ]
//! matcher    = label ( "=" | "!=" | "=~" ) string
//! ```
//!
//! | written | is |
//! |---|---|
//! | `name{…}` | the value now; of a histogram, how many observations there were |
//! | `rate(s[5m])`, `increase(s[5m])` | by how much a counter grew, per second or in all; that it began anew is seen |
//! | `avg`, `min`, `max` | of a gauge, over the window |
//! | `p50` to `p99` | the quantile of what a histogram observed within the window |
//! | `slope(s[1h])` | change per second, the median of the slopes between every two points |
//! | `anomaly(s[1h])` | by how many of its usual deviations it is above (negative: below) what is usual; of a counter, its rate |
//! | `count(s)` | how many series there are, of all subjects together; 0 where there are none |
//!
//! `=~` takes the alternatives of `"a|b"` word for word. A label that a series does not have is empty. A time is written as
//! everywhere, `"90s"` or `"1h"`, and is at most 6 h.
//!
//! Series are added up over all labels but `bot`, `connector`, `probe` and `channel`: each subject is evaluated by itself. A value
//! without a subject combines with that of every subject; two different subjects do not combine. What is divided by zero, and a
//! metric that is not there, has no value, and nothing that is computed from it has one.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

use super::parse::{self, ExpressionError};
use super::subject;
use crate::metrics::snapshot::Series;
use crate::units::Span;

/// An expression that parsed. Prints so that it parses to the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression(pub(super) Node);

/// A part of an expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    /// Never negative: that is a [`Node::Negated`].
    Number(f64),
    Now(Selector),
    Count(Selector),
    Over(Over),
    Negated(Box<Node>),
    Binary {
        operator: Operator,
        left: Box<Node>,
        right: Box<Node>,
    },
}

/// A function of what was seen within a window.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Over {
    pub(super) function: Function,
    pub(super) selector: Selector,
    pub(super) window: Duration,
}

/// Which series.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Selector {
    pub(super) name: Box<str>,
    pub(super) matchers: Vec<Matcher>,
}

/// What a label has to say.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Matcher {
    pub(super) label: Box<str>,
    pub(super) test: Test,
}

/// How a label is compared.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Test {
    Is(Box<str>),
    IsNot(Box<str>),
    /// Of at least one; none holds a `|`.
    IsOneOf(Vec<Box<str>>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Rate,
    Increase,
    Average,
    Minimum,
    Maximum,
    P50,
    P90,
    P95,
    P99,
    Slope,
    Anomaly,
}

impl Function {
    pub(super) const ALL: [(&'static str, Self); 11] = [
        ("rate", Self::Rate),
        ("increase", Self::Increase),
        ("avg", Self::Average),
        ("min", Self::Minimum),
        ("max", Self::Maximum),
        ("p50", Self::P50),
        ("p90", Self::P90),
        ("p95", Self::P95),
        ("p99", Self::P99),
        ("slope", Self::Slope),
        ("anomaly", Self::Anomaly),
    ];

    pub(super) fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, function)| *function == self).map_or("", |(name, _)| name)
    }

    /// Returns the share of observations that a quantile is of.
    pub(super) fn quantile(self) -> Option<f64> {
        match self {
            Self::P50 => Some(0.5),
            Self::P90 => Some(0.9),
            Self::P95 => Some(0.95),
            Self::P99 => Some(0.99),
            _ => None,
        }
    }
}

impl Operator {
    pub(super) fn as_char(self) -> char {
        match self {
            Self::Add => '+',
            Self::Subtract => '-',
            Self::Multiply => '*',
            Self::Divide => '/',
        }
    }

    fn binds(self) -> u8 {
        match self {
            Self::Add | Self::Subtract => 1,
            Self::Multiply | Self::Divide => 2,
        }
    }
}

impl Selector {
    /// Returns whether a series of its name is one of those.
    pub(super) fn takes(&self, series: &Series) -> bool {
        self.matchers.iter().all(|matcher| {
            let value = series.label(&matcher.label).unwrap_or("");
            match &matcher.test {
                Test::Is(wanted) => **wanted == *value,
                Test::IsNot(unwanted) => **unwanted != *value,
                Test::IsOneOf(wanted) => wanted.iter().any(|wanted| **wanted == *value),
            }
        })
    }
}

impl Node {
    /// Calls `visit` with this part and all parts of it, in the order in which they are written.
    pub(super) fn walk<'n>(&'n self, visit: &mut impl FnMut(&'n Self)) {
        visit(self);
        match self {
            Self::Number(_) | Self::Now(_) | Self::Count(_) | Self::Over(_) => {}
            Self::Negated(inner) => inner.walk(visit),
            Self::Binary { left, right, .. } => {
                left.walk(visit);
                right.walk(visit);
            }
        }
    }

    fn binds(&self) -> u8 {
        match self {
            Self::Binary { operator, .. } => operator.binds(),
            Self::Negated(_) => 3,
            _ => 4,
        }
    }

    /// Prints it, in parentheses where it binds less than it has to.
    fn print(&self, f: &mut fmt::Formatter<'_>, binds_min: u8) -> fmt::Result {
        if self.binds() < binds_min {
            f.write_str("(")?;
            self.print(f, 0)?;
            return f.write_str(")");
        }
        match self {
            // Rust prints all digits of a number, however large.
            Self::Number(number) if *number >= 1e15 || (*number < 1e-5 && *number != 0.0) => write!(f, "{number:e}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Now(selector) => write!(f, "{selector}"),
            Self::Count(selector) => write!(f, "count({selector})"),
            Self::Over(over) => {
                write!(f, "{}({}[{}])", over.function.as_str(), over.selector, Span(over.window))
            }
            Self::Negated(inner) => {
                f.write_str("-")?;
                inner.print(f, 3)
            }
            Self::Binary { operator, left, right } => {
                left.print(f, operator.binds())?;
                write!(f, " {} ", operator.as_char())?;
                right.print(f, operator.binds() + 1)
            }
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
        let matchers = self.matchers.iter().map(|matcher| match &matcher.test {
            Test::Is(value) => format!("{}=\"{}\"", matcher.label, quoted(value)),
            Test::IsNot(value) => format!("{}!=\"{}\"", matcher.label, quoted(value)),
            Test::IsOneOf(values) => format!("{}=~\"{}\"", matcher.label, quoted(&values.join("|"))),
        });
        let matchers: Vec<String> = matchers.collect();
        if matchers.is_empty() { Ok(()) } else { write!(f, "{{{}}}", matchers.join(", ")) }
    }
}

impl Expression {
    /// Returns the names of the metrics in it, each once, sorted.
    pub fn names(&self) -> Vec<&str> {
        let mut names = Vec::new();
        self.0.walk(&mut |node| match node {
            Node::Now(selector) | Node::Count(selector) | Node::Over(Over { selector, .. }) => {
                names.push(&*selector.name);
            }
            Node::Number(_) | Node::Negated(_) | Node::Binary { .. } => {}
        });
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Returns whether what it yields is of one bot each.
    pub(super) fn is_of_bots(&self) -> bool {
        let mut found = false;
        self.0.walk(&mut |node| {
            if let Node::Now(selector) | Node::Over(Over { selector, .. }) = node {
                found |= subject::is_of_bots(&selector.name);
            }
        });
        found
    }

    /// Returns its functions over a window, in the order in which they are written.
    pub(super) fn overs(&self) -> Vec<&Over> {
        let mut overs = Vec::new();
        self.0.walk(&mut |node| {
            if let Node::Over(over) = node {
                overs.push(over);
            }
        });
        overs
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.print(f, 0)
    }
}

impl FromStr for Expression {
    type Err = ExpressionError;

    fn from_str(text: &str) -> Result<Self, ExpressionError> {
        parse::parse(text).map(Self)
    }
}

impl<'de> Deserialize<'de> for Expression {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
