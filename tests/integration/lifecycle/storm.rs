//! Many bots that fail at one moment for one cause: they come back one after the other, and the host has time for others meanwhile.

use std::time::Instant;

use bothost::bot::phase::{BotStatus, Phase};
use harness::guests;
use harness::host::{Home, eventually};
use harness::telegram::FakeTelegram;
use serde_json::Value;

use super::{PROGRAM, Ward, assert_no_dead_letter, get, told};

const BOTS: usize = 200;
/// Restarts that all bots together have in a second, and at once after a quiet time.
const PER_SECOND: u64 = 20;

/// Short waits, so that all bots want to come back at one moment, and many attempts, so that no event is given up meanwhile.
const CONFIG: &str = r#"
[queue]
max_attempts = 1000
[supervisor]
max_restarts = 1000
[supervisor.breaker]
failures = 1
open_for = "500ms"
"#;

fn name(number: usize) -> String {
    format!("bot-{number}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f086_two_hundred_bots_that_fail_at_once_come_back_one_after_the_other() {
    let fake = FakeTelegram::start("42:token").await;
    // On a platform of its own, where the two hundred do not listen.
    let echo = format!("[connectors.tg]\ntype = \"telegram\"\ntoken = \"42:token\"\napi_url = \"{}\"\n", fake.url());
    let mut home = Home::new(PROGRAM, CONFIG)
        .with("shared.wasm", &guests::guest("ill"))
        .with("echo.wasm", &guests::example("echo"))
        .with("echo.toml", echo.as_bytes());
    for number in 0..BOTS {
        let entry = format!("component = \"shared.wasm\"\n{}", Ward::GRANT);
        home = home.with(&format!("{}.toml", name(number)), entry.as_bytes());
    }
    let ward = Ward::beside(home.path());
    let host = home.start().await;
    for number in 0..BOTS {
        host.serving(&name(number)).await;
    }
    host.serving("echo").await;

    let budget = Budget(Instant::now());
    ward.infect("trap");
    host.say("lobby", "everybody hears this").await;
    let all = || host.host().bots().statuses();
    let degraded = || all().iter().filter(|bot| matches!(bot.phase, Phase::Degraded { .. })).count();
    eventually(|| (degraded() == BOTS).then_some(()), || format!("{} are degraded", degraded())).await;
    let up = host.host().alerts().active();
    assert_eq!(
        up.iter().filter(|alert| alert.key.starts_with("bot-degraded:")).count(),
        BOTS,
        "one for each, and not more"
    );
    assert!(up.len() <= BOTS + 5, "{} are up", up.len());
    // While they come back, which takes ten seconds.
    let restarts = || all().iter().map(|bot| bot.restarts).sum::<u64>();
    let mut asked = 0;
    while restarts() < BOTS as u64 {
        budget.check(restarts());
        assert_ne!(get(&host, "/health").await["status"], Value::Null);
        fake.push_message(1 + asked, "!echo others are answered");
        asked += 1;
        let is_answered = || (fake.sent().len() as i64 == asked).then_some(());
        eventually(is_answered, || format!("{} of {asked} are answered", fake.sent().len())).await;
    }
    ward.cure("trap");

    let calm = || all().iter().all(|bot| bot.phase == Phase::Running && bot.queued == 0).then_some(());
    let is_ill = |bot: &BotStatus| bot.phase != Phase::Running || bot.queued > 0;
    eventually(calm, || format!("{:?}", all().into_iter().find(is_ill))).await;
    let told = told(&host, BOTS as u64).await;
    assert_eq!(told["lobby"], vec!["everybody hears this"; BOTS], "each answered, once");
    assert_eq!(host.chat.delivered_count(), BOTS as u64);
    assert_no_dead_letter(&host).await;
    // The rule looks back five minutes: that there was much is a reason to look for as long.
    let up =
        || host.host().alerts().active().into_iter().filter(|alert| alert.key != "errors-many").collect::<Vec<_>>();
    eventually(|| up().is_empty().then_some(()), || format!("{:?}", up())).await;
    budget.check(restarts());
    budget.tell(restarts());
}

/// What all bots may restart, since a quiet time ended.
struct Budget(Instant);

impl Budget {
    /// Checks that there were no more restarts than so long a time allows. A machine that is slow has fewer.
    #[track_caller]
    fn check(&self, restarts: u64) {
        let elapsed = self.0.elapsed();
        assert!(restarts <= PER_SECOND * (elapsed.as_secs() + 2), "{restarts} restarts within {elapsed:?}");
    }

    #[expect(clippy::print_stdout, reason = "the measured time is what is wanted of the test")]
    fn tell(&self, restarts: u64) {
        println!("{restarts} restarts of {BOTS} bots within {:.1?}", self.0.elapsed());
    }
}
