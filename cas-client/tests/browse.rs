//! Reading snapshots of a real store: what is told is what was pushed, what is missing is named, and what is forecast to be
//! freed is what the collector frees.

mod support;

use cas_client::ClientError;
use cas_client::browse::{self, Book, Forecast, Found, Library, Opened, State, Unreadable, Wanted, What};
use cas_client::gc::{GcOptions, gc};
use cas_client::reference::Reference;
use cas_client::store::now_ns;
use cas_core::id::{BlockId, SnapshotId};
use cas_core::manifest::{EntryWithIds, FileType, ManifestPath, is_below};
use cas_net::SnapshotRow;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};
use support::{GO_ON, World, noise};

fn path(text: &str) -> ManifestPath {
    ManifestPath::new(text).unwrap()
}

fn paths(book: &Book, at: &str, recursive: bool) -> Vec<String> {
    let shown = |entry: Result<EntryWithIds, Unreadable>| entry.unwrap().path.to_string();
    browse::list(book, at.as_bytes(), recursive).unwrap().map(shown).collect()
}

fn read(book: &Book, at: &str) -> cas_client::Result<Vec<u8>> {
    let mut out = Vec::new();
    browse::write_file(book, &browse::look_up(book, at.as_bytes())?, &mut out, &GO_ON)?;
    Ok(out)
}

#[test]
fn what_is_listed_and_dumped_is_what_was_pushed() {
    let mut world = World::new();
    let (large, sparse) = (noise(1, 200_000), [vec![0; 300_000], b"end".to_vec()].concat());
    world.write("a/one", b"1");
    world.write("a/b/large", &large);
    world.write("z", b"");
    fs::File::create(world.src().join("sparse")).unwrap();
    fs::write(world.src().join("sparse"), &sparse).unwrap();
    fs::hard_link(world.src().join("a/one"), world.src().join("hard")).unwrap();
    world.push("n");
    let book = world.open("n").book();
    assert_eq!(paths(&book, "", false), ["a", "hard", "sparse", "z"]);
    assert_eq!(paths(&book, "a", true), ["a/b", "a/b/large", "a/one"]);
    assert_eq!(paths(&book, "a/one", true), ["a/one"]);
    assert_eq!(read(&book, "a/b/large").unwrap(), large);
    assert_eq!(read(&book, "sparse").unwrap(), sparse);
    assert_eq!(read(&book, "hard").unwrap(), b"1");
    assert_eq!(read(&book, "z").unwrap(), b"");
    let hard = browse::resolved(&book, browse::look_up(&book, b"hard").unwrap()).unwrap();
    assert_eq!(hard.entry.size, 1);
    let file = browse::look_up(&book, b"a/b/large").unwrap();
    for (from, to) in [(0, 1), (99_999, 100_001), (150_000, 1 << 40), (200_000, 200_001), (1, 200_000)] {
        let mut out = Vec::new();
        browse::write_range(&book, &file, from..to, &mut out, &GO_ON).unwrap();
        assert_eq!(out, large[from as usize..(to as usize).min(large.len())]);
    }
    for missing in ["nothing", "a/one/below"] {
        let found = browse::list(&book, missing.as_bytes(), false);
        assert!(matches!(found, Err(ClientError::NotFound { what: "path", .. })), "{missing}");
    }
    let nearly = browse::list(&book, b"a/b/lagre", false).err();
    assert!(matches!(nearly, Some(ClientError::NotFoundBut { but, .. }) if but == "did you mean a/b/large?"));
    assert!(matches!(browse::list(&book, b"../x", false), Err(ClientError::Usage(_))));
}

#[test]
fn a_lost_block_stops_a_dump_before_any_byte_of_it() {
    let mut world = World::new();
    let large = noise(2, 300_000);
    world.write("large", &large);
    world.push("n");
    let book = world.open("n").book();
    let file = browse::look_up(&book, b"large").unwrap();
    let pieces: Vec<_> = book.pieces(&file).unwrap().map(Result::unwrap).collect();
    let lost = &pieces[pieces.len() / 2];
    world.lose(lost.block.as_ref().unwrap().0);
    let book = world.open("n").book();
    let mut out = Vec::new();
    let done = browse::write_file(&book, &file, &mut out, &GO_ON);
    assert!(matches!(done, Err(ClientError::Damaged { id, .. }) if id == lost.block.as_ref().unwrap().0));
    assert_eq!(out, large[..lost.offset as usize]);
    assert!(browse::write_tar(&book, b"", None, &mut Vec::new(), &GO_ON).is_err());
}

