//! What a verb is at, for one who waits before a terminal: a line on standard error that is gone when the verb has something to say.
//! Nothing is shown of what is quick, in pipes, or beside JSON.

use std::env;
use std::io::{self, IsTerminal as _};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What takes no longer is not worth a line.
const QUICK: Duration = Duration::from_millis(200);
const TURN_EVERY: Duration = Duration::from_millis(100);

/// A line that says what a verb is at. It goes when this is dropped.
pub(super) struct Progress(Option<Shown>);

struct Shown {
    bar: ProgressBar,
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Begins to say it, unless nobody would see it, or what is shown is for programs.
    pub(super) fn begin(what: &str, is_json: bool) -> Self {
        let is_dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        if is_json || is_dumb || !io::stderr().is_terminal() {
            return Self(None);
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        bar.set_style(ProgressStyle::default_spinner());
        bar.set_message(what.to_owned());
        let (stop, stopped) = sync_channel(1);
        let shown = bar.clone();
        let wait = move || {
            if stopped.recv_timeout(QUICK) == Err(RecvTimeoutError::Timeout) {
                shown.set_draw_target(ProgressDrawTarget::stderr());
                shown.enable_steady_tick(TURN_EVERY);
            }
        };
        // Without the thread there is no line, and that is all.
        let thread = std::thread::Builder::new().name("progress".to_owned()).spawn(wait).ok();
        Self(Some(Shown { bar, stop: Some(stop), thread }))
    }

    /// Says what it is at now.
    pub(super) fn at(&self, what: &str) {
        if let Some(shown) = &self.0 {
            shown.bar.set_message(what.to_owned());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        let Some(shown) = &mut self.0 else { return };
        drop(shown.stop.take());
        if let Some(thread) = shown.thread.take() {
            // It only waits and draws.
            let _ = thread.join();
        }
        shown.bar.finish_and_clear();
    }
}
