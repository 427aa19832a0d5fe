use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::action::Priority;
use crate::connector::console::ConsoleConfig;
use crate::connector::onebot::{OneBotConfig, Transport};
use crate::connector::{ConnectorConfig, PaceChoice};
use crate::grants::{DirGrant, Reach, SharedReach};
use crate::limits::{InstanceMode, LimitsPatch};
use crate::supervision::{BreakerPolicy, Restart};

mod adopting;
mod overrides;

/// Every key that there is, each with a value that is not its default.
const FULL: &str = include_str!("tests/full.toml");

/// The same for a bot's own file.
const FULL_BOT: &str = include_str!("tests/full_bot.toml");

/// Every type of connector, as a message lists them.
const CONNECTORS: &str = "`console`, `discord`, `irc`, `matrix`, `onebot`, `qq`, `slack`, `telegram`, `webhook`";

fn variables() -> Variables {
    [("TOKEN", "hunter2"), ("API_KEY", "hunter2"), ("EMPTY", "")].into_iter().collect()
}

fn read(text: &str) -> Result<Config, ConfigError> {
    Config::parse_with(text, Path::new("etc/c.toml"), &variables())
}

fn read_bot(config: &Config, name: &str, text: &str) -> Result<BotFile, ConfigError> {
    config.parse_bot_with(&name.parse().unwrap(), text, Path::new("etc/bots/b.toml"), &variables())
}

/// Checks what is said of a bad configuration.
#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let found = read(text).expect_err(text).to_string().replace("etc/c.toml:", "");
    assert_eq!(found.lines().collect::<Vec<_>>(), expected, "{text}");
}

/// Checks what is said of a bad file of one bot, beside a configuration that has one connector.
#[track_caller]
fn check_bot(text: &str, expected: &[&str]) {
    let config = read("[connectors.term]\ntype = \"console\"\n[bots.taken]\n").unwrap();
    let found = read_bot(&config, "b", text).expect_err(text).to_string().replace("etc/bots/b.toml:", "");
    assert_eq!(found.lines().collect::<Vec<_>>(), expected, "{text}");
}

#[test]
fn an_empty_file_is_the_documented_defaults() {
    let config = read("").unwrap();
    assert_eq!(config.host.data_dir, Path::new("etc/data"));
    assert_eq!(config.host.bots_dir, Path::new("etc/bots"));
    assert_eq!(config.host.drain_timeout, Duration::from_secs(5));
    assert_eq!(config.host.watch_settle, Duration::from_millis(200));
    assert_eq!(config.host.watch_rescan, Duration::from_secs(10));
    assert_eq!(config.host.instances, None);
    assert_eq!(config.limits, Limits::default());
    let expected = QueueConfig {
        max_events: at_least_one(100_000),
        max_bytes: ByteSize(256 << 20),
        max_events_per_bot: at_least_one(20_000),
        max_attempts: at_least_one(3),
        max_dead_letters: at_least_one(10_000),
        keep: at_least_one(100_000),
        dedup_window: Duration::from_secs(86_400),
        durability: Durability::Power,
    };
    assert_eq!(config.queue, expected);
    let expected = OutboxConfig {
        max_len: at_least_one(1000),
        ttl: Duration::from_secs(3600),
        overflow: Overflow::Reject,
        on_uncertain: OnUncertain::Retry,
        order: Order::Priority,
    };
    assert_eq!(config.outbox, expected);
    assert!(config.connectors.is_empty() && config.bots.is_empty() && config.warnings.is_empty());
    assert_eq!(config.logs, LogsConfig::default());
    assert_eq!((config.logs.level.as_str(), config.logs.stderr), ("info", StderrFormat::Text));
    assert_eq!(config.logs_dir(), Some("etc/data/logs".into()));
    assert_eq!(config.admin, AdminConfig::default());
    assert_eq!(config.supervision, Supervision::default());
    assert_eq!(config.rollout, RolloutPolicy::default());
    let sections = "[host]\n[limits]\n[supervisor]\n[supervisor.breaker]\n[rollout]\n[queue]\n[outbox]\n[connectors]\n[bots]\n\
                    [logs]\n[admin]\n";
    assert_eq!(Config { text: "".into(), ..read(sections).unwrap() }, config);
}

