//! Whatever is done in whatever order, SQLite answers as the model does. `BOTHOST_MODEL_CASES` asks for more cases than the few
//! that a commit waits for.

use proptest::prelude::*;

use super::*;
use crate::delivery::Durability;
use crate::store::Entry;
use crate::store::engine::State;
use crate::store::history::{Send, SendFilter, SendStand};

const BOTS: [&str; 2] = ["echo", "log"];

/// Numbers name what is there by its place, wherever that many are there.
#[derive(Debug, Clone)]
enum Step {
    Append { place: u8, hearing: [Option<Priority>; 2], platform_id: Option<u8> },
    Claim { bot: usize },
    Settle { claim: usize, rests: bool, state: Vec<StateWrite>, sends: Vec<(u8, Priority)> },
    Fail { claim: usize, retry_ms: Option<u64> },
    Unclaim { claim: usize, due_ms: Option<u64> },
    Dismiss { claim: usize },
    Init { state: Vec<StateWrite>, sends: Vec<(u8, Priority)> },
    Take,
    Begin { taken: usize },
    Hold { taken: usize, ms: u64 },
    Deliver { taken: usize },
    Lose { taken: usize },
    DeadLetter { letter: usize, retry: bool },
    Send { lost: usize, retry: bool },
    ForgetBot { bot: usize },
    Wait { ms: u64 },
    Reopen { end: End },
}

fn class() -> impl Strategy<Value = Priority> {
    prop::sample::select(vec![Priority::Low, Priority::Normal, Priority::High, Priority::Critical])
}

fn writes() -> impl Strategy<Value = Vec<StateWrite>> {
    let write = prop_oneof![
        3 => ("[ab]", "[0-9]{1,4}").prop_map(|(key, value)| set(&key, &value)),
        1 => ("[ab]", "[xy]{1,4}").prop_map(|(key, value)| set(&key, &value)),
        1 => "[ab]".prop_map(|key| StateWrite::Delete { key }),
        3 => ("[ab]", -9i64..99).prop_map(|(key, delta)| StateWrite::Add { key, delta }),
    ];
    prop::collection::vec(write, 0..3)
}

fn sends() -> impl Strategy<Value = Vec<(u8, Priority)>> {
    prop::collection::vec((0u8..3, class()), 0..4)
}

fn step() -> impl Strategy<Value = Step> {
    let hearing = [prop::option::of(class()), prop::option::of(class())];
    let end = prop::sample::select(vec![End::Closed, End::Died]);
    prop_oneof![
        8 => (0u8..3, hearing, prop::option::of(0u8..6))
            .prop_map(|(place, hearing, platform_id)| Step::Append { place, hearing, platform_id }),
        8 => (0usize..2).prop_map(|bot| Step::Claim { bot }),
        6 => (0usize..4, any::<bool>(), writes(), sends())
            .prop_map(|(claim, rests, state, sends)| Step::Settle { claim, rests, state, sends }),
        3 => (0usize..4, prop::option::of(0u64..20)).prop_map(|(claim, retry_ms)| Step::Fail { claim, retry_ms }),
        2 => (0usize..4, prop::option::of(0u64..20)).prop_map(|(claim, due_ms)| Step::Unclaim { claim, due_ms }),
        1 => (0usize..4).prop_map(|claim| Step::Dismiss { claim }),
        2 => (writes(), sends()).prop_map(|(state, sends)| Step::Init { state, sends }),
        6 => Just(Step::Take),
        1 => (0usize..3).prop_map(|taken| Step::Begin { taken }),
        2 => (0usize..3, 0u64..20).prop_map(|(taken, ms)| Step::Hold { taken, ms }),
        3 => (0usize..3).prop_map(|taken| Step::Deliver { taken }),
        2 => (0usize..3).prop_map(|taken| Step::Lose { taken }),
        2 => (0usize..3, any::<bool>()).prop_map(|(letter, retry)| Step::DeadLetter { letter, retry }),
        2 => (0usize..3, any::<bool>()).prop_map(|(lost, retry)| Step::Send { lost, retry }),
        1 => (0usize..2).prop_map(|bot| Step::ForgetBot { bot }),
        2 => (1u64..30).prop_map(|ms| Step::Wait { ms }),
        2 => end.prop_map(|end| Step::Reopen { end }),
    ]
}

