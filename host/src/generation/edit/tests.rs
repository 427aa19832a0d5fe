use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::failpoint::Failpoint;
use crate::generation::{Pinned, Snapshot};
use crate::store::engine::{Blobs, Engine};
use crate::store::{Store, StoreOptions};
use crate::watcher::ComponentFile;

const CONFIG: &str = "# ours\n[limits]\nmemory = \"64MiB\" # enough\n";

/// A host in small: files, an archive, and an editor whose reload records what the files say.
pub(in crate::generation) struct Bench {
    pub(in crate::generation) store: Store,
    pub(in crate::generation) editor: Editor,
    is_refusing: Arc<AtomicBool>,
}

#[derive(Clone)]
pub(in crate::generation) struct Home(Arc<Path>);

impl Home {
    pub(in crate::generation) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(in crate::generation) fn put(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    pub(in crate::generation) fn text(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.path(name)).ok()
    }

    /// Returns what a supervisor would say is in force: each component serves the bot of its name.
    async fn snapshot(&self, archive: &Archive) -> Snapshot {
        let (mut entries, mut bots) = (BTreeMap::new(), BTreeMap::new());
        let mut names: Vec<_> =
            fs::read_dir(self.path("bots")).unwrap().map(|file| file.unwrap().file_name()).collect();
        names.sort();
        for name in names {
            let name = name.to_str().unwrap();
            if name.starts_with('.') {
                continue;
            }
            let path = self.path("bots").join(name);
            match name.rsplit_once('.') {
                Some((stem, "toml")) => {
                    entries.insert(stem.parse().unwrap(), fs::read_to_string(path).unwrap().into());
                }
                Some((stem, "wasm")) => {
                    let bytes = fs::read(&path).unwrap();
                    let (hash, len) = (ContentHash::of(&bytes), bytes.len() as u64);
                    archive.pin(&ComponentFile { path, hash, len }).await.unwrap();
                    let pinned = Pinned { file: name.parse().unwrap(), hash, len, grants: Vec::new() };
                    bots.insert(stem.parse().unwrap(), pinned);
                }
                _ => panic!("{name} is nobody's"),
            }
        }
        let (author, reason) = ("file".to_owned(), "a file changed".to_owned());
        Snapshot { config: self.text("config.toml").unwrap().into(), entries, bots, author, reason }
    }

    async fn record(&self, archive: &Archive) -> u64 {
        let snapshot = self.snapshot(archive).await;
        archive.record(snapshot).await.unwrap();
        archive.latest().unwrap().number
    }

    fn open(&self) -> (Store, Archive) {
        let data = self.path("data");
        let store = Store::open(&data, StoreOptions::default()).unwrap();
        let archive = Archive::open(&data, store.blobs().clone(), NonZeroUsize::new(50).unwrap()).unwrap();
        (store, archive)
    }
}

impl Bench {
    /// Starts on a directory; what lies in it is the first generation.
    pub(in crate::generation) async fn on(dir: &Path) -> Self {
        let home = Home(dir.into());
        let (store, archive) = home.open();
        archive.finish_edit().await.unwrap();
        home.record(&archive).await;
        let is_refusing = Arc::new(AtomicBool::new(false));
        let (files, generations, refuses) = (home.clone(), archive.clone(), Arc::clone(&is_refusing));
        let editor = Editor::new(archive, home.path("config.toml"), move || {
            let (files, generations) = (files.clone(), generations.clone());
            let is_refusing = refuses.load(Ordering::SeqCst);
            async move {
                if is_refusing {
                    let rejected = Some("no".to_owned());
                    let generation = generations.latest().unwrap().number;
                    return Ok(Reloaded { generation, rejected, ..Reloaded::default() });
                }
                Ok(Reloaded { generation: files.record(&generations).await, ..Reloaded::default() })
            }
        });
        Self { store, editor, is_refusing }
    }

    async fn set(&self, key: &str, value: &str) -> Result<u64, EditError> {
        self.editor.set(who(), key.to_owned(), Some(value.to_owned())).await.map(|reloaded| reloaded.generation)
    }

    pub(in crate::generation) fn latest(&self) -> Arc<Generation> {
        self.editor.archive().latest().unwrap()
    }
}

pub(in crate::generation) fn lay_out(dir: &Path) -> Home {
    let home = Home(dir.into());
    fs::create_dir(home.path("bots")).unwrap();
    home.put("config.toml", CONFIG);
    home
}

pub(in crate::generation) fn who() -> Who {
    Who { author: "ann".to_owned(), reason: String::new() }
}

