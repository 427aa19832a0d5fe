//! What an expression yields for each subject, by a snapshot and what was seen before it.

use std::collections::BTreeMap;
use std::slice::IterMut;

use tokio::time::Instant;

use super::expression::{Expression, Node, Operator, Selector};
use super::memory::Memory;
use super::room::Room;
use super::subject::Subject;
use crate::metrics::snapshot::{Snapshot, Value};

/// A value for each subject.
pub(super) type Values = BTreeMap<Subject, f64>;

/// What an expression remembers: one for each of its functions over a window, in the order in which they are written.
#[derive(Debug)]
pub(super) struct Memories(Vec<Memory>);

impl Memories {
    pub(super) fn of(expression: &Expression) -> Self {
        Self(expression.overs().into_iter().map(|over| Memory::new(over.function, over.window)).collect())
    }

    pub(super) fn subjects(&self) -> usize {
        self.0.iter().map(Memory::subjects).sum()
    }
}

/// Returns what an expression yields now. To be called for each snapshot once, in order of time, with the memories of this very
/// expression. None of the values is "not a number".
pub(super) fn evaluate(
    expression: &Expression,
    snapshot: &Snapshot,
    now: Instant,
    memories: &mut Memories,
    room: &mut Room,
) -> Values {
    Look { snapshot, now, memories: memories.0.iter_mut(), room }.value(&expression.0)
}

struct Look<'l> {
    snapshot: &'l Snapshot,
    now: Instant,
    memories: IterMut<'l, Memory>,
    room: &'l mut Room,
}

impl Look<'_> {
    fn value(&mut self, node: &Node) -> Values {
        let values = match node {
            Node::Number(number) => Values::from([(Subject::default(), *number)]),
            Node::Now(selector) => self.values_now(selector),
            Node::Count(selector) => Values::from([(Subject::default(), self.count(selector))]),
            Node::Over(over) => {
                let family = self.snapshot.families.get(&over.selector.name);
                let memory = self.memories.next().expect("there is one for each function over a window");
                memory.look(&over.selector, family, self.now, self.room);
                memory.values(over.function)
            }
            Node::Negated(inner) => self.value(inner).into_iter().map(|(subject, value)| (subject, -value)).collect(),
            Node::Binary { operator, left, right } => {
                // Both, whatever the one yields: each has to see every snapshot.
                let (left, right) = (self.value(left), self.value(right));
                combine(&left, &right, |left, right| operator.apply(left, right))
            }
        };
        values.into_iter().filter(|(_, value)| !value.is_nan()).collect()
    }

    fn values_now(&self, selector: &Selector) -> Values {
        let mut values = Values::new();
        let series = self.snapshot.families.get(&selector.name).into_iter().flat_map(|family| &family.series);
        for series in series.filter(|series| selector.takes(series)) {
            let value = match &series.value {
                Value::Number(number) => *number,
                Value::Histogram(histogram) => histogram.count as f64,
            };
            *values.entry(Subject::of(&selector.name, series)).or_default() += value;
        }
        values
    }

    fn count(&self, selector: &Selector) -> f64 {
        let series = self.snapshot.families.get(&selector.name).into_iter().flat_map(|family| &family.series);
        series.filter(|series| selector.takes(series)).count() as f64
    }
}

impl Operator {
    fn apply(self, left: f64, right: f64) -> Option<f64> {
        match self {
            Self::Add => Some(left + right),
            Self::Subtract => Some(left - right),
            Self::Multiply => Some(left * right),
            Self::Divide => (right != 0.0).then(|| left / right),
        }
    }
}

/// Combines the values of each subject; one without a subject goes with every other.
fn combine(left: &Values, right: &Values, apply: impl Fn(f64, f64) -> Option<f64>) -> Values {
    let whole = Subject::default();
    let get = |values: &Values, subject: &Subject| values.get(subject).or_else(|| values.get(&whole)).copied();
    let subjects = left.keys().chain(right.keys());
    let value = |subject: &Subject| apply(get(left, subject)?, get(right, subject)?);
    subjects.filter_map(|subject| Some((subject.clone(), value(subject)?))).collect()
}

#[cfg(test)]
mod tests;
