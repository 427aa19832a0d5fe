use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::*;
use crate::generation::edit::tests::{Bench, Home, lay_out, who};
use crate::generation::{Origin, Placing};
use crate::secret::Secret;

const CONFIG: &str = r#"
[offers.lottery]
component = "lottery.wasm"
title = "Lottery"
connector = { type = "telegram", api_url = "http://127.0.0.1:9" } # ours
settings = { prize = "a car" }
limits.in_flight = 2
secrets = { BANK = { file = "bank" }, HOUSE = "${HOME}" }
ask_secrets = ["API_KEY"]
per_tenant_max = 2
tenants = ["acme", "other"]
[offers.lottery.grants]
http = ["api.example.com"]
dirs = [{ host = "files", guest = "/data" }]

[connectors.tg]
type = "telegram"
token = "9:operator"

[bots.house]
tenant = "acme"
"#;

async fn bench(dir: &Path) -> (Home, Bench) {
    let home = lay_out(dir);
    home.put("config.toml", CONFIG);
    home.put("bank", "b4nk");
    home.put("bots/lottery.wasm", "lottery");
    (home, Bench::on(dir).await)
}

fn tenant(name: &str) -> Scope {
    Scope::Tenant(name.parse().unwrap())
}

fn hand(scope: Scope) -> Hand {
    Hand { who: who(), scope, based_on: None }
}

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(map) = value else { panic!("an object") };
    map
}

fn secrets(pairs: &[(&str, &str)]) -> std::collections::BTreeMap<String, Secret> {
    pairs.iter().map(|(name, text)| ((*name).to_owned(), Secret::new(*text))).collect()
}

fn wishes(token: &str) -> BotChange {
    BotChange {
        connector: secrets(&[("token", token)]),
        secrets: secrets(&[("API_KEY", "k3y")]),
        ..BotChange::default()
    }
}

async fn rent(bench: &Bench, name: &str, change: BotChange) -> Result<String, String> {
    let what = (name.parse().unwrap(), "lottery".parse().unwrap());
    let rented = bench.editor.rent(hand(tenant(name)), what, change, Schema::Opaque).await;
    rented.map(|(bot, _)| bot.to_string()).map_err(|error| error.to_string())
}