#[test]
fn every_section_reads_as_written() {
    let config = read(FULL).unwrap();
    let expected = HostConfig {
        data_dir: "/var/lib/bothost".into(),
        bots_dir: "etc/components".into(),
        drain_timeout: Duration::from_secs(20),
        watch_settle: Duration::from_secs(1),
        watch_rescan: Duration::from_secs(60),
        instances: NonZeroU32::new(2000),
        core_dumps: true,
    };
    assert_eq!(config.host, expected);
    let expected = Supervision {
        restart: Restart::Always,
        max_restarts: 20,
        within: Duration::from_secs(600),
        backoff_initial: Duration::from_secs(1),
        backoff_max: Duration::from_secs(60),
        jitter: 0.5,
        healthy_after: Duration::from_secs(120),
        breaker: BreakerPolicy {
            failures: at_least_one(8),
            within: Duration::from_secs(120),
            open_for: Duration::from_secs(30),
            probes: at_least_one(3),
        },
    };
    assert_eq!(config.supervision, expected);
    let expected =
        RolloutPolicy { probation: Duration::from_secs(120), max_fault_ratio: 1.0, min_events: at_least_one(10) };
    assert_eq!(config.rollout, expected);
    let expected = QueueConfig {
        max_events: at_least_one(5000),
        max_bytes: ByteSize(64 << 20),
        max_events_per_bot: at_least_one(500),
        max_attempts: at_least_one(7),
        max_dead_letters: at_least_one(70),
        keep: at_least_one(9000),
        dedup_window: Duration::from_secs(2 * 86_400),
        durability: Durability::Process,
    };
    assert_eq!(config.queue, expected);
    let expected = OutboxConfig {
        max_len: at_least_one(50),
        ttl: Duration::from_secs(7200),
        overflow: Overflow::DropLowPriority,
        on_uncertain: OnUncertain::Drop,
        order: Order::Fifo,
    };
    assert_eq!(config.outbox, expected);
    let expected = LogsConfig {
        level: "warn,bothost::connector=debug".parse().unwrap(),
        stderr: StderrFormat::Json,
        files: false,
        dir: Some("etc/lines".into()),
        format: FileFormat::Text,
        max_file: ByteSize(10 << 20),
        rotate_every: Duration::from_secs(3_600),
        keep_days: at_least_one(3),
        keep_files: at_least_one(7),
        max_total: ByteSize(64 << 20),
        compress: false,
    };
    assert_eq!((config.logs_dir(), &config.logs), (None, &expected));
    assert_eq!(config.admin.listen, Some("127.0.0.1:8080".parse().unwrap()));
    assert_eq!(config.admin.token.unwrap().expose(), "hunter2");
    let expected = Limits {
        fuel_per_event: 2_000_000_000,
        event_timeout: Duration::from_secs(60),
        init_timeout: Duration::from_secs(20),
        memory: 128 << 20,
        table_elements: 30_000,
        instance: InstanceMode::Warm,
        in_flight: 32,
        idle_timeout: Duration::from_secs(90),
        component_size: 32 << 20,
        state: 8 << 20,
        sends_per_minute: 30,
        http_per_minute: 60,
        http_in_flight: 4,
        http_body: 2 << 20,
        log_rate: 32 << 10,
    };
    assert_eq!(config.limits, expected);
}

