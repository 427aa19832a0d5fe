//! `/api/v1/connectors`: how the connectors stand, what they have counted, and what the operator does with them. A bot's own are
//! below the bot.

use std::time::Duration;

use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::api::Api;
use super::ask::Ask;
use super::endpoint::{Access, Endpoint, Listing};
use super::event::cut;
use super::problem::Problem;
use crate::access::{Role, Scope};
use crate::clock::Timestamp;
use crate::connector::{Link, Status};
use crate::grants::ConnectorKey;
use crate::id::BotName;
use crate::logs::escape;
use crate::supervisor::ConnectorVerb;

/// How long the supervisor may take: a connector that hangs is cut off after five seconds. Shorter than any client waits.
const ORDER_MAX: Duration = Duration::from_secs(8);

/// One connector as the API shows it. What is counted is counted since the host began, or since the connector was configured anew.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ConnectorView {
    /// Its name; a bot's own has the bot's before it.
    pub name: String,
    /// What it connects to: the word after `type` in its table.
    #[serde(rename = "type")]
    pub kind: String,
    /// How it stands.
    pub link: String,
    /// Why, where there is a reason to give.
    pub detail: Option<String>,
    /// Since when, in RFC 3339.
    pub since: String,
    /// Where it is connected: for how many seconds.
    pub connected_seconds: Option<u64>,
    /// Where it listens, if it is one that platforms dial.
    pub listening: Option<String>,
    /// Connections that were made.
    pub connections: u64,
    /// Tries to connect that failed.
    pub connections_failed: u64,
    /// Connections that were lost.
    pub connections_lost: u64,
    /// What went wrong last, of a connection or a delivery.
    pub last_error: Option<String>,
    /// When that was, in RFC 3339.
    pub last_error_at: Option<String>,
    /// When its platform last proved that it is there, in RFC 3339.
    pub last_success: Option<String>,
    /// When the last event came, in RFC 3339.
    pub last_event: Option<String>,
    /// Events that came.
    pub events: u64,
    /// Actions that the platform took.
    pub delivered: u64,
    /// Tries of an action that did not go well.
    pub undelivered: u64,
    /// Actions that were given up, or not delivered in time.
    pub lost: u64,
}

impl ConnectorView {
    fn new((key, status): &(ConnectorKey, Status), now: Timestamp) -> Self {
        let (signs, tally) = (&status.signs, status.signs.tally());
        let (last_error_at, last_error) = signs.last_error().unzip();
        Self {
            name: key.to_string(),
            kind: status.kind.to_owned(),
            link: status.link.as_str().to_owned(),
            detail: status.link.trouble().or(status.held).map(str::to_owned),
            since: status.since.to_string(),
            connected_seconds: (status.link == Link::Connected).then(|| now.saturating_since(status.since).as_secs()),
            listening: status.listening.map(|address| address.to_string()),
            connections: status.connections.max(tally.connected),
            connections_failed: tally.failed,
            connections_lost: tally.lost,
            last_error: last_error.map(|error| error.to_string()),
            last_error_at: last_error_at.map(|moment| moment.to_string()),
            last_success: signs.last_success().map(|moment| moment.to_string()),
            last_event: signs.last_event().map(|moment| moment.to_string()),
            events: tally.events,
            delivered: tally.delivered,
            undelivered: tally.undelivered,
            lost: tally.given_up + tally.expired,
        }
    }
}