async fn change(bench: &Bench, scope: Scope, bot: &str, change: BotChange) -> Result<(), String> {
    let changed = bench.editor.change(hand(scope), bot.parse().unwrap(), change, Schema::Opaque).await;
    changed.map(|_| ()).map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_rented_bot_is_a_file_for_its_owner_alone_with_what_the_offer_says() {
    let dir = tempfile::tempdir().unwrap();
    let (home, bench) = bench(dir.path()).await;
    assert_eq!(rent(&bench, "acme", wishes("1:acme")).await.unwrap(), "acme-lottery");
    let text = home.text("bots/acme-lottery.toml").unwrap();
    let mode = fs::metadata(home.path("bots/acme-lottery.toml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let config = Config::load(&home.path("config.toml")).unwrap();
    let path = home.path("bots/acme-lottery.toml");
    let file = config.load_bot(&"acme-lottery".parse().unwrap(), &path).unwrap();
    let entry = file.entry.value;
    assert_eq!((entry.component.as_str(), entry.tenant.as_str(), entry.enabled), ("lottery.wasm", "acme", true));
    assert_eq!(entry.offer, Some("lottery".parse().unwrap()));
    assert_eq!(Value::Object(entry.settings), json!({"prize": "a car"}));
    assert_eq!(entry.limits.in_flight.unwrap().get(), 2);
    assert_eq!(entry.grants, config.offers[&"lottery".parse().unwrap()].value.grants);
    let mut exposed: Vec<_> = entry.secrets.values().map(Secret::expose).collect();
    exposed.sort_unstable();
    assert!(
        exposed.contains(&"b4nk") && exposed.contains(&"k3y") && exposed.len() == 3,
        "the operator's are there too"
    );
    assert!(text.contains("${HOME}") && !text.contains("b4nk"), "a reference stays one");
    let latest = bench.latest();
    assert_eq!(
        (latest.author.as_str(), latest.reason.as_str()),
        ("ann", "acme rented acme-lottery by the offer lottery")
    );
    // Nothing of it is shown again.
    let shown = serde_json::to_string(&bench.editor.show(None).await.unwrap()).unwrap();
    assert!(!shown.contains("1:acme") && !shown.contains("k3y"), "{shown}");
}

#[tokio::test]
async fn a_tenant_has_as_many_as_the_offer_says_and_only_of_offers_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let (_, bench) = bench(dir.path()).await;
    assert_eq!(rent(&bench, "acme", wishes("1:a")).await.unwrap(), "acme-lottery");
    assert_eq!(rent(&bench, "acme", wishes("2:a")).await.unwrap(), "acme-lottery-2");
    assert!(rent(&bench, "acme", wishes("3:a")).await.unwrap_err().contains("has 2 of the offer `lottery` already"));
    assert_eq!(rent(&bench, "stranger", wishes("4:a")).await.unwrap_err(), "there is no offer `lottery`");
    let other = (("other").parse().unwrap(), "lottery".parse().unwrap());
    let within = bench.editor.rent(hand(tenant("acme")), other, wishes("5:a"), Schema::Opaque).await;
    assert!(within.is_err(), "for another tenant");
    bench.editor.give_up(hand(tenant("acme")), "acme-lottery".parse().unwrap()).await.unwrap();
    assert_eq!(rent(&bench, "acme", wishes("1:a")).await.unwrap(), "acme-lottery");
}

#[tokio::test]
async fn a_token_that_another_bot_has_is_refused_without_saying_whose_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (home, bench) = bench(dir.path()).await;
    rent(&bench, "other", wishes("1:s3cret")).await.unwrap();
    let before = bench.latest().number;
    // By name it would come before the one that has the token.
    for taken in ["1:s3cret", "9:operator"] {
        let said = rent(&bench, "acme", wishes(taken)).await.unwrap_err();
        assert_eq!(said, RentalError::Taken.to_string());
    }
    rent(&bench, "acme", wishes("2:acme")).await.unwrap();
    let taken = BotChange { connector: secrets(&[("token", "1:s3cret")]), ..BotChange::default() };
    assert_eq!(
        change(&bench, tenant("acme"), "acme-lottery", taken.clone()).await.unwrap_err(),
        RentalError::Taken.to_string()
    );
    let told = change(&bench, Scope::Host, "acme-lottery", taken).await.unwrap_err();
    assert!(told.contains("other-lottery/telegram") && !told.contains("s3cret"), "the operator is told whose: {told}");
    assert_eq!(bench.latest().number, before + 1);
    assert!(home.text("bots/acme-lottery.toml").unwrap().contains("2:acme"));
    // What is no token is told without places of the operator's.
    let said = rent(&bench, "acme", wishes("s3cret/../x")).await.unwrap_err();
    assert!(said.contains("no bot token") && !said.contains("s3cret") && !said.contains(".toml"), "{said}");
}

#[tokio::test]
async fn what_is_not_said_stays_and_what_is_not_asked_for_cannot_be_set() {
    let dir = tempfile::tempdir().unwrap();
    let (home, bench) = bench(dir.path()).await;
    rent(&bench, "acme", wishes("1:acme")).await.unwrap();
    let settings = Some(object(json!({"prize": "${HOME}", "list": [{"a": 1}]})));
    let kept = BotChange { settings, connector: secrets(&[("token", "[redacted]")]), ..BotChange::default() };
    change(&bench, tenant("acme"), "acme-lottery", kept).await.unwrap();
    let sheet = bench.editor.sheet(tenant("acme"), "acme-lottery".parse().unwrap()).await.unwrap();
    assert_eq!(Value::Object(sheet.settings), json!({"prize": "${HOME}", "list": [{"a": 1}]}));
    assert_eq!(sheet.connector, [("token".to_owned(), true)]);
    assert_eq!(sheet.secrets, [("API_KEY".to_owned(), true)]);
    assert_eq!((sheet.origin, sheet.offer.as_deref()), (Origin::OwnFile, Some("lottery")));
    let text = home.text("bots/acme-lottery.toml").unwrap();
    assert!(text.contains("1:acme") && text.contains("k3y") && text.contains("$${HOME}"), "{text}");
    for (given, key) in [
        (BotChange { connector: secrets(&[("api_url", "http://evil")]), ..BotChange::default() }, "api_url"),
        (BotChange { secrets: secrets(&[("BANK", "mine")]), ..BotChange::default() }, "BANK"),
    ] {
        let said = change(&bench, tenant("acme"), "acme-lottery", given).await.unwrap_err();
        assert!(said.starts_with(&format!("`{key}` is not asked for")), "{said}");
    }
    assert_eq!(home.text("bots/acme-lottery.toml").unwrap(), text);
    let off = BotChange { enabled: Some(false), ..BotChange::default() };
    change(&bench, tenant("acme"), "acme-lottery", off).await.unwrap();
    assert!(home.text("bots/acme-lottery.toml").unwrap().contains("enabled = false"));
}

#[tokio::test]
async fn a_tenant_sees_and_touches_its_own_bots_only() {
    let dir = tempfile::tempdir().unwrap();
    let (home, bench) = bench(dir.path()).await;
    rent(&bench, "acme", wishes("1:acme")).await.unwrap();
    let text = home.text("bots/acme-lottery.toml");
    for bot in ["acme-lottery", "house", "lottery", "nobody"] {
        let (name, off) = (bot.parse::<BotName>().unwrap(), BotChange { enabled: Some(false), ..BotChange::default() });
        let said = format!("there is no bot `{bot}`");
        assert_eq!(change(&bench, tenant("other"), bot, off).await.unwrap_err(), said);
        let gave_up = bench.editor.give_up(hand(tenant("other")), name.clone()).await;
        assert_eq!(gave_up.unwrap_err().to_string(), said);
        assert_eq!(bench.editor.sheet(tenant("other"), name).await.unwrap_err().to_string(), said);
    }
    assert_eq!(home.text("bots/acme-lottery.toml"), text);
    let given_up = bench.editor.give_up(hand(tenant("acme")), "house".parse().unwrap()).await.unwrap_err();
    assert!(given_up.to_string().contains("was not rented"), "{given_up}");
    let settings = BotChange { settings: Some(object(json!({"x": 1}))), ..BotChange::default() };
    change(&bench, tenant("acme"), "house", settings).await.unwrap();
    assert!(home.text("config.toml").unwrap().contains("[bots.house.settings]\nx = 1"));
}

#[tokio::test]
async fn settings_are_judged_by_the_schema_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (home, bench) = bench(dir.path()).await;
    rent(&bench, "acme", wishes("1:acme")).await.unwrap();
    let text = home.text("bots/acme-lottery.toml");
    let schema = Schema::read(Some("{\"properties\": {\"winners\": {\"type\": \"integer\", \"maximum\": 3}}}"));
    let settings = Some(object(json!({"winners": 4})));
    let wanted = BotChange { settings, ..BotChange::default() };
    let bot: BotName = "acme-lottery".parse().unwrap();
    let refused = bench.editor.change(hand(Scope::Host), bot, wanted, schema).await.unwrap_err();
    assert_eq!(refused.to_string(), "settings/winners: must be at most 3");
    assert_eq!(home.text("bots/acme-lottery.toml"), text);
}

