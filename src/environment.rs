//! The process environment, captured once at start and handed to whoever may look at it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::os::process;
use crate::secret::Secret;

/// Environment variables by name. Values are never printed: they may be keys.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, Value>,
}

#[derive(Clone)]
enum Value {
    Plain(String),
    Secret(Arc<Secret>),
}

impl Value {
    fn as_str(&self) -> &str {
        match self {
            Self::Plain(text) => text,
            Self::Secret(secret) => secret.expose(),
        }
    }
}

/// Whether a variable of this name is likely to hold a secret: those that AWS defines, those that
/// other programs call alike, and proxies, whose URIs may have a password.
fn is_secret(name: &str) -> bool {
    const WORDS: [&str; 5] = ["SECRET", "TOKEN", "PASSWORD", "_KEY", "_PROXY"];
    let name = name.to_ascii_uppercase();
    WORDS.iter().any(|word| name.contains(word))
}

impl Environment {
    /// Captures the environment of this process. Variables that are not UTF-8 are left out: none
    /// that AWS defines can hold such a value.
    pub fn of_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// Wipes what the kernel gave this process, which `/proc/PID/environ` shows for as long as it
    /// runs: the values of secrets. Programs that are started without an environment of their own
    /// get none of them, so this is for the daemon alone, once it has a copy.
    pub fn wipe_original() {
        process::wipe_environment(is_secret);
    }

    /// The value of `name`, where it is set and not blank. Every SDK treats blank as missing.
    pub fn variable(&self, name: &str) -> Option<&str> {
        let value = self.variables.get(name)?.as_str();
        (!value.trim().is_empty()).then_some(value)
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
            variables: variables
                .into_iter()
                .map(|(name, value)| {
                    let value = if is_secret(&name) {
                        Value::Secret(Arc::new(Secret::from(value)))
                    } else {
                        Value::Plain(value)
                    };
                    (name, value)
                })
                .collect(),
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
