//! What a survey promises, against cursors over the same manifests and pages that were put side by side by hand.

use super::*;
use crate::domain::DomainRecord;
use crate::id::Kind;
use crate::manifest::border::Borders;
use crate::manifest::path::common_prefix;
use crate::manifest::sample::{self, Store};
use crate::manifest::{BuiltBlock, Entry, FileType, Root, page};
use proptest::prelude::*;

/// Surveys one manifest after the other: pages that fit, and what is wrong with each manifest.
fn surveyed(store: &Store, roots: &[Root], record: &DomainRecord) -> (HashSet<BlockId>, Vec<Vec<String>>) {
    let (mut survey, mut pages, mut wrong) = (Survey::default(), HashSet::new(), Vec::new());
    for root in roots {
        let mut here = Vec::new();
        survey.walk(&store.manifest(root, record), |met| {
            match met {
                Met::Page { id, .. } => _ = pages.insert(id),
                Met::Entry(_) => {}
                Met::Unusable(error) => here.push(format!("{}: {}", error.block, error.cause)),
            }
            true
        });
        wrong.push(here);
    }
    (pages, wrong)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn versions_that_read_well_are_verified_and_what_they_share_is_opened_once(seed in 0u64..50, files in 40u64..300) {
        let (mut map, store, record) = (sample::map(seed, files), Store::default(), sample::small_record());
        let mut roots = vec![store.build(&map, &record)];
        let (fifo, paths): (_, Vec<_>) = (Entry::new(FileType::Fifo), map.keys().cloned().collect());
        for n in 1..5usize {
            map.insert(sample::path(&format!("b!{n}")), (fifo.clone(), None));
            let changed = map.get_mut(&paths[(seed as usize * 7 + n * 13) % paths.len()]).unwrap();
            changed.0.mode ^= 1;
            roots.push(store.build(&map, &record));
        }
        roots.push(roots[0].clone());
        let (pages, wrong) = surveyed(&store, &roots, &record);
        prop_assert!(wrong.iter().all(Vec::is_empty), "{:?}", wrong);
        let all: HashSet<_> = store.ids().into_iter().collect();
        prop_assert_eq!(&pages, &all, "every page of every version was met");
    }
}

#[test]
fn what_versions_share_is_not_opened_again() {
    let (map, store, record) = (sample::map(3, 600), Store::default(), sample::small_record());
    let without_links = map.into_iter().filter(|(_, (entry, _))| entry.hardlink.is_none());
    let mut map: sample::Map = without_links.collect();
    let first = store.build(&map, &record);
    let before = store.ids().len();
    let path = map.keys().nth(map.len() / 2).unwrap().clone();
    map.get_mut(&path).unwrap().0.mode ^= 1;
    let second = store.build(&map, &record);
    let new = store.ids().len() - before;
    assert!(surveyed(&store, &[first.clone(), second], &record).1.iter().all(Vec::is_empty));
    let opened = store.opened();
    assert!(opened < before + 5 * new, "{opened} pages were opened, {before} + {new} are there");
    surveyed(&store, std::slice::from_ref(&first), &record);
    assert_eq!(store.opened(), opened + before);
}

/// A page with these items.
fn forged(level: u8, items: &[(&str, Vec<u8>)], children: Vec<BlockId>) -> BuiltBlock {
    let (mut plaintext, mut last) = (Vec::new(), Vec::new());
    page::put_head(&mut plaintext, level);
    for (key, value) in items {
        let shared = common_prefix(&last, key.as_bytes());
        match level {
            0 => page::put_entry_item(&mut plaintext, shared, key.as_bytes(), value),
            _ => {
                plaintext.extend_from_slice(&[shared as u8, (key.len() - shared) as u8]);
                plaintext.extend_from_slice(&key.as_bytes()[shared..]);
                plaintext.extend_from_slice(value);
            }
        }
        last = key.as_bytes().to_vec();
    }
    page::set_count(&mut plaintext, items.len() as u32);
    BuiltBlock::new(&sample::keys(), Kind::Page, plaintext, children)
}

