//! The book of who is let in: accounts, tokens and sessions together. What changes it is in `change`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::session::{Sessions, Subject};
use super::shelf::{FILE, Kept};
use super::{
    AccessError, Account, Caller, Denied, Digest, Key, Lockout, Power, Role, Scope, Source, Standing, Token, Way,
    password,
};
use crate::clock::Timestamp;
use crate::id::{AccountName, TokenName};
use crate::secret::Secret;

/// Passwords that are tried at the same time; each takes 19 MiB and a processor. Further ones wait.
const HASHING_MAX: usize = 2;

/// The book. Cheap to clone: all are the same one.
#[derive(Clone)]
pub struct Book(pub(super) Arc<Shared>);

pub(super) struct Shared {
    /// None: nothing is written, for an admin side without a host.
    pub(super) path: Option<PathBuf>,
    /// Held by who changes what is kept, from reading it until it is on disk.
    pub(super) writing: Mutex<()>,
    state: Mutex<State>,
    /// Whenever somebody may have lost what he could do.
    pub(super) changed: watch::Sender<()>,
    hashing: Arc<Semaphore>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) kept: Arc<Kept>,
    pub(super) sessions: Sessions,
    pub(super) lockout: Lockout,
    /// When each token last let somebody in, by this process.
    used: HashMap<TokenName, Timestamp>,
    /// Of the configuration's token.
    configured: Option<Digest>,
}

/// A session that was begun.
#[derive(Debug, Clone)]
pub struct Opened {
    /// What the browser keeps, and nobody else.
    pub id: Key,
    /// What its pages send along with what changes something.
    pub csrf: Key,
    /// Who it is.
    pub caller: Caller,
}

/// Somebody by his session.
#[derive(Debug, Clone)]
pub struct SignedIn {
    /// Who it is.
    pub caller: Caller,
    /// What his pages send along with what changes something.
    pub csrf: Key,
}

impl std::fmt::Debug for Book {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Book").field("path", &self.0.path).finish_non_exhaustive()
    }
}

impl Book {
    /// Opens the book of a data directory; an empty one where there is none. Blocks.
    ///
    /// # Errors
    ///
    /// [`AccessError`]: what is there cannot be read, and is left as it is.
    pub fn open(data_dir: &Path) -> Result<Self, AccessError> {
        let path = data_dir.join(FILE);
        let kept = Kept::read(&path)?;
        Ok(Self::of(Some(path), kept))
    }

    /// Returns an empty book that is written nowhere: for an admin side without a host.
    pub fn absent() -> Self {
        Self::of(None, Kept::default())
    }

    fn of(path: Option<PathBuf>, kept: Kept) -> Self {
        let state = State { kept: Arc::new(kept), ..State::default() };
        let hashing = Arc::new(Semaphore::new(HASHING_MAX));
        let (state, changed) = (Mutex::new(state), watch::Sender::new(()));
        Self(Arc::new(Shared { path, writing: Mutex::new(()), state, changed, hashing }))
    }

    /// Puts the configuration's token in force, from the next request on. Sessions that were begun with another one end.
    pub fn configure(&self, token: Option<&Secret>) {
        let configured = token.map(|token| Digest::of(token.expose().as_bytes()));
        let mut state = self.state();
        if state.configured != configured {
            state.configured = configured;
            state.sessions.end_all_of(&Subject::Configured);
            self.0.changed.send_replace(());
        }
    }

    /// Returns whether anybody can be let in as an admin of the host by what he shows: a token of the configuration, or an account
    /// that is enabled.
    pub fn has_admin(&self) -> bool {
        let state = self.state();
        let is_admin = |account: &Account| account.power.runs_host() && account.standing == Standing::Enabled;
        state.configured.is_some() || state.kept.accounts.values().any(is_admin)
    }

    /// Returns whether there is anything that lets in: without, it is of no use to ask for it.
    pub fn lets_anybody_in(&self) -> bool {
        let state = self.state();
        state.configured.is_some() || !state.kept.accounts.is_empty() || !state.kept.tokens.is_empty()
    }

