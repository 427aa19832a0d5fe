//! A message on its whole way: from the scripted connector to a bot and back as its answer.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bothost::action::{Act, Action, Outgoing, Priority, TextFormat};
use bothost::clock::Timestamp;
use bothost::connector::scripted::{ScriptedHandle, scripted};
use bothost::connector::{self, Arrival, ConnectorConfig, Delivery, Inbox, Ports, StatusPublisher};
use bothost::event::EventKind;
use bothost::grants::ConnectorKey;
use bothost::id::{ConnectorName, Ticket};
use criterion::Criterion;
use harness::guests;
use harness::host::{CHAT, Home, TestHost};
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::measure::{Pace, compare, floor_alone, timed};
use super::sheet::Sheet;
use super::wall::COMPILER;

/// Conversations side by side where throughput is measured.
const CONVERSATIONS: usize = 64;
/// Arrivals and deliveries on their way, as in the host.
const CHANNEL_LEN: usize = 64;
/// What the floor writes before it answers: a page of SQLite's.
const PAGE: [u8; 4096] = [0x5a; 4096];
/// Pages of the floor's file. It is written over and over, as a write-ahead log is.
const PAGES: u64 = 1_000;

/// Measures the time to an answer, and answers in a time.
pub fn measure(criterion: &mut Criterion, runtime: &Runtime) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let log = Arc::new(Log::open(&dir.path().join("log")));
    floor_alone(criterion, "fsync", |times| timed(runtime, times, async || log.save()));
    // Any test guest will do: `!ping` is answered, and no state is written.
    let volatile = (host(runtime, &guests::guest("panic")), Native::start(runtime, None));
    let durable = (host(runtime, &guests::example("echo")), Native::start(runtime, Some(log)));
    for (name, (host, native)) in [("volatile", &volatile), ("durable", &durable)] {
        let one = |chat: &ScriptedHandle, times| one_by_one(runtime, chat, times);
        let many = |chat: &ScriptedHandle, times| side_by_side(runtime, chat, times);
        let latency = format!("answer_{name}");
        compare(criterion, &latency, Pace::Steady, |n| one(&host.chat, n), |n| one(&native.chat, n));
        let throughput = format!("answers_{name}");
        compare(criterion, &throughput, Pace::Steady, |n| many(&host.chat, n), |n| many(&native.chat, n));
    }
    runtime.block_on(async {
        for (host, native) in [volatile, durable] {
            host.stop(COMPILER, "").await;
            native.stop().await;
        }
    });
}

/// Puts the figures down.
pub fn report(sheet: &mut Sheet) {
    sheet.times("message to answer, no state", "answer_volatile");
    sheet.times("message to answer, state committed (fsync)", "answer_durable");
    sheet.times("write 4 KiB and fsync", "fsync");
    sheet.rates("messages, 64 in flight, no state", "answers_volatile");
    sheet.rates("messages, 64 in flight, state committed (fsync)", "answers_durable");
}

fn host(runtime: &Runtime, component: &[u8]) -> TestHost {
    runtime.block_on(async {
        let home = Home::new(COMPILER, "[limits]\nsends_per_minute = 1_000_000_000\n").with("bot.wasm", component);
        let host = home.start().await;
        host.serving("bot").await;
        host
    })
}

/// Says one thing after the other, each when the one before is answered.
fn one_by_one(runtime: &Runtime, chat: &ScriptedHandle, times: u64) -> Duration {
    let mut answered = chat.delivered_count();
    timed(runtime, times, async || {
        say(chat, "lobby").await;
        answered += 1;
        chat.wait_for_delivered(answered).await;
    })
}

