//! What readers promise, against naive maps and forged pages.

use super::*;
use crate::manifest::border::Borders;
use crate::manifest::sample::{self, Map, Store};
use crate::manifest::{BuiltBlock, FileType, Item, Page, Root, page};
use proptest::prelude::*;

fn all(map: &Map, wanted: impl Fn(&ManifestPath) -> bool) -> Vec<EntryWithIds> {
    let wanted = map.iter().filter(|(path, _)| wanted(path));
    wanted.map(|(path, (entry, list))| sample::with_ids(path, entry, *list)).collect()
}

fn read(cursor: Cursor<'_, &Store>) -> Vec<EntryWithIds> {
    cursor.map(Result::unwrap).collect()
}

/// Paths of the map, and some that are not in it.
fn places(map: &Map) -> Vec<ManifestPath> {
    let beside = |path: &ManifestPath| [path.clone(), path.join(b"x").unwrap(), sample::path(&format!("{path}!"))];
    map.keys().flat_map(beside).chain([sample::path("\u{1}"), sample::path("zzz")]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_map_reads_as_it_was_built(seed in 0u64..100, files in 0u64..300, small: bool) {
        let (map, store) = (sample::map(seed, files), Store::default());
        let record = if small { sample::small_record() } else { DomainRecord::default() };
        let root = store.build(&map, &record);
        let manifest = store.manifest(&root, &record);
        prop_assert_eq!(read(manifest.cursor()), all(&map, |_| true));
        prop_assert_eq!(manifest.totals().unwrap(), Totals { entries: root.entries, bytes: root.bytes });
    }

    #[test]
    fn seeking_any_number_of_times_is_skipping(
        seed in 0u64..20, files in 0u64..200, seeks in prop::collection::vec(any::<prop::sample::Index>(), 1..20)
    ) {
        let (map, store, record) = (sample::map(seed, files), Store::default(), sample::small_record());
        let root = store.build(&map, &record);
        let manifest = store.manifest(&root, &record);
        let (mut cursor, places) = (manifest.cursor(), places(&map));
        for (n, seek) in seeks.iter().enumerate() {
            let place = &places[seek.index(places.len())];
            cursor.seek(place);
            let found: Vec<_> = cursor.by_ref().take(n % 4).map(Result::unwrap).collect();
            let expected: Vec<_> = all(&map, |path| path >= place).into_iter().take(n % 4).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_lost_page_costs_its_range_and_nothing_else(seed in 0u64..50, page in any::<prop::sample::Index>()) {
        let (map, store, record) = (sample::map(seed, 150), Store::default(), sample::small_record());
        let root = store.build(&map, &record);
        let ids = store.ids();
        let lost = ids[page.index(ids.len())];
        store.lose(lost);
        let (mut found, mut errors) = (Vec::new(), Vec::new());
        for item in store.manifest(&root, &record).cursor() {
            match item {
                Ok(entry) => found.push(entry),
                Err(error) => errors.push(error),
            }
        }
        prop_assert_eq!(errors.len(), 1);
        let ReadError { block, gap, cause } = &errors[0];
        prop_assert!(*block == lost && matches!(&**cause, ReadCause::Source(e) if e.0 == lost));
        prop_assert_eq!(&found, &all(&map, |path| !sample::is_in(gap, path.as_bytes())));
        let missing = gap.totals.map_or(map.len() as u64, |totals| totals.entries);
        prop_assert_eq!(missing, (map.len() - found.len()) as u64);
    }
}

#[test]
fn directories_and_single_paths_are_found() {
    let (map, store, record) = (sample::map(5, 120), Store::default(), sample::small_record());
    let root = store.build(&map, &record);
    let manifest = store.manifest(&root, &record);
    for place in places(&map) {
        let expected = map.get(&place).map(|(entry, list)| sample::with_ids(&place, entry, *list));
        assert_eq!(manifest.lookup(&place).unwrap(), expected);
        assert_eq!(read(manifest.below(&place)), all(&map, |path| path.is_below(place.as_bytes())));
        let children = all(&map, |path| path.parent() == Some(place.as_bytes()));
        assert_eq!(read(manifest.children(Some(&place))), children);
    }
    assert_eq!(read(manifest.children(None)), all(&map, |path| path.parent().is_none()));
}

#[test]
fn a_cursor_below_a_directory_stays_there_wherever_it_is_sent() {
    let (map, store, record) = (sample::map(5, 120), Store::default(), sample::small_record());
    let root = store.build(&map, &record);
    let (manifest, dir) = (store.manifest(&root, &record), sample::path("b/d1"));
    let mut cursor = manifest.below(&dir);
    for place in places(&map) {
        cursor.seek(&place);
        let expected = all(&map, |path| path.is_below(dir.as_bytes()) && *path >= place);
        assert_eq!(cursor.by_ref().map(Result::unwrap).collect::<Vec<_>>(), expected, "{place}");
    }
}

#[test]
fn after_a_gap_only_directories_in_the_gap_are_taken_on_trust() {
    let (store, record) = (Store::default(), sample::small_record());
    let root = store.build(&Map::new(), &record);
    let manifest = store.manifest(&root, &record);
    let parents = |is_dir| Parents {
        before: b"b/c".to_vec(),
        before_is_dir: is_dir,
        sought: None,
        gap_until: Some(b"d".to_vec()),
    };
    let cases = [("b/x", true), ("b/c/x", false), ("c/x/y", true), ("d/x", true), ("e/x", false), ("e", true)];
    for (path, known) in cases {
        assert_eq!(parents(false).check(&manifest, path.as_bytes()), known, "{path}");
    }
    assert!(parents(true).check(&manifest, b"b/c/x"));
}

#[test]
fn ids_of_lists_and_xattrs_are_told_apart() {
    let keys = sample::keys();
    let mut entry = Entry::new(FileType::File);
    entry.size = 9;
    entry.content = Content::List { key: sample::key(1), level: 0 };
    entry.xattr_block = Some(super::super::Piece::data(5000, sample::key(2)));
    let both = sample::with_ids(&sample::path("a"), &entry, Some(BlockId([3; 32])));
    let xattrs = keys.block_id(Kind::Data, &sample::key(2), &[]);
    assert_eq!((both.list_id(), both.xattr_id()), (Some(BlockId([3; 32])), Some(xattrs)));
    let plain = sample::with_ids(&sample::path("a"), &Entry::new(FileType::File), None);
    assert_eq!((plain.list_id(), plain.xattr_id()), (None, None));
}

#[test]
fn the_source_hears_of_every_page_that_will_be_read_but_the_first_of_each() {
    let (map, store, record) = (sample::map(5, 300), Store::default(), sample::small_record());
    let root = store.build(&map, &record);
    assert_eq!(read(store.manifest(&root, &record).cursor()).len(), map.len());
    let (opened, mut expected) = (store.opened(), store.expected());
    let count = expected.len();
    expected.sort();
    expected.dedup();
    assert_eq!(count, expected.len());
    assert!(opened > count && count > opened / 3, "{count} of {opened}");
    let lookup = map.keys().nth(100).unwrap();
    store.manifest(&root, &record).lookup(lookup).unwrap();
    assert_eq!((store.expected().len(), store.opened()), (count, opened + usize::from(root.level) + 1));
}

#[test]
fn pages_cut_by_other_rules_are_refused() {
    let (map, store, record) = (sample::map(5, 300), Store::default(), sample::small_record());
    let root = store.build(&map, &record);
    for other in [
        DomainRecord { page_entries: 2, ..record.clone() },
        DomainRecord { page_entries: 5, ..record.clone() },
        DomainRecord { page_inner: 3, ..record },
    ] {
        let broken = |e: &Result<_, ReadError<_>>| matches!(e, Err(e) if matches!(*e.cause, ReadCause::Broken { .. }));
        assert!(store.manifest(&root, &other).cursor().any(|item| broken(&item)), "{other:?}");
    }
}

#[test]
fn entries_that_fill_pages_read_as_they_were_built() {
    let record = DomainRecord { page_entries: 4096, page_inner: 4096, ..DomainRecord::default() };
    let (mut map, store, name) = (Map::new(), Store::default(), "n".repeat(6000));
    for n in 0..200 {
        let mut entry = Entry::new(FileType::Fifo);
        entry.xattrs = vec![(b"user.x".to_vec(), vec![7; n * 20])];
        map.insert(sample::path(&format!("{}{n:03}{name}", n % 10)), (entry, None));
    }
    let root = store.build(&map, &record);
    let manifest = store.manifest(&root, &record);
    assert!(root.level > 1, "inner pages are full, too");
    assert_eq!(read(manifest.cursor()), all(&map, |_| true));
    let mut cursor = manifest.cursor();
    for place in map.keys().step_by(7) {
        cursor.next().unwrap().unwrap();
        cursor.seek(place);
        assert_eq!(cursor.by_ref().map(Result::unwrap).collect::<Vec<_>>(), all(&map, |path| path >= place));
        cursor.seek(&sample::path("0000"));
    }
    for id in store.ids() {
        store.lose(id);
        assert_eq!(manifest.cursor().filter(Result::is_err).count(), 1, "only {id} is lost");
    }
}

/// A root page with these entries, whatever the rules between entries say.
fn page_of(entries: &[(&str, Entry)]) -> (BuiltBlock, Root) {
    let (mut plaintext, mut last) = (Vec::new(), Vec::new());
    page::put_head(&mut plaintext, 0);
    for (path, entry) in entries {
        let shared = common_prefix(&last, path.as_bytes());
        page::put_entry_item(&mut plaintext, shared, path.as_bytes(), &entry.encode());
        last = path.as_bytes().to_vec();
    }
    page::set_count(&mut plaintext, entries.len() as u32);
    let block = BuiltBlock::new(&sample::keys(), Kind::Page, plaintext, Vec::new());
    let root = Root { key: block.key.clone(), id: block.id, level: 0, entries: entries.len() as u64, bytes: 0 };
    (block, root)
}

#[test]
fn nothing_is_read_through_a_link_or_without_its_parent() {
    let link = Entry { link_target: Some(b"/etc".to_vec()), ..Entry::new(FileType::Symlink) };
    let (dir, fifo) = (Entry::new(FileType::Directory), Entry::new(FileType::Fifo));
    let record = DomainRecord { page_entries: 4096, ..DomainRecord::default() };
    for (bad, entries) in [
        ("a/passwd", vec![("a", link.clone()), ("a/passwd", fifo.clone()), ("b", fifo.clone())]),
        ("a/b/c", vec![("a", dir.clone()), ("a/b/c", fifo.clone()), ("b", fifo.clone())]),
        ("a/passwd", vec![("a/passwd", fifo.clone()), ("b", fifo.clone())]),
        ("a/l/x", vec![("a", dir), ("a/l", link), ("a/l/x", fifo.clone()), ("b", fifo)]),
    ] {
        let store = Store::default();
        let (block, root) = page_of(&entries);
        store.add(block);
        let manifest = store.manifest(&root, &record);
        let mut sought = manifest.cursor();
        sought.seek(&sample::path(bad));
        let mut back = manifest.cursor();
        assert!(back.by_ref().count() > 0);
        back.seek(&sample::path(bad));
        for (cursor, good) in [(manifest.cursor(), entries.len() - 1), (sought, 1), (back, 1)] {
            let items: Vec<_> = cursor.collect();
            assert_eq!(items.iter().filter(|item| item.is_ok()).count(), good, "{entries:?}");
            let error = items.into_iter().find_map(Result::err).unwrap();
            assert_eq!(error.gap.until.as_deref(), Some(bad.as_bytes()));
            assert_eq!(error.gap.totals, Some(Totals { entries: 1, bytes: 0 }));
        }
    }
}

#[test]
fn entries_against_the_domain_or_the_order_are_refused_alone() {
    let (file, record) = (Entry::new(FileType::File), DomainRecord { page_entries: 4096, ..DomainRecord::default() });
    let large = Entry { size: 513, content: Content::Inline(vec![1; 513]), ..file.clone() };
    let forward = Entry { hardlink: Some(b"y".to_vec()), ..file.clone() };
    for bad in [large, forward] {
        let store = Store::default();
        let (block, root) = page_of(&[("a", file.clone()), ("x", bad), ("z", file.clone())]);
        store.add(block);
        let items: Vec<_> = store.manifest(&root, &record).cursor().map(|item| item.is_ok()).collect();
        assert_eq!(items, [true, false, true]);
    }
}

#[test]
fn a_page_that_is_not_what_its_parent_says_is_refused() {
    let (map, record) = (sample::map(2, 100), sample::small_record());
    let (root, blocks) = sample::build(&map, &record);
    let top = blocks.iter().find(|block| block.id == root.id).unwrap();
    // A child too many in the header, and one too few.
    let more = [&top.children[..], &[BlockId::ZERO]].concat();
    let fewer = top.children[1..].to_vec();
    for bad in [more, fewer] {
        let store = Store::default();
        let block = BuiltBlock::new(&sample::keys(), Kind::Page, top.plaintext.clone(), bad);
        let forged = Root { id: block.id, ..root.clone() };
        store.add(block);
        let items: Vec<_> = store.manifest(&forged, &record).cursor().collect();
        assert!(matches!(&items[..], [Err(e)] if e.gap.until.is_none()));
    }
    // The plaintext of the parent with one more byte of files than there are.
    let honest = Page::decode(top.plaintext.clone()).unwrap();
    let (mut lying, mut last, mut position) = (Vec::new(), Vec::new(), honest.start());
    page::put_head(&mut lying, honest.level());
    while let Some(Item::Page { last: path, key, mut totals }) = honest.next(&mut position) {
        totals.bytes += u64::from(last.is_empty());
        page::put_child_item(&mut lying, common_prefix(&last, path), path, &key, totals);
        last = path.to_vec();
    }
    page::set_count(&mut lying, honest.count());
    let store = Store::default();
    let block = BuiltBlock::new(&sample::keys(), Kind::Page, lying, top.children.clone());
    let forged = Root { id: block.id, key: block.key.clone(), ..root };
    blocks.iter().chain([&block]).for_each(|block| store.add(block.clone()));
    let broken = |e: &ReadError<_>| matches!(*e.cause, ReadCause::Broken { .. });
    let errors: Vec<_> = store.manifest(&forged, &record).cursor().filter_map(Result::err).collect();
    assert!(errors.len() == 1 && broken(&errors[0]));
}

/// A page of these pages, each with the last path and the totals that it is said to have.
fn page_above(level: u8, children: &[(&str, &BuiltBlock, u64)]) -> (BuiltBlock, Root) {
    let (mut plaintext, mut last) = (Vec::new(), Vec::new());
    page::put_head(&mut plaintext, level);
    for (path, child, entries) in children {
        let (shared, totals) = (common_prefix(&last, path.as_bytes()), Totals { entries: *entries, bytes: 0 });
        page::put_child_item(&mut plaintext, shared, path.as_bytes(), &child.key, totals);
        last = path.as_bytes().to_vec();
    }
    page::set_count(&mut plaintext, children.len() as u32);
    let ids = children.iter().map(|(_, child, _)| child.id).collect();
    let block = BuiltBlock::new(&sample::keys(), Kind::Page, plaintext, ids);
    let root = Root { key: block.key.clone(), id: block.id, level, entries: 0, bytes: 0 };
    (block, root)
}

/// A name that begins like this and is a border on levels 0 and 1, or on neither.
fn name(prefix: &str, border: bool) -> String {
    let mut borders = Borders::of_pages(&sample::keys(), &sample::small_record());
    let mut is = |name: &str| [0, 1].map(|level| borders.is_border(level, name.as_bytes()));
    (0..).map(|n| format!("{prefix}{n}")).find(|name| is(name) == [border; 2]).unwrap()
}

#[test]
fn a_tree_that_is_put_together_otherwise_is_refused() {
    let (record, fifo) = (sample::small_record(), Entry::new(FileType::Fifo));
    let (d, m, z) = (name("d", false), name("m", true), name("z", false));
    let leaf = |paths: &[&str]| page_of(&paths.iter().map(|path| (*path, fifo.clone())).collect::<Vec<_>>()).0;
    let (one, two, before) = (leaf(&[&m]), leaf(&[&z]), leaf(&[&d, &z]));
    let errors = |(top, root): (BuiltBlock, Root), more: &[&BuiltBlock]| {
        let store = Store::default();
        [&one, &two, &before, &top].iter().chain(more).for_each(|block| store.add((*block).clone()));
        let errors: Vec<_> = store.manifest(&root, &record).cursor().filter_map(Result::err).collect();
        assert!(errors.iter().all(|error| matches!(*error.cause, ReadCause::Broken { .. })), "{errors:?}");
        errors.len()
    };
    assert_eq!(errors(page_above(1, &[(&m, &one, 1), (&z, &two, 1)]), &[]), 0);
    assert_eq!(errors(page_above(1, &[(&m, &one, 1), (&z, &before, 2)]), &[]), 1, "paths before those before");
    assert_eq!(errors(page_above(1, &[(&m, &one, 1), ("zz", &two, 1)]), &[]), 1, "another last path");
    assert_eq!(errors(page_above(1, &[(&m, &one, 1), (&z, &two, 2)]), &[]), 1, "other totals");
    assert_eq!(errors(page_above(1, &[(&m, &one, 1)]), &[]), 1, "a root with one page");
    assert_eq!(errors(page_above(2, &[(&m, &one, 1), (&z, &two, 1)]), &[]), 2, "a level left out");
    let low = page_above(1, &[(&m, &one, 1)]).0;
    let high = page_above(1, &[(&z, &two, 1)]).0;
    let top = page_above(2, &[(&m, &low, 1), (&z, &high, 1)]);
    assert_eq!(errors(top, &[&low, &high]), 1, "a page of one that is not the last of its level");
}
