//! One figure and its floor, taken one after the other under one name.

use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode};
use tokio::runtime::Runtime;

/// The host's figure within a group.
pub const BOTHOST: &str = "bothost";
/// The floor's.
pub const FLOOR: &str = "floor";

/// How often something can be done within the time of one measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Thousands of times.
    Quick,
    /// Many times, but each sample must be long: what it measures has a beginning and an end of its own.
    Steady,
    /// Some ten times.
    Slow,
}

/// Measures both; each is given how often to do it and returns how long that took.
pub fn compare(
    criterion: &mut Criterion,
    name: &str,
    pace: Pace,
    mut bothost: impl FnMut(u64) -> Duration,
    mut floor: impl FnMut(u64) -> Duration,
) {
    let mut group = criterion.benchmark_group(name);
    match pace {
        Pace::Quick => {}
        Pace::Steady => {
            group.sampling_mode(SamplingMode::Flat).sample_size(20).measurement_time(Duration::from_secs(3));
        }
        Pace::Slow => {
            group.sampling_mode(SamplingMode::Flat).sample_size(10);
        }
    }
    group.bench_function(BOTHOST, |bencher| bencher.iter_custom(&mut bothost));
    group.bench_function(FLOOR, |bencher| bencher.iter_custom(&mut floor));
    group.finish();
}

/// Measures a floor that nothing of the host's stands beside.
pub fn floor_alone(criterion: &mut Criterion, name: &str, mut floor: impl FnMut(u64) -> Duration) {
    let mut group = criterion.benchmark_group(name);
    group.bench_function(FLOOR, |bencher| bencher.iter_custom(&mut floor));
    group.finish();
}

/// Returns whether a measurement of this name is asked for that criterion knows nothing of: without a filter each is.
pub fn is_wanted(name: &str) -> bool {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    arguments.is_empty() || arguments.iter().flat_map(|argument| argument.split('|')).any(|part| name.contains(part))
}

/// Does something `times` times, one after the other, and returns how long that took.
pub fn timed(runtime: &Runtime, times: u64, mut act: impl AsyncFnMut()) -> Duration {
    runtime.block_on(async {
        let started = Instant::now();
        for _ in 0..times {
            act().await;
        }
        started.elapsed()
    })
}