    /// Returns every account, by name.
    pub fn accounts(&self) -> Vec<(AccountName, Account)> {
        let kept = Arc::clone(&self.state().kept);
        kept.accounts.iter().map(|(name, account)| (name.clone(), account.clone())).collect()
    }

    /// Returns every token, by name, and when it last let somebody in since the host began.
    pub fn tokens(&self) -> Vec<(TokenName, Token, Option<Timestamp>)> {
        let state = self.state();
        let with_use =
            |(name, token): (&TokenName, &Token)| (name.clone(), token.clone(), state.used.get(name).copied());
        state.kept.tokens.iter().map(with_use).collect()
    }

    /// Returns who shows this token. No source: he comes by the socket.
    ///
    /// # Errors
    ///
    /// [`Denied`].
    pub fn by_token(&self, given: &[u8], source: Option<Source>) -> Result<Caller, Denied> {
        self.subject_of_token(given, source).map(|(_, caller)| caller)
    }

    fn subject_of_token(&self, given: &[u8], source: Option<Source>) -> Result<(Subject, Caller), Denied> {
        let (now, wall) = (Instant::now(), Timestamp::now());
        let given = Digest::of(given);
        let mut state = self.state();
        if let Some(source) = source {
            state.lockout.check(source, now)?;
        }
        match state.token(&given, wall) {
            Some(subject) => {
                let caller = state.caller(&subject, Way::Token, wall).ok_or(Denied::Wrong)?;
                if let Subject::Token(name) = &subject {
                    state.used.insert(name.clone(), wall);
                }
                Ok((subject, caller))
            }
            None => {
                if let Some(source) = source {
                    state.lockout.failed(source, now);
                }
                Err(Denied::Wrong)
            }
        }
    }

    /// Returns whose session this is, and notes that it was seen; none: nobody's, or not any more. What he may do is what his account
    /// or token may do now.
    pub fn by_session(&self, id: &[u8]) -> Option<SignedIn> {
        let id = Digest::of(id);
        let mut state = self.state();
        let session = state.sessions.seen(&id, Instant::now())?;
        let (subject, csrf) = (session.subject.clone(), session.csrf.clone());
        match state.caller(&subject, Way::Session, Timestamp::now()) {
            Some(caller) => Some(SignedIn { caller, csrf }),
            None => {
                state.sessions.end(&id);
                None
            }
        }
    }

    /// Signs in to an account. Takes as long for one that does not exist.
    ///
    /// # Errors
    ///
    /// [`Denied`].
    pub async fn sign_in(&self, name: &str, password: &Secret, source: Option<Source>) -> Result<Opened, Denied> {
        let name = self.check_password(name, password, source).await?;
        let (id, csrf) = keys()?;
        self.begin(Subject::Account(name), id, csrf)
    }

    /// Signs in with a token.
    ///
    /// # Errors
    ///
    /// [`Denied`].
    pub fn sign_in_by_token(&self, given: &Secret, source: Option<Source>) -> Result<Opened, Denied> {
        let (subject, _) = self.subject_of_token(given.expose().as_bytes(), source)?;
        let (id, csrf) = keys()?;
        self.begin(subject, id, csrf)
    }

    /// Ends a session. One that is over stays over.
    pub fn sign_out(&self, id: &[u8]) {
        self.state().sessions.end(&Digest::of(id));
        self.0.changed.send_replace(());
    }

    /// Returns what changes whenever somebody may have lost what he could do.
    pub(super) fn changed(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }

    /// Returns whether what was shown still lets this one in, as who he was. Does not count as being seen.
    pub(super) fn lets_in(&self, shown: &Digest, caller: &Caller) -> bool {
        let (now, wall) = (Instant::now(), Timestamp::now());
        let state = self.state();
        let subject = match caller.way {
            Way::Socket => return true,
            Way::Token => state.token(shown, wall),
            Way::Session => state.sessions.of(shown, now).map(|session| session.subject.clone()),
        };
        subject.and_then(|subject| state.caller(&subject, caller.way, wall)).as_ref() == Some(caller)
    }

