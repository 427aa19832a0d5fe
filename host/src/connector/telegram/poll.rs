//! The long poll: what Telegram has for the bot is handed to the host, and only then confirmed.

use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::TelegramConfig;
use super::api::{Api, ApiError};
use super::intake::{CALL_TIMEOUT, Intake};
use super::update::{self, ALLOWED_UPDATES};
use crate::connector::Stopping;
use crate::connector::link::{Connection, End, Life};
use crate::failpoint::{self, Failpoint};
use crate::id::ConnectorName;

/// Updates in one answer.
const BATCH_MAX: usize = 100;
/// A server that answers a poll at once although there is nothing to say, as simple ones do, is not asked faster than this.
const IDLE_POLL_MIN: Duration = Duration::from_millis(500);
/// How long the last confirmation may hold up the end.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(2);
/// After another's poll took over: what Telegram needs to notice that it is gone, beyond the poll itself.
const CONFLICT_MARGIN: Duration = Duration::from_secs(5);

/// What polls, and how far it has come.
#[derive(Debug)]
pub(super) struct Poller<'a> {
    api: &'a Api,
    intake: &'a Intake<'a>,
    config: &'a TelegramConfig,
    /// How long Telegram may hold a poll open.
    poll_timeout: Duration,
    name: &'a ConnectorName,
    progress: Mutex<Progress>,
    is_handing_over: watch::Sender<bool>,
}

/// Says for as long as it lives that updates are on their way into the host.
struct HandingOver<'a>(&'a watch::Sender<bool>);

impl<'a> HandingOver<'a> {
    fn new(is_so: &'a watch::Sender<bool>) -> Self {
        is_so.send_replace(true);
        Self(is_so)
    }
}

impl Drop for HandingOver<'_> {
    fn drop(&mut self) {
        self.0.send_replace(false);
    }
}

/// What outlives a connection.
#[derive(Debug, Default)]
struct Progress {
    /// The next update that is wanted; everything before it is the host's. Follows whatever Telegram sends, downwards too: after a
    /// week without updates ids begin anew anywhere.
    offset: Option<i64>,
    /// Telegram has not been told of the offset.
    is_unconfirmed: bool,
    /// A webhook was removed once; if it is back, somebody else wants it.
    webhook_was_removed: bool,
}

/// What to do after a failed call.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Telegram refuses the token.
    GiveUp,
    /// Telegram named the time.
    WaitExactly(Duration),
    /// Somebody else polls with this token.
    Conflict,
    /// A webhook takes the updates.
    Webhook,
    /// The usual.
    BackOff,
}

fn judge(error: &ApiError) -> Verdict {
    match error {
        ApiError::Refused { retry_after: Some(wait), .. } => Verdict::WaitExactly(*wait),
        error if error.refuses_token() => Verdict::GiveUp,
        ApiError::Refused { code: 409, .. } if error.says("webhook is active") => Verdict::Webhook,
        ApiError::Refused { code: 409, .. } => Verdict::Conflict,
        _ => Verdict::BackOff,
    }
}

