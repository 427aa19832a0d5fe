//! What an event costs beside so many that are stored already, and how long it takes to open them. Half of them wait for a bot
//! that is not there, half are finished and their answers delivered; each has a platform's id that is remembered.
//!
//! Side by side with a thousand and a hundred thousand; with `GROWTH_ROWS=1000000` in the environment also with so many.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use bothost::delivery::Durability;
use bothost::store::{QueueBounds, Store, StoreOptions};
use harness::crowd;
use harness::guests;
use harness::host::{Home, TestHost};
use tokio::runtime::Runtime;

use super::measure::is_wanted;
use super::messages::CONFIG;
use super::sheet::Unit;
use super::steps::{self, Steps};
use super::wall::COMPILER;

/// Events stored where nothing else is asked for.
const ROWS: [u32; 2] = [1_000, 100_000];
/// What is measured is measured so often, in turn with the others; the median counts.
const ROUNDS: usize = 9;
/// Events of one round.
const EVENTS: u64 = 1_024;
/// Events side by side.
const PEOPLE: usize = 64;

/// What a number of events costs.
#[derive(Default)]
struct Cost {
    rows: u32,
    echo: Vec<f64>,
    append: Vec<f64>,
    settle: Vec<f64>,
    delivered: Vec<f64>,
    open: Vec<f64>,
    open_after_crash: Vec<f64>,
    file: f64,
}

/// Measures and prints.
pub fn measure(runtime: &Runtime) {
    if !is_wanted("growth") {
        return;
    }
    let more = std::env::var("GROWTH_ROWS").ok().map(|rows| rows.parse().expect("GROWTH_ROWS is a number"));
    let mut costs: Vec<_> = ROWS.into_iter().chain(more).map(|rows| Cost { rows, ..Cost::default() }).collect();
    runtime.block_on(async {
        let mut homes = Vec::new();
        for cost in &mut costs {
            let home = home(cost.rows);
            fill(&home.path().join("data"), cost).await;
            homes.push(home);
        }
        stores(&homes, &mut costs).await;
        hosts(homes, &mut costs).await;
    });
    print(&mut costs);
}

fn home(rows: u32) -> Home {
    let config = format!(
        "{CONFIG}[queue]\nmax_events = {max}\nmax_events_per_bot = {max}\nmax_bytes = \"8GiB\"\nkeep = {rows}\n",
        max = rows * 2 + 10_000
    );
    let home = Home::new(COMPILER, &config).with("bot.wasm", &guests::guest("panic"));
    std::fs::create_dir(home.path().join("data")).expect("a directory");
    home
}

fn options(rows: u32, durability: Durability) -> StoreOptions {
    let events_max = rows as usize * 2 + 10_000;
    let queue = QueueBounds { events_max, bytes_max: 8 << 30, events_per_bot_max: events_max };
    StoreOptions { queue, durability, keep: rows, ..StoreOptions::default() }
}

async fn fill(data: &Path, cost: &mut Cost) {
    let store = Store::open(data, options(cost.rows, Durability::Process)).expect("a store");
    let steps = Steps::new(&store);
    for _ in 0..cost.rows.div_ceil(2 * steps::SIDE_BY_SIDE) {
        steps.append("absent").await;
        steps.append("past").await;
        steps.settle("past").await;
        steps.deliver().await;
    }
    store.close().await;
}

/// Measures opening, then the steps of a message, on each store in turn.
async fn stores(homes: &[Home], costs: &mut [Cost]) {
    let mut stores = Vec::new();
    for (home, cost) in homes.iter().zip(&mut *costs) {
        let data = home.path().join("data");
        let open = || Store::open(&data, options(cost.rows, Durability::Power)).expect("a store");
        open().close().await;
        let started = Instant::now();
        let store = open();
        cost.open.push(started.elapsed().as_nanos() as f64);
        cost.file = data.join("bothost.db").metadata().expect("a file").len() as f64;
        stores.push(store);
    }
    for _ in 0..ROUNDS {
        for (store, cost) in stores.iter().zip(&mut *costs) {
            let steps = Steps::new(store);
            let mut spent = [Duration::ZERO; 3];
            for _ in 0..EVENTS / u64::from(steps::SIDE_BY_SIDE) {
                spent[0] += steps.append("bot").await;
                spent[1] += steps.settle("bot").await;
                spent[2] += steps.deliver().await;
            }
            let each = spent.map(|spent| spent.as_nanos() as f64 / EVENTS as f64);
            cost.append.push(each[0]);
            cost.settle.push(each[1]);
            cost.delivered.push(each[2]);
        }
    }
    for ((home, cost), store) in homes.iter().zip(costs).zip(stores) {
        open_after_crash(&home.path().join("data"), cost).await;
        store.close().await;
    }
}

/// Opens what a crash would leave: the files as they are while the store is open.
async fn open_after_crash(data: &Path, cost: &mut Cost) {
    let copy = tempfile::tempdir().expect("a temporary directory");
    for file in ["bothost.db", "bothost.db-wal"] {
        std::fs::copy(data.join(file), copy.path().join(file)).expect("room on the disk");
    }
    let started = Instant::now();
    let store = Store::open(copy.path(), options(cost.rows, Durability::Power)).expect("a store");
    cost.open_after_crash.push(started.elapsed().as_nanos() as f64);
    store.close().await;
}

/// Measures the durable echo of whole hosts, in turn.
async fn hosts(homes: Vec<Home>, costs: &mut [Cost]) {
    let mut hosts: Vec<TestHost> = Vec::new();
    for home in homes {
        let host = home.start().await;
        host.serving("bot").await;
        hosts.push(host);
    }
    for _ in 0..ROUNDS {
        for (host, cost) in hosts.iter().zip(&mut *costs) {
            let started = Instant::now();
            crowd::in_turn(&host.chat, PEOPLE, EVENTS * 2).await;
            cost.echo.push(started.elapsed().as_nanos() as f64 / (EVENTS * 2) as f64);
        }
    }
    for host in hosts {
        host.stop(COMPILER, "").await;
    }
}

fn print(costs: &mut [Cost]) {
    let mut lines = vec![costs.iter().map(|cost| format!("{:>18}", format!("{} stored", cost.rows))).collect()];
    lines[0] = format!("{:<44}{}", "per event, 64 side by side", lines[0]);
    for (what, of) in [
        ("durable echo, whole host", (|cost| &mut cost.echo) as fn(&mut Cost) -> &mut Vec<f64>),
        ("append, durable", |cost| &mut cost.append),
        ("claim and settle with one send, durable", |cost| &mut cost.settle),
        ("take and note as delivered, durable", |cost| &mut cost.delivered),
        ("open after a clean end (once)", |cost| &mut cost.open),
        ("open after a crash (once)", |cost| &mut cost.open_after_crash),
    ] {
        let medians: Vec<_> = costs.iter_mut().map(|cost| median(of(cost))).collect();
        let cells = medians.iter().map(|found| format!("{:>12} {:>5.2}", Unit::Time.show(*found), found / medians[0]));
        lines.push(format!("{what:<44}{}", cells.collect::<String>()));
    }
    let sizes = costs.iter().map(|cost| format!("{:>18}", Unit::Bytes.show(cost.file)));
    lines.push(format!("{:<44}{}", "size of the database", sizes.collect::<String>()));
    // A reader that has gone away needs no table.
    let _ = writeln!(std::io::stdout(), "\n{}", lines.join("\n"));
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}
