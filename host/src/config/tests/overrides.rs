//! Environment variables that override keys.

use super::*;

fn read_with(text: &str, overrides: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let variables = [("TOKEN", "hunter2")].iter().chain(overrides).copied().collect();
    Config::parse_with(text, Path::new("etc/c.toml"), &variables)
}

/// Checks what is said of bad overrides.
#[track_caller]
fn check_with(text: &str, overrides: &[(&str, &str)], expected: &[&str]) {
    let found = read_with(text, overrides).expect_err("bad overrides").to_string();
    assert_eq!(found.lines().collect::<Vec<_>>(), expected, "{overrides:?}");
}

#[test]
fn an_override_wins_over_the_file_and_makes_what_the_file_has_not() {
    let overrides = [
        ("BOTHOST__SUPERVISOR__MAX_RESTARTS", "20"),
        ("BOTHOST__SUPERVISOR__BREAKER__FAILURES", "9"),
        ("BOTHOST__HOST__DATA_DIR", "/var/x"),
        ("BOTHOST__HOST__DRAIN_TIMEOUT", "\"7s\""),
        ("BOTHOST__LIMITS__MEMORY", "1MiB"),
        ("BOTHOST__CONNECTORS__TG__TYPE", "telegram"),
        ("BOTHOST__CONNECTORS__TG__TOKEN", "123:abc"),
        ("BOTHOST__BOTS__SHOP", "{ tenant = \"acme\", connectors = [\"tg\"] }"),
        ("BOTHOST__BOTS__ECHO__SETTINGS__LIST", "[1, \"a\"]"),
        ("BOTHOST__ADMIN__LISTEN", "127.0.0.1:9"),
    ];
    let config =
        read_with("[supervisor]\nmax_restarts = 3\nwithin = \"1m\"\n[bots.echo]\ntenant = \"t\"\n", &overrides)
            .unwrap();
    assert_eq!((config.supervision.max_restarts, config.supervision.within), (20, Duration::from_secs(60)));
    assert_eq!(config.supervision.breaker.failures.get(), 9);
    assert_eq!(
        (config.host.data_dir.as_path(), config.host.drain_timeout),
        (Path::new("/var/x"), Duration::from_secs(7))
    );
    assert_eq!((config.limits.memory, config.admin.listen), (1 << 20, Some("127.0.0.1:9".parse().unwrap())));
    let connector = &config.connectors[&"tg".parse().unwrap()];
    let ConnectorConfig::Telegram(telegram) = &connector.value else { panic!("tg is no Telegram") };
    assert_eq!(
        (telegram.token.expose(), connector.place.to_string()),
        ("123:abc", "BOTHOST__CONNECTORS__TG__TOKEN".into())
    );
    assert_eq!(config.bots[&"shop".parse().unwrap()].value.tenant.as_str(), "acme");
    let echo = &config.bots[&"echo".parse().unwrap()];
    assert_eq!((echo.value.tenant.as_str(), echo.place.to_string()), ("t", "etc/c.toml:4:1".into()));
    assert_eq!(echo.value.settings["list"], serde_json::json!([1, "a"]));
}

#[test]
fn the_override_of_a_key_wins_over_that_of_its_section() {
    let overrides = [("BOTHOST__QUEUE", "{ keep = 5, max_attempts = 5 }"), ("BOTHOST__QUEUE__KEEP", "6")];
    let queue = read_with("queue.max_events = 7", &overrides).unwrap().queue;
    assert_eq!(
        (queue.keep.get(), queue.max_attempts.get(), queue.max_events.get()),
        (6, 5, 100_000),
        "a section is replaced whole"
    );
}

