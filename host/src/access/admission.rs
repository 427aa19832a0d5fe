//! What lets in one who stays for longer than one request: looked at again whenever the book changes.

use std::time::Duration;

use super::{Book, Caller, Digest};

/// How often it is looked at although nothing was changed: sessions and tokens also end by themselves.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// By what somebody was let in, and as whom.
#[derive(Debug, Clone)]
pub struct Admission {
    book: Book,
    caller: Caller,
    shown: Digest,
}

impl Admission {
    /// Returns the admission of one who showed a token or a session's id.
    pub fn new(book: Book, caller: Caller, shown: &[u8]) -> Self {
        Self { book, caller, shown: Digest::of(shown) }
    }

    /// Waits until what was shown lets nobody in any more, or somebody who may do something else. Does not count as being seen.
    pub async fn ended(self) {
        let mut changed = self.book.changed();
        loop {
            changed.mark_unchanged();
            if !self.book.lets_in(&self.shown, &self.caller) {
                return;
            }
            // The book is there for as long as this is.
            let _ = tokio::time::timeout(LOOK_EVERY, changed.changed()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{AccountChange, NewAccount, NewToken, Role, Standing};
    use crate::secret::Secret;

    const PASSWORD: &str = "correct horse battery";

    async fn book() -> Book {
        let book = Book::absent();
        for name in ["anna", "bert"] {
            let name = name.parse().unwrap();
            let new = NewAccount { name, password: Secret::new(PASSWORD), role: Role::Operator, tenant: None };
            book.add_account(new).await.unwrap();
        }
        book
    }

    async fn signed_in(book: &Book, name: &str) -> Admission {
        let opened = book.sign_in(name, &Secret::new(PASSWORD), None).await.unwrap();
        Admission::new(book.clone(), opened.caller, opened.id.expose().as_bytes())
    }

    /// Returns whether it has ended, now that all that could end it has happened.
    async fn has_ended(admission: &Admission) -> bool {
        let ended = std::pin::pin!(admission.clone().ended());
        futures_util::future::poll_immediate(ended).await.is_some()
    }

    #[tokio::test]
    async fn a_session_s_admission_ends_with_it_and_with_what_it_may_do() {
        let book = book().await;
        let (anna, bert) = (signed_in(&book, "anna").await, signed_in(&book, "bert").await);
        let waits = tokio::spawn(anna.clone().ended());
        tokio::task::yield_now().await;
        assert!(!has_ended(&anna).await && !waits.is_finished());
        let lowered = AccountChange { role: Some(Role::Viewer), standing: None };
        book.change_account("anna".parse().unwrap(), lowered).await.unwrap();
        waits.await.unwrap();
        let again = signed_in(&book, "anna").await;
        let disabled = AccountChange { role: None, standing: Some(Standing::Disabled) };
        book.change_account("anna".parse().unwrap(), disabled).await.unwrap();
        assert!(has_ended(&again).await && !has_ended(&bert).await);
        book.set_password("bert".parse().unwrap(), Secret::new("another long password")).await.unwrap();
        assert!(has_ended(&bert).await);
    }

    #[tokio::test]
    async fn a_token_s_admission_ends_when_it_is_revoked_though_another_has_its_name() {
        let book = book().await;
        let new = || NewToken { name: "ci".parse().unwrap(), role: Role::Viewer, tenant: None, expires_at: None };
        let key = book.create_token(new()).await.unwrap();
        let caller = book.by_token(key.expose().as_bytes(), None).unwrap();
        let admission = Admission::new(book.clone(), caller, key.expose().as_bytes());
        assert!(!has_ended(&admission).await);
        book.revoke_token("ci".parse().unwrap()).await.unwrap();
        book.create_token(new()).await.unwrap();
        assert!(has_ended(&admission).await);
    }
}
