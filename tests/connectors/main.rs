//! Connectors against platforms: a simulator of each, and the real thing where it can be had.
#![expect(clippy::unwrap_used, reason = "a test's panic is its report, in what it calls as well")]

mod console;
mod discord;
mod everywhere;
mod ingress;
mod irc;
mod matrix;
mod onebot;
mod qq;
mod scripted;
mod slack;
mod telegram;
mod webhook;