#[tokio::test]
async fn a_password_among_the_settings_is_never_shown_again_whatever_version_serves() {
    let dir = tempfile::tempdir().unwrap();
    let (home, bench) = bench(dir.path()).await;
    rent(&bench, "acme", wishes("1:acme")).await.unwrap();
    let schema = || {
        let password = json!({"type": "string", "format": "password"});
        let api = json!({"type": "object", "properties": {"key": password.clone()}});
        let schema = json!({"properties": {"pin": password, "api": api, "mood": {"type": "string"}}});
        Schema::read(Some(&schema.to_string()))
    };
    let bot = || "acme-lottery".parse::<BotName>().unwrap();
    let change = async |settings: Value, schema: Schema| {
        let change = BotChange { settings: Some(object(settings)), ..BotChange::default() };
        bench.editor.change(hand(tenant("acme")), bot(), change, schema).await.unwrap();
        let sheet = bench.editor.sheet(tenant("acme"), bot()).await.unwrap();
        (home.text("bots/acme-lottery.toml").unwrap(), Value::Object(sheet.settings))
    };
    let given = json!({"pin": "CANARY-1", "api": {"key": "${CANARY}"}, "mood": "calm"});
    let (text, shown) = change(given, schema()).await;
    assert!(text.contains("CANARY-1") && text.contains("$${CANARY}"), "{text}");
    let hidden = json!({"pin": "[redacted]", "api": {"key": "[redacted]"}, "mood": "calm"});
    assert_eq!(shown, hidden);
    // A version without a form: what was a password is still one, and stays where nothing else is said.
    let (text, shown) = change(hidden.clone(), Schema::Opaque).await;
    assert!(text.contains("CANARY-1") && text.contains("$${CANARY}"), "{text}");
    assert_eq!(shown, hidden);
    let exported = serde_json::to_string(&bench.editor.show(None).await.unwrap()).unwrap();
    assert!(exported.contains("private_settings") && !exported.contains("CANARY"), "{exported}");
    let entry = Config::parse("", &home.path("config.toml")).unwrap();
    let entry = entry.parse_bot(&bot(), &text, &home.path("bots/acme-lottery.toml")).unwrap().entry.value;
    assert_eq!(entry.whole_settings()["api"], json!({"key": "${CANARY}"}), "the bot itself is told");
    // Another one takes its place, and one that is left out is gone.
    let (text, shown) = change(json!({"pin": "CANARY-2"}), Schema::Opaque).await;
    assert!(text.contains("CANARY-2") && !text.contains("CANARY-1") && !text.contains("$${CANARY}"), "{text}");
    assert_eq!(shown, json!({"pin": "[redacted]"}));
}

