//! The parts of a manifest, one at a time: pages, entries, lists, paths, attributes. FORMAT §5.

use cas_core::codec::{put_bytes, put_varint};
use cas_core::limits::{
    MAX_CHILDREN, MAX_ENTRY, MAX_ENTRY_BLOCKS, MAX_HEIGHT, MAX_INLINE_XATTRS, MAX_PAGE, MAX_PATH, MAX_RAW,
};
use cas_core::manifest::{
    Content, Entry, Item, List, MAX_LIST, ManifestPath, Page, Piece, Totals, check_path, compare_paths, decode_xattrs,
    encode_xattrs, is_below,
};
use std::cmp::Ordering;

/// A page that decodes is what its items, written again, give.
pub fn page(input: &[u8]) -> bool {
    let Ok(page) = Page::decode(input.to_vec()) else { return false };
    assert!(input.len() <= MAX_PAGE && page.level() < MAX_HEIGHT && page.references().len() <= MAX_CHILDREN);
    let mut out = vec![1, page.level()];
    out.extend_from_slice(&page.count().to_le_bytes());
    let (mut last, mut totals) = (Vec::new(), Totals::default());
    let mut position = page.start();
    while let Some(item) = page.next(&mut position) {
        match item {
            Item::Entry { path, entry } => {
                put_key(&mut out, &last, path);
                put_bytes(&mut out, entry);
                add(&mut totals, Totals { entries: 1, bytes: entry_is_canonical(entry).size });
                last = path.to_vec();
            }
            Item::Page { last: key, key: child, totals: below } => {
                put_key(&mut out, &last, key);
                out.extend_from_slice(child.as_bytes());
                put_varint(&mut out, below.entries);
                put_varint(&mut out, below.bytes);
                add(&mut totals, below);
                last = key.to_vec();
            }
        }
        assert!(check_path(&last).is_ok());
    }
    assert_eq!(out, input);
    assert_eq!((page.totals(), page.last()), (totals, &last[..]));
    true
}

fn put_key(out: &mut Vec<u8>, last: &[u8], key: &[u8]) {
    assert!(last.is_empty() || compare_paths(last, key).is_lt(), "keys ascend");
    let shared = last.iter().zip(key).take_while(|(a, b)| a == b).count();
    put_varint(out, shared as u64);
    put_bytes(out, &key[shared..]);
}

fn add(totals: &mut Totals, more: Totals) {
    totals.entries = totals.entries.saturating_add(more.entries);
    totals.bytes = totals.bytes.saturating_add(more.bytes).min(i64::MAX as u64);
}

/// An entry that decodes is written the same again and obeys the limits.
pub fn entry(input: &[u8]) -> bool {
    if Entry::decode(input).is_err() {
        return false;
    }
    entry_is_canonical(input);
    true
}

fn entry_is_canonical(bytes: &[u8]) -> Entry {
    let entry = Entry::decode(bytes).expect("checked before");
    assert_eq!(entry.encode(), bytes);
    assert!(bytes.len() <= MAX_ENTRY && entry.mode <= 0o7777 && entry.mtime.nanoseconds < 1_000_000_000);
    assert!(entry.references().count() <= MAX_ENTRY_BLOCKS + 1);
    assert!(entry.xattrs.is_empty() || encode_xattrs(&entry.xattrs).len() <= MAX_INLINE_XATTRS);
    assert!(entry.link_target.iter().all(|target| target.len() <= MAX_PATH && !target.contains(&0)));
    let held = match &entry.content {
        Content::None => 0,
        Content::Inline(bytes) => bytes.len() as u64,
        Content::Pieces(pieces) => pieces.iter().map(|piece| piece.len).sum(),
        Content::List { .. } => entry.size,
    };
    assert_eq!(held, entry.size);
    entry
}

/// A list that decodes is what its items, written again, give.
pub fn list(input: &[u8]) -> bool {
    let Ok(list) = List::decode(input) else { return false };
    assert!(input.len() <= MAX_LIST && list.level() < MAX_HEIGHT && list.references().len() <= MAX_CHILDREN);
    let mut out = vec![1, list.level()];
    out.extend_from_slice(&(list.items().len() as u32).to_le_bytes());
    for Piece { len, data } in list.items() {
        let key = data.as_ref().map(|key| &key.as_bytes()[..]);
        assert!(*len > 0 && (list.level() > 0 || key.is_none() || *len <= MAX_RAW as u64));
        if list.level() == 0 {
            put_varint(&mut out, len << 1 | u64::from(key.is_none()));
        }
        out.extend_from_slice(key.unwrap_or_default());
        if list.level() > 0 {
            put_varint(&mut out, *len);
        }
    }
    assert_eq!(out, input);
    assert_eq!(list.items().iter().map(|piece| u128::from(piece.len)).sum::<u128>(), u128::from(list.size()));
    let holes = |pair: &[Piece]| pair.iter().all(Piece::is_hole);
    assert!(!list.items().windows(2).any(holes), "holes side by side are one");
    true
}

/// Two paths, separated by a line end: what a path is, and that their order is the one of their components.
pub fn path(input: &[u8]) -> bool {
    let (a, b) = split_at_line_end(input);
    let (Ok(a), Ok(b)) = (ManifestPath::new(a), ManifestPath::new(b)) else { return false };
    for path in [&a, &b] {
        let components: Vec<&[u8]> = path.as_bytes().split(|byte| *byte == b'/').collect();
        assert!(components.iter().all(|name| !matches!(*name, b"" | b"." | b"..") && !name.contains(&0)));
        assert!(path.as_bytes().len() <= MAX_PATH);
        assert_eq!(components.last(), Some(&path.base_name()));
        if let Some(parent) = path.parent() {
            let parent = ManifestPath::new(parent).expect("the parent of a path is one");
            assert!(path.is_below(parent.as_bytes()) && parent < *path);
            assert_eq!(parent.join(path.base_name()), Ok(path.clone()));
        }
    }
    let order = compare_paths(a.as_bytes(), b.as_bytes());
    let components = |path: &ManifestPath| path.as_bytes().split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect();
    let (left, right): (Vec<_>, Vec<_>) = (components(&a), components(&b));
    assert_eq!(order, left.cmp(&right));
    assert_eq!(order.reverse(), compare_paths(b.as_bytes(), a.as_bytes()));
    assert_eq!(order == Ordering::Equal, a == b);
    assert_eq!(is_below(b.as_bytes(), a.as_bytes()), right.starts_with(&left) && a != b);
    true
}

fn split_at_line_end(input: &[u8]) -> (&[u8], &[u8]) {
    let at = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    (&input[..at], input.get(at + 1..).unwrap_or_default())
}

/// Attributes that decode are written the same again.
pub fn xattrs(input: &[u8]) -> bool {
    let Ok(xattrs) = decode_xattrs(input) else { return false };
    assert_eq!(encode_xattrs(&xattrs), input);
    assert!(xattrs.windows(2).all(|pair| pair[0].0 < pair[1].0));
    true
}
