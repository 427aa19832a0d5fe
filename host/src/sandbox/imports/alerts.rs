//! A bot's alerts: gathered, applied after the commit.

use std::time::Instant;

use super::GuestState;
use crate::action::AlertChange;
use crate::sandbox::state::Stage;
use crate::sandbox::wit::v0_1::alerts;

impl alerts::Host for GuestState {
    fn raise(
        &mut self,
        key: String,
        severity: alerts::Severity,
        summary: String,
        details: Vec<(String, String)>,
    ) -> wasmtime::Result<()> {
        self.change_alert(AlertChange::Raise { key, severity: severity.into(), summary, details });
        Ok(())
    }

    fn resolve(&mut self, key: String) -> wasmtime::Result<()> {
        self.change_alert(AlertChange::Resolve { key });
        Ok(())
    }
}

impl GuestState {
    /// The interface gives these functions no way to fail, so what is too much is dropped and said in the bot's log.
    fn change_alert(&mut self, change: AlertChange) {
        if self.stage == Stage::Act && self.gathered.change_alert(change).is_err() {
            let text = "an alert was dropped: the event gathered too much";
            self.context.log.line(tracing::Level::WARN, text, &[], Instant::now());
        }
    }
}
