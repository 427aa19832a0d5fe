//! Says to open pages when something changed, so that they look again. Each follower compares what it would be shown; no more is told
//! than that it differs.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use tokio::time::Instant;

use crate::access::Scope;
use crate::admin::api::Api;
use crate::admin::ask::Ask;
use crate::admin::problem::{Answer, Problem};
use crate::admin::stream::{SILENT_MAX, event};
use crate::alert::Source;

/// How often pages look again at most.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// Where one who follows is.
struct Following {
    api: Arc<Api>,
    scope: Scope,
    /// What he was shown.
    seen: u64,
    said: Instant,
}

/// Follows what changes.
///
/// # Errors
///
/// Too many follow something already.
pub(super) fn follow(api: &Arc<Api>, ask: &Ask) -> Result<Answer, Problem> {
    let place = api.streams.place(&ask.from)?;
    let scope = ask.scope().clone();
    let begun = Following { seen: digest(api, &scope), api: Arc::clone(api), scope, said: Instant::now() };
    Ok(place.follow(futures_util::stream::unfold(begun, Following::next)))
}

impl Following {
    /// Returns the next piece, once there is one.
    async fn next(mut self) -> Option<(Bytes, Self)> {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = digest(&self.api, &self.scope);
            let is_changed = std::mem::replace(&mut self.seen, now) != now;
            if is_changed || self.said.elapsed() >= SILENT_MAX {
                self.said = Instant::now();
                let piece = if is_changed { event("changed", "{}") } else { Bytes::from_static(b": nothing new\n\n") };
                return Some((piece, self));
            }
        }
    }
}

/// Returns a number that differs, as good as always, when what somebody would be shown does.
fn digest(api: &Api, scope: &Scope) -> u64 {
    let mut hasher = DefaultHasher::new();
    for bot in api.sources.bots.statuses().iter().filter(|bot| scope.covers(&bot.tenant)) {
        (bot.name.as_str(), bot.phase.as_str(), bot.handled, bot.faults, bot.queued).hash(&mut hasher);
    }
    for alert in api.sources.alerts.active() {
        let is_shown = match &alert.source {
            Source::Host => *scope == Scope::Host,
            Source::Bot(bot) => api.covers(scope, bot),
        };
        if is_shown {
            (alert.id.to_string(), alert.times).hash(&mut hasher);
        }
    }
    if *scope == Scope::Host {
        for (key, status) in api.sources.connectors.entries() {
            (key.to_string(), status.link.as_str(), status.connections).hash(&mut hasher);
        }
        api.sources.is_ready.borrow().hash(&mut hasher);
    }
    hasher.finish()
}
