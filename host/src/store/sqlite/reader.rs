//! The threads that read, each with a connection that cannot write. A read is one short statement: a long one would keep the
//! write-ahead log from being copied back.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use super::request::Reply;
use super::timer::DueRows;
use super::{Fault, condemned, incidents, memos, outbox, search, state, story, timer, to_column};
use crate::action::Action;
use crate::clock::Timestamp;
use crate::event::Event;
use crate::grants::ConnectorKey;
use crate::id::{BotName, EventId, Ticket};
use crate::store::health::Pulse;
use crate::store::history::{DeadLetter, SearchPage, SearchQuery, Send, SendFilter, Story};
use crate::store::incidents::{Condemned, IncidentQuery, StoredIncident};
use crate::store::{Flaw, StateEntry, StateValue, StoreError};

/// Threads that read.
const READERS: usize = 2;
/// Requests that wait for a reader; whoever brings one more waits too.
const QUEUE_LEN: usize = 256;

/// How long one read may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// Steps of SQLite's machine between two looks at the clock: about a millisecond.
const STEPS: i32 = 10_000;

/// What a reader answers: the result, or a row that cannot be trusted, for the writer to put aside.
pub(in crate::store) type Found<T> = Result<T, (super::RowName, Flaw)>;

/// Rows of a listing: one that cannot be trusted does not hide the others.
#[derive(Debug)]
pub(in crate::store) struct Sifted<T> {
    pub(in crate::store) rows: Vec<T>,
    /// For the writer to put aside.
    pub(in crate::store) unfit: Vec<(super::RowName, Flaw)>,
}

impl<T> Default for Sifted<T> {
    fn default() -> Self {
        Self { rows: Vec::new(), unfit: Vec::new() }
    }
}

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
    StateEntries {
        bot: BotName,
        after: Option<String>,
        limit: u32,
        now: Timestamp,
        reply: Reply<Found<Vec<StateEntry>>>,
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
    Event {
        seq: u64,
        reply: Reply<Found<Option<Event>>>,
    },
    Action {
        id: u64,
        reply: Reply<Found<Option<Action>>>,
    },
    PlatformId {
        ticket: Ticket,
        reply: Reply<Found<Option<String>>>,
    },
    Story {
        id: EventId,
        reply: Reply<Found<Option<Story>>>,
    },
    Search {
        query: Box<SearchQuery>,
        reply: Reply<Found<SearchPage>>,
    },
    DeadLetters {
        bot: Option<BotName>,
        limit: u32,
        reply: Reply<Found<Vec<DeadLetter>>>,
    },
    Sends {
        filter: SendFilter,
        connector: Option<ConnectorKey>,
        limit: u32,
        reply: Reply<Found<Vec<Send>>>,
    },
    Send {
        id: u64,
        reply: Reply<Found<Option<Send>>>,
    },
    Incidents {
        query: IncidentQuery,
        reply: Reply<Found<Sifted<StoredIncident>>>,
    },
    Condemned {
        reply: Reply<Found<Sifted<Condemned>>>,
    },
    Memo {
        key: ConnectorKey,
        name: String,
        now: Timestamp,
        reply: Reply<Found<Option<String>>>,
    },
}