#[tokio::test]
async fn a_key_is_set_in_its_file_and_its_author_and_reason_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let home = lay_out(dir.path());
    home.put("bots/shop.toml", "enabled = true # on\n");
    let bench = Bench::on(dir.path()).await;
    assert_eq!(bench.set("limits.memory", "128MiB").await.unwrap(), 2);
    assert_eq!(home.text("config.toml").unwrap(), CONFIG.replace("64", "128"));
    let latest = bench.latest();
    assert_eq!((latest.author.as_str(), latest.reason.as_str()), ("ann", "set limits.memory"));
    assert_eq!(bench.set("bots.shop.priority", "high").await.unwrap(), 3);
    assert_eq!(home.text("bots/shop.toml").unwrap(), "enabled = true # on\npriority = \"high\"\n");
    let reloaded = bench.editor.set(who(), "bots.shop.priority".to_owned(), None).await.unwrap();
    assert_eq!((reloaded.generation, home.text("bots/shop.toml").unwrap().as_str()), (4, "enabled = true # on\n"));
    home.put("bots/new.toml", "");
    home.record(bench.editor.archive()).await;
    assert_eq!(bench.latest().author, "file", "the edit before it is over");
}

#[tokio::test]
async fn two_edits_at_the_same_moment_are_two_generations() {
    let dir = tempfile::tempdir().unwrap();
    let home = lay_out(dir.path());
    let bench = Bench::on(dir.path()).await;
    let (one, other) = tokio::join!(bench.set("limits.in_flight", "3"), bench.set("queue.keep", "7"));
    let mut numbers = [one.unwrap(), other.unwrap()];
    numbers.sort_unstable();
    assert_eq!(numbers, [2, 3]);
    let text = home.text("config.toml").unwrap();
    assert!(text.contains("in_flight = 3") && text.contains("keep = 7"), "{text}");
}

#[tokio::test]
async fn an_edit_that_is_not_good_is_refused_with_its_place_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let home = lay_out(dir.path());
    home.put("bots/shop.toml", "connectors = [\"tg\"]\n");
    home.put("bots/bad.toml", "enabld = true\n");
    home.put("config.toml", &format!("{CONFIG}[connectors.tg]\ntype = \"telegram\"\ntoken = \"1:a\"\n"));
    let bench = Bench::on(dir.path()).await;
    for (key, value, said) in [
        ("limits.memroy", "1MiB", "config.toml:4:1: unknown key `memroy` in [limits], did you mean `memory`?"),
        ("limits.memory", "lots", "config.toml:3:10: "),
        ("bots.shop.enabld", "false", "shop.toml:2:1: unknown key `enabld`, did you mean `enabled`?"),
        ("connectors.tg.type", "console", "config.toml:"),
    ] {
        let refused = bench.set(key, value).await.unwrap_err();
        assert!(matches!(refused, EditError::Invalid(_)) && refused.to_string().contains(said), "{key}: {refused}");
    }
    let removed = bench.editor.set(who(), "connectors.tg".to_owned(), None).await.unwrap_err().to_string();
    assert!(removed.contains("shop.toml:1:15: there is no connector `tg`"), "{removed}");
    assert!(!removed.contains("bad.toml"), "it was bad before: {removed}");
    assert_eq!((bench.latest().number, home.text("config.toml").unwrap().lines().count()), (1, 6));
    assert_eq!(bench.set("limits.in_flight", "3").await.unwrap(), 2, "an entry that was bad before is in nobody's way");
}

#[tokio::test]
async fn f057_an_edit_of_what_is_no_longer_in_force_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    lay_out(dir.path());
    let bench = Bench::on(dir.path()).await;
    let edit = |keep: u32| Edit {
        who: who(),
        based_on: Some(1),
        config: Some(format!("[queue]\nkeep = {keep}\n")),
        ..Edit::default()
    };
    let (one, other) = tokio::join!(bench.editor.carry_out(edit(1)), bench.editor.carry_out(edit(2)));
    let (won, lost) = if one.is_ok() { (one, other) } else { (other, one) };
    assert_eq!(won.unwrap().generation, 2);
    assert!(matches!(lost, Err(EditError::Overtaken { based_on: 1, latest: Some(2) })));
}

#[tokio::test]
async fn a_bot_is_switched_off_and_on_and_one_that_is_not_there_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let home = lay_out(dir.path());
    home.put("bots/echo.wasm", "abc");
    let bench = Bench::on(dir.path()).await;
    bench.editor.enable(who(), "echo".parse().unwrap(), false).await.unwrap();
    assert_eq!(home.text("config.toml").unwrap(), format!("{CONFIG}\n[bots.echo]\nenabled = false\n"));
    bench.editor.enable(who(), "echo".parse().unwrap(), true).await.unwrap();
    assert!(home.text("config.toml").unwrap().ends_with("enabled = true\n"));
    assert_eq!(bench.latest().reason, "enabled echo");
    let refused = bench.editor.enable(who(), "ecko".parse().unwrap(), false).await.unwrap_err();
    assert_eq!(refused.to_string(), "there is no bot `ecko`; did you mean `echo`?");
}

