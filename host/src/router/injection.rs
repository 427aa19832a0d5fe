//! An event that the operator hands to one bot, as if somebody had written to it: kept, counted and recognised by its id as one that
//! a connector brings. What the bot answers goes to that connector, in that conversation.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::{Routes, Tally};
use crate::board::Board;
use crate::connector::Status;
use crate::event::{Conversation, ConversationKind, Event, EventKind, Message, User};
use crate::grants::{ConnectorKey, Reach};
use crate::id::{BotName, EventId};
use crate::metrics::Metrics;
use crate::store::{Appended, NewEvent, Store, StoreError};
use crate::telemetry::Tracer;

/// How long an event may wait for room in the queue. The operator is told, where a platform would wait.
const ROOM_MAX: Duration = Duration::from_secs(5);
/// Longest text, in bytes: more than any platform's message.
pub const TEXT_BYTES_MAX: usize = 32 << 10;
/// Longest id of a conversation, a person or an event, and longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 256;

/// The way of the operator's events into the host.
#[derive(Debug, Clone)]
pub struct Injector {
    /// Who hears what.
    pub routes: Arc<Routes>,
    /// The connectors that there are.
    pub connectors: Arc<Board<ConnectorKey, Status>>,
    /// Where the queue is.
    pub store: Store,
    /// Where measurements go.
    pub metrics: Arc<Metrics>,
    /// What takes down that events were taken over.
    pub tracer: Tracer,
    /// What counts what comes in.
    pub tally: Arc<Tally>,
}

/// What somebody is to have written to a bot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Injection {
    /// The bot. No other hears it.
    pub bot: BotName,
    /// The connector that it is to have come through, by the name that the bot has for it. None: the only one that it has.
    pub connector: Option<String>,
    /// The platform's id of the conversation, where the answer goes.
    pub conversation: String,
    /// Who is to have written it: the platform's id.
    pub user: String,
    /// The name that people see.
    pub user_name: Option<String>,
    /// What is to have been written.
    pub text: String,
    /// What tells it apart: a second one with the same id, for the same connector, within the dedup window is not handed over. None:
    /// it is told apart from all.
    pub id: Option<String>,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Injected {
    /// The event.
    pub event: EventId,
    /// The connector that it is to have come through.
    pub connector: ConnectorKey,
    /// Where it went.
    pub fate: InjectedFate,
}

/// Where an injected event went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InjectedFate {
    /// Into the bot's queue.
    Queued,
    /// To the dead letters: the bot has as many events waiting as it may.
    DeadLetter,
    /// Nowhere: one of this id was handed over before.
    Duplicate,
}

/// Why an event is not handed over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InjectionError {
    /// The bot gets no events.
    #[error("bot `{0}` takes no events: there is none of that name, or it is disabled or was never more than refused")]
    NoBot(BotName),
    /// The bot hears no connector.
    #[error("bot `{0}` hears no connector that there is")]
    NoConnector(BotName),
    /// The bot hears several, and none was named.
    #[error("bot `{bot}` hears several connectors, so that one has to be named: {}", .connectors.join(", "))]
    Ambiguous {
        /// The bot.
        bot: BotName,
        /// Their names.
        connectors: Vec<String>,
    },
    /// The bot does not hear the one that was named.
    #[error("bot `{bot}` hears no connector `{name}`; it hears {}", .connectors.join(", "))]
    Unheard {
        /// The bot.
        bot: BotName,
        /// The name that was given.
        name: String,
        /// The names of those that it hears.
        connectors: Vec<String>,
    },
    /// Something is too long, or is not there.
    #[error("{what} has 1 to {bytes_max} bytes")]
    Length {
        /// What.
        what: &'static str,
        /// How long it may be.
        bytes_max: usize,
    },
    /// The queue is full.
    #[error("the queue is full, and had no room within {} s", ROOM_MAX.as_secs())]
    Full,
    /// The store did not take it.
    #[error("the store did not take it: {0}")]
    Store(String),
}

impl Injector {
    /// Returns the way to no bot: for an admin side without a host.
    pub fn to_nobody(store: Store, metrics: Arc<Metrics>) -> Self {
        let (routes, connectors, tally) = (Arc::default(), Arc::default(), Arc::default());
        Self { routes, connectors, store, metrics, tracer: Tracer::off(), tally }
    }

