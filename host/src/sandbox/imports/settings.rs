//! What the operator set for the bot.

use super::GuestState;
use crate::sandbox::state::Stage;
use crate::sandbox::wit::v0_1::settings;

impl settings::Host for GuestState {
    fn get(&mut self, name: String) -> wasmtime::Result<Option<String>> {
        Ok(self.granted_settings().and_then(|settings| settings.get(&name)).map(ToString::to_string))
    }

    fn all(&mut self) -> wasmtime::Result<String> {
        Ok(match self.granted_settings() {
            Some(settings) => serde_json::to_string(settings)?,
            None => "{}".to_owned(),
        })
    }

    fn secrets(&mut self) -> wasmtime::Result<Vec<String>> {
        Ok(self.granted_settings().map(|_| self.context.secrets.keys().cloned().collect()).unwrap_or_default())
    }
}

impl GuestState {
    fn granted_settings(&self) -> Option<&serde_json::Map<String, serde_json::Value>> {
        (self.stage == Stage::Act).then_some(&self.context.settings)
    }
}
