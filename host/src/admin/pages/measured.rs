//! What pages show of measurements: the figures of the host and of a bot, and how the bots of a listing fared in the last hour.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::bots::Bot;
use super::client::{Client, Order};
use super::marks::{Spark, bytes, count, milliseconds, rate};
use super::overview::Figure;
use super::shell::Shell;
use crate::admin::{MetricsView, PointView, SeriesView, VersionView};

/// Points of a line of the last hour.
const POINTS: usize = 30;
const STEP: &str = "2m";
const STEP_SECONDS: f64 = 120.0;

/// What was measured of the host as a whole, as the API tells.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Measured {
    metrics: BTreeMap<String, f64>,
}

/// What a bot did in the last hour: events in each part of it, and the fuel that 95 of 100 of its calls stayed within.
pub(super) type Lately = (Vec<f64>, Option<f64>);

/// Bots of one question: an answer has 200 series at most, and a bot has one for each way an attempt may end.
const AT_ONCE: usize = 25;

/// Returns what bots did in the last hour, by name.
pub(super) async fn lately(client: Client<'_>, bots: &[Bot]) -> BTreeMap<String, Lately> {
    let mut all = BTreeMap::new();
    for some in bots.chunks(AT_ONCE) {
        let names: Vec<_> = some.iter().map(|bot| bot.name.as_str()).collect();
        all.extend(of_bots(client, &names).await);
    }
    all
}

/// Returns what a bot did in the last hour.
pub(super) async fn of_bot(client: Client<'_>, bot: &str) -> Lately {
    of_bots(client, &[bot]).await.remove(bot).unwrap_or_default()
}

async fn of_bots(client: Client<'_>, bots: &[&str]) -> BTreeMap<String, Lately> {
    let names = bots.join(",");
    let order = |name, step| {
        let order = Order::get("/api/v1/metrics/history").with("name", name);
        client.get::<MetricsView>(order.with("bot", &names).with("step", step))
    };
    let events = order("attempt_ended_total", STEP).await.unwrap_or_default();
    let fuel = order("attempt_fuel_units", "1h").await.unwrap_or_default();
    let of = |bot: &str| {
        let is_own = |series: &&SeriesView| series.labels.get("bot").is_some_and(|own| own == bot);
        let events = line(&events, is_own, Joined::Sum(|point| point.increase));
        let fuel = fuel.series.iter().filter(is_own).flat_map(|series| &series.points);
        (events, fuel.filter_map(|point| point.p95).reduce(f64::max))
    };
    bots.iter().map(|bot| ((*bot).to_owned(), of(bot))).collect()
}

/// What is said of the points of several series in one part of the hour.
#[derive(Debug, Clone, Copy)]
enum Joined {
    /// All of them added up.
    Sum(fn(&PointView) -> Option<f64>),
    /// The highest.
    Most(fn(&PointView) -> Option<f64>),
}

/// Returns a line of the last hour.
async fn series(client: Client<'_>, name: &str, bot: &str, joined: Joined) -> Vec<f64> {
    let order = Order::get("/api/v1/metrics/history").with("name", name).with("bot", bot).with("step", STEP);
    let view: MetricsView = client.get(order).await.unwrap_or_default();
    line(&view, |_| true, joined)
}

/// Joins those series that are meant, each point in its part of the hour. Where a counter counted nothing there is no point.
fn line(view: &MetricsView, is_meant: impl Fn(&&SeriesView) -> bool, joined: Joined) -> Vec<f64> {
    let Ok(since) = view.since.parse::<crate::clock::Timestamp>() else { return Vec::new() };
    let step = if view.step_seconds > 0.0 { view.step_seconds } else { STEP_SECONDS };
    let mut values = vec![0.0; POINTS];
    for point in view.series.iter().filter(is_meant).flat_map(|series| &series.points) {
        let Ok(at) = point.at.parse::<crate::clock::Timestamp>() else { continue };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is a small number of steps")]
        let place = (at.saturating_since(since).as_secs_f64() / step) as usize;
        let value = &mut values[place.min(POINTS - 1)];
        *value = match joined {
            Joined::Sum(of) => *value + of(point).unwrap_or(0.0),
            Joined::Most(of) => value.max(of(point).unwrap_or(0.0)),
        };
    }
    values
}

