//! Keeps what people said and holds it against what they were told: says numbered messages through the fake Telegram, and
//! audits the fake's own log of what the guest `ledger` answered.
//!
//! A message is `CHAT-SEQ`, its answer `CHAT-SEQ COUNT`, where COUNT is how many messages of that chat the guest had handled.
//! So one line shows that a message was answered, once, in order, and on a state that holds every message before it, once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use crate::process::Process;
use crate::telegram::{Call, FakeTelegram};

/// Violations that a report shows; there are as many as messages when all is lost.
const SHOWN_MAX: usize = 20;
/// The reason that the host gives for a send of which it does not know whether it arrived, and which it did not repeat.
const UNCERTAIN: &str = "uncertain";

/// What the host does about a send of which it does not know whether it arrived. Telegram knows no idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUncertain {
    /// It is sent again: an answer may come twice. The default.
    Retry,
    /// It is listed as lost: an answer may be missing.
    Drop,
}

impl OnUncertain {
    /// Returns what stands in the configuration for it.
    pub fn config(self) -> &'static str {
        match self {
            Self::Retry => "[outbox]\nmax_len = 1_000_000\n",
            Self::Drop => "[outbox]\nmax_len = 1_000_000\non_uncertain = \"drop\"\n",
        }
    }
}

/// What was said, and when the host was killed.
#[derive(Debug)]
pub struct Ledger {
    on_uncertain: OnUncertain,
    /// By chat, the update that each message came as.
    said: BTreeMap<i64, Vec<i64>>,
    /// Messages that each chat's state held before the first of these.
    counted_before: usize,
    /// How many calls the platform had seen at each end of the host that was none of its own will.
    kills: Vec<usize>,
}

/// What the host itself says that it did not do.
#[derive(Debug, Default)]
pub struct Confession {
    /// The chat of each dead letter.
    pub dead_letters: Vec<i64>,
    /// The text and the reason of each send that is given up.
    pub lost: Vec<(String, String)>,
}

/// What an audit found.
#[derive(Debug)]
pub struct Audit {
    /// Messages said.
    pub said: usize,
    /// Messages with an answer.
    pub answered: usize,
    /// Answers that came once more than needed.
    pub doubles: usize,
    /// Messages without an answer that the host lists as lost.
    pub uncertain: usize,
    /// Messages without an answer for which the host lists a dead letter.
    pub dead_letters: usize,
    /// Messages without an answer that nobody lists.
    pub lost: usize,
    /// Ends of the host that were not of its own will.
    pub kills: usize,
    /// What must not be.
    pub violations: Vec<String>,
}

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { said, answered, doubles, uncertain, dead_letters, lost, kills, violations } = self;
        write!(f, "{said} messages, {kills} kills, {answered} answered, {doubles} doubles, {uncertain} uncertain, ")?;
        write!(f, "{dead_letters} dead letters, {lost} lost, {} violations", violations.len())?;
        for violation in violations.iter().take(SHOWN_MAX) {
            write!(f, "\n  {violation}")?;
        }
        if violations.len() > SHOWN_MAX {
            write!(f, "\n  and {} more", violations.len() - SHOWN_MAX)?;
        }
        Ok(())
    }
}

/// An answer that the platform accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    /// Its call's number.
    at: usize,
    seq: usize,
    count: usize,
}

impl Ledger {
    /// Begins with these chats, in which nothing was said yet.
    pub fn new(chats: impl IntoIterator<Item = i64>, on_uncertain: OnUncertain) -> Self {
        let said = chats.into_iter().map(|chat| (chat, Vec::new())).collect();
        Self { on_uncertain, said, counted_before: 0, kills: Vec::new() }
    }

    /// Begins with a state that holds this many messages of each chat.
    pub fn after(self, counted_before: usize) -> Self {
        Self { counted_before, ..self }
    }

    /// Returns the chats.
    pub fn chats(&self) -> Vec<i64> {
        self.said.keys().copied().collect()
    }

    /// Says the next message in a chat.
    pub fn say(&mut self, platform: &FakeTelegram, chat: i64) {
        let said = self.said.get_mut(&chat).expect("a chat of this ledger");
        said.push(platform.push_message(chat, &format!("{chat}-{}", said.len())));
    }

    /// Notes that the host has ended against its will. Waits until the platform has read what it had written.
    pub async fn note_kill(&mut self, platform: &FakeTelegram) {
        self.kills.push(platform.deserted().await);
    }