/// Says things in 64 conversations at once; whenever one is answered, another is said.
fn side_by_side(runtime: &Runtime, chat: &ScriptedHandle, times: u64) -> Duration {
    runtime.block_on(async {
        let unanswered = Arc::new(Semaphore::new(CONVERSATIONS));
        let (before, mut answered) = (chat.delivered_count(), 0);
        let started = Instant::now();
        let mut people = JoinSet::new();
        for person in 0..CONVERSATIONS as u64 {
            let share = times / CONVERSATIONS as u64 + u64::from(person < times % CONVERSATIONS as u64);
            let (chat, unanswered) = (chat.clone(), Arc::clone(&unanswered));
            people.spawn(async move {
                let conversation = format!("lobby-{person}");
                for _ in 0..share {
                    unanswered.acquire().await.expect("it is never closed").forget();
                    say(&chat, &conversation).await;
                }
            });
        }
        while answered < times {
            chat.wait_for_delivered(before + answered + 1).await;
            let now = chat.delivered_count() - before;
            unanswered.add_permits(usize::try_from(now - answered).expect("it is small"));
            answered = now;
        }
        started.elapsed()
    })
}

async fn say(chat: &ScriptedHandle, conversation: &str) {
    let id = format!("{:016x}", fastrand::u64(..));
    chat.say(conversation, &id, "!ping").await.expect("it is taken over");
}

/// A scripted connector, and one task in the place of the whole host, which answers every message.
struct Native {
    chat: ScriptedHandle,
    cancel: CancellationToken,
    tasks: JoinSet<()>,
}

impl Native {
    /// Starts both. With a log, an answer leaves after it was written.
    fn start(runtime: &Runtime, log: Option<Arc<Log>>) -> Self {
        let name: ConnectorName = CHAT.parse().expect("a name");
        let (connector, chat) = scripted(name.clone());
        let (arrivals, arrived) = mpsc::channel(CHANNEL_LEN);
        let (deliveries, receiver) = mpsc::channel(CHANNEL_LEN);
        let cancel = CancellationToken::new();
        let ports = Ports {
            inbox: Inbox::new(ConnectorKey::shared(name.clone()), arrivals),
            name,
            deliveries: receiver,
            status: StatusPublisher::new().0,
            cancel: cancel.clone(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn_on(connector::run(ConnectorConfig::Scripted(connector), ports), runtime.handle());
        tasks.spawn_on(answer_all(arrived, deliveries, log), runtime.handle());
        Self { chat, cancel, tasks }
    }

    /// Stops both; the task ends when its connector has.
    async fn stop(self) {
        self.cancel.cancel();
        self.tasks.join_all().await;
    }
}

async fn answer_all(mut arrived: mpsc::Receiver<Arrival>, deliveries: mpsc::Sender<Delivery>, log: Option<Arc<Log>>) {
    let mut batch = Vec::with_capacity(CHANNEL_LEN);
    while arrived.recv_many(&mut batch, CHANNEL_LEN).await > 0 {
        if let Some(log) = &log {
            let log = Arc::clone(log);
            tokio::task::spawn_blocking(move || log.save()).await.expect("the log is written");
        }
        for Arrival { origin, event, taken } in batch.drain(..) {
            let EventKind::Message(message) = event.kind else { continue };
            // Whoever said it waits for the answer in any case.
            let _ = taken.send(());
            let answer = Outgoing {
                text: "pong".to_owned(),
                format: TextFormat::Plain,
                buttons: Vec::new(),
                uploads: Vec::new(),
                reply_to: None,
                priority: Priority::Normal,
                expires_after: None,
            };
            let ticket = Ticket::generate(Timestamp::now());
            let action = Action { via: origin, at: message.conversation, act: Act::Send { ticket, message: answer } };
            // What becomes of it is the outbox's business, which the floor has none of.
            let (outcome, _) = oneshot::channel();
            if deliveries.send(Delivery { action, key: 0, timeout: Duration::from_secs(30), outcome }).await.is_err() {
                return;
            }
        }
    }
}

/// A file of pages, in which one after the other is overwritten and brought to the disk.
struct Log {
    file: File,
    next: std::sync::atomic::AtomicU64,
}

impl Log {
    fn open(path: &std::path::Path) -> Self {
        let file = File::create(path).expect("a file");
        for page in 0..PAGES {
            file.write_all_at(&PAGE, page * PAGE.len() as u64).expect("room on the disk");
        }
        file.sync_all().expect("a disk");
        Self { file, next: std::sync::atomic::AtomicU64::new(0) }
    }

    fn save(&self) {
        let page = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % PAGES;
        self.file.write_all_at(&PAGE, page * PAGE.len() as u64).expect("room on the disk");
        self.file.sync_data().expect("a disk");
    }
}
