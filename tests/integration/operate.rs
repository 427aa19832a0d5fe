//! When a message failed: what the operator reads by the API and the command line of dead letters, of the outbox and of one event,
//! and what becomes of them at a word.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use bothost::admin::client::{Client, ClientError};
use bothost::connector::DeliveryError;
use bothost::event::Event;
use bothost::host::ADMIN_SOCKET;
use bothost::id::ContentHash;
use harness::guests;
use harness::host::{Home, PATIENCE, TestHost};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_host");
/// What the command line finds the host by.
const CONFIG: &str = "[host]\ndata_dir = \"data\"\nbots_dir = \"bots\"\n";
const UNKNOWN: &str = "0198f3a21b7c00000123456789abcdef";

/// A host that can be asked.
struct Operated {
    host: TestHost,
    client: Client,
}

impl Operated {
    /// Starts a host with these bots, which serve when this returns.
    async fn start(bots: &[(&str, Vec<u8>)]) -> Self {
        let home = Home::new(PROGRAM, "[queue]\nmax_attempts = 2\n");
        let home = bots.iter().fold(home, |home, (name, component)| home.with(&format!("{name}.wasm"), component));
        let host = home.start().await;
        for (name, _) in bots {
            host.serving(name).await;
        }
        let client = Client::new(host.home().join("data").join(ADMIN_SOCKET));
        Self { host, client }
    }

    /// Says something and returns the event that it is.
    async fn say(&self, conversation: &str, text: &str) -> Event {
        let id = format!("{:016x}", fastrand::u64(..));
        let event = self.host.chat.message(conversation, &id, text);
        self.host.chat.inject(event.clone()).await.unwrap();
        event
    }

