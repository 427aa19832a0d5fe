//! The bots' directory: whatever happens to the files in it, the catalogue ends as what they hold, and never says in between
//! what they never held. Tests named `fNNN` stand for a line of the fault catalogue.
#![expect(clippy::unwrap_used, reason = "what is unwrapped here fails the test")]

use std::fs::{self, File, FileTimes};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bothost::id::{BotName, ContentHash};
use bothost::watcher::{
    BotFiles, Catalogue, DirectoryProblem, FileKind, FileProblem, HintMode, Watcher, WatcherConfig,
};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Far longer than anything here takes.
const WITHIN: Duration = Duration::from_secs(30);

/// A watcher of a temporary directory. Its rescan is so rare that what a test sees, it sees by events or by polling.
struct Watched {
    root: TempDir,
    catalogues: watch::Receiver<Arc<Catalogue>>,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Watched {
    fn start() -> Self {
        Self::start_with(tempfile::tempdir().unwrap(), |_| {})
    }

    fn start_with(root: TempDir, change: impl FnOnce(&mut WatcherConfig)) -> Self {
        let mut config = WatcherConfig::new(root.path().join("bots"));
        config.rescan = Duration::from_secs(3600);
        config.settle = Duration::from_millis(100);
        change(&mut config);
        let cancel = CancellationToken::new();
        let (catalogues, _, task) = Watcher::spawn(config, cancel.clone());
        Self { root, catalogues, cancel, task }
    }

    /// A watcher that has seen `echo.wasm` with these bytes.
    async fn start_with_echo(bytes: &str) -> Self {
        let mut watched = Self::start();
        watched.ready().await;
        fs::write(watched.path("echo.wasm"), bytes).unwrap();
        watched.until_component("echo", bytes).await;
        watched
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join("bots").join(name)
    }

    fn now(&self) -> Arc<Catalogue> {
        self.catalogues.borrow().clone()
    }

    async fn until(&mut self, what: &str, condition: impl FnMut(&Arc<Catalogue>) -> bool) -> Arc<Catalogue> {
        let found = tokio::time::timeout(WITHIN, self.catalogues.wait_for(condition)).await;
        let found = found.map(|end| end.expect("the watcher ended").clone());
        found.unwrap_or_else(|_| panic!("never saw {what}; last was {:#?}", self.now()))
    }

    async fn ready(&mut self) -> Arc<Catalogue> {
        self.until("the directory", |catalogue| catalogue.directory.is_ok()).await
    }

    async fn until_component(&mut self, bot: &str, bytes: &str) -> Arc<Catalogue> {
        self.until(&format!("{bot} as {bytes:?}"), |catalogue| component(catalogue, bot) == Some(Ok(hash(bytes)))).await
    }

    async fn until_entry(&mut self, bot: &str, text: &str) -> Arc<Catalogue> {
        self.until(&format!("{bot} as {text:?}"), |catalogue| entry(catalogue, bot).as_deref() == Some(text)).await
    }

    async fn until_problem(&mut self, bot: &str) -> FileProblem {
        let found = self.until(&format!("a problem of {bot}"), |catalogue| problem(catalogue, bot).is_some()).await;
        problem(&found, bot).unwrap()
    }

    /// Whatever happened before has been seen and settled once this returns: the new file did so after it.
    async fn fence(&mut self, name: &str) -> Arc<Catalogue> {
        fs::write(self.path(&format!("{name}.wasm")), "fence").unwrap();
        self.until_component(name, "fence").await
    }

    async fn stop(self) {
        self.cancel.cancel();
        tokio::time::timeout(WITHIN, self.task).await.expect("stops").expect("no panic");
    }
}

fn name(bot: &str) -> BotName {
    bot.parse().unwrap()
}

fn hash(bytes: &str) -> ContentHash {
    ContentHash::of(bytes.as_bytes())
}

fn component(catalogue: &Catalogue, bot: &str) -> Option<Result<ContentHash, FileProblem>> {
    Some(catalogue.files.get(&name(bot))?.component.clone()?.map(|component| component.hash))
}

fn problem(catalogue: &Catalogue, bot: &str) -> Option<FileProblem> {
    component(catalogue, bot)?.err()
}

fn entry(catalogue: &Catalogue, bot: &str) -> Option<String> {
    Some(catalogue.files.get(&name(bot))?.entry.clone()?.ok()?.text.to_string())
}

/// Puts a whole file in the place of another, as `mv` does.
fn replace(path: &Path, bytes: &str) {
    let new = path.with_extension("new");
    fs::write(&new, bytes).unwrap();
    fs::rename(&new, path).unwrap();
}

/// Points a link elsewhere without a moment in which it is not there.
fn flip(link: &Path, target: &str) {
    let new = link.with_file_name(".flip");
    symlink(target, &new).unwrap();
    fs::rename(&new, link).unwrap();
}

#[tokio::test]
async fn a_missing_directory_is_made_and_what_is_dropped_into_it_is_seen() {
    let mut watched = Watched::start();
    let empty = watched.ready().await;
    assert_eq!((empty.generation, empty.files.len()), (1, 0));
    fs::write(watched.path("echo.wasm"), "v1").unwrap();
    fs::write(watched.path("echo.toml"), "enabled = true").unwrap();
    let both = watched.until_entry("echo", "enabled = true").await;
    let BotFiles { component: Some(Ok(component)), entry: Some(Ok(entry)) } = &both.files[&name("echo")] else {
        panic!("{both:#?}");
    };
    assert_eq!((component.len, &component.path), (2, &watched.path("echo.wasm")));
    assert_eq!((entry.hash, &entry.path), (hash("enabled = true"), &watched.path("echo.toml")));
    watched.stop().await;
}

#[tokio::test]
async fn the_first_catalogue_after_a_start_has_everything() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("bots")).unwrap();
    for bot in ["a", "b", "c"] {
        fs::write(root.path().join("bots").join(format!("{bot}.wasm")), bot).unwrap();
    }
    let mut watched = Watched::start_with(root, |_| {});
    assert!(matches!(watched.now().directory, Err(DirectoryProblem::NotYetRead)));
    let first = watched.ready().await;
    assert_eq!((first.generation, first.files.len()), (1, 3));
}

