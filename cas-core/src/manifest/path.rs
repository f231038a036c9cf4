//! Paths in a manifest and their order. FORMAT §5.
//!
//! Promise: a checked path has only real components, so it cannot leave the folder it is restored into;
//! in this order a directory stands directly before all that is in it.

use crate::limits::MAX_PATH;
use std::cmp::Ordering;
use std::fmt;

/// Bytes that are no path of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a path in a manifest needs {expected}")]
pub struct PathError {
    /// What is required.
    pub expected: &'static str,
}

/// A checked path: relative, components separated by `/`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ManifestPath(Vec<u8>);

impl ManifestPath {
    /// Checks and takes a path.
    pub fn new(path: impl Into<Vec<u8>>) -> Result<Self, PathError> {
        let path = path.into();
        check_path(&path)?;
        Ok(Self(path))
    }

    /// For paths that were checked already.
    pub(super) fn from_checked(path: &[u8]) -> Self {
        debug_assert!(check_path(path).is_ok());
        Self(path.to_vec())
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, given away.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// The directory it is in; `None` at the top.
    pub fn parent(&self) -> Option<&[u8]> {
        parent_of(&self.0)
    }

    /// Its last component.
    pub fn base_name(&self) -> &[u8] {
        base_name_of(&self.0)
    }

    /// The path of `name` in this directory.
    pub fn join(&self, name: &[u8]) -> Result<Self, PathError> {
        if name.contains(&b'/') {
            return Err(PathError { expected: "names without /" });
        }
        Self::new([&self.0, &b"/"[..], name].concat())
    }

    /// Whether it lies in `dir`, at any depth.
    pub fn is_below(&self, dir: &[u8]) -> bool {
        is_below(&self.0, dir)
    }
}

impl AsRef<[u8]> for ManifestPath {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl PartialOrd for ManifestPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ManifestPath {
    fn cmp(&self, other: &Self) -> Ordering {
        compare_paths(&self.0, &other.0)
    }
}

impl fmt::Debug for ManifestPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl fmt::Display for ManifestPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        String::from_utf8_lossy(&self.0).fmt(f)
    }
}

/// Whether the bytes are a path: 1 byte to 16 KiB, no component empty, `.` or `..`, no NUL.
pub fn check_path(path: &[u8]) -> Result<(), PathError> {
    if path.is_empty() || path.len() > MAX_PATH {
        return Err(PathError { expected: "a length from 1 byte to 16 KiB" });
    }
    let mut start = 0;
    for (at, byte) in path.iter().enumerate() {
        match byte {
            0 => return Err(PathError { expected: "no NUL" }),
            b'/' => {
                check_component(&path[start..at])?;
                start = at + 1;
            }
            _ => {}
        }
    }
    check_component(&path[start..])
}

fn check_component(name: &[u8]) -> Result<(), PathError> {
    match name {
        b"" => Err(PathError { expected: "no empty component" }),
        b"." | b".." => Err(PathError { expected: "no component . or .." }),
        _ => Ok(()),
    }
}

/// The order of a manifest: bytewise, `/` below every byte.
pub fn compare_paths(a: &[u8], b: &[u8]) -> Ordering {
    compare_after(a, b, common_prefix(a, b))
}

/// The same for paths whose common prefix is known.
pub(super) fn compare_after(a: &[u8], b: &[u8], shared: usize) -> Ordering {
    let rank = |path: &[u8]| path.get(shared).map(|byte| if *byte == b'/' { 0 } else { *byte });
    rank(a).cmp(&rank(b))
}

/// Length of the longest common prefix, in bytes.
pub(super) fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let mut at = 0;
    for (x, y) in a.chunks_exact(8).zip(b.chunks_exact(8)) {
        let word = |c: &[u8]| u64::from_le_bytes(c.try_into().expect("chunks of 8"));
        let differ = word(x) ^ word(y);
        if differ != 0 {
            return at + differ.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    at + a[at..].iter().zip(&b[at..]).take_while(|(x, y)| x == y).count()
}

/// The directory a path is in; `None` at the top.
pub fn parent_of(path: &[u8]) -> Option<&[u8]> {
    path.iter().rposition(|b| *b == b'/').map(|at| &path[..at])
}

/// The last component of a path.
pub fn base_name_of(path: &[u8]) -> &[u8] {
    path.iter().rposition(|b| *b == b'/').map_or(path, |at| &path[at + 1..])
}

/// Whether `path` lies in `dir`, at any depth.
pub fn is_below(path: &[u8], dir: &[u8]) -> bool {
    path.len() > dir.len() && path[dir.len()] == b'/' && path.starts_with(dir)
}

/// All directories a path is in, topmost first.
pub fn ancestors_of(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| &path[..at])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn by_components(a: &[u8], b: &[u8]) -> Ordering {
        a.split(|c| *c == b'/').cmp(b.split(|c| *c == b'/'))
    }

    #[test]
    fn paths_that_could_leave_their_folder_are_refused() {
        for bad in ["", "/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/./b", "a\0"] {
            assert!(check_path(bad.as_bytes()).is_err(), "{bad:?}");
        }
        for good in ["a", "...", "a/b", ".a", "a/..b", "\u{e9}", "a b\n\\"] {
            assert!(check_path(good.as_bytes()).is_ok(), "{good:?}");
        }
        assert!(check_path(&[b'a'; MAX_PATH]).is_ok());
        assert!(check_path(&[b'a'; MAX_PATH + 1]).is_err());
    }

    #[test]
    fn a_directory_stands_directly_before_what_is_in_it() {
        let mut paths = ["a.b", "a/b", "a", "a/b/c", "a\x01", "ab", "a/b.c", "B"];
        paths.sort_by(|a, b| compare_paths(a.as_bytes(), b.as_bytes()));
        assert_eq!(paths, ["B", "a", "a/b", "a/b/c", "a/b.c", "a\x01", "a.b", "ab"]);
    }

    #[test]
    fn parents_names_and_ancestors() {
        let path = ManifestPath::new("a/b/c").unwrap();
        assert_eq!((path.parent(), path.base_name()), (Some(&b"a/b"[..]), &b"c"[..]));
        assert_eq!((parent_of(b"a"), base_name_of(b"a")), (None, &b"a"[..]));
        assert_eq!(ancestors_of(b"a/b/c").collect::<Vec<_>>(), [&b"a"[..], b"a/b"]);
        assert!(path.is_below(b"a") && path.is_below(b"a/b") && !path.is_below(b"a/b/c") && !path.is_below(b"a/"));
        assert_eq!(path.join(b"d").unwrap().as_bytes(), b"a/b/c/d");
        assert!(path.join(b"d/e").is_err() && path.join(b"..").is_err());
    }

    proptest! {
        #[test]
        fn the_order_is_that_of_the_components(a in "[ab/.\u{1}]{1,20}", b in "[ab/.\u{1}]{1,20}") {
            prop_assume!(check_path(a.as_bytes()).is_ok() && check_path(b.as_bytes()).is_ok());
            prop_assert_eq!(compare_paths(a.as_bytes(), b.as_bytes()), by_components(a.as_bytes(), b.as_bytes()));
        }
    }
}
