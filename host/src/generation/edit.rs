//! Changes of the configuration by command: one at a time, checked as a whole before anything is written, and written so that it
//! is done or undone whenever the process dies.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::archive::Editing;
use super::exchange::Export;
use super::ground::Ground;
use super::intent::Intent;
use super::keys::{self, KeyError};
use super::plan::{Files, key_edit, restored};
use super::redact::UnknownSecret;
use super::rental::RentalError;
use super::{Archive, Difference, Generation, GenerationError};
use crate::bot::manifest::ComponentName;
use crate::config::ConfigError;
use crate::id::{BotName, ContentHash};
use crate::sealed;

/// Longest name of who edits, in characters.
const AUTHOR_CHARS_MAX: usize = 64;
/// Longest reason, in characters.
const REASON_CHARS_MAX: usize = 500;

/// Who edits, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Who {
    /// The name. Empty: nobody said.
    pub author: String,
    /// Why. Empty: what is done says it.
    pub reason: String,
}

impl Who {
    /// Returns the two as they are kept: cut, on one line, and never empty.
    fn or(self, reason: &str) -> (String, String) {
        let line = |text: &str, default: &str, chars_max: usize| {
            let text = if text.trim().is_empty() { default } else { text.trim() };
            let plain = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
            plain.take(chars_max).collect::<String>()
        };
        (line(&self.author, "somebody", AUTHOR_CHARS_MAX), line(&self.reason, reason, REASON_CHARS_MAX))
    }
}

/// What is to change. In a map, `None` removes the file.
#[derive(Clone, Default)]
pub struct Edit {
    /// Who edits, and why.
    pub who: Who,
    /// The generation that whoever edits has seen. None: whichever is in force.
    pub based_on: Option<u64>,
    /// The new text of the configuration file.
    pub config: Option<String>,
    /// New texts of the bots' own files.
    pub entries: BTreeMap<BotName, Option<String>>,
    /// Components that are brought back into the bots' directory, by content.
    pub components: BTreeMap<ComponentName, Option<ContentHash>>,
}

/// What the host made of changed files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// The generation that is in force.
    pub generation: u64,
    /// What was done, step by step, for people.
    pub steps: Vec<String>,
    /// Why the host goes on as before, where it does.
    pub rejected: Option<String>,
    /// Changes that take effect at the next start only.
    pub needs_restart: Vec<String>,
}

/// Why an edit was not carried out. Unless it says otherwise, nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// Somebody else was quicker.
    #[error("generation {} is in force, and not {based_on}, which this edit is based on: look again", latest.unwrap_or(0))]
    Overtaken {
        /// What it is based on.
        based_on: u64,
        /// What is in force.
        latest: Option<u64>,
    },
    /// What would come of it is no good configuration.
    #[error(transparent)]
    Invalid(#[from] ConfigError),
    /// The key is not good.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// There is no such bot.
    #[error("there is no bot `{name}`{}", near.as_ref().map_or(String::new(), |near| format!("; did you mean `{near}`?")))]
    NoBot {
        /// The name.
        name: BotName,
        /// One that is there.
        near: Option<String>,
    },
    /// A component cannot be brought back.
    #[error(
        "{bots}: the component {file} of then is gone (content {hash}): copy it into the bots' directory, and try again"
    )]
    NoComponent {
        /// The bots that need it.
        bots: String,
        /// Its file.
        file: String,
        /// The content.
        hash: ContentHash,
    },
    /// A component that is to be removed is needed.
    #[error("{file} is used by {users}: remove those first")]
    InUse {
        /// Its file.
        file: ComponentName,
        /// Who needs it.
        users: String,
    },
    /// It is not within what a tenant may have.
    #[error(transparent)]
    Rental(#[from] RentalError),
    /// A secret is redacted and nobody knows it.
    #[error("{file}: {source}")]
    UnknownSecret {
        /// The file.
        file: String,
        /// Which.
        source: UnknownSecret,
    },
    /// The generations cannot be read or written. If files were changed, the edit is finished before the next one, or at the next
    /// start.
    #[error(transparent)]
    Generation(#[from] GenerationError),
    /// The files are written, and the host could not be told.
    #[error("the edit is written, and the host could not be told: {0}")]
    NotReloaded(String),
    /// The files are written, and the host did not take them.
    #[error(
        "the edit is written, and the host did not take it: {reason}; generation {generation} goes on, and a rollback to it undoes the edit"
    )]
    Rejected {
        /// What is in force.
        generation: u64,
        /// Why.
        reason: String,
    },
}

type Answer = Pin<Box<dyn Future<Output = Result<Reloaded, String>> + Send>>;

/// Carries edits out, one at a time. Cheap to clone.
#[derive(Clone)]
pub struct Editor {
    shared: Arc<Shared>,
}

struct Shared {
    archive: Archive,
    path: PathBuf,
    reload: Box<dyn Fn() -> Answer + Send + Sync>,
    turns: Arc<Semaphore>,
}

