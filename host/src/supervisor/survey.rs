//! Which bots there should be: those that the configuration names and those whose files lie in the directory. Starts nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::load::{Version, explain};
use super::reconcile::Desired;
use crate::bot::manifest::BotEntry;
use crate::config::{Claims, Config};
use crate::connector::ConnectorConfig;
use crate::id::{BotName, ConnectorName};
use crate::watcher::Catalogue;

/// What an operator says of one bot, wherever it is written.
struct Said {
    entry: BotEntry,
    /// Connectors that belong to it alone.
    own: BTreeMap<ConnectorName, ConnectorConfig>,
}

/// Returns every bot there should be, with the version it should run or with what is wrong with it.
///
/// A component without an entry is a bot of its own, unless another bot's entry names it: then it is that bot's.
pub(super) fn survey(config: &Config, catalogue: &Catalogue) -> BTreeMap<BotName, Desired<Version>> {
    let mut said = entries(config, catalogue);
    let named: BTreeSet<_> = said.values().flatten().map(|said| said.entry.component.to_string()).collect();
    for (name, files) in &catalogue.files {
        if files.component.is_some() && !said.contains_key(name) && !named.contains(&format!("{name}.wasm")) {
            said.insert(name.clone(), Ok(Said { entry: BotEntry::of(name), own: BTreeMap::new() }));
        }
    }
    said.into_iter().map(|(name, said)| (name, desired(said, config, catalogue))).collect()
}

/// Reads every entry: those of the configuration, and those beside the components. For a bad one, why.
fn entries(config: &Config, catalogue: &Catalogue) -> BTreeMap<BotName, Result<Said, String>> {
    let of_config = |(name, entry): (&BotName, &crate::config::Placed<BotEntry>)| {
        (name.clone(), Ok(Said { entry: entry.value.clone(), own: BTreeMap::new() }))
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
            let own = read.connectors.into_iter().map(|(name, connector)| (name, connector.value)).collect();
            Ok(Said { entry: read.entry.value, own })
        });
        said.insert(name.clone(), read);
    }
    said
}

fn desired(said: Result<Said, String>, config: &Config, catalogue: &Catalogue) -> Desired<Version> {
    let Said { entry, own } = match said {
        Ok(said) => said,
        Err(reason) => return Desired::Refused { reason },
    };
    if !entry.enabled {
        return Desired::Disabled;
    }
    let file = entry.component.to_string();
    let stem: Option<BotName> = file.strip_suffix(".wasm").and_then(|stem| stem.parse().ok());
    match stem.and_then(|stem| catalogue.files.get(&stem)?.component.as_ref()) {
        Some(Ok(component)) => Desired::Run(Version { component: component.clone(), entry: Arc::new(entry), own }),
        Some(Err(problem)) => Desired::Refused { reason: explain(problem) },
        None => {
            let dir = config.host.bots_dir.display();
            Desired::Refused { reason: format!("there is no `{file}` in `{dir}`: copy it there") }
        }
    }
}
