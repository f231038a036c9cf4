//! Where what is pushed goes in the manifest.

use super::problem::{Problem, ProblemKind};
use crate::error::{ClientError, Result};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// One thing to push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The path on this machine.
    pub path: PathBuf,
    /// Its path in the manifest; `None` for a directory whose contents are the root.
    pub place: Option<Vec<u8>>,
}

/// Decides where each path goes: one directory is the root itself; several paths or a file keep their base names, and on
/// a collision their full paths. What lies inside another of the paths is there already. A path that is not there is a
/// problem; if none is there, an error.
pub fn place_sources(paths: &[PathBuf]) -> Result<(Vec<Source>, Vec<Problem>)> {
    let (mut reals, mut problems, mut last) = (Vec::new(), Vec::new(), None);
    for path in paths {
        match std::fs::canonicalize(path) {
            Ok(real) => reals.push(real),
            Err(e) => {
                problems.push(Problem { path: path.clone(), kind: ProblemKind::Stat, cause: e.to_string() });
                last = Some(ClientError::io(format!("find {}", path.display()), e));
            }
        }
    }
    match last {
        Some(e) if reals.is_empty() => Err(e),
        _ => Ok((place(reals, paths.len() == 1), problems)),
    }
}

fn place(mut reals: Vec<PathBuf>, alone: bool) -> Vec<Source> {
    if let [real] = &reals[..]
        && alone
        && real.is_dir()
    {
        return vec![Source { path: real.clone(), place: None }];
    }
    let all = reals.clone();
    reals.retain(|real| !all.iter().any(|other| other != real && real.starts_with(other)));
    reals.sort();
    reals.dedup();
    let mut names: Vec<_> = reals.iter().map(|real| real.file_name()).collect();
    names.sort();
    let collide = names.iter().any(Option::is_none) || names.windows(2).any(|pair| pair[0] == pair[1]);
    let place = |real: &Path| match real.file_name() {
        Some(name) if !collide => name.as_bytes().to_vec(),
        _ => full_place(real),
    };
    let mut sources: Vec<_> =
        reals.iter().map(|real| Source { path: real.clone(), place: Some(place(real)) }).collect();
    sources.sort_by_cached_key(|source| manifest_order(&source.place));
    sources
}

fn full_place(real: &Path) -> Vec<u8> {
    let parts: Vec<&[u8]> = real.iter().skip(1).map(OsStrExt::as_bytes).collect();
    parts.join(&b'/')
}

fn manifest_order(place: &Option<Vec<u8>>) -> Vec<u8> {
    place.iter().flatten().map(|b| if *b == b'/' { 0 } else { *b }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(root: &Path, paths: &[&str]) -> Vec<Option<String>> {
        let paths: Vec<_> = paths.iter().map(|p| root.join(p)).collect();
        let (sources, problems) = place_sources(&paths).unwrap();
        assert!(problems.is_empty());
        sources.into_iter().map(|s| s.place.map(|p| String::from_utf8(p).unwrap())).collect()
    }

    #[test]
    fn one_directory_is_the_root_and_several_keep_their_names_or_full_paths() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for made in ["a/x", "b/x", "c"] {
            std::fs::create_dir_all(root.join(made)).unwrap();
        }
        let full = |p: &str| Some(root.join(p).to_str().unwrap()[1..].to_owned());
        assert_eq!(places(&root, &["a"]), [None]);
        assert_eq!(places(&root, &["c", "a", "a/x"]), [Some("a".into()), Some("c".into())]);
        assert_eq!(places(&root, &["b/x", "a/x"]), [full("a/x"), full("b/x")]);
    }
}