impl fmt::Debug for Editor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Editor").field("path", &self.shared.path).finish_non_exhaustive()
    }
}

impl Editor {
    /// Returns the editor of the configuration at `path`. `reload` has the host look at the files, and returns when it has taken or
    /// refused them, and recorded what is in force; its error is why the host cannot be told.
    pub fn new<F, R>(archive: Archive, path: impl Into<PathBuf>, reload: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<Reloaded, String>> + Send + 'static,
    {
        let reload = Box::new(move || -> Answer { Box::pin(reload()) });
        let turns = Arc::new(Semaphore::new(1));
        Self { shared: Arc::new(Shared { archive, path: path.into(), reload, turns }) }
    }

    /// Returns the generations.
    pub fn archive(&self) -> &Archive {
        &self.shared.archive
    }

    /// Carries out an edit, and returns what the host made of it.
    ///
    /// # Cancel safety
    ///
    /// What was begun is finished, and the host sees the files by itself.
    ///
    /// # Errors
    ///
    /// [`EditError`].
    pub async fn carry_out(&self, edit: Edit) -> Result<Reloaded, EditError> {
        self.plan(move |_, _| Ok((edit, "edited".to_owned()))).await
    }

    /// Replaces the text of the configuration file. Where it says `[redacted]`, the secret that is in force there stays.
    ///
    /// # Errors
    ///
    /// [`EditError`].
    pub async fn put(&self, who: Who, based_on: Option<u64>, text: String) -> Result<Reloaded, EditError> {
        self.plan(move |ground, _| {
            let config = Some(restored(&text, "config.toml", ground.running_config())?);
            Ok((Edit { who, based_on, config, ..Edit::default() }, "replaced the configuration".to_owned()))
        })
        .await
    }

    /// Sets a dotted key, in the bot's own file where it has one; or removes it, where there is no value.
    ///
    /// # Errors
    ///
    /// [`EditError`].
    pub async fn set(&self, who: Who, key: String, value: Option<String>) -> Result<Reloaded, EditError> {
        self.plan(move |ground, _| {
            let path = keys::parse(&key)?;
            let reason = format!("{} {}", if value.is_some() { "set" } else { "unset" }, keys::join(&path));
            Ok((key_edit(ground, who, &path, value.as_deref())?, reason))
        })
        .await
    }

    /// Says whether a bot is started: `bots.NAME.enabled`.
    ///
    /// # Errors
    ///
    /// [`EditError`].
    pub async fn enable(&self, who: Who, bot: BotName, is_enabled: bool) -> Result<Reloaded, EditError> {
        self.plan(move |ground, _| {
            ground.known(&bot)?;
            let path = ["bots", bot.as_str(), "enabled"].map(str::to_owned);
            let reason = format!("{} {bot}", if is_enabled { "enabled" } else { "disabled" });
            Ok((key_edit(ground, who, &path, Some(if is_enabled { "true" } else { "false" }))?, reason))
        })
        .await
    }

    /// Brings the files back that were in force in a generation. What it did not have and is in force now is removed, but for
    /// the component of a bot that it names; files that neither knows stay as they are.
    ///
    /// # Errors
    ///
    /// [`EditError`].
    pub async fn rollback(&self, who: Who, number: u64) -> Result<Reloaded, EditError> {
        self.plan(move |ground, archive| {
            let target = archive.blocking_generation(number)?;
            let components = target.bots.values().map(|pinned| (pinned.file.clone(), pinned.hash)).collect();
            let entries = target.entries.iter().map(|(name, text)| (name.clone(), text.to_string())).collect();
            let files = Files { config: target.config.to_string(), entries, components };
            Ok((files.instead_of(ground.latest.as_deref(), who), format!("rollback to {number}")))
        })
        .await
    }

    /// Brings the files of an exported generation into force, as [`Editor::rollback`] does. Where a text says `[redacted]`, the
    /// secret that is in force there stays.
    ///
    /// # Errors
    ///
    /// [`EditError`].
    pub async fn import(&self, who: Who, export: Export) -> Result<Reloaded, EditError> {
        self.plan(move |ground, _| {
            let config = restored(&export.config, "config.toml", ground.running_config())?;
            let entry = |(name, text): (&BotName, &String)| {
                let running = ground.latest.as_ref().and_then(|latest| latest.entries.get(name));
                let text = restored(text, &format!("{name}.toml"), running.map_or("", |text| text))?;
                Ok((name.clone(), text))
            };
            let entries = export.entries.iter().map(entry).collect::<Result<_, EditError>>()?;
            let components = export.components.values().map(|view| (view.file.clone(), view.sha256)).collect();
            let edit = Files { config, entries, components }.instead_of(ground.latest.as_deref(), who);
            Ok((edit, "import".to_owned()))
        })
        .await
    }

    /// Returns what may be shown of a generation; of the latest, where no number is given.
    ///
    /// # Errors
    ///
    /// It is not kept.
    pub async fn show(&self, number: Option<u64>) -> Result<Export, GenerationError> {
        let generation = self.find(number).await?;
        // Reading texts takes a while.
        let shown = tokio::task::spawn_blocking(move || Export::of(&generation)).await;
        shown.map_err(|_| GenerationError::Stopping)
    }

    /// Compares two generations; with the latest, where only one number is given.
    ///
    /// # Errors
    ///
    /// One is not kept.
    pub async fn compare(&self, from: u64, to: Option<u64>) -> Result<Difference, GenerationError> {
        let (from, to) = (self.find(Some(from)).await?, self.find(to).await?);
        let compared = tokio::task::spawn_blocking(move || Difference::between(&from, &to)).await;
        compared.map_err(|_| GenerationError::Stopping)
    }

    async fn find(&self, number: Option<u64>) -> Result<Arc<Generation>, GenerationError> {
        let latest = self.archive().latest();
        match number {
            Some(number) => self.archive().generation(number).await,
            None => latest.ok_or(GenerationError::Absent { number: 1, oldest: None, latest: None }),
        }
    }

    /// Looks at the files as they are, and changes nothing.
    pub(super) async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Ground) -> Result<T, EditError> + Send + 'static,
    ) -> Result<T, EditError> {
        let shared = Arc::clone(&self.shared);
        let look = move || look(&Ground::look(&shared.path, shared.archive.latest())?);
        tokio::task::spawn_blocking(look).await.map_err(|_| GenerationError::Stopping)?
    }

    /// Carries out what a plan makes of the files as they are when its turn has come.
    pub(super) async fn plan(
        &self,
        plan: impl FnOnce(&Ground, &Archive) -> Result<(Edit, String), EditError> + Send + 'static,
    ) -> Result<Reloaded, EditError> {
        let shared = Arc::clone(&self.shared);
        let turn = Arc::clone(&shared.turns).acquire_owned().await.map_err(|_| GenerationError::Stopping)?;
        // The turn goes along: if nobody waits any more, the next edit still begins after this one is written.
        let write = move || shared.write(plan).map(|editing| (turn, editing));
        let _turn = tokio::task::spawn_blocking(write).await.map_err(|_| GenerationError::Stopping)??;
        let reloaded = (self.shared.reload)().await.map_err(EditError::NotReloaded)?;
        self.archive().end_edit().await?;
        match reloaded.rejected {
            Some(reason) => Err(EditError::Rejected { generation: reloaded.generation, reason }),
            None => Ok(reloaded),
        }
    }
}

