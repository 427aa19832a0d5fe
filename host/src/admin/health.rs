//! Whether the host is well. A bad bot makes it `degraded`, which is still 200: no orchestrator should restart a host,
//! and every bot on it, for the sake of one.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::degraded::{self, Level, Part};
use crate::access::{Caller, Role};
use crate::alert::Alert;
use crate::bot::phase::BotStatus;
use crate::connector::Status;
use crate::grants::ConnectorKey;
use crate::store::{Condition, StoreHealth};

/// What is known of a host at one moment.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) is_ready: bool,
    pub(super) bots: Vec<BotStatus>,
    pub(super) connectors: Vec<(ConnectorKey, Status)>,
    pub(super) store: StoreHealth,
    pub(super) alerts: Vec<Alert>,
}

/// What `/health` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// Whether it is well.
    pub status: Verdict,
    /// How much of it works.
    pub level: Level,
    /// How long it is up.
    pub uptime_seconds: u64,
    /// How many bots are in each phase.
    pub bots: BTreeMap<String, usize>,
    /// How many connectors stand each way.
    pub connectors: BTreeMap<String, usize>,
    /// How the store is.
    pub store: StoreView,
    /// How many parts do not work as they should.
    pub degraded_parts: usize,
    /// Those parts. For the operator only: names and reasons are in there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub degraded: Option<Vec<Part>>,
}

/// How the store is. What it says in words is in the alerts: this is served to everybody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoreView {
    /// Whether it takes what is written.
    pub condition: String,
    /// Whether damage was found.
    pub is_damaged: bool,
    /// Rows that cannot be trusted.
    pub quarantined: u64,
    /// The length of the write-ahead log.
    pub wal_bytes: u64,
}

/// How the host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// All is well.
    Ok,
    /// It serves, but not every bot or connector does, or it takes nothing new in until the disk has room.
    Degraded,
    /// It is starting or stopping, or nothing can be stored.
    Unavailable,
}

impl Health {
    /// Assesses a host that is up for `uptime`, for whoever asks.
    pub(super) fn assess(uptime: Duration, facts: &Facts, visitor: Option<&Caller>) -> Self {
        let Facts { is_ready, bots, connectors, store, .. } = facts;
        let bots_are_well = bots.iter().all(|bot| bot.refused.is_none() && !bot.phase.is_ill());
        let connectors_are_well = connectors.iter().all(|(_, status)| status.link.trouble().is_none());
        let is_stored = !matches!(store.condition, Condition::Failing { .. } | Condition::Displaced { .. });
        let store_is_well = store.condition == Condition::Working && store.damage.is_none() && store.quarantined == 0;
        let status = match (*is_ready && is_stored, bots_are_well && connectors_are_well && store_is_well) {
            (false, _) => Verdict::Unavailable,
            (true, true) => Verdict::Ok,
            (true, false) => Verdict::Degraded,
        };
        let parts = degraded::parts(facts);
        Self {
            status,
            level: degraded::level(facts),
            uptime_seconds: uptime.as_secs(),
            bots: count(bots.iter().map(|bot| bot.phase.as_str())),
            connectors: count(connectors.iter().map(|(_, status)| status.link.as_str())),
            store: StoreView {
                condition: store.condition.as_str().to_owned(),
                is_damaged: store.damage.is_some(),
                quarantined: store.quarantined,
                wal_bytes: store.log_bytes,
            },
            degraded_parts: parts.len(),
            degraded: visitor.is_some_and(|caller| caller.runs_host(Role::Viewer)).then_some(parts),
        }
    }
}

