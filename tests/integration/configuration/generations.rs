//! What was in force: kept by number, shown, compared, carried elsewhere and brought back, with the components of then.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use harness::guests;
use harness::telegram::FakeTelegram;
use serde_json::{Value, json};

use super::lab::{HOST, Lab, TOKEN, answered, echo, in_short, telegram};

/// Returns the kept copy of the component that serves a bot.
fn pinned(lab: &Lab, bot: &str) -> PathBuf {
    let hash = lab.bot(bot)["component"].as_str().unwrap().to_owned();
    find(&lab.path("data/blobs"), &hash).unwrap_or_else(|| panic!("{hash} is not kept"))
}

/// Returns the file in a directory, or below it, whose path spells this, whatever directories it is spread over.
fn find(dir: &Path, name: &str) -> Option<PathBuf> {
    fs::read_dir(dir).unwrap().flatten().map(|entry| entry.path()).find_map(|path| match path.is_dir() {
        true => find(&path, name),
        false => path.to_str().unwrap().replace('/', "").ends_with(name).then_some(path),
    })
}

fn flip_a_bit(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(path, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_set_in_one_second_are_generations_of_their_own_and_comments_stay() {
    let text = format!("# ours\n{HOST}\n[limits] # of all\nmemory = \"64MiB\" # enough\n\n# the end\n");
    let mut lab =
        Lab::start(&text, &[("echo.wasm", &echo()), ("echo.toml", b"# hers\npriority = \"low\" # for now\n")]).await;
    for (key, value) in [("limits.memory", "65MiB"), ("limits.memory", "66MiB"), ("bots.echo.priority", "high")] {
        lab.told(&["config", "set", key, value, "--author", "ann", "--reason", &format!("to {value}")]).await;
    }
    let expected = vec![
        json!([4, "ann", "to high"]),
        json!([3, "ann", "to 66MiB"]),
        json!([2, "ann", "to 65MiB"]),
        json!([1, "host", "start"]),
    ];
    assert_eq!(in_short(&lab.versions()), expected);
    assert_eq!(lab.text("config.toml"), text.replace("64MiB", "66MiB"));
    assert_eq!(lab.text("bots/echo.toml"), "# hers\npriority = \"high\" # for now\n");
    assert_eq!(lab.told(&["config", "get", "limits.memory"]).await, "\"66MiB\"\n");

    let diff = lab.told(&["config", "diff", "1", "3"]).await;
    assert!(diff.contains("-memory = \"64MiB\" # enough\n+memory = \"66MiB\" # enough\n"), "{diff}");
    assert!(lab.told(&["config", "show", "2"]).await.contains("memory = \"65MiB\" # enough"));
    lab.told(&["config", "unset", "limits.memory"]).await;
    lab.told(&["disable", "echo"]).await;
    lab.bot_when("echo", |bot| bot["phase"] == "disabled").await;
    lab.told(&["enable", "echo"]).await;
    lab.bot_when("echo", |bot| bot["phase"] != "disabled").await;
    let history = lab.told(&["config", "history"]).await;
    assert!(
        history.lines().nth(1).is_some_and(|line| line.starts_with("7 ") && line.contains("enabled echo")),
        "{history}"
    );
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_that_was_overwritten_comes_back_and_serves() {
    let fake = FakeTelegram::start(TOKEN).await;
    let config = format!("{HOST}{}", telegram("tg", &fake, TOKEN));
    let mut lab = Lab::start(&config, &[("bot.wasm", &echo())]).await;
    let first = lab.bot("bot")["component"].clone();
    assert_eq!(answered(&fake, "!echo one").await, "one");
    fs::write(lab.path("exported.json"), lab.told(&["config", "export"]).await).unwrap();

    lab.put("bot.wasm", &guests::guest("counter"));
    let second =
        lab.bot_when("bot", |bot| bot["component"] != first && bot["component"].is_string()).await["component"].clone();
    lab.recorded(second.as_str().unwrap()).await;
    assert_eq!(answered(&fake, "!state").await, "1");

    for (verb, said) in [(["config", "rollback", "1"], "two"), (["config", "import", "exported.json"], "three")] {
        lab.told(&verb).await;
        assert_eq!(lab.bot("bot")["component"], first, "it is told once it serves");
        assert!(fs::read(lab.path("bots/bot.wasm")).unwrap() == echo());
        assert_eq!(answered(&fake, &format!("!echo {said}")).await, said);
        lab.told(&["config", "rollback", "2"]).await;
        assert_eq!(lab.bot("bot")["component"], second);
        assert_eq!(answered(&fake, "!ping").await, "pong");
    }
    assert_eq!(answered(&fake, "!state").await, "2", "what a bot keeps is no part of a generation");
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f055_a_rollback_whose_component_is_gone_or_damaged_is_refused_before_any_change() {
    let mut lab = Lab::start(HOST, &[("echo.wasm", &echo()), ("echo.toml", b"priority = \"low\"\n")]).await;
    let kept = pinned(&lab, "echo");
    lab.stop().await;
    lab.put("echo.wasm", &guests::guest("counter"));
    lab.put("echo.toml", b"priority = \"high\"\n");
    lab.save(&format!("{HOST}[limits]\nmemory = \"32MiB\"\n"));
    lab.resume(&["echo"], &[]).await;
    let before = (lab.versions(), lab.bot("echo"), lab.text("config.toml"), lab.text("bots/echo.toml"));
    flip_a_bit(&kept);
    for what in ["a flipped bit", "gone"] {
        let (code, said) = lab.host(&["config", "rollback", "1"]).await;
        assert!(
            code == 1 && said.contains("bot echo: the component echo.wasm of then is gone"),
            "{what}: {code}: {said}"
        );
        lab.told(&["reload"]).await;
        let now = (lab.versions(), lab.bot("echo"), lab.text("config.toml"), lab.text("bots/echo.toml"));
        assert_eq!(now, before, "{what}");
        assert!(fs::read(lab.path("bots/echo.wasm")).unwrap() == guests::guest("counter"), "{what}");
        // What cannot be trusted may have been put aside by now.
        let _ = fs::remove_file(&kept);
    }
    assert!(!lab.path("data/generations/edit.json").exists());
    lab.put("copy.wasm", &echo());
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f057_of_two_edits_that_have_seen_the_same_one_is_carried_out_and_the_other_is_told() {
    let mut lab = Lab::start(HOST, &[]).await;
    let edit = |author: &'static str, keep: u32| {
        let (lab, text) = (&lab, format!("{HOST}[queue]\nmax_events = {keep}\n"));
        move || lab.ask(&format!("PUT /api/v1/config?author={author}"), &["If-Match: \"1\""], &text)
    };
    let (ann, bob) = (edit("ann", 1001), edit("bob", 1002));
    let answers = std::thread::scope(|scope| {
        let ann = scope.spawn(ann);
        [bob(), ann.join().unwrap()]
    });
    let mut statuses = answers.each_ref().map(|answer| answer.status);
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412]);
    let loser = answers.iter().find(|answer| answer.status == 412).unwrap();
    loser.refuses(412, "generation 2 is in force");
    let versions = lab.versions();
    assert!(versions.len() == 2 && ["ann", "bob"].contains(&versions[0]["author"].as_str().unwrap()), "{versions:?}");
    let said = lab.stop().await;
    let refused = said.lines().filter(|line| line.contains("an edit of the configuration was refused"));
    assert_eq!(refused.count(), 1, "{said}");
    let loser = if versions[0]["author"] == "ann" { "bob" } else { "ann" };
    let told = said.lines().find(|line| line.contains("was refused")).unwrap();
    assert!(told.contains(loser), "the log says whose: {told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f058_a_generation_of_a_newer_host_is_not_misread_and_not_touched() {
    let mut lab = Lab::start(HOST, &[]).await;
    lab.stop().await;
    let path = lab.path("data/generations/2.json");
    let newer = r#"{"format":2,"sha256":"00","body":{"number":2,"config":"[host]\n"}}"#;
    fs::write(&path, newer).unwrap();
    let (code, said) = lab.refuses_to_start(&[]).await;
    assert!(
        code == 1 && said.contains("2.json") && said.contains("format 2") && said.contains("newer"),
        "{code}: {said}"
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), newer);
    fs::remove_file(&path).unwrap();
    lab.resume(&[], &[]).await;
    assert_eq!(lab.generation(), 1);
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f077_a_flipped_bit_in_a_generation_puts_that_one_aside_and_its_number_is_not_given_again() {
    let mut lab = Lab::start(HOST, &[("echo.wasm", &echo())]).await;
    for memory in ["32MiB", "33MiB", "34MiB"] {
        lab.told(&["config", "set", "limits.memory", memory]).await;
    }
    let numbers =
        |lab: &Lab| lab.versions().iter().map(|version| version["generation"].clone()).collect::<Vec<Value>>();
    // One that is looked at while the host runs.
    flip_a_bit(&lab.path("data/generations/2.json"));
    let (code, said) = lab.host(&["config", "rollback", "2"]).await;
    assert!(code == 1 && said.contains("generation 2 is damaged and was put aside"), "{code}: {said}");
    assert_eq!(numbers(&lab), [4, 3, 1].map(Value::from));
    assert_eq!(lab.text("config.toml"), format!("{HOST}\n[limits]\nmemory = \"34MiB\"\n"));
    lab.stop().await;
    // The newest, while none does.
    flip_a_bit(&lab.path("data/generations/4.json"));
    lab.resume(&["echo"], &[]).await;
    assert_eq!(numbers(&lab), [5, 3, 1].map(Value::from));
    lab.told(&["config", "rollback", "3"]).await;
    assert_eq!(lab.told(&["config", "get", "limits.memory"]).await, "\"33MiB\"\n");
    let said = lab.stop().await;
    assert!(
        said.contains("a generation cannot be trusted: it was put aside") && said.contains("damaged/4.json"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_generations_are_kept_and_the_components_that_they_name() {
    let mut lab = Lab::start(HOST, &[("echo.wasm", &echo())]).await;
    let first = pinned(&lab, "echo");
    lab.put("echo.wasm", &guests::guest("counter"));
    lab.recorded("\"generation\":2").await;
    for number in 3..=50 {
        lab.told(&["config", "set", "queue.max_events", &number.to_string()]).await;
    }
    assert_eq!((lab.generation(), lab.versions().len(), first.exists()), (50, 50, true));
    lab.told(&["config", "set", "queue.max_events", "51"]).await;
    let versions = lab.versions();
    let ends = (&versions[0]["generation"], &versions[49]["generation"]);
    assert_eq!((versions.len(), ends), (50, (&json!(51), &json!(2))));
    assert!(!first.exists(), "nobody can come back to it");
    assert!(pinned(&lab, "echo").exists());
    let (code, said) = lab.host(&["config", "rollback", "1"]).await;
    assert!(code == 1 && said.contains("there is no generation 1; 2 to 51 are kept"), "{code}: {said}");
    let files = fs::read_dir(lab.path("data/generations")).unwrap().flatten().filter(|file| file.path().is_file());
    assert_eq!(files.count(), 50);
    lab.stop().await;
}