#[tokio::test]
async fn a_rollback_brings_files_and_components_back_and_leaves_alone_what_nobody_knows() {
    let dir = tempfile::tempdir().unwrap();
    let home = lay_out(dir.path());
    home.put("bots/echo.wasm", "one");
    home.put("bots/echo.toml", "priority = \"high\"\n");
    let bench = Bench::on(dir.path()).await;
    home.put("bots/echo.wasm", "two");
    fs::remove_file(home.path("bots/echo.toml")).unwrap();
    home.put("bots/late.wasm", "late");
    home.put("bots/late.toml", "");
    assert_eq!(bench.set("limits.memory", "128MiB").await.unwrap(), 2);
    home.put("bots/unknown.wasm", "unknown");
    let reloaded = bench.editor.rollback(who(), 1).await.unwrap();
    assert_eq!((reloaded.generation, bench.latest().reason.as_str()), (3, "rollback to 1"));
    assert_eq!(home.text("config.toml").unwrap(), CONFIG);
    assert_eq!(home.text("bots/echo.wasm").unwrap(), "one");
    assert_eq!(home.text("bots/echo.toml").unwrap(), "priority = \"high\"\n");
    assert_eq!((home.text("bots/late.wasm"), home.text("bots/late.toml")), (None, None));
    assert_eq!(home.text("bots/unknown.wasm").unwrap(), "unknown");
}

#[tokio::test]
async fn a_rollback_to_when_a_bot_was_switched_off_leaves_its_component_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let home = lay_out(dir.path());
    home.put("bots/echo.wasm", "one");
    home.put("bots/late.wasm", "late");
    home.put("config.toml", "[bots.echo]\nenabled = false\n");
    let bench = Bench::on(dir.path()).await;
    let mut switched_off = home.snapshot(bench.editor.archive()).await;
    switched_off.bots.clear();
    let number = bench.editor.archive().record(switched_off).await.unwrap().unwrap().number;
    bench.set("bots.echo.enabled", "true").await.unwrap();
    bench.editor.rollback(who(), number).await.unwrap();
    assert_eq!(home.text("config.toml").unwrap(), "[bots.echo]\nenabled = false\n");
    assert_eq!((home.text("bots/echo.wasm").as_deref(), home.text("bots/late.wasm")), (Some("one"), None));
}

#[tokio::test]
async fn f055_a_rollback_whose_component_is_gone_or_damaged_changes_nothing_and_names_the_bot() {
    for damage in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let home = lay_out(dir.path());
        home.put("bots/echo.wasm", "one");
        home.put("bots/shop.toml", "component = \"echo.wasm\"\n");
        let bench = Bench::on(dir.path()).await;
        home.put("bots/echo.wasm", "two");
        bench.set("limits.memory", "128MiB").await.unwrap();
        let hash = ContentHash::of(b"one");
        if damage {
            fs::write(bench.editor.archive().pinned(hash).unwrap().path, "onf").unwrap();
        } else {
            bench.store.blobs().delete(hash.into()).await.unwrap();
        }
        let refused = bench.editor.rollback(who(), 1).await.unwrap_err();
        assert!(refused.to_string().starts_with("bot shop: the component echo.wasm"), "{refused}");
        assert!(matches!(refused, EditError::NoComponent { .. }));
        assert_eq!(home.text("bots/echo.wasm").unwrap(), "two");
        assert_eq!(home.text("config.toml").unwrap(), CONFIG.replace("64", "128"));
        assert_eq!(home.record(bench.editor.archive()).await, 2, "nothing is left behind");
    }
}

