//! Roles, scopes, and the one who has them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::id::TenantName;

/// What somebody may do. Each may all that those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Looks.
    Viewer,
    /// Runs bots and connectors, and deals with messages and alerts.
    Operator,
    /// Changes the configuration, and says who may do what.
    Admin,
}

/// Why a text is no role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a role is `viewer`, `operator` or `admin`")]
pub struct RoleError;

impl Role {
    /// Every role, the least first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// Returns the role's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = RoleError;

    fn from_str(text: &str) -> Result<Self, RoleError> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(RoleError)
    }
}

impl Serialize for Role {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Role {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Whose things somebody sees and touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// The whole host.
    Host,
    /// The bots of one tenant, and what belongs to them.
    Tenant(TenantName),
}

impl Scope {
    /// Returns whether what belongs to `tenant` is within it.
    pub fn covers(&self, tenant: &TenantName) -> bool {
        match self {
            Self::Host => true,
            Self::Tenant(own) => own == tenant,
        }
    }

    /// Returns the tenant that it is limited to; none: the whole host.
    pub fn tenant(&self) -> Option<&TenantName> {
        match self {
            Self::Host => None,
            Self::Tenant(tenant) => Some(tenant),
        }
    }
}

/// By what somebody was let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The admin socket: the user that runs the host.
    Socket,
    /// A token in a header.
    Token,
    /// A session of a browser, which sends its cookie by itself: what changes something needs more than that.
    Session,
}

/// Somebody who was let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// What the audit log calls him: an account's name, `token NAME`, `socket`.
    pub name: Arc<str>,
    /// What he may do.
    pub role: Role,
    /// With what.
    pub scope: Scope,
    /// By what he was let in.
    pub way: Way,
}

impl Caller {
    /// Returns who comes by the admin socket.
    pub fn by_socket() -> Self {
        Self { name: "socket".into(), role: Role::Admin, scope: Scope::Host, way: Way::Socket }
    }

    /// Returns whether he may do with the whole host what takes this role.
    pub fn runs_host(&self, role: Role) -> bool {
        self.role >= role && self.scope == Scope::Host
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_ordered_and_named() {
        assert!(Role::ALL.is_sorted());
        for role in Role::ALL {
            assert_eq!(role.to_string().parse(), Ok(role));
        }
        assert_eq!("root".parse::<Role>(), Err(RoleError));
    }

    #[test]
    fn a_tenant_has_its_own_and_the_host_has_all() {
        let [mine, other] = ["acme", "other"].map(|name| name.parse::<TenantName>().unwrap());
        let scope = Scope::Tenant(mine.clone());
        assert!(scope.covers(&mine) && !scope.covers(&other));
        assert!(Scope::Host.covers(&mine) && Scope::Host.covers(&other));
        let caller = Caller { scope, ..Caller::by_socket() };
        assert!(!caller.runs_host(Role::Viewer) && Caller::by_socket().runs_host(Role::Admin));
    }
}
