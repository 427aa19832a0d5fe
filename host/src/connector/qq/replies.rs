//! What may still be answered. QQ takes answers only: each names a message or an event, comes within the window of its kind of
//! conversation, is one of five, and has a number by which a second try is recognised. Owns which one an answer names and which number
//! it has; both are on disk before anything is sent, so that they are the same on each try of one action, in whichever process.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::words::{Answerable, Place};
use crate::clock::Timestamp;
use crate::connector::{DeliveryError, Memory};

/// Answers to one message; the platform's limit.
const ANSWERS_MAX: usize = 5;
/// Messages that are remembered of one conversation and that nothing was said to yet.
const UNANSWERED_MAX: usize = 8;
/// Messages that are remembered of one conversation because something was said to them.
const ANSWERED_MAX: usize = 64;
/// How long the numbers of an action are remembered after each of its tries, whether or not they could still be used: without them the
/// next try would have other ones, and the platform would take it for another answer. No two tries are further apart.
const TRIED_KEEP: Duration = Duration::from_secs(60 * 60);

/// What an answer says of what it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seat {
    /// The message or the event.
    pub(super) answers: Answerable,
    /// Its number, from 1.
    pub(super) seq: usize,
    /// The number was given to this action before: it was perhaps sent already.
    pub(super) is_again: bool,
}

/// One message or event that may be answered until a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Ticket {
    of: Answerable,
    until: Timestamp,
    /// Which action each number went to, by the keys of their deliveries; none: somebody else. The first is number 1.
    keys: Vec<Option<u64>>,
    /// Until when its numbers are remembered, once it has given out some.
    #[serde(default)]
    tried_until: Option<Timestamp>,
    /// That it can be answered is only what an action says: it serves those that name it.
    #[serde(default)]
    is_guess: bool,
}

/// What may be answered in one conversation, the newest last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
struct Tickets(VecDeque<Ticket>);

impl Tickets {
    /// Takes in a message or an event. Returns whether it is new.
    fn add(&mut self, of: &Answerable, until: Timestamp, now: Timestamp) -> bool {
        if until <= now {
            return false;
        }
        match self.0.iter_mut().find(|ticket| ticket.of == *of) {
            Some(guess) if guess.is_guess => (guess.until, guess.is_guess) = (until, false),
            Some(_) => return false,
            None => self.push(of.clone(), until, false),
        }
        self.tidy(now);
        true
    }

    fn push(&mut self, of: Answerable, until: Timestamp, is_guess: bool) {
        self.0.push_back(Ticket { of, until, keys: Vec::new(), tried_until: None, is_guess });
    }

    /// Forgets what is over, and of too many the oldest unanswered, and those of which the last try is longest ago.
    fn tidy(&mut self, now: Timestamp) {
        self.0.retain(|ticket| ticket.kept_until() > now);
        let is_open = |ticket: &Ticket| ticket.keys.is_empty();
        if self.0.iter().filter(|ticket| is_open(ticket)).count() > UNANSWERED_MAX
            && let Some(oldest) = self.0.iter().position(is_open)
        {
            self.0.remove(oldest);
        }
        if self.0.iter().filter(|ticket| !is_open(ticket)).count() > ANSWERED_MAX {
            let answered = self.0.iter().enumerate().filter(|(_, ticket)| !is_open(ticket));
            if let Some((oldest, _)) = answered.min_by_key(|(_, ticket)| ticket.tried_until) {
                self.0.remove(oldest);
            }
        }
    }

    /// Returns until when any of them is remembered.
    fn kept_until(&self) -> Timestamp {
        self.0.iter().map(Ticket::kept_until).max().unwrap_or_default()
    }

    /// Returns the seats of an action that wants `count` of them: those it had, else new ones that answer `reply_to`, else the newest
    /// that has so many left. Says in words why there are none.
    fn seats(
        &mut self,
        place: &Place,
        key: u64,
        count: usize,
        reply_to: Option<&str>,
        now: Timestamp,
    ) -> Result<Vec<Seat>, String> {
        let seats = self.find_seats(place, key, count, reply_to, now);
        self.tidy(now);
        seats
    }

