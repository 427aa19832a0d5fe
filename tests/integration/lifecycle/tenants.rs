//! Tenants who rent one component: it is compiled once and swapped for all of them, and beyond that none of them notices the others,
//! whatever becomes of theirs.

use bothost::bot::phase::Phase;
use harness::guests;
use harness::host::{Home, TestHost, eventually};
use harness::process::ProcessHome;
use harness::telegram::FakeTelegram;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{PROGRAM, Ward, calm, get, hash, other_bytes};

const TENANTS: usize = 5;

fn name(tenant: usize) -> String {
    format!("tenant-{tenant}")
}

/// The platforms of the tenants, one each.
struct Platforms(Vec<FakeTelegram>);

impl Platforms {
    async fn start() -> Self {
        let mut fakes = Vec::new();
        for tenant in 0..TENANTS {
            fakes.push(FakeTelegram::start(&token(tenant)).await);
        }
        Self(fakes)
    }

    /// Returns the entry of a tenant, with what is his own.
    fn entry(&self, tenant: usize, own: &str) -> String {
        let (token, url) = (token(tenant), self.0[tenant].url());
        let connector = format!("[connectors.tg]\ntype = \"telegram\"\ntoken = \"{token}\"\napi_url = \"{url}\"\n");
        format!("component = \"shared.wasm\"\ntenant = \"{}\"\n{own}\n{connector}", name(tenant))
    }

    /// Writes to a tenant's bot and waits for its next answer.
    async fn ask(&self, tenant: usize, text: &str) -> String {
        let fake = &self.0[tenant];
        let before = fake.sent_len();
        // In a chat of its own: to one chat a bot sends no more than once a second.
        fake.push_message(i64::try_from(before).unwrap() + 1, text);
        let answered = || (fake.sent_len() > before).then(|| fake.sent());
        let sent = eventually(answered, || format!("no answer of {tenant} to {text}")).await;
        sent[before]["text"].as_str().unwrap().to_owned()
    }
}

fn token(tenant: usize) -> String {
    format!("{}:token", tenant + 1)
}

