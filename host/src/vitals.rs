//! How the machine and this process are: processor, memory, disk, descriptors, load, the limits and the pressure of the control
//! group; and whether what the operator named for probing answers. Measures, and tells nobody but the metrics.

mod cgroup;
mod config;
mod probe;
mod process;
mod reader;
mod rota;

pub use self::config::{PROBES_MAX, ProbeConfig, ProbeTarget, TcpTarget, VitalsConfig};
pub use self::probe::{ProbeError, ProbeStatus, Probes};
pub use self::reader::Vitals;
pub use crate::metrics::VitalFigures as Figures;

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// What the kernel says in a file of its own is shorter; what is cut off is not missed.
const KERNEL_TEXT_BYTES_MAX: u64 = 64 << 10;

/// Returns how many bytes of memory the control groups of this process have, and how many they may have. Blocking, for a moment.
pub fn memory_limit() -> Option<(u64, u64)> {
    let memory = cgroup::Groups::find().read().memory?;
    Some((memory.used_bytes, memory.limit_bytes))
}

/// Returns what a file of the kernel says, as far as it is bounded; none where there is no such file. Blocking, for as long as the
/// kernel takes.
fn kernel_text(path: impl AsRef<Path>) -> Option<String> {
    kernel_text_up_to(path, KERNEL_TEXT_BYTES_MAX)
}

fn kernel_text_up_to(path: impl AsRef<Path>, bytes_max: u64) -> Option<String> {
    let mut text = Vec::new();
    File::open(path).ok()?.take(bytes_max).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}