#[test]
fn every_connector_reads_as_written() {
    let config = read(FULL).unwrap();
    let connector = |name: &str| config.connectors[&name.parse().unwrap()].clone();
    assert_eq!(connector("terminal").value, ConnectorConfig::Console(ConsoleConfig::default()));
    let ConnectorConfig::Telegram(telegram) = connector("tg").value else { panic!("tg is no Telegram") };
    assert_eq!(telegram.token, Secret::new("123:hunter2"));
    assert_eq!(telegram.api_url, "http://127.0.0.1:8081".parse().unwrap());
    assert_eq!(telegram.reconnect_max, Duration::from_secs(45));
    assert_eq!(telegram.stall_timeout, Duration::from_secs(50));
    let expected = ConnectorConfig::OneBot(OneBotConfig {
        transport: Transport::Reverse { listen: "127.0.0.1:6700".parse().unwrap(), path: "/ws".to_owned() },
        access_token: Some(Secret::new("literal")),
        account: None,
        reconnect_max: Duration::from_secs(45),
        pace: PaceChoice::Off,
        stall_timeout: Duration::from_secs(50),
    });
    assert_eq!(connector("qq").value, expected);
    assert_eq!(connector("tg").place.to_string(), "etc/c.toml:82:1");
}

#[test]
fn a_bot_of_which_nothing_is_said_has_every_default() {
    let config = read("[bots.echo]").unwrap();
    let name = "echo".parse().unwrap();
    assert_eq!(config.bots[&name].value, BotEntry::of(&name));
    assert_eq!(read_bot(&config, "other", "").unwrap().entry.value, BotEntry::of(&"other".parse().unwrap()));
    let entry = BotEntry::of(&name);
    assert_eq!((entry.component.as_str(), entry.tenant.as_str(), entry.enabled), ("echo.wasm", "default", true));
    assert_eq!((&entry.reach, entry.priority), (&Reach::all(), Priority::Normal));
    assert_eq!(entry.limits_over(&Limits::default()), Limits::default());
    assert_eq!(entry.grants.http, None);
}

#[test]
fn a_bots_entry_reads_the_same_from_either_file() {
    let config = read(FULL).unwrap();
    let bot = read_bot(&config, "b", FULL_BOT).unwrap();
    let of_config = &config.bots[&"shop".parse().unwrap()].value;
    // Its paths begin where its file is, and its connectors are its own.
    let mut expected = of_config.clone();
    expected.grants.dirs[0].host = "etc/bots/files".into();
    expected.reach = Reach { shared: SharedReach::Named([].into()), own: ["own".parse().unwrap()].into() };
    assert_eq!(bot.entry.value, expected);
    assert_eq!(bot.connectors[&"own".parse().unwrap()].value, ConnectorConfig::Console(ConsoleConfig::default()));

    assert_eq!(of_config.component.as_str(), "shop-2.wasm");
    assert_eq!((of_config.tenant.as_str(), of_config.enabled), ("acme", false));
    assert_eq!(of_config.priority, Priority::High);
    assert_eq!(of_config.restart, Some(Restart::Never));
    let tg = SharedReach::Named(["tg".parse().unwrap()].into());
    assert_eq!(of_config.reach, Reach { shared: tg, own: [].into() });
    assert_eq!(
        serde_json::Value::Object(of_config.settings.clone()),
        serde_json::json!({ "since": "1979-05-27T07:32:00Z", "greeting": "hello ${name}", "deep": { "list": [1, 2.5, true] } })
    );
    assert_eq!(of_config.secrets["API_KEY"].expose(), "hunter2");
    assert_eq!(of_config.limits_over(&config.limits), Limits { in_flight: 2, ..config.limits.clone() });
    let http: Vec<_> = of_config.grants.http.iter().flatten().map(ToString::to_string).collect();
    assert_eq!(http, ["api.example.com", "*.example.org:8443"]);
    let dir = DirGrant { host: "etc/files".into(), guest: "/data".to_owned(), write: true };
    assert_eq!(of_config.grants.dirs, [dir]);
}

#[test]
fn an_offer_reads_as_written() {
    let config = read(FULL).unwrap();
    let offer = &config.offers[&"shop".parse().unwrap()].value;
    assert_eq!((offer.component.as_str(), offer.texts.title.as_str()), ("shop-2.wasm", "Shop"));
    assert_eq!((offer.texts.title_zh.as_deref(), offer.texts.summary_zh.as_deref()), (Some("店"), Some("卖东西")));
    assert_eq!(offer.connector.as_ref().unwrap().kind(), "onebot");
    let asked: Vec<_> = offer.asked.iter().map(|key| key.name).collect();
    assert_eq!((asked, offer.per_tenant_max.get(), offer.priority), (vec!["url"], 3, Priority::Low));
    assert_eq!((offer.secrets["API_KEY"].expose(), offer.asked_secrets.len()), ("hunter2", 1));
    assert_eq!(offer.settings["greeting"], "hello");
    assert!(offer.audience.includes(&"acme".parse().unwrap()) && !offer.audience.includes(&"other".parse().unwrap()));
    assert_eq!(offer.restart, Some(Restart::Never));
    assert_eq!(offer.grants.dirs[0].host, Path::new("etc/files"));
}