/// Starts the readers. Their threads end when `closing` is cancelled or every sender is gone.
pub(in crate::store) fn spawn_readers(
    path: &Arc<Path>,
    closing: &CancellationToken,
    pulse: &Pulse,
) -> Result<(mpsc::Sender<Read>, Vec<JoinHandle<()>>), StoreError> {
    let (requests, received) = mpsc::channel(QUEUE_LEN);
    let received = Arc::new(Mutex::new(received));
    let threads = (0..READERS).map(|index| {
        let mut connection = super::open_reader(path)?;
        let deadline = Deadline::watch(&mut connection, DEADLINE).map_err(|error| super::sql_error(path, error))?;
        let reader = Reader { connection, path: path.clone(), deadline, pulse: pulse.clone() };
        let (received, closing) = (received.clone(), closing.clone());
        super::spawn_thread(&format!("store-read-{index}"), move |runtime| {
            while let Some(request) = runtime.block_on(next(&received, &closing)) {
                reader.deadline.begin();
                reader.answer(request);
            }
            if reader.pulse.is_displaced() {
                super::vigil::keep_off(&reader.connection);
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
    deadline: Deadline,
    pulse: Pulse,
}

/// Ends what a connection does when it takes too long.
struct Deadline {
    since: Instant,
    /// In milliseconds since then.
    at: Arc<AtomicU64>,
    allowed: Duration,
}

impl Deadline {
    fn watch(connection: &mut Connection, allowed: Duration) -> rusqlite::Result<Self> {
        let deadline = Self { since: Instant::now(), at: Arc::new(AtomicU64::new(u64::MAX)), allowed };
        let (since, at) = (deadline.since, Arc::clone(&deadline.at));
        let is_over = move || since.elapsed().as_millis() as u64 > at.load(Ordering::Relaxed);
        connection.progress_handler(STEPS, Some(is_over))?;
        Ok(deadline)
    }

    fn begin(&self) {
        let at = (self.since.elapsed() + self.allowed).as_millis() as u64;
        self.at.store(at, Ordering::Relaxed);
    }
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
            Read::StateEntries { bot, after, limit, now, reply } => {
                let limit = usize::try_from(limit).unwrap_or(usize::MAX);
                self.send(reply, state::entries(connection, bot.as_str(), after.as_deref(), limit, now));
            }
            Read::TimerNames { bot, reply } => self.send(reply, timer::names(connection, bot.as_str())),
            Read::DueTimers { now, limit, except, reply } => {
                self.send(reply, timer::due(connection, now, limit, &except));
            }
            Read::NextDue { except, reply } => self.send(reply, timer::next_due(connection, &except)),
            Read::Event { seq, reply } => self.send(reply, story::event(connection, to_column(seq))),
            Read::Action { id, reply } => self.send(reply, story::action(connection, to_column(id))),
            Read::PlatformId { ticket, reply } => {
                self.send(reply, outbox::platform_id(connection, ticket).map_err(Fault::from));
            }
            Read::Story { id, reply } => self.send(reply, story::story(connection, id)),
            Read::Search { query, reply } => self.send(reply, search::search(connection, &query)),
            Read::DeadLetters { bot, limit, reply } => {
                self.send(reply, story::dead_letters(connection, bot.as_ref(), limit));
            }
            Read::Sends { filter, connector, limit, reply } => {
                self.send(reply, story::sends(connection, filter, connector.as_ref(), limit));
            }
            Read::Send { id, reply } => self.send(reply, story::send(connection, to_column(id))),
            Read::Incidents { query, reply } => self.send(reply, incidents::list(connection, &query)),
            Read::Memo { key, name, now, reply } => {
                self.send(reply, memos::get(connection, &key, &name, now).map_err(Fault::Sql));
            }
            Read::Condemned { reply } => self.send(reply, condemned::list(connection)),
        }
    }

    fn send<T>(&self, reply: Reply<Found<T>>, result: Result<T, Fault>) {
        let answer = match result {
            Ok(found) => Ok(Ok(found)),
            Err(Fault::Row(row, flaw)) => Ok(Err((row, flaw))),
            Err(fault @ Fault::Sql(_)) => {
                let error = fault.into_store_error(&self.path);
                if let StoreError::Damaged { report, .. } = &error {
                    self.pulse.damaged(report);
                }
                Err(error)
            }
        };
        // Whoever asked may be gone.
        let _ = reply.send(answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f084_a_read_that_takes_too_long_is_ended_and_the_next_one_works() {
        let mut connection = Connection::open_in_memory().unwrap();
        let deadline = Deadline::watch(&mut connection, Duration::from_millis(50)).unwrap();
        let read = |sql| {
            deadline.begin();
            connection.query_row(sql, (), |row| row.get::<_, i64>(0))
        };
        let endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n";
        let path: Arc<Path> = Path::new("x.db").into();
        let error = super::super::sql_error(&path, read(endless).unwrap_err());
        assert!(matches!(error, StoreError::TooSlow { .. }), "{error:?}");
        assert_eq!(read("SELECT 7").unwrap(), 7);
    }
}
