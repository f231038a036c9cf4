//! What the pieces of a file promise, against naive files and forged lists.

use super::*;
use crate::codec::put_varint;
use crate::domain::DomainRecord;
use crate::manifest::sample::{self, Store};
use crate::manifest::{BuiltBlock, Entry, FileType, ListBuilder, ListRoot, Root};
use proptest::prelude::*;

/// A file of these pieces, its lists in the store.
fn file(store: &Store, pieces: &[Piece], record: &DomainRecord) -> EntryWithIds {
    let mut builder = ListBuilder::new(&sample::keys(), record);
    pieces.iter().for_each(|piece| builder.push(piece.clone(), &mut |block| store.add(block)));
    let (content, list) = match builder.finish(&mut |block| store.add(block)) {
        ListRoot::Pieces(pieces) if pieces.is_empty() => (Content::None, None),
        ListRoot::Pieces(pieces) => (Content::Pieces(pieces), None),
        ListRoot::List { key, level, id } => (Content::List { key, level }, Some(id)),
    };
    let size = pieces.iter().map(|piece| piece.len).sum();
    let entry = Entry { size, content, ..Entry::new(FileType::File) };
    assert_eq!(Entry::decode(&entry.encode()).as_ref(), Ok(&entry));
    sample::with_ids(&sample::path("file"), &entry, list)
}

fn manifest<'a>(store: &'a Store, record: &DomainRecord) -> Manifest<&'a Store> {
    let root = Root { key: sample::key(0), id: BlockId::ZERO, level: 0, entries: 0, bytes: 0 };
    store.manifest(&root, record)
}

fn naive(pieces: &[Piece]) -> Vec<PieceAt> {
    let (keys, mut offset) = (sample::keys(), 0);
    let place = |piece: &Piece| {
        let block = piece.data.clone().map(|key| (keys.block_id(Kind::Data, &key, &[]), key));
        offset += piece.len;
        PieceAt { offset: offset - piece.len, len: piece.len, block }
    };
    pieces.iter().map(place).collect()
}

