//! The least that a durable answer can cost on this disk: a log that is only appended to, one thread that writes it, and two waits
//! for the disk for each message: that it is there, and that it is done.

use std::fs::File;
use std::io::{Seek, Write};
use std::path::Path;
use std::thread::JoinHandle;

use bothost::action::Action;
use bothost::event::EventKind;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// Records that share one fsync at most, as in the store.
const BATCH_LEN: usize = 256;
/// Bytes after which the log begins anew.
const LOG_BYTES_MAX: usize = 256 << 20;

/// The log.
#[derive(Debug)]
pub struct Ceiling {
    records: mpsc::Sender<Record>,
    thread: JoinHandle<()>,
    payloads: Payloads,
}

/// What is written of one message.
#[derive(Debug, Clone)]
pub struct Payloads {
    enqueue: Vec<u8>,
    done: Vec<u8>,
}

impl Payloads {
    /// Returns the very bytes that the host keeps of an event and of the answer to it.
    pub fn of(event: &EventKind, answer: &Action) -> Self {
        Self {
            enqueue: serde_json::to_vec(event).expect("an event is always JSON"),
            done: serde_json::to_vec(answer).expect("an action is always JSON"),
        }
    }
}

#[derive(Debug)]
struct Record {
    payload: Vec<u8>,
    written: oneshot::Sender<()>,
}

impl Ceiling {
    /// Begins a log at `path`.
    pub fn open(path: &Path, payloads: Payloads) -> Self {
        let file = File::create(path).expect("a file");
        let (records, received) = mpsc::channel(BATCH_LEN);
        let thread = std::thread::spawn(move || write_all(file, received));
        Self { records, thread, payloads }
    }

    /// Takes `times` messages on their way, `people` at a time.
    pub async fn in_turn(&self, people: usize, times: u64) {
        let mut crowd = JoinSet::new();
        for person in 0..people as u64 {
            let share = times / people as u64 + u64::from(person < times % people as u64);
            let (records, payloads) = (self.records.clone(), self.payloads.clone());
            crowd.spawn(async move {
                for _ in 0..share {
                    write(&records, &payloads.enqueue).await;
                    write(&records, &payloads.done).await;
                }
            });
        }
        crowd.join_all().await;
    }

    /// Waits for one record to be on the disk.
    pub async fn write_one(&self) {
        write(&self.records, &self.payloads.enqueue).await;
    }

    /// Ends the thread.
    pub fn close(self) {
        drop(self.records);
        self.thread.join().expect("the log was written");
    }
}

async fn write(records: &mpsc::Sender<Record>, payload: &[u8]) {
    let (written, is_written) = oneshot::channel();
    let record = Record { payload: payload.to_vec(), written };
    records.send(record).await.expect("the thread runs");
    is_written.await.expect("the disk has room");
}

fn write_all(mut file: File, mut received: mpsc::Receiver<Record>) {
    let (mut batch, mut bytes, mut len) = (Vec::new(), Vec::new(), 0);
    while received.blocking_recv_many(&mut batch, BATCH_LEN) > 0 {
        bytes.clear();
        for record in &batch {
            bytes.extend_from_slice(&(record.payload.len() as u64).to_le_bytes());
            bytes.extend_from_slice(&record.payload);
        }
        len += bytes.len();
        if len > LOG_BYTES_MAX {
            file.set_len(0).expect("a file");
            file.rewind().expect("a file");
            len = bytes.len();
        }
        file.write_all(&bytes).expect("room on the disk");
        file.sync_data().expect("a disk");
        for record in batch.drain(..) {
            let _ = record.written.send(());
        }
    }
}
