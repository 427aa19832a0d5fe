//! `/api/v1/outbox/statistics` and `/api/v1/outbox/replay`: how full the outbox of each connector is, how what waits in it leaves, and
//! having it leave now.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::api::Api;
use super::ask::Ask;
use super::connectors::{absent, key};
use super::endpoint::{Access, Endpoint, Listing};
use super::parameter::{Kind, Parameter};
use super::problem::Problem;
use crate::access::Role;
use crate::clock::Timestamp;
use crate::grants::ConnectorKey;
use crate::store::OutboxFigures;

/// The outbox of one connector.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BufferView {
    /// The connector's key.
    pub connector: String,
    /// Actions in it, those being delivered included.
    pub waiting: usize,
    /// Those being delivered.
    pub at_work: usize,
    /// Conversations whose next action waits for another try, or until the platform takes more.
    pub held: usize,
    /// When the first of those is due, in RFC 3339.
    pub due: Option<String>,
    /// How many bytes the actions have, as far as that is known.
    pub bytes: u64,
    /// When the oldest was committed, in RFC 3339.
    pub oldest: Option<String>,
    /// How many actions it takes; none: there is no such connector, and what is in it waits for it to come back.
    pub capacity: Option<usize>,
    /// What gives way when it is full, as the configuration calls it.
    pub overflow: Option<String>,
    /// How what waits leaves: `open`, `replaying` (at a growing pace, after a connection), `refused` (the platform refuses the
    /// credentials) or `closed` (not connected, or stopped).
    pub outflow: String,
    /// Actions that were delivered since the host began, or since the connector was configured anew, as with the next three.
    pub delivered: u64,
    /// Tries that did not go well.
    pub undelivered: u64,
    /// Actions that were given up.
    pub given_up: u64,
    /// Actions that were not delivered in time.
    pub expired: u64,
}

/// What came of a replay.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ReplayView {
    /// The connector's key.
    pub connector: String,
    /// Conversations whose next action waited for another try, and waits no more.
    pub hastened: usize,
    /// Actions that were lost and wait again.
    pub restored: u64,
    /// Whether more that was lost could be put back: ask again, once there is room in the outbox.
    pub has_more: bool,
}

pub(super) fn endpoints() -> Vec<Endpoint> {
    const WHOSE: Parameter =
        Parameter::new("connector", Kind::Name, "whose outbox, such as `telegram` or `BOT/telegram`").required();
    const LOST_SINCE: Parameter = Parameter::new(
        "lost_since",
        Kind::Moment,
        "also what was lost since this moment, or in this time: up to 1000 actions, the oldest first",
    );
    let about = "has all that waits for a connector delivered now";
    vec![
        Endpoint::get("/api/v1/outbox/statistics", Access::Host(Role::Viewer), "how full the connectors' outboxes are")
            .list(async |api, _| Ok(Listing::whole(list(&api)))),
        Endpoint::post("/api/v1/outbox/replay", Access::Host(Role::Operator), about).takes(&[WHOSE, LOST_SINCE]).json(
            async |api, ask| {
                let connector = ask.query.name::<ConnectorKey>("connector")?;
                let missing =
                    || Problem::BadRequest("`connector` is missing: name one, such as ?connector=telegram".into());
                replay(&api, &ask, connector.ok_or_else(missing)?).await
            },
        ),
        Endpoint::post("/api/v1/bots/{bot}/connectors/{connector}/replay", Access::Bot(Role::Operator), about)
            .takes(&[LOST_SINCE])
            .json(async |api, ask| replay(&api, &ask, key(&ask)?).await),
    ]
}

/// Lists them, by connector.
pub(super) fn list(api: &Api) -> Vec<BufferView> {
    let figures = api.records.store().outbox().figures();
    figures.into_iter().map(|figures| view(api, figures)).collect()
}

fn view(api: &Api, figures: OutboxFigures) -> BufferView {
    let signs = api.sources.connectors.get(&figures.key).map(|status| status.signs).unwrap_or_default();
    let tally = signs.tally();
    BufferView {
        connector: figures.key.to_string(),
        waiting: figures.waiting,
        at_work: figures.at_work,
        held: figures.held,
        due: figures.due.map(|moment| moment.to_string()),
        bytes: figures.bytes,
        oldest: figures.oldest.map(|moment| moment.to_string()),
        capacity: figures.settings.map(|settings| settings.len_max),
        overflow: figures.settings.map(|settings| settings.overflow.as_str().to_owned()),
        outflow: signs.outflow().as_str().to_owned(),
        delivered: tally.delivered,
        undelivered: tally.undelivered,
        given_up: tally.given_up,
        expired: tally.expired,
    }
}

/// Has what waits for a connector delivered now, and what was lost.
async fn replay(api: &Api, ask: &Ask, connector: ConnectorKey) -> Result<ReplayView, Problem> {
    let lost_since = ask.query.moment("lost_since", Timestamp::now())?;
    if api.sources.connectors.get(&connector).is_none() {
        return Err(absent(&connector));
    }
    let replayed = api.records.ask(api.records.store().replay(&connector, lost_since)).await?;
    let (hastened, restored) = (replayed.hastened, replayed.restored);
    tracing::info!(%connector, hastened, restored, "the operator has what waits delivered now");
    Ok(ReplayView { connector: connector.to_string(), hastened, restored, has_more: replayed.has_more })
}
