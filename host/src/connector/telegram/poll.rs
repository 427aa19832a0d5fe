//! The long poll: what Telegram has for the bot is handed to the host, and only then confirmed.

use std::ops::ControlFlow;
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::TelegramConfig;
use super::api::{Api, ApiError};
use super::update::{self, ALLOWED_UPDATES, Me};
use crate::connector::link::{Reconnect, pause};
use crate::connector::{Inbox, Stopping};
use crate::failpoint::{self, Failpoint};
use crate::id::ConnectorName;

/// Updates in one answer.
const BATCH_MAX: usize = 100;
/// How long calls may take that Telegram answers at once.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// A server that answers a poll at once although there is nothing to say, as simple ones do, is not asked faster than this.
const IDLE_POLL_MIN: Duration = Duration::from_millis(500);
/// How long the last confirmation may hold up the end.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(2);
/// After another's poll took over: what Telegram needs to notice that it is gone, beyond the poll itself.
const CONFLICT_MARGIN: Duration = Duration::from_secs(5);
/// Pressed buttons whose answer is under way. Of more, the spinner turns until Telegram stops it.
const ANSWERS_MAX: usize = 64;

/// What polls, and how far it has come.
pub(super) struct Poller<'a> {
    api: &'a Api,
    config: &'a TelegramConfig,
    name: &'a ConnectorName,
    inbox: &'a Inbox,
    cancel: &'a CancellationToken,
    /// The next update that is wanted; everything before it is the host's.
    offset: Option<i64>,
    /// Whether Telegram has been told so.
    is_confirmed: bool,
    /// A poll was answered since the last failure. Until then none is a long one: where nothing happens, half a minute would pass
    /// before it is known that Telegram listens, and what waits in the outbox would wait with it.
    is_answered: bool,
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
        ApiError::Refused { code: 401 | 404, .. } => Verdict::GiveUp,
        ApiError::Refused { code: 409, .. } if error.says("webhook is active") => Verdict::Webhook,
        ApiError::Refused { code: 409, .. } => Verdict::Conflict,
        _ => Verdict::BackOff,
    }
}

impl<'a> Poller<'a> {
    pub(super) fn new(
        api: &'a Api,
        config: &'a TelegramConfig,
        name: &'a ConnectorName,
        inbox: &'a Inbox,
        cancel: &'a CancellationToken,
    ) -> Self {
        Self {
            api,
            config,
            name,
            inbox,
            cancel,
            offset: None,
            is_confirmed: true,
            is_answered: false,
            webhook_was_removed: false,
        }
    }

    /// Polls until it is told to stop, the host takes no more, or Telegram refuses the token.
    pub(super) async fn run(mut self, mut link: Reconnect) {
        let ended = self.poll(&mut link).await;
        if ended.is_ok() {
            self.confirm().await;
            link.stopped();
        }
    }

    async fn poll(&mut self, link: &mut Reconnect) -> Result<(), TokenRefused> {
        let me = loop {
            match self.get_me().await {
                None => return Ok(()),
                Some(Ok(me)) => break me,
                Some(Err(error)) => {
                    if self.recover(link, error).await?.is_break() {
                        return Ok(());
                    }
                }
            }
        };
        let api = self.api;
        let mut answers = FuturesUnordered::new();
        loop {
            let asked_at = Instant::now();
            let next = {
                let mut updates = pin!(self.updates());
                loop {
                    tokio::select! {
                        updates = &mut updates => break updates,
                        Some(()) = answers.next() => {}
                    }
                }
            };
            let updates = match next {
                None => return Ok(()),
                Some(Ok(updates)) => updates,
                Some(Err(error)) => match self.recover(link, error).await? {
                    ControlFlow::Continue(()) => continue,
                    ControlFlow::Break(()) => return Ok(()),
                },
            };
            if !self.is_confirmed {
                failpoint::reach(Failpoint::OffsetAfter);
            }
            self.is_confirmed = true;
            let was_long = std::mem::replace(&mut self.is_answered, true);
            link.connected();
            link.succeeded();
            let pressed = updates.iter().filter_map(update::callback_query_id);
            for id in pressed.take(ANSWERS_MAX.saturating_sub(answers.len())) {
                answers.push(answer_callback(api, id.to_owned()));
            }
            if self.hand_over(&me, &updates).await.is_err() {
                return Ok(());
            }
            if updates.is_empty()
                && was_long
                && pause(IDLE_POLL_MIN.saturating_sub(asked_at.elapsed()), self.cancel).await.is_break()
            {
                return Ok(());
            }
        }
    }

    /// Asks who the bot is; none when told to stop.
    async fn get_me(&self) -> Option<Result<Me, ApiError>> {
        let none = json!({});
        let call = self.cancel.run_until_cancelled(self.api.call("getMe", &none, CALL_TIMEOUT)).await?;
        Some(call.and_then(|me| Me::deserialize(me).map_err(|_| ApiError::Unreadable { status: 200 })))
    }

