//! A platform inside this process, for tests and benchmarks of a whole host: whoever holds the handle says what people
//! write and what becomes of each delivery.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot, watch};

use super::{DeliveryError, Inbox, Link, Ports, Receipt, Signs, Stopping, deliveries};
use crate::action::ResolvedAction;
use crate::clock::Timestamp;
use crate::event::{Conversation, ConversationKind, Event, EventKind, Message, User};
use crate::id::ConnectorName;

/// Events that may be on their way in at one moment.
const IN_FLIGHT_MAX: usize = 1024;
/// Actions that are remembered; of more, the oldest are forgotten.
const REMEMBERED_MAX: usize = 100_000;

/// Returns a connector of this name and the handle that drives it.
pub fn scripted(name: ConnectorName) -> (Scripted, ScriptedHandle) {
    let (sender, receiver) = mpsc::channel(IN_FLIGHT_MAX);
    let (delivered, link) = (watch::Sender::new(0), watch::Sender::new(Link::Connected));
    let stage = Arc::new(Stage { script: Mutex::default(), delivered, link, signs: Mutex::default() });
    let connector = Scripted { injections: Arc::new(AsyncMutex::new(receiver)), stage: Arc::clone(&stage) };
    (connector, ScriptedHandle { name, sender, stage })
}

/// The connector's side. It can run again after it was stopped, as when a configuration is reloaded.
#[derive(Debug, Clone)]
pub struct Scripted {
    injections: Arc<AsyncMutex<mpsc::Receiver<Injection>>>,
    stage: Arc<Stage>,
}

impl Eq for Scripted {}

impl PartialEq for Scripted {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.stage, &other.stage)
    }
}

/// The platform's side.
#[derive(Debug, Clone)]
pub struct ScriptedHandle {
    name: ConnectorName,
    sender: mpsc::Sender<Injection>,
    stage: Arc<Stage>,
}

/// What becomes of one delivery.
pub type Outcome = Result<Receipt, DeliveryError>;

#[derive(Debug)]
struct Injection {
    event: Event,
    taken: oneshot::Sender<Result<(), Stopping>>,
}

/// What both sides share.
#[derive(Debug)]
struct Stage {
    script: Mutex<Script>,
    /// How many actions were delivered since the start.
    delivered: watch::Sender<u64>,
    /// How the connector is to stand with its platform.
    link: watch::Sender<Link>,
    /// The signs of the run that is active, or was last.
    signs: Mutex<Signs>,
}

#[derive(Debug, Default)]
struct Script {
    falls_over: bool,
    outcomes: VecDeque<Outcome>,
    actions: VecDeque<ResolvedAction>,
}

impl Stage {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn signs(&self) -> MutexGuard<'_, Signs> {
        self.signs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers an action and returns what is to become of it: what the script says, or an id of its own.
    fn deliver(&self, action: ResolvedAction) -> Outcome {
        let mut script = self.script();
        if std::mem::take(&mut script.falls_over) {
            drop(script);
            panic!("told to fall over");
        }
        if script.actions.len() == REMEMBERED_MAX {
            script.actions.pop_front();
        }
        script.actions.push_back(action);
        let outcome = script.outcomes.pop_front();
        drop(script);
        if matches!(outcome, None | Some(Ok(_))) {
            self.signs().succeeded();
        }
        self.delivered.send_modify(|count| *count += 1);
        outcome.unwrap_or_else(|| {
            let platform_id = Some(format!("scripted-{}", *self.delivered.borrow()));
            Ok(Receipt { platform_id })
        })
    }
}

impl Scripted {
    /// Runs until it is told to stop. Only one run of a connector is active at a time; a second waits for the first.
    pub(super) async fn run(self, ports: Ports) {
        let Ports { inbox, deliveries, status, cancel, .. } = ports;
        let mut injections = self.injections.lock().await;
        self.stage.signs().clone_from(&status.signs());
        let mut link = self.stage.link.subscribe();
        let follow = async {
            loop {
                status.publish(link.borrow_and_update().clone());
                // The sender lives as long as the stage.
                let _ = link.changed().await;
            }
        };
        let follow = cancel.run_until_cancelled(follow);
        let receive = cancel.run_until_cancelled(receive(&mut injections, &inbox));
        let deliver = deliveries::carry_out(deliveries, &cancel, |task| async { self.stage.deliver(task.action) });
        tokio::join!(receive, deliver, follow);
        status.publish(Link::Stopped);
    }
}

