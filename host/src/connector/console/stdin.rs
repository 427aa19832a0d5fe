//! The input of this process, read by one thread for as long as the process lives.
//!
//! A read of a terminal cannot be broken off. On the runtime's own threads it would hold up the end of the process until
//! somebody presses enter; this thread holds up nothing, and a console that is made anew goes on where the last one stopped.

use std::io::{self, Read};
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncBufRead, AsyncRead, BufReader, ReadBuf};
use tokio::sync::{Mutex, MutexGuard, mpsc};

type Chunk = io::Result<Vec<u8>>;

static STDIN: LazyLock<Mutex<mpsc::Receiver<Chunk>>> = LazyLock::new(|| {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(move || read_all(&sender))
        .expect("a process that cannot start one thread cannot host bots either");
    Mutex::new(receiver)
});

fn read_all(sender: &mpsc::Sender<Chunk>) {
    let mut chunk = vec![0; 8 << 10];
    loop {
        let read = io::stdin().read(&mut chunk).map(|length| chunk[..length].to_vec());
        let ends = !matches!(&read, Ok(bytes) if !bytes.is_empty());
        if sender.blocking_send(read).is_err() || ends {
            return;
        }
    }
}

/// Returns the lines of this process's input. While another console reads them, there are none.
pub(super) fn lines() -> impl AsyncBufRead + Unpin {
    BufReader::new(Chunks { receiver: STDIN.try_lock().ok(), rest: Vec::new() })
}

struct Chunks {
    receiver: Option<MutexGuard<'static, mpsc::Receiver<Chunk>>>,
    rest: Vec<u8>,
}

impl AsyncRead for Chunks {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.rest.is_empty() {
            let Some(receiver) = &mut self.receiver else { return Poll::Ready(Ok(())) };
            self.rest = ready!(receiver.poll_recv(cx)).unwrap_or(Ok(Vec::new()))?;
        }
        let length = self.rest.len().min(buf.remaining());
        buf.put_slice(&self.rest[..length]);
        self.rest.drain(..length);
        Poll::Ready(Ok(()))
    }
}
