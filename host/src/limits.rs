//! What one bot may use. `[limits]` sets the defaults of all bots, `[bots.NAME.limits]` those of one.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use serde::Deserialize;

use crate::units::{ByteSize, some_positive_duration};

/// Whether a bot gets a new instance for each event or keeps one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InstanceMode {
    /// A new instance for each event: nothing leaks from one into the next, and they run side by side.
    Fresh,
    /// One live instance, one event after another: for bots with a large cache in memory.
    Warm,
}

/// The limits of one bot, all of them decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Fuel for one attempt of one event; about one unit for each WebAssembly instruction. At the limit the call traps.
    pub fuel_per_event: u64,
    /// Wall-clock time for one attempt, instantiation and host calls included.
    pub event_timeout: Duration,
    /// Wall-clock time for `describe` and for `init`.
    pub init_timeout: Duration,
    /// Bytes of all linear memories of one instance together. At the limit `memory.grow` answers -1.
    pub memory: u64,
    /// Elements of all tables of one instance together.
    pub table_elements: u32,
    /// New instance for each event, or one that stays.
    pub instance: InstanceMode,
    /// Events of one bot that are handled side by side.
    pub in_flight: u32,
    /// How long a warm instance may idle before it is dropped.
    pub idle_timeout: Duration,
    /// Bytes of the component file.
    pub component_size: u64,
    /// Bytes of all keys and values of the bot's state.
    pub state: u64,
    /// Acts on platforms in a minute.
    pub sends_per_minute: u32,
    /// Outgoing HTTP requests in a minute.
    pub http_per_minute: u32,
    /// Outgoing HTTP requests at one moment.
    pub http_in_flight: u32,
    /// Bytes of the body of an outgoing HTTP request, and as many of its answer's. Past them the exchange fails.
    pub http_body: u64,
    /// Bytes of log lines in a second; what is more is dropped and counted.
    pub log_rate: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            fuel_per_event: 1_000_000_000,
            event_timeout: Duration::from_secs(30),
            init_timeout: Duration::from_secs(10),
            memory: 64 << 20,
            table_elements: 20_000,
            instance: InstanceMode::Fresh,
            in_flight: 16,
            idle_timeout: Duration::from_secs(60),
            component_size: 64 << 20,
            state: 16 << 20,
            sends_per_minute: 600,
            http_per_minute: 600,
            http_in_flight: 8,
            http_body: 8 << 20,
            log_rate: 64 << 10,
        }
    }
}

/// Changes to limits as they stand in a configuration; what is absent stays as it was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "each key is documented at the field of `Limits` that has its name")]
pub struct LimitsPatch {
    pub fuel_per_event: Option<NonZeroU64>,
    #[serde(deserialize_with = "some_positive_duration")]
    pub event_timeout: Option<Duration>,
    #[serde(deserialize_with = "some_positive_duration")]
    pub init_timeout: Option<Duration>,
    pub memory: Option<ByteSize>,
    pub table_elements: Option<u32>,
    pub instance: Option<InstanceMode>,
    pub in_flight: Option<NonZeroU32>,
    #[serde(deserialize_with = "some_positive_duration")]
    pub idle_timeout: Option<Duration>,
    pub component_size: Option<ByteSize>,
    pub state: Option<ByteSize>,
    pub sends_per_minute: Option<u32>,
    pub http_per_minute: Option<u32>,
    pub http_in_flight: Option<u32>,
    pub http_body: Option<ByteSize>,
    pub log_rate: Option<ByteSize>,
}

impl LimitsPatch {
    /// Returns `base` with the changes made.
    pub fn apply(&self, base: &Limits) -> Limits {
        let size = |patch: Option<ByteSize>, base: u64| patch.map_or(base, |size| size.0);
        Limits {
            fuel_per_event: self.fuel_per_event.map_or(base.fuel_per_event, NonZeroU64::get),
            event_timeout: self.event_timeout.unwrap_or(base.event_timeout),
            init_timeout: self.init_timeout.unwrap_or(base.init_timeout),
            memory: size(self.memory, base.memory),
            table_elements: self.table_elements.unwrap_or(base.table_elements),
            instance: self.instance.unwrap_or(base.instance),
            in_flight: self.in_flight.map_or(base.in_flight, NonZeroU32::get),
            idle_timeout: self.idle_timeout.unwrap_or(base.idle_timeout),
            component_size: size(self.component_size, base.component_size),
            state: size(self.state, base.state),
            sends_per_minute: self.sends_per_minute.unwrap_or(base.sends_per_minute),
            http_per_minute: self.http_per_minute.unwrap_or(base.http_per_minute),
            http_in_flight: self.http_in_flight.unwrap_or(base.http_in_flight),
            http_body: size(self.http_body, base.http_body),
            log_rate: size(self.log_rate, base.log_rate),
        }
    }
}
