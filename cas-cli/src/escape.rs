//! Paths and other bytes that somebody else chose, made safe to show and without loss.
//!
//! In text: what is no UTF-8 is `\xNN`; control characters and those that reorder or hide text are `\n`, `\t`, `\r`, `\xNN`
//! or `\u{N}`; a backslash is `\\`. In JSON: a string where the bytes are UTF-8; otherwise the string has U+FFFD in their
//! place, and beside it stands the same key with `_hex` behind it: all of the bytes, in hexadecimal digits.

use serde_json::{Map, Value};

/// For people, and for lines that another program reads.
pub fn text(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        chunk.valid().chars().for_each(|c| push(&mut out, c));
        chunk.invalid().iter().for_each(|byte| out.push_str(&format!("\\x{byte:02x}")));
    }
    out
}

fn push(out: &mut String, c: char) {
    match c {
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\t' => out.push_str("\\t"),
        '\r' => out.push_str("\\r"),
        c if c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", c as u32)),
        c if is_unsafe(c) => out.push_str(&format!("\\u{{{:x}}}", c as u32)),
        c => out.push(c),
    }
}

/// Control characters of C1, separators of lines and paragraphs, marks without width, embedding, override and isolation of
/// direction, tags.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
        || matches!(c, '\u{e0000}'..='\u{e007f}')
}

/// Puts bytes under a key.
pub fn put(object: &mut Map<String, Value>, key: &str, bytes: &[u8]) {
    object.insert(key.to_owned(), String::from_utf8_lossy(bytes).into());
    if std::str::from_utf8(bytes).is_err() {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        object.insert(format!("{key}_hex"), hex.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_tells_all_bytes_apart_and_moves_no_cursor() {
        let shown = |bytes: &[u8]| text(bytes);
        assert_eq!(shown("plain/größe 名".as_bytes()), "plain/größe 名");
        assert_eq!(shown(b"a\nb\tc\r\\n\x1b[2J\x7f"), "a\\nb\\tc\\r\\\\n\\x1b[2J\\x7f");
        assert_eq!(shown(b"\xff\xc3\xa4\xc3"), "\\xffä\\xc3");
        assert_eq!(shown("\u{202e}gpj\u{85}".as_bytes()), "\\u{202e}gpj\\u{85}");
        let mut all: Vec<String> = (0..=255).map(|byte| text(&[byte])).collect();
        assert!(all.iter().flat_map(|s| s.chars()).all(|c| !c.is_control()));
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 256);
    }

    #[test]
    fn json_holds_bytes_that_are_no_text_in_hex() {
        let mut object = Map::new();
        put(&mut object, "path", b"a\nb");
        put(&mut object, "target", b"a\xff");
        assert_eq!(Value::from(object).to_string(), r#"{"path":"a\nb","target":"a�","target_hex":"61ff"}"#);
    }
}
