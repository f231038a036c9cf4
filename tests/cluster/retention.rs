//! Law 10: rules forget what they do not keep, and never more.

use crate::person::Person;
use crate::world::{World, seed};
use cas_index::serve::{End, Task};
use cas_net::rights::{Lock, Retention};
use std::collections::BTreeMap;

const DAY_NS: i64 = 86_400_000_000_000;

/// All versions there are, also in the trash.
fn versions(person: &Person) -> BTreeMap<String, Vec<u64>> {
    let mut names: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for row in person.store.index().snapshots(&person.vault.id(), None, true).unwrap() {
        names.entry(row.name).or_default().push(row.seq);
    }
    names
}

#[test]
fn the_index_forgets_by_the_rules_of_a_vault_and_keeps_what_is_locked() {
    let mut world = World::new();
    let mut person = Person::new(&world);
    person.plant(seed(), 1 << 20);
    let mut newest = None;
    for n in 0..4u8 {
        person.write("changing", &[n; 1000]);
        for name in ["web/one", "db/one", "other"] {
            newest = Some(person.push(name));
        }
    }
    let vault = person.vault.id();
    let rights = person.store.cluster().unwrap().rights().clone();
    let rule = |prefix: &str, keep: &str| Retention { vault, prefix: prefix.into(), keep: keep.into() };
    rights.set_retention(&rule("", "keep-last=2")).unwrap();
    rights.set_retention(&rule("web", "keep-last=1")).unwrap();
    rights.set_lock(&Lock { vault, prefix: "db".into(), keep_ns: DAY_NS }).unwrap();

    let run = world.run(Task::Retention);
    assert_eq!(run.end, End::Done, "{run:?}");
    assert_eq!(run.note, "5 versions forgotten, 5 left the trash, 2 kept by a lock", "here nothing stays in the trash");
    let expected = [("db/one", vec![1, 2, 3, 4]), ("other", vec![3, 4]), ("web/one", vec![4])];
    assert_eq!(versions(&person), expected.map(|(name, seqs)| (name.to_owned(), seqs)).into());
    assert!(rights.audit(0, 4096).unwrap().entries.len() > 5);

    let again = world.run(Task::Retention);
    assert_eq!((again.end, again.items), (End::Done, 0), "there is nothing more to forget: {}", again.note);
    rights.set_retention(&rule("", "")).unwrap();
    rights.set_retention(&rule("web", "")).unwrap();
    assert_eq!(rights.retentions(&vault).unwrap(), []);

    // The removals lie where blocks should, and everything else is as it was.
    world.rest();
    world.check();
    world.nodes[1].kill();
    person.verify("web/one", &newest.unwrap());
    world.start(1);
    world.rest();
}