#[tokio::test]
async fn a_directory_that_cannot_be_made_is_a_problem_that_passes() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("bots"), "in the way").unwrap();
    let mut watched = Watched::start_with(root, |_| {});
    watched.until("the problem", |c| matches!(c.directory, Err(DirectoryProblem::NotADirectory { .. }))).await;
    fs::remove_file(watched.root.path().join("bots")).unwrap();
    watched.ready().await;
}

#[tokio::test]
async fn a_component_that_no_bot_can_be_named_after_is_reported() {
    let mut watched = Watched::start();
    watched.ready().await;
    fs::write(watched.path("two words.wasm"), "v1").unwrap();
    let found = watched.until("the problem", |catalogue| !catalogue.misnamed.is_empty()).await;
    assert!(matches!(found.misnamed["two words.wasm"], FileProblem::Misnamed { .. }));
    fs::rename(watched.path("two words.wasm"), watched.path("two-words.wasm")).unwrap();
    watched.until_component("two-words", "v1").await;
    watched.until("the problem gone", |catalogue| catalogue.misnamed.is_empty()).await;
}

#[tokio::test]
async fn files_past_their_caps_are_problems_and_are_not_read() {
    let mut watched = Watched::start_with(tempfile::tempdir().unwrap(), |config| {
        (config.component_bytes_max, config.entry_bytes_max) = (4, 4);
    });
    watched.ready().await;
    fs::write(watched.path("echo.toml"), "a = 1").unwrap();
    fs::write(watched.path("echo.wasm"), "12345").unwrap();
    let problem = watched.until_problem("echo").await;
    assert!(matches!(problem, FileProblem::ComponentTooLarge { .. }), "{problem}");
    let found = watched.until("the entry", |c| c.files[&name("echo")].entry.is_some()).await;
    assert!(matches!(found.files[&name("echo")].entry, Some(Err(FileProblem::EntryTooLarge { .. }))));
}

