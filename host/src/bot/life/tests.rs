use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::supervision::Restart;

/// A number, and how often the version was begun anew.
type Edition = (u64, u32);

impl Version for Edition {
    fn number(&self) -> u64 {
        self.0
    }
}

/// A life with a clock of its own, and what it asked for.
struct Tale {
    life: Life<Edition>,
    now: Instant,
    begun: Instant,
    /// Versions whose `init` was asked for and has not ended.
    inits: Vec<(Edition, StartReason)>,
    condemned: Vec<u64>,
    notes: Vec<String>,
}

impl Tale {
    fn new(supervision: Supervision) -> Self {
        let now = Instant::now();
        let life = Life::new(Supervision { jitter: 0.0, ..supervision }, RolloutPolicy::default());
        Self { life, now, begun: now, inits: vec![], condemned: vec![], notes: vec![] }
    }

    fn now(&self) -> Now {
        let since = self.now - self.begun;
        Now { instant: self.now, wall: Timestamp::from_millis(1).saturating_add(since), random: 0.5 }
    }

    fn told(&mut self) {
        while let Some(act) = self.life.next_act() {
            match act {
                Act::Init { version, reason } => self.inits.push((version, reason)),
                Act::Condemn { version, .. } => self.condemned.push(version.0),
                Act::Note { what, .. } => self.notes.push(what.as_str().to_owned()),
            }
        }
    }

    fn offer(&mut self, version: u64) {
        self.life.offer((version, 0));
        self.told();
    }

    /// Ends the oldest `init` that runs.
    fn init(&mut self, result: Result<(), &str>) {
        let (version, _) = self.inits.remove(0);
        self.life.init_ended(&version, result.map_err(str::to_owned), self.now());
        self.told();
    }

    /// Offers a version whose `init` ends well.
    fn serve(&mut self, version: u64) {
        self.offer(version);
        self.init(Ok(()));
        assert_eq!(self.serving(), Some(version));
    }

    /// Has the version that serves handle an event.
    fn event(&mut self, end: EventEnd) {
        let Some(version) = self.life.serving().copied() else { return };
        self.life.event_ended(&version, end, self.now());
        self.told();
    }

    fn fail(&mut self, times: usize) {
        (0..times).for_each(|_| self.event(failed(true)));
    }

    /// Lets time pass, in the steps in which something is due.
    fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(due) = self.life.next_due(self.now).filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.life.tick(self.now());
            self.told();
            if !self.inits.is_empty() {
                break;
            }
        }
        self.now = self.now.max(end);
        self.life.tick(self.now());
        self.told();
    }

    fn serving(&self) -> Option<u64> {
        self.life.serving().map(Version::number)
    }

    fn running_inits(&self) -> Vec<(u64, StartReason)> {
        self.inits.iter().map(|((number, _), reason)| (*number, *reason)).collect()
    }

    fn phase(&self) -> &'static str {
        self.life.phase().as_str()
    }

    fn took(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }
}

fn failed(is_first: bool) -> EventEnd {
    EventEnd::Failed { is_first, error: "trapped".to_owned() }
}

