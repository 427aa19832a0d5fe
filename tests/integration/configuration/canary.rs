//! A whole run of a host, whose configuration is full of secrets: none of them leaves it.

use std::fs;
use std::net::TcpStream;

use harness::guests;
use harness::telegram::FakeTelegram;

use super::lab::{HOST, Lab, TOKEN, answered, exchange, free_address, telegram, without_secrets};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f100_a_secret_in_a_file_is_seen_nowhere_in_a_whole_run() {
    let fake = FakeTelegram::start(TOKEN).await;
    let (tg, address) = (telegram("tg", &fake, TOKEN), free_address());
    let config = format!(
        "{HOST}[logs]\nlevel = \"trace\"\n[queue]\nmax_attempts = 1\n[admin]\nlisten = \"{address}\"\ntoken = \"CANARY-admin\"\n{tg}\
         # token = \"41:CANARY-before\"\n"
    );
    let entry = "secrets = { KEY = \"CANARY-entry\" }\n[grants]\nhttp = [\"api.example.com\"]\n";
    let bots: [(&str, &[u8]); 3] =
        [("tick.wasm", &guests::guest("tick")), ("tick.toml", entry.as_bytes()), ("trap.wasm", &guests::guest("trap"))];
    let mut lab = Lab::start(&config, &bots).await;
    assert_eq!(answered(&fake, "!secrets").await, "KEY");
    fake.push_message(7, "!trap");
    lab.get_when("/api/v1/dead-letters", |letters| letters.as_array().is_some_and(|all| all.len() == 1)).await;

    // Edits, good and bad, of every secret.
    lab.told(&["config", "set", "bots.tick.secrets.OTHER", "CANARY-set"]).await;
    lab.told(&["config", "set", "admin.token", "CANARY-admin-2"]).await;
    for bad in ["no CANARY token", "[\"42:CANARY-in-a-list\"]", "{ fil = \"CANARY-path\" }", ""] {
        let (code, said) = lab.host(&["config", "set", "connectors.tg.token", bad]).await;
        assert_eq!(code, 64, "{bad}: {said}");
    }
    let text = lab.text("config.toml");
    for tail in ["[admin2]\ntoken = \"CANARY-nowhere\"\n", "x = \"CANARY-unclosed\n", "CANARY-no-toml\n"] {
        lab.save(&format!("{text}{tail}"));
        lab.alert_says("configuration-rejected", "config.toml:").await;
        lab.host(&["check", "config.toml"]).await;
        lab.host(&["reload"]).await;
        lab.host(&["reload", "--dry-run"]).await;
        lab.degraded();
    }
    lab.save(&text);
    lab.alert_ends("configuration-rejected").await;
    lab.put("tick.toml", b"secrets = { KEY = \"CANARY-entry\", KEY = \"CANARY-twice\" }\n");
    lab.bot_when("tick", |bot| bot["refused"].is_string()).await;
    lab.put("tick.toml", b"secrets = [\"CANARY-wrong\"]\n");
    lab.bot_when("tick", |bot| bot["refused"].as_str().is_some_and(|why| why.contains("must be a table"))).await;
    lab.host(&["check", "config.toml"]).await;
    lab.put("tick.toml", entry.as_bytes());
    lab.bot_when("tick", |bot| bot["refused"].is_null()).await;
    fake.revoke_token();
    lab.connector_when("tg", |tg| tg["link"] == "auth-failed").await;

    let latest = lab.generation().to_string();
    for arguments in [
        "config history",
        "config show",
        "config show 1",
        "config export",
        "config diff 1",
        "config get connectors.tg.token",
        "config get connectors",
        "config get admin",
        "config get bots.tick.secrets",
        "config show --json",
        "ps",
        "faults",
        "dlq list",
        "outbox list",
        "describe tick",
        "status config.toml",
        "config rollback 1",
        "inspect bots/tick.wasm",
    ] {
        lab.host(&arguments.split(' ').collect::<Vec<_>>()).await;
    }
    assert!(lab.told(&["config", "show", &latest]).await.contains("[redacted]"));
    let export = lab.told(&["config", "export", &latest]).await;
    for path in [
        "/health",
        "/metrics",
        "/api/v1/bots",
        "/api/v1/bots/tick",
        "/api/v1/faults",
        "/api/v1/condemned",
        "/api/v1/connectors",
        "/api/v1/alerts",
        "/api/v1/queue",
        "/api/v1/dead-letters",
        "/api/v1/outbox",
        "/api/v1/config",
        "/api/v1/config/versions",
        "/api/v1/config/versions/1",
        "/api/v1/config/versions/latest/export",
        "/api/v1/config/versions/1/diff/latest",
    ] {
        assert_eq!(lab.ask(&format!("GET {path}"), &[], "").status, 200, "{path}");
    }
    lab.ask("POST /api/v1/config/import", &[], &export.replace("[redacted]", "CANARY-import\\u0000"));
    lab.ask("PUT /api/v1/config", &["If-Match: *"], "[admin]\ntoken = CANARY-bare\n").refuses(422, "config.toml:2:");
    for line in [
        "GET /api/v1/bots?token=CANARY-query",
        "GET /CANARY-path",
        "POST /api/v1/config/set?key=CANARY-key&value=CANARY-v",
    ] {
        // What somebody asks for by name may be named in the answer, and in no log.
        let stream = TcpStream::connect(&address).unwrap();
        let answer = exchange(stream, line, &["Authorization: Bearer CANARY-wrong"], "").unwrap();
        assert!(answer.status >= 400, "{line}");
    }

    lab.told(&["config", "rollback", "1"]).await;
    let said = lab.stop().await;
    assert!(said.contains(" DEBUG ") && said.contains("stopped"), "all of a talkative run: {said}");
    // As a daemon, the same goes into a file.
    lab.told(&["start", "config.toml"]).await;
    lab.told(&["status", "config.toml", "--json"]).await;
    lab.told(&["stop", "config.toml"]).await;
    let log = fs::read_to_string(lab.path("data/daemon.log")).unwrap();
    assert!(log.contains(" DEBUG "), "{log}");
    without_secrets(&log);
}
