//! Traces and metrics for a collector that speaks OpenTelemetry's protocol.

mod config;

pub use self::config::TelemetryConfig;
