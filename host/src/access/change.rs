//! What changes the book: accounts and tokens are made, changed and removed. Each change is on disk before it counts.

use std::sync::Arc;

use super::book::State;
use super::session::Subject;
use super::shelf::Kept;
use super::token::PREFIX;
use super::{AccessError, Account, Book, Key, Power, Role, Standing, Token, password};
use crate::clock::Timestamp;
use crate::id::{AccountName, TenantName, TokenName};
use crate::secret::Secret;

/// An account to be made.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// Its name.
    pub name: AccountName,
    /// Its password.
    pub password: Secret,
    /// What it may do.
    pub role: Role,
    /// Whose things it is limited to; none: the whole host.
    pub tenant: Option<TenantName>,
}

/// A token to be made.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// Its name.
    pub name: TokenName,
    /// What it may do.
    pub role: Role,
    /// Whose things it is limited to; none: the whole host.
    pub tenant: Option<TenantName>,
    /// From when on it does not let in; none: it does until it is revoked.
    pub expires_at: Option<Timestamp>,
}

/// What is changed of an account; what is none stays.
#[derive(Debug, Clone, Default)]
pub struct AccountChange {
    /// What it may do.
    pub role: Option<Role>,
    /// Whether it lets in.
    pub standing: Option<Standing>,
}

impl Book {
    /// Makes an account.
    ///
    /// # Errors
    ///
    /// [`AccessError`], as of everything here: nothing has changed.
    pub async fn add_account(&self, new: NewAccount) -> Result<(), AccessError> {
        let NewAccount { name, password, role, tenant } = new;
        let power = Power::new(role, tenant)?;
        let password = self.hashing(move || password::digest(&password)).await?;
        let account = Account { password, power, standing: Standing::Enabled, created_at: Timestamp::now() };
        self.change(move |kept| kept.add_account(name, account), |_| {}).await
    }

    /// Changes what an account may do, or whether it lets in. Its sessions end.
    ///
    /// # Errors
    ///
    /// [`AccessError`].
    pub async fn change_account(&self, name: AccountName, change: AccountChange) -> Result<(), AccessError> {
        let subject = Subject::Account(name.clone());
        let apply = move |kept: &mut Kept| {
            let account = kept.account_mut(&name)?;
            if let Some(role) = change.role {
                account.power = Power::new(role, account.power.scope().tenant().cloned())?;
            }
            account.standing = change.standing.unwrap_or(account.standing);
            Ok(())
        };
        self.change(apply, move |state| state.sessions.end_all_of(&subject)).await
    }

    /// Gives an account another password. Its sessions end.
    ///
    /// # Errors
    ///
    /// [`AccessError`].
    pub async fn set_password(&self, name: AccountName, password: Secret) -> Result<(), AccessError> {
        let digest = self.hashing(move || password::digest(&password)).await?;
        let subject = Subject::Account(name.clone());
        let apply = move |kept: &mut Kept| {
            kept.account_mut(&name)?.password = digest;
            Ok(())
        };
        self.change(apply, move |state| state.sessions.end_all_of(&subject)).await
    }

    /// Removes an account. Its sessions end.
    ///
    /// # Errors
    ///
    /// [`AccessError`].
    pub async fn remove_account(&self, name: AccountName) -> Result<(), AccessError> {
        let removed = name.clone();
        let apply = move |kept: &mut Kept| kept.remove_account(&removed);
        let then = move |state: &mut State| {
            state.lockout.forget(&name);
            state.sessions.end_all_of(&Subject::Account(name));
        };
        self.change(apply, then).await
    }

    /// Makes a token and returns it, which nobody can do a second time.
    ///
    /// # Errors
    ///
    /// [`AccessError`].
    pub async fn create_token(&self, new: NewToken) -> Result<Key, AccessError> {
        let NewToken { name, role, tenant, expires_at } = new;
        let power = Power::new(role, tenant)?;
        let created_at = Timestamp::now();
        if expires_at.is_some_and(|expires_at| expires_at <= created_at) {
            return Err(AccessError::Expired);
        }
        let key = Key::generate(PREFIX).map_err(AccessError::Random)?;
        let token = Token { digest: key.digest(), power, created_at, expires_at };
        self.change(move |kept| kept.add_token(name, token), |_| {}).await?;
        Ok(key)
    }

    /// Removes a token. What was begun with it ends.
    ///
    /// # Errors
    ///
    /// [`AccessError`].
    pub async fn revoke_token(&self, name: TokenName) -> Result<(), AccessError> {
        let removed = name.clone();
        let apply = move |kept: &mut Kept| kept.remove_token(&removed);
        let then = move |state: &mut State| {
            state.forget_use(&name);
            state.sessions.end_all_of(&Subject::Token(name));
        };
        self.change(apply, then).await
    }

    /// Changes what is kept: on disk first, then in force, together with what follows from it.
    async fn change(
        &self,
        apply: impl FnOnce(&mut Kept) -> Result<(), AccessError> + Send + 'static,
        then: impl FnOnce(&mut State) + Send + 'static,
    ) -> Result<(), AccessError> {
        let book = self.clone();
        // Goes on to its end though nobody may wait for it any more.
        let changed = tokio::task::spawn_blocking(move || {
            let _writing = book.0.writing.lock().expect("nobody panics while holding it");
            let mut kept = Kept::clone(&book.state().kept);
            apply(&mut kept)?;
            if let Some(path) = &book.0.path {
                kept.write(path)?;
            }
            let mut state = book.state();
            state.kept = Arc::new(kept);
            then(&mut state);
            book.0.changed.send_replace(());
            Ok(())
        });
        changed.await.expect("changing the book does not panic")
    }
}