/// Pieces from numbers: few different blocks, holes never side by side.
fn pieces(numbers: &[u8]) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    for n in numbers {
        let len = u64::from(*n) + 1;
        match n % 4 {
            0 if pieces.last().is_none_or(|piece| !piece.is_hole()) => pieces.push(Piece::hole(len)),
            _ => pieces.push(Piece::data(len, sample::key(u64::from(*n)))),
        }
    }
    pieces
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn pieces_read_as_they_were_built_also_from_any_byte(
        numbers in prop::collection::vec(any::<u8>(), 0..200), seeks in prop::collection::vec(any::<u64>(), 0..10)
    ) {
        let (store, record, pieces) = (Store::default(), sample::small_record(), pieces(&numbers));
        let file = file(&store, &pieces, &record);
        let manifest = manifest(&store, &record);
        let mut cursor = manifest.pieces(&file).unwrap();
        let found: Vec<_> = cursor.by_ref().map(Result::unwrap).collect();
        prop_assert_eq!(&found, &naive(&pieces));
        for (n, seek) in seeks.iter().enumerate() {
            let byte = seek % (file.entry.size + 2);
            cursor.seek(byte);
            let found: Vec<_> = Iterator::take(cursor.by_ref(), n * 3).map(Result::unwrap).collect();
            let expected = naive(&pieces).into_iter().filter(|at| at.offset + at.len > byte);
            prop_assert_eq!(found, expected.take(n * 3).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_lost_list_costs_its_bytes_and_nothing_else(
        numbers in prop::collection::vec(any::<u8>(), 12..200), list in any::<prop::sample::Index>(), seek: u64
    ) {
        let (store, record, pieces) = (Store::default(), sample::small_record(), pieces(&numbers));
        let file = file(&store, &pieces, &record);
        let ids = store.ids();
        prop_assume!(!ids.is_empty());
        let lost = ids[list.index(ids.len())];
        store.lose(lost);
        let manifest = manifest(&store, &record);
        let mut cursor = manifest.pieces(&file).unwrap();
        for from in [0, seek % file.entry.size] {
            cursor.seek(from);
            let (mut found, mut missing) = (Vec::new(), Vec::new());
            for item in cursor.by_ref() {
                match item {
                    Ok(piece) => found.push(piece),
                    Err(error) => missing.push((error.block, error.bytes)),
                }
            }
            prop_assert!(missing.iter().all(|(block, _)| *block == lost));
            prop_assert!(from > 0 || !missing.is_empty());
            let known = |at: &PieceAt| !missing.iter().any(|(_, bytes)| bytes.contains(&at.offset));
            let expected = naive(&pieces).into_iter().filter(|at| at.offset + at.len > from).filter(known);
            prop_assert_eq!(found, expected.collect::<Vec<_>>());
        }
    }
}

#[test]
fn seeking_opens_one_list_per_level() {
    let (store, record) = (Store::default(), sample::small_record());
    let pieces: Vec<_> = (0..3000).map(|n| Piece::data(10, sample::key(n))).collect();
    let file = file(&store, &pieces, &record);
    let Content::List { level, .. } = file.entry.content else { panic!("a list") };
    let manifest = manifest(&store, &record);
    let mut cursor = manifest.pieces(&file).unwrap();
    cursor.seek(17_777);
    assert_eq!(cursor.next().unwrap().unwrap().offset, 17_770);
    assert_eq!(store.opened(), usize::from(level) + 1);
}

#[test]
fn lists_cut_by_other_rules_or_of_another_size_are_refused() {
    let (store, record) = (Store::default(), sample::small_record());
    let pieces: Vec<_> = (0..300).map(|n| Piece::data(10, sample::key(n))).collect();
    let file = file(&store, &pieces, &record);
    let refused = |file: &EntryWithIds, record: &DomainRecord| {
        let manifest = manifest(&store, record);
        let broken =
            |item: &Result<_, ListError<_>>| matches!(item, Err(ListError { cause: ReadCause::Broken { .. }, .. }));
        manifest.pieces(file).unwrap().any(|item| broken(&item))
    };
    assert!(!refused(&file, &record));
    assert!(refused(&file, &DomainRecord { list_max: 3, ..record.clone() }));
    assert!(refused(&file, &DomainRecord { list_max: 5, ..record.clone() }));
    assert!(refused(&file, &DomainRecord { list_parameter: 3, ..record.clone() }));
    let mut other = file.clone();
    other.entry.size += 1;
    assert!(refused(&other, &record));
    let mut other = file;
    let Content::List { level, .. } = &mut other.entry.content else { panic!("a list") };
    *level += 1;
    assert!(refused(&other, &record));
}

/// A list of these items, put into the store.
fn forged(store: &Store, level: u8, items: &[(Piece, Option<BlockId>)]) -> (Piece, BlockId) {
    let mut plaintext = [&[1, level], &(items.len() as u32).to_le_bytes()[..]].concat();
    let mut children = Vec::new();
    for (item, id) in items {
        if level == 0 {
            item.put(&mut plaintext);
        } else {
            plaintext.extend_from_slice(item.data.as_ref().unwrap().as_bytes());
            put_varint(&mut plaintext, item.len);
        }
        children.extend(id);
    }
    let block = BuiltBlock::new(&sample::keys(), Kind::List, plaintext, children);
    let (key, id) = (block.key.clone(), block.id);
    store.add(block);
    (Piece::data(items.iter().map(|(item, _)| item.len).sum(), key), id)
}

#[test]
fn lists_that_are_put_together_otherwise_are_refused() {
    let (store, record) =
        (Store::default(), DomainRecord { list_parameter: 4096, list_max: 4096, ..DomainRecord::default() });
    let data = |n: u64| {
        let key = sample::key(n);
        let id = sample::keys().block_id(Kind::Data, &key, &[]);
        (Piece::data(1, key), Some(id))
    };
    let full = DomainRecord { list_max: 4, ..record.clone() };
    let errors = |level: u8, (root, id): (Piece, BlockId), record: &DomainRecord| {
        let content = Content::List { key: root.data.unwrap(), level };
        let entry = Entry { size: root.len, content, ..Entry::new(FileType::File) };
        let file = sample::with_ids(&sample::path("file"), &entry, Some(id));
        let manifest = manifest(&store, record);
        let errors: Vec<_> = manifest.pieces(&file).unwrap().filter_map(Result::err).collect();
        assert!(errors.iter().all(|error| !matches!(error.cause, ReadCause::Format(_))), "{errors:?}");
        errors.len()
    };
    let nine: Vec<_> = (0..9).map(data).collect();
    assert_eq!(errors(0, forged(&store, 0, &nine), &record), 0);
    assert_eq!(errors(0, forged(&store, 0, &nine[..8]), &record), 1, "no more than fits into the entry");
    let mut other = nine.clone();
    other[3].1 = Some(BlockId::ZERO);
    assert_eq!(errors(0, forged(&store, 0, &other), &record), 1, "another block's id");
    other[3].1 = None;
    assert_eq!(errors(0, forged(&store, 0, &other), &record), 1, "an id too few");
    let above = |level: u8, lists: &[&[(Piece, Option<BlockId>)]]| {
        let children: Vec<_> = lists.iter().map(|items| forged(&store, 0, items)).collect();
        let items: Vec<_> = children.into_iter().map(|(piece, id)| (piece, Some(id))).collect();
        forged(&store, level, &items)
    };
    assert_eq!(errors(1, above(1, &[&nine]), &record), 1, "a root with one list");
    let (hole, d) = ((Piece::hole(5), None), data);
    let ends = [d(1), d(2), d(3), hole.clone()];
    assert_eq!(errors(1, above(1, &[&ends, &[d(4), d(5), d(6), d(7)], &nine[..3]]), &full), 0);
    let middle = [d(20), d(21), d(22), d(23)];
    let apart = above(1, &[&ends, &middle, &[hole.clone(), d(5), d(6), d(7)], &nine[..3]]);
    assert_eq!(errors(1, apart.clone(), &full), 0);
    assert_eq!(errors(1, above(1, &[&ends, &[hole, d(5), d(6), d(7)], &nine[..3]]), &full), 1, "holes side by side");
    assert_eq!(errors(1, above(1, &[&nine[..3], &[d(4), d(5), d(6), d(7)]]), &full), 1, "a list that is not full");
    assert_eq!(errors(2, above(2, &[&ends, &nine[..3]]), &full), 2, "a level left out");
    store.lose(forged(&store, 0, &middle).1);
    assert_eq!(errors(1, apart, &full), 1, "only the lost one: what is beside it adjoins nothing");
}

#[test]
fn content_in_the_entry_has_no_pieces() {
    let (store, record) = (Store::default(), sample::small_record());
    let inline = Entry { size: 1, content: Content::Inline(vec![1]), ..Entry::new(FileType::File) };
    let with_ids = |entry| sample::with_ids(&sample::path("file"), &entry, None);
    let manifest = manifest(&store, &record);
    assert!(manifest.pieces(&with_ids(inline)).is_none());
    assert_eq!(manifest.pieces(&with_ids(Entry::new(FileType::File))).unwrap().count(), 0);
}
