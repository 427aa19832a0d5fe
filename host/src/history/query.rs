//! What is asked of the history, and from which of the resolutions it is answered. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::metrics::snapshot::{Kind, Labels};

use super::point::Point;
use super::recorder::STEPS;

/// Points of a series in an answer.
pub const POINTS_MAX: u64 = 1_000;
/// Series in an answer.
pub const SERIES_MAX: usize = 200;

/// Labels that a series must have, each with one of some values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter(Vec<(String, BTreeSet<String>)>);

impl Filter {
    /// Returns the filter that also wants a label to have one of these values.
    #[must_use]
    pub fn with(mut self, label: &str, values: impl IntoIterator<Item = String>) -> Self {
        self.0.push((label.to_owned(), values.into_iter().collect()));
        self
    }

    /// Returns whether these labels have all that are wanted.
    pub(super) fn takes<'a>(&self, labels: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> bool {
        self.0.iter().all(|(name, values)| labels.clone().any(|(label, value)| label == name && values.contains(value)))
    }

    pub(super) fn takes_labels(&self, labels: &Labels) -> bool {
        self.takes(labels.iter().map(|(name, value)| (&**name, &**value)))
    }
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Of series of this name, as `/metrics` shows it.
    pub name: String,
    /// With these labels, and any others.
    pub labels: Filter,
    /// From this moment.
    pub since: Timestamp,
    /// To this moment, exclusive.
    pub until: Timestamp,
    /// A point for each step of this length, or the next longer one that there is. None: the finest that makes no more than
    /// [`POINTS_MAX`] points.
    pub step: Option<Duration>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// What the series are. None: there are none.
    pub kind: Option<Kind>,
    /// What a point is about, from its moment on.
    pub step: Duration,
    /// The series, by their labels.
    pub series: Vec<FoundSeries>,
    /// Series past [`SERIES_MAX`].
    pub series_left_out: usize,
    /// It would have taken too long to look at everything: the latest part is not in it.
    pub is_cut: bool,
}

/// One series of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundSeries {
    /// What tells it apart.
    pub labels: Labels,
    /// Its points, the oldest first. A step in which a counter or a histogram counted nothing has none, nor has one in which
    /// nobody looked.
    pub points: Vec<(Timestamp, Point)>,
}

/// What the memory holds at full resolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RawSpan {
    /// When the first look was.
    pub(super) since: Timestamp,
    /// How long between two looks, lately.
    pub(super) interval: Duration,
}

/// Where an answer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resolution {
    /// Every look, from memory.
    Raw,
    /// The rows of one of [`STEPS`], and what of it is in memory yet.
    Step(usize),
}

/// How a question is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) resolution: Resolution,
    /// Milliseconds that become one point. At least 1.
    pub(super) step_ms: u64,
}

impl Plan {
    /// Chooses the finest resolution that covers the time asked for, and the step.
    pub(super) fn of(
        since: Timestamp,
        until: Timestamp,
        step: Option<Duration>,
        raw: Option<RawSpan>,
        now: Timestamp,
    ) -> Self {
        let window_ms = millis(until.saturating_since(since)).max(1);
        // One less, because the first and the last step may be cut.
        let least = window_ms.div_ceil(POINTS_MAX - 1);
        let wanted = step.map_or(0, millis).max(least);
        let finest_ms = u64::from(STEPS[0].step_seconds) * 1_000;
        if let Some(raw) = raw
            && wanted < finest_ms
            && raw.since <= since.saturating_add(raw.interval)
        {
            let step_ms = wanted.max(millis(raw.interval)).next_multiple_of(1_000);
            return Self { resolution: Resolution::Raw, step_ms };
        }
        let covers = |index: usize| {
            let (keep, is_last) = (STEPS[index], index + 1 == STEPS.len());
            is_last
                || now.saturating_since(since) <= keep.age_max
                    && wanted < u64::from(STEPS[index + 1].step_seconds) * 1_000
        };
        let index = (0..STEPS.len()).find(|index| covers(*index)).unwrap_or(STEPS.len() - 1);
        let own_ms = u64::from(STEPS[index].step_seconds) * 1_000;
        let step_ms = wanted.max(1).checked_next_multiple_of(own_ms).unwrap_or(u64::MAX);
        Self { resolution: Resolution::Step(index), step_ms }
    }
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(100 * 86_400_000);

    fn ago(duration: Duration) -> Timestamp {
        Timestamp::from_millis(NOW.as_millis() - duration.as_millis() as u64)
    }

    fn plan(ago_secs: u64, step: Option<u64>, raw_secs: Option<u64>) -> (Resolution, u64) {
        let raw = raw_secs
            .map(|secs| RawSpan { since: ago(Duration::from_secs(secs)), interval: Duration::from_millis(9_990) });
        let plan = Plan::of(ago(Duration::from_secs(ago_secs)), NOW, step.map(Duration::from_secs), raw, NOW);
        (plan.resolution, plan.step_ms / 1_000)
    }

    #[test]
    fn the_finest_resolution_that_covers_the_window_answers() {
        for (ago, step, raw, expected) in [
            (3_600, None, Some(3_600), (Resolution::Raw, 10)),
            (600, Some(30), Some(3_600), (Resolution::Raw, 30)),
            // The process is younger than the window.
            (3_600, None, Some(300), (Resolution::Step(0), 60)),
            (3_600, Some(60), Some(3_600), (Resolution::Step(0), 60)),
            (3_600, Some(90), None, (Resolution::Step(0), 120)),
            (86_400, None, Some(3_600), (Resolution::Step(0), 120)),
            (86_400, Some(600), None, (Resolution::Step(1), 600)),
            (2 * 86_400, None, None, (Resolution::Step(1), 600)),
            (7 * 86_400, None, None, (Resolution::Step(1), 1_200)),
        ] {
            assert_eq!(plan(ago, step, raw), expected, "{ago} s, step {step:?}, raw {raw:?}");
        }
    }

    proptest! {
        #[test]
        fn no_plan_makes_too_many_points(ago_secs in 0u64..100 * 86_400, step in proptest::option::of(0u64..u64::MAX / 1_000), raw in proptest::option::of(0u64..3_600)) {
            let (_, step_secs) = plan(ago_secs, step, raw);
            prop_assert!(step_secs >= 1 && ago_secs / step_secs < POINTS_MAX, "{}", step_secs);
        }
    }
}
