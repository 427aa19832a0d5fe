//! What a value is about: a bot, a connector, a probe, a channel, or the host as a whole.

use std::fmt;
use std::sync::Arc;

use crate::metrics::snapshot::Series;

/// The labels that tell subjects apart. Over all others, series are added up.
pub(super) const LABELS: [&str; 4] = ["bot", "connector", "probe", "channel"];

/// What begins the names of the metrics that bots bring. Of their labels only `bot` is the host's word.
pub(super) const GUEST_PREFIX: &str = "bothost_guest_";

/// The host's own metrics that have the label `bot`, beside those whose name begins with `bothost_bot_`.
const OF_BOTS: [&str; 7] = [
    "bothost_attempt_ended_total",
    "bothost_attempt_waited_seconds",
    "bothost_attempt_elapsed_seconds",
    "bothost_attempt_fuel_units",
    "bothost_dead_letter_added_total",
    "bothost_instance_created_total",
    "bothost_log_lines_dropped_total",
];

/// Returns whether a metric is measured for each bot.
pub(super) fn is_of_bots(name: &str) -> bool {
    OF_BOTS.contains(&name) || name.starts_with("bothost_bot_") || name.starts_with(GUEST_PREFIX)
}

/// What a value is about; the host as a whole where no label says more.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(super) struct Subject([Option<Arc<str>>; LABELS.len()]);

impl Subject {
    /// Returns what a series of a family is about.
    pub(super) fn of(family_name: &str, series: &Series) -> Self {
        let trusted = if family_name.starts_with(GUEST_PREFIX) { 1 } else { LABELS.len() };
        let mut subject = Self::default();
        for (slot, label) in subject.0.iter_mut().zip(LABELS).take(trusted) {
            *slot = series.label(label).map(Arc::from);
        }
        subject
    }

    /// Returns whether it is the host as a whole.
    pub(super) fn is_whole(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// Returns what a label says, where it tells this subject apart.
    pub(super) fn get(&self, label: &str) -> Option<&str> {
        let at = LABELS.iter().position(|known| *known == label)?;
        self.0[at].as_deref()
    }
}

impl fmt::Display for Subject {
    /// What its labels say, with commas between. Nothing for the host as a whole.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, value) in self.0.iter().flatten().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}", value.escape_debug())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::snapshot::Value;

    fn series(labels: &[(&str, &str)]) -> Series {
        let labels: Vec<(Box<str>, Box<str>)> =
            labels.iter().map(|&(name, value)| (name.into(), value.into())).collect();
        Series { labels: labels.into(), value: Value::Number(1.0) }
    }

    #[test]
    fn a_subject_is_what_its_labels_say_and_of_a_bots_own_metrics_only_the_bot() {
        let given = series(&[("bot", "echo"), ("connector", "tele\ngram"), ("class", "message")]);
        assert_eq!(Subject::of("bothost_x", &given).to_string(), "echo,tele\\ngram");
        assert_eq!(Subject::of("bothost_guest_x", &given).to_string(), "echo");
        assert_eq!(Subject::of("bothost_x", &given).get("connector"), Some("tele\ngram"));
        assert!(Subject::of("bothost_x", &series(&[("class", "message")])).is_whole());
    }
}
