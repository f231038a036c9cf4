//! What went wrong with single files while the rest went on.

use std::path::PathBuf;

/// What could not be done with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    /// Its directory could not be listed: what is in it is missing.
    List,
    /// It could not be looked at: it is missing.
    Stat,
    /// It could not be read: it is missing.
    Read,
    /// It changed while it was read: it is there as it was read, perhaps a mixture.
    Changed,
    /// Some of its attributes could not be read: it is there without them.
    Attributes,
}

/// A file that is not in the snapshot as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Which.
    pub path: PathBuf,
    /// What could not be done.
    pub kind: ProblemKind,
    /// What the system said.
    pub cause: String,
}
