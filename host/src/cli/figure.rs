//! Measurements for people: in a unit that suits them, and many of them in a line of blocks.

/// Blocks by height.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// What a number is, as the names of metrics say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Bytes,
    Seconds,
    Ratio,
    Plain,
}

impl Unit {
    /// Returns the unit that a metric's name ends in.
    pub(super) fn of(name: &str) -> Self {
        let name = name.strip_suffix("_total").unwrap_or(name);
        match name.rsplit('_').next() {
            Some("bytes") => Self::Bytes,
            Some("seconds") => Self::Seconds,
            Some("ratio") => Self::Ratio,
            _ => Self::Plain,
        }
    }

    /// Returns a number with about three digits.
    pub(super) fn show(self, number: f64) -> String {
        match self {
            Self::Bytes => scaled(number, 1024.0, &[" B", " KiB", " MiB", " GiB", " TiB"]),
            Self::Seconds if number == 0.0 || number.abs() >= 1.0 => format!("{} s", short(number)),
            Self::Seconds if number.abs() >= 1e-3 => format!("{} ms", short(number * 1e3)),
            Self::Seconds => format!("{} µs", short(number * 1e6)),
            Self::Ratio => format!("{} %", short(number * 100.0)),
            Self::Plain => scaled(number, 1000.0, &["", "k", "M", "G", "T"]),
        }
    }

    /// As [`Unit::show`], of what may not be known.
    pub(super) fn show_some(self, number: Option<f64>) -> String {
        number.map(|number| self.show(number)).unwrap_or_default()
    }
}

fn scaled(mut number: f64, factor: f64, units: &[&str]) -> String {
    let mut unit = 0;
    // What would be rounded to a thousand is one of the next unit.
    while number.abs() >= factor - 0.5 && unit + 1 < units.len() {
        number /= factor;
        unit += 1;
    }
    format!("{}{}", short(number), units[unit])
}

/// Three digits, without zeros that say nothing.
fn short(number: f64) -> String {
    let digits = match number.abs() {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{number:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// Returns a line of at most so many blocks, each as high as the highest of its numbers; those that are none are gaps.
pub(super) fn sparkline(numbers: &[Option<f64>], width: usize) -> String {
    let per_block = numbers.len().div_ceil(width.max(1)).max(1);
    let finite = || numbers.iter().flatten().copied().filter(|number| number.is_finite());
    let (low, high) = (finite().reduce(f64::min).unwrap_or(0.0).min(0.0), finite().reduce(f64::max).unwrap_or(0.0));
    let block = |part: &[Option<f64>]| match part.iter().flatten().copied().reduce(f64::max) {
        None => ' ',
        Some(_) if high <= low => BLOCKS[0],
        Some(number) => {
            let height = (number - low) / (high - low) * (BLOCKS.len() - 1) as f64;
            BLOCKS[(height.round().max(0.0) as usize).min(BLOCKS.len() - 1)]
        }
    };
    numbers.chunks(per_block).map(block).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_in_a_unit_that_suits_them() {
        for (name, number, shown) in [
            ("bothost_process_resident_bytes", 50_000_000.0, "47.7 MiB"),
            ("bothost_queue_bytes", 1_023.9, "1 KiB"),
            ("bothost_attempt_elapsed_seconds", 0.000_25, "250 µs"),
            ("bothost_attempt_elapsed_seconds", 0.012_34, "12.3 ms"),
            ("bothost_process_cpu_seconds_total", 90.0, "90 s"),
            ("bothost_memory_used_ratio", 0.125, "12.5 %"),
            ("bothost_attempt_fuel_units", 2e6, "2M"),
            ("bothost_queue_depth_events", 0.0, "0"),
            ("bothost_guest_balance", -2.5, "-2.5"),
            ("bothost_x", 999.7, "1k"),
        ] {
            assert_eq!(Unit::of(name).show(number), shown, "{name} {number}");
        }
    }

    #[test]
    fn a_line_of_blocks_has_no_more_than_fit_and_shows_the_highest() {
        let numbers: Vec<_> = (0..8).map(|number| Some(f64::from(number))).collect();
        assert_eq!(sparkline(&numbers, 8), "▁▂▃▄▅▆▇█");
        assert_eq!(sparkline(&numbers, 4), "▂▄▆█");
        assert_eq!(sparkline(&[Some(0.0), None, Some(0.0)], 9), "▁ ▁");
        assert_eq!(sparkline(&[], 9), "");
        assert_eq!(sparkline(&[Some(f64::INFINITY), Some(1.0)], 9), "██");
    }
}