    /// Returns how many messages were said.
    pub fn said_len(&self) -> usize {
        self.said.values().map(Vec::len).sum()
    }

    /// Returns whether each message has an answer or is listed, and nothing waits to be taken over.
    pub fn is_settled(&self, platform: &FakeTelegram, confession: &Confession) -> bool {
        let audit = self.audit(&platform.calls(), &[], confession);
        platform.unconfirmed().is_empty() && audit.answered + audit.uncertain + audit.dead_letters == audit.said
    }

    /// Holds what was said against the platform's log. `unconfirmed` are the updates that the host has never confirmed.
    pub fn audit(&self, calls: &[Call], unconfirmed: &[i64], confession: &Confession) -> Audit {
        let mut audit = Audit {
            said: self.said_len(),
            answered: 0,
            doubles: 0,
            uncertain: 0,
            dead_letters: 0,
            lost: 0,
            kills: self.kills.len(),
            violations: Vec::new(),
        };
        let mut answers = self.answers(calls, &mut audit.violations);
        for (&chat, said) in &self.said {
            let answers = answers.remove(&chat).unwrap_or_default();
            ChatAudit { ledger: self, chat, said, answers, unconfirmed, confession }.run(&mut audit);
        }
        audit
    }

    /// Returns the accepted answers of each chat, in the order of the log.
    fn answers(&self, calls: &[Call], violations: &mut Vec<String>) -> BTreeMap<i64, Vec<Answer>> {
        let mut answers: BTreeMap<i64, Vec<Answer>> = BTreeMap::new();
        for (at, call) in calls.iter().enumerate() {
            if call.method != "sendMessage" || call.status != Some(200) {
                continue;
            }
            let text = call.parameters["text"].as_str().unwrap_or_default();
            match (call.parameters["chat_id"].as_i64(), parse_answer(text)) {
                (Some(chat), Some((meant, seq, count)))
                    if chat == meant && self.said.get(&chat).is_some_and(|said| seq < said.len()) =>
                {
                    answers.entry(chat).or_default().push(Answer { at, seq, count });
                }
                (chat, _) => violations.push(format!("{text:?} came to {chat:?}, which did not ask for it")),
            }
        }
        answers
    }
}

fn parse_answer(text: &str) -> Option<(i64, usize, usize)> {
    let (message, count) = text.split_once(' ')?;
    let (chat, seq) = message.rsplit_once('-')?;
    Some((chat.parse().ok()?, seq.parse().ok()?, count.parse().ok()?))
}

/// The audit of one chat.
struct ChatAudit<'a> {
    ledger: &'a Ledger,
    chat: i64,
    said: &'a [i64],
    answers: Vec<Answer>,
    unconfirmed: &'a [i64],
    confession: &'a Confession,
}

