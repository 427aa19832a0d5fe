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

/// What somebody may do, and with what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Power {
    role: Role,
    scope: Scope,
}

/// Why there is no such power.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what belongs to a tenant is `viewer` or `operator`: an admin changes the configuration of the whole host")]
pub struct PowerError;

impl Power {
    /// Returns a role over a tenant's things; none: over the whole host.
    ///
    /// # Errors
    ///
    /// [`PowerError`]: no tenant has an admin.
    pub fn new(role: Role, tenant: Option<TenantName>) -> Result<Self, PowerError> {
        match tenant {
            Some(_) if role == Role::Admin => Err(PowerError),
            tenant => Ok(Self { role, scope: tenant.map_or(Scope::Host, Scope::Tenant) }),
        }
    }

    /// Returns what may be done.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Returns with what.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Returns whether it is that of an admin of the host.
    pub fn runs_host(&self) -> bool {
        self.role == Role::Admin && self.scope == Scope::Host
    }
}

/// A [`Power`] as it is written.
#[derive(Serialize, Deserialize)]
struct Written {
    role: Role,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tenant: Option<TenantName>,
}

impl TryFrom<Written> for Power {
    type Error = PowerError;

    fn try_from(written: Written) -> Result<Self, PowerError> {
        Self::new(written.role, written.tenant)
    }
}

impl From<Power> for Written {
    fn from(power: Power) -> Self {
        Self { role: power.role, tenant: power.scope.tenant().cloned() }
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

impl Way {
    /// Returns the way's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::Token => "token",
            Self::Session => "session",
        }
    }
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

    /// Returns who has a power under a name.
    pub(super) fn with(power: &Power, name: Arc<str>, way: Way) -> Self {
        Self { name, role: power.role, scope: power.scope.clone(), way }
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
    fn no_tenant_has_an_admin_in_a_file_either() {
        let tenant: TenantName = "acme".parse().unwrap();
        assert_eq!(Power::new(Role::Admin, Some(tenant.clone())), Err(PowerError));
        assert!(serde_json::from_str::<Power>(r#"{"role":"admin","tenant":"acme"}"#).is_err());
        let power = Power::new(Role::Operator, Some(tenant)).unwrap();
        let written = serde_json::to_string(&power).unwrap();
        assert_eq!(written, r#"{"role":"operator","tenant":"acme"}"#);
        assert_eq!(serde_json::from_str::<Power>(&written).unwrap(), power);
        assert!(!power.runs_host() && Power::new(Role::Admin, None).unwrap().runs_host());
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
