//! The manifest: one sorted Merkle map from path to entry, per snapshot. FORMAT §5.
//!
//! Writing: [`MapBuilder`] takes entries in order, [`ListBuilder`] the pieces of one large file; both hand
//! out finished blocks bottom-up.
//! Reading: [`Manifest`] with cursors, lookups and the pieces of files; [`Diff`] for two of them.
//! Promise: equal maps have equal roots, whatever was edited before.
//! Not here: sealing, storing, files.

mod border;
mod build;
mod diff;
mod dump;
mod entry;
mod list;
mod page;
mod path;
mod piece;
mod read;
mod reference;
#[cfg(test)]
mod sample;
mod source;
mod survey;
mod view;
mod walk;
mod xattr;

pub use build::{BuildError, BuiltBlock, MapBuilder, Root};
pub use diff::{Change, Diff, DiffError, Side};
pub use dump::{ListError, PieceAt, PieceCursor};
pub use entry::{Content, Entry, FileType, Mtime};
pub use list::{List, ListBuilder, ListRoot, MAX_LIST};
pub use page::{Item, Page, Position, Totals};
pub use path::{ManifestPath, PathError, ancestors_of, base_name_of, check_path, compare_paths, is_below, parent_of};
pub use piece::{MAX_FILE, Piece};
pub use read::{Cursor, EntryWithIds, Manifest};
pub use reference::Reference;
pub use source::{BlockSource, OpenedBlock, ReadCause};
pub use survey::{Met, Survey};
pub use walk::{Gap, ReadError};
pub use xattr::{MAX_XATTR_NAME, Xattrs, decode_xattrs, encode_xattrs};