    /// Returns the name of the account whose password this is. A wrong one counts against the source.
    ///
    /// # Errors
    ///
    /// [`Denied`].
    pub async fn check_password(
        &self,
        name: &str,
        password: &Secret,
        source: Option<Source>,
    ) -> Result<AccountName, Denied> {
        let name: AccountName = name.parse().map_err(|_| Denied::Wrong)?;
        let account = {
            let mut state = self.state();
            if let Some(source) = source {
                state.lockout.attempt(source, &name, Instant::now())?;
            }
            state.kept.accounts.get(&name).cloned()
        };
        let (tried, password) = (account.as_ref().map(|account| account.password.clone()), password.clone());
        let is_right = self.hashing(move || password::is_right(&password, tried.as_deref())).await;
        let mut state = self.state();
        // Another password, or another account of that name, may have come meanwhile.
        let is_as_before = state.kept.accounts.get(&name) == account.as_ref();
        let is_enabled = account.is_some_and(|account| account.standing == Standing::Enabled);
        if !(is_right && is_enabled && is_as_before) {
            return Err(Denied::Wrong);
        }
        if let Some(source) = source {
            state.lockout.succeeded(source, &name);
        }
        Ok(name)
    }

    fn begin(&self, subject: Subject, id: Key, csrf: Key) -> Result<Opened, Denied> {
        let mut state = self.state();
        let caller = state.caller(&subject, Way::Session, Timestamp::now()).ok_or(Denied::Wrong)?;
        state.sessions.begin(id.digest(), subject, csrf.clone(), Instant::now());
        Ok(Opened { id, csrf, caller })
    }

    /// Has passwords digested, a few at a time, where nobody waits for the thread.
    pub(super) async fn hashing<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let place = Arc::clone(&self.0.hashing).acquire_owned().await.expect("the semaphore is never closed");
        let worked = tokio::task::spawn_blocking(move || {
            let worked = work();
            drop(place);
            worked
        });
        worked.await.expect("digesting a password does not panic")
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("nobody panics while holding it")
    }
}

impl State {
    /// Returns what a token is of. Looks at every one, so that the time says nothing of which it was.
    fn token(&self, given: &Digest, now: Timestamp) -> Option<Subject> {
        let mut found = self.configured.filter(|configured| configured.matches(given)).map(|_| Subject::Configured);
        for (name, token) in &self.kept.tokens {
            if token.digest.matches(given) && token.is_valid(now) {
                found = Some(Subject::Token(name.clone()));
            }
        }
        found
    }

    /// Returns who somebody is now; none: nobody any more.
    fn caller(&self, subject: &Subject, way: Way, now: Timestamp) -> Option<Caller> {
        let with = |power: &Power, name: String| Caller::with(power, name.into(), way);
        match subject {
            Subject::Configured => {
                self.configured?;
                Some(Caller { name: "token".into(), role: Role::Admin, scope: Scope::Host, way })
            }
            Subject::Token(name) => {
                let token = self.kept.tokens.get(name).filter(|token| token.is_valid(now))?;
                Some(with(&token.power, format!("token {name}")))
            }
            Subject::Account(name) => {
                let account = self.kept.accounts.get(name)?;
                (account.standing == Standing::Enabled).then(|| with(&account.power, name.to_string()))
            }
        }
    }

    /// Forgets when a token was used.
    pub(super) fn forget_use(&mut self, name: &TokenName) {
        self.used.remove(name);
    }
}

fn keys() -> Result<(Key, Key), Denied> {
    match (Key::generate(""), Key::generate("")) {
        (Ok(id), Ok(csrf)) => Ok((id, csrf)),
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "nobody can sign in: the system gives no random bits");
            Err(Denied::Wrong)
        }
    }
}

#[cfg(test)]
mod tests;
