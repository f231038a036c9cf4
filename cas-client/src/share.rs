//! Sharing a vault: whose keys its keyring is sealed for, so that a role at the index is worth something.
//!
//! Promise: keys come from a person's hand ([`Card`]), never from the index, which could add itself; a pusher gets what
//! names and signs blocks, nothing that opens a snapshot; nobody loses a stronger place by getting a weaker role.
//! Not here: roles at the index (`cas_net::rights`).

use crate::error::{ClientError, Result};
use crate::store::Store;
use crate::vault::Vault;
use cas_core::agebox::{Identity, Recipient};
use cas_core::id::PublicKey;
use cas_core::keyring::{Change, Device, Keyring, Member, Role as Opens};
use cas_net::rights::{Role, RoleGrant, Who};
use std::fmt;
use std::str::FromStr;

/// The public half of somebody's identity, in one word: the key that things are sealed for, and the key that signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// Things are sealed for it.
    pub recipient: Recipient,
    /// It signs, and is who the device is on the network.
    pub device: PublicKey,
}

impl Card {
    /// Of an identity.
    pub fn of(identity: &Identity) -> Self {
        Self { recipient: identity.recipient(), device: identity.device_key().public() }
    }
}

impl fmt::Display for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.recipient, self.device)
    }
}

impl FromStr for Card {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let halves = text.trim().split_once('/');
        let (recipient, device) = halves.ok_or("a card is age1…/DEVICE: cas key show prints it")?;
        Ok(Self {
            recipient: recipient.parse().map_err(|e: cas_core::agebox::BoxError| e.to_string())?,
            device: device.parse().map_err(|e: cas_core::id::HexError| format!("the device key: {e}"))?,
        })
    }
}

/// What a role opens; nothing for auditors and those who look after the system.
fn opens(role: Role) -> Option<Opens> {
    match role {
        Role::Owner => Some(Opens::Owner),
        Role::Writer => Some(Opens::Writer),
        Role::Reader => Some(Opens::Reader),
        Role::Pusher => Some(Opens::Pusher),
        Role::Auditor | Role::Admin | Role::Operator => None,
    }
}

fn signs(role: Role) -> bool {
    matches!(role, Role::Owner | Role::Writer | Role::Pusher)
}

/// What the keyring lacks for this role.
fn wanted(keyring: &Keyring, card: &Card, role: Role, label: &str) -> Vec<Change> {
    let mut changes = Vec::new();
    let Some(opens) = opens(role) else { return changes };
    let has = keyring.members.iter().find(|member| member.recipient == card.recipient).map(|member| member.role);
    // The byte of a stronger one is lower.
    if has.is_none_or(|has| has > opens) {
        let (recipient, label) = (card.recipient.clone(), label.to_owned());
        changes.push(Change::PutMember(Member { role: opens, recipient, label }));
    }
    if signs(role) && !keyring.may_sign(&card.device) {
        changes.push(Change::PutDevice(Device { key: card.device, label: label.to_owned() }));
    }
    changes
}

/// Seals the keyring for a card too, as far as the role needs it. Answers whether anything had to change.
///
/// # Errors
/// [`ClientError::WrongKey`] without an owner's identity.
pub fn share(store: &Store, vault: &mut Vault, who: &Who, role: Role, card: &Card) -> Result<bool> {
    let changes = wanted(vault.keyring(), card, role, &who.to_string());
    if changes.is_empty() {
        return Ok(false);
    }
    vault.change(store, &changes)?;
    Ok(true)
}

/// Whether a grant makes its holder need the keyring of this vault.
fn needs_keyring(grant: &RoleGrant, who: &Who) -> bool {
    grant.who == *who && opens(grant.role).is_some()
}

/// What the keyring holds for somebody: by the label that [`share`] gave it, or by his device key.
fn held(keyring: &Keyring, who: &Who) -> Vec<Change> {
    let label = who.to_string();
    let members = keyring.members.iter().filter(|m| m.label == label && m.role != Opens::Recovery);
    let is_his = |device: &&Device| device.label == label || matches!(who, Who::Device(key) if device.key == *key);
    let devices = keyring.devices.iter().filter(is_his).map(|device| Change::RemoveDevice(device.key));
    members.map(|member| Change::RemoveMember(member.recipient.clone())).chain(devices).collect()
}

