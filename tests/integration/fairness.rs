//! Bots take turns: a backlog of one delays another by a few of its events, not by all of them. Counted in events that ended,
//! not in time.

use bothost::action::{Act, ResolvedAction};
use futures_util::future::join_all;
use harness::guests;
use harness::host::{Home, TestHost};

const COMPILER: &str = env!("CARGO_BIN_EXE_host");

/// The bot with the backlog, whose events wait in a host call; the other one answers at once.
const BUSY: &str = "slow_host_call";
const QUICK: &str = "steps";
/// Live instances: what the bots take turns for.
const SLOTS: u32 = 2;
/// Events of the busy bot, each in a conversation of its own, and how many of them wait for a slot side by side.
const BACKLOG: usize = 400;
const WAITERS: usize = 100;
/// Events of the other bot, one after another.
const ASKED: usize = 20;
/// Events that end beside the turns: while the question is on its way to a slot, is answered in it, and the answer on its way
/// out. One or two; more where the machine is busy with other things, and still far from all that wait.
const SLACK: usize = 20;

/// Two bots with these priorities on a host with two slots.
async fn crowded_host(busy: &str, quick: &str) -> TestHost {
    let busy = format!("priority = \"{busy}\"\nlimits = {{ in_flight = {WAITERS} }}");
    let home = Home::new(COMPILER, "").with_instances(SLOTS);
    let home = home.with(&format!("{BUSY}.toml"), busy.as_bytes()).with("slow_host_call.wasm", &guests::guest(BUSY));
    let quick = format!("priority = \"{quick}\"");
    let home = home.with(&format!("{QUICK}.toml"), quick.as_bytes()).with("steps.wasm", &guests::guest(QUICK));
    let host = home.start().await;
    host.serving(BUSY).await;
    host.serving(QUICK).await;
    host
}

/// Lets the quick bot answer again and again beside the other's backlog, and checks how many events of that end between a
/// question and its answer, where the busy bot has so many turns to one of the quick bot's.
async fn check(busy: &str, quick: &str, turns: usize) {
    let host = &crowded_host(busy, quick).await;
    join_all((0..BACKLOG).map(|room| {
        let (room, text) = (format!("room-{room}"), "!sleep 30");
        async move { host.say(&room, text).await }
    }))
    .await;
    host.bot_when(BUSY, |status| status.in_flight > WAITERS / 2).await;
    let mut all = 0;
    for number in 0..ASKED {
        let before = host.chat.delivered_count();
        host.say("quick", "!show").await;
        let ended = until_answered(host, before).await;
        assert!(ended <= turns + SLACK, "{ended} of {WAITERS} that waited ended before answer {number}");
        all += ended;
    }
    assert!(all >= ASKED * turns / 2, "only {all} ended: the busy bot had not its turns");
    let status = host.bot(BUSY).unwrap();
    assert!(status.queued > 0, "there was a backlog all the time: {status:?}");
    assert_eq!(status.faults + host.bot(QUICK).unwrap().faults, 0);
}

/// Waits for the next answer of the quick bot beyond the first `before`, and returns how many others came before it.
async fn until_answered(host: &TestHost, before: u64) -> usize {
    for count in before + 1.. {
        let seen = tokio::time::timeout(harness::host::PATIENCE, host.chat.delivered(count)).await.unwrap();
        let others = seen[usize::try_from(before).unwrap()..].iter().position(is_quick);
        if let Some(others) = others {
            return others;
        }
    }
    unreachable!("a count has no end")
}

fn is_quick(action: &ResolvedAction) -> bool {
    matches!(&action.act, Act::Send { message, .. } if message.text.starts_with("state:"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_of_one_bot_delays_another_by_a_turn_each_time() {
    check("normal", "normal", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_of_the_lowest_priority_has_its_turn_beside_a_backlog_of_the_highest() {
    check("critical", "low", 8).await;
}
