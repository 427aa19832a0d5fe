use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use tempfile::TempDir;

use super::*;

/// Far longer than anything here takes.
const WITHIN: Duration = Duration::from_secs(30);

/// A follower of `c.toml` in a temporary directory. Its rescan is so rare that what a test sees, it sees by events or by polling.
struct Followed {
    root: TempDir,
    readings: watch::Receiver<Arc<Reading>>,
    follower: Follower,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

fn variables() -> Variables {
    [("TOKEN", "hunter2")].into_iter().collect()
}

impl Followed {
    fn start(text: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), text, HintMode::Events, |_| {})
    }

    fn start_in(root: TempDir, text: &str, hints: HintMode, change: impl FnOnce(&mut Config)) -> Self {
        let path = root.path().join("c.toml");
        if !path.exists() {
            fs::write(&path, text).unwrap();
        }
        let mut first = Config::parse_with(text, &path, &variables()).unwrap();
        change(&mut first);
        let cancel = CancellationToken::new();
        let (readings, follower, task) = Follower::spawn_with(Arc::new(first), variables(), hints, cancel.clone());
        Self { root, readings, follower, cancel, task }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn write(&self, text: &str) {
        fs::write(self.path("c.toml"), text).unwrap();
    }

    /// Waits for what is published next. Nothing may have been published and replaced meanwhile.
    async fn next(&mut self) -> Arc<Reading> {
        let before = self.readings.borrow_and_update().number;
        let changed = tokio::time::timeout(WITHIN, self.readings.changed()).await;
        changed.expect("nothing was published in time").expect("the task ended");
        let reading = Arc::clone(&self.readings.borrow_and_update());
        assert_eq!(reading.number, before + 1);
        reading
    }

    /// Waits for the next reading, which is good and has this `queue.keep`, and checks that it is the only one.
    async fn one_change_to(&mut self, keep: u32) {
        let reading = self.next().await;
        assert_eq!(kept(&reading), Ok(keep));
        assert_eq!(self.follower.look().await.number, reading.number, "one change was published as several");
    }

    async fn end(self) {
        self.cancel.cancel();
        tokio::time::timeout(WITHIN, self.task).await.expect("the task does not end").unwrap();
    }
}

fn keep(number: u32) -> String {
    format!("[queue]\nkeep = {number}\n")
}

/// The `queue.keep` of a reading, or its error with the file's directory left out.
fn kept(reading: &Reading) -> Result<u32, String> {
    match &reading.outcome {
        Ok(config) => Ok(config.queue.keep.get()),
        Err(error) => {
            let text = error.to_string();
            Err(text[text.find("c.toml").unwrap()..].to_owned())
        }
    }
}

#[tokio::test]
async fn the_first_reading_is_the_one_it_was_given_and_what_changed_since_follows() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("c.toml"), keep(2)).unwrap();
    let mut followed = Followed::start_in(root, &keep(1), HintMode::Events, |_| {});
    let first = Arc::clone(&followed.readings.borrow());
    assert_eq!((first.number, kept(&first)), (0, Ok(1)));
    followed.one_change_to(2).await;
    followed.end().await;
}

#[tokio::test]
async fn an_edit_is_published_once_and_one_that_changes_nothing_is_not() {
    let mut followed = Followed::start(&keep(1));
    followed.write(&keep(2));
    followed.one_change_to(2).await;
    followed.write(&keep(2));
    assert_eq!(followed.follower.look().await.number, 1, "the same text is no news");
    followed.write(&format!("# A comment.\n{}", keep(2)));
    followed.one_change_to(2).await;
    followed.end().await;
}

#[tokio::test]
async fn an_edit_takes_well_under_a_second() {
    let mut followed = Followed::start(&keep(1));
    followed.write(&keep(2));
    followed.one_change_to(2).await;
    let mut least = WITHIN;
    for number in 3..7 {
        let started_at = Instant::now();
        followed.write(&keep(number));
        followed.next().await;
        least = least.min(started_at.elapsed());
    }
    // The quickest of several, as the machine may be busy; polling alone would take a settling time and up to a second.
    assert!(least < Duration::from_millis(700), "{least:?}");
    followed.end().await;
}

