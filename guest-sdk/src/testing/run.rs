//! Runs a bot against the double: delivers events as transactions, moves the clock, shows what took effect.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::time::{Duration, SystemTime};

use super::command::classify;
use super::inspect::{Alert, LogLine, Metric, Sent, SetTimer};
use super::world::{Entry, Phase, World, enter};
use crate::timers::Schedule;
use crate::{
    Bot, Conversation, ConversationKind, Event, EventKind, Failure, Manifest, Message, Result, StartReason, TimerFired,
    User,
};

const CONNECTOR: &str = "test";

/// A host with one bot.
///
/// Every method that hands an event to the bot returns what the bot returned. What it did is in [`sent`](Host::sent) and
/// the like, and holds only what took effect. A panic in the bot is a panic of the test.
pub struct Host<B> {
    manifest: Manifest,
    world: Option<World>,
    last: Option<Event>,
    events: u64,
    bot: PhantomData<B>,
}

impl<B: Bot> Default for Host<B> {
    fn default() -> Self {
        Self::new()
    }
}

impl<B: Bot> Host<B> {
    /// Asks the bot for its manifest and returns a host with nothing in it, at the start of 2026.
    ///
    /// [`Bot::init`] is not called; see [`start`](Host::start).
    pub fn new() -> Self {
        let mut world = World::new();
        world.phase = Phase::Describing;
        let (mut world, manifest) = enter(world, B::describe);
        world.phase = Phase::Handling;
        Self { manifest, world: Some(world), last: None, events: 0, bot: PhantomData }
    }

    /// Sets one of the bot's settings.
    pub fn setting(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.world_mut().settings.insert(name.to_owned(), value.into());
        self
    }

    /// Adds the name of a secret.
    pub fn secret(mut self, name: &str) -> Self {
        self.world_mut().secrets.push(name.to_owned());
        self
    }

    /// Sets the clock.
    pub fn at(mut self, now: SystemTime) -> Self {
        self.world_mut().now = now;
        self
    }

    /// Puts a value into the bot's state, as an earlier event might have.
    pub fn stored(mut self, key: &str, value: impl AsRef<[u8]>) -> Self {
        let entry = Entry { value: value.as_ref().to_vec(), expires_at: None };
        let state = &mut self.world_mut().transaction.state;
        state.insert(key.to_owned(), entry);
        self
    }

    /// Sets how many bytes of keys and values the bot may keep, as `limits.state` does. 16 MiB by default.
    pub fn state_bytes_max(mut self, bytes: usize) -> Self {
        self.world_mut().state_bytes_max = bytes;
        self
    }

    /// Makes every send, edit, delete and reaction fail with this from now on; `None` ends it.
    pub fn refuse_sends(&mut self, failure: Option<Failure>) {
        self.world_mut().send_failure = failure;
    }

    /// Answers the bot's HTTP requests from now on. Without it no host is granted.
    #[cfg(feature = "http")]
    pub fn answer_http(&mut self, answer: impl Fn(&crate::http::Request) -> Result<crate::http::Response> + 'static) {
        self.world_mut().answer = Some(std::rc::Rc::new(answer));
    }

    /// Calls [`Bot::init`] as a transaction.
    ///
    /// # Errors
    ///
    /// What the bot returned.
    pub fn start(&mut self, reason: StartReason) -> Result {
        self.transact(|| B::init(reason))
    }

    /// Delivers a message to a group, or the command that it is; `sender` is id and name in one.
    ///
    /// # Errors
    ///
    /// What the bot returned.
    pub fn message(&mut self, conversation: &str, sender: &str, text: &str) -> Result {
        let conversation = Conversation::new(CONNECTOR, conversation, ConversationKind::Group);
        let message = Message {
            id: format!("m{}", self.events + 1),
            conversation,
            sender: User { id: sender.to_owned(), name: Some(sender.to_owned()), is_bot: false },
            text: text.to_owned(),
            attachments: Vec::new(),
            reply_to: None,
            addressed: false,
            sent_at: self.world().now,
            reply_deadline: None,
        };
        self.deliver_message(message)
    }

    /// Delivers a message that the test has made, or the command that it is.
    ///
    /// # Errors
    ///
    /// What the bot returned.
    pub fn deliver_message(&mut self, message: Message) -> Result {
        let kind = classify(message, &self.manifest);
        self.deliver(kind)
    }

    /// Delivers an event of any kind, as it stands.
    ///
    /// The manifest's `wants` is not looked at: a test that delivers an event means to.
    ///
    /// # Errors
    ///
    /// What the bot returned.
    pub fn deliver(&mut self, kind: EventKind) -> Result {
        self.deliver_raw(kind, None)
    }

    /// Delivers an event with the platform's own JSON of it, for [`messaging::raw`](crate::messaging::raw).
    ///
    /// # Errors
    ///
    /// What the bot returned.
    pub fn deliver_raw(&mut self, kind: EventKind, raw: Option<&str>) -> Result {
        self.events += 1;
        self.world_mut().raw = raw.map(str::to_owned);
        let connector = match &kind {
            EventKind::Timer(_) => String::new(),
            EventKind::Webhook(request) => request.connector.clone(),
            EventKind::Custom(custom) => custom.connector.clone(),
            other => other.conversation().map_or_else(String::new, |conversation| conversation.connector.clone()),
        };
        let event =
            Event { id: format!("e{}", self.events), attempt: 1, received_at: self.world().now, connector, kind };
        self.attempt(event)
    }

