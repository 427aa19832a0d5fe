//! The bounded queue between those who log and the thread that writes. Those who log wait for nothing but its short
//! lock.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bytes that may be queued.
const BYTES_MAX: usize = 4 << 20;
/// Bytes that may be queued when a line of a bot comes: bots together cannot crowd out the host's own lines.
const BYTES_MAX_FOR_BOTS: usize = BYTES_MAX / 2;
/// The thread gives back the room of what it has written in pieces of so many bytes, so that it rarely takes the lock.
const GIVEN_BACK_BYTES: usize = 64 << 10;
/// For so long bots' lines gather before they are written: to wake the thread for each of them costs more than the line does.
const GATHERED_FOR: Duration = Duration::from_millis(10);
/// So many bytes are not waited with any longer.
const GATHERED_BYTES_MAX: usize = 256 << 10;
/// How long a sink is left alone at most.
const LEFT_ALONE: Duration = Duration::from_secs(1);

/// Whose line it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    Host,
    Bots,
}

/// Where lines end up. Called by one thread. Each call returns how many lines were lost by it.
pub(super) trait Sink<D>: Send + 'static {
    /// Takes a line, which ends with a newline; `to` is where it goes.
    fn write(&mut self, line: &str, to: &D) -> u64;

    /// Takes note of lines that had no room in the queue. They are counted already.
    fn dropped(&mut self, lines: u64);

    /// Writes what it has taken and not written yet: after each batch.
    fn flush(&mut self) -> u64;

    /// Does what is to be done now and then, about once a second.
    fn look_after(&mut self) -> u64;
}

/// Lines on their way to a sink, each with where it goes there.
#[derive(Debug)]
pub(super) struct Queue<D> {
    state: Mutex<State<D>>,
    /// Signalled when a line came or the queue was closed.
    filled: Condvar,
    /// Signalled when the writing thread ends.
    ended: Condvar,
    /// Lines that were not written since the start.
    lost: Arc<AtomicU64>,
}

#[derive(Debug)]
struct State<D> {
    lines: VecDeque<(String, D)>,
    /// Of the lines here and of those that the thread is writing.
    bytes: usize,
    /// Lines without room since the thread last looked.
    dropped: u64,
    /// Lines are there that are to be written at once.
    is_urgent: bool,
    is_closed: bool,
    has_ended: bool,
}

