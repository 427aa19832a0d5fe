use std::fs;

use super::*;
use crate::generation::Pinned;
use crate::store::engine::{Blobs, Engine};
use crate::store::{Store, StoreOptions};

/// A data directory with an archive, and components beside it.
struct Bench {
    dir: tempfile::TempDir,
    store: Store,
    archive: Archive,
}

impl Bench {
    fn new(keep: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("data"), StoreOptions::default()).unwrap();
        let archive = open(&dir, &store, keep);
        Self { dir, store, archive }
    }

    /// Opens it again, as the next process does.
    fn again(&self) -> Archive {
        open(&self.dir, &self.store, 50)
    }

    fn component(&self, content: &str) -> ComponentFile {
        let path = self.dir.path().join(format!("{content}.wasm"));
        fs::write(&path, content).unwrap();
        ComponentFile { path, hash: ContentHash::of(content.as_bytes()), len: content.len() as u64 }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join("data/generations").join(name)
    }

    async fn contents(&self) -> usize {
        self.store.blobs().list().await.unwrap().len()
    }
}

fn open(dir: &tempfile::TempDir, store: &Store, keep: usize) -> Archive {
    Archive::open(&dir.path().join("data"), store.blobs().clone(), NonZeroUsize::new(keep).unwrap()).unwrap()
}

fn snapshot(config: &str, component: Option<&ComponentFile>) -> Snapshot {
    let bot = |component: &ComponentFile| {
        let file = "echo.wasm".parse().unwrap();
        ("echo".parse().unwrap(), Pinned { file, hash: component.hash, len: component.len, grants: Vec::new() })
    };
    Snapshot {
        config: config.into(),
        entries: BTreeMap::from([("echo".parse().unwrap(), "enabled = true".into())]),
        bots: component.map(bot).into_iter().collect(),
        author: "file".into(),
        reason: "it changed".into(),
    }
}

#[tokio::test]
async fn what_is_recorded_is_numbered_and_outlives_the_process() {
    let bench = Bench::new(50);
    assert!(bench.archive.latest().is_none());
    let component = bench.archive.pin(&bench.component("abc")).await.unwrap();
    let first = bench.archive.record(snapshot("a = 1", Some(&component))).await.unwrap().unwrap();
    assert!(bench.archive.record(snapshot("a = 1", Some(&component))).await.unwrap().is_none(), "nothing changed");
    let second = bench.archive.record(snapshot("a = 2", Some(&component))).await.unwrap().unwrap();
    assert_eq!((first.number, second.number), (1, 2));
    let archive = bench.again();
    assert_eq!(archive.latest().unwrap(), second);
    assert_eq!(archive.generation(1).await.unwrap(), first);
    let history: Vec<_> = archive.history().await.unwrap().into_iter().map(|summary| summary.number).collect();
    assert_eq!(history, [2, 1]);
    let said = archive.generation(7).await.unwrap_err().to_string();
    assert_eq!(said, "there is no generation 7; 1 to 2 are kept");
    assert_eq!(archive.record(snapshot("a = 3", None)).await.unwrap().unwrap().number, 3);
}

#[tokio::test]
async fn the_pinned_component_is_a_copy_that_the_file_does_not_change() {
    let bench = Bench::new(50);
    let file = bench.component("abc");
    let pinned = bench.archive.pin(&file).await.unwrap();
    fs::write(&file.path, "other").unwrap();
    assert_eq!(fs::read(&pinned.path).unwrap(), b"abc");
    assert_eq!((pinned.hash, pinned.len), (file.hash, 3));
    assert_eq!(bench.archive.pinned(file.hash), Some(pinned.clone()));
    assert_eq!(bench.archive.pin(&pinned).await.unwrap(), pinned, "it is there already");
    let changed = ComponentFile { hash: ContentHash::of(b"never"), ..file };
    assert!(matches!(bench.archive.pin(&changed).await, Err(GenerationError::Changed { .. })));
}

#[tokio::test]
async fn what_cannot_be_restored_is_not_recorded() {
    let bench = Bench::new(50);
    let refused = bench.archive.record(snapshot("", Some(&bench.component("abc")))).await.unwrap_err();
    assert!(matches!(&refused, GenerationError::NotPinned { bot, .. } if bot.as_str() == "echo"), "{refused}");
    assert!(bench.archive.latest().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_have_no_gap_whoever_records_at_the_same_time() {
    let bench = Bench::new(50);
    let record = |index: usize| {
        let archive = bench.archive.clone();
        tokio::spawn(
            async move { archive.record(snapshot(&format!("a = {index}"), None)).await.unwrap().unwrap().number },
        )
    };
    let mut numbers: Vec<_> =
        futures_util::future::join_all((0..20).map(record)).await.into_iter().map(Result::unwrap).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=20).collect::<Vec<_>>());
}

