//! The running host that a verb asks: found through its configuration and spoken to by its admin socket, or at an address in a
//! network with a token.

use std::env;
use std::fs::File;
use std::io::Read as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::Context;
use bothost::admin::client::{Client, ClientError, HostUrl, OpenWay, ServerEvent, Trust};
use bothost::config::{Config, ConfigError};
use bothost::generation::boot;
use bothost::host::ADMIN_SOCKET;
use bothost::secret::Secret;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::runtime::Runtime;

use super::Failure;

/// Where a host is named that is asked.
const URL_VARIABLE: &str = "BOTHOST_URL";
/// Where the token is that it is told.
const TOKEN_VARIABLE: &str = "BOTHOST_TOKEN";
/// The configuration that is looked for where none is named.
pub(super) const CONFIG_DEFAULT: &str = "config.toml";
/// The longest token there is.
const TOKEN_BYTES_MAX: u64 = 4096;

/// The most that one page of a listing has.
const PAGE_MAX: usize = 1_000;
/// Pages of one listing that are asked for: a search for what is rare finds little on many of them.
const PAGES_MAX: usize = 100;

/// What every verb takes that asks a running host.
#[derive(Debug, clap::Args)]
pub(super) struct Remote {
    #[command(flatten)]
    way: Way,
    /// As JSON
    #[arg(long, global = true)]
    pub(super) json: bool,
}

/// How the host is found that is asked.
#[derive(Debug, clap::Args)]
pub(super) struct Way {
    /// The configuration of the host that is asked, on this machine [default: config.toml]
    #[arg(long, value_name = "CONFIG.toml", global = true, conflicts_with = "url")]
    config: Option<PathBuf>,
    /// The host that is asked, anywhere: http://HOST:PORT or https://HOST:PORT [env: BOTHOST_URL]
    #[arg(long, value_name = "URL", global = true)]
    url: Option<HostUrl>,
    /// The token that is told a host with --url. Other users of this machine can see it here: put it into the variable
    /// BOTHOST_TOKEN, or into a file, instead
    #[arg(long, value_name = "TOKEN", global = true)]
    token: Option<String>,
    /// A file whose first line is that token
    #[arg(long, value_name = "FILE", global = true, conflicts_with = "token")]
    token_file: Option<PathBuf>,
    /// A file of certificates as PEM: only whom they vouch for is believed to be the host with --url https://
    #[arg(long, value_name = "PEM", global = true)]
    ca_file: Option<PathBuf>,
    /// Sends the token even where others on the way can read it: by http:// to another machine
    #[arg(long, global = true)]
    insecure: bool,
}

impl Remote {
    /// Returns the data directory of the host of this machine that is asked.
    pub(super) fn data_dir(&self) -> Result<PathBuf, Failure> {
        self.way.data_dir()
    }

    /// Finds the host. Whether it runs shows when it is asked.
    pub(super) fn find(&self) -> Result<Session, Failure> {
        self.way.find()
    }
}

