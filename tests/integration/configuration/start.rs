//! What a process begins with: the file, the environment over it, the last good generation where the file is no good; and what of
//! an edit waits for the next one.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;

use harness::guests;
use harness::host::eventually;
use harness::telegram::FakeTelegram;
use rustix::process::Signal;

use super::lab::{HOST, Lab, TOKEN, answered, echo, exchange, free_address, telegram};

const NEEDS_RESTART: &str = "needs-restart";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_key_that_needs_a_restart_is_told_and_holds_after_it() {
    let fake = FakeTelegram::start(TOKEN).await;
    let tg = telegram("tg", &fake, TOKEN);
    let config = format!("{HOST}{tg}");
    let mut lab = Lab::start(&config, &[("fail.wasm", &guests::guest("fail"))]).await;
    let address = free_address();
    let host = HOST
        .replace("\"bots\"", "\"other-bots\"")
        .replace("\"10ms\"", "\"20ms\"")
        .replace("\"60s\"", "\"61s\"")
        .replace("instances = 16", "instances = 8");
    let next = format!(
        "{host}[queue]\nmax_attempts = 1\nmax_dead_letters = 1\nkeep = 5\ndedup_window = \"1h\"\ndurability = \"process\"\n\
         [outbox]\non_uncertain = \"drop\"\n[logs]\nstderr = \"json\"\n[admin]\nlisten = \"{address}\"\n{tg}"
    );
    let keys = [
        "[host] bots_dir",
        "[host] watch_settle",
        "[host] watch_rescan",
        "[host] instances",
        "[queue] max_dead_letters",
        "[queue] keep",
        "[queue] dedup_window",
        "[queue] durability",
        "[outbox] on_uncertain",
        "[logs] stderr",
        "[admin] listen",
    ];
    lab.save(&next);
    let summary = lab.alert_says(NEEDS_RESTART, "at the next start: ").await;
    let told = lab.told(&["reload"]).await;
    for key in keys {
        assert!(summary.contains(key), "{key}: {summary}");
        let is_told = |line: &str| line.starts_with("takes effect at the next start: ") && line.contains(key);
        assert!(told.lines().any(is_told), "{key}: {told}");
    }
    assert!(lab.degraded()[0].starts_with("changes of the configuration take effect at the next start: "));
    assert_eq!(lab.bot("fail")["phase"], "running", "until then it serves from where it was");
    let said = lab.stop().await;
    let is_logged =
        |key: &str| said.lines().any(|line| line.contains("takes effect at the next start") && line.contains(key));
    assert!(keys.iter().all(|key| is_logged(key)), "{said}");

    fs::create_dir(lab.path("other-bots")).unwrap();
    fs::copy(lab.path("bots/fail.wasm"), lab.path("other-bots/moved.wasm")).unwrap();
    lab.resume(&["moved"], &[]).await;
    assert_eq!((lab.alert(NEEDS_RESTART), lab.bots()), (None, vec!["moved".to_owned()]));
    for text in ["!fail one", "!fail two"] {
        fake.push_message(7, text);
    }
    let is_second = |letters: &serde_json::Value| {
        letters.as_array().is_some_and(|all| all.len() == 1 && all[0]["text"] == "!fail two")
    };
    lab.get_when("/api/v1/dead-letters", is_second).await;
    let answer = exchange(TcpStream::connect(&address).unwrap(), "GET /health", &[], "").unwrap();
    assert_eq!(answer.status, 200);
    let said = lab.stop().await;
    assert!(said.lines().all(|line| line.starts_with('{')), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_data_directory_waits_for_a_restart_and_the_old_one_is_found_by_the_environment() {
    let mut lab = Lab::start(HOST, &[]).await;
    lab.save(&HOST.replace("\"data\"", "\"elsewhere\""));
    lab.alert_says(NEEDS_RESTART, "[host] data_dir").await;
    let (code, said) = lab.host_with(&["reload"], &[("BOTHOST__HOST__DATA_DIR", "data")]).await;
    assert!(code == 0 && said.contains("takes effect at the next start: "), "{code}: {said}");
    assert!(!lab.path("elsewhere").exists());
    lab.save(HOST);
    lab.alert_ends(NEEDS_RESTART).await;
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_environment_wins_over_the_file_and_over_edits_of_it() {
    let fake = FakeTelegram::start(TOKEN).await;
    let config = |attempts| format!("{HOST}[queue]\nmax_attempts = {attempts}\n{}", telegram("tg", &fake, TOKEN));
    let mut lab = Lab::new(&config(3), &[("fail.wasm", &guests::guest("fail"))]);
    lab.resume(&["fail"], &[("BOTHOST__QUEUE__MAX_ATTEMPTS", "2"), ("BOTHOST__LOGS__LEVEL", "info")]).await;
    let attempts = async |lab: &Lab, count: usize| {
        fake.push_message(7, "!fail");
        let is_there = |letters: &serde_json::Value| letters.as_array().is_some_and(|letters| letters.len() == count);
        lab.get_when("/api/v1/dead-letters", is_there).await[0]["attempts"].clone()
    };
    assert_eq!(attempts(&lab, 1).await, 2);
    lab.save(&config(1));
    lab.recorded("max_attempts = 1").await;
    assert_eq!(attempts(&lab, 2).await, 2);
    lab.told(&["config", "set", "queue.max_attempts", "4"]).await;
    assert_eq!(attempts(&lab, 3).await, 2);
    assert!(lab.text("config.toml").contains("max_attempts = 4"));
    lab.stop().await;
    let (code, said) = lab.refuses_to_start(&[("BOTHOST__QUEUE__MAX_ATTEMPT", "2")]).await;
    // Nobody mends the environment by an older generation.
    assert!(code == 64 && said.contains("BOTHOST__QUEUE__MAX_ATTEMPT"), "{code}: {said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_with_an_empty_file_waits_and_becomes_what_is_written_there() {
    let fake = FakeTelegram::start(TOKEN).await;
    let mut lab = Lab::new("", &[]);
    lab.resume(&[], &[]).await;
    assert_eq!((lab.generation(), lab.bots()), (1, vec![]));
    lab.put("echo.wasm", &echo());
    // What comes before there is a bot is heard by nobody.
    eventually(|| (!lab.bots().is_empty()).then_some(()), || "no bot comes".to_owned()).await;
    lab.save(&telegram("tg", &fake, TOKEN));
    assert_eq!(answered(&fake, "!echo from nothing").await, "from nothing");
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hangup_has_everything_looked_at() {
    let address = free_address();
    // A file beside the configuration, of which no event tells and which is looked at once an hour.
    let config =
        format!("{HOST}[admin]\nlisten = \"{address}\"\ntoken = {{ file = \"token\" }}\n").replace("60s", "1h");
    let mut lab = Lab::new(&config, &[]);
    fs::write(lab.path("token"), "CANARY-old").unwrap();
    fs::set_permissions(lab.path("token"), fs::Permissions::from_mode(0o600)).unwrap();
    lab.resume(&[], &[]).await;
    let status = |token: &str| {
        let header = format!("Authorization: Bearer {token}");
        exchange(TcpStream::connect(&address).unwrap(), "GET /api/v1/bots", &[&header], "").unwrap().status
    };
    assert_eq!(status("CANARY-old"), 200);
    fs::write(lab.path("token"), "CANARY-new").unwrap();
    assert_eq!((status("CANARY-old"), status("CANARY-new")), (200, 401), "nobody has looked");
    lab.process().signal(Signal::HUP);
    eventually(|| (status("CANARY-new") == 200).then_some(()), || "the new token lets nobody in".to_owned()).await;
    assert_eq!(status("CANARY-old"), 401);
    let process = lab.process();
    eventually(|| process.said().contains("reloaded").then_some(()), || process.said()).await;
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_file_at_the_start_has_the_last_good_generation_serve_and_everybody_hears_of_it() {
    let fake = FakeTelegram::start(TOKEN).await;
    let good = format!("{HOST}{}", telegram("tg", &fake, TOKEN));
    let mut lab = Lab::start(&good, &[("echo.wasm", &echo())]).await;
    lab.stop().await;
    for (tail, what) in [
        ("[limits]\nmemry = 1\n", "did you mean `memory`?"),
        ("[limits\n", "config.toml:"),
        ("[logs]\nstderr = \"of\"\n", "stderr"),
    ] {
        lab.save(&format!("{good}{tail}"));
        let (code, said) = lab.host(&["check", "config.toml"]).await;
        assert!(code == 64 && said.contains(what), "{code}: {said}");
        lab.resume(&["echo"], &[]).await;
        assert_eq!(answered(&fake, "!echo still here").await, "still here");
        assert_eq!(lab.generation(), 1);
        let summary = lab.alert_says("configuration-rejected", what).await;
        assert_eq!(lab.degraded(), [summary]);
        let said = lab.stop().await;
        let is_told =
            |line: &str| line.contains("an earlier generation of it is in force") && line.contains("generation=1");
        assert!(said.lines().any(is_told) && said.contains(what), "{said}");
    }
    // Mended while it runs, it counts.
    lab.resume(&["echo"], &[]).await;
    lab.save(&format!("{good}[limits]\nmemory = \"32MiB\"\n"));
    lab.alert_ends("configuration-rejected").await;
    lab.recorded("32MiB").await;
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_file_is_told_on_standard_error_though_the_log_is_off() {
    let good = format!("{HOST}[logs]\nstderr = \"off\"\n");
    let mut lab = Lab::start(&good, &[]).await;
    assert_eq!(lab.stop().await, "");
    lab.save(&format!("{good}[limits]\nmemry = 1\n"));
    lab.resume(&[], &[]).await;
    let said = lab.stop().await;
    assert!(said.contains("did you mean `memory`?") && said.contains("generation 1"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_file_without_any_generation_refuses_the_start() {
    let mut lab = Lab::new(&format!("{HOST}[limits]\nmemry = 1\n"), &[]);
    let (code, said) = lab.refuses_to_start(&[]).await;
    assert!(code == 64 && said.contains("did you mean `memory`?"), "{code}: {said}");
    assert!(!lab.path("data/bothost.db").exists(), "nothing was begun");
}