fn settings() -> impl Strategy<Value = OutboxSettings> {
    let overflow = vec![Overflow::Reject, Overflow::DropOldest, Overflow::DropNewest, Overflow::DropLowPriority];
    (1usize..5, prop::sample::select(overflow), prop::sample::select(vec![Order::Fifo, Order::Priority]))
        .prop_map(|(len_max, overflow, order)| outbox_of(len_max, overflow, order))
}

fn cases() -> u32 {
    std::env::var("BOTHOST_MODEL_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(48)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases()) })]

    #[test]
    fn whatever_is_done_sqlite_answers_as_the_model(settings in settings(), steps in prop::collection::vec(step(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(follow(settings, steps))?;
    }
}

/// One engine, what is at work in it, and what its tests have said so far.
struct Side<B: Bench> {
    bench: Option<B>,
    settings: OutboxSettings,
    /// Claims, each with the revision of key `a` when it was made.
    claims: Vec<(Claimed, Option<u64>)>,
    taken: Vec<Entry>,
}

impl<B: Bench> Side<B> {
    async fn new(settings: OutboxSettings) -> Self {
        let queue = QueueBounds { events_per_bot_max: 6, ..options().queue };
        let options = StoreOptions { queue, durability: Durability::Process, ..options() };
        let side = Self { bench: Some(B::new(options)), settings, claims: Vec::new(), taken: Vec::new() };
        side.engine().open(&chat(), settings).await;
        side
    }

    fn engine(&self) -> Arc<B::Engine> {
        self.bench.as_ref().unwrap().engine()
    }

    async fn reopen(&mut self, end: End) {
        (self.claims, self.taken) = Default::default();
        self.bench = Some(self.bench.take().unwrap().reopen(end).await);
        self.engine().open(&chat(), self.settings).await;
    }

    /// Does a step and says all that can be seen of it.
    async fn follow(&mut self, number: usize, event: &Arc<Event>, step: &Step, now: Timestamp) -> String {
        let answer = match step {
            Step::Reopen { end } => {
                self.reopen(*end).await;
                String::new()
            }
            Step::Append { .. } | Step::Claim { .. } | Step::ForgetBot { .. } | Step::DeadLetter { .. } => {
                self.queue_step(event, step, now).await
            }
            Step::Settle { .. }
            | Step::Fail { .. }
            | Step::Unclaim { .. }
            | Step::Dismiss { .. }
            | Step::Init { .. } => self.attempt_step(number, step, now).await,
            _ => self.send_step(step, now).await,
        };
        // What is only on its way to the disk is there before what is asked behind it.
        self.engine().drop_send(u64::MAX).await.unwrap();
        format!("{answer}\n{}", self.seen(now).await)
    }

    async fn queue_step(&mut self, event: &Arc<Event>, step: &Step, now: Timestamp) -> String {
        let engine = self.engine();
        match step {
            Step::Append { hearing, .. } => {
                let bots = BOTS.iter().zip(hearing).filter_map(|(name, class)| Some((bot(name), (*class)?))).collect();
                let new = NewEvent { event: Arc::clone(event), origin: Some(chat()), bots, timer: None };
                format!("{:?}", engine.append(Partition::ONLY, new).await.unwrap())
            }
            Step::Claim { bot: index } => {
                let claimed = engine.claim(engine.lease(), &bot(BOTS[*index]), now).await.unwrap();
                let Some(claimed) = claimed else { return "nothing".to_owned() };
                let text = engine.text(&claimed).await;
                let said = format!("{text} attempt {} suspect {}", claimed.attempt, claimed.is_suspect);
                let revision = engine.get(&claimed.bot, "a", now).await.unwrap().map(|found| found.revision);
                self.claims.push((claimed, revision));
                said
            }
            Step::ForgetBot { bot: index } => {
                self.claims.retain(|(claimed, _)| claimed.bot != bot(BOTS[*index]));
                format!("{:?}", engine.forget_bot(&bot(BOTS[*index])).await.unwrap())
            }
            Step::DeadLetter { letter, retry } => {
                let letters = engine.dead_letters(None, 99).await.unwrap();
                let Some(letter) = letters.get(*letter) else { return "none".to_owned() };
                match retry {
                    true => engine.retry_dead_letter(letter.id, &letter.bot).await.unwrap().to_string(),
                    false => engine.drop_dead_letter(letter.id, &letter.bot).await.unwrap().to_string(),
                }
            }
            other => unreachable!("{other:?}"),
        }
    }

    async fn attempt_step(&mut self, number: usize, step: &Step, now: Timestamp) -> String {
        let engine = self.engine();
        let later = |ms: u64| now.saturating_add(Duration::from_millis(ms));
        let index = match step {
            Step::Settle { claim, .. } | Step::Fail { claim, .. } | Step::Unclaim { claim, .. } => *claim,
            Step::Dismiss { claim } => *claim,
            Step::Init { state, sends } => {
                return self.settle(number, None, (Vec::new(), state, sends), now).await.0;
            }
            other => unreachable!("{other:?}"),
        };
        if index >= self.claims.len() {
            return "no such claim".to_owned();
        }
        let (claimed, revision) = self.claims.remove(index);
        match step {
            Step::Settle { rests, state, sends, .. } => {
                let reads = if *rests { vec![saw("a", revision)] } else { Vec::new() };
                let (said, is_over) = self.settle(number, Some(&claimed), (reads, state, sends), now).await;
                if !is_over {
                    self.claims.insert(index, (claimed, revision));
                }
                said
            }
            Step::Fail { retry_ms, .. } => {
                let failed = engine.fail(engine.lease(), &claimed, fault(&claimed), retry_ms.map(later)).await;
                format!("{failed:?}")
            }
            Step::Unclaim { due_ms, .. } => {
                engine.unclaim(&claimed, due_ms.map(later)).await;
                String::new()
            }
            _ => {
                engine.dismiss(engine.lease(), &claimed).await;
                String::new()
            }
        }
    }

    /// Settles, and says what came of it and whether the claim is over.
    async fn settle(
        &self,
        number: usize,
        claimed: Option<&Claimed>,
        (reads, state, sends): (Vec<StateRead>, &[StateWrite], &[(u8, Priority)]),
        now: Timestamp,
    ) -> (String, bool) {
        let sends = sends.iter().enumerate();
        let actions = sends.map(|(n, (at, class))| saying(&at.to_string(), &format!("{number}.{n}"), *class)).collect();
        let effects = Effects { actions, reads, state: state.to_vec(), ..Effects::default() };
        let (echo, engine) = (bot("echo"), self.engine());
        let bot = claimed.map_or(&echo, |claimed| &claimed.bot);
        let done = claimed.map(|claimed| (claimed, Spent::default()));
        let settlement = Settlement { bot, done, effects, state_bytes_max: 8, reply_by: None, now };
        let settled = engine.settle(engine.lease(), settlement).await.unwrap();
        let is_over = matches!(settled, Settled::Done { .. } | Settled::Gone);
        (format!("{settled:?}"), is_over)
    }

    async fn send_step(&mut self, step: &Step, now: Timestamp) -> String {
        let engine = self.engine();
        let index = match step {
            Step::Take => {
                let Some(entry) = engine.take(engine.lease(), &chat(), now).await.unwrap() else {
                    return "nothing".to_owned();
                };
                let text = said(&engine.action_of(&entry).await.unwrap().unwrap());
                let said = format!("{text} is {} after {}", entry.id, entry.attempts);
                self.taken.push(entry);
                return said;
            }
            Step::Send { lost, retry: true } => {
                let lost = engine.sends(SendFilter::Lost, None, 99).await.unwrap().get(*lost).map(|send| send.id);
                return format!("{:?}", engine.retry_send(lost.unwrap_or(0)).await.unwrap());
            }
            Step::Send { lost, .. } => {
                let waits = engine.sends(SendFilter::Waiting, None, 99).await.unwrap().get(*lost).map(|send| send.id);
                return format!("{:?}", engine.drop_send(waits.unwrap_or(0)).await.unwrap());
            }
            Step::Begin { taken } | Step::Hold { taken, .. } | Step::Deliver { taken } | Step::Lose { taken } => *taken,
            _ => return String::new(),
        };
        let Some(entry) = self.taken.get(index).cloned() else { return "no such entry".to_owned() };
        if let Step::Begin { .. } = step {
            engine.begun(engine.lease(), &entry).await.unwrap();
            return String::new();
        }
        self.taken.remove(index);
        let attempts = entry.attempts + 1;
        match step {
            Step::Hold { ms, .. } => {
                let due = now.saturating_add(Duration::from_millis(*ms));
                engine.hold(engine.lease(), &entry, attempts, due, "busy").await;
            }
            Step::Deliver { .. } => {
                let id = Some(format!("m{}", entry.id));
                engine.delivered(engine.lease(), entry, attempts, id).await.unwrap();
            }
            _ => engine.lost(engine.lease(), entry, attempts, "refused").await.unwrap(),
        }
        String::new()
    }

    /// Says everything that can be asked, but for the wall clock.
    async fn seen(&self, now: Timestamp) -> String {
        let (engine, mut seen) = (self.engine(), String::new());
        for name in BOTS.map(bot) {
            seen.push_str(&format!("{name}: {:?}", engine.depth(&name).await));
            for key in engine.keys(&name, "", None, 9, now).await.unwrap() {
                let value = engine.get(&name, &key, now).await.unwrap().unwrap().value;
                seen.push_str(&format!(" {key}={}", String::from_utf8(value).unwrap()));
            }
        }
        for letter in engine.dead_letters(None, 99).await.unwrap() {
            let last = letter.last.map(|last| (last.attempt, last.outcome));
            seen.push_str(&format!("\ndead {} of {} after {} {last:?}", letter.id, letter.bot, letter.attempts));
        }
        for filter in [SendFilter::Waiting, SendFilter::Lost] {
            for send in engine.sends(filter, None, 99).await.unwrap() {
                seen.push_str(&format!("\n{}", self.view(&send)));
            }
        }
        format!("{seen}\n{} in the outbox", engine.len(&chat()).await)
    }

    fn view(&self, send: &Send) -> String {
        let stand = match &send.stand {
            SendStand::Lost { reason, .. } => format!("lost: {reason}"),
            SendStand::Delivered { platform_id, .. } => format!("delivered as {platform_id:?}"),
            other => format!("{other:?}"),
        };
        let text = send.action.as_ref().map(said);
        format!("{} {text:?} of {:?} {} times, {stand}", send.id, send.event, send.attempts)
    }
}

async fn follow(settings: OutboxSettings, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let (mut model, mut sqlite) = (Side::<InMemory>::new(settings).await, Side::<OnDisk>::new(settings).await);
    let mut now = NOW;
    for (number, step) in steps.iter().enumerate() {
        if let Step::Wait { ms } = step {
            now = now.saturating_add(Duration::from_millis(*ms));
        }
        let (place, platform_id) = match step {
            Step::Append { place, platform_id, .. } => (place.to_string(), platform_id.map(|id| id.to_string())),
            _ => Default::default(),
        };
        let event = message(&place, &number.to_string(), platform_id.as_deref());
        let event = Arc::new(Event { received_at: now, ..event });
        let expected = model.follow(number, &event, step, now).await;
        let answer = sqlite.follow(number, &event, step, now).await;
        prop_assert_eq!(answer, expected, "step {} {:?}", number, step);
    }
    Ok(())
}
