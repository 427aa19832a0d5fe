//! `host logs`: the log files, read as they lie there. It needs no host that runs: that is when they are read most.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use bothost::clock::Timestamp;
use bothost::generation::boot;
use bothost::id::BotName;
use bothost::logs::follow::Follower;
use bothost::logs::line::{Line, Wanted, since};
use bothost::logs::tail::Query;
use bothost::logs::{LogFile, NoLogFile};
use tracing::Level;

use super::{Failure, complain};

/// How often the file is asked for more.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// Shows log lines of the host or of a bot, from its files: the host need not run
#[derive(Debug, clap::Args)]
pub(super) struct Logs {
    /// What this bot writes, in place of the host's own lines
    #[arg(value_name = "BOT", conflicts_with = "file")]
    bot: Option<BotName>,
    /// Go on with what is written from now on
    #[arg(short, long)]
    follow: bool,
    /// Only lines at least as severe: error, warn, info, debug or trace
    #[arg(long)]
    level: Option<Level>,
    /// Only lines from then on: how long ago, as in 10m, or a time, as in 2026-11-21T12:40:48Z
    #[arg(long, value_parser = |text: &str| since(text, Timestamp::now()))]
    since: Option<Timestamp>,
    /// The last so many lines. Without it 100, or with --since all of them
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    lines: Option<u32>,
    /// Which of the host's files: host, error, alerts or performance
    #[arg(long, default_value = "host", value_parser = file)]
    file: LogFile,
    /// As JSON, an object a line
    #[arg(long)]
    json: bool,
    /// The configuration of the host
    #[arg(long, value_name = "CONFIG.toml", default_value = "config.toml")]
    config: PathBuf,
}

/// Lines that are shown where nobody says how many.
const LINES_DEFAULT: u32 = 100;

fn file(text: &str) -> Result<LogFile, NoLogFile> {
    text.parse()
}

impl Logs {
    pub(super) fn run(self) -> Result<(), Failure> {
        // Where the file is not good, the host goes on with what it had.
        let config = boot(&self.config)?.config;
        let Some(dir) = config.logs_dir() else {
            let how = "there are no log files: set `files = true` in [logs] and start the host again";
            return Err(Failure::Other(anyhow::anyhow!("{how}")));
        };
        let file = self.bot.clone().map_or_else(|| self.file.clone(), LogFile::Bot);
        let wanted = Wanted { level: self.level, since: self.since };
        let query = Query { dir, file, wanted };
        let path = query.file.path(&query.dir);
        let cannot_read = || format!("cannot read {}", path.display());
        let mut out = Out { out: io::stdout().lock(), is_json: self.json };
        let mut count = 0;
        let follower = match (self.lines, self.since) {
            (None, Some(_)) => query.all(&mut |line| {
                count += 1;
                out.show(&line)
            }),
            (lines, _) => query.last(lines.unwrap_or(LINES_DEFAULT) as usize).map(|(lines, follower)| {
                count = lines.len();
                let _ = lines.iter().try_for_each(|line| out.show(line));
                follower
            }),
        };
        let follower = follower.with_context(cannot_read)?;
        let _ = out.out.flush();
        if self.follow {
            return Ok(out.follow(follower).with_context(cannot_read)?);
        }
        if count == 0 {
            complain(format_args!("no lines in {}", path.display()));
        }
        Ok(())
    }
}

/// Where lines are shown.
struct Out {
    out: io::StdoutLock<'static>,
    is_json: bool,
}

impl Out {
    /// Shows a line. Break: nobody reads any more.
    fn show(&mut self, line: &Line) -> ControlFlow<()> {
        let text = if self.is_json { line.to_json() } else { line.to_text() };
        match writeln!(self.out, "{text}") {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }

    /// Shows what comes, until nobody reads any more.
    fn follow(&mut self, mut follower: Follower) -> io::Result<()> {
        loop {
            let batch = follower.read_on()?;
            if batch.lines.iter().any(|line| self.show(line).is_break()) || self.out.flush().is_err() {
                return Ok(());
            }
            if !batch.is_more() {
                std::thread::sleep(ASK_EVERY);
            }
        }
    }
}
