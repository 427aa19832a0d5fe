//! What the host promises, tried from outside. One module a subject.
#![expect(clippy::unwrap_used, reason = "a test's panic is its report, in what it calls as well")]

mod abilities;
mod abuse;
mod admin;
mod all_or_nothing;
mod bad_input;
mod capabilities;
mod cli_check;
mod command_line;
mod configuration;
mod crash;
mod daemon;
mod dashboard;
mod deliveries;
mod drop_in;
mod fairness;
mod faults;
mod history;
mod letting_in;
mod lifecycle;
mod log_files;
mod measured;
mod neighbours;
mod notices;
mod observing;
mod openapi;
mod operate;
mod platforms;
mod requirements;
mod sandbox;
mod scrape;
mod secrets_kept;
mod store_faults;
mod swap_under_load;
mod telling;
mod tenants;
mod tidy;
#[cfg(feature = "otlp")]
mod traces;
mod volume;
mod watcher;
