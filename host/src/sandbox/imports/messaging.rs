//! Acts on platforms: checked and gathered; the outbox delivers them after the commit.

use super::GuestState;
use crate::action::{self, Act, Action};
use crate::clock::Timestamp;
use crate::event;
use crate::id::Ticket;
use crate::sandbox::wit::v0_1::{messaging, types};
use crate::store::OutboxRoom;

/// As the interface promises; Telegram's own limit.
const BUTTON_DATA_BYTES_MAX: usize = 64;
/// Most buttons of one message.
const BUTTONS_MAX: usize = 100;

type Answer<T> = wasmtime::Result<Result<T, types::Failure>>;

impl messaging::Host for GuestState {
    fn send(&mut self, to: types::Conversation, message: messaging::Outgoing) -> Answer<u64> {
        let ticket = Ticket::generate(Timestamp::now());
        let act = |message| Act::Send { ticket, message };
        Ok(self.gather_message(to, message, act).map(|()| ticket.0))
    }

    fn edit(
        &mut self,
        at: types::Conversation,
        target: messaging::MessageRef,
        message: messaging::Outgoing,
    ) -> Answer<()> {
        let target = target.into();
        Ok(self.gather_message(at, message, |message| Act::Edit { target, message }))
    }

    fn delete(&mut self, at: types::Conversation, target: messaging::MessageRef) -> Answer<()> {
        Ok(self.gather_act(at, Act::Delete { target: target.into() }, 0))
    }

    fn react(&mut self, at: types::Conversation, target: messaging::MessageRef, emoji: String) -> Answer<()> {
        let checked = super::check_length("an emoji", &emoji, 64);
        let bytes = emoji.len();
        Ok(checked.and_then(|()| self.gather_act(at, Act::React { target: target.into(), emoji }, bytes)))
    }

    fn typing(&mut self, _at: types::Conversation) -> wasmtime::Result<()> {
        // Best effort, and no connector of this version shows it.
        Ok(())
    }

    fn raw(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(self.raw.clone())
    }
}

impl GuestState {
    fn gather_message(
        &mut self,
        at: types::Conversation,
        message: messaging::Outgoing,
        act: impl FnOnce(action::Outgoing) -> Act,
    ) -> Result<(), types::Failure> {
        let bytes = check_message(&message)?;
        self.gather_act(at, act(message.into()), bytes)
    }

    fn gather_act(&mut self, at: types::Conversation, act: Act, bytes: usize) -> Result<(), types::Failure> {
        self.may_act()?;
        let context = &self.context;
        let not_granted = || types::Failure::NotGranted(format!("connectors = [\"{}\"]", at.connector.escape_debug()));
        let key = context.reach.resolve(&context.bot, &at.connector).ok_or_else(not_granted)?;
        match context.services.store.outbox().room(&key) {
            OutboxRoom::Free => {}
            OutboxRoom::Full => return Err(types::Failure::Unavailable(format!("the outbox of `{key}` is full"))),
            OutboxRoom::Unknown => return Err(types::Failure::NotFound),
        }
        context.budgets.take_send().map_err(|_| types::Failure::QuotaExceeded("limits.sends_per_minute".to_owned()))?;
        let at = event::Conversation {
            connector: key.name.clone(),
            id: at.id,
            kind: at.kind.into(),
            title: at.title,
            thread: at.thread,
        };
        let bytes = bytes + at.id.len();
        Ok(self.gathered.act(Action { via: key, at, act }, bytes)?)
    }
}

/// Returns about how many bytes the message has.
fn check_message(message: &messaging::Outgoing) -> Result<usize, types::Failure> {
    let invalid = |why: String| Err(types::Failure::Invalid(why));
    if message.text.is_empty() && message.uploads.is_empty() {
        return invalid("a message has a text or an upload".to_owned());
    }
    let buttons = || message.buttons.iter().flatten();
    if buttons().count() > BUTTONS_MAX {
        return invalid(format!("a message has at most {BUTTONS_MAX} buttons"));
    }
    if let Some(button) = buttons().find(|button| button.data.len() > BUTTON_DATA_BYTES_MAX) {
        let len = button.data.len();
        return invalid(format!("a button's data has at most {BUTTON_DATA_BYTES_MAX} bytes, not {len}"));
    }
    let button_bytes: usize = buttons().map(|button| button.label.len() + button.data.len()).sum();
    let upload_bytes: usize = message.uploads.iter().map(|upload| upload.name.len() + upload.content.len()).sum();
    Ok(message.text.len() + button_bytes + upload_bytes)
}
