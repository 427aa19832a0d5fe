//! Reads a configuration, and the files of single bots, from text.
//!
//! ```text
//! CONFIG.toml ─► Document ─► Root ─► Config         what single values say, then what holds between them
//!  BOTHOST__… ──────┘                              environment variables, which override what the file says
//! NAME.toml ───► Document ─► Declaration ─► BotFile         against a Config, which it does not change
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::alert::AlertsTable;
use crate::bot::manifest::{BotEntry, Connectors, Declaration, NoConnector};
use crate::connector::ConnectorConfig;
use crate::document::{At, Document, Literal, Variables, nearest, read_text};
use crate::id::{BotName, ChannelName, ConnectorName, OfferName};
use crate::limits::{Limits, LimitsPatch};
use crate::offer::Offer;
use crate::supervision::{RolloutPolicy, Supervision};
use crate::telemetry::TelemetryConfig;
use crate::vitals::VitalsConfig;

use super::{
    AdminConfig, BotFile, Claims, Config, ConfigError, HostConfig, LogsConfig, Mistake, OutboxConfig, Placed,
    QueueConfig, planned,
};

/// The whole of a configuration file as it is written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Root {
    host: HostConfig,
    limits: LimitsPatch,
    supervisor: Supervision,
    rollout: RolloutPolicy,
    queue: QueueConfig,
    outbox: OutboxConfig,
    connectors: BTreeMap<ConnectorName, At<ConnectorConfig>>,
    bots: BTreeMap<BotName, At<Declaration<NoConnector>>>,
    offers: BTreeMap<OfferName, At<Offer>>,
    logs: LogsConfig,
    alerts: AlertsTable,
    vitals: VitalsConfig,
    telemetry: TelemetryConfig,
    admin: AdminConfig,
}

impl Config {
    /// Reads a configuration file and the files of secrets that it names.
    ///
    /// # Errors
    ///
    /// Every mistake that one reading finds, each with its place, or why the file cannot be read.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::parse(&read_text(path)?, path)
    }

    /// Reads a configuration from a text. `path` is where it would stand: for messages, and for the paths in it.
    ///
    /// # Errors
    ///
    /// Those of [`Config::load`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        Self::parse_with(text, path, &Variables::of_process())
    }

    /// Reads one bot's own file, `NAME.toml` in the bots' directory, beside this configuration. To know that it takes no
    /// other's token or address, ask [`Claims`].
    ///
    /// # Errors
    ///
    /// Those of [`Config::load`], and that this configuration has an entry for the bot already. They reject this bot only.
    pub fn load_bot(&self, name: &BotName, path: &Path) -> Result<BotFile, ConfigError> {
        self.parse_bot(name, &read_text(path)?, path)
    }

    /// Reads one bot's own file from a text. `path` is where it would stand: for messages, and for the paths in it.
    ///
    /// # Errors
    ///
    /// Those of [`Config::load_bot`].
    pub fn parse_bot(&self, name: &BotName, text: &str, path: &Path) -> Result<BotFile, ConfigError> {
        self.parse_bot_with(name, text, path, &Variables::of_process())
    }

    /// [`Config::parse`] with an environment of the caller's.
    pub(super) fn parse_with(text: &str, path: &Path, variables: &Variables) -> Result<Self, ConfigError> {
        let document = Document::parse(text, path, variables, planned::in_config)?.overridden()?;
        let root: Root = document.read()?;
        let mut mistakes = Vec::new();
        let mut bots = BTreeMap::new();
        for (name, declaration) in root.bots {
            let place = document.place(declaration.offset);
            let (value, connectors) = declaration.value.into_entry(&name, document.directory());
            mistakes.extend(unknown_connectors(&document, &connectors, &root.connectors));
            bots.insert(name, Placed { value, place });
        }
        mistakes.extend(bad_rules(&document, &root.alerts));
        mistakes.extend(bad_offers(&document, &root.offers, &root.connectors));
        if !mistakes.is_empty() {
            mistakes.sort_by(|one: &Mistake, other| one.place.cmp(&other.place));
            return Err(ConfigError::Mistakes(mistakes));
        }
        let mut host = root.host;
        host.data_dir = document.directory().join(&host.data_dir);
        host.bots_dir = document.directory().join(&host.bots_dir);
        let mut alerts = root.alerts.into_config();
        alerts.channels.values_mut().for_each(|channel| channel.resolve_paths(document.directory()));
        let mut offers = placed(&document, root.offers);
        offers.values_mut().for_each(|offer| offer.value.resolve_paths(document.directory()));
        let mut logs = root.logs;
        logs.dir = logs.dir.map(|dir| document.directory().join(dir));
        let mut admin = root.admin;
        if let Some(tls) = &mut admin.tls {
            tls.cert = document.directory().join(&tls.cert);
            tls.key = document.directory().join(&tls.key);
        }
        let config = Self {
            path: path.to_owned(),
            text: text.into(),
            host,
            limits: root.limits.apply(&Limits::default()),
            supervision: root.supervisor,
            rollout: root.rollout,
            queue: root.queue,
            outbox: root.outbox,
            connectors: placed(&document, root.connectors),
            bots,
            offers,
            logs,
            alerts,
            vitals: root.vitals,
            telemetry: root.telemetry,
            admin,
            warnings: document.warnings(),
        };
        Claims::of(&config)?;
        Ok(config)
    }

    /// [`Config::parse_bot`] with an environment of the caller's.
    pub(super) fn parse_bot_with(
        &self,
        name: &BotName,
        text: &str,
        path: &Path,
        variables: &Variables,
    ) -> Result<BotFile, ConfigError> {
        let document = Document::parse(text, path, variables, planned::in_bot_file)?;
        let declaration: Declaration<ConnectorConfig> = document.read()?;
        let mut mistakes = Vec::new();
        if let Some(other) = self.bots.get(name) {
            let message = format!("bot `{name}` has an entry at {} already; keep one of the two", other.place);
            mistakes.push(document.mistake(0, message));
        }
        let (value, connectors) = declaration.into_entry(name, document.directory());
        mistakes.extend(unknown_connectors(&document, &connectors, &self.connectors));
        if !mistakes.is_empty() {
            return Err(ConfigError::Mistakes(mistakes));
        }
        let connectors = match connectors {
            Connectors::Own(own) => placed(&document, own),
            Connectors::All | Connectors::Named(_) => BTreeMap::new(),
        };
        let entry = Placed::<BotEntry> { value, place: document.place(0) };
        Ok(BotFile { name: name.clone(), entry, connectors, warnings: document.warnings() })
    }
}

