//! How much of the host works, and which parts do not. Pure.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::event::cut;
use super::health::Facts;
use crate::alert::{Alert, Source};
use crate::bot::phase::{BotStatus, Phase};
use crate::connector::Link;
use crate::store::{Condition, StoreHealth};

/// The alerts of the host that tell of its configuration.
const CONFIGURATION_ALERTS: [&str; 3] = ["configuration-rejected", "needs-restart", "mass-removal"];

/// How much of the host works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// All that should.
    Full,
    /// Most of it: some bot or connector is off, or something wants to be looked at.
    Reduced,
    /// What was begun is finished and nothing is lost, but nothing new comes of it: the disk is full, or every bot or every
    /// connector is off.
    Essential,
    /// Nothing: the host is starting or stopping, or what it is given cannot be stored.
    None,
}

/// A part that does not work as it should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Part {
    /// `bot NAME`, `connector NAME`, `store` or `configuration`.
    part: String,
    /// Since when, in RFC 3339; none where that is not known.
    since: Option<String>,
    /// What is wrong.
    why: String,
}

impl Part {
    fn new(part: impl Into<String>, since: Option<impl ToString>, why: &str) -> Self {
        Self { part: part.into(), since: since.map(|since| since.to_string()), why: cut(why) }
    }
}

/// Returns how much of the host works.
pub(super) fn level(facts: &Facts) -> Level {
    let is_stored = !matches!(facts.store.condition, Condition::Failing { .. } | Condition::Displaced { .. });
    if !facts.is_ready || !is_stored {
        return Level::None;
    }
    // Those that the operator has taken down are missed by nobody.
    let bots = facts.bots.iter().map(|bot| &bot.phase);
    let wanted = bots.filter(|phase| !matches!(phase, Phase::Disabled | Phase::Draining | Phase::Stopped { .. }));
    let links = facts.connectors.iter().map(|(_, status)| &status.link).filter(|link| **link != Link::Stopped);
    let is_full = matches!(facts.store.condition, Condition::Full { .. });
    if is_full || all(wanted, |phase| phase.is_ill()) || all(links, |link| trouble(link).is_some()) {
        return Level::Essential;
    }
    if parts(facts).is_empty() { Level::Full } else { Level::Reduced }
}

/// Returns the parts that do not work as they should, the store first.
pub(super) fn parts(facts: &Facts) -> Vec<Part> {
    let bots = facts.bots.iter().filter_map(of_bot);
    let connectors = facts.connectors.iter().filter_map(|(key, status)| {
        Some(Part::new(format!("connector {key}"), Some(status.since), trouble(&status.link)?))
    });
    let store = of_store(&facts.store).into_iter();
    store.chain(facts.alerts.iter().filter_map(of_configuration)).chain(connectors).chain(bots).collect()
}

/// Returns whether there are some, and it holds for each of them.
fn all<T>(items: impl Iterator<Item = T>, holds: impl Fn(T) -> bool) -> bool {
    let mut items = items.peekable();
    items.peek().is_some() && items.all(holds)
}

fn trouble(link: &Link) -> Option<&str> {
    match link {
        Link::Connecting { error } => error.as_deref(),
        Link::Degraded { error }
        | Link::BackingOff { error, .. }
        | Link::Contested { error, .. }
        | Link::AuthFailed { error } => Some(error),
        Link::Authenticating | Link::Connected | Link::Stopped => None,
    }
}

fn of_bot(bot: &BotStatus) -> Option<Part> {
    let why = match (&bot.refused, bot.phase.is_ill()) {
        (_, true) => format!("{}: {}", bot.phase.as_str(), bot.phase.detail().unwrap_or("no reason given")),
        (Some(refused), false) => format!("an older version serves: {refused}"),
        (None, false) => return None,
    };
    // Since when a newer version is refused is not known.
    let since = bot.phase.is_ill().then_some(bot.since);
    Some(Part::new(format!("bot {}", bot.name), since, &why))
}

fn of_store(store: &StoreHealth) -> Vec<Part> {
    let part = |since, why: &str| Part::new("store", since, why);
    let condition = match &store.condition {
        Condition::Working => None,
        Condition::Full { since } => Some(part(Some(*since), "the disk is full")),
        Condition::Failing { since, error } => Some(part(Some(*since), error)),
        Condition::Displaced { since } => Some(part(Some(*since), "the database was deleted or replaced")),
    };
    let damage = store.damage.as_ref().map(|report| part(None, &format!("the database is damaged: {report}")));
    let quarantined = match store.quarantined {
        0 => None,
        rows => Some(part(None, &format!("rows that could not be trusted and were put aside: {rows}"))),
    };
    condition.into_iter().chain(damage).chain(quarantined).collect()
}