/// Seals nothing for somebody any more, if none of the roles that are left needs it. Answers whether anything had to change.
///
/// # Errors
/// [`ClientError::WrongKey`] without an owner's identity.
pub fn unshare(store: &Store, vault: &mut Vault, who: &Who, left: &[RoleGrant]) -> Result<bool> {
    if left.iter().any(|grant| needs_keyring(grant, who)) {
        return Ok(false);
    }
    let changes = held(vault.keyring(), who);
    if changes.is_empty() {
        return Ok(false);
    }
    vault.change(store, &changes)?;
    Ok(true)
}

/// The user or device that a person means: 64 hexadecimal digits, or a card, are a device.
///
/// # Errors
/// [`ClientError::Usage`] for half a card.
pub fn who(text: &str) -> Result<(Who, Option<Card>)> {
    if text.contains('/') {
        let card: Card = text.parse().map_err(ClientError::Usage)?;
        return Ok((Who::Device(card.device), Some(card)));
    }
    Ok(match text.parse() {
        Ok(device) => (Who::Device(device), None),
        Err(_) => (Who::User(text.to_owned()), None),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use cas_core::domain::{DomainRecord, Profile};
    use cas_core::id::VaultId;
    use cas_core::secret::ContentSecret;

    fn card(seed: u8) -> Card {
        Card::of(&Identity::from_random(&[seed; 32]))
    }

    fn keyring() -> Keyring {
        let (recovery, owner) = (card(1), card(2));
        let member = |role, card: &Card| Member { role, recipient: card.recipient.clone(), label: "host".to_owned() };
        let members = vec![member(Opens::Recovery, &recovery), member(Opens::Owner, &owner)];
        let devices = vec![Device { key: owner.device, label: "host".to_owned() }];
        let secret = ContentSecret::from_bytes([9; 32]);
        Keyring::first(VaultId([5; 16]), DomainRecord::of_profile(Profile::Default), secret, members, devices).unwrap()
    }

    fn bob() -> Who {
        Who::User("bob".to_owned())
    }

    #[test]
    fn a_card_prints_as_it_was_read_and_half_a_one_is_refused() {
        let card = card(3);
        assert_eq!(card.to_string().parse::<Card>(), Ok(card.clone()));
        for half in [card.recipient.to_string(), format!("{}/", card.recipient), format!("/{}", card.device)] {
            assert!(half.parse::<Card>().is_err(), "{half}");
        }
        assert_eq!(who(&card.to_string()).unwrap(), (Who::Device(card.device), Some(card.clone())));
        assert_eq!(who(&card.device.to_string()).unwrap().0, Who::Device(card.device));
        assert_eq!(who("bob").unwrap(), (bob(), None));
    }

    #[test]
    fn a_pusher_signs_and_opens_no_snapshot_and_a_reader_opens_and_does_not_sign() {
        for (role, is_recipient, may_sign) in [
            (Role::Pusher, false, true),
            (Role::Reader, true, false),
            (Role::Writer, true, true),
            (Role::Owner, true, true),
        ] {
            let next = keyring().next(&wanted(&keyring(), &card(3), role, "user bob")).unwrap();
            assert_eq!(next.snapshot_recipients().contains(&card(3).recipient), is_recipient, "{role}");
            assert_eq!(next.may_sign(&card(3).device), may_sign, "{role}");
            assert!(wanted(&next, &card(3), role, "user bob").is_empty(), "{role}: twice is once");
        }
        for role in [Role::Auditor, Role::Admin, Role::Operator] {
            assert!(wanted(&keyring(), &card(3), role, "user bob").is_empty(), "{role} gets no key");
        }
    }

    #[test]
    fn a_weaker_role_takes_nothing_away() {
        assert!(wanted(&keyring(), &card(2), Role::Reader, "user bob").is_empty());
        assert!(wanted(&keyring(), &card(1), Role::Reader, "user bob").is_empty(), "recovery stays what it is");
    }

    #[test]
    fn who_is_taken_out_is_taken_out_with_all_devices_and_nobody_else() {
        let mut ring = keyring();
        for seed in [3, 4] {
            ring = ring.next(&wanted(&ring, &card(seed), Role::Writer, "user bob")).unwrap();
        }
        let without = ring.next(&held(&ring, &bob())).unwrap();
        assert_eq!(without.members, keyring().members);
        assert_eq!(without.devices, keyring().devices);
        assert!(held(&ring, &Who::User("host".to_owned())).is_empty(), "a host is no user of that name");
    }
}
