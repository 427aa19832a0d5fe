//! Buttons where a platform has none: numbered lines below the text, and a number in answer to them is the press of the button. Stands
//! between the host and a connector that knows no buttons, so that one bot runs on every platform unchanged.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

use super::deliveries::refuse_rest;
use super::text::with_numbered;
use super::{Delivery, DeliveryError, Memory, Receipt};
use crate::action::{Act, Button};
use crate::event::{Conversation, ConversationKind, Event, EventKind, LaneKey, Message};

/// Deliveries of which the outcome is waited for. As many as a connector carries out side by side, and those that it has not begun.
const AT_WORK_MAX: usize = 64;
/// A number later than this is a number.
const KEEP: Duration = Duration::from_secs(24 * 60 * 60);
/// Longest answer that may be a number of a button.
const DIGITS_MAX: usize = 2;

/// The last buttons of each conversation.
#[derive(Debug, Clone)]
pub(super) struct Menus {
    memory: Memory,
}

/// Buttons that were shown as numbered lines.
#[derive(Debug, Serialize, Deserialize)]
struct Menu {
    /// The platform's id of the message that they are in.
    message_id: String,
    /// What comes back, in the order of the numbers.
    data: Vec<String>,
}

/// What an act of the bot shows.
#[derive(Debug)]
struct Shown {
    /// The platform's id of the message that is edited; none: a new one.
    edited: Option<String>,
    /// What its buttons stand for, in the order of their numbers.
    data: Vec<String>,
}

fn name(conversation: &Conversation) -> String {
    format!("menu:{}", LaneKey::conversation(conversation).as_str())
}

impl Menus {
    /// Returns the menus of the connector whose memory this is.
    pub(super) fn new(memory: Memory) -> Self {
        Self { memory }
    }

    /// Notes which buttons the numbers in a message stand for. What the bot says without any takes those before it away: a number
    /// answers what was said last. What it edits takes away its own only.
    async fn said(&self, at: &Conversation, Shown { edited, data }: Shown, message_id: Option<String>) {
        if !data.is_empty() {
            // A platform may have an id of its own for the edit; people see the message.
            let menu = Menu { message_id: edited.or(message_id).unwrap_or_default(), data };
            self.memory.try_put(&name(at), serde_json::to_string(&menu).unwrap_or_default(), Some(KEEP)).await;
        } else if self.open(at).await.is_some_and(|menu| edited.is_none_or(|id| id == menu.message_id)) {
            self.memory.forget(&name(at)).await;
        }
    }

    /// Returns the menu that numbers answer.
    async fn open(&self, at: &Conversation) -> Option<Menu> {
        serde_json::from_str(&self.memory.get(&name(at)).await?).ok()
    }

    /// Returns the press of a button in place of a message that is its number. In a group only of one that is meant for the bot.
    pub(super) async fn pressed(&self, event: Event) -> Event {
        match &event.kind {
            EventKind::Message(message) => match self.button(message).await {
                Some(kind) => Event { kind, ..event },
                None => event,
            },
            _ => event,
        }
    }

    async fn button(&self, message: &Message) -> Option<EventKind> {
        let number = number(&message.text)?;
        let Message { conversation, sender, .. } = message;
        let menu = self.open(conversation).await?;
        let is_answer = message.reply_to.as_ref() == Some(&menu.message_id);
        if !(conversation.kind == ConversationKind::Direct || message.addressed || is_answer) {
            return None;
        }
        let data = menu.data.get(number.checked_sub(1)?)?.clone();
        let (conversation, sender) = (conversation.clone(), sender.clone());
        Some(EventKind::Button { conversation, message_id: menu.message_id, sender, data })
    }

