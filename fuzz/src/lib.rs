//! What arbitrary bytes do to every decoder: one function per target, run by libFuzzer and by ordinary tests alike.
//!
//! Each takes an input and answers whether it was accepted. It panics where a law is broken: what decodes encodes
//! again to equal bytes, limits hold, nothing else ever panics.

mod codec;
mod fixed;
mod forge;
mod frame;
mod index;
mod input;
mod manifest;
mod net;
mod net_seeds;
mod node;
mod objects;
mod people;
mod retention;
mod seeds;
mod server_seeds;
mod tree;

pub use seeds::seeds;

/// A target.
pub type Target = fn(&[u8]) -> bool;

/// All targets by name.
pub const TARGETS: &[(&str, Target)] = &[
    ("agebox", people::agebox),
    ("audit_entry", index::audit_entry),
    ("codec", codec::codec),
    ("command", index::command),
    ("commands", index::commands),
    ("details", objects::details),
    ("domain", objects::domain),
    ("entry", manifest::entry),
    ("frame_header", frame::frame_header),
    ("frame_open", frame::frame_open),
    ("identity", people::identity_file),
    ("index_row", index::index_row),
    ("keyring", objects::keyring),
    ("list", manifest::list),
    ("log", index::log),
    ("manifest", tree::manifest),
    ("page", manifest::page),
    ("path", manifest::path),
    ("retention", retention::retention),
    ("segment", node::segment),
    ("segment_record", node::segment_record),
    ("snapshot_object", objects::snapshot_object),
    ("snapshot_record", objects::snapshot_record),
    ("text", people::text),
    ("wire_answer", net::wire_answer),
    ("wire_error", net::wire_error),
    ("wire_head", net::wire_head),
    ("wire_request", net::wire_request),
    ("xattrs", manifest::xattrs),
];

/// Runs the target of this name.
///
/// # Panics
/// If there is none, or if a law is broken.
pub fn run(name: &str, input: &[u8]) -> bool {
    let target = TARGETS.iter().find(|(known, _)| *known == name).expect("a known target");
    target.1(input)
}
