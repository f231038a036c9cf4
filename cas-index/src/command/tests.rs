//! Golden bytes of every command: the log of an old program must be read by a new one.

use super::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn rep(byte: &str, n: usize) -> String {
    byte.repeat(n)
}

fn cover() -> ObjectCover {
    ObjectCover { node: [3; 32], grant: 300, sum: [4; 32], len: 5 }
}

/// Every variant with its bytes.
fn all() -> Vec<(Command, String)> {
    let (p3, r) = (Packed(vec![1, 2, 3]), rep);
    let covered = format!("0301020301{}ac02{}05", r("03", 32), r("04", 32));
    let register = Register {
        session: 7,
        nodes: Packed(vec![3; 32]),
        ids: Packed([[1; 32], [2; 32]].concat()),
        sums: Packed(vec![9; 32]),
        covers: vec![Cover { len: 300, grant: 8, node: 0 }],
        pages: vec![NewPage { at: 1, kind: 2, children: vec![0] }],
    };
    let registered =
        format!("060720{}40{}{}20{}01ac02080001010201{}", r("03", 32), r("01", 32), r("02", 32), r("09", 32), "00");
    let (ids, one_id) = (Packed(vec![6; 32]), format!("20{}", r("06", 32)));
    vec![
        (Command::AddNode { node: [1; 32] }, format!("00{}", r("01", 32))),
        (Command::PutKeyring { object: p3.clone(), covers: vec![cover()] }, format!("01{covered}")),
        (
            Command::StartSession { vault: [1; 16], domain: [2; 16], device: [3; 32], label: "ab".into() },
            format!("02{}{}{}026162", r("01", 16), r("02", 16), r("03", 32)),
        ),
        (Command::EndSession { session: 128 }, "038001".into()),
        (Command::EndSessionsExcept { keep: vec![1, 2] }, "04020102".into()),
        (Command::Touch { session: 7, ids: ids.clone() }, format!("0507{one_id}")),
        (Command::Register(register), registered),
        (
            Command::Commit { session: 7, key: [8; 16], object: p3.clone(), covers: vec![cover()] },
            format!("0707{}{covered}", r("08", 16)),
        ),
        (Command::Forget { removal: p3.clone(), covers: vec![cover()] }, format!("08{covered}")),
        (Command::Undelete { snapshot: [1; 32] }, format!("09{}", r("01", 32))),
        (Command::EmptyTrash { before_ns: -1, limit: 2 }, "0a0102".into()),
        (Command::Condemn { limit: 300 }, "0bac02".into()),
        (
            Command::Deleted { node: [1; 32], ids: ids.clone(), epochs: vec![5], gone: vec![true] },
            format!("0c{}{one_id}01050101", r("01", 32)),
        ),
        (Command::Mark { ids, bad: true }, format!("0d{one_id}01")),
        (Command::ReleaseHold, "0e".into()),
        (Command::Return { returning: p3, covers: vec![cover()] }, format!("11{covered}")),
    ]
}

#[test]
fn every_command_has_its_golden_bytes() {
    for (command, golden) in all() {
        assert_eq!(hex(&command.encode()), golden, "{}", command.name());
        assert_eq!(Command::decode(&command.encode()).unwrap(), command);
    }
}

#[test]
fn a_command_cut_anywhere_is_refused() {
    for (command, _) in all() {
        let bytes = command.encode();
        for len in 0..bytes.len() {
            assert!(Command::decode(&bytes[..len]).is_err(), "{} cut at {len}", command.name());
        }
        assert!(Command::decode(&[&bytes[..], &[0]].concat()).is_err(), "{} with a trailing byte", command.name());
    }
}
