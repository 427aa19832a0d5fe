//! Who has guessed too often, and how long he has to wait. Pure: whoever calls says what time it is.
//!
//! Two counts. By address: who fails too often is refused for a while, and for twice as long each time after. By account: where many
//! addresses try one account, strangers to it are held back a little each time, so that a thousand machines guess no faster than one.
//! An address from which somebody signed in as that account is no stranger, so nobody can lock an account's owner out from elsewhere.
//!
//! An attempt counts as failed when it begins and is taken back when it succeeds: a hundred at the same moment are a hundred.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::id::AccountName;

/// Addresses, and as many names, that are remembered; past it the one that failed the longest ago is forgotten.
const REMEMBERED_MAX: usize = 10_000;
/// Addresses from which one account was signed in to that are remembered.
const KNOWN_MAX: usize = 8;

/// What is counted of a request's address: of IPv6 the network that one customer has as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// An address of IPv4.
    V4([u8; 4]),
    /// The first 64 bits of one of IPv6.
    V6([u8; 8]),
}

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.octets()),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// What he showed lets nobody in. That includes an account that is disabled and one that does not exist.
    #[error("that lets nobody in")]
    Wrong,
    /// Too many failed: he may try again after this time.
    #[error("too many attempts failed: try again in {} s", .0.as_secs())]
    Later(Duration),
}

/// When failures lead to a wait, and to how long a one.
#[derive(Debug, Clone, Copy)]
struct Terms {
    /// Failures that lead to the first wait.
    failures: usize,
    /// Failures after a wait that lead to the next.
    failures_again: usize,
    /// Within which they count.
    within: Duration,
    /// The first wait; each next one is twice as long.
    first: Duration,
    /// The longest.
    longest: Duration,
    /// How long without a failure until all is forgotten.
    memory: Duration,
}

const MINUTE: Duration = Duration::from_secs(60);

const BY_ADDRESS: Terms = Terms {
    failures: 10,
    failures_again: 10,
    within: MINUTE.saturating_mul(5),
    first: MINUTE,
    longest: MINUTE.saturating_mul(60),
    memory: MINUTE.saturating_mul(24 * 60),
};

const BY_NAME: Terms = Terms {
    failures: 20,
    failures_again: 1,
    within: MINUTE.saturating_mul(60),
    first: Duration::from_secs(1),
    longest: Duration::from_secs(30),
    memory: MINUTE.saturating_mul(60),
};

/// How one address, or one name, stands.
#[derive(Debug)]
struct Record {
    failures: VecDeque<Instant>,
    last_failure: Instant,
    waits: u32,
    refused_until: Option<Instant>,
}

#[derive(Debug)]
struct Ledger<K> {
    terms: Terms,
    records: HashMap<K, Record>,
}

impl<K: Eq + Hash + Clone> Ledger<K> {
    fn new(terms: Terms) -> Self {
        Self { terms, records: HashMap::new() }
    }

    /// Returns how long one has to wait.
    fn wait(&self, key: &K, now: Instant) -> Option<Duration> {
        let until = self.records.get(key)?.refused_until?;
        Some(until.saturating_duration_since(now)).filter(|wait| !wait.is_zero())
    }

    fn fail(&mut self, key: &K, now: Instant) {
        let terms = self.terms;
        if !self.records.contains_key(key) && self.records.len() >= REMEMBERED_MAX {
            self.forget_oldest();
        }
        let fresh = || Record { failures: VecDeque::new(), last_failure: now, waits: 0, refused_until: None };
        let record = self.records.entry(key.clone()).or_insert_with(fresh);
        if now.saturating_duration_since(record.last_failure) >= terms.memory {
            *record = fresh();
        }
        record.last_failure = now;
        record.failures.push_back(now);
        while record.failures.front().is_some_and(|at| now.saturating_duration_since(*at) >= terms.within) {
            record.failures.pop_front();
        }
        let enough = if record.waits == 0 { terms.failures } else { terms.failures_again };
        if record.failures.len() >= enough {
            let wait = terms.first.saturating_mul(1 << record.waits.min(20)).min(terms.longest);
            record.failures.clear();
            record.waits = record.waits.saturating_add(1);
            record.refused_until = Some(now + wait);
        }
    }

