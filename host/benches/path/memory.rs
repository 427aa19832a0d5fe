//! Resident memory: of an instance that stays, and of a bot that has none.

use bothost::limits::InstanceMode;
use harness::guests;
use harness::host::{Home, TestHost, put};
use tokio::runtime::Runtime;

use super::floor::Floor;
use super::sheet::{Sheet, Unit};
use super::wall::{COMPILER, Said, Wall};

/// How many of each are made.
const COUNT: usize = 200;
/// Room for them, and some.
const INSTANCES: u32 = 256;

/// Resident bytes of one.
pub struct Taken {
    warm_instance: f64,
    bare_instance: f64,
    bot: f64,
}

/// Measures all of it.
pub fn measure(runtime: &Runtime) -> Taken {
    let (warm_instance, bare_instance) = runtime.block_on(instances());
    Taken { warm_instance, bare_instance, bot: runtime.block_on(bots()) }
}

/// Puts the figures down.
pub fn report(sheet: &mut Sheet, taken: &Taken) {
    sheet.figures(
        "memory of an idle warm instance of echo",
        Unit::Bytes,
        taken.warm_instance,
        Some(taken.bare_instance),
    );
    sheet.figures("memory of a bot without an instance", Unit::Bytes, taken.bot, None);
}

/// Returns the bytes of an instance after one call: the host's and bare wasmtime's.
async fn instances() -> (f64, f64) {
    let (wall, floor) = (Wall::new(INSTANCES), Floor::new(INSTANCES));
    let (component, _) = wall.load(&guests::example("echo")).await;
    let linked = floor.link(&floor.load(&wall.code(component.hash())));
    let said = Said::command("echo", &["hi"]);

    let mut guests = Vec::new();
    for _ in 0..=COUNT {
        guests.push(wall.guest(&component, InstanceMode::Warm).await);
    }
    let mut before = resident();
    for (index, guest) in guests.iter().enumerate() {
        guest.handle(&said.event, 1).await.outcome.expect("the guest answers");
        if index == 0 {
            // The first one pays for what all share.
            before = resident();
        }
    }
    let warm = (resident() - before) / COUNT as f64;

    let mut instances = Vec::with_capacity(COUNT + 1);
    for index in 0..=COUNT {
        let mut instance = floor.instance(&linked).await;
        instance.handle(&said.guest_event).await;
        instances.push(instance);
        if index == 0 {
            before = resident();
        }
    }
    (warm, (resident() - before) / COUNT as f64)
}

/// Returns the bytes of one bot of a whole host: the second two hundred beside the first, which have filled the pool's slots.
async fn bots() -> f64 {
    let home = Home::new(COMPILER, "").with("echo.wasm", &guests::example("echo"));
    let host = home.start().await;
    add_bots(&host, "first").await;
    let before = resident();
    add_bots(&host, "second").await;
    let bot = (resident() - before) / COUNT as f64;
    host.stop(COMPILER, "").await;
    bot
}

async fn add_bots(host: &TestHost, prefix: &str) {
    let names: Vec<_> = (0..COUNT).map(|number| format!("{prefix}-{number}")).collect();
    for name in &names {
        put(&host.bots(), &format!("{name}.toml"), b"component = \"echo.wasm\"");
    }
    for name in &names {
        host.serving(name).await;
    }
}

/// Returns the resident bytes of this process.
fn resident() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: usize = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("two numbers at least");
    (pages * rustix::param::page_size()) as f64
}