impl ChatAudit<'_> {
    fn run(self, audit: &mut Audit) {
        let (chat, violations) = (self.chat, &mut audit.violations);
        let mut first: BTreeMap<usize, usize> = BTreeMap::new();
        let (mut newest, mut latest) = (None, BTreeMap::new());
        for (index, answer) in self.answers.iter().enumerate() {
            let Some(before) = latest.insert(answer.seq, index) else {
                if newest > Some(answer.seq) {
                    violations.push(format!("{chat}-{} was answered after {chat}-{}", answer.seq, newest.unwrap_or(0)));
                }
                newest = newest.max(Some(answer.seq));
                first.insert(answer.seq, answer.count);
                continue;
            };
            audit.doubles += 1;
            let earlier = &self.answers[before];
            if earlier.count != answer.count {
                let counts = (earlier.count, answer.count);
                violations.push(format!("{chat}-{} was handled twice: counts {counts:?}", answer.seq));
            } else if !self.is_excused(before) {
                violations
                    .push(format!("{chat}-{} was answered twice, calls {} and {}", answer.seq, earlier.at, answer.at));
            }
        }
        audit.answered += first.len();
        let given_up = self.missing(&first, audit);
        self.check_counts(&first, &given_up, audit);
    }

    /// Returns whether the host could not know that the answer `before` had arrived when it sent it again: it was killed
    /// after it, and before the chat heard anything else. The next one of a chat is sent only once the one
    /// before it is noted for good, or the order of a chat would not hold across a kill.
    fn is_excused(&self, before: usize) -> bool {
        // The same answer again, where the chat heard nothing in between.
        let (before, next) = (self.answers[before].at, self.answers[before + 1].at);
        let may_repeat = self.ledger.on_uncertain == OnUncertain::Retry;
        may_repeat && self.ledger.kills.iter().any(|&kill| before < kill && kill <= next)
    }

    /// Looks into what has no answer, and returns the messages that were not handled at all.
    fn missing(&self, first: &BTreeMap<usize, usize>, audit: &mut Audit) -> BTreeSet<usize> {
        let chat = self.chat;
        let lost = self.confession.lost.iter().filter_map(|(text, reason)| Some((parse_answer(text)?, reason)));
        let lost: Vec<_> =
            lost.filter(|((of, _, _), _)| *of == chat).map(|((_, seq, _), reason)| (seq, reason)).collect();
        for (seq, reason) in &lost {
            if self.ledger.on_uncertain == OnUncertain::Retry || reason.as_str() != UNCERTAIN {
                audit.violations.push(format!("the answer to {chat}-{seq} is listed as lost: {reason}"));
            }
        }
        // One send of a chat is under way at a time, so a kill makes one of them uncertain.
        if lost.len() > self.ledger.kills.len() {
            audit.violations.push(format!(
                "{chat} has {} lost answers of {} kills",
                lost.len(),
                self.ledger.kills.len()
            ));
        }
        let is_lost = |seq: usize| lost.iter().any(|(lost, _)| *lost == seq);
        let (listed, unheard): (Vec<_>, Vec<_>) =
            (0..self.said.len()).filter(|seq| !first.contains_key(seq)).partition(|seq| is_lost(*seq));
        // A dead letter names its chat; which message it was is for the counts to show.
        let dead = self.confession.dead_letters.iter().filter(|of| **of == chat).count();
        audit.uncertain += listed.len();
        audit.dead_letters += dead.min(unheard.len());
        if dead > unheard.len() {
            let excess = dead - unheard.len();
            audit.violations.push(format!("{chat} has {excess} dead letters of messages that were answered"));
        }
        if dead < unheard.len() {
            audit.lost += unheard.len() - dead;
            let state =
                |seq: &usize| if self.unconfirmed.contains(&self.said[*seq]) { "not taken over" } else { "LOST" };
            let shown = unheard.iter().take(SHOWN_MAX).map(|seq| format!("{chat}-{seq} {}", state(seq)));
            let shown = shown.collect::<Vec<_>>().join(", ");
            audit.violations.push(format!("{} without an answer, {dead} dead letters: {shown}", unheard.len()));
        }
        unheard.into_iter().collect()
    }

    /// Checks that each answer counts every message up to its own once. The first that is wrong makes all after it so.
    fn check_counts(&self, first: &BTreeMap<usize, usize>, unheard: &BTreeSet<usize>, audit: &mut Audit) {
        let expected = |seq: usize| self.ledger.counted_before + seq + 1 - unheard.range(..seq).count();
        if let Some((seq, count)) = first.iter().find(|(seq, count)| expected(**seq) != **count) {
            let (chat, expected) = (self.chat, expected(*seq));
            audit
                .violations
                .push(format!("{chat}-{seq} was handled on a state with {count}, which should be {expected}"));
        }
    }
}

impl Confession {
    /// Asks a host what it did not do. The only place that knows how its API tells.
    pub async fn of(process: &Process) -> Self {
        let list = |answer: Option<Value>| match answer {
            Some(Value::Array(list)) => list,
            Some(other) => panic!("no array: {other}"),
            // A host that keeps no such list.
            None => Vec::new(),
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let dead_letters = list(process.ask("/api/v1/dead-letters?limit=1000").await);
        let lost = list(process.ask("/api/v1/outbox?state=lost&limit=1000").await);
        Self {
            dead_letters: dead_letters.iter().map(|letter| chat_of(&letter["conversation"])).collect(),
            lost: lost.iter().map(|send| (text(&send["text"]), text(&send["reason"]))).collect(),
        }
    }
}

/// Returns the chat of a conversation that is shown as an object with an `id`, or as a text that ends with it.
fn chat_of(conversation: &Value) -> i64 {
    let text = conversation.as_str().or_else(|| conversation["id"].as_str()).unwrap_or_default();
    let digits = text.rfind(|c: char| !c.is_ascii_digit()).map_or(text, |at| &text[at + 1..]);
    digits.parse().unwrap_or_else(|_| panic!("no chat in {conversation}"))
}

#[cfg(test)]
mod tests;
