//! Sessions: who signed in and has not been away for too long. Pure: whoever calls says what time it is.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::{Digest, Key};
use crate::id::{AccountName, TokenName};

/// Sessions of all together; past it the one that was away the longest ends.
const SESSIONS_MAX: usize = 10_000;
/// Sessions of one account or token; past it the one that was away the longest ends.
const SESSIONS_EACH_MAX: usize = 32;
/// How long one may be away.
const IDLE: Duration = Duration::from_secs(12 * 3_600);
/// How long a session lasts, however busy.
const LIFE: Duration = Duration::from_secs(7 * 86_400);

/// By what somebody signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    Account(AccountName),
    Token(TokenName),
    /// The token of the configuration.
    Configured,
}

/// A session.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub(super) subject: Subject,
    /// What a page of the host's own knows and another one does not.
    pub(super) csrf: Key,
    begun_at: Instant,
    seen_at: Instant,
}

impl Session {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.seen_at) >= IDLE || now.saturating_duration_since(self.begun_at) >= LIFE
    }
}

/// Every session, by the digest of its id.
#[derive(Debug, Default)]
pub(super) struct Sessions(HashMap<Digest, Session>);

impl Sessions {
    /// Begins a session.
    pub(super) fn begin(&mut self, id: Digest, subject: Subject, csrf: Key, now: Instant) {
        self.0.retain(|_, session| !session.is_over(now));
        if self.0.values().filter(|session| session.subject == subject).count() >= SESSIONS_EACH_MAX {
            self.end_longest_away(|session| session.subject == subject);
        }
        if self.0.len() >= SESSIONS_MAX {
            self.end_longest_away(|_| true);
        }
        self.0.insert(id, Session { subject, csrf, begun_at: now, seen_at: now });
    }

    /// Returns a session that is not over, and notes that it was seen.
    pub(super) fn seen(&mut self, id: &Digest, now: Instant) -> Option<&Session> {
        if self.0.get(id)?.is_over(now) {
            self.0.remove(id);
            return None;
        }
        let session = self.0.get_mut(id)?;
        session.seen_at = session.seen_at.max(now);
        Some(session)
    }

    /// Returns a session that is not over.
    pub(super) fn of(&self, id: &Digest, now: Instant) -> Option<&Session> {
        self.0.get(id).filter(|session| !session.is_over(now))
    }

    /// Ends one.
    pub(super) fn end(&mut self, id: &Digest) {
        self.0.remove(id);
    }

    /// Ends every session of an account or a token.
    pub(super) fn end_all_of(&mut self, subject: &Subject) {
        self.0.retain(|_, session| session.subject != *subject);
    }

    fn end_longest_away(&mut self, among: impl Fn(&Session) -> bool) {
        let of = self.0.iter().filter(|(_, session)| among(session));
        let id = of.min_by_key(|(_, session)| session.seen_at).map(|(id, _)| *id);
        if let Some(id) = id {
            self.0.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(number: u32) -> Digest {
        Digest::of(&number.to_be_bytes())
    }

    fn account(number: u32) -> Subject {
        Subject::Account(format!("a{number}").parse().unwrap())
    }

    fn key() -> Key {
        Key::generate("").unwrap()
    }

    #[test]
    fn a_session_ends_when_one_is_away_too_long_and_however_busy_one_is() {
        let start = Instant::now();
        let mut sessions = Sessions::default();
        sessions.begin(id(1), account(1), key(), start);
        assert!(sessions.seen(&id(1), start + IDLE - Duration::from_secs(1)).is_some());
        assert!(sessions.seen(&id(1), start + IDLE * 2 - Duration::from_secs(1)).is_none());
        sessions.begin(id(2), account(1), key(), start);
        let mut now = start;
        while now < start + LIFE {
            assert!(sessions.seen(&id(2), now).is_some());
            now += IDLE / 2;
        }
        assert!(sessions.seen(&id(2), now).is_none() && sessions.0.is_empty());
    }

    #[test]
    fn the_one_that_was_away_the_longest_gives_way() {
        let start = Instant::now();
        let mut sessions = Sessions::default();
        for number in 0..SESSIONS_EACH_MAX as u32 {
            sessions.begin(id(number), account(1), key(), start + Duration::from_secs(number.into()));
        }
        let now = start + Duration::from_secs(100);
        assert!(sessions.seen(&id(0), now).is_some());
        sessions.begin(id(100), account(2), key(), now);
        sessions.begin(id(101), account(1), key(), now);
        assert!(sessions.seen(&id(1), now).is_none() && sessions.seen(&id(0), now).is_some());
        sessions.end_all_of(&account(1));
        assert!(sessions.0.len() == 1 && sessions.seen(&id(100), now).is_some());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever is done: nobody who was sent away, or was away too long, is let in, and there are never too many.
        #[test]
        fn a_session_lasts_as_long_as_it_should(steps in proptest::collection::vec((0u32..3, 0u32..60, 0u64..20_000), 1..200)) {
            let mut now = Instant::now();
            let mut sessions = Sessions::default();
            let mut model: HashMap<u32, (Instant, Instant)> = HashMap::new();
            for (what, number, seconds) in steps {
                now += Duration::from_secs(seconds);
                match what {
                    0 => {
                        sessions.begin(id(number), account(number % 2), key(), now);
                        model.insert(number, (now, now));
                    }
                    1 => {
                        let is_in = sessions.seen(&id(number), now).is_some();
                        let may = model.get(&number).is_some_and(|(begun, seen)| now - *seen < IDLE && now - *begun < LIFE);
                        prop_assert!(may || !is_in, "one who may not is let in");
                        if is_in {
                            model.entry(number).and_modify(|(_, seen)| *seen = now);
                        }
                    }
                    _ => {
                        sessions.end(&id(number));
                        model.remove(&number);
                    }
                }
                for of in 0..2 {
                    prop_assert!(sessions.0.values().filter(|session| session.subject == account(of)).count() <= SESSIONS_EACH_MAX);
                }
            }
        }
    }
}
