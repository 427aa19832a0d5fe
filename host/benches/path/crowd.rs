//! People who write to a scripted connector, and how long each of them waits for the answer.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bothost::action::ResolvedAction;
use bothost::connector::scripted::ScriptedHandle;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::time::MissedTickBehavior;

/// Conversations side by side where messages come at a fixed rate.
const CONVERSATIONS: usize = 64;

/// What people wait for.
struct Crowd<'a> {
    chat: &'a ScriptedHandle,
    /// When what is unanswered was said, by conversation.
    unanswered: Vec<VecDeque<Instant>>,
    /// What was said and is not taken over yet.
    on_their_way: FuturesUnordered<BoxFuture<'a, ()>>,
    delivered: u64,
    waits: Vec<Duration>,
}

/// Has `people` write `times` messages in all, each the next one when the one before is answered. Returns how long each message
/// waited for its answer.
pub async fn in_turn(chat: &ScriptedHandle, people: usize, times: u64) -> Vec<Duration> {
    let mut crowd = Crowd::new(chat, people);
    let mut left = times;
    for person in 0..people {
        crowd.say_one_of(&mut left, person);
    }
    while crowd.waits.len() as u64 != times {
        for person in crowd.answered().await {
            crowd.say_one_of(&mut left, person);
        }
    }
    crowd.waits
}

/// Has `times` messages written, `rate` a second, answered or not. Returns as [`in_turn`].
pub async fn at_rate(chat: &ScriptedHandle, rate: u32, times: u64) -> Vec<Duration> {
    let mut crowd = Crowd::new(chat, CONVERSATIONS);
    let mut left = times;
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    while crowd.waits.len() as u64 != times {
        tokio::select! {
            _ = ticks.tick(), if left > 0 => {
                let person = (left % CONVERSATIONS as u64) as usize;
                crowd.say_one_of(&mut left, person);
            }
            _ = crowd.answered() => {}
        }
    }
    crowd.waits
}

impl<'a> Crowd<'a> {
    fn new(chat: &'a ScriptedHandle, people: usize) -> Self {
        // What an earlier crowd has not looked at.
        chat.take_delivered();
        let unanswered = vec![VecDeque::new(); people];
        let delivered = chat.delivered_count();
        Self { chat, unanswered, on_their_way: FuturesUnordered::new(), delivered, waits: Vec::new() }
    }

    fn say_one_of(&mut self, left: &mut u64, person: usize) {
        if *left == 0 {
            return;
        }
        *left -= 1;
        self.unanswered[person].push_back(Instant::now());
        let chat = self.chat;
        let said = async move {
            let id = format!("{:016x}", fastrand::u64(..));
            chat.say(&person.to_string(), &id, "!ping").await.expect("it is taken over");
        };
        self.on_their_way.push(Box::pin(said));
    }

    /// Returns who has had an answer, once somebody has. Cancel safe.
    async fn answered(&mut self) -> Vec<usize> {
        loop {
            tokio::select! {
                Some(()) = self.on_their_way.next() => {}
                () = self.chat.wait_for_delivered(self.delivered + 1) => break,
            }
        }
        let (actions, now) = (self.chat.take_delivered(), Instant::now());
        self.delivered += actions.len() as u64;
        let answered: Vec<_> = actions.iter().map(person).collect();
        for person in &answered {
            let said_at = self.unanswered[*person].pop_front().expect("one answer to each message");
            self.waits.push(now - said_at);
        }
        answered
    }
}

fn person(action: &ResolvedAction) -> usize {
    action.at.id.parse().expect("the conversation of one of the crowd")
}

/// Returns the wait that this share of all waits does not exceed, in nanoseconds.
pub fn quantile(waits: &mut [Duration], share: f64) -> f64 {
    waits.sort_unstable();
    let index = ((waits.len() - 1) as f64 * share).round();
    waits[index as usize].as_nanos() as f64
}