    /// Passes deliveries on to a connector that knows no buttons, with the buttons as numbered lines, and remembers what they stand for.
    /// Ends when the host sends no more, or the connector has ended, and every outcome is told.
    pub(super) async fn number(&self, mut deliveries: mpsc::Receiver<Delivery>, onward: mpsc::Sender<Delivery>) {
        let mut at_work = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some(()) = at_work.next() => {}
                () = onward.closed() => break,
                delivery = deliveries.recv(), if at_work.len() < AT_WORK_MAX => {
                    let Some(Delivery { mut action, key, timeout, outcome }) = delivery else { break };
                    let at = action.at.clone();
                    let shown = take_buttons(&mut action.act);
                    let (inner, answer) = oneshot::channel();
                    let refused = onward.send(Delivery { action, key, timeout, outcome: inner }).await.is_err();
                    at_work.push(async move {
                        let result = if refused {
                            Err(DeliveryError::Retryable("the connector is stopping".to_owned()))
                        } else {
                            answer.await.unwrap_or_else(|_| Err(DeliveryError::Uncertain("the connector gave no answer".to_owned())))
                        };
                        if let (Some(shown), Ok(Receipt { platform_id })) = (shown, &result) {
                            self.said(&at, shown, platform_id.clone()).await;
                        }
                        // Whoever asked may have given up; then nobody is left to tell.
                        let _ = outcome.send(result);
                    });
                }
            }
        }
        refuse_rest(&mut deliveries);
        drop(onward);
        while at_work.next().await.is_some() {}
    }
}

/// Makes numbered lines of a message's buttons, and returns what they stand for; none where the act says nothing.
fn take_buttons(act: &mut Act<String>) -> Option<Shown> {
    let (edited, message) = match act {
        Act::Send { message, .. } => (None, message),
        Act::Edit { target, message } => (Some(target.clone()), message),
        Act::Delete { .. } | Act::React { .. } => return None,
    };
    let buttons = std::mem::take(&mut message.buttons);
    message.text = with_numbered(&message.text, &buttons);
    Some(Shown { edited, data: buttons.into_iter().flatten().map(|Button { data, .. }| data).collect() })
}

