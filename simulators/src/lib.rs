//! Chat platforms on 127.0.0.1: what the platform would refuse they refuse, what it repeats they repeat, and what goes wrong with it
//! goes wrong on demand. For tests, and for authors who want to talk to a bot without an account anywhere.

pub mod chat;
pub mod discord;
pub mod eventually;
pub mod onebot;
pub mod qq;
pub mod slack;
pub mod telegram;
pub mod wire;

pub use eventually::eventually;