#[test]
fn a_mistake_in_an_offer_is_told_with_its_place() {
    let offer = "[offers.x]\ncomponent = \"x.wasm\"\ntitle = \"X\"\n";
    check(&format!("{offer}tennants = []"), &["4:1: unknown key `tennants` in [offers.x], did you mean `tenants`?"]);
    check(
        &format!("{offer}connector = {{ type = \"telegram\", tokn = \"1:x\" }}"),
        &["4:34: unknown key `tokn` in [offers.x.connector], did you mean `token`?"],
    );
    check(
        &format!("{offer}connector = {{ type = \"telegram\" }}\nask = [\"tokn\"]"),
        &["1:1: `offers.x`: `tokn` cannot be asked for a connector of type `telegram`; did you mean `token`?"],
    );
    check(
        &format!("{offer}connectors = [\"tg\"]"),
        &["1:1: [offers.x]: there is no connector `tg`; a table [connectors.tg] would make it"],
    );
    check(
        &format!("{offer}connector = {{ type = \"matrx\" }}"),
        &[&format!(
            "4:22: `matrx` is no value of `offers.x.connector.type`; did you mean `matrix`? there are {CONNECTORS}"
        )],
    );
}

#[test]
fn a_wrong_value_is_told_with_what_would_be_right() {
    check(
        "[limits]\nmemory = 5.5",
        &["2:10: `limits.memory` must be a size such as \"64MiB\", not a number with a fraction"],
    );
    check(
        "[limits]\nidle_timeout = \"5 years\"",
        &[
            "2:16: `limits.idle_timeout`: `5 years` is no time: write whole numbers, each with one of ms, s, m, h, d, such as \
           \"30s\" or \"1h 30m\"",
        ],
    );
    check("[limits]\ninstance = \"hot\"", &["2:12: `hot` is no value of `limits.instance`; there are `fresh`, `warm`"]);
    check("[queue]\nmax_events = 0", &["2:14: `queue.max_events` must be a whole number from 1 to 4294967295, not 0"]);
    check("[queue]\nkeep = 0", &["2:8: `queue.keep` must be a whole number from 1 to 4294967295, not 0"]);
    check("[queue]\nmax_bytes = 0", &["2:13: `queue.max_bytes`: it must be more than nothing, such as \"64MiB\""]);
    check(
        "[queue]\ndedup_window = \"0s\"",
        &["2:16: `queue.dedup_window`: it must be longer than zero, such as \"30s\""],
    );
    check(
        "[queue]\ndurability = \"none\"",
        &["2:14: `none` is no value of `queue.durability`; there are `power`, `process`"],
    );
    check(
        "[outbox]\noverflow = \"drop_oldest\"",
        &["2:12: `drop_oldest` is no value of `outbox.overflow`; did you mean `drop-oldest`? there are `reject`, \
           `drop-oldest`, `drop-newest`, `drop-low-priority`"],
    );
    check(
        "[outbox]\non_uncertain = \"ask\"",
        &["2:16: `ask` is no value of `outbox.on_uncertain`; there are `retry`, `drop`"],
    );
    check(
        "[outbox]\norder = \"lifo\"",
        &["2:9: `lifo` is no value of `outbox.order`; did you mean `fifo`? there are `fifo`, `priority`"],
    );
    check(
        "[host]\nwatch_rescan = \"0s\"",
        &["2:16: `host.watch_rescan`: it must be longer than zero, such as \"30s\""],
    );
    check("[host]\ninstances = -1", &["2:13: `host.instances` must be a whole number from 1 to 4294967295, not -1"]);
    check("[host]\ndata_dir = 5", &["2:12: `host.data_dir` must be a path, not a whole number"]);
    check(
        "[outbox]\nttl = \"36501d\"",
        &["2:7: `outbox.ttl`: `36501d` is longer than a century; the longest time is 36500d"],
    );
    check(
        "[logs]\nlevel = \"inof\"",
        &["2:9: `logs.level`: no level in `inof`: write error, warn, info, debug, trace or off, or such as \
           \"info,bot=debug\""],
    );
    check("[logs]\nstderr = \"xml\"", &["2:10: `xml` is no value of `logs.stderr`; there are `text`, `json`, `off`"]);
    check(
        "[admin]\nlisten = \"localhost\"",
        &["2:10: `admin.listen`: `localhost` is no IP address with a port, such as \"127.0.0.1:8080\""],
    );
    check("host = 5", &["1:8: `host` must be a table, not a whole number"]);
    check("[[queue]]\nmax_events = 1", &["1:1: `queue` must be a table, not an array"]);
}

