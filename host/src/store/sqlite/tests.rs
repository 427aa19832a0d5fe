//! The store from outside, through its handle, with a second connection as the hand of fate.

mod flips;
mod incidents;

use std::collections::BTreeMap;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::action::{Schedule, StateRead, StateWrite, TimerChange};
use crate::clock::Timestamp;
use crate::id::BotName;
use crate::store::engine::Lease;
use crate::store::{
    Appended, Commit, Committed, DueTimer, KEY_BYTES_MAX, Queue, RecordKind, Store, StoreOptions, TIMERS_MAX,
    VALUE_BYTES_MAX, sum,
};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn bot(name: &str) -> BotName {
    name.parse().unwrap()
}

fn later(ms: u64) -> Timestamp {
    NOW.saturating_add(Duration::from_millis(ms))
}

fn set(key: &str, value: impl Into<Vec<u8>>) -> StateWrite {
    StateWrite::Set { key: key.to_owned(), value: value.into(), expires_at: None }
}

fn set_until(key: &str, value: &str, expires_at: Timestamp) -> StateWrite {
    StateWrite::Set { key: key.to_owned(), value: value.into(), expires_at: Some(expires_at) }
}

fn delete(key: &str) -> StateWrite {
    StateWrite::Delete { key: key.to_owned() }
}

fn add(key: &str, delta: i64) -> StateWrite {
    StateWrite::Add { key: key.to_owned(), delta }
}

fn saw(key: &str, revision: Option<u64>) -> StateRead {
    StateRead { key: key.to_owned(), revision }
}

fn timer(name: &str, schedule: Schedule) -> TimerChange {
    TimerChange::Set { name: name.to_owned(), schedule, payload: name.into() }
}

/// A store in a directory of its own, and a bot.
struct Fixture {
    directory: TempDir,
    store: Store,
    bot: BotName,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), StoreOptions::default()).unwrap();
        Self { directory, store, bot: bot("echo") }
    }

    async fn reopen(self) -> Self {
        self.store.close().await;
        Self { store: Store::open(self.directory.path(), StoreOptions::default()).unwrap(), ..self }
    }

    fn commit_of(&self) -> Commit {
        let (reads, state, timers) = (Vec::new(), Vec::new(), Vec::new());
        Commit { bot: self.bot.clone(), reads, state, timers, state_bytes_max: 1 << 20, now: NOW }
    }

    async fn write(&self, state: Vec<StateWrite>) -> Committed {
        self.store.commit(Commit { state, ..self.commit_of() }).await.unwrap()
    }

    async fn write_after(&self, reads: Vec<StateRead>, state: Vec<StateWrite>) -> Committed {
        self.store.commit(Commit { reads, state, ..self.commit_of() }).await.unwrap()
    }

    async fn set_timers(&self, timers: Vec<TimerChange>) -> Committed {
        self.store.commit(Commit { timers, ..self.commit_of() }).await.unwrap()
    }

    async fn get(&self, key: &str) -> Option<String> {
        self.get_at(key, NOW).await
    }

    async fn get_at(&self, key: &str, now: Timestamp) -> Option<String> {
        let value = self.store.state_get(&self.bot, key, now).await.unwrap()?;
        Some(String::from_utf8(value.value).unwrap())
    }

    async fn revision(&self, key: &str) -> Option<u64> {
        self.store.state_get(&self.bot, key, NOW).await.unwrap().map(|value| value.revision)
    }

    async fn due(&self, now: Timestamp) -> Vec<DueTimer> {
        self.store.due_timers(now, 10, &[]).await.unwrap()
    }

    /// Opens the database past the store.
    fn fate(&self) -> Connection {
        Connection::open(self.directory.path().join("bothost.db")).unwrap()
    }
}

fn count(connection: &Connection, table: &str) -> i64 {
    connection.query_row(&format!("SELECT count(*) FROM {table}"), (), |row| row.get(0)).unwrap()
}

mod state {
    use super::*;

