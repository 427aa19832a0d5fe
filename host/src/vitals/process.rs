//! What the kernel says of one process in its `stat`. Pure.

/// What a `stat` says, in the kernel's units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    /// Processor time, in the program and in the kernel for it, in clock ticks.
    pub(super) cpu_ticks: u64,
    pub(super) threads: u64,
    /// When it began, in clock ticks since the machine did.
    pub(super) started_ticks: u64,
    /// Memory, in pages.
    pub(super) resident_pages: u64,
}

/// Reads a `stat`. The name in it, in parentheses, may hold anything.
pub(super) fn stat(text: &str) -> Option<Stat> {
    let (_, after_name) = text.rsplit_once(')')?;
    let fields: Vec<_> = after_name.split_whitespace().take(22).collect();
    // The first of them is the third of all.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(Stat {
        cpu_ticks: field(14)?.saturating_add(field(15)?),
        threads: field(20)?,
        started_ticks: field(22)?,
        resident_pages: field(24)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_cannot_move_the_fields() {
        let text = "2071 (host) a b) S 1 2071 2071 0 -1 4194560 9181 0 12 0 412 88 0 0 20 0 23 0 173302 1187840000 11264 \
                    18446744073709551615 1 1 0 0 0";
        let expected = Stat { cpu_ticks: 500, threads: 23, started_ticks: 173_302, resident_pages: 11_264 };
        assert_eq!(stat(text), Some(expected));
        for bad in ["", "7 (x", "7 (x) S 1 2", &text[..60]] {
            assert_eq!(stat(bad), None, "{bad}");
        }
    }
}
