//! Pushes: started, registered and committed by whoever may, as far as a quota goes.

use crate::cast::{DEVICES, NAMES, NODE, USERS, VAULTS, device, domain, snapshot, user, vault_id};
use crate::model::Version;
use crate::support::Dice;
use crate::{World, is_denied};
use cas_core::id::{BlockId, Kind, SnapshotId, Sum};
use cas_index::command::{Command, Cover, NewPage, Packed, Register};
use cas_index::rights::quota;
use cas_index::state::{Outcome, sessions};
use cas_net::ServiceError;
use cas_net::rights::{Account, Role};

impl World {
    pub fn push(&mut self, dice: &mut Dice) {
        let (vault, name) = (dice.below(VAULTS), *dice.pick(&NAMES).unwrap());
        let by = dice.below(DEVICES);
        let in_domain = if dice.chance(8) { 1 - vault } else { vault };
        let start = Command::StartSession {
            vault: vault_id(vault).0,
            domain: domain(in_domain).0,
            device: device(if dice.chance(10) { dice.below(DEVICES) } else { by }),
            label: String::new(),
        };
        let Command::StartSession { device: named, .. } = start else { unreachable!() };
        let may = self.model.may_push(Some(by), vault, None) && named == device(by);
        let owns = |vault| self.model.may(Some(by), &[Role::Owner], &[], vault, Some(""));
        let enters = in_domain == vault || self.model.joined[vault] || owns(0) && owns(1);
        let session = match self.carry(Some(by), &start) {
            Ok(Outcome::Started(session)) => session.0,
            answer => {
                assert!(is_denied(&answer) && !(may && enters), "{answer:?}");
                return;
            }
        };
        assert!(may && enters, "device {by} started a push to vault {vault} in domain {in_domain}");
        if in_domain != vault {
            self.model.joined[vault] = true;
            self.carry(Some(by), &Command::EndSession { session }).unwrap();
            return;
        }
        let len = dice.below(5000) as u32 + 1;
        let (register, root) = self.registration(session, len);
        let (room, registered) = (self.room(vault, by), self.run(Command::Register(register)));
        match registered {
            Ok(Outcome::Registered(missing)) => assert!(missing.is_empty() && u64::from(2 * len) <= room),
            Err(ServiceError::Full { .. }) => return assert!(u64::from(2 * len) > room, "{len} fits into {room}"),
            other => panic!("{other:?}"),
        }
        // Somebody's rights may go in the middle of it.
        if dice.chance(5) {
            self.people(dice);
        }
        let committer = if dice.chance(10) { dice.below(DEVICES) } else { by };
        self.commit(vault, name, session, root, by, committer);
    }

    fn commit(&mut self, vault: usize, name: &'static str, session: u64, root: BlockId, by: usize, committer: usize) {
        let (seq, previous) =
            self.model.latest(vault, name).map_or((0, SnapshotId::default()), |v| (v.seq, v.snapshot));
        let object = snapshot(vault, name, seq + 1, previous, root);
        let bytes = object.encode();
        self.next += 1;
        let mut key = [0; 16];
        key[..8].copy_from_slice(&self.next.to_le_bytes());
        let cover = self.cover(&bytes);
        let command = Command::Commit { session, key, object: Packed(bytes.clone()), covers: vec![cover] };
        let room = self.room(vault, by);
        let lives = sessions(&self.tables).unwrap().iter().any(|s| s.id.0 == session);
        match self.carry(Some(committer), &command) {
            Ok(Outcome::Committed(done)) => {
                assert!(
                    self.model.may_push(Some(committer), vault, Some(name)),
                    "{committer} pushed to {vault} {name}"
                );
                assert!(committer == by && bytes.len() as u64 <= room && lives);
                let (snapshot, real_ns) = (done.snapshot, self.real_ns);
                let seq = done.seq;
                self.model.versions.push(Version {
                    vault,
                    name,
                    seq,
                    snapshot,
                    object,
                    real_ns,
                    trash: false,
                    returns: 0,
                });
            }
            Err(ServiceError::Full { .. }) => assert!(bytes.len() as u64 > room),
            Err(ServiceError::SessionGone(_)) => assert!(!lives),
            Err(ServiceError::Denied(why)) => {
                let might = self.model.may_push(Some(committer), vault, Some(name)) && committer == by;
                assert!(!might, "{why}");
            }
            other => panic!("{other:?}"),
        }
    }

    fn registration(&mut self, session: u64, len: u32) -> (Register, BlockId) {
        self.next += 1;
        let id = |what: u8| BlockId(Sum::of(&[&[what], &self.next.to_le_bytes()[..]].concat()).0);
        let (data, root) = (id(1), id(2));
        let cover = Cover { len, grant: self.epoch, node: 0 };
        let register = Register {
            session,
            nodes: Packed(NODE.to_vec()),
            ids: Packed::of_ids([&data, &root]),
            sums: Packed(vec![9; 64]),
            covers: vec![cover, cover],
            pages: vec![NewPage { at: 1, kind: Kind::Page as u8, children: vec![0] }],
        };
        (register, root)
    }

    fn room(&self, vault: usize, by: usize) -> u64 {
        let accounts = [Account::Vault(vault_id(vault)), Account::User(user(by % USERS))];
        let room = |of: &Account| {
            let quota = self.model.quotas.get(of)?;
            Some(quota.saturating_sub(quota::used(&self.tables, of).unwrap()))
        };
        accounts.iter().filter_map(room).min().unwrap_or(u64::MAX)
    }
}
