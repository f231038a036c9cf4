//! Names of histories: a path in a vault (`laptop/documents`). FORMAT §6.
//!
//! Promise: a [`Name`] fits into a reference `NAME@seq:path`, into a path and onto a terminal.

use std::fmt;
use std::str::FromStr;

/// A name, in bytes.
pub const MAX_NAME: usize = 255;

/// A checked name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

/// Text that cannot be a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} cannot be a name: expected {expected}")]
pub struct NameError {
    /// What stood there, shortened.
    pub name: String,
    /// What a name must be.
    pub expected: &'static str,
}

impl Name {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is `prefix` or lies under it, whole components compared: access is granted so.
    pub fn is_under(&self, prefix: &Name) -> bool {
        self.0.strip_prefix(&prefix.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match fault(text) {
            None => Ok(Self(text.to_owned())),
            Some(expected) => Err(NameError { name: text.chars().take(MAX_NAME).collect(), expected }),
        }
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn fault(text: &str) -> Option<&'static str> {
    if !(1..=MAX_NAME).contains(&text.len()) {
        return Some("1 to 255 bytes");
    }
    if text.chars().any(char::is_control) {
        return Some("no control characters");
    }
    if text.contains(['@', ':']) {
        return Some("no '@' and no ':'");
    }
    let bad = |component: &str| matches!(component, "" | "." | "..");
    text.split('/').any(bad).then_some("components that are not empty, '.' or '..'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_paths_that_a_reference_can_hold() {
        for good in ["a", "laptop/documents", "Ünïcode/ß", "a b", "...", ".hidden/x", &"n".repeat(255)] {
            assert_eq!(good.parse::<Name>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "a/../b",
            "a/.",
            "a@3",
            "a:b",
            "a\nb",
            "a\u{7f}",
            "\u{9b}",
            &"n".repeat(256),
        ] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_prefix_ends_at_a_component() {
        let name: Name = "laptop/documents".parse().unwrap();
        for (prefix, under) in
            [("laptop", true), ("laptop/documents", true), ("lap", false), ("laptop/documents/x", false)]
        {
            assert_eq!(name.is_under(&prefix.parse().unwrap()), under, "{prefix}");
        }
    }
}