fn count(words: impl Iterator<Item = &'static str>) -> BTreeMap<String, usize> {
    words.fold(BTreeMap::new(), |mut counts, word| {
        *counts.entry(word.to_owned()).or_default() += 1;
        counts
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bot::phase::Phase;
    use crate::clock::Timestamp;
    use crate::connector::Link;

    const UPTIME: Duration = Duration::from_millis(90_900);

    fn bot(phase: Phase) -> BotStatus {
        BotStatus { phase, ..BotStatus::new("b".parse().unwrap()) }
    }

    fn connector(link: Link) -> (ConnectorKey, Status) {
        (ConnectorKey::shared("c".parse().unwrap()), Status::new(link, Timestamp::from_millis(0)))
    }

    fn verdict(is_ready: bool, bots: &[BotStatus], connectors: &[(ConnectorKey, Status)]) -> Verdict {
        let facts = Facts { is_ready, bots: bots.to_vec(), connectors: connectors.to_vec(), ..facts() };
        Health::assess(UPTIME, &facts, None).status
    }

    fn facts() -> Facts {
        Facts {
            is_ready: true,
            bots: Vec::new(),
            connectors: Vec::new(),
            store: StoreHealth::default(),
            alerts: Vec::new(),
        }
    }

    #[test]
    fn a_bad_bot_or_connector_degrades_and_only_readiness_makes_unavailable() {
        let rejected = bot(Phase::Rejected { reason: "no".into() });
        let superseded = BotStatus { refused: Some("no".into()), ..bot(Phase::Running) };
        let refused = connector(Link::AuthFailed { error: "no".into() });
        assert_eq!(verdict(true, &[], &[]), Verdict::Ok);
        assert_eq!(
            verdict(true, &[bot(Phase::Running), bot(Phase::Disabled)], &[connector(Link::Connected)]),
            Verdict::Ok
        );
        for bad in [rejected, superseded] {
            assert_eq!(verdict(true, &[bot(Phase::Running), bad], &[]), Verdict::Degraded);
        }
        assert_eq!(verdict(true, &[], &[refused]), Verdict::Degraded);
        assert_eq!(verdict(false, &[], &[]), Verdict::Unavailable);
    }

    #[test]
    fn a_store_that_takes_less_degrades_and_one_that_takes_nothing_makes_unavailable() {
        let since = Timestamp::from_millis(0);
        let of = |store: &StoreHealth| Health::assess(UPTIME, &Facts { store: store.clone(), ..facts() }, None).status;
        let with = |condition| of(&StoreHealth { condition, ..StoreHealth::default() });
        assert_eq!(with(Condition::Full { since }), Verdict::Degraded);
        assert_eq!(with(Condition::Failing { since, error: "no".into() }), Verdict::Unavailable);
        assert_eq!(with(Condition::Displaced { since }), Verdict::Unavailable);
        assert_eq!(of(&StoreHealth { quarantined: 1, ..StoreHealth::default() }), Verdict::Degraded);
        assert_eq!(of(&StoreHealth { damage: Some("no".into()), ..StoreHealth::default() }), Verdict::Degraded);
    }

    #[test]
    fn bots_and_connectors_are_counted_and_named_to_the_operator_only() {
        let rejected = Phase::Rejected { reason: "secret".into() };
        let facts = Facts {
            bots: vec![bot(Phase::Running), bot(rejected), bot(Phase::Disabled)],
            connectors: vec![connector(Link::Connected)],
            store: StoreHealth { log_bytes: 7, ..StoreHealth::default() },
            ..facts()
        };
        let health = |visitor| serde_json::to_value(Health::assess(UPTIME, &facts, visitor)).unwrap();
        let store =
            serde_json::json!({ "condition": "working", "is_damaged": false, "quarantined": 0, "wal_bytes": 7 });
        let expected = serde_json::json!({
            "status": "degraded", "level": "reduced", "uptime_seconds": 90,
            "bots": { "disabled": 1, "rejected": 1, "running": 1 }, "connectors": { "connected": 1 },
            "store": store, "degraded_parts": 1,
        });
        assert_eq!(health(None), expected);
        let degraded = &health(Some(&Caller::by_socket()))["degraded"];
        assert_eq!((&degraded[0]["part"], &degraded[0]["why"]), (&"bot b".into(), &"rejected: secret".into()));
    }
}
