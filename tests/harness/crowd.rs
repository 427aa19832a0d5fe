//! People who write to a scripted connector, and what each of them was answered when.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bothost::action::ResolvedAction;
use bothost::connector::scripted::ScriptedHandle;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::time::{MissedTickBehavior, timeout};

use crate::host::{PATIENCE, text_of};

/// Conversations side by side where nothing else is said.
const CONVERSATIONS: usize = 64;

/// What people write where it comes at a fixed rate.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Messages a second, answered or not. Where the machine is too slow for it, as many as it takes.
    pub rate: u32,
    /// Messages, at least.
    pub times: u64,
    /// Conversations, which write by turns.
    pub conversations: usize,
    /// Answers that each message gets.
    pub answers: u64,
    /// What a conversation's message of this number says, counted from 0.
    pub text: fn(usize) -> String,
}

/// What was said and what was answered.
#[derive(Debug, Default)]
pub struct Record {
    /// By conversation, when each of its messages was said.
    pub said: Vec<Vec<Instant>>,
    /// All answers, in the order in which they came.
    pub answers: Vec<Answer>,
}

/// An answer that somebody got.
#[derive(Debug, Clone)]
pub struct Answer {
    /// In which conversation.
    pub conversation: usize,
    /// What it says.
    pub text: String,
    /// When it came.
    pub at: Instant,
}

impl Record {
    /// Returns how many messages were said.
    pub fn said_len(&self) -> usize {
        self.said.iter().map(Vec::len).sum()
    }
}

/// What people wait for.
struct Crowd<'a> {
    chat: &'a ScriptedHandle,
    text: fn(usize) -> String,
    /// What was said and is not taken over yet.
    on_their_way: FuturesUnordered<BoxFuture<'a, ()>>,
    delivered: u64,
    record: Record,
}

/// Has `people` write `times` messages in all, each the next one when the one before is answered. Returns how long each message
/// waited for its answer, of which it gets one.
pub async fn in_turn(chat: &ScriptedHandle, people: usize, times: u64) -> Vec<Duration> {
    in_turn_saying(chat, people, times, ping).await
}

/// As [`in_turn`], with what a conversation's message of a number says.
pub async fn in_turn_saying(
    chat: &ScriptedHandle,
    people: usize,
    times: u64,
    text: fn(usize) -> String,
) -> Vec<Duration> {
    let mut crowd = Crowd::new(chat, people, text);
    let mut left = times;
    for person in 0..people {
        crowd.say_one_of(&mut left, person);
    }
    while crowd.record.answers.len() as u64 != times {
        for person in crowd.answered().await {
            crowd.say_one_of(&mut left, person);
        }
    }
    waits(&crowd.record)
}

/// Has `times` messages written, `rate` a second, answered or not. Returns as [`in_turn`].
pub async fn at_rate(chat: &ScriptedHandle, rate: u32, times: u64) -> Vec<Duration> {
    let load = Load { rate, times, conversations: CONVERSATIONS, answers: 1, text: ping };
    waits(&beside(chat, load, std::future::ready(())).await.0)
}

/// Has messages written until they are as many as the load wants and `meanwhile` has ended. Returns once all are answered, or no
/// answer came for as long as a test waits for one; and what `meanwhile` came to.
pub async fn beside<T>(chat: &ScriptedHandle, load: Load, meanwhile: impl Future<Output = T>) -> (Record, T) {
    let mut crowd = Crowd::new(chat, load.conversations, load.text);
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / load.rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    tokio::pin!(meanwhile);
    let (mut said, mut outcome) = (0, None);
    while said < load.times || outcome.is_none() {
        tokio::select! {
            _ = ticks.tick() => {
                crowd.say(said as usize % load.conversations);
                said += 1;
            }
            _ = crowd.answered() => {}
            ended = &mut meanwhile, if outcome.is_none() => outcome = Some(ended),
        }
    }
    while (crowd.record.answers.len() as u64) < said * load.answers {
        if timeout(PATIENCE, crowd.answered()).await.is_err() {
            break;
        }
    }
    (crowd.record, outcome.expect("it has ended"))
}

impl<'a> Crowd<'a> {
    fn new(chat: &'a ScriptedHandle, people: usize, text: fn(usize) -> String) -> Self {
        // What an earlier crowd has not looked at.
        chat.take_delivered();
        let record = Record { said: vec![Vec::new(); people], answers: Vec::new() };
        Self { chat, text, on_their_way: FuturesUnordered::new(), delivered: chat.delivered_count(), record }
    }

    fn say_one_of(&mut self, left: &mut u64, person: usize) {
        if *left > 0 {
            *left -= 1;
            self.say(person);
        }
    }

    fn say(&mut self, person: usize) {
        let said = &mut self.record.said[person];
        let text = (self.text)(said.len());
        said.push(Instant::now());
        let chat = self.chat;
        let said = async move {
            let id = format!("{:016x}", fastrand::u64(..));
            chat.say(&person.to_string(), &id, &text).await.expect("it is taken over");
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
        let (actions, at) = (self.chat.take_delivered(), Instant::now());
        self.delivered += actions.len() as u64;
        let people: Vec<_> = actions.iter().map(person).collect();
        let answers = actions.iter().zip(&people);
        let answers = answers.map(|(action, person)| Answer { conversation: *person, text: text_of(action), at });
        self.record.answers.extend(answers);
        people
    }
}

/// What is said where nothing else is wanted.
pub fn ping(_: usize) -> String {
    "!ping".to_owned()
}

fn person(action: &ResolvedAction) -> usize {
    action.at.id.parse().expect("the conversation of one of the crowd")
}

/// Returns how long each message waited, where each conversation's answers are those to its messages, in order.
fn waits(record: &Record) -> Vec<Duration> {
    let mut said: Vec<VecDeque<_>> = record.said.iter().map(|said| said.iter().copied().collect()).collect();
    let mut wait =
        |answer: &Answer| answer.at - said[answer.conversation].pop_front().expect("one answer to each message");
    record.answers.iter().map(&mut wait).collect()
}

/// Returns the wait that this share of all waits does not exceed, in nanoseconds.
pub fn quantile(waits: &mut [Duration], share: f64) -> f64 {
    waits.sort_unstable();
    let index = ((waits.len() - 1) as f64 * share).round();
    waits[index as usize].as_nanos() as f64
}