fn of_configuration(alert: &Alert) -> Option<Part> {
    let is_one = alert.source == Source::Host && CONFIGURATION_ALERTS.contains(&alert.key.as_str());
    is_one.then(|| Part::new("configuration", Some(alert.raised_at), &alert.summary))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::Severity;
    use crate::clock::Timestamp;
    use crate::connector::Status;
    use crate::grants::ConnectorKey;

    const SINCE: Timestamp = Timestamp::from_millis(1_000);

    fn facts() -> Facts {
        Facts {
            is_ready: true,
            bots: vec![bot("a", Phase::Running)],
            connectors: vec![connector("c", Link::Connected)],
            store: StoreHealth::default(),
            alerts: Vec::new(),
        }
    }

    fn bot(name: &str, phase: Phase) -> BotStatus {
        BotStatus { phase, since: SINCE, ..BotStatus::new(name.parse().unwrap()) }
    }

    fn connector(name: &str, link: Link) -> (ConnectorKey, Status) {
        let status = Status::new(link, SINCE);
        (ConnectorKey::shared(name.parse().unwrap()), status)
    }

    fn rejected() -> Phase {
        Phase::Rejected { reason: "no".into() }
    }

    fn refused() -> Link {
        Link::AuthFailed { error: "wrong token".into() }
    }

    fn alert(source: Source, key: &str) -> Alert {
        Alert::new(source, key, Severity::Warning, "line 7", SINCE)
    }

    #[test]
    fn each_level_has_its_reasons() {
        let stored = |condition| Facts { store: StoreHealth { condition, ..StoreHealth::default() }, ..facts() };
        let bots = |bots| Facts { bots, ..facts() };
        let links = |connectors| Facts { connectors, ..facts() };
        let older = BotStatus { refused: Some("no".into()), ..bot("a", Phase::Running) };
        let stopped = || Phase::Stopped { reason: None };
        for (expected, facts) in [
            (Level::Full, facts()),
            (Level::Full, Facts { bots: Vec::new(), connectors: Vec::new(), ..facts() }),
            (Level::Full, bots(vec![bot("a", Phase::Disabled), bot("b", stopped())])),
            (Level::Full, bots(vec![bot("a", Phase::Discovered), bot("b", Phase::Starting)])),
            (Level::Full, links(vec![connector("c", Link::Connecting { error: None }), connector("d", Link::Stopped)])),
            (Level::Full, Facts { alerts: vec![alert(Source::Host, "wal-large")], ..facts() }),
            (Level::Full, Facts { alerts: vec![alert(Source::Bot("a".parse().unwrap()), "needs-restart")], ..facts() }),
            (Level::Reduced, bots(vec![bot("a", Phase::Running), bot("b", rejected())])),
            (Level::Reduced, bots(vec![older])),
            (Level::Reduced, links(vec![connector("c", Link::Connected), connector("d", refused())])),
            (Level::Reduced, Facts { alerts: vec![alert(Source::Host, "mass-removal")], ..facts() }),
            (Level::Reduced, Facts { store: StoreHealth { quarantined: 1, ..StoreHealth::default() }, ..facts() }),
            (Level::Essential, stored(Condition::Full { since: SINCE })),
            (Level::Essential, bots(vec![bot("a", rejected()), bot("b", Phase::Disabled)])),
            (Level::Essential, links(vec![connector("c", refused()), connector("d", Link::Stopped)])),
            (Level::None, stored(Condition::Failing { since: SINCE, error: "EIO".into() })),
            (Level::None, stored(Condition::Displaced { since: SINCE })),
            (Level::None, Facts { is_ready: false, ..facts() }),
        ] {
            assert_eq!(level(&facts), expected, "{facts:?}");
        }
    }

    #[test]
    fn each_part_is_told_with_since_when_and_why() {
        let until = Timestamp::from_millis(9_000);
        let facts = Facts {
            is_ready: true,
            bots: vec![
                bot("well", Phase::Probation { until }),
                bot("ill", Phase::Degraded { error: "traps".into(), until }),
                BotStatus { refused: Some("asks for more".into()), ..bot("older", Phase::Running) },
            ],
            connectors: vec![connector("c", Link::Connected), connector("d", refused())],
            store: StoreHealth {
                condition: Condition::Full { since: SINCE },
                damage: Some("page 7".into()),
                quarantined: 2,
                ..StoreHealth::default()
            },
            alerts: vec![alert(Source::Host, "configuration-rejected")],
        };
        let since = "1970-01-01T00:00:01Z";
        let expected = [
            ("store", Some(since), "the disk is full"),
            ("store", None, "the database is damaged: page 7"),
            ("store", None, "rows that could not be trusted and were put aside: 2"),
            ("configuration", Some(since), "line 7"),
            ("connector d", Some(since), "wrong token"),
            ("bot ill", Some(since), "degraded: traps"),
            ("bot older", None, "an older version serves: asks for more"),
        ];
        let expected = expected.map(|(part, since, why)| Part::new(part, since, why));
        assert_eq!(parts(&facts), expected);
    }
}
