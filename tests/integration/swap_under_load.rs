//! A bot is overwritten again and again while people write to it: each message is handled once, by one version or the next, in the
//! order of its conversation, and every version serves. Nothing here is held against a clock; `cargo xtask swap` prints how long
//! people waited and how long a swap took.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use bothost::id::ContentHash;
use harness::crowd::{Answer, Load, Record, beside};
use harness::guests;
use harness::host::{Home, TestHost};

use super::crash::number;

const COMPILER: &str = env!("CARGO_BIN_EXE_host");
const BOT: &str = "bot";
/// Events of the bot side by side: so many of the version before may end after a swap.
const IN_FLIGHT: u64 = 64;
const CONVERSATIONS: usize = 100;
/// Events that end with one version before the next is saved, beside those of the version before.
const SERVED: u64 = 50;
/// What comes this soon after a swap is the swap's doing.
const AFTERMATH: Duration = Duration::from_millis(50);

/// How often a bot is swapped under how many messages.
#[derive(Debug, Clone, Copy)]
struct Plan {
    messages: u64,
    rate: u32,
    swaps: u16,
    /// The version that traps on every message.
    bad: Option<u16>,
}

/// One swap: from the save of a version's file until it serves. Where it is bad, until the one before serves again.
#[derive(Debug, Clone, Copy)]
struct Swap {
    saved: Instant,
    flipped: Instant,
}

/// What came of the messages.
#[derive(Debug, Default, PartialEq, Eq)]
struct Audit {
    lost: usize,
    doubled: usize,
    out_of_order: usize,
    /// Answers that do not hold the effects of every message before them, once.
    miscounted: usize,
}

/// Returns a version of the bot, or one that traps on every message.
fn version(number: u16, is_bad: bool) -> Vec<u8> {
    let mut component = guests::guest("edition");
    let mark = b"edition[000 ok ]";
    let at = component.windows(mark.len()).position(|window| window == mark).expect("its mark");
    let other = format!("edition[{number:03} {}]", if is_bad { "bad" } else { "ok " });
    component[at..at + mark.len()].copy_from_slice(other.as_bytes());
    component
}

async fn host() -> TestHost {
    let config = format!(
        "[limits]\nsends_per_minute = 1_000_000_000\nin_flight = {IN_FLIGHT}\n[outbox]\nmax_len = 1_000_000\n\
         [queue]\nmax_events_per_bot = 1_000_000\nmax_events = 1_000_000\n"
    );
    let host = Home::new(COMPILER, &config).with("bot.wasm", &version(0, false)).start().await;
    host.serving(BOT).await;
    host
}

fn load(plan: Plan) -> Load {
    let Plan { messages, rate, .. } = plan;
    Load { rate, times: messages, conversations: CONVERSATIONS, answers: 1, text: |number| number.to_string() }
}

/// Saves one version after the other, each once the one before has served. The first has the number `first`.
async fn swap(host: &TestHost, first: u16, plan: Plan) -> Vec<Swap> {
    let mut swaps = Vec::new();
    for number in first..first + plan.swaps {
        let is_bad = plan.bad == Some(number);
        let component = version(number, is_bad);
        let hash = ContentHash::of(&component);
        let before = host.bot(BOT).and_then(|status| status.component);
        let saved = Instant::now();
        host.put("bot.wasm", &component);
        let status = if is_bad {
            let is_back = |refused: &str| refused.contains("rolled back");
            host.bot_when(BOT, |status| status.component == before && status.refused.as_deref().is_some_and(is_back))
                .await
        } else {
            host.bot_when(BOT, |status| status.component == Some(hash)).await
        };
        swaps.push(Swap { saved, flipped: Instant::now() });
        let enough = status.handled + IN_FLIGHT + SERVED;
        host.bot_when(BOT, |status| status.handled >= enough).await;
    }
    swaps
}

