//! `/api/v1/router`: what came in, and what keeps the next from coming in.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::api::Api;
use super::endpoint::{Access, Endpoint};
use crate::access::Role;

/// What came in since the host began.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RouterView {
    /// Events from connectors.
    pub received: u64,
    /// Events that an operator handed to a bot.
    pub injected: u64,
    /// Timers that fired.
    pub timers: u64,
    /// How often a bot was handed an event, by how urgent the bot is. An event that two bots hear counts twice.
    pub handed: HandedView,
    /// Events that no bot hears.
    pub unrouted: u64,
    /// Events that had come before.
    pub duplicates: u64,
    /// Platforms' ids of events that are remembered, to recognise those.
    pub remembered_ids: u64,
    /// Hand-overs that became dead letters at once: the bot had as many events waiting as it may.
    pub overflowing: u64,
    /// Events on their way to the disk.
    pub on_their_way: usize,
    /// What keeps the next event back: `no` (nothing), `room` (the queue is full) or `store` (it takes no event).
    pub held_back: String,
    /// How often the store took no event, so that nothing was taken in until it did.
    pub stalls: u64,
}

/// How often bots of each priority were handed an event.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HandedView {
    /// To those that go first.
    pub critical: u64,
    /// To those that are more urgent than most.
    pub high: u64,
    /// To all others.
    pub normal: u64,
    /// To those that are less urgent than most.
    pub low: u64,
}

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/router", Access::Host(Role::Viewer), "what came in, and what holds the next back")
            .json(async |api, _| Ok(view(&api))),
    ]
}

/// Returns what came in.
pub(super) fn view(api: &Api) -> RouterView {
    let intake = api.sources.injector.tally.intake();
    let [low, normal, high, critical] = intake.handed;
    RouterView {
        received: intake.received,
        injected: intake.injected,
        timers: intake.timers,
        handed: HandedView { critical, high, normal, low },
        unrouted: intake.unrouted,
        duplicates: intake.duplicates,
        remembered_ids: api.sources.store.health().borrow().dedup_keys,
        overflowing: intake.overflowing,
        on_their_way: intake.on_their_way,
        held_back: intake.held_back.as_str().to_owned(),
        stalls: intake.stalls,
    }
}