pub(super) fn endpoints() -> Vec<Endpoint> {
    const SHARED: &str = "/api/v1/connectors/{connector}";
    const OWN: &str = "/api/v1/bots/{bot}/connectors/{connector}";
    let (look, of_bot) = (Access::Host(Role::Viewer), Access::Bot(Role::Viewer));
    let mut all = vec![
        Endpoint::get("/api/v1/connectors", Access::Tenant(Role::Viewer), "how the connectors stand")
            .list(async |api, ask| Ok(Listing::whole(list(&api, &ask)))),
        Endpoint::get("/api/v1/bots/{bot}/connectors", of_bot, "how a bot's own connectors stand").list(
            async |api, ask| {
                let bot = ask.bot()?;
                Ok(Listing::whole(views(&api, |key| key.owner.as_ref() == Some(&bot))))
            },
        ),
        Endpoint::get(SHARED, look, "one connector of the host's").json(async |api, ask| one(&api, &key(&ask)?)),
        Endpoint::get(OWN, of_bot, "one connector of a bot's own").json(async |api, ask| one(&api, &key(&ask)?)),
    ];
    let verb = |path, access, summary, verb| {
        Endpoint::post(path, access, summary)
            .with_status(StatusCode::ACCEPTED)
            .json(move |api, ask| async move { order(&api, key(&ask)?, verb).await })
    };
    let (host, bot) = (Access::Host(Role::Operator), Access::Bot(Role::Operator));
    let start = "brings a connector up again after a stop";
    let stop = "takes a connector down until it is started; what bots ask of it waits";
    let restart = "has a connector connect anew";
    all.extend([
        verb("/api/v1/connectors/{connector}/start", host, start, ConnectorVerb::Start),
        verb("/api/v1/connectors/{connector}/stop", host, stop, ConnectorVerb::Stop),
        verb("/api/v1/connectors/{connector}/restart", host, restart, ConnectorVerb::Restart),
        verb("/api/v1/bots/{bot}/connectors/{connector}/start", bot, start, ConnectorVerb::Start),
        verb("/api/v1/bots/{bot}/connectors/{connector}/stop", bot, stop, ConnectorVerb::Stop),
        verb("/api/v1/bots/{bot}/connectors/{connector}/restart", bot, restart, ConnectorVerb::Restart),
    ]);
    all
}

/// Lists them; a tenant is shown those of its own bots.
pub(super) fn list(api: &Api, ask: &Ask) -> Vec<ConnectorView> {
    views(api, |key| match (ask.scope(), &key.owner) {
        (Scope::Host, _) => true,
        (scope, Some(bot)) => api.covers(scope, bot),
        (Scope::Tenant(_), None) => false,
    })
}

fn views(api: &Api, is_wanted: impl Fn(&ConnectorKey) -> bool) -> Vec<ConnectorView> {
    let (connectors, now) = (api.sources.connectors.entries(), Timestamp::now());
    connectors.iter().filter(|(key, _)| is_wanted(key)).map(|entry| ConnectorView::new(entry, now)).collect()
}

/// Returns the connector that the path names: one of the bot's own, where it names a bot, else one of the host's.
pub(super) fn key(ask: &Ask) -> Result<ConnectorKey, Problem> {
    let owner: Option<BotName> = if ask.part("bot").is_empty() { None } else { Some(ask.bot()?) };
    let name = ask.part("connector");
    let name = name.parse().map_err(|_| Problem::Absent(format!("there is no connector `{}`", cut(&escape(name)))))?;
    Ok(ConnectorKey { owner, name })
}

/// Shows one.
pub(super) fn one(api: &Api, key: &ConnectorKey) -> Result<ConnectorView, Problem> {
    let status = api.sources.connectors.get(key).ok_or_else(|| absent(key))?;
    Ok(ConnectorView::new(&(key.clone(), status), Timestamp::now()))
}

/// Has a verb carried out on one. The answer comes when it was, and shows the connector as it is then.
pub(super) async fn order(api: &Api, key: ConnectorKey, verb: ConnectorVerb) -> Result<ConnectorView, Problem> {
    match timeout(ORDER_MAX, api.sources.control.connector(key.clone(), verb)).await {
        Ok(done) => done?,
        Err(_) => {
            let seconds = ORDER_MAX.as_secs();
            let detail = format!("the supervisor did not answer within {seconds} s, and may do it yet: look again");
            return Err(Problem::Unavailable(detail));
        }
    }
    one(api, &key)
}

pub(super) fn absent(key: &ConnectorKey) -> Problem {
    Problem::Absent(format!("there is no connector `{key}`; GET /api/v1/connectors lists them"))
}