    fn find_seats(
        &mut self,
        place: &Place,
        key: u64,
        count: usize,
        reply_to: Option<&str>,
        now: Timestamp,
    ) -> Result<Vec<Seat>, String> {
        let had = |ticket: &&mut Ticket| ticket.keys.contains(&Some(key));
        if let Some(ticket) = self.0.iter_mut().find(had) {
            let numbers =
                ticket.keys.iter().enumerate().filter(|(_, own)| **own == Some(key)).map(|(index, _)| index + 1);
            let seat = |seq| Seat { answers: ticket.of.clone(), seq, is_again: true };
            let mut seats: Vec<_> = numbers.map(seat).take(count).collect();
            // Numbers that were taken by somebody else are replaced.
            let missing = count - seats.len();
            seats.extend(ticket.take(key, missing, now).ok_or_else(|| place.no_answer_left())?);
            return Ok(seats);
        }
        let named = reply_to.map(|id| Answerable::Message(id.to_owned()));
        if let Some(of) = &named
            && self.0.iter().all(|ticket| ticket.of != *of)
        {
            // It may be older than what is remembered; the platform knows.
            self.push(of.clone(), now.saturating_add(place.window()), true);
        }
        let is_meant = |ticket: &Ticket| named.as_ref().map_or(!ticket.is_guess, |of| ticket.of == *of);
        let mut open = self.0.iter_mut().rev().filter(|ticket| ticket.until > now && is_meant(ticket));
        open.find_map(|ticket| ticket.take(key, count, now)).ok_or_else(|| place.no_answer_left())
    }

    /// Notes that a number is somebody else's.
    fn lost(&mut self, seat: &Seat) {
        if let Some(ticket) = self.0.iter_mut().find(|ticket| ticket.of == seat.answers)
            && let Some(key) = ticket.keys.get_mut(seat.seq - 1)
        {
            *key = None;
        }
    }
}

impl Ticket {
    /// Returns until when it is remembered.
    fn kept_until(&self) -> Timestamp {
        self.tried_until.map_or(self.until, |tried_until| tried_until.max(self.until))
    }

    /// Gives new numbers to an action that is about to be tried, be it none; nothing where there are not so many left.
    fn take(&mut self, key: u64, count: usize, now: Timestamp) -> Option<Vec<Seat>> {
        let first = self.keys.len() + 1;
        (first + count <= ANSWERS_MAX + 1).then(|| {
            self.tried_until = Some(now.saturating_add(TRIED_KEEP));
            self.keys.extend(std::iter::repeat_n(Some(key), count));
            (first..first + count).map(|seq| Seat { answers: self.of.clone(), seq, is_again: false }).collect()
        })
    }
}

/// What may be answered, by conversation.
#[derive(Debug)]
pub(super) struct Replies {
    memory: Memory,
    /// Reading, changing and writing is one step.
    turn: Semaphore,
}

impl Replies {
    pub(super) fn new(memory: Memory) -> Self {
        Self { memory, turn: Semaphore::new(1) }
    }

    /// Remembers what may be answered until a moment. What cannot be kept is said in the log; answers to it can still name it.
    pub(super) async fn add(&self, place: &Place, of: &Answerable, until: Timestamp) {
        let _turn = self.turn.acquire().await.expect("never closed");
        let (mut tickets, now) = (self.read(place).await, Timestamp::now());
        if tickets.add(of, until, now) {
            let keep = tickets.kept_until().saturating_since(now);
            self.memory.try_put(&name(place), written(&tickets), Some(keep)).await;
        }
    }

    /// Returns the seats of an action; they are on disk.
    ///
    /// # Errors
    ///
    /// Nothing may be answered so often, or the seats cannot be written down.
    pub(super) async fn seats(
        &self,
        place: &Place,
        key: u64,
        count: usize,
        reply_to: Option<&str>,
    ) -> Result<Vec<Seat>, DeliveryError> {
        if count > ANSWERS_MAX {
            let why = format!("it takes {count} messages, and QQ takes {ANSWERS_MAX} answers to one");
            return Err(DeliveryError::BadRequest(why));
        }
        let _turn = self.turn.acquire().await.expect("never closed");
        let mut tickets = self.read(place).await;
        let seats = tickets.seats(place, key, count, reply_to, Timestamp::now()).map_err(DeliveryError::Permanent)?;
        self.write(place, &tickets).await?;
        Ok(seats)
    }