fn tale() -> Tale {
    Tale::new(Supervision::default())
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_version_serves_once_its_init_ended_well_and_the_next_one_takes_over_so() {
    let mut tale = tale();
    assert_eq!((tale.phase(), tale.serving()), ("discovered", None));
    tale.offer(1);
    assert_eq!((tale.phase(), tale.running_inits()), ("starting", vec![(1, StartReason::Started)]));
    tale.init(Ok(()));
    assert_eq!((tale.phase(), tale.serving()), ("running", Some(1)));
    tale.offer(2);
    assert_eq!((tale.serving(), tale.life.is_starting()), (Some(1), true), "the old one serves meanwhile");
    assert_eq!(tale.running_inits(), [(2, StartReason::Reloaded)]);
    tale.init(Ok(()));
    assert_eq!((tale.phase(), tale.serving()), ("probation", Some(2)));
    tale.pass(60 * SECOND);
    assert_eq!(tale.phase(), "running");
    assert_eq!(tale.took(), ["started", "reloaded", "proved"]);
}

#[test]
fn a_version_that_is_worse_is_rolled_back_and_condemned() {
    let mut tale = tale();
    tale.serve(1);
    tale.serve(2);
    tale.event(EventEnd::Well);
    tale.fail(4);
    assert_eq!((tale.phase(), tale.serving()), ("starting", None), "the worse one gets no further event");
    assert_eq!((&tale.condemned[..], tale.running_inits()), (&[2][..], vec![(1, StartReason::Reloaded)]));
    tale.init(Ok(()));
    assert_eq!((tale.phase(), tale.serving()), ("running", Some(1)));
    assert!(tale.life.refused().unwrap().contains("4 of its first 5 events failed"));
    assert_eq!(tale.took(), ["started", "reloaded", "rolled-back", "reloaded"]);
}

#[test]
fn what_had_failed_before_is_not_held_against_a_new_version() {
    let mut tale = tale();
    tale.serve(1);
    tale.serve(2);
    (0..50).for_each(|_| tale.event(failed(false)));
    assert_eq!((tale.phase(), &tale.condemned[..]), ("probation", &[][..]));
}

#[test]
fn a_version_that_failed_and_was_hardly_used_is_watched_until_it_was_used_enough() {
    let mut tale = tale();
    tale.serve(1);
    tale.serve(2);
    tale.event(failed(true));
    assert!(!tale.life.may_give_up(tale.now), "the version before may come back for it");
    tale.pass(3600 * SECOND);
    assert_eq!(
        (tale.phase(), tale.life.may_give_up(tale.now)),
        ("probation", true),
        "it may be what holds up the others"
    );
    (0..3).for_each(|_| tale.event(EventEnd::Well));
    assert_eq!(tale.phase(), "probation");
    tale.event(EventEnd::Well);
    assert_eq!((tale.phase(), tale.serving()), ("running", Some(2)));
}

#[test]
fn a_version_that_is_as_bad_as_the_one_before_stays() {
    let mut tale = tale();
    tale.serve(1);
    for _ in 0..8 {
        tale.event(EventEnd::Well);
        tale.event(EventEnd::Well);
        tale.event(failed(true));
    }
    tale.serve(2);
    for _ in 0..8 {
        tale.event(EventEnd::Well);
        tale.event(EventEnd::Well);
        tale.event(failed(true));
    }
    assert_eq!((tale.phase(), &tale.condemned[..]), ("probation", &[][..]));
}

#[test]
fn f048_two_quick_saves_good_then_bad_end_on_the_good_one() {
    let mut tale = tale();
    tale.serve(1);
    tale.serve(2);
    tale.serve(3);
    tale.fail(5);
    tale.init(Ok(()));
    assert_eq!((tale.serving(), &tale.condemned[..], tale.phase()), (Some(2), &[3][..], "probation"));
    tale.fail(5);
    tale.init(Ok(()));
    assert_eq!((tale.serving(), &tale.condemned[..], tale.phase()), (Some(1), &[3, 2][..], "running"));
}

#[test]
fn a_refused_version_is_remembered_until_a_newer_one_serves() {
    let mut tale = tale();
    tale.serve(1);
    tale.offer(2);
    tale.life.refuse(3, "no component".into());
    tale.init(Ok(()));
    assert_eq!((tale.serving(), tale.life.refused()), (Some(2), Some("no component")));
    tale.serve(4);
    assert_eq!(tale.life.refused(), None);
}

#[test]
fn f036_an_init_that_keeps_failing_is_given_up_while_the_old_version_serves() {
    let mut tale = tale();
    tale.serve(1);
    tale.offer(2);
    let mut tries = 0;
    while let Some((version, _)) = tale.inits.first().copied() {
        assert_eq!((version.0, tale.serving()), (2, Some(1)));
        tale.init(Err("no"));
        tale.pass(31 * SECOND);
        tries += 1;
    }
    assert_eq!((tries, &tale.condemned[..], tale.phase()), (11, &[2][..], "running"));
    assert!(tale.life.refused().unwrap().contains("kept failing"));
}

#[test]
fn a_first_version_whose_init_keeps_failing_backs_off_and_is_quarantined_until_it_is_reset() {
    let mut tale = tale();
    tale.offer(1);
    let mut waits = Vec::new();
    loop {
        tale.init(Err("no"));
        let Some(due) = tale.life.next_due(tale.now) else { break };
        assert_eq!(tale.phase(), "backoff");
        waits.push((due - tale.now).as_millis());
        tale.pass(due - tale.now);
    }
    assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000, 30_000]);
    let Phase::Quarantined { reason } = tale.life.phase() else { panic!("quarantined") };
    assert!(reason.contains("restarted 10 times within 5m") && reason.contains(": no;"), "{reason}");
    tale.life.reset(tale.now());
    tale.told();
    tale.init(Ok(()));
    assert_eq!(tale.phase(), "running");
}