    /// Looks at all of them, which is cheap beside what a failure costs otherwise and needs no second index.
    fn forget_oldest(&mut self) {
        let oldest = self.records.iter().min_by_key(|(_, record)| record.last_failure).map(|(key, _)| key.clone());
        if let Some(key) = oldest {
            self.records.remove(&key);
        }
    }
}

/// Who has guessed too often. Whoever comes by the Unix socket has no [`Source`] and is never refused.
#[derive(Debug)]
pub struct Lockout {
    addresses: Ledger<Source>,
    names: Ledger<AccountName>,
    known: BTreeMap<AccountName, VecDeque<Source>>,
}

impl Default for Lockout {
    fn default() -> Self {
        Self { addresses: Ledger::new(BY_ADDRESS), names: Ledger::new(BY_NAME), known: BTreeMap::new() }
    }
}

impl Lockout {
    /// Returns whether somebody at an address may show a token.
    ///
    /// # Errors
    ///
    /// [`Denied::Later`].
    pub fn check(&self, source: Source, now: Instant) -> Result<(), Denied> {
        self.addresses.wait(&source, now).map_or(Ok(()), |wait| Err(Denied::Later(wait)))
    }

    /// Notes that what was shown from an address was wrong.
    pub fn failed(&mut self, source: Source, now: Instant) {
        self.addresses.fail(&source, now);
    }

    /// Begins an attempt to sign in to an account: it counts as failed until [`Lockout::succeeded`].
    ///
    /// # Errors
    ///
    /// [`Denied::Later`]: it is not made, and does not count.
    pub fn attempt(&mut self, source: Source, name: &AccountName, now: Instant) -> Result<(), Denied> {
        self.check(source, now)?;
        let is_known = self.known.get(name).is_some_and(|sources| sources.contains(&source));
        if let Some(wait) = self.names.wait(name, now).filter(|_| !is_known) {
            return Err(Denied::Later(wait));
        }
        self.addresses.fail(&source, now);
        if !is_known {
            self.names.fail(name, now);
        }
        Ok(())
    }

    /// Notes that somebody signed in: what that address has failed at before is forgiven.
    ///
    /// The name is not: with an owner who signs in every hour, strangers would have their count begin anew every hour.
    pub fn succeeded(&mut self, source: Source, name: &AccountName) {
        self.addresses.records.remove(&source);
        let known = self.known.entry(name.clone()).or_default();
        known.retain(|other| *other != source);
        known.push_back(source);
        if known.len() > KNOWN_MAX {
            known.pop_front();
        }
    }

