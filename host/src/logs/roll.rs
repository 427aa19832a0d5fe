//! When a log file is rotated, and which of the rotated ones go. Pure.

use std::collections::HashMap;
use std::time::Duration;

use super::directory::Found;
use super::name::LogFile;
use crate::clock::Timestamp;

const DAY: Duration = Duration::from_secs(86_400);

/// How much is written to one file, and how much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// A file that would have more bytes is rotated before.
    pub file_bytes_max: u64,
    /// A file holds the lines of one such period, counted from the epoch. Not zero.
    pub rotate_every: Duration,
    /// How many days a rotated file is kept.
    pub keep_days: u32,
    /// How many rotated files are kept of each file.
    pub keep_files: u32,
    /// Most bytes of all files together.
    pub total_bytes_max: u64,
    /// Whether rotated files are packed.
    pub is_packed: bool,
}

impl Rules {
    /// Returns whether a file of so many bytes, last written to at `written`, is to be rotated before `more` bytes are added. An empty
    /// one never is.
    pub(super) fn is_due(&self, bytes: u64, more: u64, written: Timestamp, now: Timestamp) -> bool {
        let period = |moment: Timestamp| u128::from(moment.as_millis()) / self.rotate_every.as_millis().max(1);
        bytes > 0 && (bytes.saturating_add(more) > self.file_bytes_max || period(now) > period(written))
    }

    /// Returns which of the files go: first those that are too old, then those that are too many of one file, then the oldest until
    /// the bytes fit. Of the files that are written to only a bot's may go, which its bot has not written to for as long, and none
    /// that `is_open`.
    pub(super) fn surplus<'f>(
        &self,
        files: &'f [Found],
        now: Timestamp,
        is_open: impl Fn(&LogFile) -> bool,
    ) -> Vec<&'f Found> {
        let may_go = |found: &Found| {
            let Found { named, .. } = found;
            named.stamp.is_some() || matches!(named.file, LogFile::Bot(_)) && !is_open(&named.file)
        };
        let mut candidates: Vec<&Found> = files.iter().filter(|found| may_go(found)).collect();
        // The newest first.
        candidates.sort_by_key(|found| std::cmp::Reverse(found.age_key()));
        let kept_for = DAY * self.keep_days;
        let mut of_file: HashMap<&LogFile, u32> = HashMap::new();
        let mut total: u64 = files.iter().filter(|found| !may_go(found)).map(|found| found.bytes).sum();
        let mut is_full = false;
        let goes = |found: &&'f Found| {
            let is_too_old = now.saturating_since(found.written()) > kept_for;
            let is_too_many = found.named.stamp.is_some() && {
                let count = of_file.entry(&found.named.file).or_default();
                *count += 1;
                *count > self.keep_files
            };
            if is_too_old || is_too_many {
                return true;
            }
            // Past the first that does not fit all older ones go, so that what is left has no gaps.
            is_full |= total.saturating_add(found.bytes) > self.total_bytes_max;
            if !is_full {
                total += found.bytes;
            }
            is_full
        };
        candidates.into_iter().filter(goes).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::name::{Named, Stamp};
    use proptest::prelude::*;

    const RULES: Rules = Rules {
        file_bytes_max: 1000,
        rotate_every: Duration::from_secs(86_400),
        keep_days: 14,
        keep_files: 3,
        total_bytes_max: 5000,
        is_packed: true,
    };

    fn at(days: u64, seconds: u64) -> Timestamp {
        Timestamp::from_millis((days * 86_400 + seconds) * 1000)
    }

    #[test]
    fn a_file_is_rotated_by_size_and_at_midnight_and_never_while_it_is_empty() {
        assert!(!RULES.is_due(900, 100, at(7, 0), at(7, 86_399)));
        assert!(RULES.is_due(900, 101, at(7, 0), at(7, 0)));
        assert!(RULES.is_due(1, 1, at(7, 86_399), at(8, 0)));
        assert!(!RULES.is_due(0, 9999, at(7, 0), at(99, 0)));
        assert!(!RULES.is_due(1, 1, at(8, 0), at(7, 0)), "a clock that is set back");
    }

    fn found(file: LogFile, rotated: Option<Timestamp>, bytes: u64) -> Found {
        let stamp = rotated.map(|at| Stamp::after(None, at));
        Found {
            path: format!("{file}-{stamp:?}").into(),
            named: Named { file, stamp, is_packed: false },
            bytes,
            changed: rotated.unwrap_or(at(90, 0)),
        }
    }

    #[test]
    fn the_oldest_go_and_never_what_is_open() {
        let bot = |name: &str| LogFile::Bot(name.parse().unwrap());
        let now = at(100, 0);
        let files = [
            found(LogFile::Host, None, 4000),
            found(bot("open"), None, 500),
            found(bot("idle"), None, 200),
            found(LogFile::Host, Some(at(99, 0)), 100),
            found(LogFile::Host, Some(at(98, 0)), 100),
            found(LogFile::Host, Some(at(97, 0)), 100),
            found(LogFile::Host, Some(at(96, 0)), 100),
            found(LogFile::Error, Some(at(95, 0)), 100),
            found(LogFile::Error, Some(at(85, 0)), 1),
        ];
        let goes = |rules: Rules| {
            let surplus = rules.surplus(&files, now, |file| *file == bot("open"));
            surplus.iter().map(|gone| files.iter().position(|file| file == *gone).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(goes(RULES), [6, 2, 8], "the fourth of one file, what does not fit, what is too old");
        assert_eq!(goes(Rules { total_bytes_max: 0, ..RULES }), [3, 4, 5, 6, 7, 2, 8]);
        assert_eq!(goes(Rules { total_bytes_max: 1 << 20, keep_files: 4, keep_days: 5, ..RULES }), [2, 8]);
    }

    proptest! {
        #[test]
        fn what_stays_is_within_every_bound_unless_it_is_open(
            sizes in proptest::collection::vec((0u64..2000, 0u64..30, 0usize..4), 0..40),
        ) {
            let now = at(100, 0);
            let files: Vec<_> = sizes.iter().enumerate().map(|(index, (bytes, age, file))| {
                let rotated = at(100 - age, 0).saturating_add(Duration::from_secs(index as u64 + 1));
                found(LogFile::OF_HOST[*file].clone(), Some(rotated), *bytes)
            }).collect();
            let gone = RULES.surplus(&files, now, |_| true);
            let stays: Vec<_> = files.iter().filter(|file| !gone.contains(file)).collect();
            prop_assert!(stays.iter().map(|file| file.bytes).sum::<u64>() <= RULES.total_bytes_max);
            for file in LogFile::OF_HOST {
                prop_assert!(stays.iter().filter(|found| found.named.file == file).count() <= 3);
            }
            prop_assert!(stays.iter().all(|found| now.saturating_since(found.written()) <= DAY * RULES.keep_days));
        }
    }
}
