//! Seeds of the wire: the golden bytes of every message.

use super::seeds::Seeds;
use cas_net::calls::Family;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

pub fn add(out: &mut Seeds) {
    let golden = golden();
    for (name, bytes) in &golden {
        match name.split('-').collect::<Vec<_>>()[..] {
            ["error", ..] => out.add("wire_error", name.clone(), bytes.clone()),
            [family, method, call] => {
                let (target, call) = match call.split_once('.') {
                    Some((call, "request")) => ("wire_request", call),
                    Some((call, "answer")) => ("wire_answer", call),
                    // A part of a message.
                    _ => continue,
                };
                out.add(target, format!("{family}-{method}-{call}"), message(family, method, bytes));
            }
            _ => {}
        }
    }
    for (kind, name) in [(0, "envelope.request"), (1, "envelope.answer"), (3, "hello.request"), (4, "hello.answer")] {
        out.add("wire_head", name, [&[kind], &golden[name][..]].concat());
    }
    out.add("wire_head", "lens", [2, 0, 0, 0, 0, 1, 0, 0, 0]);
    out.add("wire_head", "address", format!("\x05cas://{}@[::1]:9474", "ab".repeat(32)));
    out.add("wire_head", "refused-long", [0, 255, 255, 255, 255, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0]);
    out.add("wire_request", "refused-count", [1, 8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255]);
}

/// Family, method, message.
fn message(family: &str, method: &str, bytes: &[u8]) -> Vec<u8> {
    let family = Family::ALL.into_iter().find(|known| known.to_string() == family).expect("a family");
    let method: u16 = method.parse().expect("a number");
    [&[family as u8], &method.to_le_bytes()[..], bytes].concat()
}

/// What stands in `cas-net/tests/golden`, without the last ending of the names.
fn golden() -> BTreeMap<String, Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cas-net/tests/golden");
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.expect("readable").path();
        let name = path.file_stem().expect("a name").to_str().expect("in ASCII").to_owned();
        (name, unhex(&fs::read_to_string(&path).expect("text")))
    };
    fs::read_dir(folder).expect("it is there").map(read).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}