    /// Hands an event to a bot. Returns once it is on disk.
    ///
    /// # Errors
    ///
    /// [`InjectionError`]: the bot does not get it; after [`InjectionError::Store`] that is not certain.
    pub async fn inject(&self, injection: Injection) -> Result<Injected, InjectionError> {
        injection.check()?;
        let (reach, priority) = {
            let routes = self.routes.load();
            let route = routes.iter().find(|route| route.bot == injection.bot);
            let route = route.ok_or_else(|| InjectionError::NoBot(injection.bot.clone()))?;
            (route.reach.clone(), route.priority)
        };
        let there: Vec<_> = self.connectors.entries().into_iter().map(|(key, _)| key).collect();
        let connector = choose(&injection, &reach, &there)?;
        let bots = vec![(injection.bot.clone(), priority)];
        let event = Arc::new(injection.event(&connector));
        let (origin, event_of) = (Some(connector.clone()), Arc::clone(&event));
        let new = NewEvent { event: event_of, origin, bots: bots.clone(), timer: None };
        let appending = timeout(ROOM_MAX, self.store.submit(new)).await.map_err(|_| InjectionError::Full)?;
        let appended = match appending {
            Ok(appending) => appending.done().await,
            Err(error) => Err(error),
        };
        let appended = appended.map_err(|error: StoreError| InjectionError::Store(error.to_string()))?;
        let fate = self.note(&event, &connector, &bots, &appended);
        Ok(Injected { event: event.id, connector, fate })
    }

    fn note(
        &self,
        event: &Event,
        connector: &ConnectorKey,
        bots: &[(BotName, crate::action::Priority)],
        appended: &Appended,
    ) -> InjectedFate {
        self.tally.injected();
        self.metrics.event_taken_over(Some(connector), event.kind.class());
        self.tracer.received(event, Some(connector), bots.len(), *appended == Appended::Duplicate);
        match appended {
            Appended::Duplicate | Appended::Stale => {
                self.tally.duplicate();
                self.metrics.event_duplicate(Some(connector));
                InjectedFate::Duplicate
            }
            Appended::New { overflowing } => {
                self.tally.handed(bots, overflowing);
                overflowing.iter().for_each(|bot| self.metrics.dead_letter(bot));
                if overflowing.is_empty() { InjectedFate::Queued } else { InjectedFate::DeadLetter }
            }
        }
    }
}

impl Injection {
    fn check(&self) -> Result<(), InjectionError> {
        let parts = [
            ("the text", Some(&self.text), TEXT_BYTES_MAX),
            ("the id of the conversation", Some(&self.conversation), NAME_BYTES_MAX),
            ("the id of the user", Some(&self.user), NAME_BYTES_MAX),
            ("the name of the user", self.user_name.as_ref(), NAME_BYTES_MAX),
            ("the id of the event", self.id.as_ref(), NAME_BYTES_MAX),
        ];
        let is_fit = |text: &str, bytes_max| (1..=bytes_max).contains(&text.len());
        let unfit = parts.into_iter().find(|(_, text, bytes_max)| text.is_some_and(|text| !is_fit(text, *bytes_max)));
        unfit.map_or(Ok(()), |(what, _, bytes_max)| Err(InjectionError::Length { what, bytes_max }))
    }

    /// Returns it as the event that the connector would have brought.
    fn event(self, connector: &ConnectorKey) -> Event {
        let Self { conversation, user, user_name, text, id, .. } = self;
        let conversation = Conversation {
            connector: connector.name.clone(),
            id: conversation,
            kind: ConversationKind::Direct,
            title: None,
            thread: None,
        };
        let blank = Event::now(Some(connector.name.clone()), EventKind::Custom { name: String::new() });
        let message = Message {
            // No platform knows it: a reply to it is a message like others there.
            id: id.clone().unwrap_or_else(|| blank.id.to_string()),
            conversation,
            sender: User { id: user, name: user_name, is_bot: false },
            text,
            attachments: Vec::new(),
            reply_to: None,
            addressed: true,
            sent_at: blank.received_at,
            reply_deadline: None,
        };
        // Apart from the platform's own ids: it may use the same.
        let platform_id = id.map(|id| format!("operator:{id}"));
        Event { platform_id, kind: EventKind::Message(message), ..blank }
    }
}

