//! Where a person's store, identity, cache and memory lie: the XDG base directories.

use std::ffi::OsString;
use std::path::PathBuf;

/// The folders of one person on one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// The identity: `$XDG_CONFIG_HOME/cas`.
    pub config: PathBuf,
    /// The default store: `$XDG_DATA_HOME/cas`.
    pub data: PathBuf,
    /// What can be made again: `$XDG_CACHE_HOME/cas`.
    pub cache: PathBuf,
    /// What was seen last, to notice a rolled-back store: `$XDG_STATE_HOME/cas`.
    pub state: PathBuf,
}

impl Places {
    /// Reads them from an environment; `None` when there is neither the XDG variables nor HOME.
    pub fn from_env(var: impl Fn(&str) -> Option<OsString>) -> Option<Self> {
        let set = |name: &str| var(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let place = |name: &str, default: &str| {
            let base = set(name).filter(|p| p.is_absolute()).or_else(|| Some(set("HOME")?.join(default)));
            base.map(|p| p.join("cas"))
        };
        Some(Self {
            config: place("XDG_CONFIG_HOME", ".config")?,
            data: place("XDG_DATA_HOME", ".local/share")?,
            cache: place("XDG_CACHE_HOME", ".cache")?,
            state: place("XDG_STATE_HOME", ".local/state")?,
        })
    }

    /// The store when none is named.
    pub fn store(&self) -> PathBuf {
        self.data.join("store")
    }

    /// The file with the address of the cluster that was logged in to.
    pub fn remembered(&self) -> PathBuf {
        self.config.join("store")
    }

    /// The identity when none is named.
    pub fn identity(&self) -> PathBuf {
        self.config.join("identity")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(vars: &[(&str, &str)]) -> Option<Places> {
        Places::from_env(|name| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| v.into()))
    }

    #[test]
    fn xdg_variables_win_over_home_and_relative_ones_are_ignored() {
        let home =
            places(&[("HOME", "/h"), ("XDG_DATA_HOME", "/d"), ("XDG_CACHE_HOME", "rel"), ("XDG_STATE_HOME", "")]);
        let home = home.unwrap();
        assert_eq!(home.store(), PathBuf::from("/d/cas/store"));
        assert_eq!(home.identity(), PathBuf::from("/h/.config/cas/identity"));
        assert_eq!(home.cache, PathBuf::from("/h/.cache/cas"));
        assert_eq!(home.state, PathBuf::from("/h/.local/state/cas"));
        assert_eq!(places(&[]), None);
    }
}