#[test]
fn a_misspelt_name_is_told_with_the_nearest() {
    check("[limit]\n", &["1:2: unknown section `[limit]`, did you mean `[limits]`?"]);
    check("[limits]\nmemroy = \"1MiB\"", &["2:1: unknown key `memroy` in [limits], did you mean `memory`?"]);
    check(
        "[bots.a.limits]\nmemroy = \"1MiB\"",
        &["2:1: unknown key `memroy` in [bots.a.limits], did you mean `memory`?"],
    );
    check("queue.max_atempts = 1", &["1:7: unknown key `max_atempts` in [queue], did you mean `max_attempts`?"]);
    check("[admin]\nport = 1", &["2:1: unknown key `port` in [admin]; there are `listen`, `token`, `hosts`, `tls`"]);
    check(
        "[colours]",
        &[
            "1:2: unknown section `[colours]`; there are `host`, `limits`, `supervisor`, `rollout`, `queue`, `outbox`, `connectors`, `bots`, \
             `offers`, `logs`, `alerts`, `vitals`, `telemetry`, `admin`",
        ],
    );
}

#[test]
fn what_is_not_there_yet_is_told_apart_from_a_slip() {
    check("[cluster]", &["1:2: `[cluster]` is not there yet"]);
    check(
        "[connectors.c]\ntype = \"telegram\"\ntoken = \"t\"\nproxy = 1",
        &["4:1: `proxy` in [connectors.c] is not there yet"],
    );
}

#[test]
fn each_connector_is_checked_for_itself() {
    check(
        "[connectors.a]\n[connectors.b]\ntype = \"telegrm\"\n[connectors.c]\ntype = \"telegram\"\ntokn = \"t\"\n[connectors.d]\n\
         type = \"onebot\"\nmode = \"forward\"\n[connectors.e]\nx = 1\ntype = \"console\"\n[connectors.\"f g\"]\ntype = \"console\"",
        &[
            "1:1: `type` is missing in [connectors.a]",
            &format!(
                "3:8: `telegrm` is no value of `connectors.b.type`; did you mean `telegram`? there are {CONNECTORS}"
            ),
            "6:1: unknown key `tokn` in [connectors.c], did you mean `token`?",
            "7:1: `connectors.d`: mode = \"forward\" needs `url`",
            "11:1: unknown key `x` in [connectors.e], which has no keys",
            "13:13: `connectors.f g`: `f g` is no name: 1 to 64 of the letters a-z, A-Z, 0-9, `.`, `_`, `-`, the first a letter \
             or digit",
        ],
    );
    check("[connectors]\nx = 1", &["2:5: `connectors.x` must be a table, not a whole number"]);
    check("[connectors.t]\ntype = \"telegram\"", &["1:1: `token` is missing in [connectors.t]"]);
    check(
        "[connectors.t]\ntoken = \"${MISSING}\"\ntype = \"telegram\"",
        &["2:9: `connectors.t.token`: the environment variable `MISSING` is not set"],
    );
}

