//! The bounded queue between those who log and the thread that writes. Those who log wait for nothing but its short
//! lock.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes that may be queued.
const BYTES_MAX: usize = 4 << 20;
/// Bytes that may be queued when a line of a bot comes: bots together cannot crowd out the host's own lines.
const BYTES_MAX_FOR_BOTS: usize = BYTES_MAX / 2;

/// Whose line it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    Host,
    Bots,
}

/// Lines on their way to the writer.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Signalled when a line came or the queue was closed.
    filled: Condvar,
    /// Signalled when the writing thread ends.
    ended: Condvar,
    /// Lines that were not written since the start.
    lost: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<String>,
    /// Of the lines here and of those that the thread is writing.
    bytes: usize,
    /// Lines without room since the thread last looked.
    dropped: u64,
    is_closed: bool,
    has_ended: bool,
}

impl Queue {
    /// Starts a thread that writes to `writer` until the queue is closed; `report` makes the line that tells how many
    /// lines had no room. The thread is not joined: a write that never returns would hold up the end of the process.
    ///
    /// # Errors
    ///
    /// The thread was not started.
    pub(super) fn start(
        writer: impl Write + Send + 'static,
        report: impl Fn(u64) -> String + Send + 'static,
        lost: Arc<AtomicU64>,
    ) -> io::Result<Arc<Self>> {
        let queue = Arc::new(Self { state: Mutex::default(), filled: Condvar::new(), ended: Condvar::new(), lost });
        let own = queue.clone();
        std::thread::Builder::new().name("logs".to_owned()).spawn(move || own.write_all(writer, report))?;
        Ok(queue)
    }

    /// Queues a line, which ends with a newline, or counts it as lost.
    pub(super) fn push(&self, line: String, share: Share) {
        let bytes_max = match share {
            Share::Host => BYTES_MAX,
            Share::Bots => BYTES_MAX_FOR_BOTS,
        };
        let mut state = self.lock();
        if state.is_closed || state.bytes + line.len() > bytes_max {
            state.dropped += 1;
            drop(state);
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        state.bytes += line.len();
        state.lines.push_back(line);
        drop(state);
        self.filled.notify_one();
    }

    /// Takes no more lines and waits until those that are queued are written, but no longer than `timeout`.
    pub(super) fn close(&self, timeout: Duration) {
        let mut state = self.lock();
        state.is_closed = true;
        self.filled.notify_one();
        drop(self.ended.wait_timeout_while(state, timeout, |state| !state.has_ended));
    }

    /// The thread: writes what comes until the queue is closed and empty.
    fn write_all(&self, mut writer: impl Write, report: impl Fn(u64) -> String) {
        loop {
            let mut state = self.lock();
            state = self
                .filled
                .wait_while(state, |state| state.lines.is_empty() && !state.is_closed)
                .unwrap_or_else(PoisonError::into_inner);
            if state.lines.is_empty() {
                break;
            }
            let lines = std::mem::take(&mut state.lines);
            let dropped = std::mem::take(&mut state.dropped);
            drop(state);
            self.write_batch(&mut writer, lines);
            if dropped > 0 {
                // It is of the lost already.
                drop(writer.write_all(report(dropped).as_bytes()));
            }
            drop(writer.flush());
        }
        self.lock().has_ended = true;
        self.ended.notify_all();
    }

    fn write_batch(&self, writer: &mut impl Write, lines: VecDeque<String>) {
        for line in lines {
            if writer.write_all(line.as_bytes()).is_err() {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
            self.lock().bytes -= line.len();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let queue = Queue::start(slow, |dropped| format!("dropped {dropped} lines\n"), lost.clone()).unwrap();

        queue.push("first\n".into(), Share::Host);
        called.recv().unwrap();
        // The writer is stuck now.
        let line = "x".repeat(1023) + "\n";
        (0..10_000).for_each(|_| queue.push(line.clone(), Share::Bots));
        let by_bots = lost.load(Ordering::Relaxed);
        assert_eq!(by_bots, 10_000 - (BYTES_MAX_FOR_BOTS as u64 - 6) / 1024);
        queue.push("host\n".into(), Share::Host);
        assert_eq!(lost.load(Ordering::Relaxed), by_bots, "the host's own lines have room left");
        queue.close(Duration::ZERO);

        drop(go_on);
        queue.close(Duration::from_secs(60));
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert!(text.starts_with("first\n") && text.contains("\nhost\n"));
        assert!(text.contains(&format!("dropped {by_bots} lines")));
    }
}
