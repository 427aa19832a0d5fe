//! Whom a bot belongs to and what it says of itself, as its status has it.

use bothost::bot::phase::Phase;
use harness::guests;
use harness::host::{Home, TestHost};

use super::PROGRAM;

/// Waits until every one of these bots belongs to this tenant.
async fn belong_to(host: &TestHost, tenant: &str, bots: &[&str]) {
    for bot in bots {
        host.bot_when(bot, |status| status.tenant.as_str() == tenant).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_belongs_to_whom_its_entry_names_whether_or_not_it_serves() {
    let entry = b"tenant = \"acme\"\n";
    let disabled = b"tenant = \"acme\"\nenabled = false\n";
    let home = Home::new(PROGRAM, "").with("bot.wasm", &guests::example("echo")).with("bot.toml", entry);
    let home = home.with("off.toml", disabled).with("absent.toml", entry).with("bad.wasm", b"no component");
    let host = home.with("bad.toml", entry).with("plain.wasm", b"no component").start().await;
    // From the first moment that they are listed: nobody else is to see them even then.
    for bot in ["bot", "off", "absent", "bad"] {
        assert_eq!(host.bot(bot).unwrap().tenant.as_str(), "acme", "{bot}");
    }
    assert_eq!(host.bot("plain").unwrap().tenant.as_str(), "default");
    host.serving("bot").await;

    for bot in ["bot", "off", "absent", "bad"] {
        let enabled = if bot == "off" { "enabled = false\n" } else { "" };
        host.put(&format!("{bot}.toml"), format!("tenant = \"other\"\n{enabled}").as_bytes());
    }
    belong_to(&host, "other", &["bot", "off", "absent", "bad"]).await;

    host.put("bot.toml", b"tenant = [");
    host.bot_when("bot", |status| status.refused.is_some()).await;
    belong_to(&host, "other", &["bot"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bots_status_holds_the_manifest_of_what_serves_and_of_nothing_else() {
    let host = Home::new(PROGRAM, "").with("bot.wasm", &guests::example("echo")).start().await;
    let status = host.serving("bot").await;
    let manifest = status.manifest.expect("it said what it is");
    assert_eq!(Some(&manifest.version), status.version.as_ref());
    assert!(manifest.commands.iter().any(|command| command.name == "echo"), "{manifest:?}");

    host.put("bot.toml", b"enabled = false\n");
    let status = host.bot_when("bot", |status| status.phase == Phase::Disabled).await;
    assert_eq!((status.manifest, status.version), (None, None));
}
