//! `/api/v1/bots/{bot}/state`: what a bot keeps: keys, how long they are and until when they last. What is in them is between the bot
//! and its users.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::api::Api;
use super::ask::Ask;
use super::endpoint::{Access, Endpoint, Listing};
use super::parameter::{Kind, LIMIT, Parameter};
use super::problem::Problem;
use crate::access::Role;
use crate::clock::Timestamp;
use crate::store::StateEntry;

/// A key of what a bot keeps.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct StateView {
    /// The key.
    key: String,
    /// How many bytes its value has, which is not shown.
    bytes: u64,
    /// When it is gone by itself, in RFC 3339; none: it stays.
    expires_at: Option<String>,
}

impl From<StateEntry> for StateView {
    fn from(StateEntry { key, bytes, expires_at }: StateEntry) -> Self {
        Self { key, bytes, expires_at: expires_at.map(|moment| moment.to_string()) }
    }
}

pub(super) fn endpoints() -> Vec<Endpoint> {
    const AFTER: Parameter = Parameter::new("after", Kind::Text, "only keys that come after this one, in byte order");
    vec![
        Endpoint::get("/api/v1/bots/{bot}/state", Access::Bot(Role::Viewer), "the keys of what a bot keeps")
            .takes(&[AFTER, LIMIT])
            .list(async |api, ask| list(&api, &ask).await),
    ]
}

/// Lists them, in byte order.
async fn list(api: &Api, ask: &Ask) -> Result<Listing<StateView>, Problem> {
    let (bot, limit) = (ask.bot()?, ask.query.limit()?);
    let after = ask.query.text("after");
    let found = api.records.store().state_entries(&bot, after, limit + 1, Timestamp::now());
    let views: Vec<_> = api.records.ask(found).await?.into_iter().map(StateView::from).collect();
    Ok(Listing::page(views, limit, "after", |last| last.key.clone()))
}