impl Shared {
    /// Checks an edit and brings its files to their places. It is over when the host has taken them. Blocking.
    fn write(
        &self,
        plan: impl FnOnce(&Ground, &Archive) -> Result<(Edit, String), EditError>,
    ) -> Result<Editing, EditError> {
        self.archive.catch_up()?;
        let latest = self.archive.latest();
        let number = latest.as_ref().map(|latest| latest.number);
        let ground = Ground::look(&self.path, latest)?;
        // Best effort: what an edit left that died before it was written down is nobody's, and in nobody's way.
        let _ = sealed::remove_unfinished(&ground.bots_dir);
        let (edit, reason) = plan(&ground, &self.archive)?;
        if let Some(based_on) = edit.based_on.filter(|based_on| Some(*based_on) != number) {
            return Err(EditError::Overtaken { based_on, latest: number });
        }
        let (bots_dir, users) = ground.check(&edit)?;
        let Edit { who, config, entries, mut components, .. } = edit;
        // A bot that was switched off or refused had no component in force then, and still needs its file.
        components.retain(|file, hash| hash.is_some() || !users.iter().any(|(_, used)| used == file));
        let (author, reason) = who.or(&reason);
        tracing::info!(author, reason, "the configuration is edited");
        let path = std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone());
        let bots_dir = std::path::absolute(&bots_dir).unwrap_or(bots_dir);
        let intent = Intent { author, reason, path, bots_dir, config, entries, components };
        let editing = self.archive.editing();
        let begun = self.archive.begin_edit(intent).map_err(|error| match error {
            GenerationError::Lost { path, hash } => {
                let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                EditError::NoComponent { bots: users_of(&file, &users), file, hash }
            }
            error => error.into(),
        });
        begun.map(|()| editing)
    }
}

/// Returns the bots that use a component, for people.
fn users_of(file: &str, users: &[(BotName, ComponentName)]) -> String {
    let names: BTreeSet<_> =
        users.iter().filter(|(_, used)| used.as_str() == file).map(|(name, _)| format!("bot {name}")).collect();
    if names.is_empty() {
        // A component without an entry is a bot named after its file.
        return format!("bot {}", file.strip_suffix(".wasm").unwrap_or(file));
    }
    names.into_iter().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
pub(super) mod tests;