/// Returns the figures of the first page.
pub(super) async fn figures(client: Client<'_>, shell: &Shell, bots: &[Bot]) -> Vec<Figure> {
    let text = shell.text;
    let (handled, faults) =
        bots.iter().fold((0, 0), |(handled, faults), bot| (handled + bot.handled, faults + bot.faults));
    let queued: u64 = bots.iter().map(|bot| bot.queued).sum();
    let number = |name, value: u64| Figure { name, value: count(value), ..Figure::default() };
    if !shell.sees_host() {
        let bots = bots.len() as u64;
        return vec![
            number(text.bots, bots),
            number(text.handled, handled),
            number(text.faults, faults),
            number(text.queue, queued),
        ];
    }
    let measured: Measured = client.get(Order::get("/health/metrics")).await.unwrap_or_default();
    let now = |name: &str| measured.metrics.get(&format!("bothost_{name}")).copied();
    let events = series(client, "event_taken_over_total", "", Joined::Sum(|point| point.increase)).await;
    let last = events.iter().rev().nth(1).copied().unwrap_or(0.0) / STEP_SECONDS;
    let latency = series(client, "attempt_elapsed_seconds", "", Joined::Most(|point| point.p95)).await;
    let slow = latency.iter().rev().find(|value| **value > 0.0).map(|seconds| milliseconds(seconds * 1_000.0));
    let memory = series(client, "process_resident_bytes", "", Joined::Sum(|point| point.last)).await;
    let depth = series(client, "queue_depth_events", "", Joined::Sum(|point| point.last)).await;
    let waits = series(client, "outbox_depth_actions", "", Joined::Sum(|point| point.last)).await;
    let versions: Vec<VersionView> = client.get(Order::get("/api/v1/config/versions")).await.unwrap_or_default();
    let newest = versions.first().map(|version| (version.generation, version.reason.clone()));
    let (generation, reason) = newest.unwrap_or_default();
    let spark = |values: &[f64], name| Some(Spark::new(values, name));
    vec![
        Figure {
            name: text.events_per_second,
            value: rate(last),
            unit: "/s",
            more: format!("{} {}", count(handled), text.in_all),
            spark: spark(&events, text.events_per_second),
        },
        Figure {
            value: slow.unwrap_or_else(|| "–".to_owned()),
            spark: spark(&latency, text.latency),
            ..number(text.latency, 0)
        },
        Figure {
            value: bytes(now("process_resident_bytes").unwrap_or(0.0)),
            spark: spark(&memory, text.memory),
            ..number(text.memory, 0)
        },
        Figure {
            more: now("queue_capacity_events")
                .map(|most| format!("{} {}", text.of_them, super::marks::units(most)))
                .unwrap_or_default(),
            spark: spark(&depth, text.queue),
            ..number(text.queue, queued)
        },
        Figure {
            value: waits.last().map_or_else(|| "0".to_owned(), |last| format!("{last:.0}")),
            spark: spark(&waits, text.outbox),
            ..number(text.outbox, 0)
        },
        Figure { more: reason, ..number(text.generation, generation) },
    ]
}

/// Returns the figures of one bot.
pub(super) fn figures_of(bot: &Bot, lately: &Lately, shell: &Shell) -> Vec<Figure> {
    let text = shell.text;
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let (peak, limit) = (bot.memory_peak_bytes as f64, bot.memory_limit_bytes as f64);
    let sum: f64 = lately.0.iter().sum();
    let number = |name, value: u64, more: String| Figure { name, value: count(value), more, ..Figure::default() };
    vec![
        Figure {
            name: text.events_of_last_hour,
            value: super::marks::units(sum),
            more: format!("{} {}", count(bot.handled), text.in_all),
            spark: Some(Spark::new(&lately.0, text.events_of_last_hour)),
            ..Figure::default()
        },
        number(text.faults, bot.faults, String::new()),
        number(text.restarts, bot.restarts, String::new()),
        number(text.queue, bot.queued, String::new()),
        Figure {
            value: bytes(peak),
            more: format!("{} {}", text.of_them, bytes(limit)),
            ..number(text.memory, 0, String::new())
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_added_up_in_their_part_of_the_hour() {
        let point =
            |at: &str, increase| PointView { at: at.to_owned(), increase: Some(increase), ..PointView::default() };
        let series = |points| crate::admin::SeriesView { points, ..Default::default() };
        let view = MetricsView {
            since: "2026-01-31T11:00:00Z".to_owned(),
            step_seconds: 120.0,
            series: vec![
                series(vec![point("2026-01-31T11:00:00Z", 1.0), point("2026-01-31T11:58:00Z", 2.0)]),
                series(vec![point("2026-01-31T11:58:00Z", 3.0), point("2026-01-31T12:30:00Z", 4.0)]),
            ],
            ..MetricsView::default()
        };
        let line = line(&view, |_| true, Joined::Sum(|point| point.increase));
        assert_eq!((line.len(), line[0], line[1], line[29]), (POINTS, 1.0, 0.0, 9.0));
        let most = super::line(&view, |_| true, Joined::Most(|point| point.increase));
        assert_eq!((most[0], most[29]), (1.0, 4.0));
        assert!(super::line(&MetricsView::default(), |_| true, Joined::Sum(|point| point.increase)).is_empty());
    }
}