    #[tokio::test]
    async fn a_commit_is_seen_by_the_next_read_and_by_the_next_process() {
        let fixture = Fixture::new();
        assert_eq!(fixture.write(vec![set("a", "1"), set("b", "2"), delete("a")]).await, Committed::Done);
        assert_eq!((fixture.get("a").await, fixture.get("b").await), (None, Some("2".to_owned())));
        let fixture = fixture.reopen().await;
        assert_eq!((fixture.get("a").await, fixture.get("b").await), (None, Some("2".to_owned())));
        assert_eq!(fixture.store.state_get(&bot("other"), "b", NOW).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_key_that_changed_since_it_was_read_is_a_conflict_and_nothing_is_written() {
        let fixture = Fixture::new();
        fixture.write(vec![set("a", "1")]).await;
        let seen = fixture.revision("a").await;
        fixture.write(vec![set("a", "1")]).await;
        let conflict = fixture.write_after(vec![saw("a", seen)], vec![set("b", "2")]).await;
        assert_eq!(conflict, Committed::Conflict { key: "a".to_owned() });
        assert_eq!(fixture.get("b").await, None);

        let seen = fixture.revision("a").await;
        assert_eq!(
            fixture.write_after(vec![saw("a", seen), saw("b", None)], vec![set("b", "2")]).await,
            Committed::Done
        );
        let conflict = fixture.write_after(vec![saw("b", None)], vec![]).await;
        assert_eq!(conflict, Committed::Conflict { key: "b".to_owned() });
    }

    #[tokio::test]
    async fn no_revision_comes_back_for_a_key_that_was_deleted() {
        let mut fixture = Fixture::new();
        let mut seen = Vec::new();
        for _ in 0..3 {
            fixture.write(vec![set("a", "1")]).await;
            seen.push(fixture.revision("a").await.unwrap());
            fixture.write(vec![delete("a")]).await;
            fixture = fixture.reopen().await;
        }
        assert!(seen.is_sorted_by(|one, next| one < next), "{seen:?}");
    }

    #[tokio::test]
    async fn what_was_added_side_by_side_counts_in_full() {
        let fixture = Fixture::new();
        let adds = (0..64).map(|_| fixture.write(vec![add("n", 3)]));
        let answers = futures_util::future::join_all(adds).await;
        assert!(answers.iter().all(|answer| *answer == Committed::Done));
        assert_eq!(fixture.get("n").await, Some("192".to_owned()));
    }

    #[tokio::test]
    async fn only_numbers_that_fit_are_added_to() {
        let fixture = Fixture::new();
        fixture.write(vec![set("text", "x"), add("n", i64::MAX)]).await;
        let refused = fixture.write(vec![set("other", "1"), add("text", 1)]).await;
        assert_eq!(refused, Committed::NotANumber { key: "text".to_owned() });
        assert_eq!(fixture.write(vec![add("n", 1)]).await, Committed::SumTooLarge { key: "n".to_owned() });
        assert_eq!(fixture.get("other").await, None);
    }

    #[tokio::test]
    async fn an_expired_key_is_absent_at_once() {
        let fixture = Fixture::new();
        fixture.write(vec![set_until("a", "7", later(10))]).await;
        let seen = fixture.revision("a").await;
        assert_eq!(fixture.get_at("a", later(9)).await, Some("7".to_owned()));
        assert_eq!(fixture.get_at("a", later(10)).await, None);
        assert!(fixture.store.state_keys(&fixture.bot, "", None, 9, later(10)).await.unwrap().is_empty());
        let at_expiry = |reads, state| Commit { reads, state, now: later(10), ..fixture.commit_of() };
        let conflict = fixture.store.commit(at_expiry(vec![saw("a", seen)], vec![])).await.unwrap();
        assert_eq!(conflict, Committed::Conflict { key: "a".to_owned() });
        let done = fixture.store.commit(at_expiry(vec![saw("a", None)], vec![add("a", 1)])).await.unwrap();
        assert_eq!((done, fixture.get_at("a", later(1_000)).await), (Committed::Done, Some("1".to_owned())));
    }

    #[tokio::test]
    async fn keys_come_in_byte_order_from_a_prefix_and_after_a_key() {
        let fixture = Fixture::new();
        let names = ["a", "a\0", "aB", "ab", "aé", "b"];
        fixture.write(names.iter().rev().map(|name| set(name, "")).collect()).await;
        let keys = async |prefix, after, limit| {
            fixture.store.state_keys(&fixture.bot, prefix, after, limit, NOW).await.unwrap()
        };
        assert_eq!(keys("", None, 100).await, names);
        assert_eq!(keys("a", None, 100).await, names[..5]);
        assert_eq!(keys("a", Some("aB"), 1).await, ["ab"]);
        assert_eq!(keys("b", Some("a"), 100).await, ["b"]);
        assert!(keys("a", Some("b"), 100).await.is_empty());
    }

    #[tokio::test]
    async fn the_quota_is_exact_to_the_byte() {
        let fixture = Fixture::new();
        let commit =
            |state, state_bytes_max| fixture.store.commit(Commit { state, state_bytes_max, ..fixture.commit_of() });
        assert_eq!(commit(vec![set("key", [0; 7])], 10).await.unwrap(), Committed::Done);
        let refused = Committed::QuotaExceeded { needed: 11, allowed: 10 };
        assert_eq!(commit(vec![set("key", [0; 8])], 10).await.unwrap(), refused);
        assert_eq!(commit(vec![set("k", "")], 10).await.unwrap(), refused);
        assert_eq!(commit(vec![set("k", ""), set("key", [0; 6])], 10).await.unwrap(), Committed::Done);
        // A bot above a lowered quota can still make itself smaller, and is still refused what makes it larger.
        assert_eq!(commit(vec![delete("k")], 2).await.unwrap(), Committed::Done);
        let refused = Committed::QuotaExceeded { needed: 10, allowed: 2 };
        assert_eq!(commit(vec![set("k", "")], 2).await.unwrap(), refused);
    }

    #[tokio::test]
    async fn what_has_expired_takes_no_room() {
        let fixture = Fixture::new();
        let commit = |state, now| Commit { state, now, state_bytes_max: 10, ..fixture.commit_of() };
        fixture.store.commit(commit(vec![set_until("a", "123456789", later(1))], NOW)).await.unwrap();
        let full = fixture.store.commit(commit(vec![set("b", "123456789")], NOW)).await.unwrap();
        assert_eq!(full, Committed::QuotaExceeded { needed: 20, allowed: 10 });
        let fits = fixture.store.commit(commit(vec![set("b", "123456789")], later(1))).await.unwrap();
        assert_eq!(fits, Committed::Done);
        assert_eq!(count(&fixture.fate(), "state"), 1);
    }

    #[tokio::test]
    async fn the_store_refuses_what_its_caller_should_have() {
        let fixture = Fixture::new();
        let long_key = "k".repeat(KEY_BYTES_MAX + 1);
        let writes =
            [set("", ""), set(&long_key, ""), set("k", vec![0; VALUE_BYTES_MAX + 1]), delete(&long_key), add("", 1)];
        for write in writes {
            let refused = fixture.store.commit(Commit { state: vec![write], ..fixture.commit_of() }).await;
            assert!(matches!(refused, Err(StoreError::Length { .. })), "{refused:?}");
        }
        let short = timer("t", Schedule::Every(Duration::from_millis(1)));
        for change in [timer("", Schedule::At(NOW)), timer(&"n".repeat(129), Schedule::At(NOW)), short] {
            let refused = fixture.store.commit(Commit { timers: vec![change], ..fixture.commit_of() }).await;
            assert!(
                matches!(refused, Err(StoreError::Length { .. } | StoreError::InvalidSchedule { .. })),
                "{refused:?}"
            );
        }
    }
}

mod durability {
    use super::*;

    #[tokio::test]
    async fn what_was_committed_side_by_side_is_all_there_after_a_restart() {
        let fixture = Fixture::new();
        let commits = (0..64).map(|number| {
            let (key, value) = (format!("k{number}"), number.to_string());
            let store = fixture.store.clone();
            let reads = if number % 8 == 7 { vec![saw("k", Some(1))] } else { vec![] };
            let commit = Commit { reads, state: vec![set(&key, value)], ..fixture.commit_of() };
            tokio::spawn(async move { store.commit(commit).await })
        });
        let answers = futures_util::future::join_all(commits).await;
        let fixture = fixture.reopen().await;
        for (number, answer) in answers.into_iter().enumerate() {
            // One in eight conflicts; the seven that shared its transaction do not suffer.
            let expected = if number % 8 == 7 { None } else { Some(number.to_string()) };
            let done = answer.unwrap().unwrap() == Committed::Done;
            assert_eq!(done, expected.is_some());
            assert_eq!(fixture.get(&format!("k{number}")).await, expected);
        }
    }

    /// Names the directory to the child of the test below.
    const CHILD_DIRECTORY: &str = "BOTHOST_TEST_STORE";

    #[tokio::test]
    #[ignore = "the child of `what_was_acknowledged_is_there_after_kill_9`"]
    async fn child_that_writes_until_it_is_killed() {
        use std::io::Write as _;
        let store =
            Store::open(Path::new(&std::env::var_os(CHILD_DIRECTORY).unwrap()), StoreOptions::default()).unwrap();
        for acknowledged in 1.. {
            let (reads, timers, state) = (Vec::new(), Vec::new(), vec![add("n", 1), set("padding", [7; 9_000])]);
            let commit = Commit { bot: bot("echo"), reads, state, timers, state_bytes_max: 1 << 20, now: NOW };
            assert_eq!(store.commit(commit).await.unwrap(), Committed::Done);
            writeln!(std::io::stdout(), "acknowledged {acknowledged}").unwrap();
        }
    }

    #[tokio::test]
    async fn what_was_acknowledged_is_there_after_kill_9() {
        use std::io::BufRead as _;
        let directory = tempfile::tempdir().unwrap();
        let mut acknowledged = 0;
        for round in 1..=3 {
            let child = format!("{}::child_that_writes_until_it_is_killed", module_path!().split_once("::").unwrap().1);
            let mut child = std::process::Command::new(std::env::current_exe().unwrap())
                .args([&child, "--exact", "--ignored", "--nocapture"])
                .env(CHILD_DIRECTORY, directory.path())
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap();
            let lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
            let said = lines.filter(|line| line.contains("acknowledged ")).take(40 * round).count();
            child.kill().unwrap();
            child.wait().unwrap();
            acknowledged += said;
            let store = Store::open(directory.path(), StoreOptions::default()).unwrap();
            let value = store.state_get(&bot("echo"), "n", NOW).await.unwrap().unwrap().value;
            let written: usize = String::from_utf8(value).unwrap().parse().unwrap();
            assert_eq!(said, 40 * round);
            assert!(written >= acknowledged, "{written} of {acknowledged}");
            acknowledged = written;
            store.close().await;
        }
    }

    #[tokio::test]
    async fn the_files_of_a_process_that_did_not_close_them_are_enough() {
        let fixture = Fixture::new();
        for number in 0..20 {
            fixture.write(vec![set(&format!("k{number}"), "x"), add("n", 1)]).await;
        }
        fixture.set_timers(vec![timer("t", Schedule::At(NOW))]).await;
        let after = tempfile::tempdir().unwrap();
        for file in ["bothost.db", "bothost.db-wal"] {
            std::fs::copy(fixture.directory.path().join(file), after.path().join(file)).unwrap();
        }
        let revived = Fixture {
            store: Store::open(after.path(), StoreOptions::default()).unwrap(),
            directory: after,
            bot: bot("echo"),
        };
        assert_eq!(revived.get("n").await, Some("20".to_owned()));
        assert_eq!(revived.store.state_keys(&revived.bot, "k", None, 100, NOW).await.unwrap().len(), 20);
        assert_eq!(revived.due(NOW).await.len(), 1);
    }

    #[test]
    fn the_last_handle_to_go_frees_the_directory() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let directory = tempfile::tempdir().unwrap();
        for round in 1..=3 {
            let store = Store::open(directory.path(), StoreOptions::default()).unwrap();
            let (reads, timers, state) = (Vec::new(), Vec::new(), vec![add("n", 1)]);
            let commit = Commit { bot: bot("echo"), reads, state, timers, state_bytes_max: 10, now: NOW };
            runtime.block_on(store.clone().commit(commit)).unwrap();
            let value = runtime.block_on(store.state_get(&bot("echo"), "n", NOW)).unwrap().unwrap().value;
            assert_eq!(value, round.to_string().into_bytes());
        }
    }

    #[tokio::test]
    async fn the_database_is_set_up_for_power_loss_and_for_no_other_eyes() {
        use std::os::unix::fs::PermissionsExt;
        let fixture = Fixture::new();
        fixture.write(vec![set("a", "1")]).await;
        for file in ["bothost.db", "bothost.db-wal", "bothost.db-shm"] {
            let mode = fixture.directory.path().join(file).metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
        fixture.store.close().await;
        let path: Arc<Path> = fixture.directory.path().join("bothost.db").into();
        let connection = open(&path, Durability::Power).unwrap().0;
        let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!((pragma("synchronous"), pragma("auto_vacuum"), pragma("mmap_size")), (2, 2, 0));
        assert_eq!((pragma("wal_autocheckpoint"), pragma("journal_size_limit")), (8_000, 64 << 20));
        let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
        assert_eq!(mode, "wal");
    }

    #[tokio::test]
    async fn a_second_host_is_told_which_process_is_the_first() {
        let fixture = Fixture::new();
        let refused = Store::open(fixture.directory.path(), StoreOptions::default()).unwrap_err();
        let expected = format!("is in use by another host, process {}", std::process::id());
        assert!(refused.to_string().ends_with(&expected), "{refused}");
        fixture.reopen().await;
    }

    #[tokio::test]
    async fn f058_a_database_of_a_newer_host_is_refused_with_both_versions_and_not_written() {
        let fixture = Fixture::new();
        fixture.store.close().await;
        let path = fixture.directory.path();
        Connection::open(path.join("bothost.db")).unwrap().pragma_update(None, "user_version", 99).unwrap();
        // Without the counter of changes, which SQLite moves on when it opens the file.
        let content = || {
            let mut bytes = std::fs::read(path.join("bothost.db")).unwrap();
            bytes[24..28].fill(0);
            bytes[92..96].fill(0);
            bytes
        };
        let before = content();
        let refused = Store::open(path, StoreOptions::default()).unwrap_err();
        assert!(content() == before, "it was written");
        let supported = schema::MIGRATIONS.len();
        assert!(
            matches!(refused, StoreError::NewerSchema { found: 99, supported: found, .. } if found == supported),
            "{refused}"
        );
    }

    #[test]
    fn a_file_that_is_no_database_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("bothost.db"), "no database at all".repeat(500)).unwrap();
        let refused = Store::open(directory.path(), StoreOptions::default()).unwrap_err();
        assert!(matches!(refused, StoreError::Damaged { .. }), "{refused:?}");
    }

