//! Standard output and standard error of a guest: lines of the bot's log. The end of standard error is kept too, because
//! that is where a panic's text stands.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use super::context::STDERR_TAIL_BYTES;
use crate::logs::StreamWriter;

/// Bytes that a guest may write at once.
const WRITE_BYTES_MAX: usize = 64 << 10;

/// One of the two streams. Clones write to the same place.
#[derive(Clone)]
pub(super) struct GuestOutput {
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    lines: StreamWriter,
    tail: VecDeque<u8>,
}

impl GuestOutput {
    pub(super) fn new(lines: StreamWriter) -> Self {
        Self { shared: Arc::new(Mutex::new(Shared { lines, tail: VecDeque::new() })) }
    }

    /// Returns the last bytes that were written, as text, and forgets them.
    pub(super) fn take_tail(&self) -> String {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let tail: Vec<u8> = shared.tail.drain(..).collect();
        String::from_utf8_lossy(&tail).into_owned()
    }

    fn take(&self, bytes: &[u8]) {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.lines.write(bytes, Instant::now());
        let kept = &bytes[bytes.len().saturating_sub(STDERR_TAIL_BYTES.get())..];
        let excess = (shared.tail.len() + kept.len()).saturating_sub(STDERR_TAIL_BYTES.get());
        shared.tail.drain(..excess);
        shared.tail.extend(kept);
    }
}

impl IsTerminal for GuestOutput {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestOutput {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for GuestOutput {
    async fn ready(&mut self) {}
}

impl OutputStream for GuestOutput {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}