#[tokio::test]
async fn what_is_exported_is_imported_with_the_secrets_that_are_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let home = lay_out(dir.path());
    home.put("config.toml", "[admin]\ntoken = \"CANARY-1\"\n");
    home.put("bots/echo.wasm", "one");
    home.put("bots/echo.toml", "secrets = { KEY = \"CANARY-2\" }\n");
    let bench = Bench::on(dir.path()).await;
    let export = bench.editor.show(None).await.unwrap();
    let text = serde_json::to_string(&export).unwrap();
    assert!(!text.contains("CANARY"), "{text}");
    bench.set("admin.token", "CANARY-3").await.unwrap();
    home.put("bots/echo.wasm", "two");
    home.put("bots/echo.toml", "priority = \"low\"\nsecrets = { KEY = \"CANARY-4\" }\n");
    home.record(bench.editor.archive()).await;
    bench.editor.import(who(), serde_json::from_str(&text).unwrap()).await.unwrap();
    assert_eq!(home.text("config.toml").unwrap(), "[admin]\ntoken = \"CANARY-3\"\n");
    assert_eq!(home.text("bots/echo.toml").unwrap(), "secrets = { KEY = \"CANARY-4\" }\n");
    assert_eq!((home.text("bots/echo.wasm").unwrap().as_str(), bench.latest().reason.as_str()), ("one", "import"));
    bench.editor.set(who(), "admin.token".to_owned(), None).await.unwrap();
    let refused = bench.editor.import(who(), export).await.unwrap_err().to_string();
    assert!(refused.starts_with("config.toml: `admin.token` is [redacted]"), "{refused}");
}

#[tokio::test]
async fn the_mode_of_a_file_stays_and_a_link_goes_on_leading_to_it() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let home = lay_out(dir.path());
    fs::create_dir(home.path("etc")).unwrap();
    fs::rename(home.path("config.toml"), home.path("etc/real.toml")).unwrap();
    std::os::unix::fs::symlink("etc/real.toml", home.path("config.toml")).unwrap();
    fs::set_permissions(home.path("etc/real.toml"), fs::Permissions::from_mode(0o640)).unwrap();
    let bench = Bench::on(dir.path()).await;
    bench.set("limits.memory", "128MiB").await.unwrap();
    assert!(home.path("config.toml").is_symlink());
    let mode = fs::metadata(home.path("etc/real.toml")).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode, home.text("etc/real.toml").unwrap()), (0o640, CONFIG.replace("64", "128")));
}

#[tokio::test]
async fn an_edit_that_the_host_does_not_take_is_told_and_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let home = lay_out(dir.path());
    let bench = Bench::on(dir.path()).await;
    bench.is_refusing.store(true, Ordering::SeqCst);
    let refused = bench.set("limits.memory", "128MiB").await.unwrap_err();
    assert!(matches!(&refused, EditError::Rejected { generation: 1, .. }), "{refused}");
    bench.is_refusing.store(false, Ordering::SeqCst);
    assert_eq!(home.record(bench.editor.archive()).await, 2);
    assert_eq!(bench.latest().author, "file");
}

#[tokio::test]
async fn a_link_in_the_bots_directory_is_replaced_and_what_it_led_to_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let home = lay_out(dir.path());
    home.put("bots/echo.wasm", "one");
    let bench = Bench::on(dir.path()).await;
    fs::remove_file(home.path("bots/echo.wasm")).unwrap();
    home.put("built.wasm", "two");
    std::os::unix::fs::symlink("../built.wasm", home.path("bots/echo.wasm")).unwrap();
    bench.editor.rollback(who(), 1).await.unwrap();
    assert_eq!((home.text("bots/echo.wasm").unwrap(), home.text("built.wasm").unwrap()), ("one".into(), "two".into()));
}

#[tokio::test]
async fn f056_an_edit_that_nobody_waits_for_any_more_is_written_and_recorded_as_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let home = lay_out(dir.path());
    let (_store, archive) = home.open();
    home.record(&archive).await;
    let asked = Arc::new(tokio::sync::Notify::new());
    let hangs = {
        let asked = Arc::clone(&asked);
        Editor::new(archive.clone(), home.path("config.toml"), move || {
            asked.notify_one();
            std::future::pending()
        })
    };
    for (number, value) in [(2, "3"), (3, "4")] {
        tokio::select! {
            _ = hangs.set(who(), "limits.in_flight".to_owned(), Some(value.to_owned())) => panic!("nobody answers"),
            () = asked.notified() => {}
        }
        assert!(home.text("config.toml").unwrap().contains(&format!("in_flight = {value}")));
        assert_eq!((home.record(&archive).await, archive.latest().unwrap().author.as_str()), (number, "ann"));
    }
}