#[test]
fn what_is_meant_as_a_text_need_not_be_quoted() {
    for (raw, expected) in [
        ("12345", "12345"),
        ("1.50", "1.50"),
        ("true", "true"),
        ("'quoted'", "quoted"),
        ("a\"b", "a\"b"),
        ("${TOKEN}", "${TOKEN}"),
        ("[x", "[x"),
    ] {
        let config = read_with("", &[("BOTHOST__ADMIN__TOKEN", raw), ("BOTHOST__BOTS__A__SETTINGS__X", raw)]).unwrap();
        assert_eq!(config.admin.token.unwrap().expose(), expected, "{raw}");
    }
    let config = read_with("", &[("BOTHOST__BOTS__A__SETTINGS__X", "12345")]).unwrap();
    assert_eq!(config.bots[&"a".parse().unwrap()].value.settings["x"], 12345, "a setting is what TOML makes of it");
    let dotted = "a.".repeat(500);
    let config = read_with("", &[("BOTHOST__ADMIN__TOKEN", dotted.as_str())]).unwrap();
    assert_eq!(config.admin.token.unwrap().expose(), dotted, "a text's dots are no nesting");
}

#[test]
fn a_secret_of_an_override_may_be_in_a_file() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("token"), "from a file\n").unwrap();
    let variables = [("BOTHOST__ADMIN__TOKEN", "{ file = \"token\" }")].into_iter().collect();
    let config = Config::parse_with("", &dir.path().join("c.toml"), &variables).unwrap();
    assert_eq!(config.admin.token.unwrap().expose(), "from a file");
}

#[test]
fn variables_of_other_names_are_no_overrides() {
    let others =
        [("BOTHOST_TOKEN", "x"), ("BOTHOST_", "x"), ("bothost__queue__keep", "0"), ("XBOTHOST__QUEUE__KEEP", "0")];
    assert_eq!(read_with("", &others).unwrap(), read("").unwrap());
}

#[test]
fn a_mistake_in_an_override_names_the_variable() {
    check_with(
        "[queue]\nkeep = 0\n",
        &[
            ("BOTHOST__SUPERVISOR__MAX_RESTART", "20"),
            ("BOTHOST__SUPERVISR__WITHIN", "1m"),
            ("BOTHOST__OUTBOX__ORDER", "lifo"),
            ("BOTHOST__HOST__WATCH_RESCAN", "5"),
        ],
        &[
            "etc/c.toml:2:8: `queue.keep` must be a whole number from 1 to 4294967295, not 0",
            "BOTHOST__HOST__WATCH_RESCAN: `host.watch_rescan` must be a time such as \"30s\", not a whole number",
            "BOTHOST__OUTBOX__ORDER: `lifo` is no value of `outbox.order`; did you mean `fifo`? there are `fifo`, `priority`",
            "BOTHOST__SUPERVISOR__MAX_RESTART: unknown key `max_restart` in [supervisor], did you mean `max_restarts`?",
            "BOTHOST__SUPERVISR__WITHIN: unknown section `[supervisr]`, did you mean `[supervisor]`?",
        ],
    );
    check_with(
        "",
        &[("BOTHOST__QUEUE__MAX_ATTEMPTS", "0")],
        &["BOTHOST__QUEUE__MAX_ATTEMPTS: `queue.max_attempts` must be a whole number from 1 to 4294967295, not 0"],
    );
    check_with(
        "",
        &[("BOTHOST__CONNECTORS__TG__TOKEN", "1:a")],
        &["BOTHOST__CONNECTORS__TG__TOKEN: `type` is missing in [connectors.tg]"],
    );
    check_with("", &[("BOTHOST__CLUSTER__URL", "1")], &["BOTHOST__CLUSTER__URL: `[cluster]` is not there yet"]);
    check_with(
        "",
        &[("BOTHOST__BOTS__A__CONNECTORS", "[\"tg\"]")],
        &["BOTHOST__BOTS__A__CONNECTORS: there is no connector `tg`; a table [connectors.tg] would make it"],
    );
}