#[tokio::test]
async fn only_the_newest_are_kept_and_their_contents_with_them() {
    let bench = Bench::new(2);
    for content in ["one", "two", "three"] {
        let component = bench.archive.pin(&bench.component(content)).await.unwrap();
        bench.archive.record(snapshot("", Some(&component))).await.unwrap().unwrap();
    }
    assert!(!bench.file("1.json").exists() && bench.file("2.json").exists());
    assert_eq!(bench.archive.pinned(ContentHash::of(b"one")), None);
    assert!(bench.archive.pinned(ContentHash::of(b"two")).is_some());
    assert!(matches!(bench.archive.generation(1).await, Err(GenerationError::Absent { oldest: Some(2), .. })));
}

#[tokio::test]
async fn what_is_pinned_is_not_collected_before_it_is_recorded_or_let_go() {
    let bench = Bench::new(1);
    let pinned = bench.archive.pin(&bench.component("pinned")).await.unwrap();
    bench.archive.pin(&bench.component("refused")).await.unwrap();
    for index in 0..3 {
        bench.archive.record(snapshot(&format!("a = {index}"), None)).await.unwrap().unwrap();
    }
    assert_eq!(bench.contents().await, 2);
    bench.archive.unpin_all().await.unwrap();
    bench.archive.record(snapshot("", Some(&pinned))).await.unwrap().unwrap();
    assert_eq!(bench.contents().await, 1);
    bench.archive.record(snapshot("", None)).await.unwrap().unwrap();
    assert_eq!(bench.contents().await, 0);
}

#[tokio::test]
async fn f077_a_damaged_generation_is_put_aside_and_not_offered() {
    let bench = Bench::new(50);
    for config in ["a = 1", "a = 2", "a = 3"] {
        bench.archive.record(snapshot(config, None)).await.unwrap().unwrap();
    }
    for number in [1, 3] {
        let path = bench.file(&format!("{number}.json"));
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).unwrap();
    }
    assert!(matches!(bench.archive.generation(1).await, Err(GenerationError::Damaged { number: 1, .. })));
    assert!(matches!(bench.archive.generation(1).await, Err(GenerationError::Absent { .. })));
    assert!(bench.file("damaged/1.json").exists());
    let archive = bench.again();
    assert_eq!(archive.latest().unwrap().number, 2);
    assert!(bench.file("damaged/3.json").exists());
    let next = archive.record(snapshot("a = 4", None)).await.unwrap().unwrap();
    assert_eq!(next.number, 4, "no number is given twice");
}

#[tokio::test]
async fn what_was_being_written_when_a_process_died_is_removed() {
    let bench = Bench::new(50);
    bench.archive.record(snapshot("", None)).await.unwrap().unwrap();
    fs::write(bench.file(".bothost-unfinished-1.json"), "half").unwrap();
    let archive = bench.again();
    assert!(!bench.file(".bothost-unfinished-1.json").exists() && archive.latest().is_some());
}

#[tokio::test]
async fn opening_writes_nothing_so_that_a_host_starts_on_a_full_disk() {
    let bench = Bench::new(50);
    assert!(!bench.file("").exists());
    bench.archive.record(snapshot("", None)).await.unwrap().unwrap();
    let mode = |path: &Path| std::os::unix::fs::MetadataExt::mode(&path.metadata().unwrap()) & 0o777;
    assert_eq!((mode(&bench.file("")), mode(&bench.file("1.json"))), (0o700, 0o600));
}

#[tokio::test]
async fn after_the_store_is_closed_nothing_is_written() {
    let bench = Bench::new(50);
    bench.store.clone().close().await;
    assert!(bench.archive.record(snapshot("a = 1", None)).await.is_err());
    assert!(bench.archive.pin(&bench.component("abc")).await.is_err());
    assert!(!bench.file("1.json").exists());
}

#[test]
fn f100_what_is_debugged_shows_no_text() {
    let shown = format!("{:?}", snapshot("token = \"CANARY\"", None));
    assert!(!shown.contains("CANARY") && !shown.contains("enabled"), "{shown}");
}
