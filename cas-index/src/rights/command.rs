//! Changes of people and rights as values, and other commands as somebody gave them. FORMAT §9.
//!
//! Variants are only ever added at the end.

use crate::command::Packed;
use serde::{Deserialize, Serialize};

/// A change that somebody wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The key of the device; `None`: whoever runs the index, who may do everything.
    pub by: Option<[u8; 32]>,
    /// What is to be done.
    pub deed: Deed,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Deed {
    /// Another command, if the device may give it.
    Carry {
        /// Its bytes: no command about rights, so that none holds another without end.
        command: Packed,
    },
    /// A new user.
    AddUser {
        /// His name.
        name: String,
        /// Argon2id in PHC form; empty: no password.
        hash: String,
        /// Whether he may make vaults.
        may_found: bool,
    },
    /// A change of a user.
    ChangeUser {
        /// Whom.
        name: String,
        /// How.
        change: Change,
    },
    /// Another password; the old one was verified before.
    SetPassword {
        /// Whose.
        name: String,
        /// Argon2id in PHC form.
        hash: String,
    },
    /// Enrols the device that says so, after its password was verified.
    LogIn {
        /// Whose it becomes.
        user: String,
        /// The hash that the password was verified against: if it is another by now, the login is void.
        hash: String,
        /// What it is called.
        label: String,
    },
    /// A one-use token.
    MakeToken {
        /// BLAKE3 of the token.
        hash: [u8; 32],
        /// Whose device it enrols.
        user: String,
        /// Whether with rights of its own only.
        own_rights: bool,
        /// How long it lives.
        life_ns: i64,
    },
    /// Enrols the device that says so.
    UseToken {
        /// BLAKE3 of the token.
        hash: [u8; 32],
        /// What it is called.
        label: String,
    },
    /// Shuts a device out for ever.
    Revoke {
        /// Which.
        device: [u8; 32],
    },
    /// Gives a role or takes it back.
    Share {
        /// The byte of the role.
        role: u8,
        /// On which vault; zero: on the system.
        vault: [u8; 16],
        /// On which names; empty: all.
        prefix: String,
        /// To whom.
        who: To,
        /// Given or taken.
        give: bool,
    },
    /// Sets or lengthens a retention lock.
    Lock {
        /// Of which vault.
        vault: [u8; 16],
        /// Of which names; empty: all.
        prefix: String,
        /// For how long after a commit.
        keep_ns: i64,
    },
    /// Sets or lifts a quota.
    Quota {
        /// Whose.
        of: Of,
        /// Stored bytes.
        bytes: Option<u64>,
    },
    /// The machine's clock is right although it is far ahead.
    AcceptClock {
        /// What it says.
        to_ns: i64,
    },
    /// Something that is only read was refused.
    Refused {
        /// What.
        deed: String,
        /// In which vault; zero: none.
        vault: [u8; 16],
        /// Which name.
        name: String,
        /// How often.
        count: u64,
    },
    /// The device was here: at most one an hour.
    Seen,
    /// Time passes: what has expired goes, counted refusals are written down.
    Tick,
    /// Sets or takes away rules of retention.
    Retain {
        /// Of which vault.
        vault: [u8; 16],
        /// Of which names; empty: all.
        prefix: String,
        /// The rules as text; empty: none.
        keep: String,
    },
}

/// A change of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// None of his devices may do anything.
    Disable,
    /// They may again.
    Enable,
    /// Whether he may make vaults.
    MayFound(bool),
}

/// To whom a role is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum To {
    /// A user's devices.
    User(String),
    /// One device.
    Device([u8; 32]),
}

/// Whose quota.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Of {
    /// A user's.
    User(String),
    /// A vault's.
    Vault([u8; 16]),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Command as Any;

    fn golden(deed: Deed, by: Option<[u8; 32]>) -> Vec<u8> {
        Any::Rights(Command { by, deed }).encode()
    }

    #[test]
    fn every_deed_has_its_golden_bytes_and_reads_back() {
        let (ada, ten) = ("ada".to_owned(), [10; 32]);
        let all: Vec<(Deed, Vec<u8>)> = vec![
            (Deed::Carry { command: Packed(vec![14]) }, vec![0, 1, 14]),
            (
                Deed::AddUser { name: ada.clone(), hash: "h".into(), may_found: true },
                vec![1, 3, 97, 100, 97, 1, 104, 1],
            ),
            (Deed::ChangeUser { name: ada.clone(), change: Change::MayFound(true) }, vec![2, 3, 97, 100, 97, 2, 1]),
            (Deed::SetPassword { name: ada.clone(), hash: "h".into() }, vec![3, 3, 97, 100, 97, 1, 104]),
            (
                Deed::LogIn { user: ada.clone(), hash: "h".into(), label: "l".into() },
                vec![4, 3, 97, 100, 97, 1, 104, 1, 108],
            ),
            (
                Deed::MakeToken { hash: ten, user: ada.clone(), own_rights: true, life_ns: 1 },
                [&[5][..], &ten, &[3, 97, 100, 97, 1, 2]].concat(),
            ),
            (Deed::UseToken { hash: ten, label: "l".into() }, [&[6][..], &ten, &[1, 108]].concat()),
            (Deed::Revoke { device: ten }, [&[7][..], &ten].concat()),
            (
                Deed::Share { role: 3, vault: [9; 16], prefix: "p".into(), who: To::User(ada), give: true },
                [&[8, 3][..], &[9; 16], &[1, 112, 0, 3, 97, 100, 97, 1]].concat(),
            ),
            (Deed::Lock { vault: [9; 16], prefix: String::new(), keep_ns: 1 }, [&[9][..], &[9; 16], &[0, 2]].concat()),
            (Deed::Quota { of: Of::Vault([9; 16]), bytes: Some(5) }, [&[10, 1][..], &[9; 16], &[1, 5]].concat()),
            (Deed::AcceptClock { to_ns: -1 }, vec![11, 1]),
            (
                Deed::Refused { deed: "d".into(), vault: [9; 16], name: "n".into(), count: 2 },
                [&[12, 1, 100][..], &[9; 16], &[1, 110, 2]].concat(),
            ),
            (Deed::Seen, vec![13]),
            (Deed::Tick, vec![14]),
            (
                Deed::Retain { vault: [9; 16], prefix: "p".into(), keep: "keep-last=1".into() },
                [&[15][..], &[9; 16], b"\x01p\x0bkeep-last=1"].concat(),
            ),
        ];
        let number = Any::Rights(Command { by: None, deed: Deed::Tick }).encode()[0];
        for (deed, bytes) in all {
            assert_eq!(golden(deed.clone(), None), [&[number, 0][..], &bytes].concat(), "{deed:?}");
            let by = Some([7; 32]);
            assert_eq!(golden(deed.clone(), by), [&[number, 1][..], &[7; 32], &bytes].concat(), "{deed:?}");
            assert_eq!(Any::decode(&golden(deed.clone(), by)).unwrap(), Any::Rights(Command { by, deed }));
        }
    }
}