    #[tokio::test]
    async fn a_full_disk_fails_what_does_not_fit_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path: Arc<Path> = directory.path().join("x.db").into();
        std::fs::write(&path, "").unwrap();
        let (connection, last_end) = open(&path, Durability::Power).unwrap();
        connection.pragma_update_and_check(None, "max_page_count", 60, |_| Ok(())).unwrap();
        let options = StoreOptions::default();
        let queue = Arc::new(Queue::new(options.queue));
        let memory = Memory { queue, outbox: Arc::default(), notes: Arc::default() };
        let ledger = recover(&connection, &path, &options, &memory, last_end).unwrap();
        let ballast = crate::store::ballast::Ballast::find(directory.path());
        let vigil = Vigil::new(&connection, path, ballast, Default::default());
        let handle = spawn_writer(connection, ledger, memory, vigil, Default::default()).unwrap();
        let write = async |state: Vec<StateWrite>| {
            let (reads, timers, bot) = (Vec::new(), Vec::new(), bot("echo"));
            let commit = Commit { bot, reads, state, timers, state_bytes_max: 1 << 30, now: NOW };
            let (reply, answer) = tokio::sync::oneshot::channel();
            let commit = PreparedCommit::new(commit).unwrap();
            let lease = Lease::of_first_owner().into();
            let settle = Box::new(Settle { lease, done: None, commit, sends: Vec::new(), alerts: Vec::new() });
            handle.requests.send(Write::Settle { settle, reply }).await.unwrap();
            answer.await.unwrap()
        };
        assert!(matches!(write(vec![set("a", "1")]).await, Ok(Committed::Done)));
        let full = write(vec![set("b", vec![0; 300_000])]).await;
        assert!(matches!(full, Err(StoreError::DiskFull { .. })), "{full:?}");
        assert!(matches!(write(vec![add("a", 1)]).await, Ok(Committed::Done)));
        drop(handle.requests);
        handle.thread.join().unwrap();
    }
}