impl Way {
    /// Finds the host. Whether it runs shows when it is asked.
    pub(super) fn find(&self) -> Result<Session, Failure> {
        let client = match self.url()? {
            Some(url) => {
                let trust = self.ca_file.clone().map_or(Trust::Web, Trust::File);
                let open = if self.insecure { OpenWay::Accepted } else { OpenWay::Refused };
                let client = Client::by_url(url, self.token()?, &trust, open);
                client.map_err(|error| Failure::Usage(format!("{:#}", anyhow::Error::new(error))))?
            }
            None => {
                if self.token.is_some() || self.token_file.is_some() {
                    let why =
                        "a token is told only a host with --url; the host on this machine knows its user by the socket";
                    return Err(Failure::Usage(why.to_owned()));
                }
                Client::new(self.data_dir()?.join(ADMIN_SOCKET))
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Ok(Session { client, runtime: runtime.context("cannot start the runtime")? })
    }

    /// Returns where the files are of the host on this machine.
    fn data_dir(&self) -> Result<PathBuf, Failure> {
        // Where the file is not good, the host goes on with what it had, and is found by that. A secret that this process is not
        // given, unlike the host, says nothing of where the host lives.
        match boot(self.config()) {
            Ok(boot) => Ok(boot.config.host.data_dir),
            Err(error @ ConfigError::NotFound(_)) => Err(error.into()),
            Err(error) => Config::find_data_dir(self.config()).filter(|dir| dir.is_dir()).ok_or_else(|| error.into()),
        }
    }

    /// Returns the configuration of the host, where it is on this machine.
    pub(super) fn config(&self) -> &Path {
        self.config.as_deref().unwrap_or(Path::new(CONFIG_DEFAULT))
    }

    /// Returns whether the host is asked at an address.
    pub(super) fn is_elsewhere(&self) -> Result<bool, Failure> {
        self.url().map(|url| url.is_some())
    }

    fn url(&self) -> Result<Option<HostUrl>, Failure> {
        if self.url.is_some() || self.config.is_some() {
            return Ok(self.url.clone());
        }
        let Some(text) = variable(URL_VARIABLE)? else { return Ok(None) };
        let url = text.parse().map_err(|error| Failure::Usage(format!("{URL_VARIABLE}: {error}")))?;
        Ok(Some(url))
    }

    fn token(&self) -> Result<Option<Secret>, Failure> {
        let token = match (&self.token, &self.token_file) {
            (Some(token), _) => Some(token.clone()),
            (None, Some(path)) => {
                let failed = || format!("cannot read the token from {}", path.display());
                let mut text = String::new();
                File::open(path)
                    .and_then(|file| file.take(TOKEN_BYTES_MAX).read_to_string(&mut text))
                    .with_context(failed)?;
                let token = text.lines().next().unwrap_or("").trim().to_owned();
                if token.is_empty() {
                    return Err(Failure::Usage(format!("there is no token in the first line of {}", path.display())));
                }
                Some(token)
            }
            (None, None) => variable(TOKEN_VARIABLE)?,
        };
        Ok(token.map(Secret::new))
    }
}

/// Returns what a variable says; nothing where it is empty.
fn variable(name: &str) -> Result<Option<String>, Failure> {
    match env::var(name) {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
        Err(env::VarError::NotPresent) => Ok(None),
        // What it says is in the error, and it may be a secret.
        Err(env::VarError::NotUnicode(_)) => Err(Failure::Usage(format!("the variable {name} is not UTF-8"))),
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

    /// Asks for something. Of a listing for all of it, unless the path says how much is wanted.
    pub(super) fn get(&self, path: &str) -> Result<Value, ClientError> {
        let is_limited = path.split(['?', '&']).any(|parameter| parameter.starts_with("limit="));
        match is_limited {
            true => self.runtime.block_on(self.client.get(path)),
            false => self.runtime.block_on(self.client.list(path)),
        }
    }

    /// Asks for up to so many entries of a listing, page by page. Returns them, and where to go on where that is not the end of it.
    pub(super) fn up_to(&self, limit: usize, path: impl Fn(usize) -> String) -> Result<Pages, ClientError> {
        let mut entries = Vec::new();
        let mut next = Some(path(limit.min(PAGE_MAX)));
        for _ in 0..PAGES_MAX {
            let Some(page) = next.take_if(|_| entries.len() < limit) else { break };
            let (answer, more) = self.runtime.block_on(self.client.page(&page))?;
            entries.extend(answer.as_array().cloned().unwrap_or_default());
            next = more;
        }
        let is_full = entries.len() >= limit;
        entries.truncate(limit);
        Ok(Pages { entries, next, is_full })
    }

    /// Puts what is no JSON.
    pub(super) fn put(&self, path: &str, media_type: &'static str, body: Vec<u8>) -> Result<Value, ClientError> {
        self.runtime.block_on(self.client.put(path, media_type, body))
    }

    /// Asks for a text.
    pub(super) fn text(&self, path: &str) -> Result<String, ClientError> {
        self.runtime.block_on(self.client.text(path))
    }

    pub(super) fn post(&self, path: &str) -> Result<Value, ClientError> {
        self.runtime.block_on(self.client.post(path))
    }

    pub(super) fn edit(&self, path: &str, body: Option<&Value>) -> Result<Value, ClientError> {
        self.runtime.block_on(self.client.edit(path, body))
    }

    pub(super) fn patch(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.runtime.block_on(self.client.send(http::Method::PATCH, path, Some(body)))
    }

    pub(super) fn delete(&self, path: &str) -> Result<Value, ClientError> {
        self.runtime.block_on(self.client.delete(path))
    }

    /// Follows server-sent events until `on_event` breaks or the host ends them.
    pub(super) fn follow(
        &self,
        path: &str,
        on_event: impl FnMut(ServerEvent) -> ControlFlow<()>,
    ) -> Result<(), ClientError> {
        self.runtime.block_on(self.client.follow(path, on_event))
    }
}

/// What was found of a listing.
pub(super) struct Pages {
    pub(super) entries: Vec<Value>,
    /// Where to go on; none: that is all there is.
    pub(super) next: Option<String>,
    /// Whether these are as many as were wanted.
    pub(super) is_full: bool,
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
