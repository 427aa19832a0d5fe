//! What the command line puts and removes by name, and what it lists of tenants and their bots.

use std::os::unix::fs::DirBuilderExt as _;

use serde_json::json;

use super::*;

impl Operated {
    /// Writes a file into the host's directory, from where the command line runs.
    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.host.home().join(name), content).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bots_components_and_connectors_are_put_and_removed_by_the_command_line() {
    let operated = Operated::start("", &["bot"]).await;
    operated.write("fresh.wasm", guests::guest("counter"));
    let said = operated.told(&["components", "put", "fresh.wasm", "--as", "other.wasm"]).await;
    assert!(said.contains("bot other") && said.contains("is in force"), "{said}");
    operated.host.serving("other").await;
    let listed = operated.told(&["components", "list"]).await;
    assert!(listed.contains("bot.wasm") && listed.contains("other.wasm"), "{listed}");
    let refused = operated.run(&["components", "put", "fresh.wasm", "--as", "../x.wasm"]).await;
    assert_eq!(refused.status.code(), Some(2));
    operated.write("bad.wasm", "no component");
    let refused = operated.run(&["components", "put", "bad.wasm"]).await;
    assert_eq!(refused.status.code(), Some(64), "{refused:?}");

    // What a bot keeps is listed, and what it is, is not.
    operated.client.edit("/api/v1/bots/other/events", Some(&json!({ "text": "!state" }))).await.unwrap();
    let keys = operated.asked_until("/api/v1/bots/other/state", |keys| keys[0]["key"].is_string()).await;
    let after = format!("/api/v1/bots/other/state?after={}", keys[0]["key"].as_str().unwrap());
    assert_eq!((&keys[0]["bytes"], &keys[0]["expires_at"]), (&json!(1), &Value::Null), "{keys}");
    assert_eq!((keys[0].as_object().unwrap().len(), operated.get(&after).await), (3, json!([])));

    operated.write("entry.toml", "# hers\npriority = \"low\"\n");
    operated.told(&["bots", "put", "other", "entry.toml", "--reason", "less"]).await;
    let file = operated.host.bots().join("other.toml");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "# hers\npriority = \"low\"\n");
    operated.told(&["bots", "remove", "other"]).await;
    operated.host.bot_when("bot", |_| operated.host.bot("other").is_none()).await;
    assert!(!file.exists() && !operated.host.bots().join("other.wasm").exists());

    operated.write(
        "qq.toml",
        "type = \"onebot\"\nmode = \"reverse\"\nlisten = \"127.0.0.1:0\"\naccess_token = \"s3cret\"\n",
    );
    let said = operated.told(&["connectors", "put", "qq", "qq.toml"]).await;
    assert!(!said.contains("s3cret"), "{said}");
    operated.asked_until("/api/v1/connectors/qq", |qq| qq["listening"].is_string()).await;
    operated.write("bad.toml", "type = \"onebot\"\naccess_token = s3cret\n");
    let refused = operated.run(&["connectors", "put", "qq", "bad.toml"]).await;
    let complained = String::from_utf8(refused.stderr).unwrap();
    assert!(complained.contains("bad.toml: line 2") && !complained.contains("s3cret"), "{complained}");
    operated.told(&["connectors", "remove", "qq"]).await;
    assert!(!operated.told(&["connectors", "list"]).await.contains("qq"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offers_tenants_and_rentals_are_listed_with_those_who_have_no_bot_yet() {
    let offer = "[offers.small]\ncomponent = \"bot.wasm\"\ntitle = \"Small one\"\ntenants = [\"acme\"]\n";
    let home = Home::new(PROGRAM, offer).with("bot.wasm", &guests::example("echo"));
    let leftover = home.path().join("data/uploads/1.part");
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(leftover.parent().unwrap()).unwrap();
    std::fs::write(&leftover, "half").unwrap();
    let host = home.start().await;
    assert!(!leftover.exists(), "what an earlier process left of an upload is gone");
    let client = Client::new(host.home().join("data").join(ADMIN_SOCKET));
    let operated = Operated { host, client };
    assert_eq!(operated.told(&["rentals"]).await, "nothing was rented\n");
    assert_eq!(operated.told(&["tenants"]).await.lines().count(), 1);
    for (name, tenant) in [("ada", "acme"), ("bob", "acme"), ("eve", "nobot")] {
        let body = json!({ "name": name, "role": "viewer", "tenant": tenant, "password": "correct horse battery" });
        operated.client.edit("/api/v1/accounts", Some(&body)).await.unwrap();
    }
    let body = json!({ "offer": "small", "tenant": "acme" });
    operated.client.edit("/api/v1/rentals", Some(&body)).await.unwrap();
    operated.host.serving("acme-small").await;
    let tenants = operated.get("/api/v1/tenants").await;
    let of = |name: &str| tenants.as_array().unwrap().iter().find(|tenant| tenant["name"] == name).unwrap().clone();
    assert_eq!((&of("acme")["accounts"], &of("acme")["bots"]), (&json!(2), &json!({ "acme-small": "running" })));
    assert_eq!((&of("nobot")["accounts"], &of("nobot")["bots"]), (&json!(1), &json!({})));
    assert!(operated.told(&["tenants"]).await.contains("nobot"));
    let rentals = operated.told(&["rentals"]).await;
    assert!(rentals.contains("acme-small") && rentals.contains("small") && rentals.contains("running"), "{rentals}");
    for _ in 0..2 {
        let offers = operated.told(&["offers", "list"]).await;
        assert!(offers.contains("Small one") && offers.contains("acme"), "{offers}");
    }
    assert!(operated.told(&["offers", "show", "small"]).await.contains("acme-small"));
    assert!(operated.told(&["offers", "apply", "small"]).await.contains("is in force"));
    assert_eq!(operated.run(&["offers", "show", "large"]).await.status.code(), Some(1));
}