/// Reads an answer: the message's number, how many its conversation has had, and the version.
fn read(answer: &Answer) -> (usize, usize, u16) {
    let words: Vec<_> = answer.text.split(' ').collect();
    let [number, count, version] = words[..] else { panic!("no answer of this bot: {}", answer.text) };
    (number.parse().unwrap(), count.parse().unwrap(), version.parse().unwrap())
}

/// Holds what was answered against what was said. `before` messages were in each conversation before.
fn audit(record: &Record, before: &[usize]) -> Audit {
    let mut audit = Audit::default();
    for (conversation, said) in record.said.iter().enumerate() {
        let answers = record.answers.iter().filter(|answer| answer.conversation == conversation).map(read);
        let (mut seen, mut last) = (BTreeSet::new(), None);
        for (number, count, _) in answers {
            audit.doubled += usize::from(!seen.insert(number));
            audit.out_of_order += usize::from(last.replace(number).is_some_and(|last| last > number));
            audit.miscounted += usize::from(count != before.get(conversation).unwrap_or(&0) + number + 1);
        }
        audit.lost += said.len() - seen.len();
    }
    audit
}

fn versions(record: &Record) -> BTreeSet<u16> {
    record.answers.iter().map(|answer| read(answer).2).collect()
}

/// Returns the longest time without an answer; with `swaps`, of those times in which one happened.
fn longest_gap(record: &Record, swaps: Option<&[Swap]>) -> Duration {
    let gaps = record.answers.windows(2).map(|pair| (pair[0].at, pair[1].at));
    let is_counted = |(from, to): &(Instant, Instant)| {
        swaps.is_none_or(|swaps| swaps.iter().any(|swap| *from <= swap.flipped + AFTERMATH && *to >= swap.saved))
    };
    gaps.filter(is_counted).map(|(from, to)| to - from).max().unwrap_or_default()
}

fn median_and_max(swaps: &[Swap]) -> (Duration, Duration) {
    let mut took: Vec<_> = swaps.iter().map(|swap| swap.flipped - swap.saved).collect();
    took.sort_unstable();
    (took[took.len() / 2], took[took.len() - 1])
}

/// Returns what a person wants to know of a run that went well.
fn summary(record: &Record, swaps: &[Swap]) -> String {
    let (gap, at_swaps) = (longest_gap(record, None), longest_gap(record, Some(swaps)));
    let (median, max) = median_and_max(swaps);
    format!(
        "{} messages, {} swaps, longest time without an answer {gap:.0?}, at a swap {at_swaps:.0?}; \
         saved to serving: median {median:.0?}, at most {max:.0?}",
        record.said_len(),
        swaps.len()
    )
}