#[tokio::test]
async fn an_edited_offer_comes_to_rented_bots_when_it_is_applied_and_a_removed_one_leaves_them() {
    let dir = tempfile::tempdir().unwrap();
    let (home, bench) = bench(dir.path()).await;
    rent(&bench, "acme", wishes("1:acme")).await.unwrap();
    let settings = Some(object(json!({"prize": "mine"})));
    change(&bench, tenant("acme"), "acme-lottery", BotChange { settings, ..BotChange::default() }).await.unwrap();
    let before = home.text("bots/acme-lottery.toml").unwrap();
    let edited = CONFIG
        .replace("limits.in_flight = 2", "limits.in_flight = 7")
        .replace("BANK = { file = \"bank\" }, ", "")
        .replace("http://127.0.0.1:9", "http://127.0.0.1:10")
        .replace("http = [\"api.example.com\"]\n", "");
    bench.editor.put(who(), None, edited.clone()).await.unwrap();
    assert_eq!(home.text("bots/acme-lottery.toml").unwrap(), before, "not by itself");
    let (bots, _) = bench.editor.apply_offer(who(), None, "lottery".parse().unwrap()).await.unwrap();
    assert_eq!(bots, ["acme-lottery".parse().unwrap()]);
    let text = home.text("bots/acme-lottery.toml").unwrap();
    for (there, absent) in [("in_flight = 7", "in_flight = 2"), ("127.0.0.1:10", "BANK"), ("1:acme", "example.com")] {
        assert!(text.contains(there) && !text.contains(absent), "{text}");
    }
    assert!(text.contains("k3y") && text.contains("prize = \"mine\""), "{text}");
    bench.editor.put(who(), None, "[bots.house]\n".to_owned()).await.unwrap();
    assert_eq!(home.text("bots/acme-lottery.toml").unwrap(), text);
    // Its own token may still be changed.
    let token = BotChange { connector: secrets(&[("token", "2:new")]), ..BotChange::default() };
    change(&bench, tenant("acme"), "acme-lottery", token).await.unwrap();
    assert!(home.text("bots/acme-lottery.toml").unwrap().contains("2:new"));
}

