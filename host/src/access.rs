//! Who may do what: the roles, whose things somebody may see, and who somebody is once he is let in. Knows no request and no file.

mod role;

pub use self::role::{Caller, Role, RoleError, Scope, Way};
