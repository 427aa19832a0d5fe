//! The pages of what is kept: messages, one message's story, dead letters, the outbox. Pure.

use askama::Template;
use serde::Deserialize;

use super::pager::Pager;
use super::shell::Shell;
use super::text::Text;
use crate::admin::{DeadLetterView, SendView, StoryView};

/// A message as the search finds it.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub(super) struct Found {
    pub(super) event: String,
    /// What each bot that hears it has to do with it.
    pub(super) handlings: Vec<Handled>,
    pub(super) received_at: String,
    #[serde(deserialize_with = "or_nothing")]
    pub(super) connector: String,
    #[serde(deserialize_with = "or_nothing")]
    pub(super) conversation: String,
    #[serde(deserialize_with = "or_nothing")]
    pub(super) text: String,
}

/// What a bot has to do with a message.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub(super) struct Handled {
    pub(super) bot: String,
    pub(super) state: String,
}

fn or_nothing<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Option::<String>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// What is asked of the messages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Search {
    pub(super) text: String,
    pub(super) bot: String,
    pub(super) connector: String,
    pub(super) conversation: String,
    pub(super) state: String,
    pub(super) since: String,
}

impl Search {
    /// Reads the parameters of an address.
    pub(super) fn new(value: impl Fn(&str) -> Option<String>) -> Self {
        let text = |name| value(name).unwrap_or_default().trim().to_owned();
        Self {
            text: text("text"),
            bot: text("bot"),
            connector: text("connector"),
            conversation: text("conversation"),
            state: text("state"),
            since: text("since"),
        }
    }

    /// Returns them by name.
    pub(super) fn parameters(&self) -> [(&'static str, &str); 6] {
        [
            ("text", &self.text),
            ("bot", &self.bot),
            ("connector", &self.connector),
            ("conversation", &self.conversation),
            ("state", &self.state),
            ("since", &self.since),
        ]
    }
}

/// A state that can be asked for.
#[derive(Debug)]
pub(super) struct State {
    name: &'static str,
    label: &'static str,
}

/// Returns where an event may stand.
pub(super) fn states(text: &'static Text) -> Vec<State> {
    let all = [
        ("waiting", text.state_waiting),
        ("done", text.state_done),
        ("dead", text.state_dead),
        ("dropped", text.state_dropped),
    ];
    all.map(|(name, label)| State { name, label }).into()
}

/// Messages.
#[derive(Debug, Template)]
#[template(path = "messages.html")]
pub(super) struct MessagesPage {
    pub(super) shell: Shell,
    pub(super) asked: Search,
    pub(super) states: Vec<State>,
    pub(super) rows: Vec<Found>,
    /// Why there are none.
    pub(super) refusal: Option<String>,
    pub(super) pager: Pager,
}

/// What became of a message.
#[derive(Debug, Template)]
#[template(path = "message.html")]
pub(super) struct MessagePage {
    pub(super) shell: Shell,
    pub(super) story: StoryView,
}

/// Dead letters.
#[derive(Debug, Template)]
#[template(path = "letters.html")]
pub(super) struct LettersPage {
    pub(super) shell: Shell,
    /// Of which bot; empty: of all.
    pub(super) bot: String,
    pub(super) letters: Vec<DeadLetterView>,
    pub(super) refusal: Option<String>,
    pub(super) pager: Pager,
}

/// The outbox.
#[derive(Debug, Template)]
#[template(path = "outbox.html")]
pub(super) struct OutboxPage {
    pub(super) shell: Shell,
    /// `waiting` or `lost`.
    pub(super) state: String,
    /// To which connector; empty: to all.
    pub(super) connector: String,
    pub(super) sends: Vec<SendView>,
    pub(super) refusal: Option<String>,
    pub(super) pager: Pager,
}