#[test]
fn a_bot_whose_events_fail_gets_none_for_a_while_and_then_a_few() {
    let mut tale = tale();
    tale.serve(1);
    tale.fail(5);
    assert_eq!((tale.phase(), tale.life.room(16)), ("degraded", 0));
    tale.pass(59 * SECOND);
    assert_eq!((tale.life.room(16), tale.inits.len()), (0, 0));
    tale.pass(SECOND);
    assert_eq!(tale.running_inits(), [(1, StartReason::Restarted)]);
    tale.init(Ok(()));
    assert_eq!((tale.phase(), tale.life.room(16)), ("degraded", 1), "one event at a time");
    tale.event(EventEnd::Well);
    assert_eq!((tale.phase(), tale.life.room(16), tale.life.restarted()), ("running", 16, 1));
    assert_eq!(tale.took(), ["started", "breaker-open", "restarted", "breaker-closed"]);
}

#[test]
fn an_endless_crash_loop_ends_in_quarantine() {
    let mut tale = tale();
    tale.serve(1);
    let mut probes = 0;
    while tale.phase() != "quarantined" {
        tale.fail(5);
        tale.pass(60 * SECOND);
        if !tale.inits.is_empty() {
            tale.init(Ok(()));
            probes += 1;
        }
        assert!(probes < 100);
    }
    assert_eq!(probes, 10);
    assert_eq!((tale.life.next_due(tale.now), tale.life.room(16)), (None, 0), "nothing comes by itself any more");
    tale.serve(2);
    assert_eq!(tale.phase(), "running", "a new version is a new chance");
}

#[test]
fn the_operator_s_words_and_what_they_are_answered() {
    let mut tale = tale();
    assert!(tale.life.bring_up().is_err());
    tale.serve(1);
    tale.life.stop();
    assert_eq!((tale.phase(), tale.serving()), ("stopped", None));
    tale.offer(2);
    assert_eq!((tale.phase(), tale.inits.len()), ("stopped", 0), "a new version does not start a stopped bot");
    tale.life.bring_up().unwrap();
    tale.told();
    tale.init(Ok(()));
    assert_eq!((tale.phase(), tale.serving()), ("running", Some(2)));
    tale.life.restart((2, 1)).unwrap();
    tale.told();
    assert_eq!(tale.serving(), Some(2), "it goes on while it begins anew");
    assert_eq!(tale.running_inits(), [(2, StartReason::Restarted)]);
    tale.init(Ok(()));
    assert_eq!(tale.phase(), "running", "no trial against itself");
    tale.life.disable();
    assert_eq!(tale.phase(), "disabled");
    assert!(tale.life.bring_up().unwrap_err().contains("host enable"));
}

#[test]
fn a_bot_that_quits_stays_down_or_comes_back_as_its_entry_says() {
    for (restart, phase) in [(Restart::OnFailure, "stopped"), (Restart::Never, "stopped"), (Restart::Always, "backoff")]
    {
        let mut tale = Tale::new(Supervision { restart, ..Supervision::default() });
        tale.serve(1);
        tale.event(EventEnd::Quit);
        assert_eq!(tale.phase(), phase, "{restart:?}");
    }
}

#[test]
fn a_version_that_is_begun_anew_in_vain_goes_on_and_is_not_held_against_itself() {
    let mut tale = tale();
    tale.serve(1);
    tale.life.restart((1, 1)).unwrap();
    tale.told();
    while !tale.inits.is_empty() {
        tale.init(Err("no"));
        tale.pass(31 * SECOND);
    }
    assert_eq!((tale.serving(), &tale.condemned[..], tale.phase()), (Some(1), &[][..], "running"));
    assert!(tale.life.refused().unwrap().contains("it goes on as it was"));
}

