//! What the host costs on the path of a message, beside the least that the same work can cost here: `cargo bench -p bothost`.
//!
//! Every figure is taken in one run with its floor, and the table at the end is of ratios: a slow machine slows both. Nothing
//! is asserted. The floors, and what each leaves out:
//!
//! - *Calls* (`calls`): wasmtime alone, in this process, on the very code that the host compiled and with the engine settings of
//!   `sandbox/engine.rs` (fuel, fibers, pool). Without: the timeout, the ceilings on memory, copied bytes and handles, the
//!   waiting for a slot, the conversion from the host's own event, the checks and the gathering of what is sent, the log, the
//!   metrics. Its `state.add` answers from nowhere, where the host asks its database.
//! - *Loading* (`loading`): `Component::deserialize_file` without comparing the file with its checksum, and without linking;
//!   `Engine::precompile_component` in this process, without a child, its caps and the cache.
//! - *Durable echo* (`messages`, `ceiling`): an append log on the same disk, one thread that writes and calls fdatasync, group
//!   commit of up to 256 records, two waits for the disk for each message, with the bytes that the host keeps of it. Without:
//!   everything but that, an index by which anything could be found again included. The host waits three times: that it has the
//!   event, that its handler's effects are kept, that the answer was delivered; of the last the answer itself does not wait.
//! - *Echo with `durability = "process"`* (`messages`, `native`): the same scripted connector with the same channels on both ends,
//!   and between them one task that answers. Without: routing, the queue, the sandbox, the store, the outbox. A bare channel would
//!   be lower and say less, as both sides pass the connector.
//! - *Memory* (`memory`): a store with an instance of bare wasmtime, after one call.
//!
//! Then two tables without floors: what an event costs beside few and many stored ones (`growth`), and what it costs that the host
//! measures and tells (`cost`).

mod path {
    pub mod calls;
    pub mod ceiling;
    pub mod cost;
    pub mod floor;
    pub mod growth;
    pub mod loading;
    pub mod measure;
    pub mod memory;
    pub mod messages;
    pub mod native;
    pub mod sheet;
    pub mod steps;
    pub mod wall;
}

use std::path::Path;
use std::time::Duration;

use criterion::Criterion;

use path::floor::Floor;
use path::measure::is_wanted;
use path::sheet::Sheet;
use path::wall::Wall;
use path::{calls, cost, growth, loading, memory, messages};

/// Instances of either pool; few are live at a time where time is measured.
const INSTANCES: u32 = 16;

fn main() {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    // Databases are to be on a disk, which the system's own directory for such files need not be.
    tempfile::env::override_temp_dir(scratch).expect("nothing has asked for it yet");
    let output = scratch.join("criterion");
    let mut criterion = Criterion::default()
        .output_directory(&output)
        .without_plots()
        .sample_size(40)
        .nresamples(10_000)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_millis(1_500))
        .configure_from_args();
    let mut sheet = Sheet::new(output);
    let runtime = bothost::host::runtime().expect("a runtime");

    // First, while no freed memory lies about that could hide what is taken.
    let taken = is_wanted("memory").then(|| memory::measure(&runtime));

    let wall = Wall::new(INSTANCES);
    let floor = Floor::new(INSTANCES);
    calls::measure(&mut criterion, &runtime, &wall, &floor);
    loading::measure(&mut criterion, &runtime, &wall, &floor);
    let waits = messages::measure(&mut criterion, &runtime);
    criterion.final_summary();

    calls::report(&mut sheet);
    loading::report(&mut sheet);
    messages::report(&mut sheet, &waits);
    if let Some(taken) = &taken {
        memory::report(&mut sheet, taken);
    }
    sheet.print();
    growth::measure(&runtime);
    cost::measure(&runtime);
}
