//! The process environment, captured once at start and handed to whoever may look at it.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Environment variables by name. Values are never printed: they may be keys.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
}

impl Environment {
    /// Captures the environment of this process. Variables that are not UTF-8 are left out: none
    /// that AWS defines can hold such a value.
    pub fn of_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// The value of `name`, where it is set and not blank. Every SDK treats blank as missing.
    pub fn variable(&self, name: &str) -> Option<&str> {
        let value = self.variables.get(name)?;
        (!value.trim().is_empty()).then_some(value.as_str())
    }

    /// Whether `name` says `true`, in any case, as AWS switches are compared.
    pub fn is_true(&self, name: &str) -> bool {
        self.variable(name)
            .is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
    }

    /// All that is set, for a program that inherits it.
    pub fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        let variables = self.variables.iter();
        variables.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// `$HOME`, the only home that AWS SDKs look at on Linux.
    pub fn home(&self) -> Option<PathBuf> {
        self.variable("HOME").map(PathBuf::from)
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(variables: T) -> Self {
        Self {
            variables: variables.into_iter().collect(),
        }
    }
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_set()
            .entries(self.variables.keys())
            .finish()
    }
}
