//! Restoring into folders that are not empty, from stores that are not whole, and from manifests that no push would make.

mod support;

use cas_client::pull::{Overwrite, Problem, Progress, PullOptions, PullReport, pull};
use cas_client::push::ExcludeRules;
use cas_core::id::BlockId;
use cas_core::manifest::{Content, Entry, FileType, ManifestPath};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use support::{GO_ON, World, noise, page_of};

impl World {
    fn back(&self) -> PathBuf {
        self.dir.path().join("back")
    }

    fn options(&self) -> PullOptions {
        PullOptions {
            target: self.back(),
            path: Vec::new(),
            overwrite: Overwrite::IfChanged,
            delete: false,
            dry_run: false,
            numeric_owner: false,
            excludes: ExcludeRules::default(),
            jobs: 2,
        }
    }

    fn pull(&mut self, reference: &str, options: &PullOptions) -> PullReport {
        let opened = self.open(reference);
        pull(&self.store, opened.row.root, &opened.details, options, &Progress::default(), &GO_ON).unwrap()
    }

    /// The first block of a file.
    fn block_of(&mut self, reference: &str, path: &str) -> BlockId {
        let book = self.open(reference).book();
        book.lookup(&ManifestPath::new(path).unwrap()).unwrap().unwrap().ids[0]
    }
}

fn named(problems: &[Problem]) -> Vec<String> {
    let mut names: Vec<_> = problems.iter().map(|p| String::from_utf8_lossy(&p.path).into_owned()).collect();
    names.sort();
    names
}