    /// Asks until a listing has so many entries.
    async fn listed(&self, path: &str, count: usize) -> Vec<Value> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let list = self.client.get(path).await.unwrap().as_array().unwrap().clone();
            if list.len() == count {
                return list;
            }
            assert!(tokio::time::Instant::now() < deadline, "{path} has not {count} entries: {list:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Runs the command line, which must succeed, and returns what it says.
    async fn told(&self, arguments: &str) -> String {
        let output = run(self.host.home(), arguments).await;
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{arguments}: {stdout}{stderr}");
        stdout
    }

    /// Runs the command line, which must fail, and returns its exit code and what it complains of.
    async fn refused(&self, arguments: &str) -> (Option<i32>, String) {
        let output = run(self.host.home(), arguments).await;
        (output.status.code(), text(&output.stderr))
    }
}

/// Runs `host` in a directory, with arguments that have no spaces in them.
async fn run(dir: &Path, arguments: &str) -> Output {
    let command = tokio::process::Command::new(PROGRAM).args(arguments.split(' ')).current_dir(dir).output();
    command.await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[track_caller]
fn assert_says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in:\n{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poison_message_is_listed_explained_and_answered_by_a_better_version() {
    let operated = Operated::start(&[("poison", guests::guest("trap"))]).await;
    let event = operated.say("lobby", "!trap \u{1b}[2J").await;
    let letters = operated.listed("/api/v1/dead-letters", 1).await;
    let expected = json!({
        "event": event.id.to_string(), "bot": "poison", "conversation": "lobby", "connector": "chat", "kind": "message",
        "text": "!trap \u{1b}[2J", "at": letters[0]["at"], "attempts": 2, "reason": "trapped",
        "message": "wasm trap: wasm `unreachable` instruction executed",
    });
    assert_eq!(letters[0], expected);

    let list = operated.told("dlq list --bot poison").await;
    assert_says(&list, &["EVENT", &event.id.to_string(), "poison", "trapped", r"!trap \u{1b}[2J"]);
    assert_eq!(operated.told("dlq list --bot other").await, "no dead letters\n");
    let shown = operated.told(&format!("dlq show {}", event.id)).await;
    assert_says(&shown, &["attempt 1", "attempt 2", "fuel ", "unreachable", "      at ", "\"sender\"", r"\u{1b}[2J"]);
    assert!(!shown.contains('\u{1b}'));
    let detail = operated.client.get(&format!("/api/v1/dead-letters/{}?bot=poison", event.id)).await.unwrap();
    assert_eq!(detail["faults"].as_array().map(Vec::len), Some(2));
    assert!(detail["faults"][0]["fuel"].as_u64() > Some(0) && detail["faults"][0]["elapsed_ms"].as_f64() > Some(0.0));
    assert_eq!(detail["payload"]["message"]["conversation"]["id"], "lobby");
    let queue = operated.client.get("/api/v1/queue").await.unwrap();
    assert_eq!(queue, json!({ "total": 0, "waiting": 0, "at_work": 0, "bots": [] }));

    let good = guests::guest("ledger");
    operated.host.put("poison.wasm", &good);
    operated.host.bot_when("poison", |bot| bot.component == Some(ContentHash::of(&good))).await;
    let before = operated.host.chat.delivered_count();
    assert_eq!(
        operated.told(&format!("dlq retry {}", event.id)).await,
        format!("{} waits for poison again\n", event.id)
    );
    assert_eq!(operated.host.answers_since(before, 1).await, ["!trap \u{1b}[2J 1"]);
    operated.listed("/api/v1/dead-letters", 0).await;
    let (code, said) = operated.refused(&format!("dlq retry {}", event.id)).await;
    assert_eq!(code, Some(1));
    assert_says(&said, &["404", "is no dead letter; GET /api/v1/dead-letters lists"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_of_two_bots_is_named_with_its_bot_and_dropped_for_good() {
    let trap = guests::guest("trap");
    let operated = Operated::start(&[("one", trap.clone()), ("two", trap)]).await;
    let event = operated.say("lobby", "!trap").await;
    operated.listed("/api/v1/dead-letters", 2).await;
    let id = event.id;
    for act in ["show", "retry", "drop"] {
        let (code, said) = operated.refused(&format!("dlq {act} {id}")).await;
        assert_eq!(code, Some(1));
        assert_says(&said, &["several bots", "`bot` being one, two"]);
    }
    assert_eq!(operated.told(&format!("dlq drop {id} --bot one")).await, format!("{id} of one is dropped\n"));
    let left = operated.listed("/api/v1/dead-letters", 1).await;
    assert_eq!(left[0]["bot"], "two");
    let answer: Value = serde_json::from_str(&operated.told(&format!("dlq drop {id} --json")).await).unwrap();
    assert_eq!(answer, json!({ "event": id.to_string(), "bot": "two", "state": "dropped" }));
    operated.listed("/api/v1/dead-letters", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_dead_letters_of_a_bot_are_retried_in_the_order_in_which_they_came() {
    let operated = Operated::start(&[("poison", guests::guest("trap"))]).await;
    for _ in 0..3 {
        operated.say("lobby", "!trap").await;
    }
    operated.listed("/api/v1/dead-letters", 3).await;
    let good = guests::guest("ledger");
    operated.host.put("poison.wasm", &good);
    operated.host.bot_when("poison", |bot| bot.component == Some(ContentHash::of(&good))).await;
    let before = operated.host.chat.delivered_count();
    assert_eq!(operated.told("dlq retry --all --bot poison").await, "3 events wait again\n");
    assert_eq!(operated.host.answers_since(before, 3).await, ["!trap 1", "!trap 2", "!trap 3"]);
    assert_eq!(operated.told("dlq retry --all --json").await, "[]\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_of_a_bot_that_is_gone_is_not_retried() {
    let operated = Operated::start(&[("poison", guests::guest("trap"))]).await;
    let event = operated.say("lobby", "!trap").await;
    operated.listed("/api/v1/dead-letters", 1).await;
    std::fs::remove_file(operated.host.bots().join("poison.wasm")).unwrap();
    let is_gone = || operated.host.bot("poison").is_none().then_some(());
    harness::host::eventually(is_gone, || "the bot is still there".to_owned()).await;
    let (code, said) = operated.refused(&format!("dlq retry {}", event.id)).await;
    assert_eq!(code, Some(1));
    assert_says(&said, &["409", "there is no bot poison any more"]);
    let (code, said) = operated.refused("dlq retry --all").await;
    assert_eq!(code, Some(1));
    assert_says(&said, &["there is no bot poison any more", "1 dead letters were not retried"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_action_that_the_platform_refuses_is_lost_with_its_reason_and_can_be_retried() {
    let operated = Operated::start(&[("echo", guests::example("echo"))]).await;
    operated.host.chat.script(Err(DeliveryError::Permanent("blocked by the user".to_owned())));
    let event = operated.say("lobby", "!echo hi").await;
    let lost = operated.listed("/api/v1/outbox?state=lost", 1).await.remove(0);
    let about = [&lost["event"], &lost["bot"], &lost["connector"], &lost["conversation"], &lost["kind"], &lost["text"]];
    assert_eq!(json!(about), json!([event.id.to_string(), "echo", "chat", "lobby", "send", "hi"]));
    assert_eq!(json!([lost["state"], lost["reason"]]), json!(["lost", "permanent"]));
    assert_eq!(lost["detail"], "refused: blocked by the user");

    let id = &lost["id"];
    assert_says(&operated.told("outbox list --lost").await, &["REASON", "permanent", &event.id.to_string(), "hi"]);
    assert_eq!(operated.told("outbox list --lost --connector other").await, "nothing was lost\n");
    assert_eq!(operated.told("outbox list").await, "nothing waits\n");
    assert_says(&operated.told(&format!("outbox show {id}")).await, &["lost", "refused: blocked by the user"]);
    let (code, said) = operated.refused(&format!("outbox drop {id}")).await;
    assert_eq!(code, Some(1));
    assert_says(&said, &["409", "does not wait: it is lost"]);

    let before = operated.host.chat.delivered_count();
    operated.told(&format!("outbox retry {id}")).await;
    assert_eq!(operated.host.answers_since(before, 1).await, ["hi"]);
    operated.listed("/api/v1/outbox?state=lost", 0).await;
    operated.listed("/api/v1/outbox?state=waiting", 0).await;
    assert_says(&operated.told(&format!("outbox show {id}")).await, &["delivered", "scripted-2"]);
    let (_, said) = operated.refused(&format!("outbox retry {id}")).await;
    assert_says(&said, &["is not lost: it is delivered"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_action_that_waits_can_be_dropped() {
    let operated = Operated::start(&[("echo", guests::example("echo"))]).await;
    operated.host.chat.script(Err(DeliveryError::RateLimited(Duration::from_secs(600))));
    let event = operated.say("lobby", "!echo hi").await;
    operated.host.chat.wait_for_delivered(1).await;
    let waiting = operated.listed("/api/v1/outbox", 1).await.remove(0);
    assert_says(&operated.told("outbox list").await, &["DUE", &event.id.to_string()]);
    // Between the refusal and the note of it, the entry is at work.
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match operated.client.delete(&format!("/api/v1/outbox/{}", waiting["id"])).await {
            Ok(answer) => break assert_eq!(answer, json!({ "id": waiting["id"], "state": "lost" })),
            Err(ClientError::Refused { status, .. }) if status == 409 => {}
            Err(error) => panic!("{error}"),
        }
        assert!(tokio::time::Instant::now() < deadline, "it is at work for ever");
    }
    let lost = operated.listed("/api/v1/outbox?state=lost", 1).await;
    assert_eq!(lost[0]["reason"], "dropped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_story_of_an_event_is_told() {
    let bots = [("again", guests::guest("fail_then_ok")), ("picky", guests::guest("steps"))];
    let operated = Operated::start(&bots).await;
    let before = operated.host.chat.delivered_count();
    let event = operated.host.chat.message("lobby", "m1", "hello");
    operated.host.chat.inject(event.clone()).await.unwrap();
    assert_eq!(operated.host.answers_since(before, 1).await, ["attempt 2"]);
    operated.host.chat.say("lobby", "m1", "hello").await.unwrap();

    let path = format!("/api/v1/events/{}", event.id);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let story = loop {
        let story = operated.client.get(&path).await.unwrap();
        if story["handlings"][0]["sends"][0]["state"] == "delivered" && story["handlings"][1]["state"] == "unwanted" {
            break story;
        }
        assert!(tokio::time::Instant::now() < deadline, "{story:#}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let known = [&story["connector"], &story["platform_id"], &story["kind"], &story["conversation"], &story["text"]];
    assert_eq!(json!(known), json!(["chat", "lobby:m1", "message", "lobby", "hello"]));
    assert_eq!(story["duplicates"], 1);
    let again = &story["handlings"][0];
    assert_eq!(
        json!([again["bot"], again["state"], again["priority"], again["attempts"]]),
        json!(["again", "done", "normal", 2])
    );
    assert!(again["fuel"].as_u64() > Some(0) && again["waited_ms"].is_f64(), "{again:#}");
    let fault = &again["faults"][0];
    assert_eq!(
        json!([fault["attempt"], fault["outcome"], fault["message"]]),
        json!([1, "failed", "the first attempt fails"])
    );
    let send = &again["sends"][0];
    assert_eq!(json!([send["text"], send["platform_id"], send["attempts"]]), json!(["attempt 2", "scripted-1", 1]));

    let told = operated.told(&format!("why {}", event.id)).await;
    let steps: Vec<_> = told.lines().map(str::trim_start).collect();
    let beginnings = [
        format!("event {}, received ", event.id),
        "+0 ms  received from connector chat, platform id lobby:m1: message in lobby: hello".to_owned(),
        "delivered again by the platform, and dropped as a duplicate".to_owned(),
    ];
    for (step, beginning) in steps.iter().zip(&beginnings) {
        assert!(step.starts_with(beginning.as_str()), "{told}");
    }
    let rest = [
        "again: attempt 1 failed in ",
        "again: attempt 2 ok in ",
        "again: outbox entry ",
        " delivered as scripted-1 in 1 try",
        "picky: does not want such events",
    ];
    assert_eq!(steps.len(), beginnings.len() + rest.len(), "{told}");
    for (step, part) in steps[beginnings.len()..].iter().zip(rest) {
        assert!(step.contains(part), "{part}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_and_what_is_wrongly_asked_ends_with_the_documented_codes() {
    let operated = Operated::start(&[("echo", guests::example("echo"))]).await;
    for verb in ["why", "dlq show", "dlq retry", "dlq drop"] {
        let (code, said) = operated.refused(&format!("{verb} {UNKNOWN}")).await;
        assert_eq!(code, Some(1), "{verb}");
        assert_says(&said, &["404", &format!("there is no event {UNKNOWN}")]);
        let (code, said) = operated.refused(&format!("{verb} 0198f3a2")).await;
        assert_eq!(code, Some(2), "{verb}");
        assert_says(&said, &["32 hexadecimal digits"]);
    }
    for verb in ["show", "retry", "drop"] {
        let (code, said) = operated.refused(&format!("outbox {verb} 999")).await;
        assert_eq!(code, Some(1), "{verb}");
        assert_says(&said, &["404", "the outbox has no entry 999"]);
    }
    let all_wrong = ["dlq", "dlq retry", "dlq list --limit 1001", "outbox list --connector a/b/c", "outbox show x"];
    let both = format!("dlq retry --all {UNKNOWN}");
    for arguments in all_wrong.into_iter().chain([both.as_str()]) {
        assert_eq!(operated.refused(arguments).await.0, Some(2), "{arguments}");
    }
    assert_eq!(operated.refused("dlq list --config nowhere.toml").await.0, Some(64));
    assert_eq!(operated.told("dlq --config config.toml list --json").await, "[]\n");
}

#[tokio::test]
async fn without_a_host_each_verb_says_so() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.toml"), CONFIG).unwrap();
    let why = format!("why {UNKNOWN}");
    for verb in ["ps", "dlq list", "outbox list", &why, "faults", "describe echo", "reset echo", "reload"] {
        let output = run(dir.path(), verb).await;
        assert_eq!(output.status.code(), Some(69), "{verb}");
        assert_says(&text(&output.stderr), &["no host is running"]);
    }
}
