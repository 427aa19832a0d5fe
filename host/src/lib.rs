//! bothost: one process that hosts many untrusted bots, each a WebAssembly component with fuel, memory and time limits.
//!
//! `ARCHITECTURE.md` beside this crate is the map.
#![deny(missing_docs)]

pub mod access;
pub mod action;
pub mod admin;
pub mod alert;
pub mod audit;
pub mod backoff;
pub mod board;
pub mod bot;
mod bytes_as_text;
pub mod clock;
pub mod config;
pub mod connector;
pub mod daemon;
pub mod delivery;
pub mod doctor;
mod document;
pub mod egress;
pub mod errors;
pub mod event;
pub mod failpoint;
pub mod forecast;
pub mod generation;
pub mod grants;
pub mod history;
pub mod host;
pub mod id;
pub mod limits;
pub mod logs;
mod machine;
pub mod metrics;
pub mod monitor;
pub mod offer;
pub mod outbox;
pub mod ping;
pub mod rate;
pub mod router;
pub mod sandbox;
pub mod schedule;
mod sealed;
pub mod secret;
pub mod sentinel;
pub mod store;
pub mod supervision;
pub mod supervisor;
pub mod systemd;
pub mod telemetry;
pub mod timers;
pub mod units;
pub mod vitals;
pub mod watchdog;
pub mod watcher;