#[tokio::test]
async fn an_edit_that_cannot_be_finished_is_finished_before_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let home = lay_out(dir.path());
    let bench = Bench::on(dir.path()).await;
    home.put("bots/late.toml", "");
    home.put("config.toml", "");
    home.record(bench.editor.archive()).await;
    fs::remove_file(home.path("bots/late.toml")).unwrap();
    fs::create_dir(home.path("bots/late.toml")).unwrap();
    for _ in 0..2 {
        let refused = bench.editor.rollback(who(), 1).await.unwrap_err();
        assert!(matches!(refused, EditError::Generation(GenerationError::Disk { .. })), "{refused}");
        assert!(refused.to_string().contains("late.toml"), "{refused}");
    }
    fs::remove_dir(home.path("bots/late.toml")).unwrap();
    assert_eq!(bench.set("limits.in_flight", "3").await.unwrap(), 3);
    assert_eq!(home.text("config.toml").unwrap(), CONFIG.replace("# enough\n", "# enough\nin_flight = 3\n"));
}

#[tokio::test]
async fn who_edits_is_kept_short_and_on_one_line() {
    let dir = tempfile::tempdir().unwrap();
    lay_out(dir.path());
    let bench = Bench::on(dir.path()).await;
    let who = Who { author: "a\n\u{1b}[2Jb".to_owned(), reason: "x".repeat(10_000) };
    bench.editor.set(who, "queue.keep".to_owned(), Some("7".to_owned())).await.unwrap();
    assert_eq!((bench.latest().author.as_str(), bench.latest().reason.len()), ("a  [2Jb", REASON_CHARS_MAX));
}

const CHILD: &str = "generation::edit::tests::child_of_the_crash_test";
const CHILD_DIR: &str = "BOTHOST_TEST_EDIT_DIR";

/// What the crash test runs in a process of its own: a rollback to the first generation. By itself it does nothing.
#[tokio::test]
async fn child_of_the_crash_test() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let bench = Bench::on(Path::new(&dir)).await;
    bench.editor.rollback(Who { author: "ann".to_owned(), reason: "back".to_owned() }, 1).await.unwrap();
}

/// What the second generation of the crash test has in its files.
fn change_all(home: &Home) {
    home.put("config.toml", "[queue]\nkeep = 7\n");
    home.put("bots/echo.wasm", "two");
    home.put("bots/echo.toml", "priority = \"low\"\n");
    home.put("bots/late.toml", "component = \"echo.wasm\"\n");
}

/// Kills a rollback at a visit of a failpoint, and looks at what the next start makes of it.
async fn dies_and_converges(point: Failpoint, visit: usize) {
    let dir = tempfile::tempdir().unwrap();
    let home = lay_out(dir.path());
    home.put("bots/echo.wasm", "one");
    home.put("bots/echo.toml", "priority = \"high\"\n");
    let bench = Bench::on(dir.path()).await;
    change_all(&home);
    assert_eq!(home.record(bench.editor.archive()).await, 2);
    bench.store.close().await;
    let died = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args([CHILD, "--exact", "--nocapture"])
        .env(CHILD_DIR, dir.path())
        .env("CRASH_AT", format!("{point}:{visit}"))
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&died.stderr).into_owned();
    assert!(said.contains("aborting"), "{point}:{visit} was not reached: {said}");
    // The next start, and one after it: what was finished once stays as it is.
    for _ in 0..2 {
        let bench = Bench::on(dir.path()).await;
        let (latest, case) = (bench.latest(), format!("{point}:{visit}"));
        if point == Failpoint::EditBeforeIntent {
            assert_eq!((latest.number, home.text("bots/echo.wasm").unwrap().as_str()), (2, "two"), "{case}");
        } else {
            assert_eq!((latest.number, latest.author.as_str(), latest.reason.as_str()), (3, "ann", "back"), "{case}");
            assert_eq!(home.text("config.toml").unwrap(), CONFIG, "{case}");
            assert_eq!(home.text("bots/echo.wasm").unwrap(), "one", "{case}");
            assert_eq!(home.text("bots/echo.toml").unwrap(), "priority = \"high\"\n", "{case}");
            assert_eq!(home.text("bots/late.toml"), None, "{case}");
        }
        let number = latest.number;
        assert!((1..=number).all(|number| home.path(&format!("data/generations/{number}.json")).exists()), "{case}");
        assert!(!home.path("data/generations/edit.json").exists() || number == 2, "{case}: the edit is over");
        bench.store.close().await;
    }
}

#[tokio::test]
async fn f056_an_edit_that_is_killed_at_any_step_is_done_as_a_whole_or_not_at_all() {
    dies_and_converges(Failpoint::EditBeforeIntent, 1).await;
    dies_and_converges(Failpoint::EditAfterIntent, 1).await;
    for file in 1..=4 {
        dies_and_converges(Failpoint::EditAfterFile, file).await;
    }
    // The child's start records nothing new, so the first visit is that of its rollback.
    dies_and_converges(Failpoint::RecordBefore, 1).await;
    dies_and_converges(Failpoint::RecordAfter, 1).await;
}
