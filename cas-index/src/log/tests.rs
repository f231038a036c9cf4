//! What a log promises: golden bytes, and under cuts and flips a prefix or an error.

use super::format::{encode_group, encode_header};
use super::*;
use crate::disk::LocalDisk;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Three groups: [1, 2], [3], a clean end.
fn sample() -> Vec<u8> {
    let mut out = encode_header(Epoch(1)).to_vec();
    out.extend(encode_group(Epoch(1), Epoch(0), &[(5, &[7]), (6, &[8, 9])]));
    out.extend(encode_group(Epoch(3), Epoch(2), &[(7, &[10])]));
    out.extend(encode_group(Epoch(4), Epoch(3), &[]));
    out
}

#[test]
fn the_header_and_a_group_have_golden_bytes() {
    let check = |bytes: &[u8]| hex(&cas_core::kdf::hash(bytes)[..16]);
    let header = encode_header(Epoch(258));
    assert_eq!(hex(&header), format!("4341534c010000000201000000000000{}", check(&header[..16])));
    assert_eq!(check(&header[..16]), "d3109b73839a04c6d3a603f49befc6d3");
    let group = encode_group(Epoch(3), Epoch(2), &[(-1, &[10])]);
    let fields = "434153470d000000030000000000000002000000000000000100000000000000";
    let payload = "01000000ffffffffffffffff0a";
    let checked = [&group[..32], &group[48..]].concat();
    assert_eq!(hex(&group), format!("{fields}{}{payload}", check(&checked)));
}

#[test]
fn a_whole_file_reads_back() {
    let bytes = sample();
    let parsed = parse(&bytes, Epoch(1));
    assert_eq!((parsed.fault, parsed.valid_len, parsed.next), (None, bytes.len() as u64, Epoch(4)));
    let records: Vec<Record> = parsed.groups.into_iter().flat_map(|g| g.records).collect();
    let expected = [(1, 5, vec![7]), (2, 6, vec![8, 9]), (3, 7, vec![10])];
    let expected = expected.map(|(epoch, time_ns, command)| Record { epoch: Epoch(epoch), time_ns, command });
    assert_eq!(records, expected);
}

#[test]
fn a_file_cut_anywhere_gives_whole_groups_only() {
    let bytes = sample();
    for len in 0..bytes.len() {
        let parsed = parse(&bytes[..len], Epoch(1));
        assert!(parsed.valid_len as usize <= len && parsed.behind.is_none(), "cut at {len}");
        assert!([Epoch(1), Epoch(3), Epoch(4)].contains(&parsed.next), "cut at {len}");
    }
}

#[test]
fn a_flip_is_damage_if_a_later_group_vouches_for_it_and_a_torn_tail_otherwise() {
    let (bytes, dir) = (sample(), tempfile::tempdir().unwrap());
    for at in 0..bytes.len() {
        let mut spoiled = bytes.clone();
        spoiled[at] ^= 1 << (at % 8);
        std::fs::write(dir.path().join("log-00000000000000000001"), &spoiled).unwrap();
        let is_end_mark = at >= bytes.len() - 48;
        match find(dir.path(), &LocalDisk, Epoch::ZERO) {
            Ok(found) => {
                assert!(is_end_mark, "the flip of byte {at} was taken for a torn tail");
                assert_eq!(found.records.len(), 3);
            }
            Err(ServiceError::Damaged { .. }) => assert!(!is_end_mark, "byte {at}"),
            Err(e) => panic!("{e:?}"),
        }
    }
}

#[test]
fn any_bytes_are_parsed_without_panic() {
    let mut noise = vec![0; 4096];
    for seed in 0..64u64 {
        cas_core::kdf::derive_into("test noise", &seed.to_le_bytes(), &mut noise);
        let mut bytes = encode_header(Epoch(1)).to_vec();
        bytes.extend_from_slice(b"CASG");
        bytes.extend_from_slice(&noise[..seed as usize * 64]);
        let parsed = parse(&bytes, Epoch(1));
        assert!(parsed.fault.is_some() && parsed.groups.is_empty());
    }
}
