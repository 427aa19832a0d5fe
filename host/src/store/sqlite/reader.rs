//! The threads that read, each with a connection that cannot write. A read is one short statement: a long one would keep the
//! write-ahead log from being copied back.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use super::request::Reply;
use super::timer::DueRows;
use super::{Fault, state, timer};
use crate::clock::Timestamp;
use crate::id::BotName;
use crate::store::{Flaw, StateValue, StoreError};

/// Threads that read.
const READERS: usize = 2;
/// Requests that wait for a reader; whoever brings one more waits too.
const QUEUE_LEN: usize = 256;

/// What a reader answers: the result, or a row that cannot be trusted, for the writer to put aside.
pub(in crate::store) type Found<T> = Result<T, (super::RowName, Flaw)>;

/// What can be asked of the readers.
#[derive(Debug)]
pub(in crate::store) enum Read {
    StateGet {
        bot: BotName,
        key: String,
        now: Timestamp,
        reply: Reply<Found<Option<StateValue>>>,
    },
    StateKeys {
        bot: BotName,
        prefix: String,
        after: Option<String>,
        limit: u32,
        now: Timestamp,
        reply: Reply<Found<Vec<String>>>,
    },
    TimerNames {
        bot: BotName,
        reply: Reply<Found<Vec<String>>>,
    },
    /// `except` is a JSON array of bots.
    DueTimers {
        now: Timestamp,
        limit: u32,
        except: String,
        reply: Reply<Found<DueRows>>,
    },
    NextDue {
        except: String,
        reply: Reply<Found<Option<Timestamp>>>,
    },
}

/// Starts the readers. Their threads end when `closing` is cancelled or every sender is gone.
pub(in crate::store) fn spawn_readers(
    path: &Arc<Path>,
    closing: &CancellationToken,
) -> Result<(mpsc::Sender<Read>, Vec<JoinHandle<()>>), StoreError> {
    let (requests, received) = mpsc::channel(QUEUE_LEN);
    let received = Arc::new(Mutex::new(received));
    let threads = (0..READERS).map(|index| {
        let reader = Reader { connection: super::open_reader(path)?, path: path.clone() };
        let (received, closing) = (received.clone(), closing.clone());
        super::spawn_thread(&format!("store-read-{index}"), move |runtime| {
            while let Some(request) = runtime.block_on(next(&received, &closing)) {
                reader.answer(request);
            }
        })
    });
    Ok((requests, threads.collect::<Result<_, _>>()?))
}

async fn next(requests: &Mutex<mpsc::Receiver<Read>>, closing: &CancellationToken) -> Option<Read> {
    // Dropping the other side loses nothing: a request is received or it is not.
    closing.run_until_cancelled(async { requests.lock().await.recv().await }).await.flatten()
}

struct Reader {
    connection: Connection,
    path: Arc<Path>,
}

impl Reader {
    fn answer(&self, request: Read) {
        let connection = &self.connection;
        match request {
            Read::StateGet { bot, key, now, reply } => {
                self.send(reply, state::get(connection, bot.as_str(), &key, now));
            }
            Read::StateKeys { bot, prefix, after, limit, now, reply } => {
                let limit = usize::try_from(limit).unwrap_or(usize::MAX);
                self.send(reply, state::keys(connection, bot.as_str(), &prefix, after.as_deref(), limit, now));
            }
            Read::TimerNames { bot, reply } => self.send(reply, timer::names(connection, bot.as_str())),
            Read::DueTimers { now, limit, except, reply } => {
                self.send(reply, timer::due(connection, now, limit, &except));
            }
            Read::NextDue { except, reply } => self.send(reply, timer::next_due(connection, &except)),
        }
    }

    fn send<T>(&self, reply: Reply<Found<T>>, result: Result<T, Fault>) {
        let answer = match result {
            Ok(found) => Ok(Ok(found)),
            Err(Fault::Row(row, flaw)) => Ok(Err((row, flaw))),
            Err(fault @ Fault::Sql(_)) => Err(fault.into_store_error(&self.path)),
        };
        // Whoever asked may be gone.
        let _ = reply.send(answer);
    }
}
