//! Versions go and come back: forgotten and emptied by whoever may, after their locks; then collected.

use crate::cast::NODE;
use crate::support::Dice;
use crate::{World, is_denied};
use cas_index::command::{Command, Packed};
use cas_index::rights::clock;
use cas_index::state::Outcome;
use cas_net::ServiceError;

impl World {
    pub fn forget(&mut self, dice: &mut Dice) {
        let n = dice.below(self.model.versions.len());
        let Some(version) = self.model.versions.get(n) else { return };
        let by = self.somebody(dice);
        let (vault, name, real_ns, trash) = (version.vault, version.name, version.real_ns, version.trash);
        let removal = version.removal().encode();
        let gone = self.gone.contains(&version.snapshot);
        let cover = self.cover(&removal);
        let answer = self.carry(by, &Command::Forget { removal: Packed(removal), covers: vec![cover] });
        match answer {
            Ok(_) => {
                assert!(self.model.may_forget(by, vault, name), "{by:?} forgot {name} of vault {vault}");
                if !trash {
                    self.assert_unlocked(vault, name, real_ns);
                }
                self.model.versions[n].trash = true;
                // Somebody wants to keep it after all.
                if dice.chance(4) {
                    self.lock(dice, None, vault, name);
                }
            }
            Err(ServiceError::Denied(_)) => assert!(!self.model.may_forget(by, vault, name)),
            Err(ServiceError::Retained(_)) => assert!(self.model.kept_ns(vault, name) > 0),
            Err(ServiceError::NotFound { .. }) => assert!(gone || trash),
            other => panic!("{other:?}"),
        }
    }

    pub fn undelete(&mut self, dice: &mut Dice) {
        let n = dice.below(self.model.versions.len());
        let Some(version) = self.model.versions.get(n) else { return };
        let (vault, name, snapshot, trash) = (version.vault, version.name, version.snapshot, version.trash);
        let by = self.somebody(dice);
        let returning = version.returning().encode();
        let cover = self.cover(&returning);
        match self.carry(by, &Command::Return { returning: Packed(returning), covers: vec![cover] }) {
            Ok(_) => {
                assert!(self.model.may_forget(by, vault, name));
                let version = &mut self.model.versions[n];
                version.returns += i64::from(trash);
                version.trash = false;
            }
            Err(ServiceError::Denied(_)) => {
                assert!(!self.model.may_forget(by, vault, name) || self.gone.contains(&snapshot));
            }
            Err(ServiceError::NotFound { .. }) => assert!(self.gone.contains(&snapshot)),
            other => panic!("{other:?}"),
        }
    }

    pub fn empty_trash(&mut self, dice: &mut Dice) {
        let by = self.somebody(dice);
        match self.carry(by, &Command::EmptyTrash { before_ns: i64::MAX, limit: 3 }) {
            Ok(Outcome::Emptied(rows, _)) => {
                assert!(self.model.may_operate(by));
                for row in rows {
                    let version = self.model.versions.iter().find(|v| v.snapshot == row.snapshot).unwrap();
                    assert!(version.trash);
                    self.assert_unlocked(version.vault, version.name, version.real_ns);
                    self.gone.push(row.snapshot);
                }
            }
            answer => assert!(is_denied(&answer) && !self.model.may_operate(by), "{answer:?}"),
        }
    }

    /// By real time, and an hour that a jump may gain.
    fn assert_unlocked(&self, vault: usize, name: &str, real_ns: i64) {
        let (age, keep) = (self.real_ns - real_ns, self.model.kept_ns(vault, name));
        assert!(age + clock::BELIEVED_NS >= keep, "{name} of vault {vault} is {age} ns old and locked for {keep}");
    }

    pub fn collect(&mut self) {
        if let Ok(Outcome::Condemned(condemned)) = self.run(Command::Condemn { limit: 50 }) {
            self.deletes = condemned.deletes;
        }
        let ids = Packed::of_ids(self.deletes.iter().map(|d| &d.id));
        let epochs: Vec<u64> = self.deletes.iter().map(|d| d.epoch.0).collect();
        let gone = vec![true; epochs.len()];
        self.run(Command::Deleted { node: NODE, ids, epochs, gone }).unwrap();
    }
}