#[tokio::test]
async fn a_user_s_files_are_left_as_they_are() {
    let watched = Watched::start_with_echo("v1").await;
    let before = fs::metadata(watched.path("echo.wasm")).unwrap();
    let (listed, path) = (fs::read_dir(watched.path("")).unwrap().count(), watched.path("echo.wasm"));
    let mut rescanned = Watched::start_with(watched.root, |config| config.rescan = Duration::ZERO);
    rescanned.until_component("echo", "v1").await;
    rescanned.fence("later").await;
    let after = fs::metadata(path).unwrap();
    assert_eq!((before.ctime_nsec(), before.mtime_nsec()), (after.ctime_nsec(), after.mtime_nsec()));
    assert_eq!(fs::read_dir(rescanned.path("")).unwrap().count(), listed + 1);
}

#[tokio::test]
async fn the_watcher_stops_in_the_midst_of_a_long_read() {
    let mut watched = Watched::start_with(tempfile::tempdir().unwrap(), |config| config.component_bytes_max = u64::MAX);
    watched.ready().await;
    // A hole of 64 GiB: no disk, and minutes to hash.
    let path = watched.path("huge.wasm");
    File::create(&path).unwrap().set_len(64 << 30).unwrap();
    let is_open = || {
        fs::read_dir("/proc/self/fd").unwrap().flatten().any(|fd| fs::read_link(fd.path()).is_ok_and(|at| at == path))
    };
    tokio::time::timeout(WITHIN, async {
        while !is_open() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("it begins to read");
    watched.stop().await;
}

#[tokio::test]
async fn f038_what_is_no_file_is_named_and_hangs_nothing() {
    let mut watched = Watched::start();
    watched.ready().await;
    let mode = rustix::fs::Mode::RUSR;
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, watched.path("fifo.wasm"), fifo, mode, 0).unwrap();
    let _listener = UnixListener::bind(watched.path("socket.wasm")).unwrap();
    symlink("/dev/zero", watched.path("device.wasm")).unwrap();
    fs::create_dir(watched.path("directory.wasm")).unwrap();
    fs::write(watched.path("empty.wasm"), "").unwrap();
    watched.fence("neighbour").await;
    for (bot, expected) in [
        ("fifo", FileKind::Fifo),
        ("socket", FileKind::Socket),
        ("device", FileKind::Device),
        ("directory", FileKind::Directory),
    ] {
        let problem = watched.until_problem(bot).await;
        assert!(matches!(problem, FileProblem::NotAFile { kind, .. } if kind == expected), "{problem}");
        assert!(problem.to_string().contains("put a regular file"), "{problem}");
    }
    assert!(matches!(watched.until_problem("empty").await, FileProblem::EmptyComponent { .. }));
    replace(&watched.path("fifo.wasm"), "v1");
    watched.until_component("fifo", "v1").await;
    watched.stop().await;
}

#[tokio::test]
async fn f039_a_half_written_file_is_seen_once_it_is_whole() {
    let mut watched =
        Watched::start_with(tempfile::tempdir().unwrap(), |config| config.settle = Duration::from_secs(1));
    watched.ready().await;
    let mut file = File::create(watched.path("echo.wasm")).unwrap();
    let mut pace = tokio::time::interval(Duration::from_millis(25));
    for piece in 0..30 {
        pace.tick().await;
        write!(file, "piece {piece};").unwrap();
        assert_eq!(component(&watched.now(), "echo"), None, "seen after {piece} pieces");
    }
    let whole = fs::read_to_string(watched.path("echo.wasm")).unwrap();
    let first = watched.until("echo", |catalogue| component(catalogue, "echo").is_some()).await;
    assert_eq!(component(&first, "echo"), Some(Ok(hash(&whole))));
}

#[tokio::test]
async fn f040_an_atomic_rename_is_one_change() {
    let mut watched = Watched::start_with_echo("v1").await;
    for version in ["v2", "v3", "v4"] {
        let before = watched.now().generation;
        replace(&watched.path("echo.wasm"), version);
        assert_eq!(watched.until_component("echo", version).await.generation, before + 1);
    }
}

#[tokio::test]
async fn f040_writing_in_place_is_one_change() {
    let mut watched = Watched::start_with_echo("v1").await;
    let before = watched.now().generation;
    fs::write(watched.path("echo.wasm"), "version 2").unwrap();
    assert_eq!(watched.until_component("echo", "version 2").await.generation, before + 1);
}

#[tokio::test]
async fn f041_each_editor_s_way_to_save_is_one_change() {
    let mut watched = Watched::start();
    watched.ready().await;
    let (path, backup) = (watched.path("echo.toml"), watched.path("echo.toml~"));
    fs::write(&path, "before").unwrap();
    watched.until_entry("echo", "before").await;
    let vim = |text: &str| {
        fs::write(watched.path(".echo.toml.swp"), "swap").unwrap();
        fs::write(watched.path("4913"), "").unwrap();
        fs::remove_file(watched.path("4913")).unwrap();
        fs::rename(&path, &backup).unwrap();
        fs::write(&path, text).unwrap();
        fs::remove_file(&backup).unwrap();
        fs::remove_file(watched.path(".echo.toml.swp")).unwrap();
    };
    let emacs = |text: &str| {
        symlink("me@here.1234", watched.path(".#echo.toml")).unwrap();
        fs::write(watched.path("#echo.toml#"), "autosave").unwrap();
        fs::copy(&path, &backup).unwrap();
        fs::write(&path, text).unwrap();
        fs::remove_file(watched.path("#echo.toml#")).unwrap();
        fs::remove_file(watched.path(".#echo.toml")).unwrap();
    };
    let sed = |text: &str| {
        fs::write(watched.path("sedAb3dEf"), text).unwrap();
        fs::rename(watched.path("sedAb3dEf"), &path).unwrap();
    };
    let delete_first = |text: &str| {
        fs::remove_file(&path).unwrap();
        fs::write(&path, text).unwrap();
    };
    let mut generation = watched.now().generation;
    let mut receiver = watched.catalogues.clone();
    type Save<'a> = &'a dyn Fn(&str);
    let ways: [(&str, Save<'_>); 4] = [("vim", &vim), ("emacs", &emacs), ("sed", &sed), ("rm", &delete_first)];
    for (way, save) in ways {
        let text = format!("by {way}");
        save(&text);
        let seen = receiver.wait_for(|catalogue| entry(catalogue, "echo").as_ref() == Some(&text));
        let seen = tokio::time::timeout(WITHIN, seen).await.expect(way).expect(way).clone();
        assert_eq!(seen.generation, generation + 1, "{way}");
        assert_eq!(seen.files.len(), 1, "{way}");
        generation = seen.generation;
    }
}

#[tokio::test]
async fn f042_a_flipped_link_is_followed() {
    let mut watched = Watched::start();
    watched.ready().await;
    for version in ["v1", "v2"] {
        fs::create_dir(watched.path(&format!("..{version}"))).unwrap();
        fs::write(watched.path(&format!("..{version}/echo.wasm")), version).unwrap();
    }
    // As a mounted ConfigMap has it: a link through a link, of which only the inner one is flipped.
    symlink("..v1", watched.path("..data")).unwrap();
    symlink("..data/echo.wasm", watched.path("echo.wasm")).unwrap();
    watched.until_component("echo", "v1").await;
    flip(&watched.path("..data"), "..v2");
    watched.until_component("echo", "v2").await;
    flip(&watched.path("echo.wasm"), "..v1/echo.wasm");
    watched.until_component("echo", "v1").await;
}

#[tokio::test]
async fn f043_a_file_that_is_gone_is_dropped_and_one_that_comes_back_is_seen() {
    let mut watched = Watched::start_with_echo("v1").await;
    fs::remove_file(watched.path("echo.wasm")).unwrap();
    watched.until("it gone", |catalogue| catalogue.files.is_empty()).await;
    fs::write(watched.path("echo.wasm"), "v1").unwrap();
    watched.until_component("echo", "v1").await;
}

#[tokio::test]
async fn f043_a_file_that_comes_back_at_once_was_never_gone() {
    let mut watched = Watched::start_with_echo("v1").await;
    let before = watched.now().generation;
    fs::remove_file(watched.path("echo.wasm")).unwrap();
    fs::write(watched.path("echo.wasm"), "v1").unwrap();
    assert_eq!(watched.fence("later").await.generation, before + 1);
}

#[tokio::test]
async fn f043_a_directory_that_is_removed_takes_no_file_with_it_and_is_watched_again_when_it_is_back() {
    let mut watched = Watched::start_with_echo("v1").await;
    fs::remove_dir_all(watched.path("")).unwrap();
    let gone = watched.until("the directory gone", |catalogue| catalogue.directory.is_err()).await;
    assert!(matches!(gone.directory, Err(DirectoryProblem::Missing { .. })));
    assert_eq!(component(&gone, "echo"), Some(Ok(hash("v1"))));
    assert!(!watched.path("").exists(), "made again though somebody removed it");
    fs::create_dir(watched.path("")).unwrap();
    fs::write(watched.path("echo.wasm"), "v2").unwrap();
    let back = watched.until_component("echo", "v2").await;
    assert_eq!(back.directory, Ok(()));
    replace(&watched.path("echo.wasm"), "v3");
    watched.until_component("echo", "v3").await;
}

#[tokio::test]
async fn f043_a_directory_that_is_renamed_away_and_replaced_is_watched_in_its_new_form() {
    let mut watched = Watched::start_with_echo("v1").await;
    let (old, new) = (watched.root.path().join("old"), watched.root.path().join("new"));
    fs::create_dir(&new).unwrap();
    fs::write(new.join("echo.wasm"), "v2").unwrap();
    fs::rename(watched.path(""), &old).unwrap();
    fs::rename(&new, watched.path("")).unwrap();
    watched.until_component("echo", "v2").await;
    fs::write(old.join("echo.wasm"), "of the old directory").unwrap();
    replace(&watched.path("echo.wasm"), "v3");
    watched.until_component("echo", "v3").await;
}

#[tokio::test]
async fn f044_three_hundred_files_at_once_are_few_publications() {
    let mut watched = Watched::start();
    let before = watched.ready().await.generation;
    for version in ["v1", "v2"] {
        for bot in 0..300 {
            replace(&watched.path(&format!("bot{bot}.wasm")), version);
        }
        let is_whole = |catalogue: &Arc<Catalogue>| {
            let is_new = |files: &BotFiles| matches!(&files.component, Some(Ok(c)) if c.hash == hash(version));
            catalogue.files.len() == 300 && catalogue.files.values().all(is_new)
        };
        watched.until(version, is_whole).await;
    }
    let publications = watched.now().generation - before;
    assert!(publications <= 6, "{publications} publications");
}

#[tokio::test]
async fn f044_a_file_that_is_touched_without_end_holds_up_no_other() {
    let mut watched = Watched::start_with_echo("v1").await;
    let restless = watched.path("restless.wasm");
    let stop = CancellationToken::new();
    let writer = tokio::task::spawn_blocking({
        let stop = stop.clone();
        move || {
            for round in 0u64.. {
                fs::write(&restless, round.to_string()).unwrap();
                if stop.is_cancelled() {
                    return round;
                }
                std::thread::yield_now();
            }
            unreachable!("the rounds do not end")
        }
    });
    replace(&watched.path("echo.wasm"), "v2");
    watched.until_component("echo", "v2").await;
    stop.cancel();
    let last = writer.await.unwrap();
    watched.until_component("restless", &last.to_string()).await;
}

#[tokio::test]
async fn f045_without_events_changes_are_found_by_polling() {
    let mut watched = Watched::start_with(tempfile::tempdir().unwrap(), |config| config.hints = HintMode::Polling);
    watched.ready().await;
    fs::write(watched.path("echo.wasm"), "v1").unwrap();
    watched.until_component("echo", "v1").await;
    replace(&watched.path("echo.wasm"), "v2");
    watched.until_component("echo", "v2").await;
    fs::remove_file(watched.path("echo.wasm")).unwrap();
    watched.until("it gone", |catalogue| catalogue.files.is_empty()).await;
}

#[test]
fn f045_where_the_system_refuses_watches_changes_are_found_all_the_same() {
    // In a user namespace of its own the limit is nobody else's. There another of these tests runs, with a limit of nothing.
    let refuse = r#"echo 0 > /proc/sys/user/max_inotify_watches || exit 77; exec "$0" --exact "$1""#;
    let other = "watcher::f043_a_directory_that_is_removed_takes_no_file_with_it_and_is_watched_again_when_it_is_back";
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "sh", "-c", refuse]).arg(program).arg(other);
    match command.output() {
        Ok(done) if done.status.success() => {
            assert!(String::from_utf8_lossy(&done.stdout).contains("1 passed"), "{done:?}");
        }
        Ok(done) if done.status.code() == Some(101) => panic!("{}", String::from_utf8_lossy(&done.stdout)),
        result => eprintln!("skipped, no user namespace can be made here: {result:?}"),
    }
}

#[tokio::test]
async fn f046_a_change_that_no_event_announces_is_found_by_the_rescan() {
    // The file lies elsewhere, so that writing to it is no event of the directory.
    let root = tempfile::tempdir().unwrap();
    let real = root.path().join("real");
    fs::write(&real, "v1").unwrap();
    fs::create_dir(root.path().join("bots")).unwrap();
    symlink(&real, root.path().join("bots/echo.wasm")).unwrap();
    let mut watched = Watched::start_with(root, |config| config.rescan = Duration::from_millis(100));
    watched.until_component("echo", "v1").await;
    fs::write(&real, "v2").unwrap();
    watched.until_component("echo", "v2").await;
}

#[tokio::test]
async fn f047_content_decides_and_not_the_time() {
    let mut watched = Watched::start_with_echo("v1").await;
    let modified = fs::metadata(watched.path("echo.wasm")).unwrap().modified().unwrap();
    let file = File::options().write(true).open(watched.path("echo.wasm")).unwrap();
    (&file).write_all(b"v2").unwrap();
    file.set_times(FileTimes::new().set_modified(modified)).unwrap();
    let before = watched.until_component("echo", "v2").await.generation;
    file.set_times(FileTimes::new().set_modified(modified + Duration::from_secs(60))).unwrap();
    assert_eq!(watched.fence("later").await.generation, before + 1, "a new time alone was published");
}

#[tokio::test]
async fn f048_two_quick_saves_end_on_the_second() {
    let mut watched = Watched::start_with_echo("v1").await;
    replace(&watched.path("echo.wasm"), "v2");
    replace(&watched.path("echo.wasm"), "v3");
    let next = watched.until("a change", |catalogue| component(catalogue, "echo") != Some(Ok(hash("v1")))).await;
    assert_eq!(component(&next, "echo"), Some(Ok(hash("v3"))));
}

#[tokio::test]
async fn f050_a_file_that_can_no_longer_be_read_is_a_problem_until_it_can() {
    use std::os::unix::fs::PermissionsExt;
    let mut watched = Watched::start_with_echo("v1").await;
    let path = watched.path("echo.wasm");
    let may_read = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    if rustix::process::geteuid().is_root() {
        // Root may read whatever its mode is, so the file is made unreadable in another way.
        let aside = path.with_extension("aside");
        fs::rename(&path, &aside).unwrap();
        symlink("nothing", &path).unwrap();
        assert!(matches!(watched.until_problem("echo").await, FileProblem::DanglingLink { .. }));
        fs::rename(&aside, &path).unwrap();
    } else {
        may_read(0o000);
        assert!(matches!(watched.until_problem("echo").await, FileProblem::Denied { .. }));
        may_read(0o644);
    }
    watched.until_component("echo", "v1").await;
}
