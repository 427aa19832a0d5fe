//! The name of this machine, as people know it.

/// Longest name that is taken over, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// Returns the machine's name; `bothost` where the system does not say.
pub fn name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String = name.trim().chars().filter(|letter| !letter.is_control()).take(NAME_BYTES_MAX).collect();
    if name.is_empty() { "bothost".to_owned() } else { name }
}