#[tokio::test]
async fn looking_reads_at_once_and_without_rest() {
    let root = tempfile::tempdir().unwrap();
    let mut followed = Followed::start_in(root, &keep(1), HintMode::Polling, |first| {
        first.host.watch_settle = Duration::from_secs(600)
    });
    followed.write(&keep(2));
    assert_eq!(kept(&*followed.follower.look().await), Ok(2));
    followed.write("[queue");
    assert!(kept(&*followed.follower.look().await).is_err());
    followed.write(&keep(2));
    let (one, other) = tokio::join!(followed.follower.look(), followed.follower.look());
    assert_eq!((one.number, other.number, kept(&one)), (3, 3, Ok(2)));
    let cancel = followed.cancel.clone();
    cancel.cancel();
    (&mut followed.task).await.unwrap();
    assert_eq!(followed.follower.look().await.number, 3, "after the end: what was last");
}

#[tokio::test]
async fn f039_a_half_written_file_is_not_read_before_it_is_whole() {
    let root = tempfile::tempdir().unwrap();
    let mut followed =
        Followed::start_in(root, "", HintMode::Events, |first| first.host.watch_settle = Duration::from_secs(1));
    let mut file = File::create(followed.path("c.toml")).unwrap();
    let mut pace = tokio::time::interval(Duration::from_millis(25));
    for piece in 0..30 {
        pace.tick().await;
        // The halves are good as well, so that only waiting tells them from the whole.
        writeln!(file, "[bots.b{piece}]").unwrap();
        file.flush().unwrap();
        assert_eq!(followed.readings.borrow().number, 0, "read after {piece} pieces");
    }
    let reading = followed.next().await;
    assert_eq!(reading.outcome.as_ref().unwrap().bots.len(), 30);
    followed.end().await;
}

#[tokio::test]
async fn f040_a_rename_over_the_file_is_one_change() {
    let mut followed = Followed::start(&keep(1));
    for number in 2..4 {
        fs::write(followed.path("next"), keep(number)).unwrap();
        fs::rename(followed.path("next"), followed.path("c.toml")).unwrap();
        followed.one_change_to(number).await;
    }
    followed.end().await;
}

#[tokio::test]
async fn f041_each_editor_s_way_to_save_is_one_change() {
    type Save = fn(&Path, &Path, &str);
    let ways: [(&str, Save); 5] = [
        ("vim", |dir, file, text| {
            fs::write(dir.join("4913"), "").unwrap();
            fs::remove_file(dir.join("4913")).unwrap();
            fs::rename(file, dir.join("c.toml~")).unwrap();
            fs::write(file, text).unwrap();
            fs::remove_file(dir.join("c.toml~")).unwrap();
        }),
        ("emacs", |dir, file, text| {
            symlink("me@here.1", dir.join(".#c.toml")).unwrap();
            fs::write(dir.join("#c.toml#"), text).unwrap();
            fs::write(file, text).unwrap();
            fs::remove_file(dir.join("#c.toml#")).unwrap();
            fs::remove_file(dir.join(".#c.toml")).unwrap();
        }),
        ("nano", |_, file, text| fs::write(file, text).unwrap()),
        ("truncate, then write", |_, file, text| {
            drop(File::create(file).unwrap());
            File::options().append(true).open(file).unwrap().write_all(text.as_bytes()).unwrap();
        }),
        ("delete, then create", |_, file, text| {
            fs::remove_file(file).unwrap();
            fs::write(file, text).unwrap();
        }),
    ];
    let mut followed = Followed::start(&keep(1));
    for ((name, save), number) in ways.into_iter().zip(2..) {
        save(followed.root.path(), &followed.path("c.toml"), &format!("# {name}\n{}", keep(number)));
        followed.one_change_to(number).await;
    }
    followed.end().await;
}

