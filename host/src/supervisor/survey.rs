//! Which bots there should be: those that the configuration names and those whose files lie in the directory. Starts nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::load::{Version, explain};
use super::reconcile::Desired;
use crate::bot::manifest::BotEntry;
use crate::config::{Claims, Config};
use crate::connector::ConnectorConfig;
use crate::generation::Generation;
use crate::id::{BotName, ConnectorName, TenantName};
use crate::watcher::{Catalogue, ComponentFile};

/// A bot as it should run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// What its guest is made of.
    pub(super) version: Version,
    /// Connectors that belong to it alone.
    pub(super) own: BTreeMap<ConnectorName, ConnectorConfig>,
    /// What its own file says, word for word; none: it has no file.
    pub(super) text: Option<Arc<str>>,
}

/// Which bots there should be.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Each with the version it should run, or with what is wrong with it.
    pub(super) bots: BTreeMap<BotName, Desired<Wanted>>,
    /// Whom each belongs to, as far as its entry can be read.
    pub(super) tenants: BTreeMap<BotName, TenantName>,
}

/// What an operator says of one bot, wherever it is written.
struct Said {
    entry: BotEntry,
    own: BTreeMap<ConnectorName, ConnectorConfig>,
    text: Option<Arc<str>>,
}

/// Returns every bot there should be, with the version it should run or with what is wrong with it.
///
/// A component without an entry is a bot of its own, unless another bot's entry names it: then it is that bot's; or an offer does: then
/// it is for those who rent it.
pub(super) fn survey(config: &Config, catalogue: &Catalogue) -> Survey {
    let mut said = entries(config, catalogue);
    let offered = config.offers.values().map(|offer| offer.value.component.to_string());
    let named = said.values().flatten().map(|said| said.entry.component.to_string());
    let named: BTreeSet<_> = named.chain(offered).collect();
    for (name, files) in &catalogue.files {
        if files.component.is_some() && !said.contains_key(name) && !named.contains(&format!("{name}.wasm")) {
            said.insert(name.clone(), Ok(Said { entry: BotEntry::of(name), own: BTreeMap::new(), text: None }));
        }
    }
    let tenant = |said: &Said| said.entry.tenant.clone();
    let tenants =
        said.iter().filter_map(|(name, said)| Some((name.clone(), said.as_ref().ok().map(tenant)?))).collect();
    let bots = said.into_iter().map(|(name, said)| (name, desired(said, config, catalogue))).collect();
    Survey { bots, tenants }
}

/// Returns what a bot ran in a generation: for a start that finds only what is not good. Its entry is the one of now, if that is
/// good, else the one of then; `component` is where the content of then is.
pub(super) fn as_before(
    config: &Config,
    catalogue: &Catalogue,
    name: &BotName,
    (generation, component): (&Generation, ComponentFile),
) -> Option<Wanted> {
    let said = entries(config, catalogue).remove(name).and_then(Result::ok);
    let then = || {
        let text = generation.entries.get(name)?;
        let path = config.host.bots_dir.join(format!("{name}.toml"));
        let read = config.parse_bot(name, text, &path).ok()?;
        Some(Said { entry: read.entry.value, own: values(read.connectors), text: Some(Arc::clone(text)) })
    };
    let nothing_said = || Said { entry: BotEntry::of(name), own: BTreeMap::new(), text: None };
    let said = said.or_else(then).unwrap_or_else(nothing_said);
    Some(wanted(said, component, config)).filter(|wanted| wanted.version.entry.enabled)
}

/// Reads every entry: those of the configuration, and those beside the components. For a bad one, why.
fn entries(config: &Config, catalogue: &Catalogue) -> BTreeMap<BotName, Result<Said, String>> {
    let of_config = |(name, entry): (&BotName, &crate::config::Placed<BotEntry>)| {
        (name.clone(), Ok(Said { entry: entry.value.clone(), own: BTreeMap::new(), text: None }))
    };
    let mut said: BTreeMap<_, _> = config.bots.iter().map(of_config).collect();
    // The configuration's own were checked when it was read.
    let mut claims = Claims::of(config).unwrap_or_default();
    for (name, files) in &catalogue.files {
        let Some(file) = &files.entry else { continue };
        let read = file.as_ref().map_err(|problem| explain(problem)).and_then(|file| {
            let read = config.parse_bot(name, &file.text, &file.path).map_err(|error| error.to_string())?;
            claims.admit(&read).map_err(|error| error.to_string())?;
            for warning in &read.warnings {
                tracing::warn!(bot = %name, "{warning}");
            }
            Ok(Said { entry: read.entry.value, own: values(read.connectors), text: Some(Arc::clone(&file.text)) })
        });
        said.insert(name.clone(), read);
    }
    said
}

fn values<K: Ord, T>(placed: BTreeMap<K, crate::config::Placed<T>>) -> BTreeMap<K, T> {
    placed.into_iter().map(|(name, placed)| (name, placed.value)).collect()
}

fn desired(said: Result<Said, String>, config: &Config, catalogue: &Catalogue) -> Desired<Wanted> {
    let said = match said {
        Ok(said) => said,
        Err(reason) => return Desired::Refused { reason },
    };
    if !said.entry.enabled {
        return Desired::Disabled { text: said.text };
    }
    let file = said.entry.component.to_string();
    let stem: Option<BotName> = file.strip_suffix(".wasm").and_then(|stem| stem.parse().ok());
    match stem.and_then(|stem| catalogue.files.get(&stem)?.component.as_ref()) {
        Some(Ok(component)) => Desired::Run(wanted(said, component.clone(), config)),
        Some(Err(problem)) => Desired::Refused { reason: explain(problem) },
        None => {
            let dir = config.host.bots_dir.display();
            Desired::Refused { reason: format!("there is no `{file}` in `{dir}`: copy it there") }
        }
    }
}

fn wanted(said: Said, component: ComponentFile, config: &Config) -> Wanted {
    let limits = said.entry.limits_over(&config.limits);
    Wanted { version: Version { component, entry: Arc::new(said.entry), limits }, own: said.own, text: said.text }
}
