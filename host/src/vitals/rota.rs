//! When which probe is made. Pure; the caller brings the time and the chance.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::ProbeConfig;
use crate::id::ProbeName;

/// Probes that are made side by side.
pub(super) const AT_WORK_MAX: usize = 8;
/// The first ones are spread over this long, or over their interval where it is shorter: probes that begin together would stay
/// together.
const SPREAD_MAX: Duration = Duration::from_secs(10);

/// The probes that there are, and when each is due.
#[derive(Debug, Default)]
pub(super) struct Rota {
    probes: BTreeMap<ProbeName, Entry>,
    at_work: usize,
    /// The number of the newest entry.
    newest: u64,
}

#[derive(Debug)]
struct Entry {
    config: ProbeConfig,
    /// Tells it from an earlier one of its name.
    number: u64,
    due: Instant,
    is_at_work: bool,
}

/// A probe that is to be made now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) name: ProbeName,
    pub(super) number: u64,
    pub(super) config: ProbeConfig,
}

impl Rota {
    /// Takes in which probes there are from now on. What is as before goes on. Returns the names of those that are gone or others
    /// now; what still comes of them is of no use. `random` is uniform in `0.0..1.0`.
    pub(super) fn replace(
        &mut self,
        wanted: &BTreeMap<ProbeName, ProbeConfig>,
        now: Instant,
        mut random: impl FnMut() -> f64,
    ) -> Vec<ProbeName> {
        let is_same = |name: &ProbeName, entry: &Entry| wanted.get(name) == Some(&entry.config);
        let gone: Vec<_> =
            self.probes.iter().filter(|(name, entry)| !is_same(name, entry)).map(|(name, _)| name.clone()).collect();
        gone.iter().for_each(|name| drop(self.probes.remove(name)));
        for (name, config) in wanted {
            self.probes.entry(name.clone()).or_insert_with(|| {
                self.newest += 1;
                let due = now + config.every.min(SPREAD_MAX).mul_f64(random().clamp(0.0, 1.0));
                Entry { config: config.clone(), number: self.newest, due, is_at_work: false }
            });
        }
        gone
    }

    /// Returns the next probe that is due, if there is room for one more, and takes it as begun.
    pub(super) fn take(&mut self, now: Instant) -> Option<Turn> {
        if self.at_work >= AT_WORK_MAX {
            return None;
        }
        let due = self.probes.iter_mut().filter(|(_, entry)| !entry.is_at_work && entry.due <= now);
        let (name, entry) = due.min_by_key(|(_, entry)| entry.due)?;
        entry.is_at_work = true;
        entry.due = now + entry.config.every;
        self.at_work += 1;
        Some(Turn { name: name.clone(), number: entry.number, config: entry.config.clone() })
    }

    /// Takes a probe as ended. Returns whether it is still one of those that there are.
    pub(super) fn ended(&mut self, name: &ProbeName, number: u64) -> bool {
        self.at_work = self.at_work.saturating_sub(1);
        let entry = self.probes.get_mut(name).filter(|entry| entry.number == number);
        entry.map(|entry| entry.is_at_work = false).is_some()
    }

    /// Returns when to look again, if nothing ends before; none: only then.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let idle = self.probes.values().filter(|entry| !entry.is_at_work);
        idle.map(|entry| entry.due).min().filter(|_| self.at_work < AT_WORK_MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{ProbeTarget, TcpTarget};
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn probe(every: Duration) -> ProbeConfig {
        let target = ProbeTarget::Tcp(TcpTarget { host: "a".to_owned(), port: 1 });
        ProbeConfig { target, every, timeout: SECOND }
    }

    fn probes(count: usize, every: Duration) -> BTreeMap<ProbeName, ProbeConfig> {
        (0..count).map(|index| (format!("p{index}").parse().unwrap(), probe(every))).collect()
    }

    #[test]
    fn what_changed_begins_anew_and_what_did_not_goes_on() {
        let (mut rota, now) = (Rota::default(), Instant::now());
        let mut wanted = probes(3, 30 * SECOND);
        assert_eq!(rota.replace(&wanted, now, || 0.0), []);
        let begun: Vec<_> = std::iter::from_fn(|| rota.take(now)).collect();
        assert_eq!(begun.len(), 3);
        let [kept, changed, gone] = ["p0", "p1", "p2"].map(|name| name.parse::<ProbeName>().unwrap());
        wanted.insert(changed.clone(), probe(60 * SECOND));
        wanted.remove(&gone);
        assert_eq!(rota.replace(&wanted, now, || 0.5), [changed.clone(), gone.clone()]);
        let number = |name: &ProbeName| begun.iter().find(|turn| turn.name == *name).unwrap().number;
        assert!(rota.ended(&kept, number(&kept)));
        assert!(!rota.ended(&changed, number(&changed)) && !rota.ended(&gone, number(&gone)), "late and of no use");
        // The changed one over half of the ten seconds that beginnings are spread over.
        assert_eq!(rota.next_due(), Some(now + 5 * SECOND));
        assert_eq!(rota.take(now + 5 * SECOND).unwrap().config.every, 60 * SECOND);
        assert_eq!(rota.next_due(), Some(now + 30 * SECOND));
    }

    #[test]
    fn a_slow_probe_has_no_second_one_beside_it() {
        let (mut rota, now) = (Rota::default(), Instant::now());
        rota.replace(&probes(1, SECOND), now, || 0.0);
        let turn = rota.take(now).unwrap();
        assert_eq!((rota.take(now + 9 * SECOND), rota.next_due()), (None, None));
        assert!(rota.ended(&turn.name, turn.number));
        assert!(rota.take(now + 9 * SECOND).is_some());
    }

    proptest! {
        #[test]
        fn few_are_made_at_once_none_too_often_and_none_is_forgotten(
            count in 1usize..30,
            every in 1u32..40,
            steps in prop::collection::vec((0u64..3_000, any::<bool>()), 1..200),
        ) {
            let (mut rota, start) = (Rota::default(), Instant::now());
            let every = SECOND * every;
            let mut random = fastrand::Rng::with_seed(3);
            rota.replace(&probes(count, every), start, || random.f64());
            let (mut now, mut at_work, mut last) = (start, Vec::<Turn>::new(), BTreeMap::new());
            for (wait, ends) in steps {
                now += Duration::from_millis(wait);
                while let Some(turn) = rota.take(now) {
                    if let Some(last) = last.insert(turn.name.clone(), now) {
                        prop_assert!(now - last >= every);
                    }
                    at_work.push(turn);
                }
                prop_assert!(at_work.len() <= AT_WORK_MAX);
                // Whatever waits, something tells when to go on.
                prop_assert!(!at_work.is_empty() || rota.next_due().is_some_and(|due| due > now));
                if ends && !at_work.is_empty() {
                    let turn = at_work.remove(0);
                    prop_assert!(rota.ended(&turn.name, turn.number));
                }
            }
        }
    }
}
