//! From the deliveries to the connection of the moment, and what became of them. IRC confirms nothing; but a server does one thing after
//! another, so when it answers the question after a text, it has done with the text, and said so if it refused.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::error::SendTimeoutError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::line::{Line, compose};
use super::roster::folded;
use super::words::refusal;
use crate::action::Act;
use crate::connector::deliveries::Task;
use crate::connector::{DeliveryError, Receipt};
use crate::rate::Rate;

/// Lines that one text may become.
pub(super) const LINES_MAX: usize = 32;
/// What a line costs at the most where the server is spared.
const LINE_PACE: Duration = Duration::from_secs(2);
/// How long a polite end may take.
const QUIT_TIMEOUT: Duration = Duration::from_secs(1);
/// Lines of our own that wait; of more, the connection has not much need.
const CONTROL_MAX: usize = 256;

/// What the connection is asked for.
#[derive(Debug)]
pub(super) enum Ask {
    /// Say something. Dropped unanswered, it was not begun.
    Say { target: String, text: String, outcome: Outcome },
    /// Take leave.
    Quit(oneshot::Sender<()>),
}

type Outcome = oneshot::Sender<Result<Receipt, DeliveryError>>;

/// The way to the connection of the moment, if there is one.
#[derive(Debug, Default)]
pub(super) struct Way(Mutex<Option<mpsc::Sender<Ask>>>);

/// The other end of a [`Way`]. Dropped, there is none.
#[derive(Debug)]
pub(super) struct Asks<'a> {
    way: &'a Way,
    pub(super) receiver: mpsc::Receiver<Ask>,
}

impl Way {
    /// Leads to whoever has the other end from now on.
    pub(super) fn open(&self) -> Asks<'_> {
        let (sender, receiver) = mpsc::channel(1);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        Asks { way: self, receiver }
    }

    fn sender(&self) -> Option<mpsc::Sender<Ask>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes leave of the server, and does not wait long.
    pub(super) async fn quit(&self) {
        let Some(sender) = self.sender() else { return };
        let (done, left) = oneshot::channel();
        let quit = async {
            if sender.send(Ask::Quit(done)).await.is_ok() {
                let _ = left.await;
            }
        };
        let _ = timeout(QUIT_TIMEOUT, quit).await;
    }
}

