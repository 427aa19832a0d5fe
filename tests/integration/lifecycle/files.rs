//! What happens to the file of a bot that runs and is no new version: the bot goes on, says what is the matter, and the matter is
//! over once the file is as it should be.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use bothost::bot::phase::{BotStatus, Phase};
use harness::guests;
use harness::host::{Home, TestHost};

use super::{PROGRAM, alerted, calm, hash, other_bytes, run};

async fn with_echo() -> (TestHost, BotStatus) {
    let host = Home::new(PROGRAM, "").with("bot.wasm", &guests::example("echo")).start().await;
    let status = host.serving("bot").await;
    (host, status)
}

/// Takes the component away by `spoil`, which is told of by `why`, and puts it back, as it was and as another version.
async fn check_spoilt(spoil: impl Fn(&Path), why: &str) {
    let (host, before) = with_echo().await;
    let path = host.bots().join("bot.wasm");
    spoil(&path);
    let status = host.bot_when("bot", |bot| bot.refused.is_some()).await;
    let said = status.refused.clone().unwrap();
    assert!(said.contains(why), "{why} is not in {said}");
    assert_eq!((status.component, &status.phase, status.since), (before.component, &Phase::Running, before.since));
    assert!(alerted(&host, "version-refused:bot").await.contains(why));
    assert_eq!(host.ask("lobby", "!echo on").await, "on");

    remove(&path);
    host.put("bot.wasm", &guests::example("echo"));
    let status = host.serving("bot").await;
    assert_eq!((status.component, status.since), (before.component, before.since), "what serves is what lies there");
    calm(&host, "version-refused:bot").await;

    spoil(&path);
    host.bot_when("bot", |bot| bot.refused.is_some()).await;
    remove(&path);
    let next = other_bytes(guests::example("echo"), 1);
    host.put("bot.wasm", &next);
    let status = host.serving("bot").await;
    assert_eq!(status.component, hash(&next));
    calm(&host, "version-refused:bot").await;
    assert_eq!(host.ask("lobby", "!count").await, "2", "state is kept");
}

fn remove(path: &Path) {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir(path).unwrap(),
        Ok(_) => fs::remove_file(path).unwrap(),
        Err(_) => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f050_a_directory_in_its_place_leaves_the_bot_running_until_a_file_is_back() {
    let spoil = |path: &Path| {
        remove(path);
        fs::create_dir(path).unwrap();
    };
    check_spoilt(spoil, "is a directory").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f050_a_link_to_nothing_leaves_the_bot_running_until_a_file_is_back() {
    let spoil = |path: &Path| {
        remove(path);
        symlink("nowhere", path).unwrap();
    };
    check_spoilt(spoil, "is a link to nothing").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f050_a_file_that_may_not_be_read_leaves_the_bot_running_until_it_may() {
    let (host, before) = with_echo().await;
    let path = host.bots().join("bot.wasm");
    fs::set_permissions(&path, Permissions::from_mode(0o000)).unwrap();
    if File::open(&path).is_ok() {
        eprintln!("skipped: permission bits do not bind this user");
        return;
    }
    let status = host.bot_when("bot", |bot| bot.refused.is_some()).await;
    assert!(status.refused.unwrap().contains("may not be read"));
    assert_eq!(host.ask("lobby", "!echo on").await, "on");
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    let status = host.serving("bot").await;
    assert_eq!((status.component, status.since), (before.component, before.since));
    calm(&host, "version-refused:bot").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f043_a_component_that_entries_name_may_go_and_come_back() {
    let entry = b"component = \"shared.wasm\"";
    let echo = guests::example("echo");
    let home = Home::new(PROGRAM, "").with("shared.wasm", &echo).with("one.toml", entry).with("two.toml", entry);
    let host = home.start().await;
    let before = [host.serving("one").await, host.serving("two").await];
    fs::remove_file(host.bots().join("shared.wasm")).unwrap();
    for bot in ["one", "two"] {
        let status = host.bot_when(bot, |bot| bot.refused.is_some()).await;
        assert!(status.refused.unwrap().contains("there is no `shared.wasm`"));
        assert_eq!(status.phase, Phase::Running);
    }
    run(host.home(), "ps").await.well(&["one", "two", "there is no `shared.wasm`"]);
    let count = host.chat.delivered_count();
    host.say("lobby", "!echo without a file").await;
    assert_eq!(host.answers_since(count, 2).await, ["without a file"; 2]);

    host.put("shared.wasm", &echo);
    for before in before {
        let status = host.serving(before.name.as_str()).await;
        assert_eq!((status.since, status.component), (before.since, before.component), "nothing began anew");
        calm(&host, &format!("version-refused:{}", before.name)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f047_a_file_with_another_time_and_the_same_content_is_no_change() {
    let (host, before) = with_echo().await;
    let path = host.bots().join("bot.wasm");
    let compiled = host.metric("bothost_component_load_seconds_count");
    for age in [0, 3600] {
        let time = SystemTime::now() - Duration::from_secs(age);
        File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        // Has every file read, and says what came of it.
        let report = host.host().control().reload(false).await.unwrap();
        assert_eq!(report.steps, [], "{age}");
    }
    host.put("bot.wasm", &guests::example("echo"));
    assert_eq!(host.host().control().reload(false).await.unwrap().steps, [], "saved again");
    assert_eq!(host.bot("bot"), Some(before));
    assert_eq!(host.metric("bothost_component_load_seconds_count"), compiled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f047_another_content_of_the_same_length_and_time_is_a_change() {
    let (host, _) = with_echo().await;
    let path = host.bots().join("bot.wasm");
    let one = other_bytes(guests::example("echo"), 1);
    host.put("bot.wasm", &one);
    host.bot_when("bot", |bot| bot.component == hash(&one)).await;
    let time = path.metadata().unwrap().modified().unwrap();
    let other = other_bytes(guests::example("echo"), 2);
    assert_eq!(one.len(), other.len());
    fs::write(&path, &other).unwrap();
    File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    host.bot_when("bot", |bot| bot.component == hash(&other)).await;
}
