//! Reads how the machine and this process are.

use std::path::PathBuf;
use std::time::Instant;

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};
use sysinfo::{MINIMUM_CPU_UPDATE_INTERVAL, System};

use super::cgroup::{Groups, Reading};
use super::process::{Stat, stat};
use super::{Figures, kernel_text};

/// Descriptors that are counted.
const OPEN_FILES_MAX: usize = 1 << 20;

/// Reads how the machine and this process are, and remembers what it needs of the time before.
#[derive(Debug)]
pub struct Vitals {
    data_dir: PathBuf,
    groups: Groups,
    /// None: this system is unknown.
    system: Option<System>,
    /// When the processor was looked at, and how busy it was then.
    machine_cpu: (Instant, Option<f64>),
    /// Processor time of this process, and when it was that.
    process_cpu: Option<(Instant, f64)>,
}

impl Vitals {
    /// Looks for what can be read. The file system that counts is that of `data_dir`. Blocking, for some milliseconds.
    pub fn new(data_dir: PathBuf) -> Self {
        let mut system = System::new().ok();
        system.iter_mut().for_each(System::refresh_cpu_usage);
        let (groups, machine_cpu) = (Groups::find(), (Instant::now(), None));
        Self { data_dir, groups, system, machine_cpu, process_cpu: None }
    }

    /// Reads all of it. What is a part of the time since the last reading is absent in the first one. Blocking, for some
    /// milliseconds.
    pub fn read(&mut self) -> Figures {
        let mut figures = Figures::default();
        self.read_machine(&mut figures);
        self.read_disk(&mut figures);
        read_files(&mut figures);
        if let Some(stat) = kernel_text("/proc/self/stat").and_then(|text| stat(&text)) {
            self.read_process(&stat, &mut figures);
        }
        take_group(&self.groups.read(), &mut figures);
        figures
    }

    fn read_machine(&mut self, figures: &mut Figures) {
        let Some(system) = &mut self.system else { return };
        let (looked_at, busy) = &mut self.machine_cpu;
        if looked_at.elapsed() >= MINIMUM_CPU_UPDATE_INTERVAL {
            system.refresh_cpu_usage();
            (*looked_at, *busy) = (Instant::now(), Some(f64::from(system.global_cpu_usage()) / 100.0));
        }
        figures.machine_cpu_ratio = busy.map(|busy| busy.clamp(0.0, 1.0));
        system.refresh_memory();
        let total = Some(system.total_memory()).filter(|total| *total > 0);
        figures.machine_memory_total_bytes = total;
        figures.machine_memory_used_bytes = total.map(|total| total.saturating_sub(system.available_memory()));
        figures.machine_load = System::load_average().ok().map(|load| [load.one, load.five, load.fifteen]);
    }

    fn read_disk(&self, figures: &mut Figures) {
        let Ok(disk) = rustix::fs::statvfs(&self.data_dir) else { return };
        let fragment = if disk.f_frsize == 0 { disk.f_bsize } else { disk.f_frsize };
        // What is held back for the administrator is of no use to us.
        figures.disk_free_bytes = Some(disk.f_bavail.saturating_mul(fragment));
        figures.disk_total_bytes = Some(disk.f_blocks.saturating_mul(fragment));
        // Some file systems make room for files as they go, and say that they have none.
        figures.disk_free_files = (disk.f_files > 0).then_some(disk.f_favail);
    }

    fn read_process(&mut self, stat: &Stat, figures: &mut Figures) {
        let (now, ticks_per_second) = (Instant::now(), clock_ticks_per_second() as f64);
        let seconds = stat.cpu_ticks as f64 / ticks_per_second;
        let before = self.process_cpu.replace((now, seconds));
        figures.process_cpu_ratio = before.and_then(|(then, before)| ratio(seconds - before, now.duration_since(then)));
        figures.process_cpu_seconds = Some(seconds);
        figures.process_threads = Some(stat.threads);
        figures.process_resident_bytes = Some(stat.resident_pages.saturating_mul(page_size() as u64));
        let booted = System::boot_time().ok().map(|booted| booted as f64);
        figures.process_start_time_seconds = booted.map(|booted| booted + stat.started_ticks as f64 / ticks_per_second);
    }
}

/// Returns which part of the time something took; none of no time.
fn ratio(took: f64, within: std::time::Duration) -> Option<f64> {
    (!within.is_zero()).then(|| (took / within.as_secs_f64()).max(0.0))
}

