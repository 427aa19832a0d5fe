//! What tests and benchmarks build on: components, whole hosts, fakes of the platforms, and how to wait for what should happen.

pub mod collector;
pub mod crowd;
pub mod guests;
pub mod host;
pub mod ledger;
pub mod ngircd;
pub mod onebot;
pub mod peers;
pub mod process;
pub mod receiver;
pub mod rig;
pub mod synapse;
pub mod telegram;

pub use simulators::eventually;
