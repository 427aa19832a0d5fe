//! The bot's log.

use std::time::Instant;

use super::GuestState;
use crate::sandbox::wit::v0_1::log;

impl log::Host for GuestState {
    fn write(&mut self, level: log::Level, message: String, fields: Vec<(String, String)>) -> wasmtime::Result<()> {
        self.context.log.line(level.into(), &message, &fields, Instant::now());
        Ok(())
    }
}
