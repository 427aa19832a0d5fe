//! The simulated OneBot implementation, by the name that tests have for it.

pub use simulators::onebot::{Call, Fault, OneBot as FakeOneBot, SELF_ID};
