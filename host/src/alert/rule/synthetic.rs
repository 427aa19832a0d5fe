//! Snapshots as tests write them, of one rule's files.

use crate::alert::rule::expression::{Expression, Node, Test};
use crate::clock::Timestamp;
use crate::metrics::snapshot::{Family, Histogram, Kind, Labels, Series, Snapshot, Value};

/// Returns a snapshot of series such as `name{bot="echo"}`: counters where the name ends in `_total`, else gauges.
pub(super) fn snapshot<S: AsRef<str>>(series: &[(S, f64)]) -> Snapshot {
    let mut snapshot = Snapshot { at: Timestamp::from_millis(0), ..Snapshot::default() };
    for (text, number) in series {
        let kind = if text.as_ref().contains("_total") { Kind::Counter } else { Kind::Gauge };
        add(&mut snapshot, text.as_ref(), kind, Value::Number(*number));
    }
    snapshot
}

/// Adds a histogram: upper bounds, and how many observations each bucket has of its own.
pub(super) fn add_histogram(snapshot: &mut Snapshot, text: &str, own: &[(f64, u64)]) {
    let mut count = 0;
    let buckets = own.iter().map(|(bound, own)| {
        count += own;
        (*bound, count)
    });
    let buckets: Vec<_> = buckets.collect();
    add(snapshot, text, Kind::Histogram, Value::Histogram(Histogram { sum: 0.0, count, buckets }));
}

fn add(snapshot: &mut Snapshot, text: &str, kind: Kind, value: Value) {
    let Ok(Expression(Node::Now(selector))) = text.parse() else { panic!("no series: {text}") };
    let label = |matcher: &super::expression::Matcher| match &matcher.test {
        Test::Is(value) => (matcher.label.clone(), value.clone()),
        _ => panic!("no series: {text}"),
    };
    let labels: Labels = selector.matchers.iter().map(label).collect();
    let family = snapshot.families.entry(selector.name).or_insert_with(|| Family { kind, series: Vec::new() });
    family.series.push(Series { labels, value });
}