#[test]
fn each_part_of_a_bots_entry_is_checked_for_itself() {
    check(
        "[bots.x]\ncomponent = \"a/b.wasm\"\nconnectors = [\"c d\"]\npriority = \"hihg\"\nsettings = 5\n\
         secrets = { A = \"${NONE}\", B = { fil = \"x\" } }\ngrants = { http = [\"a b\"], dirs = [{ host = \"x\", guest = \"y\" }] }",
        &[
            "2:13: `bots.x.component`: a component is named by its file in the bots' directory, without a path, such as \"echo.wasm\"",
            "3:15: `bots.x.connectors`: `c d` is no name: 1 to 64 of the letters a-z, A-Z, 0-9, `.`, `_`, `-`, the first a letter \
             or digit",
            "4:12: `hihg` is no value of `bots.x.priority`; did you mean `high`? there are `low`, `normal`, `high`, `critical`",
            "5:12: `bots.x.settings` must be a table, not a whole number",
            "6:17: `bots.x.secrets.A`: the environment variable `NONE` is not set",
            "6:32: `bots.x.secrets.B` must be a string or `{ file = \"PATH\" }`, not another table",
            "7:20: `bots.x.grants.http`: `a b` names no host: between its dots a name has 1 to 63 of the letters a-z, 0-9, `-`, `_`",
            "7:58: `bots.x.grants.dirs.guest`: a guest path is absolute and has no `.` and `..`, such as \"/data\"",
        ],
    );
    for (component, reason) in
        [("", "ends in"), ("echo", "ends in"), (".x.wasm", "no dot"), ("..\\x.wasm", "without a path")]
    {
        let error = read(&format!("[bots.x]\ncomponent = '{component}'")).unwrap_err().to_string();
        assert!(error.contains(reason), "{component}: {error}");
    }
    check(
        "[bots.x.grants]\ndirs = [{ host = \"a\", guest = \"/d\" }, { host = \"b\", guest = \"/d/\" }]",
        &["2:8: `bots.x.grants.dirs`: two directories have the guest path `/d`"],
    );
}

#[test]
fn a_bot_names_only_connectors_that_there_are() {
    let connectors = "[connectors.tg]\ntype = \"console\"\n[bots.b]\nconnectors = ";
    check(&format!("{connectors}[\"tgg\"]"), &["4:15: there is no connector `tgg`; did you mean `tg`?"]);
    check(
        &format!("{connectors}[\"tg\",\n\"matrix\"]"),
        &["5:1: there is no connector `matrix`; a table [connectors.matrix] would make it"],
    );
    check(
        &format!("{connectors}\"tg\""),
        &["4:14: `bots.b.connectors` must be an array of connectors' names or [\"*\"], not a string"],
    );
    for (list, expected) in [("[]", SharedReach::Named([].into())), ("[\"*\"]", SharedReach::All)] {
        let config = read(&format!("{connectors}{list}")).unwrap();
        assert_eq!(config.bots[&"b".parse().unwrap()].value.reach.shared, expected);
    }
    check_bot("connectors = [\"terms\"]", &["1:15: there is no connector `terms`; did you mean `term`?"]);
}

#[test]
fn own_connectors_stand_in_the_bots_own_file_only() {
    check(
        "[bots.y.connectors.z]\ntype = \"console\"",
        &["1:1: `bots.y.connectors.z`: a bot's own connectors stand in its own file, NAME.toml in the bots' directory"],
    );
    check_bot(
        "connectors = [\"term\"]\n[connectors.z]\ntype = \"console\"",
        &["2:2: not TOML: cannot extend value of type array with a dotted key"],
    );
    check_bot("enabeld = true", &["1:1: unknown key `enabeld`, did you mean `enabled`?"]);
    check_bot(
        "[connectors.z]\ntype = \"consle\"",
        &[&format!("2:8: `consle` is no value of `connectors.z.type`; did you mean `console`? there are {CONNECTORS}")],
    );
}

