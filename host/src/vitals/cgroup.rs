//! The control group that this process is in: how much memory and processor time it may have, how much of that it has, and whether
//! it waits for some. Knows the second version of control groups, and the memory of the first, as older systems and some containers
//! have it. A limit of any group above counts as one of this group's own.

use std::path::{Component, Path, PathBuf};

use super::{kernel_text, kernel_text_up_to};

/// Groups above this one that are looked at.
const DEPTH_MAX: usize = 32;
/// A machine full of containers has many mounts.
const MOUNTS_BYTES_MAX: u64 = 4 << 20;

/// Where the files of this process' control groups are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Groups {
    /// The second version's, from the group itself up to the highest that is visible.
    unified: Vec<PathBuf>,
    /// Those of the first version's memory.
    memory: Vec<PathBuf>,
}

/// How much memory a group has and may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) used_bytes: u64,
    /// Of that, caches of files that were not read of late.
    pub(super) idle_cache_bytes: u64,
    pub(super) limit_bytes: u64,
}

/// What the control group says.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Reading {
    /// Memory of this group, with its caches.
    pub(super) memory_bytes: Option<u64>,
    /// The narrowest limit of memory, and how much of it is used by all that it holds for.
    pub(super) memory: Option<Memory>,
    pub(super) cpu_limit_cores: Option<f64>,
    pub(super) throttled_seconds: Option<f64>,
    /// For processor, memory, input and output: part of the last ten seconds in which something of the group waited.
    pub(super) pressure: [Option<f64>; 3],
}

/// What pressure is on, as the files are called.
const RESOURCES: [&str; 3] = ["cpu", "memory", "io"];

/// The names of one version's files about memory.
struct MemoryFiles {
    used: &'static str,
    limit: &'static str,
    idle_cache: &'static str,
}

const UNIFIED: MemoryFiles = MemoryFiles { used: "memory.current", limit: "memory.max", idle_cache: "inactive_file" };
const FIRST: MemoryFiles =
    MemoryFiles { used: "memory.usage_in_bytes", limit: "memory.limit_in_bytes", idle_cache: "total_inactive_file" };

impl Groups {
    /// Finds the groups of this process. Blocking, for a moment.
    pub(super) fn find() -> Self {
        let (Some(membership), Some(mounts)) =
            (kernel_text("/proc/self/cgroup"), kernel_text_up_to("/proc/self/mountinfo", MOUNTS_BYTES_MAX))
        else {
            return Self::default();
        };
        Self::locate(&membership, &mounts)
    }

    /// Finds the groups in what `/proc/self/cgroup` and `/proc/self/mountinfo` say.
    fn locate(membership: &str, mounts: &str) -> Self {
        let unified = membership.lines().find_map(|line| line.strip_prefix("0::"));
        let memory = membership.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            controllers.split(',').any(|controller| controller == "memory").then_some(path)
        });
        let chain_of = |path: Option<&str>, is_it: &dyn Fn(&Mount<'_>) -> bool| {
            let mount = mounts.lines().filter_map(mount).find(is_it)?;
            Some(chain(&mount, path?))
        };
        Self {
            unified: chain_of(unified, &|mount| mount.kind == "cgroup2").unwrap_or_default(),
            memory: chain_of(memory, &|mount| {
                mount.kind == "cgroup" && mount.options.split(',').any(|option| option == "memory")
            })
            .unwrap_or_default(),
        }
    }

    /// Reads what the groups say now. Blocking, for a moment.
    pub(super) fn read(&self) -> Reading {
        let limits = self.unified.iter().filter_map(|group| limit_of(group, &UNIFIED));
        let memory = limits.chain(self.memory.iter().filter_map(|group| limit_of(group, &FIRST)));
        let used = |groups: &[PathBuf], files: &MemoryFiles| whole(&kernel_text(groups.first()?.join(files.used))?);
        let cores = self.unified.iter().filter_map(|group| cores(&kernel_text(group.join("cpu.max"))?));
        let own = self.unified.first();
        let throttled = own.and_then(|group| keyed(&kernel_text(group.join("cpu.stat"))?, "throttled_usec"));
        Reading {
            memory_bytes: used(&self.unified, &UNIFIED).or_else(|| used(&self.memory, &FIRST)),
            memory: memory.min_by_key(|memory| memory.limit_bytes),
            cpu_limit_cores: cores.min_by(f64::total_cmp),
            throttled_seconds: throttled.map(|micros| micros as f64 / 1e6),
            pressure: RESOURCES.map(|resource| {
                let text = own.and_then(|group| kernel_text(group.join(format!("{resource}.pressure"))));
                waited(&text.or_else(|| kernel_text(format!("/proc/pressure/{resource}")))?)
            }),
        }
    }
}