mod corruption {
    use super::*;

    #[tokio::test]
    async fn a_flipped_bit_is_an_error_until_the_key_is_written_again() {
        let fixture = Fixture::new();
        fixture.write(vec![set("a", "balance: 100"), set("b", "2")]).await;
        let seen = fixture.revision("a").await;
        let fate = fixture.fate();
        fate.execute("UPDATE state SET value = CAST('balance: 900' AS BLOB) WHERE key = 'a'", ()).unwrap();

        for flaw in [Flaw::Checksum, Flaw::InQuarantine] {
            let error = fixture.store.state_get(&fixture.bot, "a", NOW).await.unwrap_err();
            assert!(
                matches!(&error, StoreError::Corrupt { kind: RecordKind::State, name, flaw: found, .. } if name == "a" && *found == flaw),
                "{error:?}"
            );
        }
        assert_eq!((count(&fate, "state"), count(&fate, "quarantine")), (1, 1));
        let body: Vec<u8> = fate.query_row("SELECT body FROM quarantine", (), |row| row.get(0)).unwrap();
        assert_eq!(body, b"balance: 900");
        let conflict = fixture.write_after(vec![saw("a", seen)], vec![set("b", "3")]).await;
        assert_eq!(conflict, Committed::Conflict { key: "a".to_owned() });

        fixture.write(vec![set("a", "new")]).await;
        assert_eq!((fixture.get("a").await, fixture.get("b").await), (Some("new".to_owned()), Some("2".to_owned())));
        fixture.write(vec![delete("a")]).await;
        assert_eq!(fixture.get("a").await, None);
        // The operator still has what was found.
        assert_eq!(count(&fate, "quarantine"), 1);
    }

