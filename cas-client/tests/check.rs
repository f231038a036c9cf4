//! What check finds: everything that a restore would stumble over, also across pages and where no key is at hand.

mod support;

use cas_client::check::{CheckOptions, CheckProgress, CheckReport, Part, Sample, check};
use cas_client::vault::Vault;
use cas_core::manifest::{Content, Entry, FileType};
use std::fs;
use support::{GO_ON, World, noise, page_of, page_over};

const OPTIONS: CheckOptions = CheckOptions { read: None, position: 0, recount: true, mark: false, jobs: 2 };

impl World {
    fn check(&self, options: &CheckOptions) -> CheckReport {
        self.check_as(Some(&self.vault), options)
    }

    fn check_as(&self, vault: Option<&Vault>, options: &CheckOptions) -> CheckReport {
        check(&self.store, vault, options, &CheckProgress::default(), &GO_ON).unwrap()
    }

    /// What is wrong, as text.
    fn wrong(&self) -> Vec<String> {
        let report = self.check(&OPTIONS);
        report.findings.iter().map(|f| format!("{:?} {}", f.block, f.what)).collect()
    }
}

fn inline(text: &str) -> Entry {
    let content = Content::Inline(text.as_bytes().to_vec());
    Entry { size: text.len() as u64, content, ..Entry::new(FileType::File) }
}

fn filled() -> World {
    let mut world = World::new();
    for n in 0..40 {
        world.write(&format!("d{}/f{n}", n % 5), &noise(n, 3_000));
    }
    world.write("large", &noise(99, 200_000));
    fs::hard_link(world.src().join("large"), world.src().join("large again")).unwrap();
    world.push("a");
    world.write("d3/new", &noise(77, 5_000));
    world.push("a");
    world
}

#[test]
fn a_store_that_is_as_it_should_be_has_no_findings() {
    let world = filled();
    let report = world.check(&CheckOptions { read: Some(Sample::All), ..OPTIONS });
    assert!(report.is_clean(), "{report:?}");
    assert_eq!((report.snapshots, report.closed, report.orphans), (2, 0, 0));
    assert_eq!(report.read_blocks, report.blocks);
}

#[test]
fn pages_are_held_against_one_another() {
    let mut world = World::with_large_pages();
    world.forge("good", &[page_of(&[("a", inline("a")), ("b", inline("b"))])]);
    assert!(world.wrong().is_empty());
    // Two pages where the domain would have cut one, though each is right in itself.
    let (one, two) = (page_of(&[("a", inline("a"))]), page_of(&[("b", inline("b"))]));
    let top = page_over(&world, &[("a", &one, 1, 1), ("b", &two, 1, 1)]);
    world.forge("cut", &[one, two, top]);
    let wrong = world.wrong();
    assert!(wrong.len() == 1 && wrong[0].contains("border"), "{wrong:?}");
    let report = world.check(&CheckOptions { mark: true, ..OPTIONS });
    let touched: Vec<_> = report.touched.iter().map(|t| t.row.name.as_str()).collect();
    assert_eq!(touched, ["cut"]);
    assert_eq!(world.store.index().status().unwrap().bad, 0, "no other copy would cure it");
}

#[test]
fn what_a_page_says_of_another_must_hold() {
    let mut world = World::with_large_pages();
    let (one, two) = (page_of(&[("a", inline("a"))]), page_of(&[("b", inline("b"))]));
    let top = page_over(&world, &[("a", &one, 1, 1), ("b", &two, 2, 1)]);
    world.forge("a", &[one, two, top]);
    let wrong = world.wrong();
    assert!(wrong.iter().any(|w| w.contains("as many entries and bytes")), "{wrong:?}");
}

