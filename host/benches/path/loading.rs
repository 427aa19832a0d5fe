//! From a component's file to something that can be instantiated: from the cache, and compiled anew.

use std::time::{Duration, Instant};

use bothost::id::ContentHash;
use bothost::sandbox::{Component, LoadSource};
use criterion::Criterion;
use harness::guests;
use tokio::runtime::Runtime;

use super::floor::Floor;
use super::measure::{Pace, compare, timed};
use super::sheet::Sheet;
use super::wall::Wall;

/// Measures loading and compiling of `echo`.
pub fn measure(criterion: &mut Criterion, runtime: &Runtime, wall: &Wall, floor: &Floor) {
    let bytes = guests::example("echo");
    let hash = ContentHash::of(&bytes);
    runtime.block_on(wall.load(&bytes));
    let code = wall.code(hash);
    let cached = |times| {
        timed(runtime, times, async || {
            let loaded = Component::load(&wall.sandbox, hash, || unreachable!("the code is there")).await;
            drop(loaded.expect("the component loads"));
        })
    };
    let deserialized = |times| timed(runtime, times, async || drop(floor.load(&code)));
    compare(criterion, "load_cached", Pace::Quick, cached, deserialized);

    let in_child = |times| {
        (0..times)
            .map(|_| {
                std::fs::remove_file(&code).expect("the code is there");
                let started = Instant::now();
                let (component, load) = runtime.block_on(wall.load(&bytes));
                let elapsed = started.elapsed();
                drop(component);
                assert_eq!(load.source, LoadSource::Compiled);
                elapsed
            })
            .sum::<Duration>()
    };
    let in_process = |times| {
        timed(runtime, times, async || {
            drop(floor.engine.precompile_component(&bytes).expect("the component compiles"));
        })
    };
    compare(criterion, "compile", Pace::Slow, in_child, in_process);
}

/// Puts the figures down.
pub fn report(sheet: &mut Sheet) {
    sheet.times("load echo from the code cache", "load_cached");
    sheet.times("compile echo and load it", "compile");
}