/// Starts a host with one component that every tenant rents, and waits until it serves for all of them.
async fn rented(component: &[u8], config: &str, own: impl Fn(usize) -> String) -> (TestHost, Platforms) {
    let platforms = Platforms::start().await;
    let mut home = Home::new(PROGRAM, config).with("shared.wasm", component);
    for tenant in 0..TENANTS {
        home = home.with(&format!("{}.toml", name(tenant)), platforms.entry(tenant, &own(tenant)).as_bytes());
        // For what is granted a directory.
        std::fs::create_dir(home.path().join(format!("ward-{tenant}"))).unwrap();
    }
    let host = home.start().await;
    for tenant in 0..TENANTS {
        host.serving(&name(tenant)).await;
    }
    (host, platforms)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_of_one_component_have_it_compiled_once_and_everything_else_for_themselves() {
    let own =
        |tenant| format!("settings = {{ greeting = \"hello {tenant}\" }}\nsecrets = {{ KEY_{tenant} = \"c4n4ry\" }}");
    let (host, platforms) = rented(&guests::guest("tick"), "", own).await;
    assert!(host.bot("shared").is_none());
    assert_eq!(host.metric("bothost_component_load_seconds_count{source=\"compiled\"}"), 1.0);
    for tenant in 0..TENANTS {
        let answer = platforms.ask(tenant, "!setting greeting").await;
        assert_eq!(answer, format!("Some(String(\"hello {tenant}\"))"));
        assert_eq!(platforms.ask(tenant, "!secrets").await, format!("KEY_{tenant}"));
        platforms.ask(tenant, &format!("!count orders {}", tenant + 1)).await;
        platforms.ask(tenant, &format!("!alert full warning tenant {tenant}")).await;
        assert_eq!(platforms.ask(tenant, &format!("!after of-{tenant} 3600000")).await, format!("set of-{tenant}"));
        assert_eq!(platforms.ask(tenant, "!names").await, format!("of-{tenant}"));
    }
    for tenant in 0..TENANTS {
        let series = format!("bothost_guest_orders_total{{bot=\"{}\"", name(tenant));
        #[expect(clippy::cast_precision_loss, reason = "they are few")]
        let expected = (tenant + 1) as f64;
        assert_eq!(host.metric(&series), expected);
    }
    let alerts = get(&host, "/api/v1/alerts").await;
    let of_tenants = alerts.as_array().unwrap().iter().filter(|alert| alert["key"] == "full").count();
    assert_eq!(of_tenants, TENANTS, "{alerts:#}");
    platforms.ask(0, "!resolve full").await;
    let up = || host.host().alerts().active().len();
    eventually(|| (up() == TENANTS - 1).then_some(()), || format!("{} are up", up())).await;
}

/// Answers a request with `ok`, and returns its `authorization`.
async fn authorization(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
    let head = String::from_utf8(head).unwrap();
    let line = head.lines().find_map(|line| line.strip_prefix("authorization: "));
    line.unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_of_one_component_have_secrets_of_the_same_name_for_themselves() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    let entry = |tenant: &str| {
        format!(
            "component = \"shared.wasm\"\nsecrets = {{ KEY = \"secret of {tenant}\" }}\ngrants = {{ http = [\"{address}\"] }}"
        )
    };
    let host = Home::new(PROGRAM, "")
        .with("shared.wasm", &guests::guest("fetch"))
        .with("one.toml", entry("one").as_bytes())
        .with("two.toml", entry("two").as_bytes())
        .guarded_by(bothost::egress::AddressGuard::any())
        .start()
        .await;
    host.serving("one").await;
    host.serving("two").await;
    let before = host.chat.delivered_count();
    host.say("lobby", &format!("!fetch http://{address}/ {{{{secret:KEY}}}}")).await;
    let mut seen = Vec::new();
    for _ in 0..2 {
        let (mut stream, _) = server.accept().await.unwrap();
        seen.push(authorization(&mut stream).await);
    }
    seen.sort();
    assert_eq!(seen, ["secret of one", "secret of two"]);
    assert_eq!(host.answers_since(before, 2).await, ["200 ok"; 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_platform_has_kept_is_heard_by_a_running_bot_that_is_given_it() {
    // Another connector each time, of a bot that runs: what waits there comes in the moment that it connects.
    let platforms = Platforms::start().await;
    let host = Home::new(PROGRAM, "")
        .with("shared.wasm", &guests::example("echo"))
        .with("bot.toml", b"component = \"shared.wasm\"\nconnectors = []")
        .start()
        .await;
    host.serving("bot").await;
    for (tenant, fake) in platforms.0.iter().enumerate() {
        fake.push_message(1, "!echo kept for you");
        let entry = platforms.entry(tenant, "").replace("[connectors.tg]", &format!("[connectors.tg-{tenant}]"));
        host.put("bot.toml", entry.as_bytes());
        eventually(|| (fake.sent_len() == 1).then_some(()), || format!("{tenant}: {:?}", host.bot("bot"))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_lines_of_tenants_bear_their_names() {
    let platforms = Platforms::start().await;
    let mut home = ProcessHome::new(PROGRAM, "[logs]\nlevel = \"info,bot=debug\"\nstderr = \"json\"\n")
        .with("shared.wasm", &guests::guest("steps"));
    for tenant in 0..TENANTS {
        home = home.with(&format!("{}.toml", name(tenant)), platforms.entry(tenant, "").as_bytes());
    }
    let mut process = home.start(&[]);
    for tenant in 0..TENANTS {
        process.serving(&name(tenant)).await;
        // So many lines as its number.
        platforms.ask(tenant, &format!("!do all {}m", "l".repeat(tenant))).await;
    }
    // The host answers before the lines about it are written, and ends when all are.
    process.stop().await;
    let lines = home.said();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for tenant in 0..TENANTS {
        let is_his = |line: &&Value| line.to_string().contains("a step") && line["bot"] == name(tenant).as_str();
        assert_eq!(lines.iter().filter(is_his).count(), tenant, "{lines:#?}");
    }
    assert!(!lines.iter().any(|line| (0..TENANTS).any(|tenant| line.to_string().contains(&token(tenant)))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_of_the_shared_file_swaps_all_and_leaves_each_its_state() {
    let counter = guests::guest("counter");
    let (host, platforms) = rented(&counter, "", |_| String::new()).await;
    for tenant in 0..TENANTS {
        for count in 0..=tenant {
            assert_eq!(platforms.ask(tenant, "!state").await, (count + 1).to_string(), "state is each one's own");
        }
    }
    let next = other_bytes(counter, 1);
    host.put("shared.wasm", &next);
    for tenant in 0..TENANTS {
        host.bot_when(&name(tenant), |bot| bot.component == hash(&next)).await;
        assert_eq!(platforms.ask(tenant, "!state").await, (tenant + 2).to_string());
    }
    assert_eq!(host.metric("bothost_component_load_seconds_count{source=\"compiled\"}"), 2.0, "once for each content");
}

/// Starts tenants of the guest `ill`, each of whom can be made ill for himself.
async fn in_wards(config: &str) -> (TestHost, Platforms, Vec<std::path::PathBuf>) {
    let (host, platforms) =
        rented(&guests::guest("ill"), config, |tenant| Ward::GRANT.replace("../ward", &format!("../ward-{tenant}")))
            .await;
    let wards = (0..TENANTS).map(|tenant| host.home().join(format!("ward-{tenant}"))).collect();
    (host, platforms, wards)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_whose_bot_is_given_up_or_rolled_back_is_the_only_one() {
    let config = "[queue]\nmax_attempts = 100\n[supervisor]\nmax_restarts = 0\n[supervisor.breaker]\nfailures = 3\n\
                  [rollout]\nmin_events = 3\n";
    let (host, platforms, wards) = in_wards(config).await;
    let others = [0, 2, 3, 4];
    let mut since = Vec::new();
    for tenant in others {
        since.push(host.bot(&name(tenant)).unwrap().since);
    }
    // Given up.
    std::fs::write(wards[1].join("trap"), "").unwrap();
    for chat in 0..3 {
        platforms.0[1].push_message(100 + chat, "waits");
    }
    host.bot_when(&name(1), |bot| matches!(bot.phase, Phase::Quarantined { .. })).await;
    for (tenant, since) in others.into_iter().zip(since) {
        assert_eq!(platforms.ask(tenant, "I go on").await, "I go on");
        let status = host.bot(&name(tenant)).unwrap();
        assert_eq!((status.phase, status.since, status.faults), (Phase::Running, since, 0), "{tenant}");
    }
    let links = host.host().links().statuses();
    assert!(links.iter().filter(|link| link.connections == 1).count() >= TENANTS, "no connection was touched");
    std::fs::remove_file(wards[1].join("trap")).unwrap();
    super::run(host.home(), "reset tenant-1").await.well(&[]);
    let fake = &platforms.0[1];
    eventually(|| (fake.sent_len() == 3).then_some(()), || format!("{:?}", fake.sent())).await;

    // Rolled back: the version that all get is bad for one of them.
    let first = hash(&guests::guest("ill"));
    let next = other_bytes(guests::guest("ill"), 1);
    std::fs::write(wards[2].join("trap"), "").unwrap();
    host.put("shared.wasm", &next);
    for tenant in 0..TENANTS {
        host.bot_when(&name(tenant), |bot| bot.component == hash(&next)).await;
    }
    for chat in 0..3 {
        platforms.0[2].push_message(100 + chat, "waits");
    }
    let back = host.bot_when(&name(2), |bot| bot.component == first).await;
    std::fs::remove_file(wards[2].join("trap")).unwrap();
    assert!(back.refused.unwrap().contains("it was rolled back"));
    let fake = &platforms.0[2];
    // One answer of before, and what the bad version had failed at.
    let is_answered = || (fake.sent_len() == 4).then_some(());
    eventually(is_answered, || format!("{:?} {:?}", fake.sent(), host.bot(&name(2)))).await;
    for tenant in [0, 1, 3, 4] {
        let status = host.bot(&name(tenant)).unwrap();
        assert_eq!((status.component, status.refused), (hash(&next), None), "{tenant}");
        assert_eq!(platforms.ask(tenant, "I go on").await, "I go on");
        calm(&host, &format!("version-refused:{}", name(tenant))).await;
    }
    let condemned = get(&host, "/api/v1/condemned").await;
    assert_eq!(condemned.as_array().unwrap().iter().map(|one| &one["bot"]).collect::<Vec<_>>(), ["tenant-2"]);
}
