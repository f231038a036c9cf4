//! Every limit of the wire, by name. PROTOCOL §5. All are checked before anything is allocated for what they bound.

use cas_core::limits::{MAX_FRAME, MAX_OBJECT};

/// One message (the arguments of a request), in bytes, without bodies.
pub const MAX_REQUEST: usize = 16 << 20;
/// One answer, in bytes, without bodies: lists of snapshots are not paged.
pub const MAX_ANSWER: usize = 256 << 20;
/// Elements of all lists in one request together.
pub const MAX_REQUEST_ITEMS: usize = 1 << 18;
/// Elements of all lists in one answer together.
pub const MAX_ANSWER_ITEMS: usize = 1 << 20;
/// One body, in bytes: a stored block.
pub const MAX_BODY: usize = MAX_FRAME;
/// Bodies that follow one message.
pub const MAX_BODIES: usize = 1 << 14;
/// All bodies that follow one message, in bytes.
pub const MAX_BODY_BYTES: usize = 128 << 20;
/// Ids in one request. Longer lists are asked for in several where the meaning allows it.
pub const MAX_IDS: usize = 1 << 16;
/// Rows in one page of an answer.
pub const MAX_ROWS: usize = 1 << 14;
/// Bytes of headers or receipts in one registration; more are sent as several, in order.
pub const REGISTRATION_BYTES: usize = 8 << 20;
/// The hello of a client and the welcome of a server, in bytes.
pub const MAX_HELLO: usize = 512;
/// A text for people in a message, in bytes; longer ones are cut when sent.
pub const MAX_TEXT: usize = 4 << 10;

const _: () = assert!(MAX_OBJECT < MAX_REQUEST);
const _: () = assert!(MAX_BODY <= MAX_BODY_BYTES);
const _: () = assert!(MAX_IDS * 40 < MAX_REQUEST && MAX_IDS <= MAX_REQUEST_ITEMS);
const _: () = assert!(REGISTRATION_BYTES * 2 <= MAX_REQUEST);
