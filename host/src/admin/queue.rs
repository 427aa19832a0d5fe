//! `/api/v1/queue`: how many events there are of each bot.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::endpoint::{Access, Endpoint};
use crate::access::Role;
use crate::store::Queue;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/queue", Access::Host(Role::Viewer), "how many events wait")
            .json(async |api, _| Ok(QueueView::from(api.records.store().queue()))),
    ]
}

/// The queue as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct QueueView {
    /// Events of all bots, those included that are still on their way to the disk.
    pub total: usize,
    /// Those that wait.
    pub waiting: usize,
    /// Those at work.
    pub at_work: usize,
    /// Of each bot that has any, by name.
    pub bots: Vec<DepthView>,
}

/// One bot's share of the queue.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DepthView {
    /// The bot.
    pub bot: String,
    /// Its events that wait.
    pub waiting: usize,
    /// Its events at work.
    pub at_work: usize,
}

impl From<&Queue> for QueueView {
    fn from(queue: &Queue) -> Self {
        let bots = queue.depths().into_iter();
        let bots: Vec<_> = bots
            .map(|(bot, depth)| DepthView { bot: bot.to_string(), waiting: depth.queued, at_work: depth.claimed })
            .collect();
        let (waiting, at_work) =
            bots.iter().fold((0, 0), |(waiting, at_work), depth| (waiting + depth.waiting, at_work + depth.at_work));
        Self { total: queue.len(), waiting, at_work, bots }
    }
}