fn read_files(figures: &mut Figures) {
    // One of them is that of the directory itself.
    let open = std::fs::read_dir("/proc/self/fd").ok().map(|files| files.take(OPEN_FILES_MAX).count());
    figures.process_open_files = open.map(|open| open.saturating_sub(1) as u64);
    figures.process_open_files_limit = getrlimit(Resource::Nofile).current;
}

/// Adds what the control group says, and what its limit and the machine's memory come to.
fn take_group(group: &Reading, figures: &mut Figures) {
    figures.cgroup_memory_bytes = group.memory_bytes;
    figures.cgroup_cpu_limit_cores = group.cpu_limit_cores;
    figures.cgroup_cpu_throttled_seconds = group.throttled_seconds;
    [figures.pressure_cpu, figures.pressure_memory, figures.pressure_io] = group.pressure;
    let machine = figures.machine_memory_total_bytes;
    let limited = group.memory.filter(|memory| machine.is_none_or(|machine| memory.limit_bytes < machine));
    let (limit, used) = match limited {
        Some(memory) => (Some(memory.limit_bytes), Some(memory.used_bytes.saturating_sub(memory.idle_cache_bytes))),
        None => (machine, figures.machine_memory_used_bytes),
    };
    figures.memory_limit_bytes = limit;
    figures.memory_used_ratio =
        limit.zip(used).filter(|(limit, _)| *limit > 0).map(|(limit, used)| (used as f64 / limit as f64).min(1.0));
}

#[cfg(test)]
mod tests {
    use super::super::cgroup::Memory;
    use super::*;

    #[test]
    fn this_machine_and_this_process_are_read_with_plausible_values() {
        let dir = tempfile::tempdir().unwrap();
        let mut vitals = Vitals::new(dir.path().to_owned());
        let first = vitals.read();
        assert_eq!(first.process_cpu_ratio, None, "there was no reading before");
        let figures = vitals.read();
        assert!(figures.process_resident_bytes.unwrap() > 1 << 20, "{figures:?}");
        assert!(figures.process_resident_bytes < figures.machine_memory_total_bytes, "{figures:?}");
        assert!(figures.process_threads.unwrap() >= 1 && figures.process_cpu_ratio.unwrap() >= 0.0, "{figures:?}");
        assert!(figures.process_open_files.unwrap() >= 3, "{figures:?}");
        assert!(figures.disk_free_bytes.unwrap() <= figures.disk_total_bytes.unwrap(), "{figures:?}");
        assert!(figures.memory_limit_bytes <= figures.machine_memory_total_bytes, "{figures:?}");
        assert!((0.0..=1.0).contains(&figures.memory_used_ratio.unwrap()), "{figures:?}");
        let now = crate::clock::Timestamp::now().as_millis() as f64 / 1000.0;
        let age = now - figures.process_start_time_seconds.unwrap();
        assert!((-60.0..86_400.0).contains(&age), "{age}");
        for pressure in [figures.pressure_cpu, figures.pressure_memory, figures.pressure_io].into_iter().flatten() {
            assert!((0.0..=1.0).contains(&pressure), "{figures:?}");
        }
    }

    #[test]
    fn a_descriptor_that_is_open_is_counted() {
        let mut figures = Figures::default();
        read_files(&mut figures);
        let before = figures.process_open_files.unwrap();
        // Other tests of this process open and close theirs.
        let files: Vec<_> = (0..200).map(|_| std::fs::File::open("/proc/self/stat").unwrap()).collect();
        read_files(&mut figures);
        assert!(figures.process_open_files.unwrap() >= before + 100, "{figures:?}");
        drop(files);
    }

    #[test]
    fn a_limit_past_the_machines_memory_is_none_and_idle_caches_are_free() {
        let memory = |limit_bytes| Some(Memory { used_bytes: 600, idle_cache_bytes: 200, limit_bytes });
        let with = |memory| {
            let mut figures = Figures {
                machine_memory_total_bytes: Some(1000),
                machine_memory_used_bytes: Some(250),
                ..Figures::default()
            };
            take_group(&Reading { memory, ..Reading::default() }, &mut figures);
            (figures.memory_limit_bytes, figures.memory_used_ratio)
        };
        assert_eq!(with(memory(800)), (Some(800), Some(0.5)));
        assert_eq!(with(memory(9_223_372_036_854_771_712)), (Some(1000), Some(0.25)));
        assert_eq!(with(None), (Some(1000), Some(0.25)));
    }

    #[test]
    fn a_directory_that_is_not_there_has_no_disk() {
        let mut vitals = Vitals::new("/nowhere/at/all".into());
        let figures = vitals.read();
        assert_eq!((figures.disk_free_bytes, figures.disk_total_bytes, figures.disk_free_files), (None, None, None));
    }
}