    /// Notes that the number of a seat was used by somebody else, so that the next try has another.
    pub(super) async fn lost(&self, place: &Place, seat: &Seat) -> Result<(), DeliveryError> {
        let _turn = self.turn.acquire().await.expect("never closed");
        let mut tickets = self.read(place).await;
        tickets.lost(seat);
        self.write(place, &tickets).await
    }

    async fn read(&self, place: &Place) -> Tickets {
        let kept = self.memory.get(&name(place)).await.unwrap_or_default();
        serde_json::from_str(&kept).unwrap_or_default()
    }

    async fn write(&self, place: &Place, tickets: &Tickets) -> Result<(), DeliveryError> {
        let keep = tickets.kept_until().saturating_since(Timestamp::now());
        let kept = self.memory.put(&name(place), written(tickets), Some(keep)).await;
        kept.map_err(|error| {
            DeliveryError::Retryable(format!("an answer must be numbered before it is sent, and cannot be: {error}"))
        })
    }
}

fn name(place: &Place) -> String {
    format!("answers:{place}")
}

fn written(tickets: &Tickets) -> String {
    serde_json::to_string(tickets).expect("texts and numbers")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn place() -> Place {
        "c2c:U".parse().unwrap()
    }

    fn message(id: &str) -> Answerable {
        Answerable::Message(id.to_owned())
    }

    fn later(seconds: u64) -> Timestamp {
        Timestamp::from_millis(NOW.as_millis() + seconds * 1000)
    }

    fn numbers(seats: &[Seat]) -> Vec<(&str, usize, bool)> {
        seats.iter().map(|seat| (seat.answers.id(), seat.seq, seat.is_again)).collect()
    }

    #[test]
    fn an_answer_goes_to_the_newest_message_that_has_one_left_and_keeps_its_number_on_each_try() {
        let mut tickets = Tickets::default();
        assert!(tickets.seats(&place(), 1, 1, None, NOW).unwrap_err().contains("within 60 minutes"));
        tickets.add(&message("a"), later(60), NOW);
        tickets.add(&message("b"), later(60), NOW);
        assert!(!tickets.add(&message("a"), later(90), NOW), "delivered again");
        let mut seats = |key, count, reply_to| tickets.seats(&place(), key, count, reply_to, NOW);
        assert_eq!(numbers(&seats(1, 2, None).unwrap()), [("b", 1, false), ("b", 2, false)]);
        assert_eq!(numbers(&seats(2, 1, None).unwrap()), [("b", 3, false)]);
        assert_eq!(numbers(&seats(1, 2, None).unwrap()), [("b", 1, true), ("b", 2, true)]);
        assert_eq!(numbers(&seats(3, 1, Some("a")).unwrap()), [("a", 1, false)]);
        assert_eq!(numbers(&seats(4, 3, None).unwrap()), [("a", 2, false), ("a", 3, false), ("a", 4, false)]);
        assert_eq!(numbers(&seats(5, 2, None).unwrap()), [("b", 4, false), ("b", 5, false)]);
        assert!(seats(6, 2, None).is_err());
        assert_eq!(numbers(&seats(6, 1, None).unwrap()), [("a", 5, false)]);
        assert!(seats(7, 1, None).is_err());
        assert!(seats(7, 1, Some("b")).is_err());
        assert_eq!(numbers(&seats(7, 1, Some("old")).unwrap()), [("old", 1, false)]);
    }

    #[test]
    fn what_is_too_old_is_no_longer_answered() {
        let mut tickets = Tickets::default();
        assert!(!tickets.add(&message("a"), NOW, NOW));
        tickets.add(&message("b"), later(10), NOW);
        assert!(tickets.seats(&place(), 1, 1, None, later(9)).is_ok());
        assert!(tickets.seats(&place(), 2, 1, None, later(10)).is_err());
    }

    #[test]
    fn what_was_tried_keeps_its_number_however_much_comes_meanwhile_and_however_late_the_next_try_is() {
        for reply_to in [None, Some("a")] {
            let mut tickets = Tickets::default();
            tickets.add(&message("a"), later(60), NOW);
            assert_eq!(numbers(&tickets.seats(&place(), 1, 1, reply_to, NOW).unwrap()), [("a", 1, false)]);
            for other in 0..100 {
                tickets.add(&message(&other.to_string()), later(3000), later(61));
            }
            assert_eq!(tickets.0.len(), 1 + UNANSWERED_MAX);
            for minutes in [2, 59, 118, 177] {
                let again = tickets.seats(&place(), 1, 1, reply_to, later(60 * minutes)).unwrap();
                assert_eq!(numbers(&again), [("a", 1, true)], "after {minutes} minutes, {reply_to:?}");
                assert_eq!(tickets.kept_until(), later(60 * minutes + 3600));
            }
        }
    }

    #[test]
    fn of_too_many_that_were_answered_the_one_with_the_oldest_try_is_forgotten() {
        let mut tickets = Tickets::default();
        let now = |number: usize| later(number as u64);
        for number in 0..3 * ANSWERED_MAX {
            tickets.add(&message(&number.to_string()), later(3600), now(number));
            let new = tickets.seats(&place(), number as u64 + 1, 5, None, now(number)).unwrap();
            assert!(!new[0].is_again);
            let first = tickets.seats(&place(), 1, 5, None, now(number)).unwrap();
            assert!(first[0].is_again && first[0].answers == message("0"), "it is still tried");
        }
        assert_eq!(tickets.0.len(), ANSWERED_MAX);
        assert!(tickets.0.iter().any(|ticket| ticket.of == message(&(3 * ANSWERED_MAX - 1).to_string())));
    }

    #[test]
    fn what_only_an_action_says_can_be_answered_serves_no_other_action() {
        let mut tickets = Tickets::default();
        assert_eq!(numbers(&tickets.seats(&place(), 1, 1, Some("old"), NOW).unwrap()), [("old", 1, false)]);
        assert!(tickets.seats(&place(), 2, 1, None, NOW).is_err());
        tickets.add(&message("a"), later(60), NOW);
        assert_eq!(numbers(&tickets.seats(&place(), 3, 1, Some("older"), NOW).unwrap()), [("older", 1, false)]);
        assert_eq!(numbers(&tickets.seats(&place(), 4, 5, None, NOW).unwrap())[0], ("a", 1, false));
        assert!(tickets.seats(&place(), 5, 1, None, NOW).is_err());
        assert_eq!(numbers(&tickets.seats(&place(), 6, 1, Some("old"), NOW).unwrap()), [("old", 2, false)]);
        assert!(tickets.add(&message("old"), later(60), NOW), "it comes after all");
        assert_eq!(numbers(&tickets.seats(&place(), 7, 1, None, NOW).unwrap()), [("old", 3, false)]);
    }

    #[test]
    fn a_number_that_somebody_else_has_used_is_replaced() {
        let mut tickets = Tickets::default();
        tickets.add(&message("a"), later(60), NOW);
        let seats = tickets.seats(&place(), 1, 2, None, NOW).unwrap();
        tickets.lost(&seats[0]);
        assert_eq!(
            numbers(&tickets.seats(&place(), 1, 2, None, NOW).unwrap()),
            [("a", 2, true), ("a", 3, false)],
            "the one that is left, and a new one"
        );
    }

    proptest! {
        #[test]
        fn no_number_of_a_message_goes_to_two_actions_and_no_action_changes_its_own(
            steps in prop::collection::vec((0u64..6, 1usize..4, 0u64..40), 1..60),
        ) {
            let mut tickets = Tickets::default();
            let mut given = std::collections::HashMap::new();
            let mut first = std::collections::HashMap::new();
            for (key, count, other) in steps {
                tickets.add(&message(&other.to_string()), later(60), NOW);
                let (key, count) = (key + 1, (key as usize % 3 + 1).min(count.max(key as usize % 3 + 1)));
                if let Ok(seats) = tickets.seats(&place(), key, count, None, NOW) {
                    prop_assert_eq!(seats.len(), count);
                    let places: Vec<_> = seats.iter().map(|seat| (seat.answers.id().to_owned(), seat.seq)).collect();
                    for place in &places {
                        prop_assert!((1..=ANSWERS_MAX).contains(&place.1));
                        prop_assert_eq!(*given.entry(place.clone()).or_insert(key), key);
                    }
                    prop_assert_eq!(first.entry(key).or_insert_with(|| places.clone()), &places);
                }
            }
        }
    }
}