    /// Forgets an account that is removed: whoever gets its name is somebody else.
    pub fn forget(&mut self, name: &AccountName) {
        self.known.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn source(number: u32) -> Source {
        Source::V4(number.to_be_bytes())
    }

    fn name(text: &str) -> AccountName {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_of_one_customer_are_one() {
        let source = |text: &str| Source::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(source("2001:db8:1:2::1"), source("2001:db8:1:2:ffff::9"));
        assert_ne!(source("2001:db8:1:2::1"), source("2001:db8:1:3::1"));
        assert_eq!(source("::ffff:10.0.0.1"), source("10.0.0.1"));
        assert_ne!(source("10.0.0.1"), source("10.0.0.2"));
    }

    #[test]
    fn ten_failures_lead_to_a_minute_and_each_ten_after_to_twice_as_long_up_to_an_hour() {
        let mut now = Instant::now();
        let mut lockout = Lockout::default();
        for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
            for _ in 0..10 {
                assert_eq!(lockout.check(source(1), now), Ok(()));
                lockout.failed(source(1), now);
            }
            assert_eq!(lockout.check(source(1), now), Err(Denied::Later(MINUTE * expected)));
            assert_eq!(lockout.check(source(2), now), Ok(()), "another address is not concerned");
            now += MINUTE * expected;
        }
    }

    #[test]
    fn failures_far_apart_lead_to_nothing_and_a_success_forgives() {
        let mut now = Instant::now();
        let mut lockout = Lockout::default();
        for _ in 0..100 {
            assert_eq!(lockout.attempt(source(1), &name("a"), now), Ok(()));
            now += Duration::from_secs(300);
        }
        for _ in 0..100 {
            assert_eq!(lockout.attempt(source(1), &name("a"), now), Ok(()));
            lockout.succeeded(source(1), &name("a"));
        }
    }

    #[test]
    fn a_thousand_machines_guess_no_faster_than_one_and_the_owner_is_let_in_all_the_while() {
        let mut now = Instant::now();
        let mut lockout = Lockout::default();
        lockout.attempt(source(0), &name("owner"), now).unwrap();
        lockout.succeeded(source(0), &name("owner"));
        let mut made = 0;
        for second in 0..3_600 {
            for machine in 0..5 {
                made += u32::from(lockout.attempt(source(1 + second % 200 * 5 + machine), &name("owner"), now).is_ok());
            }
            if second % 60 == 0 {
                assert_eq!(lockout.attempt(source(0), &name("owner"), now), Ok(()), "after {second} s");
                lockout.succeeded(source(0), &name("owner"));
            }
            now += Duration::from_secs(1);
        }
        assert!(made < 160, "{made} guesses in an hour");
        assert_eq!(lockout.attempt(source(5_000), &name("other"), now), Ok(()), "another account is not concerned");
        lockout.forget(&name("owner"));
        now += Duration::from_secs(30);
        assert_eq!(
            lockout.attempt(source(5_000), &name("owner"), now),
            Ok(()),
            "a stranger waits half a minute at most"
        );
    }

    #[test]
    fn no_more_than_so_many_addresses_are_remembered() {
        let start = Instant::now();
        let mut lockout = Lockout::default();
        for number in 0..REMEMBERED_MAX as u32 + 100 {
            lockout.failed(source(number), start + Duration::from_millis(number.into()));
        }
        assert_eq!(lockout.addresses.records.len(), REMEMBERED_MAX);
        assert!(!lockout.addresses.records.contains_key(&source(0)));
        assert!(lockout.addresses.records.contains_key(&source(REMEMBERED_MAX as u32)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// Whatever one address does, it waits after its tenth failure within five minutes, twice as long each time until it succeeds, an
        /// hour at most; and never else.
        #[test]
        fn a_wait_follows_ten_failures_and_nothing_else(steps in proptest::collection::vec((0u64..90, 0u8..30), 1..300)) {
            let mut now = Instant::now();
            let mut lockout = Lockout::default();
            let (mut failures, mut waits, mut until) = (Vec::<Instant>::new(), 0, now);
            for (seconds, luck) in steps {
                now += Duration::from_secs(seconds);
                match lockout.attempt(source(1), &name("known"), now) {
                    Ok(()) => {
                        prop_assert!(now >= until);
                        failures.retain(|at| now - *at < MINUTE * 5);
                        failures.push(now);
                        if failures.len() == 10 {
                            until = now + (MINUTE * (1 << waits)).min(MINUTE * 60);
                            waits = (waits + 1).min(6);
                            failures.clear();
                        }
                        // At once, so that the count of the name never has a say.
                        if luck == 0 || !lockout.known.contains_key(&name("known")) {
                            lockout.succeeded(source(1), &name("known"));
                            (waits, until) = (0, now);
                            failures.clear();
                        }
                    }
                    Err(Denied::Later(wait)) => {
                        prop_assert_eq!(now + wait, until);
                        if luck % 2 == 0 {
                            now += wait;
                        }
                    }
                    Err(Denied::Wrong) => prop_assert!(false),
                }
            }
        }
    }
}
