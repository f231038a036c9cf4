//! Rows of the table rights: users, devices, tokens, roles. FORMAT §9.
//!
//! The first byte of a key says what the row is. Nothing is ever removed but tokens, roles and voids: a name or a key that
//! once was somebody's is never given to somebody else.

use crate::state::damaged;
use crate::tables::{Table, Tables};
use cas_core::codec::{FormatError, Reader, RecordWriter, critical};
use cas_core::id::{PublicKey, VaultId};
use cas_net::Result;
use cas_net::rights::{MAX_USER_NAME, Roles};

pub(super) const USER: u8 = b'u';
pub(super) const DEVICE: u8 = b'd';
pub(super) const TOKEN: u8 = b't';
pub(super) const ROLE: u8 = b'g';
pub(super) const LOCK: u8 = b'l';
pub(super) const RETENTION: u8 = b'k';
pub(super) const QUOTA: u8 = b'q';
pub(super) const USED: u8 = b'b';
pub(super) const DOMAIN: u8 = b'o';
pub(super) const VAULT: u8 = b'v';
pub(super) const VOID: u8 = b'x';
pub(crate) const REFUSED: u8 = b'r';
pub(crate) const HEAD: u8 = b'h';

const TAG_1: u64 = critical(1);
const TAG_2: u64 = critical(2);
const TAG_3: u64 = critical(3);
const TAG_4: u64 = critical(4);
const TAG_5: u64 = critical(5);
const TAG_6: u64 = critical(6);

