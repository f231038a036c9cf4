//! People share and take back rights, revoke devices, disable users, set locks and quotas.

use crate::World;
use crate::cast::{DEVICES, HOUR, PREFIXES, USERS, VAULTS, device, own_rights, user, vault_id};
use crate::model::Given;
use crate::support::Dice;
use cas_core::id::VaultId;
use cas_index::rights::command::{Change, Deed, Of, To};
use cas_index::state::interned::{self, Interned};
use cas_index::state::sessions;
use cas_net::rights::{Account, Role};

impl World {
    pub fn people(&mut self, dice: &mut Dice) {
        let by = self.somebody(dice);
        match dice.below(9) {
            0..=4 => self.share(dice, by),
            5 => {
                let n = dice.below(DEVICES);
                if !dice.chance(4) {
                    return;
                }
                let itself = by == Some(n) && !self.model.revoked[n] && !self.model.disabled[n % USERS];
                let same = by.is_some_and(|by| {
                    by % USERS == n % USERS
                        && !own_rights(by)
                        && !self.model.revoked[by]
                        && !self.model.disabled[by % USERS]
                });
                let may = itself || same || self.model.is_admin(by);
                let answer = self.by(by, Deed::Revoke { device: device(n) });
                assert_eq!(answer.is_ok(), may, "{by:?} revokes {n}: {answer:?}");
                self.model.revoked[n] |= may;
                self.assert_sessions();
            }
            6 => {
                let n = dice.below(USERS);
                let disable = dice.chance(3);
                let change = if disable { Change::Disable } else { Change::Enable };
                let may = self.model.is_admin(by);
                assert_eq!(self.by(by, Deed::ChangeUser { name: user(n), change }).is_ok(), may);
                if may {
                    self.model.disabled[n] = disable;
                    self.assert_sessions();
                }
            }
            7 => {
                let (vault, prefix) = (dice.below(VAULTS), *dice.pick(&PREFIXES).unwrap());
                self.lock(dice, by, vault, prefix);
            }
            _ => {
                let account = match dice.chance(2) {
                    true => Account::User(user(dice.below(USERS))),
                    false => Account::Vault(vault_id(dice.below(VAULTS))),
                };
                let of = match &account {
                    Account::User(name) => Of::User(name.clone()),
                    Account::Vault(vault) => Of::Vault(vault.0),
                };
                let bytes = (!dice.chance(3)).then(|| dice.roll() % 40_000);
                let may = self.model.is_admin(by);
                assert_eq!(self.by(by, Deed::Quota { of, bytes }).is_ok(), may);
                match bytes {
                    _ if !may => {}
                    Some(bytes) => drop(self.model.quotas.insert(account, bytes)),
                    None => drop(self.model.quotas.remove(&account)),
                }
            }
        }
    }

    fn share(&mut self, dice: &mut Dice, by: Option<usize>) {
        let role = *dice.pick(&Role::ALL).unwrap();
        let vault = (!dice.chance(4)).then(|| dice.below(VAULTS));
        let prefix = if vault.is_none() { "" } else { *dice.pick(&PREFIXES).unwrap() };
        let who = if dice.chance(4) { (false, dice.below(DEVICES)) } else { (true, dice.below(USERS)) };
        let give = !dice.chance(3);
        let fits = if vault.is_some() { role.is_of_vaults() } else { role.is_of_system() };
        let may = fits
            && match vault {
                Some(vault) => self.model.may_share(by, vault, prefix),
                None => self.model.is_admin(by),
            };
        let to = if who.0 { To::User(user(who.1)) } else { To::Device(device(who.1)) };
        let on = vault.map_or(VaultId::ZERO, vault_id).0;
        let answer = self.by(by, Deed::Share { role: role as u8, vault: on, prefix: prefix.into(), who: to, give });
        assert_eq!(answer.is_ok(), may, "{by:?} shares {role} on {vault:?} {prefix}: {answer:?}");
        if may {
            let given = Given { role, vault, prefix, who };
            self.model.given.retain(|old| *old != given);
            if give {
                self.model.given.push(given);
            }
            self.assert_sessions();
        }
    }

    pub fn lock(&mut self, dice: &mut Dice, by: Option<usize>, vault: usize, prefix: &'static str) {
        let keep_ns = (dice.below(20) as i64 + 1) * HOUR;
        let old = self.model.locks.iter().position(|(on, at, _)| *on == vault && *at == prefix);
        let may = self.model.may_share(by, vault, prefix);
        let grows = old.is_none_or(|old| keep_ns >= self.model.locks[old].2);
        let deed = Deed::Lock { vault: vault_id(vault).0, prefix: prefix.into(), keep_ns };
        assert_eq!(self.by(by, deed).is_ok(), may && grows, "{by:?} locks {vault} {prefix}");
        if may && grows {
            old.map(|old| self.model.locks.remove(old));
            self.model.locks.push((vault, prefix, keep_ns));
        }
    }

    pub fn somebody(&self, dice: &mut Dice) -> Option<usize> {
        (!dice.chance(3)).then(|| dice.below(DEVICES))
    }

    /// No session outlives the right to push.
    fn assert_sessions(&self) {
        for session in sessions(&self.tables).unwrap() {
            let (vault, mut may) = ((0..VAULTS).find(|n| vault_id(*n) == session.vault).unwrap(), false);
            let all = interned::all(&self.tables, Interned::Device).unwrap();
            let id = &all[session.device as usize - 1];
            for n in 0..DEVICES {
                may |= id[..32] == device(n) && self.model.may_push(Some(n), vault, None);
            }
            assert!(may, "a session goes on without the right to");
        }
    }
}