    /// Waits for updates and returns them by id; none when told to stop. Everything before the offset is confirmed by asking.
    async fn updates(&self) -> Option<Result<Vec<Value>, ApiError>> {
        let timeout = if self.is_answered { self.config.poll_timeout } else { Duration::ZERO };
        let mut parameters = json!({
            "timeout": timeout.as_secs(),
            "limit": BATCH_MAX,
            "allowed_updates": ALLOWED_UPDATES,
        });
        if let Some(offset) = self.offset {
            parameters["offset"] = json!(offset);
        }
        if !self.is_confirmed {
            failpoint::reach(Failpoint::OffsetBefore);
        }
        let call = self.api.call("getUpdates", &parameters, self.config.stall_timeout);
        let answer = self.cancel.run_until_cancelled(call).await?;
        Some(answer.and_then(|updates| match updates {
            Value::Array(mut updates) if updates.iter().all(|update| update::update_id(update).is_some()) => {
                // Out of order, the first one taken over would confirm the ones after it.
                updates.sort_by_key(update::update_id);
                Ok(updates)
            }
            _ => Err(ApiError::Unreadable { status: 200 }),
        }))
    }

    /// Hands updates to the host, many at a time and in order, and moves the offset past those that it has. Fails when there
    /// is no more to be done: the host is stopping, or this connector is.
    async fn hand_over(&mut self, me: &Me, updates: &[Value]) -> Result<(), Stopping> {
        let mut submitted = Vec::new();
        let mut ended = Ok(());
        'updates: for update in updates {
            for event in update::events(self.name, me, update) {
                match self.cancel.run_until_cancelled(self.inbox.submit(event)).await {
                    Some(Ok(event)) => submitted.push((update, event)),
                    Some(Err(_)) | None => {
                        // Of an update that came to several events a part may be in; it comes again as a whole.
                        submitted.retain(|(earlier, _)| !std::ptr::eq(*earlier, update));
                        ended = Err(Stopping);
                        break 'updates;
                    }
                }
            }
        }
        let mut taken = None;
        let mut events = submitted.into_iter().peekable();
        while let Some((update, event)) = events.next() {
            if event.taken().await.is_err() {
                ended = Err(Stopping);
                break;
            }
            let is_whole = events.peek().is_none_or(|(next, _)| !std::ptr::eq(*next, update));
            taken = if is_whole { update::update_id(update) } else { taken };
        }
        if let Some(id) = taken {
            self.offset = Some(id + 1);
            self.is_confirmed = false;
        }
        ended
    }

    /// Tells Telegram what the host has, so that it does not come again after a restart. Best effort: what comes twice is
    /// recognised.
    async fn confirm(&self) {
        if let (Some(offset), false) = (self.offset, self.is_confirmed) {
            let parameters = json!({"offset": offset, "limit": 1, "timeout": 0, "allowed_updates": ALLOWED_UPDATES});
            if let Err(error) = self.api.call("getUpdates", &parameters, CONFIRM_TIMEOUT).await {
                tracing::info!(connector = %self.name, %error, "the last updates will come again");
            }
        }
    }

    /// Publishes a failure and waits as long as it calls for. Breaks when told to stop.
    async fn recover(&mut self, link: &mut Reconnect, error: ApiError) -> Result<ControlFlow<()>, TokenRefused> {
        let verdict = judge(&error);
        self.is_answered = false;
        let wait = match verdict {
            Verdict::GiveUp => {
                tracing::error!(connector = %self.name, %error, "Telegram refuses the token; polling ends");
                link.refused(error);
                return Err(TokenRefused);
            }
            Verdict::WaitExactly(wait) => link.failed_for(&error, wait),
            Verdict::Conflict => {
                let wait = (self.config.poll_timeout + CONFLICT_MARGIN).min(self.config.reconnect_max);
                link.contested(format_args!("another process polls with this token: {error}"), wait)
            }
            Verdict::Webhook if !self.webhook_was_removed => {
                self.webhook_was_removed = true;
                self.remove_webhook().await;
                link.failed(&error)
            }
            Verdict::Webhook => link.contested(
                format_args!("somebody sets a webhook for this token again and again: {error}"),
                self.config.reconnect_max,
            ),
            Verdict::BackOff => link.failed(&error),
        };
        tracing::warn!(connector = %self.name, %error, wait_ms = wait.as_millis(), "cannot get updates");
        Ok(pause(wait, self.cancel).await)
    }

    async fn remove_webhook(&self) {
        let keep = json!({"drop_pending_updates": false});
        match self.api.call("deleteWebhook", &keep, CALL_TIMEOUT).await {
            Ok(_) => tracing::warn!(connector = %self.name, "removed the webhook: this connector polls"),
            Err(error) => tracing::warn!(connector = %self.name, %error, "cannot remove the webhook"),
        }
    }
}

/// Telegram refuses the token; already published.
struct TokenRefused;

/// Stops the spinner on a pressed button. Best effort: Telegram stops it by itself some time later.
async fn answer_callback(api: &Api, id: String) {
    let parameters = json!({"callback_query_id": id});
    if let Err(error) = api.call("answerCallbackQuery", &parameters, CALL_TIMEOUT).await {
        tracing::debug!(%error, "cannot answer a pressed button");
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
            (refused(500, "Internal Server Error"), Verdict::BackOff),
            // A proxy in front has lost the API, not Telegram the token.
            (ApiError::Unreadable { status: 404 }, Verdict::BackOff),
        ] {
            assert_eq!(judge(&error), verdict, "{error}");
        }
    }
}