#[test]
fn what_stands_in_no_directory_and_links_to_nothing_are_named() {
    let mut world = World::with_large_pages();
    let hardlink = |to: &str| Entry { hardlink: Some(to.into()), ..Entry::new(FileType::File) };
    let dir = Entry::new(FileType::Directory);
    world.forge("parent", &[page_of(&[("a", inline("a")), ("a/b", inline("b"))])]);
    world.forge("link", &[page_of(&[("d", dir), ("x", hardlink("gone")), ("y", hardlink("d")), ("z", hardlink("y"))])]);
    let wrong = world.wrong();
    assert_eq!(wrong.iter().filter(|w| w.contains("the directory it is in")).count(), 1, "{wrong:?}");
    for path in ["x", "y", "z"] {
        assert!(wrong.iter().any(|w| w.contains("link@1") && w.contains(&format!("{path:?} is a hard"))), "{wrong:?}");
    }
}

#[test]
fn a_clear_list_of_children_that_is_not_that_of_the_entries_is_named() {
    let mut world = World::with_large_pages();
    let honest = page_of(&[("a", inline("a"))]);
    let mut liar = page_of(&[("b", inline("b"))]);
    liar.children = vec![world.name_of(&honest).1];
    world.forge("a", &[honest, liar]);
    let wrong = world.wrong();
    assert!(wrong.len() == 1 && wrong[0].contains("child ids of its references"), "{wrong:?}");
}

#[test]
fn every_lost_block_is_found_and_named_with_what_it_touches() {
    let world = filled();
    let row = world.rows()[0].clone();
    let pages = world.pages_of(row.root);
    let file = world.store.index().children(pages.last().unwrap()).unwrap().first().copied();
    for lost in pages.into_iter().take(3).chain(file) {
        let bytes = world.store.node().unwrap().get(&lost).unwrap();
        world.lose(lost);
        let report = world.check(&OPTIONS);
        assert!(report.findings.iter().any(|f| f.block == Some(lost)), "{report:?}");
        assert!(report.touched.iter().any(|t| t.block == lost), "{report:?}");
        let without = world.check_as(None, &CheckOptions { read: Some(Sample::All), ..OPTIONS });
        assert!(without.findings.iter().any(|f| f.block == Some(lost)), "{without:?}");
        world.bring_back(lost, bytes);
    }
    assert!(world.check(&OPTIONS).is_clean());
}

#[test]
fn without_a_key_everything_is_compared_and_it_is_said_what_was_not() {
    let world = filled();
    let report = world.check_as(None, &CheckOptions { read: Some(Sample::All), ..OPTIONS });
    assert!(report.is_clean(), "{report:?}");
    assert_eq!((report.snapshots, report.closed), (2, 2));
    let with_key = world.check(&CheckOptions { read: Some(Sample::All), ..OPTIONS });
    assert_eq!((report.pages, report.read_bytes), (with_key.pages, with_key.read_bytes));
}

#[test]
fn parts_follow_each_other_until_every_block_was_read() {
    let world = filled();
    let all = world.check(&CheckOptions { read: Some(Sample::All), ..OPTIONS });
    let read = |sample, position| world.check(&CheckOptions { read: Some(sample), position, ..OPTIONS });
    let (mut position, mut blocks, mut parts) = (0xdead_beef_0000_0000, 0, 0);
    for _ in 0..4 {
        let report = read(Sample::Share(0.25), position);
        position = report.part.unwrap().next();
        blocks += report.read_blocks;
    }
    assert_eq!(blocks, all.blocks);
    let nth = (1..=3).map(|n| read(Sample::Nth(n, 3), 9).read_blocks).sum::<u64>();
    assert_eq!(nth, all.blocks);
    let mut bytes = 0;
    while bytes < all.read_bytes {
        let report = read(Sample::Bytes(100_000), position);
        assert!(report.read_bytes >= 100_000 || report.part == Some(Part::WHOLE), "{report:?}");
        position = report.part.unwrap().next();
        bytes += report.read_bytes;
        parts += 1;
    }
    assert!(parts > 2 && read(Sample::Bytes(1 << 40), 5).part == Some(Part::WHOLE));
}