    #[tokio::test]
    async fn every_column_of_a_key_is_covered() {
        for damage in
            ["revision = revision + 64", "expires_ms = 9000000000000", "checksum = checksum + 1", "value = x''"]
        {
            let fixture = Fixture::new();
            fixture.write(vec![set("a", "1")]).await;
            fixture.fate().execute(&format!("UPDATE state SET {damage}"), ()).unwrap();
            let error = fixture.store.state_get(&fixture.bot, "a", NOW).await.unwrap_err();
            assert!(matches!(error, StoreError::Corrupt { flaw: Flaw::Checksum, .. }), "{damage}: {error}");
        }
    }

    #[tokio::test]
    async fn nothing_is_added_to_a_number_that_cannot_be_trusted() {
        let fixture = Fixture::new();
        fixture.write(vec![add("n", 1)]).await;
        fixture.fate().execute("UPDATE state SET value = CAST('7' AS BLOB)", ()).unwrap();
        let state = vec![set("other", "1"), add("n", 1)];
        let error = fixture.store.commit(Commit { state, ..fixture.commit_of() }).await.unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
        assert_eq!(fixture.get("other").await, None);
        assert_eq!(count(&fixture.fate(), "quarantine"), 1);
    }

    #[tokio::test]
    async fn a_timer_that_cannot_be_trusted_does_not_fire() {
        let fixture = Fixture::new();
        fixture.set_timers(vec![timer("bad", Schedule::At(NOW)), timer("good", Schedule::At(NOW))]).await;
        fixture.fate().execute("UPDATE timers SET payload = x'00' WHERE name = 'bad'", ()).unwrap();
        let names: Vec<_> = fixture.due(NOW).await.into_iter().map(|timer| timer.name).collect();
        assert_eq!(names, ["good"]);
        assert_eq!((count(&fixture.fate(), "timers"), count(&fixture.fate(), "quarantine")), (1, 1));
    }

