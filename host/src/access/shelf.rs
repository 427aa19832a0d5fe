//! The file of accounts and tokens: what it holds, how it is read and written, and what is said where it cannot be.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Account, PASSWORD_BYTES, PowerError, Token};
use crate::id::{AccountName, TokenName};
use crate::sealed::{self, SealError};

/// Its name in the data directory.
pub const FILE: &str = "access.json";
/// Most accounts, and most tokens.
const EACH_MAX: usize = 1_000;
/// What accounts are not called: these stand for somebody else in the audit log.
const TAKEN_NAMES: [&str; 3] = ["host", "socket", "token"];

/// Why accounts and tokens cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The file is not what was written.
    #[error(
        "the accounts and tokens in {path:?} are damaged: put the file back from a copy, or move it away and make them anew with \
         `host accounts add` and `host tokens create`"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// A newer host wrote it.
    #[error("the accounts and tokens in {path:?} were written by a newer host, in format {format}: start that one")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
    /// The disk refuses.
    #[error("cannot read or write the accounts and tokens in {path:?}")]
    Disk {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The system gives no random bits.
    #[error("the system gives no random bits")]
    Random(#[source] io::Error),
    /// There is one of this name.
    #[error("there is {what} `{name}` already")]
    Taken {
        /// What: `an account` or `a token`.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// There is none of this name.
    #[error("there is no {what} `{name}`")]
    Absent {
        /// What: `account` or `token`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// There are as many as there may be.
    #[error("there are {EACH_MAX} {what} already, and no more are kept: remove one first")]
    Full {
        /// What: `accounts` or `tokens`.
        what: &'static str,
    },
    /// No account may be called that.
    #[error("no account is called `{name}`, for that is somebody else in the audit log: choose another name")]
    Reserved {
        /// The name.
        name: AccountName,
    },
    /// The password is too short or too long.
    #[error("a password has {} to {} bytes, and this one has {bytes}", PASSWORD_BYTES.start(), PASSWORD_BYTES.end())]
    PasswordLength {
        /// Its length.
        bytes: usize,
    },
    /// There is no such power.
    #[error(transparent)]
    Power(#[from] PowerError),
    /// The token would never let in.
    #[error("a token that expires in the past would let nobody in")]
    Expired,
}

/// What is kept.
///
/// What a newer host adds without another format number is passed over, and is lost with the next change. What must not be passed over
/// takes another number.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) accounts: BTreeMap<AccountName, Account>,
    pub(super) tokens: BTreeMap<TokenName, Token>,
}

impl Kept {
    /// Reads the file; nothing is kept where there is none.
    ///
    /// # Errors
    ///
    /// [`AccessError`]: never taken for an empty one.
    pub(super) fn read(path: &Path) -> Result<Self, AccessError> {
        match sealed::read(path) {
            Ok(kept) => Ok(kept),
            Err(SealError::Unreadable(error)) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(SealError::Unreadable(source)) => Err(AccessError::Disk { path: path.to_owned(), source }),
            Err(SealError::Broken) => Err(AccessError::Damaged { path: path.to_owned() }),
            Err(SealError::Newer(format)) => Err(AccessError::Newer { path: path.to_owned(), format }),
        }
    }

    /// Writes the file, as a whole or not at all.
    pub(super) fn write(&self, path: &Path) -> Result<(), AccessError> {
        sealed::write(path, self).map_err(|source| AccessError::Disk { path: path.to_owned(), source })
    }

    pub(super) fn add_account(&mut self, name: AccountName, account: Account) -> Result<(), AccessError> {
        if TAKEN_NAMES.contains(&name.as_str()) {
            return Err(AccessError::Reserved { name });
        }
        if self.accounts.contains_key(&name) {
            return Err(AccessError::Taken { what: "an account", name: name.to_string() });
        }
        if self.accounts.len() >= EACH_MAX {
            return Err(AccessError::Full { what: "accounts" });
        }
        self.accounts.insert(name, account);
        Ok(())
    }

    pub(super) fn add_token(&mut self, name: TokenName, token: Token) -> Result<(), AccessError> {
        if self.tokens.contains_key(&name) {
            return Err(AccessError::Taken { what: "a token", name: name.to_string() });
        }
        if self.tokens.len() >= EACH_MAX {
            return Err(AccessError::Full { what: "tokens" });
        }
        self.tokens.insert(name, token);
        Ok(())
    }

    pub(super) fn account_mut(&mut self, name: &AccountName) -> Result<&mut Account, AccessError> {
        self.accounts.get_mut(name).ok_or_else(|| AccessError::Absent { what: "account", name: name.to_string() })
    }

    pub(super) fn remove_account(&mut self, name: &AccountName) -> Result<(), AccessError> {
        let removed = self.accounts.remove(name).map(drop);
        removed.ok_or_else(|| AccessError::Absent { what: "account", name: name.to_string() })
    }

    pub(super) fn remove_token(&mut self, name: &TokenName) -> Result<(), AccessError> {
        let removed = self.tokens.remove(name).map(drop);
        removed.ok_or_else(|| AccessError::Absent { what: "token", name: name.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::access::{Digest, Power, Role, Standing};
    use crate::clock::Timestamp;

    fn kept() -> Kept {
        let at = Timestamp::from_millis(5);
        let power = |role, tenant: Option<&str>| Power::new(role, tenant.map(|name| name.parse().unwrap())).unwrap();
        let mut kept = Kept::default();
        let (password, standing) = ("$argon2id$x".to_owned(), Standing::Disabled);
        let account = Account { password, power: power(Role::Viewer, Some("acme")), standing, created_at: at };
        kept.add_account("anna".parse().unwrap(), account).unwrap();
        let token = Token {
            digest: Digest::of(b"x"),
            power: power(Role::Admin, None),
            created_at: at,
            expires_at: Some(Timestamp::from_millis(9)),
        };
        kept.add_token("ci".parse().unwrap(), token).unwrap();
        kept
    }

    #[test]
    fn what_is_written_is_read_again_and_is_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        assert_eq!(Kept::read(&path).unwrap(), Kept::default());
        kept().write(&path).unwrap();
        assert_eq!(Kept::read(&path).unwrap(), kept());
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_file_is_told_with_its_place_and_is_never_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        kept().write(&path).unwrap();
        let good = fs::read(&path).unwrap();
        let with_a_root = String::from_utf8(good.clone()).unwrap().replace("viewer", "admin");
        for bad in [&good[..good.len() / 2], b"", b"{}", with_a_root.as_bytes()] {
            fs::write(&path, bad).unwrap();
            let error = Kept::read(&path).unwrap_err();
            assert!(matches!(error, AccessError::Damaged { .. }), "{error}");
            let said = error.to_string();
            assert!(
                said.contains(FILE) && said.contains("move it away") && said.contains("host accounts add"),
                "{said}"
            );
        }
    }

    /// A change without another format number is one that this reader may pass over.
    #[derive(Serialize)]
    struct Next {
        accounts: BTreeMap<AccountName, serde_json::Value>,
        tokens: BTreeMap<TokenName, Token>,
        groups: Vec<String>,
    }

    #[test]
    fn a_newer_file_is_read_where_it_may_be_and_refused_where_it_may_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let Kept { accounts, tokens } = kept();
        let accounts = accounts.into_iter().map(|(name, account)| {
            let mut account = serde_json::to_value(account).unwrap();
            account["note"] = "of a later version".into();
            (name, account)
        });
        sealed::write(&path, &Next { accounts: accounts.collect(), tokens, groups: vec!["x".into()] }).unwrap();
        assert_eq!(Kept::read(&path).unwrap(), kept());
        fs::write(&path, r#"{"format":2,"sha256":"x","body":{}}"#).unwrap();
        assert!(matches!(Kept::read(&path), Err(AccessError::Newer { format: 2, .. })));
    }

    #[test]
    fn names_are_given_once_and_only_so_many_are_kept() {
        let mut kept = kept();
        let account = kept.accounts.values().next().unwrap().clone();
        let mut add = |name: &str| kept.add_account(name.parse().unwrap(), account.clone());
        assert!(matches!(add("anna"), Err(AccessError::Taken { .. })));
        for name in TAKEN_NAMES {
            assert!(matches!(add(name), Err(AccessError::Reserved { .. })), "{name}");
        }
        for number in 1..EACH_MAX {
            add(&format!("a{number}")).unwrap();
        }
        assert!(matches!(add("one-more"), Err(AccessError::Full { .. })));
    }
}