/// A manifest of pages with one entry each.
fn side_by_side(store: &Store, entries: &[(&str, &Entry)]) -> Root {
    let (mut items, mut children) = (Vec::new(), Vec::new());
    for (path, entry) in entries {
        let page = forged(0, &[(path, entry.encode())], Vec::new());
        items.push((*path, [&page.key.as_bytes()[..], &[1, 0]].concat()));
        children.push(page.id);
        store.add(page);
    }
    let top = forged(1, &items, children);
    let root = Root { key: top.key.clone(), id: top.id, level: 1, entries: entries.len() as u64, bytes: 0 };
    store.add(top);
    root
}

#[test]
fn pages_that_are_good_elsewhere_are_held_against_their_new_neighbours() {
    let record = DomainRecord { page_entries: 2, page_inner: 4096, ..DomainRecord::default() };
    let mut borders = Borders::of_pages(&sample::keys(), &record);
    let names: Vec<String> = (0..200).map(|n| format!("n{n:03}")).collect();
    let (ends, goes_on): (Vec<&str>, Vec<&str>) =
        names.iter().map(|name| &name[..]).partition(|name| borders.is_border(0, name.as_bytes()));
    let (dir, fifo) = (Entry::new(FileType::Directory), Entry::new(FileType::Fifo));
    let inner = format!("{}/x", ends[1]);
    let last = ends.last().unwrap();
    assert!(goes_on[0] > ends[0] && goes_on[0] < *last);
    for (first, second, third, what) in [
        // A page that may only be the last, and another behind it.
        (
            [(ends[0], &fifo), (goes_on[0], &fifo)],
            [(ends[0], &fifo), (*last, &fifo)],
            [(goes_on[0], &fifo), (*last, &fifo)],
            "border",
        ),
        // What is in a directory, behind a file of that name.
        (
            [(ends[1], &dir), (&inner, &fifo)],
            [(ends[0], &fifo), (ends[1], &fifo)],
            [(ends[1], &fifo), (&inner, &fifo)],
            "directory",
        ),
    ] {
        let store = Store::default();
        let roots = [first, second, third].map(|entries| side_by_side(&store, &entries));
        let (_, wrong) = surveyed(&store, &roots, &record);
        assert_eq!((&wrong[0], &wrong[1]), (&Vec::new(), &Vec::new()));
        assert!(wrong[2].len() == 1 && wrong[2][0].contains(what), "{what}: {:?}", wrong[2]);
        for (root, wrong) in roots.iter().zip(&wrong) {
            let manifest = store.manifest(root, &record);
            assert_eq!(manifest.cursor().filter(Result::is_err).count(), wrong.len(), "a cursor sees the same");
        }
    }
}

#[test]
fn a_page_is_held_against_each_parent_that_has_it() {
    let (store, record) =
        (Store::default(), DomainRecord { page_entries: 2, page_inner: 4096, ..DomainRecord::default() });
    let mut borders = Borders::of_pages(&sample::keys(), &record);
    let names: Vec<String> = (0..50).map(|n| format!("n{n:02}")).collect();
    let ends: Vec<&str> =
        names.iter().map(|name| &name[..]).filter(|name| borders.is_border(0, name.as_bytes())).collect();
    let fifo = Entry::new(FileType::Fifo);
    let good = side_by_side(&store, &[(ends[0], &fifo), (ends[1], &fifo)]);
    // The same pages under a parent that says they hold more.
    let pages = [ends[0], ends[1]].map(|path| forged(0, &[(path, fifo.encode())], Vec::new()));
    let items = [0, 1].map(|n| (ends[n], [&pages[n].key.as_bytes()[..], &[1 + n as u8, 0]].concat()));
    let top = forged(1, &items, pages.iter().map(|page| page.id).collect());
    let liar = Root { key: top.key.clone(), id: top.id, level: 1, entries: 3, bytes: 0 };
    store.add(top);
    let (_, wrong) = surveyed(&store, &[good, liar], &record);
    assert!(wrong[0].is_empty() && wrong[1].len() == 1 && wrong[1][0].contains("as many entries"), "{wrong:?}");
}

#[test]
fn a_lost_page_is_named_and_the_rest_is_verified() {
    let (map, store, record) = (sample::map(4, 300), Store::default(), sample::small_record());
    let root = store.build(&map, &record);
    for lost in store.ids() {
        store.lose(lost);
        let (pages, wrong) = surveyed(&store, std::slice::from_ref(&root), &record);
        assert!(wrong[0].len() == 1 && wrong[0][0].starts_with(&lost.to_string()), "{wrong:?}");
        assert!(!pages.contains(&lost));
    }
}