    #[tokio::test]
    async fn what_is_only_counted_is_counted_again() {
        let fixture = Fixture::new();
        fixture.write(vec![set("abc", "12345")]).await;
        let before = fixture.revision("abc").await.unwrap();
        let fate = fixture.fate();
        fate.execute("UPDATE usage SET state_bytes = 0", ()).unwrap();
        fate.execute("UPDATE counter SET revision = 0", ()).unwrap();
        let fixture = fixture.reopen().await;
        let commit = Commit { state: vec![set("d", "1")], state_bytes_max: 9, ..fixture.commit_of() };
        let refused = fixture.store.commit(commit).await.unwrap();
        assert_eq!(refused, Committed::QuotaExceeded { needed: 10, allowed: 9 });
        fixture.write(vec![set("abc", "1")]).await;
        assert!(fixture.revision("abc").await.unwrap() > before + 1_000_000);
    }
}

mod timers {
    use super::*;

    const NEW: Appended = Appended::New { overflowing: Vec::new() };

    #[tokio::test]
    async fn timers_outlive_a_restart_and_come_in_the_order_they_are_due() {
        let fixture = Fixture::new();
        let after = |ms| Schedule::After(Duration::from_millis(ms));
        fixture.set_timers(vec![timer("b", after(20)), timer("a", after(30)), timer("c", after(10))]).await;
        let fixture = fixture.reopen().await;
        assert_eq!(fixture.store.timer_names(&fixture.bot).await.unwrap(), ["a", "b", "c"]);
        assert_eq!(fixture.store.next_due(&[]).await.unwrap(), Some(later(10)));
        assert!(fixture.due(later(9)).await.is_empty());
        let due = fixture.due(later(20)).await;
        assert_eq!(due.iter().map(|timer| timer.name.as_str()).collect::<Vec<_>>(), ["c", "b"]);
        assert_eq!((due[0].payload.as_slice(), due[0].due_at), (b"c".as_slice(), later(10)));
    }

    #[tokio::test]
    async fn a_timer_of_one_time_is_gone_after_it_fired() {
        let fixture = Fixture::new();
        fixture.set_timers(vec![timer("t", Schedule::At(Timestamp::from_millis(5)))]).await;
        let due = fixture.due(NOW).await.remove(0);
        assert_eq!(fixture.store.fire(&due, NOW).await.unwrap(), NEW);
        assert_eq!(fixture.store.fire(&due, NOW).await.unwrap(), Appended::Stale);
        assert_eq!(fixture.store.next_due(&[]).await.unwrap(), None);
        assert_eq!(count(&fixture.fate(), "usage"), 0);
    }

    #[tokio::test]
    async fn a_repeating_timer_makes_one_event_of_all_it_missed() {
        let fixture = Fixture::new();
        fixture.set_timers(vec![timer("t", Schedule::Every(Duration::from_secs(1)))]).await;
        let fixture = fixture.reopen().await;
        let due = fixture.due(later(5_500)).await.remove(0);
        assert_eq!(due.due_at, later(1_000));
        assert_eq!(fixture.store.fire(&due, later(5_500)).await.unwrap(), NEW);
        assert_eq!(fixture.store.next_due(&[]).await.unwrap(), Some(later(6_000)));
        assert!(fixture.due(later(5_999)).await.is_empty());
        let again = fixture.due(later(6_000)).await.remove(0);
        assert_eq!((again.due_at, again.payload), (later(6_000), due.payload));
    }

    #[tokio::test]
    async fn a_report_of_a_timer_that_was_replaced_leaves_the_new_one_alone() {
        let fixture = Fixture::new();
        fixture.set_timers(vec![timer("t", Schedule::At(NOW))]).await;
        let due = fixture.due(NOW).await.remove(0);
        fixture.set_timers(vec![timer("t", Schedule::At(later(50)))]).await;
        assert_eq!(fixture.store.fire(&due, NOW).await.unwrap(), Appended::Stale);
        assert_eq!(fixture.store.next_due(&[]).await.unwrap(), Some(later(50)));
        let cancel = TimerChange::Cancel { name: "t".to_owned() };
        assert_eq!(fixture.set_timers(vec![cancel.clone(), cancel]).await, Committed::Done);
        assert_eq!(fixture.store.fire(&due, NOW).await.unwrap(), Appended::Stale);
    }

