//! What the machine gives: room, memory, limits, time. The judgements are pure.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::statvfs;
use rustix::process::{Resource, getrlimit};

use super::{Finding, Patient};
use crate::units::ByteSize;
use crate::vitals;

const MIB: u64 = 1 << 20;
/// Below this the store runs out of room soon.
const ROOM_PROBLEM: u64 = 64 * MIB;
const ROOM_WARNING: u64 = 1024 * MIB;
const INODES_WARNING: u64 = 1_000;
/// Areas of memory: each live instance takes some.
const MAPS_WARNING: u64 = 65_530;
const FILES_WARNING: u64 = 4_096;
const MEMORY_WARNING: u64 = 512 * MIB;
/// 2025-01-01T00:00:00Z. A clock before it was never set.
const CLOCK_EARLIEST: u64 = 1_735_689_600;
/// 2100-01-01T00:00:00Z.
const CLOCK_LATEST: u64 = 4_102_444_800;

pub(super) fn check(patient: &Patient) -> Vec<Finding> {
    let mut findings = Vec::new();
    let data_dir = existing(patient.data_dir());
    match statvfs(data_dir) {
        Ok(disk) => findings.extend(room(disk.f_bavail.saturating_mul(disk.f_frsize), disk.f_files, disk.f_favail)),
        Err(error) => {
            let what = format!("cannot ask for the room of {}: {error}", data_dir.display());
            findings.push(Finding::warning("disk", what, "look at the file system"));
        }
    }
    findings.extend(kernel_number("/proc/sys/vm/max_map_count").map(maps));
    findings.push(open_files(getrlimit(Resource::Nofile).current));
    findings.extend(memory(vitals::memory_limit(), total_memory()));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    findings.push(clock(now));
    findings.push(core_files(patient.config.host.core_dumps));
    findings.extend(fs::read_to_string("/proc/sys/kernel/osrelease").ok().map(|release| kernel(release.trim())));
    findings
}

/// Returns the directory, or the nearest above it that is there.
fn existing(directory: &Path) -> &Path {
    let above = directory.ancestors().find(|directory| directory.is_dir());
    above.unwrap_or(Path::new("."))
}

fn kernel_number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn total_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let kib: u64 =
        text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kib * 1024)
}

fn size(bytes: u64) -> ByteSize {
    ByteSize(bytes >> 20 << 20)
}

fn room(free: u64, inodes: u64, free_inodes: u64) -> Vec<Finding> {
    let remedy = "make room, or move `[host] data_dir` to a larger disk";
    let what = format!("{} are free where the data directory is", size(free));
    let mut findings = vec![match free {
        ..ROOM_PROBLEM => Finding::problem("disk", what, remedy),
        ROOM_PROBLEM..ROOM_WARNING => Finding::warning("disk", what, remedy),
        ROOM_WARNING.. => Finding::ok("disk", what),
    }];
    // Some file systems have no number of them.
    if inodes > 0 && free_inodes < INODES_WARNING {
        let what = format!("only {free_inodes} more files can be made where the data directory is");
        findings.push(Finding::warning("disk", what, "remove files nobody needs"));
    }
    findings
}

fn maps(count: u64) -> Finding {
    let what = format!("vm.max_map_count is {count}");
    match count {
        ..MAPS_WARNING => {
            let remedy = "`sysctl -w vm.max_map_count=262144`, and the same line in /etc/sysctl.d: live instances take several each";
            Finding::warning("memory maps", what, remedy)
        }
        MAPS_WARNING.. => Finding::ok("memory maps", what),
    }
}

fn open_files(limit: Option<u64>) -> Finding {
    match limit {
        None => Finding::ok("open files", "there is no limit"),
        Some(limit @ FILES_WARNING..) => Finding::ok("open files", format!("up to {limit}")),
        Some(limit) => {
            let what = format!("at most {limit} files may be open at a time");
            Finding::warning("open files", what, "`LimitNOFILE=65536` in the unit of systemd, or `ulimit -n 65536`")
        }
    }
}

/// `group` is what the control group uses and may use.
fn memory(group: Option<(u64, u64)>, machine: Option<u64>) -> Option<Finding> {
    let limit = group.map(|(_, limit)| limit).into_iter().chain(machine).min()?;
    let of = match group {
        Some((_, own)) if own <= limit => "the control group allows",
        _ => "the machine has",
    };
    let what = format!("{of} {}", size(limit));
    Some(match limit {
        ..MEMORY_WARNING => {
            Finding::warning("memory", what, "give it 512 MiB or more, or set `[host] instances` to fewer")
        }
        MEMORY_WARNING.. => Finding::ok("memory", what),
    })
}

fn clock(now: u64) -> Finding {
    match now {
        CLOCK_EARLIEST..CLOCK_LATEST => Finding::ok("clock", "it shows a time that can be"),
        _ => {
            let what = format!("it shows a time that cannot be: {now} seconds after 1970");
            Finding::problem(
                "clock",
                what,
                "set it, `timedatectl set-ntp true`: timers, certificates and expiry go by it",
            )
        }
    }
}

fn core_files(are_allowed: bool) -> Finding {
    match are_allowed {
        false => Finding::ok("core files", "none are written"),
        true => {
            let what = "`[host] core_dumps` is on: a crash writes all secrets to the disk";
            Finding::warning("core files", what, "leave it out unless a crash is being looked into")
        }
    }
}

fn kernel(release: &str) -> Finding {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let what = format!("Linux {release}");
    match version >= (5, 10) {
        true => Finding::ok("kernel", what),
        false => Finding::warning("kernel", what, "5.10 or later is what the host is tried with"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict::{self, Ok, Problem, Warning};
    use super::*;

    fn worst(findings: &[Finding]) -> Verdict {
        findings.iter().map(|finding| finding.verdict).max().unwrap()
    }

    #[test]
    fn little_room_is_a_warning_and_hardly_any_a_problem() {
        assert_eq!(worst(&room(10 << 30, 1_000_000, 500_000)), Ok);
        assert_eq!(worst(&room(10 << 30, 0, 0)), Ok, "some file systems count no files");
        assert_eq!(worst(&room(10 << 30, 1_000_000, 10)), Warning);
        assert_eq!(worst(&room(500 << 20, 1_000_000, 500_000)), Warning);
        assert_eq!(worst(&room(1 << 20, 1_000_000, 500_000)), Problem);
    }

    #[test]
    fn limits_are_judged_by_what_a_host_needs() {
        assert_eq!((maps(262_144).verdict, maps(1_000).verdict), (Ok, Warning));
        assert_eq!((open_files(None).verdict, open_files(Some(1_024)).verdict), (Ok, Warning));
        assert_eq!(memory(None, None), None);
        assert_eq!(memory(Some((0, 8 << 30)), Some(4 << 30)).unwrap().what, "the machine has 4GiB");
        assert_eq!(memory(Some((0, 128 << 20)), Some(4 << 30)).unwrap().verdict, Warning);
        assert_eq!((kernel("6.1.0-18-amd64").verdict, kernel("4.19.0").verdict), (Ok, Warning));
        assert_eq!((core_files(false).verdict, core_files(true).verdict), (Ok, Warning));
    }

    #[test]
    fn a_clock_that_was_never_set_is_a_problem() {
        assert_eq!((clock(0).verdict, clock(1_795_000_000).verdict, clock(u64::MAX).verdict), (Problem, Ok, Problem));
    }
}
