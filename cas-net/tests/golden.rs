//! The bytes of every message stand in `tests/golden`, as hex; a change of one is a change of the protocol.
//!
//! `CAS_GOLDEN=write cargo test -p cas-net --test golden` writes them anew, for a new message.

mod samples;

use cas_net::calls::{Call, Family, index, node};
use cas_net::envelope::{AnswerEnvelope, RequestEnvelope, Status};
use cas_net::hello::{self, Hello, Welcome};
use cas_net::wire::{Wire, decode, encode};
use samples::Visit;
use std::collections::BTreeMap;
use std::path::PathBuf;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Lines of 32 bytes.
fn hex(bytes: &[u8]) -> String {
    let line = |chunk: &[u8]| chunk.iter().map(|b| format!("{b:02x}")).collect::<String>() + "\n";
    bytes.chunks(32).map(line).collect()
}

/// All messages by the name of their file.
fn messages() -> BTreeMap<String, Vec<u8>> {
    struct All(BTreeMap<String, Vec<u8>>);
    impl Visit for All {
        fn call<C: Call>(&mut self, call: C, answer: C::Answer) {
            let name = format!("{}-{:02}-{}", C::FAMILY, C::METHOD, C::NAME);
            self.0.insert(format!("{name}.request.hex"), encode(&call));
            self.0.insert(format!("{name}.answer.hex"), encode(&answer));
        }
    }
    let mut all = All(BTreeMap::new());
    samples::visit(&mut all);
    for (n, change) in samples::cluster::changes().into_iter().enumerate() {
        all.0.insert(format!("cluster-change-{n}.hex"), encode(&change));
    }
    for (name, error) in samples::errors() {
        all.0.insert(format!("error-{name}.hex"), encode(&error));
    }
    let request =
        RequestEnvelope { message_len: 0x0102, bodies: 3, family: 2, flags: 0, method: 4, patience_ms: 0x0506 };
    let answer = AnswerEnvelope { message_len: 0x0102, bodies: 3, status: Status::Failed, flags: 0 };
    let hello = Hello { oldest: 1, newest: 1, program: "cas 0.1.0".into() };
    let welcome = Welcome { program: "cas 0.1.0".into(), ..Welcome::to(&hello, [Family::Index, Family::Node]) };
    all.0.insert("envelope.request.hex".into(), encode(&request));
    all.0.insert("envelope.answer.hex".into(), encode(&answer));
    all.0.insert("hello.request.hex".into(), hello::encode(&hello));
    all.0.insert("hello.answer.hex".into(), hello::encode(&welcome));
    all.0
}

fn families() -> [(Family, &'static [(u16, &'static str)]); 4] {
    let (cluster, rights) = (cas_net::cluster::calls::METHODS, cas_net::rights::calls::METHODS);
    [
        (Family::Index, index::METHODS),
        (Family::Node, node::METHODS),
        (Family::Cluster, cluster),
        (Family::Rights, rights),
    ]
}

#[test]
fn every_message_has_the_bytes_of_the_specification() {
    let write = std::env::var_os("CAS_GOLDEN").is_some_and(|v| v == "write");
    let mut wrong = Vec::new();
    for (name, bytes) in messages() {
        let path = folder().join(&name);
        if write {
            std::fs::write(&path, hex(&bytes)).unwrap();
        }
        if std::fs::read_to_string(&path).ok() != Some(hex(&bytes)) {
            wrong.push(format!("{name}:\n{}", hex(&bytes)));
        }
    }
    assert!(wrong.is_empty(), "differ from tests/golden:\n{}", wrong.join("\n"));
}

#[test]
fn every_file_belongs_to_a_message_and_every_method_has_its_files() {
    let known = messages();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(known.contains_key(&name), "{name} belongs to no message");
    }
    for (family, methods) in families() {
        for (number, name) in methods {
            assert!(known.contains_key(&format!("{family}-{number:02}-{name}.request.hex")), "{family} {name}");
        }
    }
}

#[test]
fn numbers_are_given_once() {
    for (_, methods) in families() {
        let numbers: std::collections::BTreeSet<_> = methods.iter().map(|(number, _)| number).collect();
        assert_eq!(numbers.len(), methods.len());
    }
}

/// Every message cut anywhere, with a byte more, or with any byte changed, is refused or is another whole value.
#[test]
fn a_message_cut_anywhere_is_refused_never_misread() {
    struct Cut;
    impl Visit for Cut {
        fn call<C: Call>(&mut self, call: C, answer: C::Answer) {
            cut(&call);
            cut(&answer);
        }
    }
    fn cut<T: Wire>(value: &T) {
        let bytes = encode(value);
        assert!(decode::<T>(&bytes, 1000).is_ok());
        for end in 0..bytes.len() {
            assert!(decode::<T>(&bytes[..end], 1000).is_err(), "cut at {end}");
        }
        assert!(decode::<T>(&[&bytes[..], &[0]].concat(), 1000).is_err(), "a byte more");
        for at in 0..bytes.len() {
            for flip in [1, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] ^= flip;
                if let Ok(other) = decode::<T>(&changed, 1000) {
                    assert_eq!(encode(&other), changed, "byte {at} changed by {flip}");
                }
            }
        }
    }
    samples::visit(&mut Cut);
    for (_, error) in samples::errors() {
        let bytes = encode(&error);
        for end in 0..bytes.len() {
            assert!(decode::<cas_net::ServiceError>(&bytes[..end], 1000).is_err());
        }
        assert_eq!(encode(&decode::<cas_net::ServiceError>(&bytes, 1000).unwrap()), bytes);
    }
}