/// Edits the folder in a way that follows from `seed`.
fn edit(world: &World, seed: u64) {
    for n in 0..5 {
        let hash = noise(seed * 100 + n, 4);
        let place = format!("d{}/{}{}", hash[0] % 3, if hash[1].is_multiple_of(4) { "x" } else { "f" }, hash[1] % 20);
        match hash[2] % 3 {
            0 => drop(fs::remove_file(world.src().join(place))),
            _ => world.write(&place, &[hash[3] % 3]),
        }
    }
}

/// Runs of equal entries of what matches, from reading every version whole.
fn runs_by_reading_all(books: &[Book], wanted: &Wanted) -> Vec<Found> {
    let read = |book: &Book| -> BTreeMap<ManifestPath, EntryWithIds> {
        book.cursor().flatten().filter(|e| wanted.matches(&e.path, &e.entry)).map(|e| (e.path.clone(), e)).collect()
    };
    let versions: Vec<_> = books.iter().map(read).collect();
    let mut runs: Vec<Found> = Vec::new();
    for (version, entries) in versions.iter().enumerate() {
        for (path, entry) in entries {
            let run = runs.iter_mut().find(|run| run.entry == *entry && run.last + 1 == version);
            match run {
                Some(run) => run.last = version,
                None => runs.push(Found { entry: entry.clone(), first: version, last: version }),
            }
            assert_eq!(entry.path, *path);
        }
    }
    runs.sort_by(|a, b| a.entry.path.cmp(&b.entry.path).then(a.first.cmp(&b.first)));
    runs
}

#[test]
fn finding_by_what_differs_is_reading_every_version() {
    let mut world = World::new();
    for seed in 0..12 {
        (0..if seed == 0 { 10 } else { 1 }).for_each(|n| edit(&world, seed * 1000 + n));
        world.push("n");
    }
    let rows = world.rows();
    let library = world.library();
    let books: Vec<Book> = rows.iter().map(|row| library.open_row(row).unwrap().book()).collect();
    for patterns in [&["x*"][..], &["d1/*"], &[], &["*5", "f1?"], &["nothing"]] {
        let patterns: Vec<String> = patterns.iter().map(|p| (*p).to_owned()).collect();
        let mut wanted = Wanted::new(&patterns, false).unwrap();
        wanted.types = vec![FileType::File];
        let mut no_gap = |_: usize, error: Unreadable| panic!("{error}");
        let found = browse::find_in_versions(&books, &wanted, &mut no_gap, &GO_ON).unwrap();
        assert_eq!(found, runs_by_reading_all(&books, &wanted), "{patterns:?}");
        let newest: Vec<_> = browse::find_in_one(&books[11], &wanted).map(Result::unwrap).collect();
        let current: Vec<_> = found.iter().filter(|f| f.last == 11).map(|f| f.entry.clone()).collect();
        assert_eq!(newest, current);
    }
}

#[test]
fn a_lost_page_is_named_for_each_version_and_hides_nothing_else() {
    let mut world = World::new();
    for n in 0..60 {
        world.write(&format!("d{}/f{n}", n % 7), &noise(n, 40));
    }
    world.push("n");
    world.write("d3/new", b"new");
    world.push("n");
    fs::remove_file(world.src().join("d3/new")).unwrap();
    world.push("n");
    let roots: Vec<BlockId> = world.rows().iter().map(|row| row.root).collect();
    // Versions share it, and it is the root of none.
    let (first, second) = (world.pages_of(roots[0]), world.pages_of(roots[1]));
    let page = *first.iter().find(|page| second.contains(page) && !roots.contains(page)).unwrap();
    world.lose(page);
    let rows = world.rows();
    let library = world.library();
    let books: Vec<Book> = rows.iter().map(|row| library.open_row(row).unwrap().book()).collect();
    let wanted = Wanted::new(&[], false).unwrap();
    let mut gaps = Vec::new();
    let found = browse::find_in_versions(&books, &wanted, &mut |version, e| gaps.push((version, e)), &GO_ON).unwrap();
    let touched: Vec<usize> = gaps.iter().map(|(version, _)| *version).collect();
    let holders: Vec<usize> = (0..3).filter(|v| books[*v].cursor().any(|e| e.is_err())).collect();
    assert!(holders.len() > 1 && gaps.iter().all(|(_, e)| e.block == page));
    assert_eq!(touched, holders);
    assert_eq!(found, runs_by_reading_all(&books, &wanted));
    let listed = browse::list(&books[0], b"", true).unwrap();
    let (good, bad): (Vec<_>, Vec<_>) = listed.partition(Result::is_ok);
    assert_eq!(bad.len(), 1);
    let missing = bad.into_iter().next().unwrap().unwrap_err().gap.totals.unwrap().entries;
    assert_eq!(good.len() as u64 + missing, 67);
}

