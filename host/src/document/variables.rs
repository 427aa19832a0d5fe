//! The environment that a configuration is read in.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::sync::Arc;

/// Environment variables, as they were at one moment. Cheap to clone.
#[derive(Clone, Default)]
pub struct Variables {
    set: Arc<BTreeMap<OsString, OsString>>,
    /// What stands for one that is not set.
    otherwise: Option<&'static str>,
}

impl Variables {
    /// Returns those of this process.
    pub fn of_process() -> Self {
        std::env::vars_os().collect()
    }

    /// Returns the same, with a text for each that is not set.
    pub(crate) fn or(self, text: &'static str) -> Self {
        Self { otherwise: Some(text), ..self }
    }

    /// Returns the value of one.
    pub(super) fn get(&self, name: &str) -> Option<&OsStr> {
        self.set.get(OsStr::new(name)).map(OsString::as_os_str).or(self.otherwise.map(OsStr::new))
    }

    /// Returns all whose names begin with `prefix`, in the order of their names.
    pub(super) fn beginning_with(&self, prefix: &str) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        let all = self.set.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()));
        all.filter(move |(name, _)| name.as_encoded_bytes().starts_with(prefix.as_bytes()))
    }
}

impl<K: Into<OsString>, V: Into<OsString>> FromIterator<(K, V)> for Variables {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        let set = variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self { set: Arc::new(set), otherwise: None }
    }
}

impl fmt::Debug for Variables {
    /// The names alone: any value may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.set.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_print_without_their_values() {
        let variables: Variables = [("TOKEN", "hunter2")].into_iter().collect();
        assert_eq!(format!("{variables:?}"), "{\"TOKEN\"}");
    }
}
