//! What both ways of receiving share: whose updates they are, handing them over to the host, and stopping the spinner of a pressed
//! button.

use std::sync::OnceLock;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::api::{Api, ApiError};
use super::update::{self, Me};
use crate::connector::{Inbox, Stopping};
use crate::id::ConnectorName;

/// How long calls may take that Telegram answers at once.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Pressed buttons whose answer waits. Of more, the spinner turns until Telegram stops it.
pub(super) const PRESSES_MAX: usize = 64;
/// Pressed buttons that are answered side by side.
const ANSWERS_MAX: usize = 8;

/// The way of updates into the host.
#[derive(Debug)]
pub(super) struct Intake<'a> {
    api: &'a Api,
    name: &'a ConnectorName,
    inbox: &'a Inbox,
    /// Where the ids of pressed buttons go.
    pressed: mpsc::Sender<String>,
    me: OnceLock<Me>,
}

impl<'a> Intake<'a> {
    pub(super) fn new(api: &'a Api, name: &'a ConnectorName, inbox: &'a Inbox, pressed: mpsc::Sender<String>) -> Self {
        Self { api, name, inbox, pressed, me: OnceLock::new() }
    }

    /// Returns whose updates they are. Asked once.
    pub(super) async fn me(&self) -> Result<&Me, ApiError> {
        if let Some(me) = self.me.get() {
            return Ok(me);
        }
        let me = self.api.call("getMe", &json!({}), CALL_TIMEOUT).await?;
        let me = Me::deserialize(me).map_err(|_| ApiError::Unreadable { status: 200 })?;
        Ok(self.me.get_or_init(|| me))
    }

    /// Hands updates over, many at a time and in order, and calls `taken` with the id of each that the host has as a whole. Has the
    /// spinners of pressed buttons stopped. Once `cancel` is given, begins no further one. Dropped, those for which `taken` was not called may be the host's or not.
    ///
    /// # Errors
    ///
    /// The host takes no more, or `cancel` was given; the updates from the first for which `taken` was not called on have to come again.
    pub(super) async fn hand_over(
        &self,
        me: &Me,
        updates: &[Value],
        cancel: &CancellationToken,
        mut taken: impl FnMut(i64),
    ) -> Result<(), Stopping> {
        for id in updates.iter().filter_map(update::callback_query_id) {
            let _ = self.pressed.try_send(id.to_owned());
        }
        let mut submitted = Vec::with_capacity(updates.len());
        let mut ended = Ok(());
        'updates: for update in updates {
            let mut events = update::events(self.name, me, update).into_iter().peekable();
            while let Some(event) = events.next() {
                let Some(Ok(event)) = cancel.run_until_cancelled(self.inbox.submit(event)).await else {
                    // Of an update that came to several events a part may be in; it comes again as a whole.
                    ended = Err(Stopping);
                    break 'updates;
                };
                let is_last = events.peek().is_none();
                submitted.push((event, is_last.then(|| update::update_id(update)).flatten()));
            }
        }
        for (event, whole) in submitted {
            event.taken().await?;
            if let Some(id) = whole {
                taken(id);
            }
        }
        ended
    }
}

/// Stops the spinners of pressed buttons until `cancel` is given. Best effort: Telegram stops them by itself some time later.
pub(super) async fn answer_presses(api: &Api, mut presses: mpsc::Receiver<String>, cancel: &CancellationToken) {
    let mut answers = FuturesUnordered::new();
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            Some(()) = answers.next() => {}
            Some(id) = presses.recv(), if answers.len() < ANSWERS_MAX => answers.push(answer_press(api, id)),
        }
    }
}

async fn answer_press(api: &Api, id: String) {
    let parameters = json!({"callback_query_id": id});
    if let Err(error) = api.call("answerCallbackQuery", &parameters, CALL_TIMEOUT).await {
        tracing::debug!(%error, "cannot answer a pressed button");
    }
}
