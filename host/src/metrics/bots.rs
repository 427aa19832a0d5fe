//! What is measured of bots and of the queue once a round, and the bots' restarts.

use std::collections::HashSet;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::grouped::{Grouped, Measure};
use super::{Metrics, add, counters, gauge_value, gauges};
use crate::id::BotName;

/// How one bot is at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BotFigures {
    /// The most linear memory that a call of the version that serves had, in bytes.
    pub memory_peak: u64,
    /// What it may have, in bytes. 0: no version serves, and the series is not there.
    pub memory_limit: u64,
    /// The fuel that one call may use. 0: as above.
    pub fuel_limit: u64,
    /// Events that wait for it.
    pub queued: usize,
    /// Events that it works on.
    pub in_flight: usize,
    /// For how long the oldest of those that wait has; none: nothing waits.
    pub oldest_waiting: Option<Duration>,
}

/// How the queue is at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueFigures {
    /// The most events that may wait, of all bots together.
    pub capacity: usize,
    /// Bytes of those that wait or are at work.
    pub bytes: u64,
    /// For how long the oldest of those that wait has; none: nothing waits.
    pub oldest_waiting: Option<Duration>,
    /// Dead letters that are kept.
    pub dead_letters: u64,
}

#[derive(Debug)]
pub(super) struct BotMetrics {
    restarts: Grouped<0, Counter>,
    memory_peak: Grouped<0, Gauge>,
    memory_limit: Grouped<0, Gauge>,
    fuel_limit: Grouped<0, Gauge>,
    queued: Grouped<0, Gauge>,
    in_flight: Grouped<0, Gauge>,
    oldest_waiting: Grouped<0, Measure>,
    instance_limit: Gauge,
    queue_capacity: Gauge,
    queue_bytes: Gauge,
    queue_oldest: Measure,
    dead_letters: Gauge,
}

impl BotMetrics {
    pub(super) fn register(to: &mut Registry) -> Self {
        let bot = "bot";
        let oldest = Grouped::new(bot, Measure::default);
        let peak = "The most memory that a call of the version that serves had";
        Self {
            restarts: add(to, "bot_restarts", "Starts of bots after they failed", counters(bot)),
            memory_peak: add(to, "bot_memory_peak_bytes", peak, gauges(bot)),
            memory_limit: add(to, "bot_memory_limit_bytes", "Memory that a call of the bot may have", gauges(bot)),
            fuel_limit: add(to, "bot_fuel_limit_units", "Fuel that a call of the bot may use", gauges(bot)),
            queued: add(to, "bot_queued_events", "Events that wait for the bot", gauges(bot)),
            in_flight: add(to, "bot_in_flight_events", "Events that the bot works on", gauges(bot)),
            oldest_waiting: add(
                to,
                "bot_oldest_waiting_seconds",
                "How long the oldest event has waited that waits for the bot",
                oldest,
            ),
            instance_limit: add(to, "instance_limit", "Instances that may exist", Gauge::default()),
            queue_capacity: add(to, "queue_capacity_events", "Events that may wait", Gauge::default()),
            queue_bytes: add(to, "queue_bytes", "Bytes of the events that wait", Gauge::default()),
            queue_oldest: add(
                to,
                "queue_oldest_waiting_seconds",
                "How long the oldest event has waited that waits",
                Measure::default(),
            ),
            dead_letters: add(to, "dead_letters_kept", "Dead letters that are kept", Gauge::default()),
        }
    }

    pub(super) fn forget(&self, bot: &str) {
        self.restarts.forget(bot);
        self.oldest_waiting.forget(bot);
        for gauges in [&self.memory_peak, &self.memory_limit, &self.fuel_limit, &self.queued, &self.in_flight] {
            gauges.forget(bot);
        }
    }
}

impl Metrics {
    /// Counts starts of a bot after it failed. With 0, says that it has none so far: what is not there cannot grow.
    pub fn bot_restarted(&self, bot: &BotName, times: u64) {
        self.own.bots.restarts.count(bot.as_str(), [], times);
    }

    /// Says how every bot is. A bot that is not among them has no such series any more.
    pub fn bot_figures(&self, all: &[(BotName, BotFigures)]) {
        all.iter().for_each(|(bot, figures)| self.bot_figures_of(bot, figures));
        let own = &self.own.bots;
        // One that went while it was measured is dropped with the next round.
        let names: HashSet<_> = all.iter().map(|(bot, _)| bot.as_str()).collect();
        let is_there = |name: &str| names.contains(name);
        own.oldest_waiting.retain(is_there);
        for gauges in [&own.memory_peak, &own.memory_limit, &own.fuel_limit, &own.queued, &own.in_flight] {
            gauges.retain(is_there);
        }
    }

    fn bot_figures_of(&self, bot: &BotName, figures: &BotFigures) {
        let (own, name) = (&self.own.bots, bot.as_str());
        for (gauge, value) in [
            (&own.memory_peak, figures.memory_peak),
            (&own.memory_limit, figures.memory_limit),
            (&own.fuel_limit, figures.fuel_limit),
        ] {
            if value == 0 {
                gauge.forget(name);
            } else {
                gauge.set(name, [], value.try_into().unwrap_or(i64::MAX));
            }
        }
        own.queued.set(name, [], gauge_value(figures.queued));
        own.in_flight.set(name, [], gauge_value(figures.in_flight));
        own.oldest_waiting.set(name, [], figures.oldest_waiting.unwrap_or_default().as_secs_f64());
    }

    /// Says how the queue is.
    pub fn queue_figures(&self, figures: &QueueFigures) {
        let own = &self.own.bots;
        own.queue_capacity.set(gauge_value(figures.capacity));
        own.queue_bytes.set(figures.bytes.try_into().unwrap_or(i64::MAX));
        own.queue_oldest.set(figures.oldest_waiting.unwrap_or_default().as_secs_f64());
        own.dead_letters.set(figures.dead_letters.try_into().unwrap_or(i64::MAX));
    }

    /// Says how many instances may exist at one moment.
    pub fn instance_limit(&self, instances: u32) {
        self.own.bots.instance_limit.set(instances.into());
    }
}