#[test]
fn a_path_is_followed_through_its_versions() {
    let mut world = World::new();
    let touch = |world: &World, seconds| {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        fs::File::options().write(true).open(world.src().join("d/f")).unwrap().set_modified(time).unwrap();
    };
    world.write("other", b"0");
    world.push("n");
    world.write("d/f", b"1");
    world.push("n");
    touch(&world, 1);
    world.push("n");
    world.write("other", b"1");
    world.push("n");
    world.write("d/f", b"2");
    world.push("n");
    fs::remove_file(world.src().join("d/f")).unwrap();
    world.push("n");
    let rows = world.rows();
    let library = world.library();
    let books: Vec<_> = rows.iter().map(|row| (row.root, library.open_row(row).unwrap().book())).collect();
    let followed = |at: &str| -> Vec<(usize, usize, bool)> {
        let runs = browse::versions(&books, &path(at), &GO_ON).unwrap();
        runs.iter().map(|run| (run.first, run.last, matches!(run.state, State::Present(_)))).collect()
    };
    assert_eq!(followed("d/f"), [(0, 0, false), (1, 3, true), (4, 4, true), (5, 5, false)]);
    assert_eq!(followed("d"), [(0, 0, false), (1, 3, true), (4, 4, true), (5, 5, true)]);
    assert_eq!(followed("other"), [(0, 2, true), (3, 5, true)]);
    assert_eq!(followed("nothing"), [(0, 5, false)]);
}

#[test]
fn a_diff_says_in_what_each_path_differs() {
    let mut world = World::new();
    let mut large = noise(5, 100_000);
    for (at, content) in [("gone", &b"x"[..]), ("mode", b"m"), ("touched", b"t"), ("d/large", &large), ("turns", b"f")]
    {
        world.write(at, content);
    }
    world.push("n");
    fs::remove_file(world.src().join("gone")).unwrap();
    fs::remove_file(world.src().join("turns")).unwrap();
    symlink("mode", world.src().join("turns")).unwrap();
    fs::set_permissions(world.src().join("mode"), fs::Permissions::from_mode(0o600)).unwrap();
    world.write("touched", b"t");
    large.extend_from_slice(&noise(6, 50_000));
    world.write("d/large", &large);
    world.write("new", b"four");
    world.push("n");
    let (old, new) = (world.open("n@1").book(), world.open("n@2").book());
    let mut told = BTreeMap::new();
    let mut totals = browse::DiffTotals::default();
    for difference in browse::compare(&old, &new, b"") {
        let difference = difference.unwrap();
        totals.count(&difference);
        let words = match &difference.what {
            What::Added(_) => "+".to_owned(),
            What::Removed(_) => "-".to_owned(),
            What::Changed { kinds, .. } => kinds.words().collect::<Vec<_>>().join(" "),
        };
        if difference.entry().path == path("d/large") {
            assert!((50_000..70_000).contains(&difference.bytes_added), "{}", difference.bytes_added);
            assert!(difference.bytes_removed < 20_000 && words.contains("content"));
            continue;
        }
        told.insert(difference.entry().path.to_string(), words);
    }
    assert_eq!((&told["gone"], &told["new"], &told["mode"]), (&"-".to_owned(), &"+".to_owned(), &"mode".to_owned()));
    assert_eq!(told["touched"], "time");
    assert!(told["turns"].starts_with("type content"), "{}", told["turns"]);
    assert_eq!((totals.added, totals.removed, totals.changed, totals.touched), ([1, 0, 0], [1, 0, 0], [2, 0, 1], 1));
    let within: Vec<_> = browse::compare(&old, &new, b"d").map(|d| d.unwrap().entry().path.to_string()).collect();
    assert!(within.iter().all(|p| p == "d" || is_below(p.as_bytes(), b"d")) && within.contains(&"d/large".to_owned()));
    assert_eq!(browse::compare(&new, &new, b"").count(), 0);
}