/// Returns the number that a text is, and nothing else; it may be written as people write it in a list.
fn number(text: &str) -> Option<usize> {
    let digits = text.trim().trim_end_matches(['.', ')']);
    (digits.len() <= DIGITS_MAX && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| digits.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::{Action, Outgoing, Priority, TextFormat};
    use crate::clock::Timestamp;
    use crate::event::User;
    use crate::grants::ConnectorKey;
    use crate::id::Ticket;
    use crate::store::{Store, StoreOptions};

    struct Stage {
        menus: Menus,
        _dir: tempfile::TempDir,
    }

    impl Stage {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let store = Store::open(dir.path(), StoreOptions::default()).unwrap();
            Self { menus: Menus::new(Memory::new(store, key())), _dir: dir }
        }

        /// Has the bot say something, and returns what the connector got to send.
        async fn say(
            &self,
            at: &Conversation,
            text: &str,
            labels: &[&str],
            outcome: Result<Receipt, DeliveryError>,
        ) -> String {
            let act = Act::Send { ticket: Ticket(1), message: outgoing(text, labels) };
            self.carry_out(at, act, outcome).await
        }

        /// Has the bot edit a message on a platform that has no id for that.
        async fn edit(&self, at: &Conversation, target: &str, labels: &[&str]) {
            let act = Act::Edit { target: target.to_owned(), message: outgoing("Sure?", labels) };
            self.carry_out(at, act, Ok(Receipt::default())).await;
        }

        async fn carry_out(
            &self,
            at: &Conversation,
            act: Act<String>,
            outcome: Result<Receipt, DeliveryError>,
        ) -> String {
            let (host, deliveries) = mpsc::channel(1);
            let (onward, mut connector) = mpsc::channel::<Delivery>(1);
            let (told, answer) = oneshot::channel();
            let action = Action { via: key(), at: at.clone(), act };
            host.send(Delivery { action, key: 7, timeout: KEEP, outcome: told }).await.unwrap();
            drop(host);
            let platform = async {
                let delivery = connector.recv().await.unwrap();
                let (Act::Send { message, .. } | Act::Edit { message, .. }) = delivery.action.act else {
                    panic!("a message")
                };
                assert!(message.buttons.is_empty() && delivery.key == 7);
                delivery.outcome.send(outcome.clone()).unwrap();
                message.text
            };
            let ((), text) = tokio::join!(self.menus.number(deliveries, onward), platform);
            assert_eq!(answer.await.unwrap(), outcome);
            text
        }

        async fn pressed(
            &self,
            at: &Conversation,
            text: &str,
            is_addressed: bool,
            reply_to: Option<&str>,
        ) -> Option<String> {
            let message = Message {
                id: "9".to_owned(),
                conversation: at.clone(),
                sender: User { id: "ann".to_owned(), name: None, is_bot: false },
                text: text.to_owned(),
                attachments: Vec::new(),
                reply_to: reply_to.map(str::to_owned),
                addressed: is_addressed,
                sent_at: Timestamp::now(),
                reply_deadline: None,
            };
            match self.menus.pressed(Event::now(None, EventKind::Message(message))).await.kind {
                EventKind::Button { data, message_id, .. } => Some(format!("{message_id}:{data}")),
                _ => None,
            }
        }
    }

    fn outgoing(text: &str, labels: &[&str]) -> Outgoing<String> {
        let button = |label: &&str| Button { label: (*label).to_owned(), data: format!("data-{label}") };
        Outgoing {
            text: text.to_owned(),
            format: TextFormat::Plain,
            buttons: labels.chunks(2).map(|row| row.iter().map(button).collect()).collect(),
            uploads: Vec::new(),
            reply_to: None,
            priority: Priority::Normal,
            expires_after: None,
        }
    }

    fn key() -> ConnectorKey {
        ConnectorKey::shared("irc".parse().unwrap())
    }

    fn conversation(id: &str, kind: ConversationKind) -> Conversation {
        Conversation { connector: key().name, id: id.to_owned(), kind, title: None, thread: None }
    }

    fn sent(id: &str) -> Result<Receipt, DeliveryError> {
        Ok(Receipt { platform_id: Some(id.to_owned()) })
    }

    #[tokio::test]
    async fn buttons_are_numbered_and_a_number_presses_one() {
        let (stage, ann) = (Stage::new(), conversation("ann", ConversationKind::Direct));
        assert_eq!(
            stage.say(&ann, "Sure?", &["Yes", "No", "Maybe"], sent("5")).await,
            "Sure?\n1. Yes\n2. No\n3. Maybe"
        );
        for (text, expected) in [
            ("2", Some("5:data-No")),
            (" 3. ", Some("5:data-Maybe")),
            ("1)", Some("5:data-Yes")),
            ("0", None),
            ("4", None),
            ("", None),
            ("two", None),
            ("002", None),
            ("2 apples", None),
        ] {
            assert_eq!(stage.pressed(&ann, text, true, None).await.as_deref(), expected, "{text}");
        }
        assert_eq!(stage.pressed(&conversation("bob", ConversationKind::Direct), "2", true, None).await, None);
    }

    #[tokio::test]
    async fn a_number_answers_what_was_said_last() {
        let (stage, ann) = (Stage::new(), conversation("ann", ConversationKind::Direct));
        stage.say(&ann, "Sure?", &["Yes"], sent("5")).await;
        let refused = Err(DeliveryError::Permanent("blocked".to_owned()));
        stage.say(&ann, "How many?", &[], refused).await;
        assert_eq!(
            stage.pressed(&ann, "1", true, None).await.as_deref(),
            Some("5:data-Yes"),
            "what nobody saw takes nothing away"
        );
        assert_eq!(stage.say(&ann, "How many?", &[], sent("6")).await, "How many?");
        assert_eq!(stage.pressed(&ann, "1", true, None).await, None);
    }

    #[tokio::test]
    async fn an_edit_changes_the_menu_of_its_own_message_only() {
        let (stage, ann) = (Stage::new(), conversation("ann", ConversationKind::Direct));
        let first = async || stage.pressed(&ann, "1", true, None).await;
        stage.say(&ann, "Sure?", &["Yes"], sent("5")).await;
        stage.edit(&ann, "4", &[]).await;
        assert_eq!(first().await.as_deref(), Some("5:data-Yes"), "another message lost its buttons");
        stage.edit(&ann, "5", &["No", "Yes"]).await;
        assert_eq!(first().await.as_deref(), Some("5:data-No"));
        stage.edit(&ann, "4", &["Maybe"]).await;
        assert_eq!(first().await.as_deref(), Some("4:data-Maybe"));
        stage.edit(&ann, "5", &[]).await;
        assert_eq!(first().await.as_deref(), Some("4:data-Maybe"));
        stage.edit(&ann, "4", &[]).await;
        assert_eq!(first().await, None);
    }

    #[tokio::test]
    async fn in_a_group_a_number_counts_where_it_is_meant_for_the_bot() {
        let (stage, room) = (Stage::new(), conversation("room", ConversationKind::Group));
        stage.say(&room, "", &["Yes"], sent("5")).await;
        assert_eq!(stage.pressed(&room, "1", false, None).await, None);
        assert!(stage.pressed(&room, "1", true, None).await.is_some());
        assert!(stage.pressed(&room, "1", false, Some("5")).await.is_some());
    }
}
