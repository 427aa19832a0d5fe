//! What holds for all channels together, by a paused clock and channels that do as they are told.

use std::time::Duration;

use tokio::time::Instant;

use super::*;
use crate::action::Severity;
use crate::alert::channel::scripted::{Outcome, Scripted};
use crate::alert::notice::Content;

struct Bench {
    alerts: Arc<Alerts>,
    metrics: Arc<Metrics>,
    handle: NotifierHandle,
    task: JoinHandle<()>,
    cancel: CancellationToken,
}

fn name(text: &str) -> ChannelName {
    text.parse().unwrap()
}

fn configs<const N: usize>(channels: [(&str, &Scripted); N]) -> BTreeMap<ChannelName, ChannelConfig> {
    channels.into_iter().map(|(channel, scripted)| (name(channel), scripted.config())).collect()
}

impl Bench {
    fn start(channels: BTreeMap<ChannelName, ChannelConfig>) -> Self {
        let metrics = Arc::new(Metrics::new());
        Self::with_alerts(channels, Arc::new(Alerts::new(metrics.clone())), metrics)
    }

    fn with_alerts(channels: BTreeMap<ChannelName, ChannelConfig>, alerts: Arc<Alerts>, metrics: Arc<Metrics>) -> Self {
        let cancel = CancellationToken::new();
        let parts = NotifierParts {
            alerts: alerts.clone(),
            channels,
            metrics: metrics.clone(),
            host: "alpha".to_owned(),
            cancel: cancel.clone(),
        };
        let (handle, task) = Notifier::spawn(parts);
        Self { alerts, metrics, handle, task, cancel }
    }

    fn fire(&self, key: &str) {
        self.alerts.raise_host(key, Severity::Critical, "it burns", Vec::new(), Timestamp::now());
    }

    fn fire_for(&self, key: &str, channels: &[&str]) {
        let alert = Alert::new(Source::Host, key, Severity::Critical, "it burns", Timestamp::now());
        let channels = Some(channels.iter().map(|channel| name(channel)).collect());
        self.alerts.raise(Alert { channels, ..alert });
    }

    fn is_up(&self, key: &str) -> bool {
        self.alerts.active().iter().any(|alert| alert.key == key)
    }

    fn status(&self, channel: &str) -> ChannelStatus {
        self.handle.statuses().into_iter().find(|status| status.name.as_str() == channel).unwrap()
    }

    fn counted(&self, channel: &str, outcome: &str) -> bool {
        let line = format!("bothost_notice_sent_total{{channel=\"{channel}\",outcome=\"{outcome}\"}}");
        self.metrics.render().contains(&line)
    }

    /// Ends it; returns how long that took.
    async fn stop(self) -> Duration {
        let begun = Instant::now();
        self.cancel.cancel();
        self.task.await.unwrap();
        begun.elapsed()
    }
}

fn keys(content: &Content) -> Vec<(&'static str, &str)> {
    content.entries.iter().map(|entry| (entry.happened.as_str(), entry.alert.key.as_str())).collect()
}

