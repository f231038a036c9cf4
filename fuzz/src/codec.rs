//! The canonical encoding. FORMAT §1.

use cas_core::codec::{Reader, RecordWriter, put_bytes, put_bytes32, put_varint};

const LIMIT: usize = 300;

/// Varints, bytes and a record: what reads is written the same again.
pub fn codec(input: &[u8]) -> bool {
    let mut out = Vec::new();
    let mut r = Reader::new("varint", input);
    if let Ok(value) = r.varint() {
        put_varint(&mut out, value);
        assert_eq!(out, input[..r.offset()]);
    }
    let mut r = Reader::new("bytes", input);
    if let Ok(bytes) = r.bytes(LIMIT) {
        assert!(bytes.len() <= LIMIT);
        out.clear();
        put_bytes(&mut out, bytes);
        assert_eq!(out, input[..r.offset()]);
    }
    let mut r = Reader::new("bytes32", input);
    if let Ok(bytes) = r.bytes32(LIMIT) {
        assert!(bytes.len() <= LIMIT);
        out.clear();
        put_bytes32(&mut out, bytes);
        assert_eq!(out, input[..r.offset()]);
    }
    record(input)
}

fn record(input: &[u8]) -> bool {
    let mut writer = RecordWriter::new();
    let read = Reader::new("record", input).record(|tag, value| {
        let critical = tag & 1 == 1;
        if critical {
            writer.field(tag, value.take(value.rest().len())?);
        }
        Ok(critical)
    });
    let Ok(unknown) = read else { return false };
    assert_eq!(writer.unknown(&unknown).finish(), input);
    true
}
