//! Which connectors people are told of: those whose platform refuses them, those that share their token with somebody, and those
//! that have been without their platform for long.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::action::Severity;
use crate::alert::{Alerts, Signs};
use crate::clock::Timestamp;
use crate::connector::{Link, Status};
use crate::grants::ConnectorKey;

/// A connector that finds its platform again within this is nobody's business.
const DOWN_AFTER: Duration = Duration::from_secs(120);

/// What is known of connectors from one round to the next.
#[derive(Debug, Default)]
pub(super) struct LinkWatch {
    signs: Signs,
    /// Since when each is without its platform.
    down: HashMap<ConnectorKey, Instant>,
}

impl LinkWatch {
    /// Looks at every connector, and tells what is new.
    pub(super) fn look(&mut self, links: &[(ConnectorKey, Status)], alerts: &Alerts, instant: Instant, now: Timestamp) {
        self.down.retain(|key, _| links.iter().any(|(own, status)| own == key && is_down(&status.link)));
        for (key, status) in links {
            if is_down(&status.link) {
                self.down.entry(key.clone()).or_insert(instant);
            }
            let down_for = self.down.get(key).map(|since| instant.saturating_duration_since(*since));
            for (sign, severity, reason) in signs(key, &status.link, down_for.unwrap_or_default()) {
                self.signs.tell(alerts, &name(sign, key), severity, reason, now);
            }
        }
        self.signs.retain(alerts, now, |up| {
            links.iter().any(|(key, _)| up.split_once(':').is_some_and(|(_, own)| own == key.to_string()))
        });
    }
}

fn name(sign: &str, key: &ConnectorKey) -> String {
    format!("{sign}:{key}")
}

fn is_down(link: &Link) -> bool {
    use Link::{Authenticating, BackingOff, Connecting, Contested, Degraded};
    matches!(link, BackingOff { .. } | Contested { .. } | Connecting { .. } | Authenticating | Degraded { .. })
}

/// Returns every alert that a connector may be a reason for. Each says what to do.
fn signs(key: &ConnectorKey, link: &Link, down_for: Duration) -> [(&'static str, Severity, Option<String>); 3] {
    let (mut refused, mut contested, mut down) = (None, None, None);
    match link {
        Link::AuthFailed { error } => {
            refused = Some(format!(
                "connector {key} is refused by its platform, and hears and says nothing until its credentials are set right in the \
                 configuration: {error}"
            ));
        }
        Link::Contested { error, .. } => {
            contested = Some(format!(
                "connector {key} shares its token with another process, and messages go to the one or the other: stop that one, or \
                 give each a token: {error}"
            ));
        }
        Link::BackingOff { .. } | Link::Connecting { .. } | Link::Authenticating | Link::Degraded { .. }
            if down_for >= DOWN_AFTER =>
        {
            // Without the error, which may be another each time: this is one state of affairs.
            down = Some(format!(
                "connector {key} has been without its platform for longer than {} s; it tries on, and what is sent waits",
                DOWN_AFTER.as_secs()
            ));
        }
        Link::BackingOff { .. }
        | Link::Connecting { .. }
        | Link::Authenticating
        | Link::Degraded { .. }
        | Link::Connected
        | Link::Stopped => {}
    }
    [
        ("connector-refused", Severity::Critical, refused),
        ("connector-contested", Severity::Critical, contested),
        ("connector-down", Severity::Warning, down),
    ]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000);

    fn up(watch: &mut LinkWatch, alerts: &Alerts, link: Option<Link>, instant: Instant) -> Vec<String> {
        let key = ConnectorKey::shared("tg".parse().unwrap());
        let links: Vec<_> = link.into_iter().map(|link| (key.clone(), Status::new(link, NOW))).collect();
        watch.look(&links, alerts, instant, NOW);
        alerts.active().into_iter().map(|alert| alert.key).collect()
    }

    #[test]
    fn each_ill_of_a_connector_is_told_and_a_short_one_is_not() {
        let (alerts, mut watch, start) = (Alerts::new(Arc::default()), LinkWatch::default(), Instant::now());
        let mut look = |link, seconds| up(&mut watch, &alerts, link, start + Duration::from_secs(seconds));
        let lost = |error: &str| Some(Link::BackingOff { error: error.into(), wait: Duration::from_secs(1) });
        assert_eq!(look(Some(Link::Connected), 0), [""; 0]);
        assert_eq!(look(lost("reset"), 10), [""; 0]);
        assert_eq!(look(lost("refused"), 129), [""; 0]);
        assert_eq!(look(lost("no answer"), 130), ["connector-down:tg"]);
        assert_eq!(look(Some(Link::Connected), 131), [""; 0]);
        assert_eq!(look(lost("reset"), 140), [""; 0], "it begins anew");
        assert_eq!(look(Some(Link::AuthFailed { error: "401".into() }), 141), ["connector-refused:tg"]);
        let contested = Link::Contested { error: "409".into(), wait: Duration::ZERO };
        assert_eq!(look(Some(contested), 142), ["connector-contested:tg"]);
        assert_eq!(look(None, 143), [""; 0], "a connector that is gone is missed by nobody");
    }
}
