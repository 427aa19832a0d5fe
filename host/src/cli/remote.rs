//! The running host that a verb asks: found through its configuration, spoken to by its admin socket.

use std::path::PathBuf;

use anyhow::Context;
use bothost::admin::client::{Client, ClientError};
use bothost::generation::boot;
use bothost::host::ADMIN_SOCKET;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::runtime::Runtime;

use super::Failure;

/// What every verb takes that asks a running host.
#[derive(Debug, clap::Args)]
pub(super) struct Remote {
    /// The configuration of the host that is asked
    #[arg(long, value_name = "CONFIG.toml", default_value = "config.toml", global = true)]
    config: PathBuf,
    /// As JSON
    #[arg(long, global = true)]
    pub(super) json: bool,
}

impl Remote {
    /// Finds the host. Whether it runs shows when it is asked.
    pub(super) fn find(&self) -> Result<Session, Failure> {
        // Where the file is not good, the host goes on with what it had, and is found by that.
        let config = boot(&self.config)?.config;
        let client = Client::new(config.host.data_dir.join(ADMIN_SOCKET));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Ok(Session { client, runtime: runtime.context("cannot start the runtime")? })
    }
}

/// A host that can be asked.
pub(super) struct Session {
    client: Client,
    runtime: Runtime,
}

impl Session {
    /// Returns a session that waits for an answer as long as the host is there.
    pub(super) fn patient(self) -> Self {
        Self { client: self.client.patient(), ..self }
    }

    pub(super) fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.runtime.block_on(self.client.get(path))
    }

    pub(super) fn post(&self, path: &str) -> Result<Value, ClientError> {
        self.runtime.block_on(self.client.post(path))
    }

    pub(super) fn edit(&self, path: &str, body: Option<&Value>) -> Result<Value, ClientError> {
        self.runtime.block_on(self.client.edit(path, body))
    }

    pub(super) fn delete(&self, path: &str) -> Result<Value, ClientError> {
        self.runtime.block_on(self.client.delete(path))
    }
}

/// Reads an answer.
pub(super) fn read<T: DeserializeOwned>(answer: Value) -> Result<T, Failure> {
    Ok(serde_json::from_value(answer).context("the host's answer is not understood")?)
}

/// Returns an address with those parameters that have a value.
pub(super) fn address<const N: usize>(path: &str, parameters: [(&str, Option<String>); N]) -> String {
    let pairs = parameters.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", encode(&value?))));
    let query = pairs.collect::<Vec<_>>().join("&");
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// Percent-encodes what has a meaning in an address.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b':' => {
                encoded.push(char::from(byte));
            }
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_holds_any_text() {
        let parameters = [("a", Some("x&y=z é".to_owned())), ("b", None), ("c", Some("bot/tg".to_owned()))];
        assert_eq!(address("/p", parameters), "/p?a=x%26y%3Dz%20%C3%A9&c=bot/tg");
        assert_eq!(address("/p", [("a", None)]), "/p");
    }
}