    #[tokio::test]
    async fn bots_can_be_left_out() {
        let fixture = Fixture::new();
        fixture.set_timers(vec![timer("t", Schedule::At(NOW))]).await;
        let except = [bot("other"), fixture.bot.clone()];
        assert!(fixture.store.due_timers(NOW, 10, &except).await.unwrap().is_empty());
        assert_eq!(fixture.store.next_due(&except).await.unwrap(), None);
        assert_eq!(fixture.store.due_timers(NOW, 10, &except[..1]).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_bot_has_only_so_many_timers() {
        let fixture = Fixture::new();
        let many = (0..TIMERS_MAX).map(|number| timer(&number.to_string(), Schedule::At(NOW))).collect();
        assert_eq!(fixture.set_timers(many).await, Committed::Done);
        let one_more = || timer("one more", Schedule::At(NOW));
        assert_eq!(fixture.set_timers(vec![one_more()]).await, Committed::TooManyTimers { allowed: TIMERS_MAX });
        let cancel = TimerChange::Cancel { name: "0".to_owned() };
        assert_eq!(fixture.set_timers(vec![one_more(), cancel]).await, Committed::Done);
        assert_eq!(fixture.set_timers(vec![one_more()]).await, Committed::Done);
    }

    #[tokio::test]
    async fn a_commit_that_changes_timers_is_signalled() {
        let fixture = Fixture::new();
        let mut changed = fixture.store.timers_changed();
        fixture.write(vec![set("a", "1")]).await;
        assert!(!changed.has_changed().unwrap());
        fixture.set_timers(vec![timer("t", Schedule::At(NOW))]).await;
        assert!(changed.has_changed().unwrap());
        changed.borrow_and_update();
        let conflict =
            Commit { reads: vec![saw("a", None)], timers: vec![timer("u", Schedule::At(NOW))], ..fixture.commit_of() };
        assert!(matches!(fixture.store.commit(conflict).await.unwrap(), Committed::Conflict { .. }));
        assert!(!changed.has_changed().unwrap());
    }
}

#[test]
fn a_sweep_removes_what_has_expired_and_checks_it_first() {
    let directory = tempfile::tempdir().unwrap();
    let path: Arc<Path> = directory.path().join("x.db").into();
    std::fs::write(&path, "").unwrap();
    let connection = open(&path, Durability::Power).unwrap().0;
    let mut usage = usage::Usage::default();
    let epoch = Timestamp::from_millis(0);
    let writer = super::state::StateWriter { connection: &connection, bot: "echo", revision: 1, now: epoch };
    for (key, expires_ms) in [("a", Some(5)), ("b", Some(6)), ("c", Some(i64::MAX)), ("d", None)] {
        let write = prepare::PreparedWrite::Set {
            key: key.to_owned(),
            value: b"v".to_vec(),
            digest: checksum::Digest::of(b"v"),
            expires_ms,
        };
        writer.apply(&write, &mut usage).unwrap();
    }
    usage::save(&connection, "echo", usage).unwrap();
    connection.execute("UPDATE state SET expires_ms = 7 WHERE key = 'd'", ()).unwrap();

    assert_eq!(super::state::to_sweep(&connection, Timestamp::from_millis(4)).unwrap(), None);
    assert_eq!(super::state::to_sweep(&connection, NOW).unwrap().as_deref(), Some("echo"));
    assert_eq!(super::state::sweep(&connection, "echo", NOW, 2).unwrap(), 2);
    assert_eq!(super::state::sweep(&connection, "echo", NOW, 2).unwrap(), 1);
    assert_eq!(super::state::to_sweep(&connection, NOW).unwrap(), None);
    assert_eq!((count(&connection, "state"), count(&connection, "quarantine")), (1, 1));
    assert_eq!(usage::load(&connection, "echo").unwrap().state_bytes, 2);
}

/// What the store should be: a map, and a revision for every write.
#[derive(Debug, Default, Clone)]
struct Model {
    rows: BTreeMap<String, ModelRow>,
    commits: u64,
}

#[derive(Debug, Clone)]
struct ModelRow {
    value: Vec<u8>,
    expires_at: Option<Timestamp>,
    written_by: u64,
}

impl Model {
    fn live(&self, key: &str, now: Timestamp) -> Option<&ModelRow> {
        self.rows.get(key).filter(|row| row.expires_at.is_none_or(|moment| moment > now))
    }

    fn bytes(&self, now: Timestamp) -> u64 {
        let live = self.rows.iter().filter(|(key, _)| self.live(key, now).is_some());
        live.map(|(key, row)| (key.len() + row.value.len()) as u64).sum()
    }

    fn commit(&mut self, state: &[StateWrite], now: Timestamp, allowed: u64) -> Committed {
        let mut next = self.clone();
        next.commits += 1;
        for write in state {
            let (key, value, expires_at) = match write {
                StateWrite::Delete { key } => {
                    next.rows.remove(key);
                    continue;
                }
                StateWrite::Set { key, value, expires_at } => (key, value.clone(), *expires_at),
                StateWrite::Add { key, delta } => {
                    let row = next.live(key, now);
                    match sum(row.map(|row| row.value.as_slice()), *delta) {
                        Ok(sum) => (key, sum.to_string().into_bytes(), row.and_then(|row| row.expires_at)),
                        Err(_) => return Committed::NotANumber { key: key.clone() },
                    }
                }
            };
            next.rows.insert(key.clone(), ModelRow { value, expires_at, written_by: next.commits });
        }
        let needed = next.bytes(now);
        if needed > allowed && needed > self.bytes(now) {
            return Committed::QuotaExceeded { needed, allowed };
        }
        *self = next;
        Committed::Done
    }
}

#[derive(Debug, Clone)]
enum Step {
    Commit {
        state: Vec<StateWrite>,
        allowed: u64,
    },
    Read {
        key: String,
    },
    /// Commits a write that rests on the oldest read of this key that was kept.
    CommitAfterRead {
        key: String,
    },
    Keys {
        prefix: String,
        after: Option<String>,
        limit: u32,
    },
    Wait {
        ms: u64,
    },
    Reopen,
}

fn key() -> impl Strategy<Value = String> {
    "[ab]{1,2}"
}

fn write() -> impl Strategy<Value = StateWrite> {
    let value = prop_oneof!["[0-9]{1,3}", "[x-z]{0,6}"];
    let expiry = prop::option::of((0u64..40).prop_map(later));
    prop_oneof![
        4 => (key(), value, expiry).prop_map(|(key, value, expires_at)| StateWrite::Set {
            key,
            value: value.into_bytes(),
            expires_at
        }),
        1 => key().prop_map(|key| StateWrite::Delete { key }),
        2 => (key(), -50i64..50).prop_map(|(key, delta)| StateWrite::Add { key, delta }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (prop::collection::vec(write(), 1..4), 15u64..40)
            .prop_map(|(state, allowed)| Step::Commit { state, allowed }),
        4 => key().prop_map(|key| Step::Read { key }),
        3 => key().prop_map(|key| Step::CommitAfterRead { key }),
        2 => ("[ab]{0,1}", prop::option::of(key()), 1u32..5)
            .prop_map(|(prefix, after, limit)| Step::Keys { prefix, after, limit }),
        2 => (1u64..8).prop_map(|ms| Step::Wait { ms }),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_store_answers_as_a_map_does(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(follow(steps))?;
    }
}

async fn follow(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let (mut fixture, mut model, mut now) = (Fixture::new(), Model::default(), NOW);
    // By key, what the store and the model said when it was read.
    let mut kept: BTreeMap<String, (Option<u64>, Option<u64>)> = BTreeMap::new();
    for step in steps {
        match step {
            Step::Commit { state, allowed } => {
                let expected = model.commit(&state, now, allowed);
                let commit = Commit { state, state_bytes_max: allowed, now, ..fixture.commit_of() };
                let answer = fixture.store.commit(commit).await.unwrap();
                prop_assert_eq!(answer, expected);
            }
            Step::Read { key } => {
                let answer = fixture.store.state_get(&fixture.bot, &key, now).await.unwrap();
                let expected = model.live(&key, now);
                prop_assert_eq!(answer.as_ref().map(|found| &found.value), expected.map(|row| &row.value));
                kept.entry(key).or_insert((answer.map(|found| found.revision), expected.map(|row| row.written_by)));
            }
            Step::CommitAfterRead { key } => {
                let Some((revision, written_by)) = kept.remove(&key) else { continue };
                let state = vec![set(&key, "1")];
                let is_same = model.live(&key, now).map(|row| row.written_by) == written_by;
                let expected =
                    if is_same { model.commit(&state, now, 1 << 20) } else { Committed::Conflict { key: key.clone() } };
                let commit = Commit { reads: vec![saw(&key, revision)], state, now, ..fixture.commit_of() };
                prop_assert_eq!(fixture.store.commit(commit).await.unwrap(), expected);
            }
            Step::Keys { prefix, after, limit } => {
                let answer =
                    fixture.store.state_keys(&fixture.bot, &prefix, after.as_deref(), limit, now).await.unwrap();
                let fits = |key: &&String| {
                    key.starts_with(&prefix)
                        && after.as_ref().is_none_or(|after| *key > after)
                        && model.live(key, now).is_some()
                };
                let expected: Vec<_> = model.rows.keys().filter(fits).take(limit as usize).cloned().collect();
                prop_assert_eq!(answer, expected);
            }
            Step::Wait { ms } => now = now.saturating_add(Duration::from_millis(ms)),
            Step::Reopen => fixture = fixture.reopen().await,
        }
    }
    Ok(())
}