#[test]
fn what_is_forecast_to_be_freed_is_what_the_collector_frees() {
    for (seed, mask) in [0b00001, 0b11111, 0b10101, 0b01010, 0b00011, 0b11000].into_iter().enumerate() {
        let seed = seed as u64;
        let mut world = World::new();
        for version in 0..5 {
            world.write(&format!("own{version}"), &noise(seed * 10 + version, 30_000));
            world.write("shared", &noise(7, 50_000));
            world.write(&format!("copy{version}"), &noise(seed * 10, 30_000));
            edit(&world, seed * 50 + version);
            let own = world.src().join(format!("own{}", version.saturating_sub(2)));
            let _ = fs::remove_file(own);
            world.push(if version % 3 == 2 { "m" } else { "n" });
        }
        let rows = world.rows();
        let chosen: Vec<SnapshotRow> =
            rows.iter().enumerate().filter(|(n, _)| mask >> n & 1 == 1).map(|(_, row)| row.clone()).collect();
        let index = &**world.store.index();
        let forecast = Forecast::new(index, &GO_ON).unwrap();
        let promised = forecast.freed_by_forgetting(&chosen, &GO_ON).unwrap();
        let each: u64 = chosen.iter().map(|r| forecast.freed_by_forgetting([r], &GO_ON).unwrap().bytes()).sum();
        assert!(each <= promised.bytes(), "what two share falls only with both");
        let before = index.list_rows(None, usize::MAX).unwrap();
        world.forget(&chosen);
        let options = GcOptions { now_ns: now_ns(), trash_ns: 0, all: true };
        gc(&world.store, options, &mut |_| {}, &GO_ON).unwrap();
        let ids: Vec<BlockId> = before.iter().map(|row| row.id).collect();
        let gone = before.iter().zip(world.store.index().rows(&ids).unwrap()).filter(|(_, after)| after.is_none());
        let (mut blocks, mut bytes) = (0, 0);
        gone.for_each(|(row, _)| (blocks, bytes) = (blocks + 1, bytes + u64::from(row.len)));
        assert_eq!((blocks, bytes), (promised.blocks(), promised.bytes()), "seed {seed}");
        let left = Forecast::new(&**world.store.index(), &GO_ON).unwrap();
        assert_eq!(left.garbage().blocks(), 0);
    }
}

#[test]
fn everything_that_is_stored_is_reached_once_and_weighed_once() {
    let mut world = World::new();
    world.write("a", &noise(1, 100_000));
    world.write("b", &noise(1, 100_000));
    world.write("zeros", &vec![7; 60_000]);
    world.push("n");
    world.write("c", &noise(2, 10_000));
    world.push("n");
    let rows = world.rows();
    let index = world.store.index().clone();
    let (mut reach, mut reached) = (browse::Reach::default(), browse::Reached::default());
    for row in &rows {
        reached += reach.add(&*index, row.root, &GO_ON).unwrap();
        reached += reach.add(&*index, row.object, &GO_ON).unwrap();
    }
    let all: u64 = rows
        .iter()
        .map(|row| Forecast::new(&*index, &GO_ON).unwrap().freed_by_forgetting([row], &GO_ON).unwrap().bytes())
        .sum();
    let status = index.status().unwrap();
    // The keyring is the one block that belongs to no snapshot.
    assert_eq!((reached.blocks() + 1, reached.missing, reached.bad), (status.live, 0, 0));
    assert!(all < reached.bytes() && reached.bytes() < status.bytes);
    let library = world.library();
    let open: Vec<Opened> = rows.iter().map(|row| library.open_row(row).unwrap()).collect();
    let sizes = browse::sizes(&open, &GO_ON).unwrap();
    assert_eq!((sizes.snapshots, sizes.files, sizes.bytes), (2, 7, 2 * 260_000 + 10_000));
    let plain: u64 = 100_000 + 10_000;
    assert!((plain..plain + 60_000).contains(&sizes.distinct_bytes), "{}", sizes.distinct_bytes);
    assert!(sizes.unread.is_empty());
}

