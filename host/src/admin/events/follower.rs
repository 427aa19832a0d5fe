//! Events as they come in and come to an end, told to one who follows. What is told is what the search finds: the follower looks at
//! most so often, only when its client takes more, and keeps the latest of what was told to see what has changed of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::{Stream, stream};
use hyper::body::Bytes;
use tokio::time::Instant;

use super::{EventView, asked_bots};
use crate::admin::api::Api;
use crate::admin::ask::Ask;
use crate::admin::problem::Problem;
use crate::admin::status::TELL_EVERY;
use crate::admin::stream::{SILENT_MAX, event};
use crate::store::history::{FoundEvent, SearchEnd, SearchQuery, StandFilter};

/// An event that so many others came after is not looked at again: its end is not told.
const BEHIND_MAX: u64 = 10_000;
/// Events that one look tells of. Of more the oldest are not told, and that is.
const TOLD_AT_ONCE: u32 = 1_000;

/// Where one who follows is.
pub(super) struct Follower {
    api: Arc<Api>,
    ask: Ask,
    wanted: SearchQuery,
    stand: Option<StandFilter>,
    /// All that is told comes after it in the order of events.
    floor: u64,
    /// The last event that was there at the last look.
    newest: u64,
    /// What was found beyond the floor, as it was told or, where it is not what is wanted, would have been.
    told: BTreeMap<u64, EventView>,
}

impl Follower {
    /// Begins after the last event that is there.
    ///
    /// # Errors
    ///
    /// The store does not answer.
    pub(super) async fn begin(api: Arc<Api>, ask: Ask, mut wanted: SearchQuery) -> Result<Self, Problem> {
        // An event comes to stand elsewhere: all are looked at.
        let stand = wanted.stand.take();
        (wanted.limit, wanted.before) = (TOLD_AT_ONCE, None);
        let newest = newest(&api).await?;
        Ok(Self { api, ask, wanted, stand, floor: newest, newest, told: BTreeMap::new() })
    }

    /// Returns what is told, piece by piece. Ends where the store does not answer, or what is followed is gone.
    pub(super) fn pieces(self) -> impl Stream<Item = Bytes> + Send {
        stream::unfold((Some(self), None::<Instant>), |(follower, said)| async move {
            let mut follower = follower?;
            let Some(said) = said else {
                return Some((Bytes::from_static(b": from now on\n\n"), (Some(follower), Some(Instant::now()))));
            };
            loop {
                tokio::time::sleep(TELL_EVERY).await;
                match follower.look().await {
                    Ok(pieces) if !pieces.is_empty() => {
                        return Some((pieces.concat().into(), (Some(follower), Some(Instant::now()))));
                    }
                    Ok(_) if said.elapsed() >= SILENT_MAX => {
                        let silent = Bytes::from_static(b": nothing new\n\n");
                        return Some((silent, (Some(follower), Some(Instant::now()))));
                    }
                    Ok(_) => {}
                    Err(problem) => {
                        let detail = serde_json::json!({ "detail": problem.detail() });
                        return Some((event("error", &detail.to_string()), (None, Some(said))));
                    }
                }
            }
        })
    }

    /// Returns what is new.
    async fn look(&mut self) -> Result<Vec<Bytes>, Problem> {
        let newest = newest(&self.api).await?;
        if newest == self.newest && self.told.values().all(is_over) {
            return Ok(Vec::new());
        }
        self.newest = newest;
        // Bots come and go, and may become another's.
        self.wanted.bots = asked_bots(&self.api, &self.ask)?;
        self.wanted.after = Some(self.floor);
        let page = self.api.records.ask(self.api.records.store().search(self.wanted.clone())).await?;
        let mut pieces = Vec::new();
        if let SearchEnd::Full { before } | SearchEnd::Cut { before } = page.end
            && before > self.floor + 1
        {
            pieces.push(event("lost", &serde_json::json!({ "before": before }).to_string()));
        }
        pieces.extend(page.events.iter().rev().filter_map(|found| self.tell(found)));
        self.forget();
        Ok(pieces)
    }

    /// Returns what there is to tell of an event.
    fn tell(&mut self, found: &FoundEvent) -> Option<Bytes> {
        let view = EventView::from(found);
        let is_news = self.told.get(&found.seq) != Some(&view);
        let is_wanted =
            self.stand.is_none_or(|stand| found.handlings.iter().any(|handling| stand.takes(&handling.stand)));
        let told = (is_news && is_wanted).then(|| event("event", &serde_json::to_string(&view).unwrap_or_default()));
        self.told.insert(found.seq, view);
        told
    }

    /// Forgets what will not change any more, and what is too far behind.
    fn forget(&mut self) {
        let first = self.told.iter().find(|(_, view)| !is_over(view)).map(|(seq, _)| seq - 1);
        let last = self.told.keys().next_back().copied().unwrap_or(0).max(self.newest);
        self.floor = first.unwrap_or(last).max(last.saturating_sub(BEHIND_MAX)).max(self.floor);
        let full = self.told.keys().nth_back(TOLD_AT_ONCE as usize).copied().unwrap_or(0);
        self.floor = self.floor.max(full);
        self.told = self.told.split_off(&(self.floor + 1));
    }
}

/// Returns whether nothing will happen to it any more, unless the operator has it tried again.
fn is_over(view: &EventView) -> bool {
    view.handlings.iter().all(|handling| handling.state != "waiting")
}

/// Returns the place of the last event in the order of all.
async fn newest(api: &Api) -> Result<u64, Problem> {
    let one = SearchQuery { limit: 1, ..SearchQuery::default() };
    let page = api.records.ask(api.records.store().search(one)).await?;
    Ok(page.events.first().map_or(0, |found| found.seq))
}