fn names_in(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn inode(path: &Path) -> u64 {
    path.symlink_metadata().unwrap().ino()
}

fn patterns(patterns: &[&str]) -> ExcludeRules {
    ExcludeRules { patterns: patterns.iter().map(|p| p.to_string()).collect(), ..ExcludeRules::default() }
}

#[test]
fn a_lost_block_costs_its_file_and_the_links_to_it_and_all_are_named() {
    let mut world = World::new();
    world.write("good", &noise(1, 9_000));
    world.write("d/lost", &noise(2, 900));
    world.write("lost large", &noise(3, 90_000));
    fs::hard_link(world.src().join("d/lost"), world.src().join("d/lost again")).unwrap();
    fs::hard_link(world.src().join("good"), world.src().join("z")).unwrap();
    world.push("a");
    for path in ["d/lost", "lost large"] {
        let id = world.block_of("a", path);
        world.lose(id);
    }
    let report = world.pull("a", &world.options());
    assert_eq!(named(&report.problems), ["d/lost", "d/lost again", "lost large"]);
    assert!(report.problems.iter().all(|p| p.is_damage() && p.partial.is_none()), "{:?}", report.problems);
    let back = world.back();
    assert_eq!(names_in(&back), ["d", "good", "z"]);
    assert!(names_in(&back.join("d")).is_empty());
    assert_eq!(inode(&back.join("good")), inode(&back.join("z")));
}

#[test]
fn what_stood_there_stays_when_its_new_content_is_lost_and_a_mixture_gets_another_name() {
    let mut world = World::new();
    let large = noise(3, 90_000);
    world.write("small", &noise(2, 900));
    world.write("large", &large);
    world.push("a");
    let (small, first) = (world.block_of("a", "small"), world.block_of("a", "large"));
    world.lose(small);
    fs::create_dir(world.back()).unwrap();
    fs::write(world.back().join("small"), "mine").unwrap();
    fs::write(world.back().join("large"), "mine").unwrap();
    let report = world.pull("a", &world.options());
    assert_eq!(named(&report.problems), ["small"]);
    assert_eq!(fs::read(world.back().join("small")).unwrap(), b"mine");
    assert_eq!(fs::read(world.back().join("large")).unwrap(), large);
    fs::write(world.back().join("large"), "mine").unwrap();
    world.lose(first); // A list: nothing of the file can be read.
    let report = world.pull("a", &world.options());
    assert_eq!(named(&report.problems), ["large", "small"]);
    let partial = report.problems.into_iter().find_map(|p| p.partial);
    assert_eq!(partial, Some(world.back().join("large.cas-partial")));
    assert_eq!(names_in(&world.back()), ["large.cas-partial", "small"]);
}

#[test]
fn what_a_killed_pull_began_is_completed_and_leaves_nothing_behind() {
    let mut world = World::new();
    let large = noise(3, 90_000);
    world.write("large", &large);
    world.push("a");
    world.pull("a", &world.options());
    // As if it had been killed: half of it under the other name, which is that of every unfinished "large".
    let taken = names_while_written(&mut world);
    let half = [&large[..45_000], &[0; 20_000]].concat();
    fs::remove_file(world.back().join("large")).unwrap();
    fs::write(world.back().join(&taken), half).unwrap();
    fs::write(world.back().join(format!("{taken}ff")), "of a file that is no more").unwrap();
    world.pull("a", &world.options());
    assert_eq!(fs::read(world.back().join("large")).unwrap(), large);
    world.pull("a", &PullOptions { delete: true, ..world.options() });
    assert_eq!(names_in(&world.back()), ["large"]);
}

/// The name that "large" has until it is complete: a directory in the way is replaced, so it is seen by its absence.
fn names_while_written(world: &mut World) -> String {
    let hash = cas_core::kdf::derive("unfinished file", b"large");
    let name = format!(".cas-partial.{}", hash[..8].iter().map(|b| format!("{b:02x}")).collect::<String>());
    fs::remove_file(world.back().join("large")).unwrap();
    fs::create_dir(world.back().join(&name)).unwrap();
    world.pull("a", &world.options());
    assert_eq!(names_in(&world.back()), ["large"], "the name has changed: this test proves nothing");
    name
}

#[test]
fn links_to_what_is_left_out_hold_the_content_and_are_one_file() {
    let mut world = World::new();
    world.write("a/first", &noise(1, 9_000));
    fs::create_dir(world.src().join("b")).unwrap();
    for name in ["b/x", "b/y"] {
        fs::hard_link(world.src().join("a/first"), world.src().join(name)).unwrap();
    }
    world.push("a");
    world.pull("a", &PullOptions { excludes: patterns(&["/a"]), ..world.options() });
    world.pull("a", &PullOptions { path: b"b".to_vec(), target: world.dir.path().join("part"), ..world.options() });
    for dir in [world.back().join("b"), world.dir.path().join("part")] {
        assert_eq!(fs::read(dir.join("x")).unwrap(), noise(1, 9_000));
        assert_eq!(inode(&dir.join("x")), inode(&dir.join("y")));
    }
}

#[test]
fn never_means_that_links_too_leave_what_is_there() {
    let mut world = World::new();
    world.write("first", &noise(1, 900));
    fs::hard_link(world.src().join("first"), world.src().join("kept")).unwrap();
    fs::hard_link(world.src().join("first"), world.src().join("made")).unwrap();
    world.push("a");
    fs::create_dir(world.back()).unwrap();
    fs::write(world.back().join("first"), "mine").unwrap();
    fs::write(world.back().join("kept"), "mine, too").unwrap();
    let report = world.pull("a", &PullOptions { overwrite: Overwrite::Never, ..world.options() });
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    let read = |name: &str| fs::read(world.back().join(name)).unwrap();
    assert_eq!((read("first"), read("kept")), (b"mine".to_vec(), b"mine, too".to_vec()));
    assert_eq!(read("made"), noise(1, 900), "its content is not that of the file that stayed");
}

fn link_to(target: &Path) -> Entry {
    let target = target.as_os_str().as_encoded_bytes().to_vec();
    Entry { link_target: Some(target), ..Entry::new(FileType::Symlink) }
}

fn inline(text: &str) -> Entry {
    let content = Content::Inline(text.as_bytes().to_vec());
    Entry { mode: 0o644, size: text.len() as u64, content, ..Entry::new(FileType::File) }
}

#[test]
fn nothing_is_written_through_a_link_whoever_made_it() {
    let mut world = World::with_large_pages();
    let outside = world.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("precious"), "precious").unwrap();
    let dir = Entry { mode: 0o755, ..Entry::new(FileType::Directory) };
    // By the manifest itself.
    let page = page_of(&[("l", link_to(&outside)), ("l/precious", inline("evil")), ("m", inline("good"))]);
    world.forge("hostile", &[page]);
    let report = world.pull("hostile", &PullOptions { delete: true, ..world.options() });
    assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
    assert_eq!(fs::read(world.back().join("m")).unwrap(), b"good");
    // By somebody else, in the target.
    world.forge("good", &[page_of(&[("m", dir), ("m/precious", inline("new"))])]);
    fs::remove_file(world.back().join("m")).unwrap();
    symlink(&outside, world.back().join("m")).unwrap();
    let report = world.pull("good", &PullOptions { delete: true, ..world.options() });
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    assert_eq!(fs::read(world.back().join("m/precious")).unwrap(), b"new");
    assert!(!world.back().join("m").is_symlink());
    assert_eq!(names_in(&outside), ["precious"]);
    assert_eq!(fs::read(outside.join("precious")).unwrap(), b"precious");
}

