//! A bot's own measurements. They count at once, whatever becomes of the event.

use super::GuestState;
use crate::sandbox::state::Stage;
use crate::sandbox::wit::v0_1::metrics;

impl metrics::Host for GuestState {
    fn count(&mut self, name: String, delta: u64, labels: metrics::Labels) -> wasmtime::Result<()> {
        if self.stage == Stage::Act {
            self.context.services.metrics.guest_count(&self.context.bot, &name, delta, &labels);
        }
        Ok(())
    }

    fn gauge(&mut self, name: String, value: f64, labels: metrics::Labels) -> wasmtime::Result<()> {
        if self.stage == Stage::Act {
            self.context.services.metrics.guest_gauge(&self.context.bot, &name, value, &labels);
        }
        Ok(())
    }

    fn observe(&mut self, name: String, value: f64, labels: metrics::Labels) -> wasmtime::Result<()> {
        if self.stage == Stage::Act {
            self.context.services.metrics.guest_observe(&self.context.bot, &name, value, &labels);
        }
        Ok(())
    }
}