#[test]
fn a_bot_has_one_entry_only() {
    let config = read("[bots.x]\n[bots.b]\nenabled = true").unwrap();
    let error = read_bot(&config, "b", "enabled = true").unwrap_err().to_string();
    assert_eq!(error, "etc/bots/b.toml:1:1: bot `b` has an entry at etc/c.toml:2:1 already; keep one of the two");
}

#[test]
fn two_connectors_share_neither_a_token_nor_an_address() {
    let telegram = |name: &str, token: &str| format!("[connectors.{name}]\ntype = \"telegram\"\ntoken = \"{token}\"\n");
    let onebot = |name: &str, listen: &str| {
        format!(
            "[connectors.{name}]\ntype = \"onebot\"\nmode = \"reverse\"\nlisten = \"{listen}\"\naccess_token = \"x\"\n"
        )
    };
    check(
        &[telegram("z", "hunter2"), telegram("a", "${TOKEN}"), telegram("b", "other")].concat(),
        &["4:1: connector `a` has the Telegram token of connector `z` at 1:1"],
    );
    check(
        &[onebot("a", "127.0.0.1:6700"), onebot("b", "0.0.0.0:6700")].concat(),
        &["6:1: connector `b` listens on 0.0.0.0:6700, an address of connector `a` at 1:1"],
    );

    let config = read(&telegram("tg", "hunter2")).unwrap();
    let mut claims = Claims::of(&config).unwrap();
    let bot = |name: &str, token: &str| read_bot(&config, name, &telegram("own", token)).unwrap();
    assert_eq!(
        claims.admit(&bot("b", "hunter2")).unwrap_err().to_string(),
        "etc/bots/b.toml:1:1: connector `b/own` has the Telegram token of connector `tg` at etc/c.toml:1:1"
    );
    claims.admit(&bot("b", "another")).unwrap();
    let error = claims.admit(&bot("c", "another")).unwrap_err().to_string();
    assert!(error.contains("connector `c/own` has the Telegram token of connector `b/own`"), "{error}");
}

#[test]
fn f053_a_telegram_token_that_stands_in_one_file_twice_is_refused_with_both_places() {
    check(
        "[connectors.a]\ntype = \"telegram\"\ntoken = \"1:s3cret\"\n\n[connectors.b]\ntype = \"telegram\"\ntoken = \"1:s3cret\"\n",
        &["5:1: connector `b` has the Telegram token of connector `a` at 1:1"],
    );
}

#[test]
fn f054_a_secret_that_is_missing_is_a_mistake_and_never_empty() {
    check("[admin]\ntoken = \"${MISSING}\"", &["2:9: `admin.token`: the environment variable `MISSING` is not set"]);
    check("[admin]\ntoken = \"${EMPTY}\"", &["2:9: `admin.token`: the environment variable `EMPTY` is empty"]);
    check("[admin]\ntoken = \"\"", &["2:9: `admin.token`: a secret must not be empty"]);
    check("[bots.a]\nsecrets = { KEY = \"\" }", &["2:19: `bots.a.secrets.KEY`: a secret must not be empty"]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.toml");
    let error = |text: &str| Config::parse_with(text, &path, &variables()).unwrap_err().to_string();
    let text = "[admin]\ntoken = { file = \"token\" }";
    assert!(error(text).contains("c.toml:2:9: `admin.token`: the secret's file"), "{}", error(text));
    std::fs::write(dir.path().join("token"), "\n").unwrap();
    assert!(error(text).ends_with("cannot be read: it is empty"), "{}", error(text));
}

#[cfg(unix)]
#[test]
fn f054_a_secret_file_that_others_may_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let (file, path) = (dir.path().join("token"), dir.path().join("c.toml"));
    std::fs::write(&file, "s3cret").unwrap();
    for (mode, warnings) in [(0o644, 1), (0o600, 0)] {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let config = Config::parse_with("[admin]\ntoken = { file = \"token\" }", &path, &variables()).unwrap();
        assert_eq!(config.warnings.len(), warnings, "{:?}", config.warnings);
        let is_told = |warning: &String| warning.contains("c.toml:2:9: ") && warning.contains("chmod 600");
        assert!(config.warnings.iter().all(is_told) && !config.warnings.concat().contains("s3cret"));
    }
}