/// A line of `mountinfo`.
struct Mount<'a> {
    /// What of the file system is mounted.
    root: &'a str,
    point: &'a str,
    kind: &'a str,
    /// Those of the file system.
    options: &'a str,
}

fn mount(line: &str) -> Option<Mount<'_>> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ').skip(3);
    let (root, point) = (before.next()?, before.next()?);
    let mut after = after.split(' ');
    let (kind, options) = (after.next()?, after.nth(1)?);
    Some(Mount { root, point, kind, options })
}

/// Returns the directories of a group and of those above it, as far as they are mounted.
fn chain(mount: &Mount<'_>, path: &str) -> Vec<PathBuf> {
    let point = PathBuf::from(mount.point);
    // In a container the path may be one of the machine's, of which only this group is mounted.
    let below = Path::new(path).strip_prefix(mount.root).unwrap_or(Path::new(""));
    let is_plain = below.components().all(|part| matches!(part, Component::Normal(_)));
    let own = if is_plain { point.join(below) } else { point.clone() };
    own.ancestors().take_while(|group| group.starts_with(&point)).take(DEPTH_MAX).map(Path::to_owned).collect()
}

/// Returns how much memory a group has and may have; none where it has no limit.
fn limit_of(group: &Path, files: &MemoryFiles) -> Option<Memory> {
    let limit_bytes = whole(&kernel_text(group.join(files.limit))?)?;
    let used_bytes = whole(&kernel_text(group.join(files.used))?)?;
    let stat = kernel_text(group.join("memory.stat")).unwrap_or_default();
    Some(Memory { used_bytes, idle_cache_bytes: keyed(&stat, files.idle_cache).unwrap_or(0), limit_bytes })
}

/// Reads a number; `max` is none.
fn whole(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// Reads a number out of lines of a name and a number.
fn keyed(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.split_once(' ').filter(|(given, _)| *given == name)?.1.trim().parse().ok())
}

