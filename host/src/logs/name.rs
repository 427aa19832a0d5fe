//! Which log files there are, and what they are called: `host.log`, and once it was rotated `host.log.2026-11-21T12-40-48Z`, with
//! `.1`, `.2` … after it for further ones of one second, and `.gz` once it is packed. Pure.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use tracing::Level;

use super::bot::TARGET as BOT;
use crate::clock::Timestamp;
use crate::id::BotName;

/// The target of each turn of an alert. `alert` has the same word as a constant, which cannot be named here: it stands on this
/// floor, beside this module.
const ALERT: &str = "alert";
/// The target of what is measured now and then. Its lines go to the file of that name and nowhere else.
pub(super) const PERFORMANCE: &str = "performance";

/// The directory of the bots' files, in that of the logs.
pub(super) const BOTS_DIR: &str = "bots";
/// What every file ends with, before it is rotated.
const ENDING: &str = ".log";
/// What a packed file ends with.
const PACKED: &str = ".gz";
/// What a file ends with that is being packed.
pub(super) const UNFINISHED: &str = ".gz.tmp";

/// One log file, with those that were rotated from it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogFile {
    /// `host.log`: every line of the host's own.
    Host,
    /// `error.log`: warnings and errors of the host, and errors of bots.
    Error,
    /// `alerts.log`: each turn of an alert.
    Alerts,
    /// `performance.log`: what was measured.
    Performance,
    /// `bots/NAME.log`: what a bot writes.
    Bot(BotName),
}

/// No [`LogFile`] of the host's has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there are `host`, `error`, `alerts` and `performance`")]
pub struct NoLogFile;

impl LogFile {
    /// The files that are no bot's.
    pub const OF_HOST: [Self; 4] = [Self::Host, Self::Error, Self::Alerts, Self::Performance];

    /// Returns the directory that the file is in, in that of the logs.
    pub(super) fn directory(&self, logs: &Path) -> PathBuf {
        match self {
            Self::Bot(_) => logs.join(BOTS_DIR),
            _ => logs.to_owned(),
        }
    }

    /// Returns the path of the file that is written to.
    pub fn path(&self, logs: &Path) -> PathBuf {
        self.directory(logs).join(format!("{self}{ENDING}"))
    }

    /// Returns the path of one that was rotated.
    pub(super) fn rotated(&self, logs: &Path, stamp: Stamp) -> PathBuf {
        self.directory(logs).join(format!("{self}{ENDING}.{stamp}"))
    }

    /// Returns the path of one that was rotated and packed.
    pub(super) fn packed(&self, logs: &Path, stamp: Stamp) -> PathBuf {
        self.directory(logs).join(format!("{self}{ENDING}.{stamp}{PACKED}"))
    }
}

impl FromStr for LogFile {
    type Err = NoLogFile;

    fn from_str(text: &str) -> Result<Self, NoLogFile> {
        Self::OF_HOST.into_iter().find(|file| file.to_string() == text).ok_or(NoLogFile)
    }
}

impl fmt::Display for LogFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "host",
            Self::Error => "error",
            Self::Alerts => "alerts",
            Self::Performance => "performance",
            Self::Bot(name) => name.as_str(),
        })
    }
}

/// When a file was rotated: the second, and which of that second. Those of one file sort as its lines do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stamp {
    seconds: u64,
    number: u32,
}

impl Stamp {
    /// Returns the stamp of a file that is rotated now, after one that has the stamp `last`: a later one, even where the clock was
    /// set back.
    pub(super) fn after(last: Option<Self>, now: Timestamp) -> Self {
        let this = Self { seconds: now.as_millis() / 1000, number: 0 };
        match last {
            Some(last) if last >= this => Self { number: last.number.saturating_add(1), ..last },
            _ => this,
        }
    }

    /// Returns whether every line of the file is older than a moment.
    pub(super) fn is_before(self, moment: Timestamp) -> bool {
        self.seconds < moment.as_millis() / 1000
    }

    /// Returns the second in which it was.
    pub(super) fn at(self) -> Timestamp {
        Timestamp::from_millis(self.seconds.saturating_mul(1000))
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Colons are no part of a file's name everywhere that files are copied to.
        write!(f, "{}", self.at().to_string().replace(':', "-"))?;
        if self.number > 0 { write!(f, ".{}", self.number) } else { Ok(()) }
    }
}

impl FromStr for Stamp {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (moment, number) = text.split_once('.').map_or((text, None), |(moment, number)| (moment, Some(number)));
        let (day, time) = moment.split_once('T').ok_or(())?;
        let moment: jiff::Timestamp = format!("{day}T{}", time.replace('-', ":")).parse().map_err(drop)?;
        let stamp = Self {
            seconds: moment.as_second().try_into().map_err(drop)?,
            number: number.map_or(Ok(0), |number| number.parse().map_err(drop))?,
        };
        // So that no other way to write it is taken for ours.
        if stamp.to_string() == text { Ok(stamp) } else { Err(()) }
    }
}

