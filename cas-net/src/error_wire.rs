//! Errors on the wire: a code, a text for people, and the facts a caller decides on. PROTOCOL §6.
//!
//! Promise: what a caller can do next is the same here and there. A code that is not known is still an error with its
//! text. Causes inside a process (an I/O error) arrive as their kind and text.

use crate::ServiceError;
use crate::limits::MAX_TEXT;
use crate::wire::{Reader, Wire, WireError};
use std::io::{self, ErrorKind};

mod code {
    pub const SESSION_GONE: u16 = 1;
    pub const CONFLICT: u16 = 2;
    pub const NOT_FOUND: u16 = 3;
    pub const ROOT_MISSING: u16 = 4;
    pub const DENIED: u16 = 5;
    pub const BUSY: u16 = 6;
    pub const FULL: u16 = 7;
    pub const DAMAGED: u16 = 8;
    pub const VERSION: u16 = 9;
    pub const STOPPED: u16 = 10;
    pub const IO: u16 = 11;
    pub const RETAINED: u16 = 12;
    pub const UNREACHABLE: u16 = 13;
    pub const WRONG_KEY: u16 = 14;
    pub const PROTOCOL: u16 = 15;
    pub const STALE: u16 = 16;
}

/// What can be missing: a caller compares these words.
const THINGS: [&str; 11] =
    ["block", "index", "key", "name", "page", "path", "snapshot", "vault", "version", "version before", THING];

/// For whatever else is missing.
const THING: &str = "thing";

/// The kinds of I/O errors that have a number; all others are 0.
const IO_KINDS: [(u8, ErrorKind); 9] = [
    (1, ErrorKind::NotFound),
    (2, ErrorKind::PermissionDenied),
    (3, ErrorKind::AlreadyExists),
    (4, ErrorKind::InvalidData),
    (5, ErrorKind::UnexpectedEof),
    (6, ErrorKind::StorageFull),
    (7, ErrorKind::ReadOnlyFilesystem),
    (8, ErrorKind::TimedOut),
    (9, ErrorKind::Interrupted),
];

/// `code u16 ‖ text ‖ facts`, text and facts each with their length.
impl Wire for ServiceError {
    fn put(&self, out: &mut Vec<u8>) {
        let (code, facts) = facts(self);
        code.put(out);
        cut(&self.to_string()).put(out);
        facts.put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let code = u16::take(from)?;
        let text = String::take(from)?;
        let facts = Vec::<u8>::take(from)?;
        let mut reader = Reader::new(&facts, 0);
        match read(code, &mut reader)? {
            Some(error) => reader.finish().map(|()| error),
            None => Ok(Self::Protocol(format!("error {code}, which this program does not know: {text}"))),
        }
    }
}

/// A text that fits, with its end marked if it was cut.
fn cut(text: &str) -> String {
    if text.len() <= MAX_TEXT {
        return text.to_owned();
    }
    let mark = "…";
    let end = (0..=MAX_TEXT - mark.len()).rev().find(|at| text.is_char_boundary(*at)).expect("0 is a boundary");
    format!("{}{mark}", &text[..end])
}

fn facts(error: &ServiceError) -> (u16, Vec<u8>) {
    let mut out = Vec::new();
    let code = match error {
        ServiceError::SessionGone(session) => (code::SESSION_GONE, session.put(&mut out)),
        ServiceError::Conflict { name, latest } => (code::CONFLICT, (cut(name), *latest).put(&mut out)),
        ServiceError::NotFound { what, name } => (code::NOT_FOUND, (cut(what), cut(name)).put(&mut out)),
        ServiceError::RootMissing(id) => (code::ROOT_MISSING, id.put(&mut out)),
        ServiceError::Stale(id) => (code::STALE, id.put(&mut out)),
        ServiceError::Denied(why) => (code::DENIED, cut(why).put(&mut out)),
        ServiceError::Busy(why) => (code::BUSY, cut(why).put(&mut out)),
        ServiceError::Full { what, detail } => (code::FULL, (cut(what), cut(detail)).put(&mut out)),
        ServiceError::Damaged { what, detail } => (code::DAMAGED, (cut(what), cut(detail)).put(&mut out)),
        ServiceError::Version { what, found, known } => (code::VERSION, (cut(what), *found, *known).put(&mut out)),
        ServiceError::Stopped(why) => (code::STOPPED, cut(why).put(&mut out)),
        ServiceError::Io { what, source } => {
            (code::IO, (cut(what), kind_number(source.kind()), cut(&source.to_string())).put(&mut out))
        }
        ServiceError::Retained(row) => (code::RETAINED, row.put(&mut out)),
        ServiceError::Unreachable { peer, detail } => (code::UNREACHABLE, (cut(peer), cut(detail)).put(&mut out)),
        ServiceError::WrongKey { address, expected, found } => {
            (code::WRONG_KEY, (cut(address), *expected, *found).put(&mut out))
        }
        ServiceError::Protocol(why) => (code::PROTOCOL, cut(why).put(&mut out)),
    };
    (code.0, out)
}

