//! What of a change is in force at once: every key of every section.

use super::*;

/// The keys that need a restart; all others are live.
const RESTART: [&str; 16] = [
    "[host] data_dir",
    "[host] bots_dir",
    "[host] watch_settle",
    "[host] watch_rescan",
    "[host] instances",
    "[host] core_dumps",
    "[queue] durability",
    "[queue] dedup_window",
    "[queue] keep",
    "[queue] max_dead_letters",
    "[outbox] on_uncertain",
    "[logs] stderr",
    "[logs] files",
    "[logs] dir",
    "[logs] format",
    "[admin] listen",
];

/// Every key of the sections that are made of keys, each as a text that sets it alone to another value than its default.
fn single_keys() -> Vec<(String, String)> {
    let full: toml::Table = toml::from_str(FULL).unwrap();
    let sections = full.iter().filter(|(section, _)| !["connectors", "bots"].contains(&section.as_str()));
    let keys = sections.flat_map(|(section, keys)| {
        keys.as_table().unwrap().iter().map(move |(key, value)| {
            let table = toml::Table::from_iter([(key.clone(), value.clone())]);
            let text = toml::Table::from_iter([(section.clone(), toml::Value::Table(table))]).to_string();
            (format!("[{section}] {key}"), text)
        })
    });
    keys.collect()
}

/// The same but for what the file says word for word.
fn without_text(config: Config) -> Config {
    Config { text: "".into(), ..config }
}

#[test]
fn every_key_is_either_live_or_told_to_need_a_restart() {
    let keys = single_keys();
    let named = |key: &&str| keys.iter().any(|(name, _)| name == key);
    assert!(RESTART.iter().all(named) && keys.len() > 40, "{keys:?}");
    let base = read("").unwrap();
    for (key, text) in &keys {
        // Both from the default and back to it.
        let other = read(text).unwrap();
        for (now, next) in [(&base, &other), (&other, &base)] {
            let Adoption { config, needs_restart } = now.adopt(next.clone());
            assert_eq!(config.text, next.text);
            if RESTART.contains(&key.as_str()) {
                assert_eq!(without_text(config.clone()), without_text(now.clone()), "{key} stays");
                let [line] = needs_restart.as_slice() else { panic!("{key}: {needs_restart:?}") };
                assert!(line.starts_with(&format!("`{key}` is ")), "{line}");
                assert_eq!(config.adopt(next.clone()).needs_restart, needs_restart, "{key} is told until it is done");
                assert!(config.adopt(now.clone()).needs_restart.is_empty(), "{key} was taken back");
            } else {
                assert_eq!((&config, needs_restart.as_slice()), (next, [].as_slice()), "{key} is live");
            }
        }
    }
}

#[test]
fn connectors_and_bots_are_live() {
    let now = read("[connectors.tg]\ntype = \"console\"\n[bots.a]\nconnectors = [\"tg\"]\n[bots.b]\n").unwrap();
    let next = read("[connectors.qq]\ntype = \"console\"\n[bots.a]\ntenant = \"acme\"\n[bots.c]\n").unwrap();
    let adoption = now.adopt(next.clone());
    assert_eq!(adoption, Adoption { config: next, needs_restart: Vec::new() });
}

#[test]
fn what_is_sent_to_a_collector_stays_until_a_restart_and_shows_no_secret() {
    let now = read("").unwrap();
    let mut lines = vec![
        (
            "headers = { authorization = \"hunter2\" }",
            "`[telemetry] headers` is [] now and will be [\"authorization\"]",
        ),
        ("sample = 0.5", "`[telemetry] sample` is 1 now and will be 0.5"),
        ("metrics = false", "`[telemetry] metrics` is true now and will be false"),
        ("every = \"1m\"", "`[telemetry] every` is \"30s\" now and will be \"1m\""),
        ("service = \"shop\"", "`[telemetry] service` is \"bothost\" now and will be \"shop\""),
    ];
    if cfg!(feature = "otlp") {
        let expected = "`[telemetry] endpoint` is not set now and will be at 127.0.0.1:4318";
        lines.push(("endpoint = \"http://127.0.0.1:4318\"", expected));
    }
    for (text, expected) in lines {
        let next = read(&format!("[telemetry]\n{text}\n")).unwrap();
        let Adoption { config, needs_restart } = now.adopt(next);
        assert_eq!(config.telemetry, now.telemetry);
        assert_eq!(needs_restart, [format!("{expected} after a restart")]);
    }
}

#[test]
fn a_line_says_what_is_and_what_will_be_as_the_file_would() {
    let full = read(FULL).unwrap();
    assert_eq!(
        read("").unwrap().adopt(full.clone()).needs_restart,
        [
            "`[host] data_dir` is \"etc/data\" now and will be \"/var/lib/bothost\" after a restart",
            "`[host] bots_dir` is \"etc/bots\" now and will be \"etc/components\" after a restart",
            "`[host] watch_settle` is \"200ms\" now and will be \"1s\" after a restart",
            "`[host] watch_rescan` is \"10s\" now and will be \"1m\" after a restart",
            "`[host] instances` is not set now and will be 2000 after a restart",
            "`[host] core_dumps` is false now and will be true after a restart",
            "`[queue] max_dead_letters` is 10000 now and will be 70 after a restart",
            "`[queue] keep` is 100000 now and will be 9000 after a restart",
            "`[queue] dedup_window` is \"1d\" now and will be \"2d\" after a restart",
            "`[queue] durability` is \"power\" now and will be \"process\" after a restart",
            "`[outbox] on_uncertain` is \"retry\" now and will be \"drop\" after a restart",
            "`[logs] stderr` is \"text\" now and will be \"json\" after a restart",
            "`[logs] files` is true now and will be false after a restart",
            "`[logs] dir` is not set now and will be \"etc/lines\" after a restart",
            "`[logs] format` is \"json\" now and will be \"text\" after a restart",
            "`[admin] listen` is not set now and will be \"127.0.0.1:8080\" after a restart",
        ]
    );
    let back = full.adopt(read("").unwrap()).needs_restart;
    assert_eq!(back.last().unwrap(), "`[admin] listen` is \"127.0.0.1:8080\" now and will be not set after a restart");
    assert!(!back.concat().contains("hunter2"));
}
