//! Alerts of the host that follow how something is: up for as long as there is a reason, and said anew when it is another.

use std::collections::BTreeMap;

use super::Alerts;
use crate::action::Severity;
use crate::clock::Timestamp;

/// What is up of one that watches something. Not an alert more than once for one reason, however often it is told.
#[derive(Debug, Default)]
pub struct Signs {
    /// What every alert of it says beside its reason.
    details: Vec<(String, String)>,
    up: BTreeMap<String, String>,
}

impl Signs {
    /// Returns the signs of something, of which nothing is up: what it is, such as `bot`, and its name.
    pub fn of(what: &str, name: &str) -> Self {
        Self { details: vec![(what.to_owned(), name.to_owned())], up: BTreeMap::new() }
    }

    /// Raises the alert of a key, if there is a reason and it is not up for that one already; resolves it, if there is none.
    pub fn tell(&mut self, alerts: &Alerts, key: &str, severity: Severity, reason: Option<String>, now: Timestamp) {
        match reason {
            Some(reason) if self.up.get(key) != Some(&reason) => {
                alerts.raise_host(key, severity, reason.clone(), self.details.clone(), now);
                self.up.insert(key.to_owned(), reason);
            }
            None if self.up.remove(key).is_some() => alerts.resolve_host(key, now),
            _ => {}
        }
    }

    /// Resolves what is up but for the keys that `stays` names: what it was about is gone.
    pub fn retain(&mut self, alerts: &Alerts, now: Timestamp, stays: impl Fn(&str) -> bool) {
        self.up.retain(|key, _| {
            let stays = stays(key);
            if !stays {
                alerts.resolve_host(key, now);
            }
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000);

    #[test]
    fn an_alert_is_raised_once_for_each_reason_and_ends_with_the_last() {
        let (alerts, mut signs) = (Alerts::new(Arc::default()), Signs::default());
        let times = |alerts: &Alerts| alerts.active().iter().map(|alert| alert.times).collect::<Vec<_>>();
        let mut tell =
            |reason: Option<&str>| signs.tell(&alerts, "k", Severity::Warning, reason.map(str::to_owned), NOW);
        tell(None);
        tell(Some("a"));
        tell(Some("a"));
        assert_eq!(times(&alerts), [1]);
        tell(Some("b"));
        assert_eq!(times(&alerts), [2]);
        tell(None);
        assert!(times(&alerts).is_empty());
        tell(Some("a"));
        signs.tell(&alerts, "other", Severity::Info, Some("x".to_owned()), NOW);
        signs.retain(&alerts, NOW, |key| key == "k");
        assert_eq!(alerts.active().iter().map(|alert| alert.key.as_str()).collect::<Vec<_>>(), ["k"]);
    }
}
