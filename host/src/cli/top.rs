//! `host top`: the bots of the running host, live. What is shown and how keys change it is in `top/model`, how it looks in
//! `top/screen`, what is asked of the host in `top/poll`.

mod model;
mod poll;
mod screen;

use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use bothost::units::Span;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use tokio::signal::unix::{SignalKind, signal};

use self::model::{Summary, View, Wish};
use self::poll::{News, Poll, Poller};
use super::remote::{Remote, Session};
use super::table::{Table, terminal_width};
use super::{Failure, tell};

/// How long a key or news wait to be seen at most.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Asking more often would be most of what the host does.
const INTERVAL_MIN: Duration = Duration::from_millis(200);

/// Shows the bots of the running host, live: fuel, latency, memory, queues, faults. `?` shows the keys
#[derive(Debug, clap::Args)]
pub(super) struct Top {
    #[command(flatten)]
    remote: Remote,
    /// How often the host is asked
    #[arg(long, value_name = "TIME", default_value = "2s")]
    interval: Span,
    /// Prints it once, after one interval. So it is where the output is no terminal
    #[arg(long)]
    once: bool,
    /// Only bots whose name has this, or that are in this phase
    #[arg(long, value_name = "TEXT", default_value = "")]
    filter: String,
}

impl Top {
    pub(super) fn run(self) -> Result<(), Failure> {
        let (host, interval) = (self.remote.find()?, self.interval.0.max(INTERVAL_MIN));
        // One who cannot be reached at all is no host to wait for.
        let first = poll::ask(&host)?;
        let view = View { filter: self.filter, ..View::default() };
        if self.once || self.remote.json || !io::stdout().is_terminal() || !io::stdin().is_terminal() {
            std::thread::sleep(interval);
            return once(&host, &first, &view, self.remote.json);
        }
        let is_ended = watch_signals()?;
        let poller = Poller::start(host, interval).context("cannot start a thread")?;
        let terminal = ratatui::try_init().context("cannot take over the terminal")?;
        let shown = live(terminal, &poller, first, view, &is_ended);
        ratatui::restore();
        Ok(shown.context("the terminal is gone")?)
    }
}

/// Prints one frame.
fn once(host: &Session, first: &Poll, view: &View, is_json: bool) -> Result<(), Failure> {
    let now = poll::ask(host)?;
    let (rows, summary) = (model::rows(&now, Some(first)), model::summary(&now, Some(first)));
    let selected = view.select(&rows);
    if is_json {
        let bot = |row: &&model::Row| {
            serde_json::json!({
                "bot": row.bot, "fuel_per_second": row.fuel, "attempts_per_second": row.attempts,
                "p50_seconds": row.p50, "p95_seconds": row.p95,
                "memory_peak_bytes": row.memory_peak, "memory_limit_bytes": row.memory_limit,
            })
        };
        tell(serde_json::json!({
            "status": summary.status, "uptime_seconds": summary.uptime_seconds, "memory_bytes": summary.memory,
            "events_per_second": summary.events, "alerts": summary.alerts, "critical": summary.critical,
            "bots": selected.iter().map(bot).collect::<Vec<_>>(),
        }));
        return Ok(());
    }
    let mut table = Table::new(screen::HEADINGS);
    for row in selected {
        let cells = screen::cells(row);
        table.push(cells.each_ref().map(String::as_str));
    }
    tell(format_args!("host {}  {}\n\n{}", bothost::logs::escape(&summary.status), screen::host_words(&summary), table.render(terminal_width())));
    Ok(())
}

/// Shows it until the operator has seen enough, or the process is to end.
fn live(
    mut terminal: DefaultTerminal,
    poller: &Poller,
    first: Poll,
    mut view: View,
    is_ended: &AtomicBool,
) -> io::Result<()> {
    let mut rows = model::rows(&first, None);
    let mut summary: Summary = model::summary(&first, None);
    let (mut last, mut lost, mut is_new) = (first, None::<String>, true);
    while !is_ended.load(Ordering::Relaxed) {
        if is_new {
            let height = screen::height_of_rows(terminal.size()?.height);
            view.scroll(&view.select(&rows), height);
            let selected = view.select(&rows);
            terminal.draw(|frame| screen::draw(frame, &summary, &selected, &view, lost.as_deref()))?;
        }
        is_new = event::poll(LOOK_EVERY)?;
        if is_new && let Event::Key(key) = event::read()? && key.kind != KeyEventKind::Release {
            let height = screen::height_of_rows(terminal.size()?.height);
            let selected = view.select(&rows);
            match view.key(key, &selected, height) {
                Some(Wish::Quit) => return Ok(()),
                Some(Wish::Restart(bot)) => {
                    view.note = poller.restart(&bot).or_else(|| Some(format!("bot {bot}: restarting")));
                }
                None => {}
            }
        }
        if let Some(news) = poller.news() {
            is_new = true;
            match news {
                News::Poll(now) if !view.is_paused => {
                    (rows, summary) = (model::rows(&now, Some(&last)), model::summary(&now, Some(&last)));
                    (last, lost) = (*now, None);
                }
                News::Poll(_) => lost = None,
                News::Lost(why) => lost = Some(why),
                News::Answer(said) => view.note = Some(said),
            }
        }
    }
    Ok(())
}

/// Returns what is set when the process is to end, so that the terminal is given back first. The thread ends with the process.
fn watch_signals() -> Result<Arc<AtomicBool>, Failure> {
    let is_ended = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&is_ended);
    let runtime = super::target::runtime()?;
    let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
    let signals: io::Result<Vec<_>> = {
        let _inside = runtime.enter();
        kinds.into_iter().map(signal).collect()
    };
    let mut signals = signals.context("cannot wait for signals")?;
    let wait = move || {
        let [terminate, interrupt, hangup] = &mut signals[..] else { return };
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = hangup.recv() => {}
            }
        });
        seen.store(true, Ordering::Relaxed);
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(wait).context("cannot start a thread")?;
    Ok(is_ended)
}
