//! The thread that writes the audit log: takes what waits, writes it in one go, and only then answers.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use super::ledger::Ledger;
use super::{AuditError, Entry, Health};
use crate::clock::Timestamp;

/// Records that get to the disk together.
const BATCH_MAX: usize = 64;

/// Where to say that it is on disk.
type Answer = oneshot::Sender<Result<(), AuditError>>;

/// What the thread is asked.
pub(super) enum Request {
    /// To write a record.
    Record { entry: Entry, answer: Answer },
    /// To try whether records get to the disk again.
    Resume { answer: Answer },
    /// To end.
    Close,
}

/// What the thread has.
pub(super) struct Writer {
    ledger: Ledger,
    health: watch::Sender<Health>,
}

impl Writer {
    pub(super) fn new(ledger: Ledger, health: watch::Sender<Health>) -> Self {
        Self { ledger, health }
    }

    /// Runs until it is told to end, or nobody is left who could ask.
    pub(super) fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut is_open = true;
        while is_open && let Some(first) = requests.blocking_recv() {
            let mut batch = vec![first];
            while batch.len() < BATCH_MAX
                && let Ok(next) = requests.try_recv()
            {
                batch.push(next);
            }
            if batch.iter().any(|request| matches!(request, Request::Close)) {
                // What is in the queue by now is still written.
                requests.close();
                while let Ok(next) = requests.try_recv() {
                    batch.push(next);
                }
                is_open = false;
            }
            self.write(batch);
        }
    }

    fn write(&mut self, batch: Vec<Request>) {
        let (mut entries, mut answers, mut records) = (Vec::new(), Vec::new(), 0);
        if let Health::Unwell { reason, lost } = &*self.health.borrow() {
            let detail = format!("{lost} records were perhaps not written: {reason}");
            entries.push(Entry::of_host("resume", "audit log", detail));
        }
        for request in batch {
            match request {
                Request::Record { entry, answer } => {
                    records += 1;
                    entries.push(entry);
                    answers.push(answer);
                }
                Request::Resume { answer } => answers.push(answer),
                Request::Close => {}
            }
        }
        let written = self.ledger.append(&entries, Timestamp::now());
        let written =
            written.map_err(|source| AuditError::Disk { path: self.ledger.dir().to_owned(), source: Arc::new(source) });
        self.publish(&written, records);
        for answer in answers {
            // Whoever asked may be gone.
            let _ = answer.send(written.clone());
        }
    }

    fn publish(&self, written: &Result<(), AuditError>, records: u64) {
        match written {
            Err(AuditError::Disk { source, .. }) => {
                tracing::error!(error = %source, records, "the audit log cannot be written: nothing may be changed");
                self.health.send_modify(|health| {
                    let before = if let Health::Unwell { lost, .. } = health { *lost } else { 0 };
                    *health = Health::Unwell { reason: source.to_string(), lost: before + records };
                });
            }
            _ => {
                self.health.send_if_modified(|health| std::mem::replace(health, Health::Well) != Health::Well);
            }
        }
    }
}