#[tokio::test]
async fn the_operator_puts_connectors_bots_and_components_and_takes_them_away() {
    let dir = tempfile::tempdir().unwrap();
    let (home, bench) = bench(dir.path()).await;
    let place = |what| bench.editor.place(who(), None, what);
    let table = object(json!({"type": "telegram", "token": "[redacted]", "poll_timeout": "5s"}));
    place(Placing::Connector("tg".parse().unwrap(), table)).await.unwrap();
    let text = home.text("config.toml").unwrap();
    assert!(text.contains("9:operator") && text.contains("poll_timeout = \"5s\""), "{text}");
    let bad = object(json!({"type": "telegram"}));
    let refused = place(Placing::Connector("tg".parse().unwrap(), bad)).await.unwrap_err().to_string();
    assert!(refused.contains("`token` is missing"), "{refused}");
    let entry = object(json!({"component": "lottery.wasm", "connectors": ["tg"], "settings": {"n": 1}}));
    place(Placing::BotTable("shop".parse().unwrap(), entry)).await.unwrap();
    assert!(home.text("bots/shop.toml").unwrap().contains("n = 1"));
    let refused = place(Placing::NoConnector("tg".parse().unwrap())).await.unwrap_err().to_string();
    assert!(refused.contains("there is no connector `tg`"), "a bot names it: {refused}");
    let refused = place(Placing::NoComponent("lottery.wasm".parse().unwrap())).await.unwrap_err().to_string();
    assert!(refused.contains("bot shop") && refused.contains("offer lottery"), "{refused}");
    place(Placing::NoBot("shop".parse().unwrap())).await.unwrap();
    assert_eq!((home.text("bots/shop.toml"), home.text("bots/lottery.wasm").is_some()), (None, true));
    place(Placing::NoConnector("tg".parse().unwrap())).await.unwrap();
    assert!(!home.text("config.toml").unwrap().contains("connectors.tg"));
    place(Placing::NoBot("house".parse().unwrap())).await.unwrap();
    assert!(!home.text("config.toml").unwrap().contains("bots.house"));
}

const CHILD: &str = "generation::rental::tests::child_of_the_crash_test";
const CHILD_DIR: &str = "BOTHOST_TEST_RENTAL_DIR";

/// What the crash test runs in a process of its own: somebody rents a bot. By itself it does nothing.
#[tokio::test]
async fn child_of_the_crash_test() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let bench = Bench::on(Path::new(&dir)).await;
    rent(&bench, "acme", wishes("1:acme")).await.unwrap();
}

#[tokio::test]
async fn f056_a_rental_that_is_killed_at_any_step_is_done_as_a_whole_or_not_at_all() {
    use crate::failpoint::Failpoint::{EditAfterFile, EditAfterIntent, EditBeforeIntent, RecordAfter, RecordBefore};
    for point in [EditBeforeIntent, EditAfterIntent, EditAfterFile, RecordBefore, RecordAfter] {
        let dir = tempfile::tempdir().unwrap();
        let (home, first) = bench(dir.path()).await;
        first.store.close().await;
        let died = tokio::process::Command::new(std::env::current_exe().unwrap())
            .args([CHILD, "--exact", "--nocapture"])
            .env(CHILD_DIR, dir.path())
            .env("CRASH_AT", format!("{point}:1"))
            .output()
            .await
            .unwrap();
        let said = String::from_utf8_lossy(&died.stderr).into_owned();
        assert!(said.contains("aborting"), "{point} was not reached: {said}");
        for _ in 0..2 {
            let next = Bench::on(dir.path()).await;
            let text = home.text("bots/acme-lottery.toml");
            if point == EditBeforeIntent {
                assert_eq!((next.latest().number, text), (1, None), "{point}");
            } else {
                let latest = next.latest();
                let reason = "acme rented acme-lottery by the offer lottery";
                assert_eq!(
                    (latest.number, latest.author.as_str(), latest.reason.as_str()),
                    (2, "ann", reason),
                    "{point}"
                );
                assert!(text.unwrap().contains("1:acme"), "{point}");
                let mode = fs::metadata(home.path("bots/acme-lottery.toml")).unwrap().permissions().mode();
                assert_eq!(mode & 0o777, 0o600, "{point}");
            }
            next.store.close().await;
        }
    }
}