impl<'a> Poller<'a> {
    pub(super) fn new(
        api: &'a Api,
        intake: &'a Intake<'a>,
        config: &'a TelegramConfig,
        poll_timeout: Duration,
        name: &'a ConnectorName,
    ) -> Self {
        Self {
            api,
            intake,
            config,
            poll_timeout,
            name,
            progress: Mutex::default(),
            is_handing_over: watch::Sender::new(false),
        }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Polls until it is told to stop, or the host takes no more.
    pub(super) async fn run(self, connection: &Connection, cancel: &CancellationToken) {
        let ended = CancellationToken::new();
        let keep = connection.keep(self.config.stall_timeout, &ended, |life| self.live(life, cancel));
        // What is on its way into the host when it says stop is waited for: it would come again otherwise.
        let end = async {
            cancel.cancelled().await;
            // The sender is `self`.
            let _ = self.is_handing_over.subscribe().wait_for(|is_so| !is_so).await;
            ended.cancel();
        };
        let mut keep = pin!(keep);
        tokio::select! {
            () = &mut keep => {}
            () = end => keep.await,
        }
        self.confirm().await;
    }

    async fn live(&self, life: Life<'_>, cancel: &CancellationToken) -> End {
        match self.poll(life, cancel).await {
            Ok(Stopping) => {
                self.confirm().await;
                End::Stopped
            }
            Err(error) => self.end(error).await,
        }
    }

    async fn poll(&self, life: Life<'_>, cancel: &CancellationToken) -> Result<Stopping, ApiError> {
        let me = self.intake.me().await?;
        life.authenticating();
        // The first is no long one: where nothing happens, half a minute would pass before it is known that Telegram listens, and what
        // waits in the outbox would wait with it.
        let mut timeout = Duration::ZERO;
        loop {
            let asked_at = Instant::now();
            let updates = self.updates(timeout).await?;
            let was_long = timeout == self.poll_timeout;
            timeout = self.poll_timeout;
            life.connected();
            life.of_use();
            let taken = |id: i64| {
                let mut progress = self.progress();
                progress.offset = Some(id.saturating_add(1));
                progress.is_unconfirmed = true;
            };
            let handing_over = HandingOver::new(&self.is_handing_over);
            if life.while_deaf(self.intake.hand_over(me, &updates, cancel, taken)).await.is_err() {
                return Ok(Stopping);
            }
            drop(handing_over);
            if updates.is_empty() && was_long {
                life.while_deaf(sleep(IDLE_POLL_MIN.saturating_sub(asked_at.elapsed()))).await;
            }
        }
    }

    /// Waits for updates and returns them by id. Everything before the offset is confirmed by asking.
    async fn updates(&self, timeout: Duration) -> Result<Vec<Value>, ApiError> {
        let (offset, is_unconfirmed) = {
            let progress = self.progress();
            (progress.offset, progress.is_unconfirmed)
        };
        let mut parameters = json!({
            "timeout": timeout.as_secs(),
            "limit": BATCH_MAX,
            "allowed_updates": ALLOWED_UPDATES,
        });
        if let Some(offset) = offset {
            parameters["offset"] = json!(offset);
        }
        if is_unconfirmed {
            failpoint::reach(Failpoint::OffsetBefore);
        }
        // A poll that brings nothing at all is cut off as a stall before this.
        let within = self.config.stall_timeout * 2;
        let answer = self.api.call("getUpdates", &parameters, within).await?;
        if is_unconfirmed {
            failpoint::reach(Failpoint::OffsetAfter);
            self.progress().is_unconfirmed = false;
        }
        match answer {
            Value::Array(mut updates) if updates.iter().all(|update| update::update_id(update).is_some()) => {
                // Out of order, the first one taken over would confirm the ones after it.
                updates.sort_by_key(update::update_id);
                Ok(updates)
            }
            _ => Err(ApiError::Unreadable { status: 200 }),
        }
    }

    /// Tells Telegram what the host has, so that it does not come again after a restart. Best effort: what comes twice is
    /// recognised.
    async fn confirm(&self) {
        let (offset, is_unconfirmed) = {
            let progress = self.progress();
            (progress.offset, progress.is_unconfirmed)
        };
        if let (Some(offset), true) = (offset, is_unconfirmed) {
            let parameters = json!({"offset": offset, "limit": 1, "timeout": 0, "allowed_updates": ALLOWED_UPDATES});
            match self.api.call("getUpdates", &parameters, CONFIRM_TIMEOUT).await {
                Ok(_) => self.progress().is_unconfirmed = false,
                Err(error) => tracing::info!(connector = %self.name, %error, "the last updates will come again"),
            }
        }
    }

    /// Returns what is to be done about a failure.
    async fn end(&self, error: ApiError) -> End {
        let reconnect_max = self.config.reconnect_max;
        let verdict = judge(&error);
        if verdict == Verdict::GiveUp {
            tracing::error!(connector = %self.name, %error, "Telegram refuses the token; polling ends");
        } else {
            tracing::warn!(connector = %self.name, %error, "cannot get updates");
        }
        match verdict {
            Verdict::GiveUp => End::refused(error),
            Verdict::WaitExactly(wait) => End::Wait(wait, error.to_string()),
            Verdict::Conflict => {
                let wait = (self.poll_timeout + CONFLICT_MARGIN).min(reconnect_max);
                End::Contested(wait, format!("another process polls with this token: {error}"))
            }
            Verdict::Webhook if !std::mem::replace(&mut self.progress().webhook_was_removed, true) => {
                self.remove_webhook().await;
                End::lost(error)
            }
            Verdict::Webhook => {
                let why = format!("somebody sets a webhook for this token again and again: {error}");
                End::Contested(reconnect_max, why)
            }
            Verdict::BackOff => End::lost(error),
        }
    }

    async fn remove_webhook(&self) {
        let keep = json!({"drop_pending_updates": false});
        match self.api.call("deleteWebhook", &keep, CALL_TIMEOUT).await {
            Ok(_) => tracing::warn!(connector = %self.name, "removed the webhook: this connector polls"),
            Err(error) => tracing::warn!(connector = %self.name, %error, "cannot remove the webhook"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u16, description: &str) -> ApiError {
        let retry_after = (code == 429).then_some(Duration::from_secs(3));
        ApiError::Refused { code, description: description.to_owned(), retry_after, migrate_to_chat_id: None }
    }

    #[test]
    fn every_class_of_failure_has_its_verdict() {
        for (error, verdict) in [
            (refused(401, "Unauthorized"), Verdict::GiveUp),
            (refused(404, "Not Found"), Verdict::GiveUp),
            (refused(429, "Too Many Requests"), Verdict::WaitExactly(Duration::from_secs(3))),
            (refused(409, "Conflict: terminated by other getUpdates request"), Verdict::Conflict),
            (refused(409, "Conflict: can't use getUpdates method while webhook is active"), Verdict::Webhook),
            (refused(400, "Bad Request: something new"), Verdict::BackOff),
            (refused(500, "Internal Server Error"), Verdict::BackOff),
            (ApiError::Unreadable { status: 502 }, Verdict::BackOff),
            // A proxy in front has lost the API, not Telegram the token.
            (ApiError::Unreadable { status: 404 }, Verdict::BackOff),
        ] {
            assert_eq!(judge(&error), verdict, "{error}");
        }
    }
}