#[tokio::test]
async fn f042_a_flipped_link_is_followed() {
    let root = tempfile::tempdir().unwrap();
    // As Kubernetes lays out a ConfigMap: c.toml -> ..data/c.toml, ..data -> ..1.
    for number in 1..4 {
        fs::create_dir(root.path().join(format!("..{number}"))).unwrap();
        fs::write(root.path().join(format!("..{number}/c.toml")), keep(number)).unwrap();
    }
    symlink("..1", root.path().join("..data")).unwrap();
    symlink("..data/c.toml", root.path().join("c.toml")).unwrap();
    let mut followed = Followed::start_in(root, &keep(1), HintMode::Events, |_| {});
    for number in 2..4 {
        symlink(format!("..{number}"), followed.path("..data_tmp")).unwrap();
        fs::rename(followed.path("..data_tmp"), followed.path("..data")).unwrap();
        followed.one_change_to(number).await;
    }
    // What the link leads to is another directory's, whose events count as well.
    fs::write(followed.path("..3/c.toml"), keep(9)).unwrap();
    followed.one_change_to(9).await;
    followed.end().await;
}

#[tokio::test]
async fn f043_a_file_that_is_gone_is_told_once_and_comes_back() {
    let mut followed = Followed::start(&keep(1));
    fs::remove_file(followed.path("c.toml")).unwrap();
    let reading = followed.next().await;
    assert_eq!(kept(&reading), Err("c.toml: there is no such file; an empty one is enough to begin with".to_owned()));
    assert_eq!(followed.follower.look().await.number, 1);
    followed.write(&keep(1));
    followed.one_change_to(1).await;
    followed.end().await;
}

#[tokio::test]
async fn f045_without_events_changes_are_found_by_polling() {
    let mut followed = Followed::start_in(tempfile::tempdir().unwrap(), &keep(1), HintMode::Polling, |_| {});
    followed.write(&keep(2));
    followed.one_change_to(2).await;
    followed.end().await;
}

#[tokio::test]
async fn f050_a_file_that_cannot_be_read_is_told_and_hangs_nothing() {
    let mut followed = Followed::start(&keep(1));
    fs::remove_file(followed.path("c.toml")).unwrap();
    assert!(Command::new("mkfifo").arg(followed.path("c.toml")).status().unwrap().success());
    let reading = followed.follower.look().await;
    assert_eq!(kept(&reading), Err("c.toml: cannot be read: it is no ordinary file".to_owned()));
    fs::remove_file(followed.path("c.toml")).unwrap();
    fs::create_dir(followed.path("c.toml")).unwrap();
    assert_eq!(followed.follower.look().await.number, 1, "as bad as before");
    fs::remove_dir(followed.path("c.toml")).unwrap();
    followed.write(&keep(2));
    assert_eq!(kept(&*followed.follower.look().await), Ok(2));
    followed.readings.mark_unchanged();
    followed.end().await;
}

#[tokio::test]
async fn f051_a_bad_edit_is_told_with_its_place_once_and_the_good_one_comes_back() {
    let mut followed = Followed::start(&keep(1));
    for (text, expected) in [
        ("[queue\n", "c.toml:1:7: not TOML: "),
        ("[queue]\nkepe = 1", "c.toml:2:1: unknown key `kepe` in [queue], did you mean `keep`?"),
        ("[queue]\nkeep = \"1\"", "c.toml:2:8: `queue.keep` must be a whole number"),
        ("[queue]\nkeep = 0", "c.toml:2:8: `queue.keep` must be a whole number from 1 to 4294967295, not 0"),
    ] {
        followed.write(text);
        let reading = followed.next().await;
        let error = kept(&reading).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
        assert_eq!(followed.follower.look().await.number, reading.number);
    }
    followed.write("[queue]\nkeep = 0 # As bad as before, in other words.");
    assert!(kept(&*followed.next().await).is_err(), "another text is told");
    followed.write(&keep(1));
    followed.one_change_to(1).await;
    followed.end().await;
}