/// Returns the connector that an event is to have come through, of those that are `there`.
fn choose(injection: &Injection, reach: &Reach, there: &[ConnectorKey]) -> Result<ConnectorKey, InjectionError> {
    let bot = injection.bot.clone();
    let heard: Vec<_> = there.iter().filter(|key| reach.hears(&bot, key)).collect();
    let names = || heard.iter().map(|key| key.name.to_string()).collect();
    match (&injection.connector, &heard[..]) {
        (_, []) => Err(InjectionError::NoConnector(bot)),
        (None, [only]) => Ok((*only).clone()),
        (None, _) => Err(InjectionError::Ambiguous { bot, connectors: names() }),
        (Some(name), _) => {
            // `BOT/NAME` is what listings call one of a bot's own.
            let own = name.strip_prefix(bot.as_str()).and_then(|name| name.strip_prefix('/'));
            let meant = reach.resolve(&bot, own.unwrap_or(name)).filter(|key| heard.contains(&key));
            meant.ok_or_else(|| InjectionError::Unheard { name: name.clone(), connectors: names(), bot })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grants::SharedReach;

    fn injection(connector: Option<&str>) -> Injection {
        Injection {
            bot: "b".parse().unwrap(),
            connector: connector.map(str::to_owned),
            conversation: "lobby".into(),
            user: "operator".into(),
            user_name: None,
            text: "hello".into(),
            id: None,
        }
    }

    fn check(connector: Option<&str>, there: &[&str], expected: Result<&str, &str>) {
        let own = ["own".parse().unwrap()].into();
        let shared = SharedReach::Named(["qq".parse().unwrap(), "tg".parse().unwrap()].into());
        let there: Vec<_> = there.iter().map(|key| key.parse().unwrap()).collect();
        let chosen = choose(&injection(connector), &Reach { shared, own }, &there);
        let chosen = chosen.map(|key| key.to_string()).map_err(|error| error.to_string());
        match (&chosen, expected) {
            (Ok(key), Ok(expected)) => assert_eq!(key, expected),
            (Err(error), Err(expected)) => assert!(error.contains(expected), "{error}"),
            _ => panic!("{chosen:?}"),
        }
    }

    #[test]
    fn the_connector_is_the_one_that_is_named_or_the_only_one_that_the_bot_hears() {
        check(None, &["tg", "irc"], Ok("tg"));
        check(None, &["tg", "qq", "irc"], Err("tg, qq"));
        check(Some("qq"), &["tg", "qq"], Ok("qq"));
        check(Some("own"), &["tg", "b/own", "c/own"], Ok("b/own"));
        check(Some("b/own"), &["tg", "b/own"], Ok("b/own"));
        check(Some("irc"), &["tg", "irc"], Err("hears no connector `irc`; it hears tg"));
        check(Some("qq"), &["tg"], Err("hears no connector `qq`"));
        check(None, &["irc"], Err("hears no connector that there is"));
    }

    #[test]
    fn what_is_too_long_or_empty_is_refused_by_name() {
        assert_eq!(injection(None).check(), Ok(()));
        let empty = Injection { text: String::new(), ..injection(None) };
        assert!(matches!(empty.check(), Err(InjectionError::Length { what: "the text", .. })));
        let long = Injection { id: Some("x".repeat(NAME_BYTES_MAX + 1)), ..injection(None) };
        assert!(matches!(long.check(), Err(InjectionError::Length { what: "the id of the event", .. })));
    }

    #[test]
    fn an_event_with_an_id_is_told_apart_by_it_and_from_what_the_platform_calls_its_own() {
        let key = "tg".parse().unwrap();
        let event = Injection { id: Some("7".into()), ..injection(None) }.event(&key);
        assert_eq!(event.platform_id.as_deref(), Some("operator:7"));
        assert_eq!(injection(None).event(&key).platform_id, None);
    }
}
