//! What the rules say, as changes of alerts. What is to be done to bots is returned.

use crate::alert::rule::{BotAction, Report, Verdict};
use crate::alert::{Alert, Alerts, Source, Standing};
use crate::clock::Timestamp;
use crate::id::{BotName, RuleName};

/// Something that a rule wants done to a bot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Order {
    /// To which.
    pub(super) bot: BotName,
    /// What.
    pub(super) action: BotAction,
    /// By which rule.
    pub(super) rule: RuleName,
}

/// Makes the changes, in order.
pub(super) fn apply(verdicts: Vec<Verdict>, alerts: &Alerts, now: Timestamp) -> Vec<Order> {
    let mut orders = Vec::new();
    for verdict in verdicts {
        match verdict {
            Verdict::Pending(report) => alerts.raise(alert(report, Standing::Pending, now)),
            Verdict::Fire(report) | Verdict::Refresh(report) => alerts.raise(alert(report, Standing::Firing, now)),
            Verdict::End { key } => alerts.resolve_host(&key, now),
            Verdict::Act { bot, action, rule, .. } => orders.push(Order { bot, action, rule }),
        }
    }
    orders
}

fn alert(report: Report, standing: Standing, now: Timestamp) -> Alert {
    let Report { key, severity, summary, details, channels, .. } = report;
    let alert = Alert::new(Source::Host, &key, severity, summary, now).with_details(details);
    Alert { standing, channels, ..alert }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::action::Severity;

    const NOW: Timestamp = Timestamp::from_millis(1_000);

    fn report() -> Report {
        Report {
            key: "hot:echo".into(),
            rule: "hot".parse().unwrap(),
            severity: Severity::Critical,
            summary: "echo is hot".into(),
            details: vec![("value".into(), "9".into())],
            channels: Some(vec!["ops".parse().unwrap()]),
        }
    }

    #[test]
    fn a_rules_alert_is_pending_then_fires_for_its_channels_and_ends() {
        let alerts = Alerts::new(Arc::default());
        let mut news = alerts.subscribe();
        let check = |verdict, expected: &[Standing]| {
            apply(vec![verdict], &alerts, NOW);
            let up = alerts.active().into_iter().chain(alerts.pending());
            let standings: Vec<_> = up.map(|alert| alert.standing).collect();
            assert_eq!(standings, expected);
        };
        check(Verdict::Pending(report()), &[Standing::Pending]);
        check(Verdict::Fire(report()), &[Standing::Firing]);
        check(Verdict::Refresh(report()), &[Standing::Firing]);
        check(Verdict::End { key: "hot:echo".into() }, &[]);
        let fired = news.try_recv().unwrap();
        assert_eq!((fired.turn.as_str(), &fired.alert.channels), ("fired", &report().channels));
        assert_eq!(news.try_recv().unwrap().turn.as_str(), "resolved");
    }

    #[test]
    fn what_is_to_be_done_to_a_bot_is_handed_on() {
        let (bot, rule): (BotName, RuleName) = ("echo".parse().unwrap(), "hot".parse().unwrap());
        let act =
            Verdict::Act { bot: bot.clone(), action: BotAction::Restart, key: "hot:echo".into(), rule: rule.clone() };
        let orders = apply(vec![act], &Alerts::new(Arc::default()), NOW);
        assert_eq!(orders, [Order { bot, action: BotAction::Restart, rule }]);
    }
}