#[tokio::test(start_paused = true)]
async fn an_alert_is_told_on_each_channel_after_its_wait_and_its_end_once() {
    let (a, b) = (Scripted::default(), Scripted::default());
    let bench = Bench::start(configs([("a", &a), ("b", &b)]));
    let begun = Instant::now();
    bench.fire("db");
    for channel in [&a, &b] {
        let (at, notice) = channel.tried(1).await;
        assert_eq!(keys(&notice.content), [("fired", "db")]);
        assert!(at - begun >= Duration::from_secs(5) && at - begun < Duration::from_secs(6));
    }
    bench.alerts.resolve_host("db", Timestamp::now());
    assert_eq!(keys(&a.tried(2).await.1.content), [("resolved", "db")]);
    b.tried(2).await;
    bench.stop().await;
    assert_eq!((a.tries().len(), b.tries().len()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_notice_is_tried_again_with_its_id_and_exactly_when_the_platform_says() {
    let a = Scripted::default();
    a.then([Outcome::Limited(Duration::from_secs(17)), Outcome::Broken, Outcome::Broken]);
    let bench = Bench::start(configs([("a", &a)]));
    bench.fire("db");
    a.tried(4).await;
    let tries = a.tries();
    let waits: Vec<_> = tries.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    let millis = Duration::from_millis;
    assert!(waits[0] >= millis(17_000) && waits[0] <= millis(17_010), "{waits:?}");
    assert!(waits[1] >= millis(750) && waits[1] <= millis(1_260), "{waits:?}");
    assert!(waits[2] >= millis(1_500) && waits[2] <= millis(2_510), "{waits:?}");
    assert!(tries.iter().all(|(_, notice)| notice.id == tries[0].1.id));
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn f089_a_channel_that_fails_is_told_on_the_others_and_never_on_itself() {
    let (a, b) = (Scripted::default(), Scripted::default());
    a.always(Outcome::Broken);
    let bench = Bench::start(configs([("a", &a), ("b", &b)]));
    bench.fire("db");
    assert_eq!(keys(&b.tried(1).await.1.content), [("fired", "db")]);
    let (_, notice) = b.tried(2).await;
    assert_eq!(keys(&notice.content), [("fired", "channel-failing:a")]);
    assert!(notice.content.entries[0].alert.details.iter().any(|(_, value)| value.contains("HTTP 500")));
    assert_eq!(a.tries().len(), 5);
    let status = bench.status("a");
    assert!(status.open_until.is_some() && status.failed == 5 && status.queued == 1, "{status:?}");
    let probe = a.tried(6).await.0 - a.tries()[4].0;
    assert!(probe >= Duration::from_secs(60) && probe < Duration::from_secs(61), "{probe:?}");
    let probe = a.tried(7).await.0 - a.tries()[5].0;
    assert!(probe >= Duration::from_secs(120) && probe < Duration::from_secs(121), "{probe:?}");
    a.always(Outcome::Taken);
    assert_eq!(keys(&a.tried(8).await.1.content), [("fired", "db")]);
    assert_eq!(keys(&b.tried(3).await.1.content), [("resolved", "channel-failing:a")]);
    assert!(bench.status("a").open_until.is_none() && !bench.is_up("channel-failing:a"));
    bench.stop().await;
    let about_itself =
        |(_, notice): &(Instant, Notice)| keys(&notice.content).contains(&("fired", "channel-failing:a"));
    assert!(!a.tries().iter().any(about_itself));
}

#[tokio::test(start_paused = true)]
async fn f089_channels_that_all_fail_raise_one_alert_each_and_no_more() {
    let (a, b) = (Scripted::default(), Scripted::default());
    a.always(Outcome::Broken);
    b.always(Outcome::Refused);
    let bench = Bench::start(configs([("a", &a), ("b", &b)]));
    bench.fire("db");
    tokio::time::sleep(Duration::from_secs(6 * 3600)).await;
    let mut up: Vec<_> = bench.alerts.active().into_iter().map(|alert| alert.key).collect();
    up.sort();
    assert_eq!(up, ["channel-failing:a", "channel-failing:b", "db"]);
    assert!(a.tries().len() < 40 && b.tries().len() < 40, "{} {}", a.tries().len(), b.tries().len());
    assert!(bench.counted("a", "given-up") && bench.counted("b", "given-up"));
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn f089_what_a_channel_gives_up_falls_to_the_next_that_has_not_had_it() {
    let (a, b, c) = (Scripted::default(), Scripted::default(), Scripted::default());
    a.then([Outcome::Refused]);
    b.then([Outcome::Refused]);
    let mut channels = configs([("a", &a), ("b", &b), ("c", &c)]);
    // None takes what does not name it.
    channels.values_mut().for_each(|config| config.min_severity = Severity::Critical);
    channels.get_mut(&name("b")).unwrap().group_wait = Duration::from_secs(600);
    channels.get_mut(&name("c")).unwrap().group_wait = Duration::from_secs(600);
    let bench = Bench::start(channels);
    bench.fire_for("db", &["a"]);
    let id = a.tried(1).await.1.id;
    assert_eq!(b.tried(1).await.1.id, id);
    let (_, notice) = c.tried(1).await;
    assert_eq!((notice.id, keys(&notice.content)), (id, vec![("fired", "db")]));
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_hangs_holds_up_nobody_and_keeps_a_bounded_number() {
    let (a, b) = (Scripted::default(), Scripted::default());
    a.always(Outcome::Hangs);
    let bench = Bench::start(configs([("a", &a), ("b", &b)]));
    for number in 0..30 {
        bench.fire(&format!("alert-{number}"));
        b.tried(number + 1).await;
    }
    let status = bench.status("a");
    assert!(status.queued <= queue::QUEUE_MAX, "{status:?}");
    assert!(bench.counted("a", "merged"));
    assert!(bench.stop().await <= Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn at_the_end_what_is_left_is_tried_once_more_within_two_seconds() {
    let (a, b) = (Scripted::default(), Scripted::default());
    b.always(Outcome::Broken);
    let bench = Bench::start(configs([("a", &a), ("b", &b)]));
    bench.fire("db");
    let metrics = bench.metrics.clone();
    assert!(bench.stop().await <= Duration::from_secs(3));
    assert_eq!(keys(&a.tries()[0].1.content), [("fired", "db")]);
    assert_eq!(b.tries().len(), 1);
    assert!(metrics.render().contains("outcome=\"lost\""));
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_is_new_or_changed_is_told_what_is_up_and_others_go_on() {
    let (a, b) = (Scripted::default(), Scripted::default());
    let bench = Bench::start(configs([("a", &a)]));
    bench.fire("db");
    a.tried(1).await;
    bench.handle.replace(configs([("a", &a), ("b", &b)]));
    assert_eq!(keys(&b.tried(1).await.1.content), [("fired", "db")]);
    bench.handle.replace(configs([("b", &b)]));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(bench.handle.statuses().len(), 1);
    assert!(!bench.metrics.render().contains("channel=\"a\""));
    bench.fire("second");
    b.tried(2).await;
    assert_eq!(a.tries().len(), 1);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_process_told_is_not_told_again() {
    let a = Scripted::default();
    let metrics = Arc::new(Metrics::new());
    let alerts = Arc::new(Alerts::new(metrics.clone()));
    let now = Timestamp::now();
    let old = |key: &str| Alert::new(Source::Host, key, Severity::Critical, "it burns", now);
    alerts.restore(vec![old("db"), old("channel-failing:gone")]);
    let bench = Bench::with_alerts(configs([("a", &a)]), alerts, metrics);
    assert!(!bench.is_up("channel-failing:gone"));
    tokio::time::sleep(Duration::from_secs(600)).await;
    let told: Vec<_> = a.tries().iter().map(|(_, notice)| format!("{:?}", keys(&notice.content))).collect();
    assert_eq!(told, [r#"[("resolved", "channel-failing:gone")]"#]);
    bench.alerts.resolve_host("db", now);
    assert_eq!(keys(&a.tried(2).await.1.content), [("resolved", "db")]);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_test_is_sent_at_once_and_its_error_is_the_platforms() {
    let a = Scripted::default();
    let mut channels = configs([("a", &a)]);
    channels.get_mut(&name("a")).unwrap().enabled = false;
    let bench = Bench::start(channels);
    assert_eq!(bench.handle.test(&name("a")).await.unwrap().answer, "yes");
    assert!(a.tries()[0].1.is_test());
    a.then([Outcome::Refused]);
    assert_eq!(bench.handle.test(&name("a")).await.unwrap_err().to_string(), "HTTP 404: no");
    let unknown = bench.handle.test(&name("far-off")).await.unwrap_err().to_string();
    assert!(unknown.contains("[alerts.channels.far-off]"), "{unknown}");
    let near = bench.handle.test(&name("b")).await.unwrap_err().to_string();
    assert!(near.contains("did you mean `a`?"), "{near}");
    assert!(!bench.status("a").enabled);
    bench.fire("db");
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(a.tries().len(), 2);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn f088_a_storm_that_outruns_a_channel_ends_in_few_notices_that_say_so() {
    let a = Scripted::default();
    let bench = Bench::start(configs([("a", &a)]));
    // Nobody else has a turn meanwhile, so that most turns are missed.
    for turn in 0..100_000u32 {
        let key = format!("kind-{}", turn % 1_000);
        if (turn / 1_000).is_multiple_of(2) {
            bench.fire(&key);
        } else {
            bench.alerts.resolve_host(&key, Timestamp::now());
        }
    }
    bench.fire("last");
    let (_, notice) = a.tried(1).await;
    assert!(notice.content.more.turns_missed > 90_000, "{:?}", notice.content.more);
    assert!(keys(&notice.content).contains(&("fired", "last")));
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(a.tries().len() <= 3, "{}", a.tries().len());
    bench.stop().await;
}