async fn receive(injections: &mut mpsc::Receiver<Injection>, inbox: &Inbox) {
    let mut on_their_way = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some(()) = on_their_way.next() => {}
            injection = injections.recv(), if on_their_way.len() < IN_FLIGHT_MAX => {
                let Some(Injection { event, taken }) = injection else { break };
                let submitted = inbox.submit(event).await;
                on_their_way.push(async move {
                    let result = match submitted {
                        Ok(submitted) => submitted.taken().await,
                        Err(stopping) => Err(stopping),
                    };
                    let _ = taken.send(result);
                });
            }
        }
    }
    while on_their_way.next().await.is_some() {}
}

impl ScriptedHandle {
    /// Has something happen, and returns once the host has taken it over. While the connector does not run, waits for it.
    ///
    /// # Errors
    ///
    /// [`Stopping`]: the host has not taken it over, or cannot say so.
    pub async fn inject(&self, event: Event) -> Result<(), Stopping> {
        let (taken, answer) = oneshot::channel();
        self.sender.send(Injection { event, taken }).await.map_err(|_| Stopping)?;
        answer.await.unwrap_or(Err(Stopping))
    }

    /// Has somebody say something in a conversation, as [`ScriptedHandle::inject`]. `id` is the message's id; the same again
    /// is the same message delivered again.
    ///
    /// # Errors
    ///
    /// As [`ScriptedHandle::inject`].
    pub async fn say(&self, conversation: &str, id: &str, text: &str) -> Result<(), Stopping> {
        self.inject(self.message(conversation, id, text)).await
    }

    /// Returns the event of somebody saying something.
    pub fn message(&self, conversation: &str, id: &str, text: &str) -> Event {
        let message = Message {
            id: id.to_owned(),
            conversation: self.conversation(conversation),
            sender: User { id: "somebody".to_owned(), name: None, is_bot: false },
            text: text.to_owned(),
            attachments: Vec::new(),
            reply_to: None,
            addressed: true,
            sent_at: Timestamp::now(),
            reply_deadline: None,
        };
        let platform_id = Some(format!("{conversation}:{id}"));
        Event { platform_id, ..Event::now(Some(self.name.clone()), EventKind::Message(message)) }
    }

    /// Returns a conversation of this connector.
    pub fn conversation(&self, id: &str) -> Conversation {
        Conversation {
            connector: self.name.clone(),
            id: id.to_owned(),
            kind: ConversationKind::Direct,
            title: None,
            thread: None,
        }
    }

    /// Lets the platform be lost, or come back.
    pub fn set_link(&self, link: Link) {
        self.stage.link.send_replace(link);
    }

    /// Has the platform give a sign of life. Besides this, only a delivery that it takes is one.
    pub fn give_sign(&self) {
        self.stage.signs().succeeded();
    }

    /// Has the connector fall over at the next delivery, as by a fault of its own.
    pub fn fall_over(&self) {
        self.stage.script().falls_over = true;
    }

    /// Decides what becomes of the delivery after those that are already decided. Undecided ones succeed.
    pub fn script(&self, outcome: Outcome) {
        self.stage.script().outcomes.push_back(outcome);
    }

    /// Returns what was delivered, in the order it was, once there are `count` actions since the start.
    pub async fn delivered(&self, count: u64) -> Vec<ResolvedAction> {
        self.wait_for_delivered(count).await;
        self.stage.script().actions.iter().cloned().collect()
    }

    /// Returns what was delivered and not taken yet, in the order it was, and forgets it.
    pub fn take_delivered(&self) -> Vec<ResolvedAction> {
        std::mem::take(&mut self.stage.script().actions).into()
    }

    /// Returns once `count` actions were delivered since the start.
    pub async fn wait_for_delivered(&self, count: u64) {
        let mut delivered = self.stage.delivered.subscribe();
        // The sender lives as long as `self`.
        let _ = delivered.wait_for(|now| *now >= count).await;
    }

    /// Returns how many actions were delivered since the start.
    pub fn delivered_count(&self) -> u64 {
        *self.stage.delivered.borrow()
    }
}
