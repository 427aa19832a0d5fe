//! Edits that are no good, made while the host runs: nothing changes, and everybody who looks is told why and where.

use super::lab::{HOST, Lab, TOKEN, answered, echo, place, telegram};
use harness::telegram::FakeTelegram;
use serde_json::Value;

const REJECTED: &str = "configuration-rejected";

/// Returns what an operator compares to see that nothing has changed: generations, and bots since when.
fn standing(lab: &Lab) -> (Vec<Value>, Value, String) {
    (lab.versions(), lab.bot("echo")["since"].clone(), lab.get("/api/v1/config/versions/latest").to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f051_a_bad_edit_changes_nothing_is_told_with_its_place_and_mended_by_the_next_save() {
    let fake = FakeTelegram::start(TOKEN).await;
    let good = format!("{HOST}{}", telegram("tg", &fake, TOKEN));
    let mut lab = Lab::start(&good, &[("echo.wasm", &echo())]).await;
    let before = standing(&lab);
    for (bad, mistake, what) in [
        ("[limits\n", "[limits\n", "unclosed table"),
        ("[limits]\nmemry = \"1MiB\"\n", "memry", "unknown key `memry` in [limits], did you mean `memory`?"),
        (
            "[queue]\nmax_attempts = \"three\"\n",
            "\"three\"",
            "`queue.max_attempts` must be a whole number from 1 to 4294967295, not a string",
        ),
        ("[queue]\nmax_attempts = 0\n", "0\n", "not 0"),
        ("[connectors.b]\ntype = \"telegram\"\ntoken = \"no CANARY token\"\n", "\"no CANARY", "no bot token"),
    ] {
        let text = format!("{good}{bad}");
        lab.save(&text);
        let line = place(&text, bad.lines().find(|line| line.contains(mistake.trim_end())).unwrap());
        let line = line.split(':').next().unwrap().to_owned();
        let summary = lab.alert_says(REJECTED, what).await;
        assert!(summary.contains(&format!("config.toml:{line}:")), "{summary}");
        let degraded = lab.degraded();
        assert!(degraded.len() == 1 && degraded[0].contains(&format!("config.toml:{line}:")), "{degraded:?}");
        let (code, said) = lab.host(&["reload"]).await;
        assert!(code == 64 && said.contains(&format!("config.toml:{line}:")) && said.contains(what), "{code}: {said}");
        assert_eq!(standing(&lab), before, "{bad}");
        assert_eq!(answered(&fake, "!echo as before").await, "as before");
    }
    lab.save(&good);
    lab.alert_ends(REJECTED).await;
    assert_eq!((lab.degraded(), standing(&lab)), (vec![], before), "as it was, it is no other generation");
    lab.save(&format!("{good}[queue]\nmax_attempts = 4\n"));
    lab.recorded("max_attempts = 4").await;
    let said = lab.stop().await;
    assert!(said.contains("did you mean `memory`?"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f059_a_file_that_is_huge_or_deep_is_refused_and_can_be_mended_by_command() {
    let mut lab = Lab::start(HOST, &[("echo.wasm", &echo())]).await;
    let before = standing(&lab);
    for (bad, what) in [
        (format!("{HOST}#{}", "x".repeat(2 << 20)), "larger than 1MiB"),
        (format!("{HOST}[a]\nx = {}{}", "[".repeat(50_000), "]".repeat(50_000)), "nested deeper than 64 levels"),
    ] {
        lab.save(&bad);
        lab.alert_says(REJECTED, what).await;
        assert_eq!(standing(&lab), before);
        let said = lab.told(&["config", "rollback", "1"]).await;
        assert!(said.contains("generation 1 is in force"), "{said}");
        assert_eq!(lab.text("config.toml"), HOST);
        lab.alert_ends(REJECTED).await;
    }
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f053_what_is_there_twice_is_refused_and_both_places_are_named() {
    let fake = FakeTelegram::start(TOKEN).await;
    let good = format!("{HOST}{}", telegram("tg", &fake, TOKEN));
    let mut lab = Lab::start(&good, &[("echo.wasm", &echo()), ("echo.toml", b"priority = \"high\"\n")]).await;
    let before = standing(&lab);

    let twice = format!("{good}{}", telegram("again", &fake, TOKEN));
    lab.save(&twice);
    let (first, second) = (place(&twice, "[connectors.tg]"), place(&twice, "[connectors.again]"));
    let summary = lab.alert_says(REJECTED, "has the Telegram token of connector").await;
    assert!(summary.contains(&format!("config.toml:{first}")) && summary.contains(&second), "{summary}");
    assert_eq!(standing(&lab), before);

    let twice = format!("{good}[bots.new]\ncomponent = \"echo.wasm\"\n[bots.new]\ncomponent = \"echo.wasm\"\n");
    lab.save(&twice);
    let second =
        place(&twice, "[bots.new]\ncomponent = \"echo.wasm\"\n[").split(':').next().unwrap().parse::<u32>().unwrap()
            + 2;
    lab.alert_says(REJECTED, &format!("config.toml:{second}:")).await;
    assert_eq!(standing(&lab), before);

    // The other is in a file of its own: that is the bot's matter, not the whole configuration's.
    let twice = format!("{good}[bots.echo]\n");
    lab.save(&twice);
    lab.alert_ends(REJECTED).await;
    let refused = lab.bot_when("echo", |bot| bot["refused"].is_string()).await;
    let reason = refused["refused"].as_str().unwrap();
    let first = place(&twice, "[bots.echo]");
    assert!(reason.contains("echo.toml:1:") && reason.contains(&format!("config.toml:{first}")), "{reason}");
    assert_eq!((&refused["phase"], &refused["since"]), (&"running".into(), &before.1), "it goes on as it was");
    assert_eq!(answered(&fake, "!echo still").await, "still");
    lab.save(&good);
    lab.serves("echo").await;
    assert_eq!(answered(&fake, "!echo mended").await, "mended");
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f054_a_variable_that_is_missing_rejects_what_names_it_and_nothing_else() {
    let bots: [(&str, &[u8]); 2] = [("echo.wasm", &echo()), ("other.wasm", &echo())];
    let mut lab = Lab::start(HOST, &bots).await;
    let (before, other) = (standing(&lab), lab.bot("other"));

    lab.put("other.toml", b"secrets = { KEY = \"${BOTHOST_TEST_MISSING}\" }\n");
    let refused = lab.bot_when("other", |bot| bot["refused"].is_string()).await;
    let reason = refused["refused"].as_str().unwrap();
    assert!(reason.contains("other.toml:1:19: ") && reason.contains("`BOTHOST_TEST_MISSING` is not set"), "{reason}");
    assert_eq!((&refused["phase"], &refused["since"]), (&"running".into(), &other["since"]));
    assert_eq!((lab.bot("echo")["since"].clone(), lab.alert(REJECTED)), (before.1.clone(), None));

    lab.put("other.toml", b"priority = \"low\"\n");
    lab.serves("other").await;
    lab.recorded("priority = \\\"low\\\"").await;
    let before = standing(&lab);
    let text = format!("{HOST}[limits]\nmemory = \"32MiB\"\n[admin]\ntoken = \"${{BOTHOST_TEST_MISSING}}\"\n");
    lab.save(&text);
    let place = place(&text, "\"${");
    let what =
        format!("config.toml:{place}: `admin.token`: the environment variable `BOTHOST_TEST_MISSING` is not set");
    lab.alert_says(REJECTED, &what).await;
    assert_eq!(standing(&lab), before, "no part of the edit counts");
    lab.stop().await;
}