/// Reads a `cpu.max`: how much of each period may be used.
fn cores(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

/// Reads what part of the last ten seconds something waited.
fn waited(text: &str) -> Option<f64> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let percent: f64 = some.split(' ').find_map(|field| field.strip_prefix("avg10="))?.parse().ok()?;
    (0.0..=100.0).contains(&percent).then_some(percent / 100.0)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const MIB: u64 = 1 << 20;

    /// A service of systemd on a machine with the second version only.
    const SERVICE: &str = "0::/system.slice/bothost.service\n";
    const MOUNTS: &str = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
        29 24 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n";

    /// A container of Docker on the first version, without a namespace for control groups of its own.
    const CONTAINER: &str = "12:cpu,cpuacct:/docker/4f0c\n8:memory:/docker/4f0c\n1:name=systemd:/docker/4f0c\n";
    const CONTAINER_MOUNTS: &str = "740 735 0:60 / /sys/fs/cgroup rw,nosuid - tmpfs tmpfs rw,mode=755\n\
        741 740 0:31 /docker/4f0c /sys/fs/cgroup/cpu,cpuacct ro,nosuid master:15 - cgroup cgroup rw,cpu,cpuacct\n\
        749 740 0:35 /docker/4f0c /sys/fs/cgroup/memory ro,nosuid master:19 - cgroup cgroup rw,memory\n";

    fn paths(paths: &[&str]) -> Vec<PathBuf> {
        paths.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn a_group_is_found_with_those_above_it() {
        let groups = Groups::locate(SERVICE, MOUNTS);
        let expected = ["/sys/fs/cgroup/system.slice/bothost.service", "/sys/fs/cgroup/system.slice", "/sys/fs/cgroup"];
        assert_eq!(groups, Groups { unified: paths(&expected), memory: Vec::new() });
    }

    #[test]
    fn in_a_container_the_group_is_where_it_is_mounted() {
        let groups = Groups::locate(CONTAINER, CONTAINER_MOUNTS);
        assert_eq!(groups, Groups { unified: Vec::new(), memory: paths(&["/sys/fs/cgroup/memory"]) });
        // A namespace whose own group is not the one that is mounted.
        let above = Groups::locate("0::/../../elsewhere\n", MOUNTS);
        assert_eq!(above.unified, paths(&["/sys/fs/cgroup"]));
    }

    #[test]
    fn both_versions_may_be_there_and_neither_may() {
        let membership = "4:memory:/a/b\n0::/\n";
        let mounts = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        let groups = Groups::locate(membership, mounts);
        assert_eq!(groups.unified, paths(&["/sys/fs/cgroup/unified"]));
        let memory = ["/sys/fs/cgroup/memory/a/b", "/sys/fs/cgroup/memory/a", "/sys/fs/cgroup/memory"];
        assert_eq!(groups.memory, paths(&memory));
        for (membership, mounts) in [("", ""), (SERVICE, ""), ("", MOUNTS), ("garbage", "garbage - x"), ("4:", "1 2")] {
            assert_eq!(Groups::locate(membership, mounts), Groups::default(), "{membership} {mounts}");
        }
    }

    /// Writes the files of a group.
    fn group(dir: &Path, files: &[(&str, String)]) {
        fs::create_dir_all(dir).unwrap();
        files.iter().for_each(|(name, text)| fs::write(dir.join(name), text).unwrap());
    }

    fn bytes(mib: u64) -> String {
        format!("{}\n", mib * MIB)
    }

    #[test]
    fn of_nested_limits_the_narrowest_counts_with_all_that_it_holds_for() {
        let root = tempfile::tempdir().unwrap();
        let (slice, service) = (root.path().join("app.slice"), root.path().join("app.slice/bothost.service"));
        let cpu_stat = "usage_usec 900\nnr_periods 10\nnr_throttled 3\nthrottled_usec 2500000\n".to_owned();
        group(
            &service,
            &[
                ("memory.current", bytes(100)),
                ("memory.max", "max\n".to_owned()),
                ("cpu.max", "400000 100000\n".to_owned()),
                ("cpu.stat", cpu_stat),
                ("memory.pressure", "some avg10=12.50 avg60=1.00 avg300=0.10 total=99\nfull avg10=0.00\n".to_owned()),
            ],
        );
        group(
            &slice,
            &[
                ("memory.current", bytes(300)),
                ("memory.max", bytes(512)),
                ("memory.stat", format!("anon 1\ninactive_file {}\nactive_file 3\n", 50 * MIB)),
                ("cpu.max", "150000 100000\n".to_owned()),
            ],
        );
        let groups = Groups { unified: vec![service, slice, root.path().to_owned()], memory: Vec::new() };
        let reading = groups.read();
        let narrowest = Memory { used_bytes: 300 * MIB, idle_cache_bytes: 50 * MIB, limit_bytes: 512 * MIB };
        assert_eq!((reading.memory, reading.memory_bytes), (Some(narrowest), Some(100 * MIB)));
        assert_eq!((reading.cpu_limit_cores, reading.throttled_seconds), (Some(1.5), Some(2.5)));
        assert_eq!(reading.pressure[1], Some(0.125));
    }

    #[test]
    fn the_first_version_has_other_names_and_a_huge_number_for_no_limit() {
        let root = tempfile::tempdir().unwrap();
        let none = "9223372036854771712\n".to_owned();
        group(root.path(), &[("memory.usage_in_bytes", bytes(900)), ("memory.limit_in_bytes", none)]);
        let own = root.path().join("own");
        let stat = format!("cache 1\ninactive_file 1\ntotal_inactive_file {}\n", 10 * MIB);
        group(
            &own,
            &[("memory.usage_in_bytes", bytes(40)), ("memory.limit_in_bytes", bytes(64)), ("memory.stat", stat)],
        );
        let groups = Groups { unified: Vec::new(), memory: vec![own, root.path().to_owned()] };
        let expected = Memory { used_bytes: 40 * MIB, idle_cache_bytes: 10 * MIB, limit_bytes: 64 * MIB };
        let reading = groups.read();
        assert_eq!((reading.memory, reading.memory_bytes), (Some(expected), Some(40 * MIB)));
        assert_eq!((reading.cpu_limit_cores, reading.throttled_seconds), (None, None));
    }

    #[test]
    fn a_group_without_files_says_nothing() {
        let root = tempfile::tempdir().unwrap();
        let groups = Groups { unified: vec![root.path().to_owned()], memory: Vec::new() };
        let Reading { memory_bytes, memory, cpu_limit_cores, throttled_seconds, .. } = groups.read();
        assert_eq!((memory_bytes, memory, cpu_limit_cores, throttled_seconds), (None, None, None, None));
    }

    #[test]
    fn no_text_is_read_as_what_it_does_not_say() {
        for (text, expected) in [("max 100000\n", None), ("50000 100000", Some(0.5)), ("", None), ("1 0", None)] {
            assert_eq!(cores(text), expected, "{text}");
        }
        let pressure = "some avg10=0.31 avg60=0.25 avg300=0.15 total=4783071343\nfull avg10=9.00 avg60=0.00 total=0\n";
        for (text, expected) in [
            (pressure, Some(0.0031)),
            ("", None),
            ("full avg10=1.00", None),
            ("some avg10=nan", None),
            ("some x", None),
        ] {
            assert_eq!(waited(text), expected, "{text}");
        }
        assert_eq!(keyed("a 1\nab 2\n", "ab"), Some(2));
        assert_eq!((keyed("ab", "ab"), whole("max\n"), whole("-1")), (None, None, None));
    }
}