#[test]
fn f059_a_file_that_is_large_or_deep_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.toml");
    for (text, expected) in [
        ("#".repeat((1 << 20) + 1), "larger than 1MiB"),
        (format!("x = {}", "[".repeat(10_000)), "nested deeper than 64 levels"),
        (format!("[{}]", vec!["a"; 10_000].join(".")), "nested deeper than 64 levels"),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = Config::load(&path).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn log_levels_are_not_taken_for_parts_of_the_program() {
    for good in ["info", "off", "info,bothost::connector=debug", "bothost=trace", "warn,hyper=off,bothost=info"] {
        assert_eq!(good.parse::<LogLevel>().map(|level| level.to_string()), Ok(good.to_owned()));
    }
    for bad in ["", "inof", "INFO ", "info,", "bothost", "=info", "bothost=", "bothost=loud", "a b=info"] {
        assert!(bad.parse::<LogLevel>().is_err(), "{bad}");
    }
}

#[test]
fn a_configuration_prints_without_its_secrets() {
    let shown = format!("{:?}", read(FULL).unwrap());
    assert!(!shown.contains("hunter2") && !shown.contains("literal"), "{shown}");
}

#[test]
fn what_only_moved_did_not_change() {
    let read = |text: &str| Config { text: "".into(), ..read(text).unwrap() };
    assert_eq!(read(FULL), read(&format!("# A comment.\n\n{FULL}")));
    assert_eq!(read(FULL), read(&FULL.replace('\n', "\r\n")));
    assert_eq!(read(FULL), read(FULL.trim_end()));
}

#[test]
fn a_large_configuration_is_read() {
    let bots: String = (0..20_000).map(|n| format!("[bots.bot-{n}]\nsettings.n = {n}\n")).collect();
    assert_eq!(read(&bots).unwrap().bots.len(), 20_000);
}

#[test]
fn limits_of_a_bot_change_what_they_name() {
    let config = read("[limits]\nmemory = \"1MiB\"\nin_flight = 3\n[bots.b.limits]\nmemory = \"2MiB\"").unwrap();
    let entry = &config.bots[&"b".parse().unwrap()].value;
    assert_eq!(entry.limits, LimitsPatch { memory: Some("2MiB".parse().unwrap()), ..LimitsPatch::default() });
    let limits = entry.limits_over(&config.limits);
    assert_eq!((limits.memory, limits.in_flight, limits.table_elements), (2 << 20, 3, 20_000));
}

/// Every mistake is inside the text and shows no secret.
fn assert_sound(text: &str, result: Result<(), ConfigError>) {
    let Err(ConfigError::Mistakes(mistakes)) = result else { return };
    assert!(!mistakes.is_empty());
    for Mistake { place, message } in mistakes {
        let Place::File { line, column, .. } = place else { panic!("{place}") };
        let found = text.split('\n').nth(line - 1).expect("a line of the text");
        assert!(column <= found.chars().count() + 1, "{line}:{column}: {message}");
        assert!(!message.contains("hunter2") && !message.contains('\n'), "{message}");
    }
}

#[test]
fn a_truncated_file_never_panics() {
    let config = read("").unwrap();
    for end in (0..=FULL.len()).filter(|end| FULL.is_char_boundary(*end)) {
        assert_sound(&FULL[..end], read(&FULL[..end]).map(drop));
    }
    for end in (0..=FULL_BOT.len()).filter(|end| FULL_BOT.is_char_boundary(*end)) {
        assert_sound(&FULL_BOT[..end], read_bot(&config, "b", &FULL_BOT[..end]).map(drop));
    }
}

proptest! {
    #[test]
    fn a_damaged_file_never_panics(at in 0..FULL.len(), len in 0usize..40, put in "[\\[\\]{}=\"'.,#a-z0-9$ \n]{0,8}") {
        let start = FULL.floor_char_boundary(at);
        let end = FULL.floor_char_boundary(at + len);
        let text = [&FULL[..start], put.as_str(), &FULL[end..]].concat();
        assert_sound(&text, read(&text).map(drop));
    }
}