impl Drop for Asks<'_> {
    fn drop(&mut self) {
        *self.way.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Carries out one action.
pub(super) async fn carry_out(way: &Way, task: Task) -> Result<Receipt, DeliveryError> {
    let message = match task.action.act {
        Act::Send { message, .. } => message,
        Act::Edit { .. } => return Err(DeliveryError::Unsupported("edit messages")),
        Act::Delete { .. } => return Err(DeliveryError::Unsupported("delete messages")),
        Act::React { .. } => return Err(DeliveryError::Unsupported("react to messages")),
    };
    if !message.uploads.is_empty() {
        return Err(DeliveryError::Unsupported("send files"));
    }
    let target = task.action.at.id;
    if !is_target(&target) {
        return Err(DeliveryError::BadRequest("no channel and no nick".to_owned()));
    }
    let text = message.text;
    let not_connected = || DeliveryError::Retryable("not connected".to_owned());
    let sender = way.sender().ok_or_else(not_connected)?;
    let (outcome, answer) = oneshot::channel();
    let patience = task.timeout + LINE_PACE * u32::try_from(LINES_MAX).unwrap_or(u32::MAX);
    let busy = || DeliveryError::Retryable("others are being said".to_owned());
    let asked = sender.send_timeout(Ask::Say { target, text, outcome }, patience);
    asked.await.map_err(|error| match error {
        SendTimeoutError::Timeout(_) => busy(),
        SendTimeoutError::Closed(_) => not_connected(),
    })?;
    let uncertain = || Err(DeliveryError::Uncertain("the server does not say that it has done it".to_owned()));
    match timeout(patience, answer).await {
        Ok(answer) => answer.unwrap_or_else(|_| Err(not_connected())),
        Err(_) => uncertain(),
    }
}

/// Returns whether a text is one target: a list, a mask or a line's end would reach somebody else.
fn is_target(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 200
        && !text.starts_with([':', '$', '@'])
        && !text.contains([' ', ',', '\r', '\n', '\0', '\x07', '*', '?', '!'])
}

/// A text on its way. Dropped, it is answered as far as it came.
#[derive(Debug)]
struct Saying {
    target: String,
    token: String,
    is_begun: bool,
    error: Option<DeliveryError>,
    id: Option<String>,
    outcome: Option<Outcome>,
}

impl Saying {
    fn answer(&mut self, result: Result<Receipt, DeliveryError>) {
        if let Some(outcome) = self.outcome.take() {
            // Whoever asked may have given up.
            let _ = outcome.send(result);
        }
    }
}

impl Drop for Saying {
    fn drop(&mut self) {
        let lost = "the connection was lost".to_owned();
        let error = if self.is_begun { DeliveryError::Uncertain(lost) } else { DeliveryError::Retryable(lost) };
        self.answer(Err(error));
    }
}

/// The lines that are to leave over one connection, at the pace that the server takes.
#[derive(Debug)]
pub(super) struct Outbox {
    /// None where the operator says that there is no hurry too great.
    rate: Option<Rate>,
    control: VecDeque<String>,
    /// What is left of the last of `sayings`.
    lines: VecDeque<String>,
    /// Oldest first; all but the last have left whole.
    sayings: VecDeque<Saying>,
    count: u64,
}

impl Outbox {
    pub(super) fn new(rate: Option<Rate>) -> Self {
        Self { rate, control: VecDeque::new(), lines: VecDeque::new(), sayings: VecDeque::new(), count: 0 }
    }

    /// Takes a line of our own. Returns whether there was room.
    pub(super) fn control(&mut self, line: String) -> bool {
        let has_room = self.control.len() < CONTROL_MAX;
        if has_room {
            self.control.push_back(line);
        }
        has_room
    }

    /// Returns whether nothing waits to leave.
    pub(super) fn is_idle(&self) -> bool {
        self.control.is_empty() && self.lines.is_empty()
    }

    /// Returns whether the next text can be taken.
    pub(super) fn is_free(&self) -> bool {
        self.lines.is_empty()
    }

    /// Takes a text that was cut into lines of `command`.
    pub(super) fn say(&mut self, command: &str, target: &str, pieces: &[String], outcome: Outcome) {
        self.count += 1;
        let token = format!("bothost-{}", self.count);
        let lines = pieces.iter().map(|piece| compose(command, &[target, piece]));
        self.lines.extend(lines.chain([compose("PING", &[&token])]));
        let (target, outcome) = (folded(target), Some(outcome));
        self.sayings.push_back(Saying { target, token, is_begun: false, error: None, id: None, outcome });
    }

    /// Returns the next line, if one may leave now.
    pub(super) fn next(&mut self, now: Instant) -> Option<String> {
        let is_question = self.control.is_empty() && self.lines.len() == 1 && !self.sayings.is_empty();
        // The question after a text goes along with it.
        if !is_question && self.wait(now)? > Duration::ZERO {
            return None;
        }
        let line = match self.control.pop_front() {
            Some(line) => line,
            None => {
                let line = self.lines.pop_front()?;
                if let Some(saying) = self.sayings.back_mut() {
                    saying.is_begun = true;
                }
                line
            }
        };
        if let (false, Some(rate)) = (is_question, &mut self.rate) {
            // It was there a moment ago.
            let _ = rate.take(1, now);
        }
        Some(line)
    }

    /// Returns how long until the next line may leave; none where there is none.
    pub(super) fn wait(&self, now: Instant) -> Option<Duration> {
        if self.control.is_empty() && self.lines.is_empty() {
            return None;
        }
        Some(self.rate.as_ref().map_or(Duration::ZERO, |rate| rate.wait(1, now)))
    }

    /// The server has done everything before this question.
    pub(super) fn answered(&mut self, token: &str) {
        let Some(index) = self.sayings.iter().position(|saying| saying.token == token) else { return };
        // One before it of which the answer did not come was done before it all the same.
        for mut saying in self.sayings.drain(..=index) {
            let result = match saying.error.take() {
                Some(error) => Err(error),
                None => Ok(Receipt { platform_id: saying.id.take() }),
            };
            saying.answer(result);
        }
    }

    /// Notes that the server refuses something, if it is a text of ours.
    pub(super) fn refused(&mut self, line: &Line) {
        let Some((error, subject)) = refusal(line) else { return };
        let is_meant = |saying: &&mut Saying| {
            saying.is_begun && saying.error.is_none() && subject.is_none_or(|subject| folded(subject) == saying.target)
        };
        if let Some(saying) = self.sayings.iter_mut().find(is_meant) {
            saying.error = Some(error);
        }
    }

    /// Notes the id that a text of ours was given.
    pub(super) fn echoed(&mut self, target: &str, id: Option<&str>) {
        let target = folded(target);
        let is_meant = |saying: &&mut Saying| saying.is_begun && saying.id.is_none() && saying.target == target;
        if let Some(saying) = self.sayings.iter_mut().find(is_meant) {
            saying.id = id.map(str::to_owned);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::irc::FLOOD;

    fn say(outbox: &mut Outbox, target: &str, pieces: &[&str]) -> oneshot::Receiver<Result<Receipt, DeliveryError>> {
        let (outcome, answer) = oneshot::channel();
        let pieces: Vec<_> = pieces.iter().map(|piece| (*piece).to_owned()).collect();
        outbox.say("PRIVMSG", target, &pieces, outcome);
        answer
    }

    #[test]
    fn a_text_is_done_when_the_question_after_it_is_answered_and_refused_when_that_was_said_before() {
        let (mut outbox, now) = (Outbox::new(None), Instant::now());
        let mut good = say(&mut outbox, "#tea", &["a", "b"]);
        let mut lines: Vec<_> = std::iter::from_fn(|| outbox.next(now)).collect();
        let mut bad = say(&mut outbox, "Nobody", &["c"]);
        lines.extend(std::iter::from_fn(|| outbox.next(now)));
        let expected = ["PRIVMSG #tea a", "PRIVMSG #tea b", "PING bothost-1", "PRIVMSG Nobody c", "PING bothost-2"];
        assert_eq!(lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>(), expected);
        outbox.echoed("#Tea", Some("id"));
        outbox.refused(&Line::parse(b":s 401 bot nobody :No such nick").unwrap());
        outbox.refused(&Line::parse(b":s 401 bot other :No such nick").unwrap());
        assert!(good.try_recv().is_err());
        outbox.answered("bothost-1");
        outbox.answered("bothost-2");
        assert_eq!(good.try_recv().unwrap(), Ok(Receipt { platform_id: Some("id".to_owned()) }));
        assert!(matches!(bad.try_recv().unwrap(), Err(DeliveryError::Permanent(_))));
    }

    #[test]
    fn a_text_that_left_is_uncertain_when_the_connection_is_lost_and_one_that_waits_is_not() {
        let (mut outbox, now) = (Outbox::new(Some(Rate::within(FLOOD))), Instant::now());
        let mut gone = say(&mut outbox, "#tea", &["a"; 6]);
        assert_eq!(std::iter::from_fn(|| outbox.next(now)).count(), 4);
        assert_eq!(outbox.wait(now), Some(LINE_PACE));
        assert!(!outbox.is_free());
        let mut waits = say(&mut outbox, "#tea", &["b"]);
        drop(outbox);
        assert!(matches!(gone.try_recv().unwrap(), Err(DeliveryError::Uncertain(_))));
        assert!(matches!(waits.try_recv().unwrap(), Err(DeliveryError::Retryable(_))));
    }

    #[test]
    fn a_target_is_one_channel_or_nick() {
        for good in ["#tea", "ann", "&x", "[a]\\`"] {
            assert!(is_target(good), "{good}");
        }
        for bad in ["", "a,b", "a b", ":a", "$*", "a\r\nQUIT", "*", "@#tea", "a!b@c"] {
            assert!(!is_target(bad), "{bad}");
        }
    }
}