#[test]
fn an_override_that_names_no_key_is_told() {
    let no_key = "the name must be sections and a key with `__` between them, such as BOTHOST__QUEUE__MAX_EVENTS";
    for name in ["BOTHOST__", "BOTHOST____KEEP", "BOTHOST__QUEUE__", "BOTHOST__QUEUE____KEEP"] {
        check_with("", &[(name, "1")], &[&format!("{name}: {no_key}")]);
    }
    check_with(
        "",
        &[("BOTHOST__QUEUE__KEEP", "")],
        &["BOTHOST__QUEUE__KEEP: is empty; unset it, or write \"\" for an empty text"],
    );
    check_with("host = 5", &[("BOTHOST__HOST__DATA_DIR", "x")], &["BOTHOST__HOST__DATA_DIR: `host` is no table"]);
    check_with(
        "",
        &[("BOTHOST__QUEUE__KEEP", "1"), ("BOTHOST__Queue__keep", "2")],
        &["BOTHOST__Queue__keep: `BOTHOST__QUEUE__KEEP` sets this key already"],
    );
}

#[cfg(unix)]
#[test]
fn an_override_that_is_no_text_is_told() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let variables: Variables = [
        (OsStr::new("BOTHOST__QUEUE__KEEP"), OsStr::from_bytes(b"\xff")),
        (OsStr::from_bytes(b"BOTHOST__\xff\x1b"), OsStr::new("1")),
    ]
    .into_iter()
    .collect();
    let error = Config::parse_with("", Path::new("c.toml"), &variables).unwrap_err().to_string();
    assert_eq!(
        error.lines().collect::<Vec<_>>(),
        ["BOTHOST__QUEUE__KEEP: the value is not UTF-8", "BOTHOST__\u{fffd}\\u{1b}: the name is not UTF-8"]
    );
}

#[test]
fn a_mistake_in_an_override_shows_no_secret() {
    for (name, value) in [
        ("BOTHOST__CONNECTORS__TG__TOKEN", "s3cret/../x"),
        ("BOTHOST__CONNECTORS__TG__TOKN", "s3cret"),
        ("BOTHOST__ADMIN__TOKEN", "{ fil = \"s3cret\" }"),
        ("BOTHOST__ADMIN__TOKEN", "[\"s3cret\"]"),
        ("BOTHOST__QUEUE__KEEP", "s3cret"),
    ] {
        let text = "[connectors.tg]\ntype = \"telegram\"\ntoken = \"1:a\"";
        let error = read_with(text, &[(name, value)]).unwrap_err().to_string();
        assert!(error.starts_with(name) && !error.contains("s3cret"), "{error}");
    }
}

#[test]
fn f059_overrides_are_neither_large_nor_deep() {
    let deep = vec!["A"; 65].join("__");
    let cases: [(&str, String, &str); 3] = [
        ("BOTHOST__QUEUE__KEEP", "x".repeat(1 << 20), "larger than 1MiB"),
        ("BOTHOST__QUEUE__KEEP", "[".repeat(100_000), "nested deeper than 64 levels"),
        (&format!("BOTHOST__{deep}"), "1".to_owned(), "nested deeper than 64 levels"),
    ];
    for (name, value, expected) in cases {
        let error = read_with("", &[(name, value.as_str())]).unwrap_err().to_string();
        assert!(error.starts_with(name) && error.contains(expected), "{}", &error[..200.min(error.len())]);
    }
}

proptest! {
    #[test]
    fn no_override_panics(name in "[A-Z_a]{0,20}", value in "[\\[\\]{}=\"'.,#a-z0-9$ \n]{0,12}") {
        let name = format!("BOTHOST__{name}");
        if let Err(ConfigError::Mistakes(mistakes)) = read_with("", &[(name.as_str(), value.as_str())]) {
            let place = Place::Variable { name: name.as_str().into() };
            prop_assert!(mistakes.iter().all(|mistake| mistake.place == place), "{mistakes:?}");
        }
    }
}
