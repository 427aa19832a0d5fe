//! A message on its whole way: from the scripted connector through queue, guest and outbox back as its answer.

use std::time::{Duration, Instant};

use bothost::connector::scripted::ScriptedHandle;
use bothost::event::EventKind;
use bothost::grants::ConnectorKey;
use criterion::Criterion;
use harness::crowd::{self, quantile};
use harness::guests;
use harness::host::{CHAT, Home, TestHost};
use tokio::runtime::Runtime;

use super::ceiling::{Ceiling, Payloads};
use super::measure::{Pace, compare, floor_alone, is_wanted, timed};
use super::native::{self, Native};
use super::sheet::{Sheet, Unit};
use super::wall::COMPILER;

/// Conversations side by side where throughput is measured, and all of them at work.
const PEOPLE: usize = 64;
/// Messages whose waits are looked at one by one.
const WAITS: u64 = 20_000;
/// Messages a second where they come at a fixed rate.
const RATES: [u32; 2] = [1_000, 5_000];
/// For how many seconds they do.
const SECONDS_AT_RATE: u64 = 3;

/// What every host of these measurements is configured with.
pub const CONFIG: &str = "[limits]\nsends_per_minute = 1_000_000_000\nin_flight = 64\n";
/// Has a host answer before anything is on the disk.
pub const PROCESS: &str = "[queue]\ndurability = \"process\"\n";

/// How long single messages waited.
pub struct Waits {
    what: String,
    nanoseconds: f64,
}

/// Measures the time to an answer, and answers in a time.
pub fn measure(criterion: &mut Criterion, runtime: &Runtime) -> Vec<Waits> {
    // Any test guest will do: `!ping` is answered, and no state is written.
    let stateless = guests::guest("panic");
    let power = host(runtime, CONFIG, &stateless);
    let stateful = host(runtime, CONFIG, &guests::example("echo"));
    let process = host(runtime, &format!("{CONFIG}{PROCESS}"), &stateless);
    let native = Native::start(runtime);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let ceiling = Ceiling::open(&dir.path().join("log"), payloads(&native.chat));

    let host_in_turn = |host: &TestHost, people, times| in_turn(runtime, &host.chat, people, times);
    let ceiling_in_turn = |people, times| {
        runtime.block_on(async {
            let started = Instant::now();
            ceiling.in_turn(people, times).await;
            started.elapsed()
        })
    };
    floor_alone(criterion, "fsync", |times| timed(runtime, times, async || ceiling.write_one().await));
    for (name, host, people) in [
        ("durable_1", &power, 1),
        ("durable_16", &power, 16),
        ("durable_64", &power, PEOPLE),
        ("stateful_1", &stateful, 1),
        ("stateful_64", &stateful, PEOPLE),
    ] {
        let measured = |times| host_in_turn(host, people, times);
        compare(criterion, name, Pace::Steady, measured, |times| ceiling_in_turn(people, times));
    }
    for (name, people) in [("process_1", 1), ("process_64", PEOPLE)] {
        let measured = |times| host_in_turn(&process, people, times);
        compare(criterion, name, Pace::Steady, measured, |times| in_turn(runtime, &native.chat, people, times));
    }
    let waits = if is_wanted("waits") { runtime.block_on(waits(&process, &power)) } else { Vec::new() };
    runtime.block_on(async {
        for host in [power, stateful, process] {
            host.stop(COMPILER, "").await;
        }
        native.stop().await;
    });
    ceiling.close();
    waits
}

/// Puts the figures down.
pub fn report(sheet: &mut Sheet, waits: &[Waits]) {
    sheet.times("append 300 bytes to a log, fdatasync", "fsync");
    sheet.times("durable echo, 1 in flight", "durable_1");
    sheet.rates("durable echo, 16 in flight", "durable_16");
    sheet.rates("durable echo, 64 in flight", "durable_64");
    sheet.times("durable echo with state.add, 1 in flight", "stateful_1");
    sheet.rates("durable echo with state.add, 64 in flight", "stateful_64");
    sheet.times("echo, durability = \"process\", 1 in flight", "process_1");
    sheet.rates("echo, durability = \"process\", 64 in flight", "process_64");
    for Waits { what, nanoseconds } in waits {
        sheet.figures(what.clone(), Unit::Time, *nanoseconds, None);
    }
}

/// Starts a host with one bot.
fn host(runtime: &Runtime, config: &str, component: &[u8]) -> TestHost {
    runtime.block_on(async {
        let host = Home::new(COMPILER, config).with("bot.wasm", component).start().await;
        host.serving("bot").await;
        host
    })
}

fn in_turn(runtime: &Runtime, chat: &ScriptedHandle, people: usize, times: u64) -> Duration {
    runtime.block_on(async {
        let started = Instant::now();
        crowd::in_turn(chat, people, times).await;
        started.elapsed()
    })
}

async fn waits(process: &TestHost, power: &TestHost) -> Vec<Waits> {
    let mut found = Vec::new();
    for (durability, host) in [("process", process), ("power", power)] {
        let mut note = |load: &str, mut waits: Vec<Duration>| {
            for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
                let what = format!("said to answered, {durability}, {load}: {name}");
                found.push(Waits { what, nanoseconds: quantile(&mut waits, share) });
            }
        };
        note("64 in flight", crowd::in_turn(&host.chat, PEOPLE, WAITS).await);
        for rate in RATES {
            let waits = crowd::at_rate(&host.chat, rate, u64::from(rate) * SECONDS_AT_RATE).await;
            note(&format!("{rate}/s"), waits);
        }
    }
    found
}

fn payloads(chat: &ScriptedHandle) -> Payloads {
    let event = chat.message("63", "0123456789abcdef", "!ping");
    let EventKind::Message(message) = &event.kind else { unreachable!("somebody says something") };
    let via = ConnectorKey::shared(CHAT.parse().expect("a name"));
    Payloads::of(&event.kind, &native::pong(via, message.conversation.clone()))
}