impl<D: Send + 'static> Queue<D> {
    /// Starts a thread that gives a sink what comes until the queue is closed. The thread is not joined: a write that never
    /// returns would hold up the end of the process.
    ///
    /// # Errors
    ///
    /// The thread was not started.
    pub(super) fn start(name: &str, sink: impl Sink<D>, lost: Arc<AtomicU64>) -> io::Result<Arc<Self>> {
        let state = State {
            lines: VecDeque::new(),
            bytes: 0,
            dropped: 0,
            is_urgent: false,
            is_closed: false,
            has_ended: false,
        };
        let queue = Arc::new(Self { state: Mutex::new(state), filled: Condvar::new(), ended: Condvar::new(), lost });
        let own = queue.clone();
        std::thread::Builder::new().name(name.to_owned()).spawn(move || own.write_all(sink))?;
        Ok(queue)
    }

    /// Queues a line, which ends with a newline, or counts it as lost.
    pub(super) fn push(&self, line: String, to: D, share: Share) {
        let bytes_max = match share {
            Share::Host => BYTES_MAX,
            Share::Bots => BYTES_MAX_FOR_BOTS,
        };
        let mut state = self.lock();
        if state.is_closed || state.bytes + line.len() > bytes_max {
            state.dropped += 1;
            drop(state);
            self.lose(1);
            return;
        }
        let was_urgent = state.is_urgent;
        let is_first = state.lines.is_empty();
        state.bytes += line.len();
        state.is_urgent |= share == Share::Host || state.bytes >= GATHERED_BYTES_MAX;
        let is_news = is_first || state.is_urgent && !was_urgent;
        state.lines.push_back((line, to));
        drop(state);
        // The system is asked to wake the thread whether it sleeps or not: only where it would do something else then.
        if is_news {
            self.filled.notify_one();
        }
    }

    /// Takes no more lines and waits until those that are queued are written, but no longer than `timeout`.
    pub(super) fn close(&self, timeout: Duration) {
        let mut state = self.lock();
        state.is_closed = true;
        self.filled.notify_one();
        drop(self.ended.wait_timeout_while(state, timeout, |state| !state.has_ended));
    }

    /// The thread: writes what comes until the queue is closed and empty.
    fn write_all(&self, mut sink: impl Sink<D>) {
        let mut looked_after = Instant::now();
        loop {
            let state = self.lock();
            let (mut state, _) = self
                .filled
                .wait_timeout_while(state, LEFT_ALONE, |state| state.lines.is_empty() && !state.is_closed)
                .unwrap_or_else(PoisonError::into_inner);
            if !state.lines.is_empty() {
                (state, _) = self
                    .filled
                    .wait_timeout_while(state, GATHERED_FOR, |state| !state.is_urgent && !state.is_closed)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            state.is_urgent = false;
            let lines = std::mem::take(&mut state.lines);
            let dropped = std::mem::take(&mut state.dropped);
            let is_over = state.is_closed && lines.is_empty();
            drop(state);
            if !lines.is_empty() || dropped > 0 {
                self.write_batch(&mut sink, lines, dropped);
            }
            if is_over {
                break;
            }
            if looked_after.elapsed() >= LEFT_ALONE {
                self.lose(sink.look_after());
                looked_after = Instant::now();
            }
        }
        // What it holds is done with before anybody hears that the thread has ended.
        drop(sink);
        self.lock().has_ended = true;
        self.ended.notify_all();
    }

    fn write_batch(&self, sink: &mut impl Sink<D>, lines: VecDeque<(String, D)>, dropped: u64) {
        let mut written = 0;
        for (line, to) in lines {
            self.lose(sink.write(&line, &to));
            written += line.len();
            if written >= GIVEN_BACK_BYTES {
                self.lock().bytes -= std::mem::take(&mut written);
            }
        }
        if dropped > 0 {
            sink.dropped(dropped);
        }
        self.lose(sink.flush());
        self.lock().bytes -= written;
    }

    fn lose(&self, lines: u64) {
        if lines > 0 {
            self.lost.fetch_add(lines, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<D>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::Format;
    use crate::logs::stream::Stream;
    use std::io::Write;
    use std::sync::mpsc;

    /// A writer that says when it is called and waits to be let on.
    struct Slow {
        called: mpsc::Sender<()>,
        go_on: mpsc::Receiver<()>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.called.send(());
            let _ = self.go_on.recv();
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a bound would stop the writer where the test does not want it to")]
    fn a_slow_writer_holds_up_nobody_and_what_has_no_room_is_counted() {
        let (called_sender, called) = mpsc::channel();
        let (go_on, go_on_receiver) = mpsc::channel();
        let written = Arc::new(Mutex::default());
        let lost = Arc::new(AtomicU64::new(0));
        let slow = Slow { called: called_sender, go_on: go_on_receiver, written: written.clone() };
        let queue = Queue::start("logs", Stream { writer: slow, format: Format::Text }, lost.clone()).unwrap();

        queue.push("first\n".into(), (), Share::Host);
        called.recv().unwrap();
        // The writer is stuck now.
        let line = "x".repeat(1023) + "\n";
        (0..10_000).for_each(|_| queue.push(line.clone(), (), Share::Bots));
        let by_bots = lost.load(Ordering::Relaxed);
        assert_eq!(by_bots, 10_000 - (BYTES_MAX_FOR_BOTS as u64 - 6) / 1024);
        queue.push("host\n".into(), (), Share::Host);
        assert_eq!(lost.load(Ordering::Relaxed), by_bots, "the host's own lines have room left");
        queue.close(Duration::ZERO);

        drop(go_on);
        queue.close(Duration::from_secs(60));
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert!(text.starts_with("first\n") && text.contains("\nhost\n"));
        assert!(text.contains(&format!("dropped {by_bots} lines")));
    }
}
