//! The simulated Telegram, under the name that tests know it by.

pub use simulators::telegram::{Call, Fault, Telegram as FakeTelegram};