/// What a file's name says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) file: LogFile,
    /// None: the one that is written to.
    pub(super) stamp: Option<Stamp>,
    pub(super) is_packed: bool,
}

impl Named {
    /// Reads the name of a file in the directory of the logs, or of the bots' logs. None: it is none of ours.
    pub(super) fn read(name: &str, is_bot: bool) -> Option<Self> {
        let (name, is_packed) = name.strip_suffix(PACKED).map_or((name, false), |name| (name, true));
        let (stem, stamp) = match name.strip_suffix(ENDING) {
            Some(stem) if !is_packed => (stem, None),
            // A bot's name may have dots. The last of these is not in it: no stamp has one.
            _ => {
                let (stem, stamp) = name.rsplit_once(&format!("{ENDING}."))?;
                (stem, Some(stamp.parse().ok()?))
            }
        };
        let file = if is_bot { LogFile::Bot(stem.parse().ok()?) } else { stem.parse().ok()? };
        Some(Self { file, stamp, is_packed })
    }
}

/// Where a line goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) first: LogFile,
    pub(super) is_alert: bool,
    pub(super) is_error: bool,
}

impl Places {
    /// Returns where a line with this target and level goes; `bot` is the bot that it names.
    pub(super) fn of(target: &str, level: Level, bot: Option<&str>) -> Self {
        let of_host = |is_error| Self { first: LogFile::Host, is_alert: target == ALERT, is_error };
        match (target, bot.and_then(|bot| bot.parse().ok())) {
            (PERFORMANCE, _) => Self { first: LogFile::Performance, is_alert: false, is_error: false },
            (BOT, Some(bot)) => Self { first: LogFile::Bot(bot), is_alert: false, is_error: level == Level::ERROR },
            _ => of_host(level <= Level::WARN),
        }
    }

    /// Returns every file of it.
    pub(super) fn files(&self) -> impl Iterator<Item = &LogFile> {
        let further = [(self.is_alert, &LogFile::Alerts), (self.is_error, &LogFile::Error)];
        std::iter::once(&self.first).chain(further.into_iter().filter_map(|(is_so, file)| is_so.then_some(file)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(target: &str, level: Level, bot: Option<&str>) -> Vec<String> {
        Places::of(target, level, bot).files().map(ToString::to_string).collect()
    }

    #[test]
    fn every_line_has_its_place() {
        assert_eq!(shown("bothost::host", Level::INFO, None), ["host"]);
        assert_eq!(shown("bothost::bot", Level::WARN, Some("echo")), ["host", "error"]);
        assert_eq!(shown("alert", Level::INFO, Some("echo")), ["host", "alerts"]);
        assert_eq!(shown("alert", Level::ERROR, None), ["host", "alerts", "error"]);
        assert_eq!(shown("performance", Level::ERROR, Some("echo")), ["performance"]);
        assert_eq!(shown("bot", Level::WARN, Some("echo")), ["echo"]);
        assert_eq!(shown("bot", Level::ERROR, Some("echo")), ["echo", "error"]);
        assert_eq!(shown("bot", Level::INFO, Some("../host")), ["host"], "what is no name makes no path");
    }

    #[test]
    fn what_is_not_ours_is_not_read_as_ours() {
        for other in
            ["host.log.1", "host.log.gz", "x.log", "host.log.2026-11-21T12:40:48Z", "host.log.2026-11-21T12-40-48Z.0"]
        {
            assert_eq!(Named::read(other, false), None, "{other}");
        }
        assert_eq!(Named::read("host.log.2026-11-21T12-40-48Z.gz.tmp", false), None);
    }

    proptest! {
        #[test]
        fn names_read_back_and_sort_as_they_were_given(
            bot in "[a-z0-9][a-z0-9._-]{0,20}(\\.log)?(\\.gz)?", seconds in 0u64..4_000_000_000, number in 0u32..30, later in 0u64..3,
        ) {
            let file = LogFile::Bot(bot.parse().unwrap());
            let stamp = Stamp { seconds, number };
            for (path, is_packed, stamp) in [
                (file.path(Path::new("l")), false, None),
                (file.rotated(Path::new("l"), stamp), false, Some(stamp)),
                (file.packed(Path::new("l"), stamp), true, Some(stamp)),
            ] {
                let name = path.file_name().unwrap().to_str().unwrap();
                prop_assert_eq!(Named::read(name, true), Some(Named { file: file.clone(), stamp, is_packed }));
            }
            let now = Timestamp::from_millis((seconds + later).saturating_sub(1) * 1000);
            prop_assert!(Stamp::after(Some(stamp), now) > stamp);
        }
    }
}
