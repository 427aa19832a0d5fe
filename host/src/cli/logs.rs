//! `host logs`: the log files, read as they lie there. It needs no host that runs: that is when they are read most. A host at an
//! address is asked for them.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::time::Duration;

use anyhow::Context;
use bothost::admin::client::ServerEvent;
use bothost::clock::Timestamp;
use bothost::generation::boot;
use bothost::id::BotName;
use bothost::logs::follow::Follower;
use bothost::logs::line::{Line, Wanted, since};
use bothost::logs::tail::Query;
use bothost::logs::{LogFile, NoLogFile, escape};
use tracing::Level;

use super::remote::{Way, address};
use super::{Failure, complain};

/// How often the file is asked for more.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// Shows log lines of the host or of a bot, from its files: the host need not run unless it is asked by --url
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
    #[command(flatten)]
    way: Way,
}

/// Lines that are shown where nobody says how many.
const LINES_DEFAULT: u32 = 100;

/// The most that a host gives at once.
const LINES_ASKED_MAX: u32 = 10_000;

fn file(text: &str) -> Result<LogFile, NoLogFile> {
    text.parse()
}

impl Logs {
    pub(super) fn run(self) -> Result<(), Failure> {
        if self.way.is_elsewhere()? {
            return self.ask();
        }
        // Where the file is not good, the host goes on with what it had.
        let config = boot(self.way.config())?.config;
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

    /// Asks a host for them.
    fn ask(&self) -> Result<(), Failure> {
        let host = self.way.find()?;
        let lines = self.lines.unwrap_or(if self.since.is_some() { LINES_ASKED_MAX } else { LINES_DEFAULT });
        let parameters = [
            ("bot", self.bot.as_ref().map(ToString::to_string)),
            ("file", self.bot.is_none().then(|| self.file.to_string())),
            ("level", self.level.map(|level| level.to_string().to_lowercase())),
            ("since", self.since.map(|since| since.to_string())),
            ("lines", Some(lines.min(LINES_ASKED_MAX).to_string())),
            ("follow", self.follow.then(|| "true".to_owned())),
        ];
        let path = address("/api/v1/logs", parameters);
        let mut out = Out { out: io::stdout().lock(), is_json: self.json };
        if self.follow {
            host.follow(&path, |event| out.hear(&event))?;
            return Ok(());
        }
        let answer = host.get(&path)?;
        let lines = answer.as_array().cloned().unwrap_or_default();
        let lines = lines.iter().map(|line| Line::read(line.to_string().as_bytes()));
        let _ = lines.into_iter().try_for_each(|line| out.show(&line));
        if answer.as_array().is_none_or(Vec::is_empty) {
            complain("the host has no such lines");
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

    /// Shows what a host that is followed says.
    fn hear(&mut self, event: &ServerEvent) -> ControlFlow<()> {
        match event.name.as_str() {
            "" | "line" => {
                self.show(&Line::read(event.data.as_bytes()))?;
                if self.out.flush().is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            }
            name => {
                complain(format_args!("the host says: {} {} (warning)", escape(name), escape(&event.data)));
                ControlFlow::Continue(())
            }
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