#[test]
fn a_folder_becomes_an_archive_that_tar_unpacks_to_the_same() {
    let mut world = World::new();
    let long = format!("d/{}/{}", "l".repeat(120), "m".repeat(200));
    world.write(&long, &noise(1, 5000));
    world.write("d/größe 名", b"utf-8");
    fs::write(world.src().join("d").join(OsStr::from_bytes(b"raw\xff\nname")), b"raw").unwrap();
    world.write("d/exec", b"#!/bin/sh\n");
    fs::set_permissions(world.src().join("d/exec"), fs::Permissions::from_mode(0o750)).unwrap();
    world.write("d/block", &noise(2, 512));
    world.write("outside", b"the first path of a hardlink");
    fs::hard_link(world.src().join("outside"), world.src().join("d/zlink1")).unwrap();
    fs::hard_link(world.src().join("outside"), world.src().join("d/zlink2")).unwrap();
    symlink("t".repeat(150), world.src().join("d/symlink")).unwrap();
    let early = SystemTime::UNIX_EPOCH - Duration::new(1, 500_000_000);
    for (at, time) in [("d/exec", early), ("d/block", SystemTime::UNIX_EPOCH + Duration::new(77, 123_456_789))] {
        fs::File::options().write(true).open(world.src().join(at)).unwrap().set_modified(time).unwrap();
    }
    world.push("n");
    let opened = world.open("n");
    let (book, archive, target) = (opened.book(), world.dir.path().join("x.tar"), world.dir.path().join("out"));
    for (at, top) in [("", opened.top()), ("d", None)] {
        let mut bytes = Vec::new();
        let report = browse::write_tar(&book, at.as_bytes(), top.as_ref(), &mut bytes, &GO_ON).unwrap();
        assert!(report.left_out.is_empty() && bytes.len() % 512 == 0);
        fs::write(&archive, &bytes).unwrap();
        fs::create_dir_all(&target).unwrap();
        let tar = Command::new("tar").arg("-xpf").arg(&archive).arg("-C").arg(&target).status().unwrap();
        assert!(tar.success());
        assert_same(&world.src().join("d"), &target.join("d"));
        assert_eq!(at.is_empty(), target.join("outside").exists());
        let links = |name: &str| fs::metadata(target.join(name)).unwrap();
        assert_eq!(links("d/zlink1").ino(), links("d/zlink2").ino());
        fs::remove_dir_all(&target).unwrap();
    }
}

fn assert_same(a: &Path, b: &Path) {
    let names = |dir: &Path| -> Vec<_> {
        let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(a), names(b));
    for name in names(a) {
        let (a, b) = (a.join(&name), b.join(&name));
        let (ma, mb) = (a.symlink_metadata().unwrap(), b.symlink_metadata().unwrap());
        let facts =
            |m: &fs::Metadata| (m.mode(), m.uid(), m.gid(), m.mtime(), m.mtime_nsec(), m.is_dir() || m.len() > 0);
        assert_eq!(facts(&ma), facts(&mb), "{}", a.display());
        if ma.is_dir() {
            assert_same(&a, &b);
        } else if ma.is_symlink() {
            assert_eq!(fs::read_link(&a).unwrap(), fs::read_link(&b).unwrap());
        } else {
            assert!(fs::read(&a).unwrap() == fs::read(&b).unwrap(), "{}", a.display());
        }
    }
}

#[test]
fn a_history_that_went_back_is_not_told_and_a_forgotten_newest_version_is_no_such_thing() {
    let mut world = World::new();
    world.write("f", b"1");
    world.push("n");
    world.push("n");
    let newest = world.rows().pop().unwrap();
    world.forget(std::slice::from_ref(&newest));
    assert_eq!(world.library().live().len(), 1);
    assert_eq!(world.library().rows().len(), 2);
    assert_eq!(world.open("n").row.seq, 1);
    world.vault.memory().see_name("n", 9, SnapshotId([9; 32])).unwrap();
    let opened = Library::open(&world.store, &mut world.vault, None);
    assert!(matches!(opened, Err(ClientError::RolledBack { .. })));
    world.vault.memory().clear();
    world.vault.memory().see_name("all gone", 3, SnapshotId([3; 32])).unwrap();
    assert_eq!(world.library().rows().len(), 2);
    let wanted = Reference::parse("all gone@2", 0).unwrap();
    let opened = Library::open(&world.store, &mut world.vault, Some(&wanted));
    assert!(matches!(opened, Err(ClientError::RolledBack { .. })));
}