#[test]
fn a_restart_by_the_operator_s_word_ends_with_the_bot_that_it_restarts() {
    let mut tale = tale();
    tale.serve(1);
    tale.life.restart((1, 1)).unwrap();
    tale.told();
    tale.init(Err("no"));
    tale.event(EventEnd::Quit);
    tale.pass(31 * SECOND);
    assert_eq!((tale.phase(), tale.inits.len()), ("stopped", 0));
    tale.life.bring_up().unwrap();
    tale.told();
    tale.init(Err("no"));
    assert_eq!(tale.phase(), "backoff");
}

#[test]
fn a_new_version_is_not_rolled_back_to_one_that_was_as_bad() {
    let mut tale = tale();
    tale.serve(1);
    tale.fail(5);
    assert_eq!(tale.phase(), "degraded");
    tale.offer(2);
    tale.init(Ok(()));
    tale.fail(5);
    assert_eq!((tale.phase(), &tale.condemned[..]), ("degraded", &[][..]));
}

/// What can happen to a bot.
#[derive(Debug, Clone)]
enum Step {
    Offer,
    Refuse,
    Init { is_well: bool },
    Event { is_well: bool, is_first: bool },
    Quit,
    Pass(u64),
    Stop,
    Start,
    Restart,
    Reset,
    Disable,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => Just(Step::Offer),
        1 => Just(Step::Refuse),
        6 => prop::bool::weighted(0.7).prop_map(|is_well| Step::Init { is_well }),
        12 => (prop::bool::ANY, prop::bool::weighted(0.8)).prop_map(|(is_well, is_first)| Step::Event { is_well, is_first }),
        1 => Just(Step::Quit),
        4 => (0u64..90_000).prop_map(Step::Pass),
        1 => Just(Step::Stop),
        1 => Just(Step::Start),
        1 => Just(Step::Restart),
        1 => Just(Step::Reset),
        1 => Just(Step::Disable),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_no_condemned_version_serves_and_every_wait_ends(steps in prop::collection::vec(step(), 1..150)) {
        let mut tale = tale();
        let mut offered = 0;
        for step in steps {
            match step {
                Step::Offer => {
                    offered += 1;
                    tale.offer(offered);
                }
                Step::Refuse => {
                    offered += 1;
                    tale.life.refuse(offered, "no".into());
                }
                Step::Init { is_well } if !tale.inits.is_empty() => tale.init(if is_well { Ok(()) } else { Err("no") }),
                Step::Init { .. } => {}
                Step::Event { is_well: true, .. } => tale.event(EventEnd::Well),
                Step::Event { is_first, .. } => tale.event(failed(is_first)),
                Step::Quit => tale.event(EventEnd::Quit),
                Step::Pass(millis) => tale.pass(Duration::from_millis(millis)),
                Step::Stop => tale.life.stop(),
                Step::Start => drop(tale.life.bring_up()),
                Step::Restart => {
                    if let Some((number, times)) = tale.life.newest().copied() {
                        drop(tale.life.restart((number, times + 1)));
                    }
                }
                Step::Reset => tale.life.reset(tale.now()),
                Step::Disable => tale.life.disable(),
            }
            tale.told();
            if let Some(version) = tale.serving() {
                prop_assert!(!tale.condemned.contains(&version), "{version} was condemned");
                prop_assert!(version <= offered);
            }
            prop_assert_eq!(tale.life.room(16) > 0, tale.serving().is_some() && tale.life.room(1) > 0);
            let phase = tale.life.phase();
            if matches!(phase, Phase::Quarantined { .. } | Phase::Stopped { .. } | Phase::Disabled | Phase::Rejected { .. }) {
                prop_assert_eq!(tale.life.room(16), 0);
            }
            // What says that it waits has a moment at which the wait ends; what says that it starts has an `init` that runs.
            match phase {
                Phase::Backoff { .. } => prop_assert!(tale.life.next_due(tale.now).is_some()),
                Phase::Starting => {
                    let newest = tale.life.newest();
                    prop_assert!(tale.inits.iter().any(|(version, _)| Some(version) == newest));
                }
                Phase::Degraded { .. } => prop_assert!(
                    tale.life.next_due(tale.now).is_some() || !tale.inits.is_empty() || tale.life.room(1) > 0
                ),
                _ => {}
            }
        }
    }
}