#[tokio::test]
async fn f054_a_secret_that_is_missing_makes_the_edit_bad() {
    let mut followed = Followed::start("");
    followed.write("[admin]\ntoken = \"${MISSING}\"\n");
    let error = kept(&*followed.next().await).unwrap_err();
    assert_eq!(error, "c.toml:2:9: `admin.token`: the environment variable `MISSING` is not set");
    followed.write("[admin]\ntoken = \"${TOKEN}\"\n");
    let reading = followed.next().await;
    assert_eq!(reading.outcome.as_ref().unwrap().admin.token.as_ref().unwrap().expose(), "hunter2");
    followed.end().await;
}

#[tokio::test]
async fn f054_another_secret_in_a_file_is_a_change_though_the_text_is_the_same() {
    let root = tempfile::tempdir().unwrap();
    let (file, text) = (root.path().join("token"), "[admin]\ntoken = { file = \"token\" }\n");
    fs::write(&file, "one").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let rescan = Duration::from_millis(50);
    let mut followed = Followed::start_in(root, text, HintMode::Events, |first| first.host.watch_rescan = rescan);
    // What `start_in` changed is published as it is in the file; the rescan stays.
    assert_eq!(followed.next().await.number, 1);
    fs::write(&file, "two").unwrap();
    let reading = followed.next().await;
    let config = reading.outcome.as_ref().unwrap();
    assert_eq!((config.admin.token.as_ref().unwrap().expose(), config.warnings.len()), ("two", 0));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let reading = followed.next().await;
    assert_eq!(reading.outcome.as_ref().unwrap().warnings.len(), 1, "a new warning is told");
    fs::remove_file(&file).unwrap();
    let error = kept(&*followed.next().await).unwrap_err();
    assert!(error.contains("2:9: `admin.token`: the secret's file") && !error.contains("two"), "{error}");
    fs::write(&file, "three").unwrap();
    let reading = followed.next().await;
    assert_eq!(reading.outcome.as_ref().unwrap().admin.token.as_ref().unwrap().expose(), "three");
    followed.end().await;
}

#[test]
fn f054_a_secret_that_is_found_half_written_is_not_believed_before_it_is_found_again() {
    let root = tempfile::tempdir().unwrap();
    let (path, token) = (root.path().join("c.toml"), root.path().join("token"));
    fs::write(&path, "[admin]\ntoken = { file = \"token\" }\n").unwrap();
    fs::write(&token, "one").unwrap();
    let first = Arc::new(Config::parse_with(&fs::read_to_string(&path).unwrap(), &path, &variables()).unwrap());
    let (mut patrol, readings) = Patrol::new(first, variables(), HintMode::Polling);
    let mut published_after = |held: &str| {
        fs::write(&token, held).unwrap();
        patrol.read_when_due();
        readings.borrow().number
    };
    assert_eq!(published_after("one"), 0);
    assert_eq!(published_after(""), 0, "it is being written");
    assert_eq!(published_after("one"), 0, "it is whole, and as before");
    assert_eq!(published_after("two"), 0);
    assert_eq!(published_after("three"), 0, "another again");
    assert_eq!(published_after("three"), 1);
}

#[tokio::test]
async fn f059_a_large_or_deep_file_is_told_and_takes_nothing_down() {
    let mut followed = Followed::start(&keep(1));
    for (text, expected) in [
        ("#".repeat((1 << 20) + 1), "larger than 1MiB"),
        (format!("x = {}", "[".repeat(100_000)), "nested deeper than 64 levels"),
    ] {
        followed.write(&text);
        let error = kept(&*followed.next().await).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    followed.write(&keep(2));
    followed.one_change_to(2).await;
    followed.end().await;
}
