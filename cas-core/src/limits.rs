//! Every limit of the formats, by name. FORMAT §2.

/// Raw bytes of one block.
pub const MAX_RAW: usize = 64 << 20;
/// Plaintext of one page.
pub const MAX_PAGE: usize = 128 << 10;
/// Encoded items of a page, before the next one opens.
pub const PAGE_FILL: usize = 64 << 10;
/// Distinct children of one block.
pub const MAX_CHILDREN: usize = 4096;
/// A path in a manifest, in bytes.
pub const MAX_PATH: usize = 16 << 10;
/// One encoded entry, in bytes.
pub const MAX_ENTRY: usize = 48 << 10;
/// Extended attributes of one entry that stand in it, in bytes; more go into a block.
pub const MAX_INLINE_XATTRS: usize = 4 << 10;
/// Data blocks that stand in an entry itself; more go into a list.
pub const MAX_ENTRY_BLOCKS: usize = 8;
/// A snapshot or keyring object.
pub const MAX_OBJECT: usize = 1 << 20;
/// Levels of a manifest or of a list.
pub const MAX_HEIGHT: u8 = 32;
/// The longest frame: header with all children, nonce, prefix, padded body, tag.
pub const MAX_FRAME: usize = 60 + 32 * MAX_CHILDREN + 12 + 16 + MAX_RAW + MAX_RAW / 8 + 16;

const _: () = assert!(PAGE_FILL + MAX_PATH + MAX_ENTRY <= MAX_PAGE);
const _: () = assert!(PAGE_FILL / 33 < MAX_CHILDREN);