fn read(code: u16, from: &mut Reader<'_>) -> Result<Option<ServiceError>, WireError> {
    Ok(Some(match code {
        code::SESSION_GONE => ServiceError::SessionGone(Wire::take(from)?),
        code::CONFLICT => ServiceError::Conflict { name: Wire::take(from)?, latest: Wire::take(from)? },
        code::NOT_FOUND => not_found(&String::take(from)?, String::take(from)?),
        code::ROOT_MISSING => ServiceError::RootMissing(Wire::take(from)?),
        code::DENIED => ServiceError::Denied(Wire::take(from)?),
        code::BUSY => ServiceError::Busy(Wire::take(from)?),
        code::FULL => ServiceError::Full { what: Wire::take(from)?, detail: Wire::take(from)? },
        code::DAMAGED => ServiceError::Damaged { what: Wire::take(from)?, detail: Wire::take(from)? },
        code::VERSION => {
            ServiceError::Version { what: Wire::take(from)?, found: Wire::take(from)?, known: Wire::take(from)? }
        }
        code::STOPPED => ServiceError::Stopped(Wire::take(from)?),
        code::IO => {
            let (what, kind, text): (String, u8, String) = Wire::take(from)?;
            ServiceError::Io { what, source: io::Error::new(kind_of(kind), text) }
        }
        code::RETAINED => ServiceError::Retained(Box::new(Wire::take(from)?)),
        code::UNREACHABLE => ServiceError::Unreachable { peer: Wire::take(from)?, detail: Wire::take(from)? },
        code::WRONG_KEY => {
            ServiceError::WrongKey { address: Wire::take(from)?, expected: Wire::take(from)?, found: Wire::take(from)? }
        }
        code::PROTOCOL => ServiceError::Protocol(Wire::take(from)?),
        code::STALE => ServiceError::Stale(Wire::take(from)?),
        _ => return Ok(None),
    }))
}

fn not_found(what: &str, name: String) -> ServiceError {
    match THINGS.into_iter().find(|known| *known == what) {
        Some(what) => ServiceError::NotFound { what, name },
        None => ServiceError::NotFound { what: THING, name: format!("{what} {name}") },
    }
}

fn kind_number(kind: ErrorKind) -> u8 {
    IO_KINDS.into_iter().find(|(_, known)| *known == kind).map_or(0, |(number, _)| number)
}

fn kind_of(number: u8) -> ErrorKind {
    IO_KINDS.into_iter().find(|(known, _)| *known == number).map_or(ErrorKind::Other, |(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{decode, encode};

    #[test]
    fn an_error_of_tomorrow_keeps_its_text() {
        let mut bytes = Vec::new();
        (900u16, "the moon is full".to_owned(), vec![1u8, 2, 3]).put(&mut bytes);
        let error: ServiceError = decode(&bytes, 0).unwrap();
        assert!(matches!(&error, ServiceError::Protocol(text) if text.contains("the moon is full")), "{error}");
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        let long = "ä".repeat(MAX_TEXT);
        let ServiceError::Denied(text) = decode(&encode(&ServiceError::Denied(long)), 0).unwrap() else { panic!() };
        assert!(text.len() <= MAX_TEXT && text.ends_with('…') && text.starts_with("ää"));
    }

    #[test]
    fn an_unknown_thing_is_missing_all_the_same() {
        let error = ServiceError::NotFound { what: "spoon", name: "7".into() };
        let error: ServiceError = decode(&encode(&error), 0).unwrap();
        assert_eq!(error.to_string(), "thing spoon 7 does not exist");
    }
}