/// Has a host go through a plan, and checks what came of the messages.
async fn check(plan: Plan) -> (TestHost, Record, String) {
    let host = host().await;
    let (record, swaps) = beside(&host.chat, load(plan), swap(&host, 1, plan)).await;
    assert_eq!(audit(&record, &[]), Audit::default());
    let served: BTreeSet<_> = (0..=plan.swaps).filter(|number| plan.bad != Some(*number)).collect();
    assert_eq!(versions(&record), served, "every good version served, and no bad one");
    let summary = summary(&record, &swaps);
    (host, record, summary)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f049_twenty_swaps_under_load_lose_no_message_and_double_none() {
    let (host, record, summary) = check(Plan { messages: 10_000, rate: 1_000, swaps: 20, bad: None }).await;
    eprintln!("{summary}");
    let mut newest = [0; CONVERSATIONS];
    for answer in &record.answers {
        let version = read(answer).2;
        assert!(newest[answer.conversation] <= version, "no conversation goes back to an older version");
        newest[answer.conversation] = version;
    }
    assert_eq!(host.bot(BOT).unwrap().faults, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f049_a_bad_version_among_the_good_costs_no_message() {
    let (host, _, summary) = check(Plan { messages: 5_000, rate: 500, swaps: 10, bad: Some(4) }).await;
    eprintln!("{summary}");
    assert!(host.bot(BOT).unwrap().faults > 0, "the bad version had its chance");
    assert_eq!(host.metric("bothost_dead_letter_added_total{bot=\"bot\"}"), 0.0);
    assert_eq!(host.bot(BOT).unwrap().refused, None, "what came after it is good");
}

/// One row of the table.
struct Row<'a> {
    what: &'a str,
    record: Record,
    audit: Audit,
    swaps: Vec<Swap>,
}

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, record, audit, swaps } = self;
        let Audit { lost, doubled, out_of_order, miscounted } = audit;
        let (first, last) = (&record.answers[0], &record.answers[record.answers.len() - 1]);
        let rate = record.answers.len() as f64 / (last.at - first.at).as_secs_f64();
        let gap = milliseconds(longest_gap(record, None));
        let messages = record.said_len();
        write!(f, "{what:8} {messages:8} {rate:9.0} {:5} {lost:5} {doubled:8} ", swaps.len())?;
        write!(f, "{out_of_order:13} {miscounted:11} {gap:9.1} ms")
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// By turns a load without a swap and the same with swaps, on one host.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute and prints figures: `cargo xtask swap`"]
async fn figures_of_swaps_under_load() {
    let (messages, rate) = (number("BOTHOST_SWAP_MESSAGES", 10_000), number("BOTHOST_SWAP_RATE", 1_000));
    let (swaps, rounds) = (number("BOTHOST_SWAP_SWAPS", 20), number("BOTHOST_SWAP_ROUNDS", 3));
    let plan = |swaps: u64| Plan {
        messages,
        rate: u32::try_from(rate).unwrap(),
        swaps: u16::try_from(swaps).unwrap(),
        bad: None,
    };
    // Databases are to be on a disk, which the system's own directory for such files need not be.
    tempfile::env::override_temp_dir(Path::new(env!("CARGO_TARGET_TMPDIR"))).unwrap();
    let host = host().await;
    let mut before = vec![0; CONVERSATIONS];
    let warm_up = Plan { messages: rate, ..plan(0) };
    let mut rows: Vec<Row<'_>> = Vec::new();
    for round in 0..=rounds {
        for (what, plan) in [("quiet", plan(0)), ("swapped", plan(swaps))] {
            let plan = if round == 0 { warm_up } else { plan };
            let first = 1 + rows.iter().map(|row| row.swaps.len()).sum::<usize>();
            let first = u16::try_from(first).unwrap();
            let (record, swaps) = beside(&host.chat, load(plan), swap(&host, first, plan)).await;
            let audit = audit(&record, &before);
            before.iter_mut().zip(&record.said).for_each(|(before, said)| *before += said.len());
            if round > 0 {
                rows.push(Row { what, record, audit, swaps });
            }
        }
    }
    eprintln!("what     messages answers/s swaps  lost  doubled  out of order  miscounted  longest gap");
    rows.iter().for_each(|row| eprintln!("{row}"));
    let of = |what| rows.iter().filter(move |row| row.what == what);
    let longest = |what| milliseconds(of(what).map(|row| longest_gap(&row.record, None)).max().unwrap_or_default());
    let at_swap = of("swapped").map(|row| longest_gap(&row.record, Some(&row.swaps))).max().unwrap_or_default();
    let all: Vec<_> = of("swapped").flat_map(|row| row.swaps.clone()).collect();
    let (median, max) = median_and_max(&all);
    let (floor, longest, at_swap) = (longest("quiet"), longest("swapped"), milliseconds(at_swap));
    eprintln!(
        "longest gap between two answers: {longest:.1} ms, at a swap {at_swap:.1} ms, without swaps {floor:.1} ms"
    );
    eprintln!("ratio of the longest gap at a swap to the longest without swaps: {:.2}", at_swap / floor);
    let (median, max) = (milliseconds(median), milliseconds(max));
    eprintln!("saved to serving, of {} swaps: median {median:.0} ms, at most {max:.0} ms", all.len());
    assert!(rows.iter().all(|row| row.audit == Audit::default()), "a message was lost, doubled or out of order");
}