/// Whose text it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// The host's configuration.
    Host,
    /// A bot's own file.
    Bot,
}

/// Returns the secrets that stand word for word in a text, by their first byte. Opens no file; a variable that is not set does no
/// harm.
///
/// # Errors
///
/// The text is not good. Then nobody can say what in it is a secret.
pub(crate) fn literal_secrets(text: &str, form: Form) -> Result<BTreeMap<usize, Literal>, ConfigError> {
    // A number, which may stand for most of what somebody leaves to a variable.
    let variables = Variables::of_process().or("1");
    let planned = if form == Form::Host { planned::in_config } else { planned::in_bot_file };
    let document = Document::parse(text, Path::new(""), &variables, planned)?.without_files("1");
    match form {
        Form::Host => drop(document.read::<Root>()?),
        Form::Bot => drop(document.read::<Declaration<ConnectorConfig>>()?),
    }
    Ok(document.into_literals())
}

fn placed<K: Ord, T>(document: &Document<'_>, values: BTreeMap<K, At<T>>) -> BTreeMap<K, Placed<T>> {
    let place = |At { value, offset }| Placed { value, place: document.place(offset) };
    values.into_iter().map(|(key, value)| (key, place(value))).collect()
}

/// Returns a mistake for each rule that is not whole or names a channel that is not there.
fn bad_rules(document: &Document<'_>, alerts: &AlertsTable) -> Vec<Mistake> {
    let known: Vec<_> = alerts.channels.keys().map(ChannelName::as_str).collect();
    let mut mistakes = Vec::new();
    for (name, rule) in &alerts.rules {
        let at = |message: String| document.mistake(rule.offset, format!("[alerts.rules.{name}]: {message}"));
        mistakes.extend(rule.value.check(name).err().map(|error| at(error.to_string())));
        for channel in rule.value.notify().iter().filter(|channel| !alerts.channels.contains_key(channel)) {
            let remedy = match nearest(channel.as_str(), &known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("a table [alerts.channels.{channel}] would make it"),
            };
            mistakes.push(at(format!("there is no channel `{channel}`; {remedy}")));
        }
    }
    mistakes
}

/// Returns a mistake for each connector that a bot names and that is not among `known`.
fn unknown_connectors<C, T>(
    document: &Document<'_>,
    connectors: &Connectors<C>,
    known: &BTreeMap<ConnectorName, T>,
) -> Vec<Mistake> {
    let Connectors::Named(named) = connectors else { return Vec::new() };
    let missing = |name: &At<ConnectorName>| Some(document.mistake(name.offset, no_connector(&name.value, known)?));
    named.iter().filter_map(missing).collect()
}

/// Returns a mistake for each connector that an offer names and that is not among `known`.
fn bad_offers<T>(
    document: &Document<'_>,
    offers: &BTreeMap<OfferName, At<Offer>>,
    known: &BTreeMap<ConnectorName, T>,
) -> Vec<Mistake> {
    let named = offers.iter().flat_map(|(offer, at)| at.value.shared.iter().map(move |name| (offer, at.offset, name)));
    let missing = |(offer, offset, name): (&OfferName, usize, &ConnectorName)| {
        Some(document.mistake(offset, format!("[offers.{offer}]: {}", no_connector(name, known)?)))
    };
    named.filter_map(missing).collect()
}

/// Returns what is said of a connector that is not among `known`.
fn no_connector<T>(name: &ConnectorName, known: &BTreeMap<ConnectorName, T>) -> Option<String> {
    if known.contains_key(name) {
        return None;
    }
    let names: Vec<_> = known.keys().map(ConnectorName::as_str).collect();
    let remedy = match nearest(name.as_str(), &names) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("a table [connectors.{name}] would make it"),
    };
    Some(format!("there is no connector `{name}`; {remedy}"))
}