    /// Delivers the last event once more, as the next attempt.
    ///
    /// # Errors
    ///
    /// What the bot returned.
    ///
    /// # Panics
    ///
    /// Panics where no event has been delivered.
    pub fn retry(&mut self) -> Result {
        let mut event = self.last.clone().expect("an event has been delivered");
        event.attempt += 1;
        self.attempt(event)
    }

    /// Moves the clock and fires the timers that become due, each at its time and in that order. Returns how many fired.
    ///
    /// Cron expressions are not computed; see [`fire`](Host::fire).
    ///
    /// # Errors
    ///
    /// The first failure of the bot. That timer stays set and the clock stays where it was due.
    pub fn advance(&mut self, duration: Duration) -> Result<usize> {
        let end = self.world().now + duration;
        let mut fired = 0;
        while let Some((due_at, name)) = self.next_due(end) {
            let world = self.world_mut();
            world.now = world.now.max(due_at);
            self.fire(&name)?;
            fired += 1;
        }
        self.world_mut().now = end;
        Ok(fired)
    }

    /// Fires one timer now, whenever it is due.
    ///
    /// # Errors
    ///
    /// What the bot returned; the timer stays set then.
    ///
    /// # Panics
    ///
    /// Panics where the bot has set no timer of this name.
    pub fn fire(&mut self, name: &str) -> Result {
        let now = self.world().now;
        let timers = &mut self.world_mut().transaction.timers;
        let Some(timer) = timers.get(name).cloned() else {
            panic!("no timer {name:?}, only {:?}", timers.keys());
        };
        // The handler may set a timer of the same name, which then must not be mistaken for the one that fired.
        match &timer.schedule {
            Schedule::Every(interval) => {
                let next = SetTimer { due_at: Some(now + *interval), ..timer.clone() };
                timers.insert(name.to_owned(), next);
            }
            Schedule::Cron { .. } => {}
            Schedule::After(_) | Schedule::At(_) => {
                timers.remove(name);
            }
        }
        let outcome = self.deliver(EventKind::Timer(TimerFired {
            name: name.to_owned(),
            payload: timer.payload.clone(),
            due_at: timer.due_at.unwrap_or(now),
        }));
        if outcome.is_err() {
            let timers = &mut self.world_mut().transaction.timers;
            timers.insert(name.to_owned(), timer);
        }
        outcome
    }

    /// Returns the manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Returns what the clock says.
    pub fn now(&self) -> SystemTime {
        self.world().now
    }

    /// Returns every act on a platform, in order.
    pub fn sent(&self) -> &[Sent] {
        &self.world().transaction.sent
    }

    /// Returns the texts of the new messages, in order.
    pub fn sent_texts(&self) -> Vec<&str> {
        let texts = self.sent().iter().filter_map(|sent| match sent {
            Sent::Message { message, .. } => Some(message.text.as_str()),
            _ => None,
        });
        texts.collect()
    }

    /// Returns the bot's state: keys and values.
    pub fn state(&self) -> BTreeMap<&str, &[u8]> {
        let world = self.world();
        let live = world.transaction.state.iter().filter(|(_, entry)| entry.expires_at.is_none_or(|at| at > world.now));
        live.map(|(key, entry)| (key.as_str(), entry.value.as_slice())).collect()
    }

    /// Returns the timers that are set, by name.
    pub fn timers(&self) -> &BTreeMap<String, SetTimer> {
        &self.world().transaction.timers
    }

    /// Returns the alerts that are up, by key.
    pub fn alerts(&self) -> &BTreeMap<String, Alert> {
        &self.world().transaction.alerts
    }

    /// Returns the log, with the lines of failed handlers.
    pub fn logs(&self) -> &[LogLine] {
        &self.world().logs
    }

    /// Returns the measurements, with those of failed handlers.
    pub fn metrics(&self) -> &[Metric] {
        &self.world().metrics
    }

    /// Returns where the bot has shown "typing", with what failed handlers have shown.
    pub fn typing(&self) -> &[Conversation] {
        &self.world().typing
    }

    /// Returns the HTTP requests, with those of failed handlers.
    #[cfg(feature = "http")]
    pub fn requests(&self) -> &[crate::http::Request] {
        &self.world().requests
    }

    fn attempt(&mut self, event: Event) -> Result {
        self.last = Some(event.clone());
        self.transact(|| B::handle(&event))
    }

    fn transact(&mut self, call: impl FnOnce() -> Result) -> Result {
        let mut world = self.world.take().expect(LOST);
        world.expire();
        let before = world.transaction.clone();
        let (mut world, outcome) = enter(world, call);
        if outcome.is_err() {
            world.transaction = before;
        }
        self.world = Some(world);
        outcome
    }

    fn next_due(&self, until: SystemTime) -> Option<(SystemTime, String)> {
        self.timers()
            .iter()
            .filter_map(|(name, timer)| Some((timer.due_at?, name.clone())))
            .filter(|(due_at, _)| *due_at <= until)
            .min()
    }

    fn world(&self) -> &World {
        self.world.as_ref().expect(LOST)
    }

    fn world_mut(&mut self) -> &mut World {
        self.world.as_mut().expect(LOST)
    }
}

const LOST: &str = "the bot has panicked in this host, which is over with that";