#[test]
fn a_link_to_what_the_snapshot_does_not_have_is_named_and_never_made_to_what_lies_there() {
    let mut world = World::with_large_pages();
    let hardlink = |to: &str| Entry { hardlink: Some(to.into()), mode: 0o644, ..Entry::new(FileType::File) };
    let dir = Entry { mode: 0o755, ..Entry::new(FileType::Directory) };
    world.forge("a", &[page_of(&[("d", dir), ("x", hardlink("mine")), ("y", hardlink("d")), ("z", inline("z"))])]);
    fs::create_dir(world.back()).unwrap();
    fs::write(world.back().join("mine"), "mine").unwrap();
    let report = world.pull("a", &world.options());
    assert_eq!(named(&report.problems), ["x", "y"]);
    assert!(report.problems.iter().all(Problem::is_damage));
    assert_eq!(names_in(&world.back()), ["d", "mine", "z"]);
    // A part: what it links to is looked for in the snapshot, not in the target.
    let options = PullOptions { path: b"x".to_vec(), target: world.dir.path().join("part"), ..world.options() };
    assert_eq!(named(&world.pull("a", &options).problems), ["x"]);
}

#[test]
fn a_lost_page_puts_nothing_into_another_place() {
    let mut world = World::new();
    for n in 0..60 {
        world.write(&format!("top/deep{}/deeper/file{n:02}", n / 20), format!("content {n}").as_bytes());
    }
    world.push("a");
    let root = world.open("a").row.root;
    let pages = world.pages_of(root);
    let mut lost = 0;
    for page in pages.into_iter().filter(|page| *page != root) {
        let bytes = world.store.node().unwrap().get(&page).unwrap();
        world.lose(page);
        let _ = fs::remove_dir_all(world.back());
        let report = world.pull("a", &PullOptions { delete: true, ..world.options() });
        assert!(!report.problems.is_empty());
        for file in files_below(&world.back()) {
            let place = file.strip_prefix(world.back()).unwrap();
            let right = fs::read(world.src().join(place));
            assert_eq!(right.ok(), fs::read(&file).ok(), "{} is not what was pushed there", place.display());
        }
        lost += 1;
        world.bring_back(page, bytes);
    }
    assert!(lost > 5, "{lost} pages are too few to prove anything");
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().map(|e| e.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[test]
fn deleting_spares_what_is_excluded_and_ends_at_links() {
    let mut world = World::new();
    world.write("kept", b"kept");
    world.write("cache/pushed", b"pushed");
    world.push("a");
    let outside = world.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("precious"), "precious").unwrap();
    fs::create_dir_all(world.back().join("cache")).unwrap();
    fs::create_dir_all(world.back().join("old/deep")).unwrap();
    fs::write(world.back().join("cache/mine"), "mine").unwrap();
    fs::write(world.back().join("old/deep/note.tmp"), "gone with its folder").unwrap();
    fs::write(world.back().join("a.tmp"), "spared").unwrap();
    symlink(&outside, world.back().join("old/link")).unwrap();
    symlink(&outside, world.back().join("link")).unwrap();
    let options = PullOptions { delete: true, excludes: patterns(&["cache", "*.tmp"]), ..world.options() };
    let report = world.pull("a", &options);
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    assert_eq!(names_in(&world.back()), ["a.tmp", "cache", "kept"]);
    assert_eq!(names_in(&world.back().join("cache")), ["mine"]);
    assert_eq!(fs::read(outside.join("precious")).unwrap(), b"precious");
}
