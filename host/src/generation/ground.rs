//! What an edit starts from: the files as they are, and whether what it makes of them holds together. Reads, and writes nothing.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Generation;
use super::edit::{Edit, EditError};
use crate::bot::manifest::ComponentName;
use crate::config::{Claims, Config, ConfigError};
use crate::document::{nearest, read_text};
use crate::id::BotName;

/// The files of a configuration at one moment.
pub(super) struct Ground {
    /// The configuration file.
    pub(super) path: PathBuf,
    /// Its text; empty where there is no file, none where it cannot be read.
    config: Option<String>,
    /// The bots' directory.
    pub(super) bots_dir: PathBuf,
    /// The texts of the bots' own files.
    pub(super) entries: BTreeMap<BotName, String>,
    /// What is in force.
    pub(super) latest: Option<Arc<Generation>>,
}

/// Entries by bot, each good or not.
type Checked = BTreeMap<BotName, Result<ComponentName, ConfigError>>;

impl Ground {
    /// Looks at the files.
    pub(super) fn look(path: &Path, latest: Option<Arc<Generation>>) -> Result<Self, EditError> {
        let (config, parsed) = match read_text(path) {
            Err(ConfigError::NotFound(_)) => (Some(String::new()), Config::parse("", path)),
            Err(error) => (None, Err(error)),
            Ok(text) => {
                let parsed = Config::parse(&text, path);
                (Some(text), parsed)
            }
        };
        // Where the file is not good, the bots are still where they were.
        let parsed = parsed.or_else(|error| match &latest {
            Some(latest) => Config::parse(&latest.config, path).map_err(|_| error),
            None => Err(error),
        })?;
        let bots_dir = parsed.host.bots_dir;
        let entries = read_entries(&bots_dir);
        Ok(Self { path: path.to_owned(), config, bots_dir, entries, latest })
    }

    /// Checks what an edit makes of the files, as a whole. Returns where the bots are afterwards, and who uses which component.
    ///
    /// # Errors
    ///
    /// Every mistake in what it writes, and in the bots' files that were good before it.
    pub(super) fn check(&self, edit: &Edit) -> Result<(PathBuf, Vec<(BotName, ComponentName)>), EditError> {
        let text = edit.config.as_deref().map_or_else(|| self.config(), |text| Ok(text.into()))?;
        let config = Config::parse(&text, &self.path)?;
        let mut entries = self.entries.clone();
        for (name, text) in &edit.entries {
            match text {
                Some(text) => drop(entries.insert(name.clone(), text.clone())),
                None => drop(entries.remove(name)),
            }
        }
        let before = self.config().and_then(|text| Config::parse(&text, &self.path));
        let before = before.map(|config| check_entries(&config, &self.entries)).unwrap_or_default();
        let was_good = |name: &BotName| before.get(name).is_none_or(Result::is_ok);
        let mut users: Vec<_> =
            config.bots.iter().map(|(name, entry)| (name.clone(), entry.value.component.clone())).collect();
        let mut mistakes = Vec::new();
        for (name, checked) in check_entries(&config, &entries) {
            let is_edited = edit.entries.get(&name).is_some_and(Option::is_some);
            match checked {
                Ok(component) => users.push((name, component)),
                // What was bad before and stays as it is keeps nobody from editing the rest.
                Err(ConfigError::Mistakes(found)) if is_edited || was_good(&name) => mistakes.extend(found),
                Err(_) => {}
            }
        }
        if !mistakes.is_empty() {
            return Err(ConfigError::Mistakes(mistakes).into());
        }
        Ok((config.host.bots_dir, users))
    }

    /// Returns the text of the configuration file; empty where there is no file.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub(super) fn config(&self) -> Result<Cow<'_, str>, ConfigError> {
        match &self.config {
            Some(text) => Ok(text.into()),
            None => read_text(&self.path).map(Cow::from),
        }
    }

    /// Returns where a dotted key is written: in a bot's own file where it has one, and below which key there.
    pub(super) fn owner<'p>(&self, path: &'p [String]) -> Option<(BotName, &'p [String])> {
        let [bots, name, rest @ ..] = path else { return None };
        let name: BotName = name.parse().ok().filter(|_| bots == "bots" && !rest.is_empty())?;
        self.entries.contains_key(&name).then_some((name, rest))
    }

    /// Returns what all bots but one need for themselves.
    pub(super) fn claims_of_others(&self, config: &Config, bot: &BotName) -> Claims {
        let mut claims = Claims::of(config).unwrap_or_default();
        for (name, text) in self.entries.iter().filter(|(name, _)| *name != bot) {
            let path = config.host.bots_dir.join(format!("{name}.toml"));
            // One that is not good has nothing.
            let _ = config.parse_bot(name, text, &path).and_then(|file| claims.admit(&file));
        }
        claims
    }

    /// Checks that there is such a bot.
    pub(super) fn known(&self, name: &BotName) -> Result<(), EditError> {
        let config = Config::parse(&self.config()?, &self.path)?;
        let serving = self.latest.iter().flat_map(|latest| latest.bots.keys());
        let mut known: Vec<BotName> = config.bots.keys().chain(self.entries.keys()).chain(serving).cloned().collect();
        known.extend(file_stems(&self.bots_dir, ".wasm"));
        if known.contains(name) {
            return Ok(());
        }
        let names: Vec<_> = known.iter().map(BotName::as_str).collect();
        let near = nearest(name.as_str(), &names).map(str::to_owned);
        Err(EditError::NoBot { name: name.clone(), near })
    }
}

fn check_entries(config: &Config, entries: &BTreeMap<BotName, String>) -> Checked {
    // Those of the configuration were checked when it was read.
    let mut claims = Claims::of(config).unwrap_or_default();
    let check = |(name, text): (&BotName, &String)| {
        let path = config.host.bots_dir.join(format!("{name}.toml"));
        let checked = config.parse_bot(name, text, &path).and_then(|file| {
            claims.admit(&file)?;
            Ok(file.entry.value.component)
        });
        (name.clone(), checked)
    };
    entries.iter().map(check).collect()
}

fn read_entries(dir: &Path) -> BTreeMap<BotName, String> {
    let names = file_stems(dir, ".toml");
    // One that cannot be read is its bot's trouble, and stays as it is.
    names.into_iter().filter_map(|name| Some((name.clone(), read_entry(&dir.join(format!("{name}.toml")))?))).collect()
}

fn read_entry(path: &Path) -> Option<String> {
    // Asked before it is opened, since opening a pipe waits for its other end, and the directory is others' to write to.
    fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    read_text(path).ok()
}

fn file_stems(dir: &Path, ending: &str) -> Vec<BotName> {
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    files.filter_map(|file| file.file_name().to_str()?.strip_suffix(ending)?.parse().ok()).collect()
}