/// A key of the table rights.
pub(crate) fn key(what: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut out = vec![what];
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct User {
    /// Argon2id in PHC form; empty: no password.
    pub hash: String,
    /// Whether he is shut out.
    pub disabled: bool,
    /// Whether he may make vaults.
    pub may_found: bool,
    /// When he was made.
    pub since_ns: i64,
}

impl User {
    /// A user by his name.
    pub fn of(tables: &impl Tables, name: &str) -> Result<Option<Self>> {
        let found = tables.get(Table::Rights, &key(USER, &[name.as_bytes()]))?;
        found.map(|bytes| Self::decode(&bytes).map_err(|e| damaged(format!("user {name}"), e.to_string()))).transpose()
    }

    /// All users, by name.
    pub fn all(tables: &impl Tables) -> Result<Vec<(String, Self)>> {
        let mut out = Vec::new();
        tables.scan_prefix(Table::Rights, &[USER], &mut |key, bytes| {
            let name = text_of(&key[1..])?;
            let user = Self::decode(bytes).map_err(|e| damaged(format!("user {name}"), e.to_string()))?;
            out.push((name, user));
            Ok(true)
        })?;
        Ok(out)
    }

    /// Writes it.
    pub fn store(&self, tables: &mut impl Tables, name: &str) {
        let mut out = RecordWriter::new();
        out.field(TAG_1, self.hash.as_bytes()).field(TAG_2, [self.disabled.into()]);
        out.field(TAG_3, [self.may_found.into()]).field(TAG_4, self.since_ns.to_le_bytes());
        tables.put(Table::Rights, &key(USER, &[name.as_bytes()]), out.finish());
    }

    /// Reads its bytes.
    pub fn decode(bytes: &[u8]) -> std::result::Result<Self, FormatError> {
        let mut out = Self::default();
        Reader::new("user row", bytes).record(|tag, r| {
            match tag {
                TAG_1 => out.hash = text(r)?,
                TAG_2 => out.disabled = flag(r)?,
                TAG_3 => out.may_found = flag(r)?,
                TAG_4 => out.since_ns = r.i64()?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(out)
    }
}

/// A device. Whose it is never changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Device {
    /// Whose it is.
    pub user: String,
    /// Its name for people.
    pub label: String,
    /// It has the roles given to it alone.
    pub own_rights: bool,
    /// When it was enrolled.
    pub enrolled_ns: i64,
    /// When it was last seen, to the hour.
    pub seen_ns: i64,
    /// When it was revoked.
    pub revoked_ns: Option<i64>,
}

impl Device {
    /// A device by its key.
    pub fn of(tables: &impl Tables, device: &PublicKey) -> Result<Option<Self>> {
        let found = tables.get(Table::Rights, &key(DEVICE, &[device.as_bytes()]))?;
        found
            .map(|bytes| Self::decode(&bytes).map_err(|e| damaged(format!("device {device}"), e.to_string())))
            .transpose()
    }

    /// All devices, by key.
    pub fn all(tables: &impl Tables) -> Result<Vec<(PublicKey, Self)>> {
        let mut out = Vec::new();
        tables.scan_prefix(Table::Rights, &[DEVICE], &mut |key, bytes| {
            let device = key[1..].try_into().map(PublicKey);
            let device = device.map_err(|_| damaged("rights", "has a key of another length"))?;
            let row = Self::decode(bytes).map_err(|e| damaged(format!("device {device}"), e.to_string()))?;
            out.push((device, row));
            Ok(true)
        })?;
        Ok(out)
    }

    /// Writes it.
    pub fn store(&self, tables: &mut impl Tables, device: &PublicKey) {
        let mut out = RecordWriter::new();
        out.field(TAG_1, self.user.as_bytes()).field(TAG_2, self.label.as_bytes());
        out.field(TAG_3, [self.own_rights.into()]).field(TAG_4, self.enrolled_ns.to_le_bytes());
        out.field(TAG_5, self.seen_ns.to_le_bytes());
        if let Some(revoked_ns) = self.revoked_ns {
            out.field(TAG_6, revoked_ns.to_le_bytes());
        }
        tables.put(Table::Rights, &key(DEVICE, &[device.as_bytes()]), out.finish());
    }

    /// Reads its bytes.
    pub fn decode(bytes: &[u8]) -> std::result::Result<Self, FormatError> {
        let mut out = Self::default();
        Reader::new("device row", bytes).record(|tag, r| {
            match tag {
                TAG_1 => out.user = text(r)?,
                TAG_2 => out.label = text(r)?,
                TAG_3 => out.own_rights = flag(r)?,
                TAG_4 => out.enrolled_ns = r.i64()?,
                TAG_5 => out.seen_ns = r.i64()?,
                TAG_6 => out.revoked_ns = Some(r.i64()?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(out)
    }
}

/// A token that was made and not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub user: String,
    pub own_rights: bool,
    pub expires_ns: i64,
}

impl Token {
    pub(super) fn of(tables: &impl Tables, hash: &[u8; 32]) -> Result<Option<Self>> {
        let found = tables.get(Table::Rights, &key(TOKEN, &[hash]))?;
        found.map(|bytes| Self::decode(&bytes).map_err(|e| damaged("token", e.to_string()))).transpose()
    }

    pub(super) fn store(&self, tables: &mut impl Tables, hash: &[u8; 32]) {
        let mut out = self.expires_ns.to_le_bytes().to_vec();
        out.push(self.own_rights.into());
        out.extend_from_slice(self.user.as_bytes());
        tables.put(Table::Rights, &key(TOKEN, &[hash]), out);
    }

    pub(super) fn decode(bytes: &[u8]) -> std::result::Result<Self, FormatError> {
        let mut r = Reader::new("token row", bytes);
        let (expires_ns, own_rights) = (r.i64()?, flag(&mut r)?);
        Ok(Self { expires_ns, own_rights, user: text(&mut r)? })
    }
}

/// Whose roles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Bearer {
    User(String),
    Device(PublicKey),
}

impl Bearer {
    fn part(&self) -> Vec<u8> {
        match self {
            Self::User(name) => [&[0, name.len() as u8], name.as_bytes()].concat(),
            Self::Device(device) => [&[1], &device.as_bytes()[..]].concat(),
        }
    }
}

/// Roles of somebody on the names under a prefix of a vault; the zero vault is the system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RoleRow {
    pub who: Bearer,
    pub vault: VaultId,
    pub prefix: String,
    pub roles: Roles,
}

impl RoleRow {
    fn key(&self) -> Vec<u8> {
        key(ROLE, &[&self.who.part(), self.vault.as_bytes(), self.prefix.as_bytes()])
    }

    /// What stands under the key of this row.
    pub(super) fn stored(&self, tables: &impl Tables) -> Result<Roles> {
        match tables.get(Table::Rights, &self.key())? {
            Some(bytes) => roles(&bytes),
            None => Ok(Roles::NONE),
        }
    }

    pub(super) fn store(&self, tables: &mut impl Tables) {
        match self.roles.is_empty() {
            true => tables.remove(Table::Rights, &self.key()),
            false => tables.put(Table::Rights, &self.key(), vec![self.roles.to_byte()]),
        }
    }

    /// All of one bearer, or of everybody.
    pub(super) fn all(tables: &impl Tables, of: Option<&Bearer>) -> Result<Vec<Self>> {
        let prefix = key(ROLE, &[&of.map_or(Vec::new(), Bearer::part)]);
        let mut out = Vec::new();
        tables.scan_prefix(Table::Rights, &prefix, &mut |key, value| {
            let row = Self::decode(key, value).map_err(|e| damaged("rights", e.to_string()))?;
            out.push(row);
            Ok(true)
        })?;
        Ok(out)
    }

    fn decode(key: &[u8], value: &[u8]) -> std::result::Result<Self, FormatError> {
        let mut r = Reader::new("role row", key);
        r.expect(&[ROLE], "a role")?;
        let who = match r.u8()? {
            0 => {
                let len = r.u8()?.into();
                let name = r.take(len)?;
                Bearer::User(String::from_utf8(name.to_vec()).map_err(|_| r.error("UTF-8"))?)
            }
            1 => Bearer::Device(PublicKey(r.array()?)),
            _ => return Err(r.error("a user or a device")),
        };
        let (vault, prefix) = (VaultId(r.array()?), text(&mut r)?);
        let roles = roles(value).map_err(|_| r.error("roles"))?;
        Ok(Self { who, vault, prefix, roles })
    }
}

fn roles(bytes: &[u8]) -> Result<Roles> {
    let byte = <[u8; 1]>::try_from(bytes).ok().and_then(|[byte]| Roles::from_byte(byte));
    byte.ok_or_else(|| damaged("rights", "holds a role that is none"))
}

/// Whether this can be the name of a user: nothing that a terminal, a path or another alphabet could make look like another.
pub fn is_user_name(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphanumeric() || "._-@".contains(c);
    (1..=MAX_USER_NAME).contains(&name.len()) && name.chars().all(letter)
}

fn flag(r: &mut Reader<'_>) -> std::result::Result<bool, FormatError> {
    match r.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(r.error("0 or 1")),
    }
}

fn text(r: &mut Reader<'_>) -> std::result::Result<String, FormatError> {
    let bytes = r.rest();
    let text = std::str::from_utf8(bytes).map_err(|_| r.error("UTF-8"))?.to_owned();
    r.take(bytes.len())?;
    Ok(text)
}

fn text_of(bytes: &[u8]) -> Result<String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| damaged("rights", "has a key that is no text"))
}

const _: () = assert!(MAX_USER_NAME < 256);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::MemTables;
    use cas_net::rights::Role;

    #[test]
    fn rows_go_there_and_back() {
        let mut tables = MemTables::default();
        let user = User { hash: "h".into(), disabled: true, may_found: true, since_ns: -3 };
        user.store(&mut tables, "ada");
        assert_eq!(User::of(&tables, "ada").unwrap(), Some(user.clone()));
        assert_eq!(User::all(&tables).unwrap(), [("ada".to_owned(), user)]);
        let key = PublicKey([4; 32]);
        for revoked_ns in [None, Some(9)] {
            let (user, label) = ("ada".to_owned(), "lap".to_owned());
            let device = Device { user, label, own_rights: true, enrolled_ns: 1, seen_ns: 2, revoked_ns };
            device.store(&mut tables, &key);
            assert_eq!(Device::all(&tables).unwrap(), [(key, device)]);
        }
        let token = Token { user: "ada".into(), own_rights: false, expires_ns: 5 };
        token.store(&mut tables, &[8; 32]);
        assert_eq!(Token::of(&tables, &[8; 32]).unwrap(), Some(token));
    }

    #[test]
    fn roles_of_one_are_not_those_of_another_whose_name_is_longer() {
        let mut tables = MemTables::default();
        let row = |name: &str, prefix: &str| RoleRow {
            who: Bearer::User(name.into()),
            vault: VaultId([1; 16]),
            prefix: prefix.into(),
            roles: Roles::NONE.with(Role::Reader),
        };
        let rows = [row("ad", ""), row("ad", "x/y"), row("ada", "")];
        rows.iter().for_each(|row| row.store(&mut tables));
        assert_eq!(RoleRow::all(&tables, Some(&rows[0].who)).unwrap(), rows[..2]);
        assert_eq!(RoleRow::all(&tables, None).unwrap(), rows);
        RoleRow { roles: Roles::NONE, ..row("ad", "") }.store(&mut tables);
        assert_eq!(RoleRow::all(&tables, Some(&rows[0].who)).unwrap(), rows[1..2]);
    }

    #[test]
    fn names_of_users_cannot_be_mistaken() {
        for good in ["a", "ada.l_o-v@home", &"n".repeat(64)] {
            assert!(is_user_name(good), "{good}");
        }
        for bad in ["", "a b", "ä", "a/b", "a\0", "а", &"n".repeat(65)] {
            assert!(!is_user_name(bad), "{bad:?}");
        }
    }
}
