//! A siege: people work in the town while it is attacked; then it comes to rest, and the laws are checked.

use crate::desk::Desk;
use crate::dice::Dice;
use crate::person::{EXCUSES, Person};
use crate::town::Town;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// People who push.
const PEOPLE: usize = 2;
/// Versions of everybody that are kept when all have been looked at.
const KEPT: usize = 5;
/// Now and then a push is large enough to be under way when something happens.
const LARGE: usize = 6 << 20;
/// Between two collections.
const GC_PAUSE: Duration = Duration::from_millis(300);

/// See the module.
pub struct Siege {
    pub town: Town,
    pub people: Vec<Person>,
    /// Who remembers nothing.
    elsewhere: Desk,
    /// What was done.
    pub tally: Tally,
}

/// How many commands came to their end, and how many of them did what they should.
#[derive(Default)]
pub struct Tally {
    pub pushes: AtomicU64,
    pub pushed: AtomicU64,
    pub pulls: AtomicU64,
    pub pulled: AtomicU64,
    pub gcs: AtomicU64,
    pub collected: AtomicU64,
}

/// What people may expect meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duty {
    /// Everything succeeds: enough nodes and the index are there.
    All,
    /// What does not succeed says so.
    Truth,
}

impl Duty {
    fn codes(self) -> &'static [i32] {
        match self {
            Self::All => &[0],
            Self::Truth => &EXCUSES,
        }
    }
}

impl Siege {
    /// Around a new town, with a version of everybody.
    pub fn begin(seed: u64) -> Result<Self, String> {
        let mut dice = Dice::new(seed, "town");
        let town = Town::build(&dice)?;
        let person = |n: usize| Person::new(&town.office, town.place(&format!("person{n}")), &format!("p{n}"), seed);
        let people = (0..PEOPLE).map(person).collect();
        let elsewhere = town.office.another(town.place("elsewhere"));
        let mut siege = Self { town, people, elsewhere, tally: Tally::default() };
        for person in &mut siege.people {
            (0..3).for_each(|_| person.change(&mut dice));
            person.push()?.ok()?;
        }
        siege.rest_and_check()?;
        Ok(siege)
    }

    /// People work until the attack has ended; each does everything at least once.
    pub fn under(
        &mut self,
        dice: &mut Dice,
        duty: Duty,
        attack: impl FnOnce(&Town, &mut Dice) -> Result<(), String>,
    ) -> Result<(), String> {
        let (over, seed) = (AtomicBool::new(false), dice.roll());
        let trouble = Mutex::new(Vec::new());
        let (town, tally) = (&self.town, &self.tally);
        let attacked = std::thread::scope(|scope| {
            for (n, person) in self.people.iter_mut().enumerate() {
                let (over, trouble) = (&over, &trouble);
                let mut dice = Dice::new(seed, &format!("person {n}"));
                scope.spawn(move || note(trouble, work(person, &mut dice, duty, tally, over)));
            }
            scope.spawn(|| note(&trouble, collect(&town.office, tally, duty, &over)));
            let attacked = attack(town, dice);
            over.store(true, Ordering::Relaxed);
            attacked
        });
        attacked?;
        trouble.into_inner().expect("nobody panicked").into_iter().next().map_or(Ok(()), Err)
    }

    /// Waits until all is where it should be, then checks the laws.
    pub fn rest_and_check(&mut self) -> Result<(), String> {
        self.town.rest()?;
        for person in &mut self.people {
            person.verify(&self.elsewhere)?;
            person.tidy(KEPT)?;
        }
        self.town.rest()?;
        // Laws 3, 4 and 7: counts, copies, bytes.
        let checked = self.town.office.cas(["check", "--read-data", "--recount", "--json"])?;
        let checked = checked.ok().map_err(|why| format!("laws 3, 4, 7: {why}"))?;
        let read = checked.summary()?["blocks_read"].as_u64();
        if read.is_none_or(|blocks| blocks == 0) {
            return Err(format!("law 11: it has read nothing, and says that nothing is wrong: {checked:#?}"));
        }
        self.check_collected()?;
        self.town.faults()
    }

    /// Law 1, on a device that remembers nothing.
    pub fn pull_everything(&self) -> Result<(), String> {
        self.people.iter().try_for_each(|person| person.pull_all(&self.elsewhere))
    }

    /// Law 5: with nobody pushing, everything that is condemned goes from every node.
    fn check_collected(&self) -> Result<(), String> {
        let mut last = String::new();
        for _ in 0..60 {
            let done = self.town.office.cas(["gc", "--now", "--json"])?.ok()?;
            let summary = done.summary()?;
            if summary["waiting"] == 0 && summary["blocks_deleted"] == 0 && summary["held_by"].is_null() {
                return Ok(());
            }
            last = summary.to_string();
            std::thread::sleep(GC_PAUSE);
        }
        Err(format!("law 5: collecting does not end: {last}"))
    }
}

fn note(trouble: &Mutex<Vec<String>>, done: Result<(), String>) {
    if let Err(why) = done {
        trouble.lock().expect("nobody panicked").push(why);
    }
}

fn work(person: &mut Person, dice: &mut Dice, duty: Duty, tally: &Tally, over: &AtomicBool) -> Result<(), String> {
    loop {
        person.change(dice);
        if dice.once_in(3) {
            person.write_new(dice, LARGE);
        }
        let pushed = person.push()?.one_of(duty.codes())?;
        tally.pushes.fetch_add(1, Ordering::Relaxed);
        tally.pushed.fetch_add(u64::from(pushed.code == 0), Ordering::Relaxed);
        if dice.once_in(2) {
            person.forget(dice)?;
        }
        if dice.once_in(2)
            && let Some(pulled) = person.pull_one(dice)?
        {
            tally.pulls.fetch_add(1, Ordering::Relaxed);
            tally.pulled.fetch_add(u64::from(pulled.code == 0), Ordering::Relaxed);
            pulled.one_of(duty.codes())?;
        }
        if over.load(Ordering::Relaxed) {
            return Ok(());
        }
    }
}

fn collect(office: &Desk, tally: &Tally, duty: Duty, over: &AtomicBool) -> Result<(), String> {
    loop {
        let done = office.cas(["gc", "--now", "--json"])?.one_of(duty.codes())?;
        tally.gcs.fetch_add(1, Ordering::Relaxed);
        tally.collected.fetch_add(u64::from(done.code == 0), Ordering::Relaxed);
        if over.load(Ordering::Relaxed) {
            return Ok(());
        }
        std::thread::sleep(GC_PAUSE);
    }
}
