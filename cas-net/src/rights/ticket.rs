//! Tickets: the index's word that a device may read or write blocks of a domain. Nodes verify them offline. DESIGN §10.
//!
//! Promise: a ticket holds only for the client whose key it names, until it expires, and not if the index has voided it
//! since. Times are cluster time. A ticket to write is not enough to write: that needs a [`Grant`](crate::Grant) too.
//! Bytes: the signed message is `client 32 ‖ domain 16 ‖ rights u8 ‖ epoch u64 ‖ expires i64`, little-endian.

use crate::wire::{Reader, Wire, WireError, wire};
use cas_core::id::{DomainId, Epoch, PublicKey};
use cas_core::signing::{SIGNATURE_LEN, SigningKey, verify};

const PURPOSE: &str = "cas v1 ticket";
const MESSAGE_LEN: usize = 32 + 16 + 1 + 8 + 8;
/// How long a ticket lives, in nanoseconds: twelve hours.
pub const TICKET_LIFE_NS: i64 = 12 * 3600 * 1_000_000_000;
/// Devices that a revocation list names; with more, all older tickets are void and devices ask for new ones.
pub const MAX_REVOKED: usize = 256;
/// Domains for which one connection may show tickets.
pub const MAX_SHOWN: usize = 64;

/// What a ticket allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TicketRights {
    /// Getting blocks.
    Read = 1,
    /// Putting blocks, with a grant: a host that only pushes.
    Write = 2,
    /// Both.
    ReadWrite = 3,
}

impl TicketRights {
    /// What a device that may read, may write, has; `None` if neither.
    pub fn of(read: bool, write: bool) -> Option<Self> {
        match (read, write) {
            (true, true) => Some(Self::ReadWrite),
            (true, false) => Some(Self::Read),
            (false, true) => Some(Self::Write),
            (false, false) => None,
        }
    }

    /// Whether blocks may be got.
    pub fn reads(self) -> bool {
        self as u8 & 1 != 0
    }

    /// Whether blocks may be put.
    pub fn writes(self) -> bool {
        self as u8 & 2 != 0
    }
}

impl Wire for TicketRights {
    fn put(&self, out: &mut Vec<u8>) {
        (*self as u8).put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let at = from.at();
        let byte = u8::take(from)?;
        match byte {
            1 => Ok(Self::Read),
            2 => Ok(Self::Write),
            3 => Ok(Self::ReadWrite),
            found => Err(WireError::Tag { at, what: "rights of a ticket", found: found.into() }),
        }
    }
}

/// Leave to read or write blocks of a domain, for one client and a time. Signed by the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// Whose it is: the key its connection must prove.
    pub client: PublicKey,
    /// The domain.
    pub domain: DomainId,
    /// What it allows.
    pub rights: TicketRights,
    /// The newest command that was considered when it was given.
    pub epoch: Epoch,
    /// Cluster time from which on it is void, nanoseconds since 1970.
    pub expires_ns: i64,
    signature: [u8; SIGNATURE_LEN],
}

wire!(struct Ticket { client, domain, rights, epoch, expires_ns, signature });

/// Why a ticket does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// Not what the index signed.
    #[error("the ticket is not of this store's index")]
    Forged,
    /// It is somebody else's.
    #[error("the ticket is another client's")]
    NotYours,
    /// It was good once: ask the index for another.
    #[error("the ticket has expired")]
    Expired,
    /// The device was revoked or lost rights since: ask the index for another.
    #[error("the ticket was voided")]
    Voided,
    /// There is none that allows this.
    #[error("there is no ticket for this")]
    Missing,
}

impl Ticket {
    /// Signs a ticket.
    pub fn sign(
        index: &SigningKey,
        client: PublicKey,
        domain: DomainId,
        rights: TicketRights,
        epoch: Epoch,
        expires_ns: i64,
    ) -> Self {
        let mut ticket = Self { client, domain, rights, epoch, expires_ns, signature: [0; SIGNATURE_LEN] };
        ticket.signature = index.sign(PURPOSE, &ticket.message());
        ticket
    }

    /// Whether the index with this key gave it to this client. The costly part; once per connection and ticket.
    ///
    /// # Errors
    /// [`TicketError::Forged`], [`TicketError::NotYours`].
    pub fn verify(&self, index: &PublicKey, client: &PublicKey) -> Result<(), TicketError> {
        if self.client != *client {
            return Err(TicketError::NotYours);
        }
        if !verify(index, PURPOSE, &self.message(), &self.signature) {
            return Err(TicketError::Forged);
        }
        Ok(())
    }

    /// Whether it still holds. Cheap; for every request.
    ///
    /// # Errors
    /// [`TicketError::Expired`], [`TicketError::Voided`].
    pub fn holds(&self, now_ns: i64, revoked: &Revocations) -> Result<(), TicketError> {
        if now_ns >= self.expires_ns {
            return Err(TicketError::Expired);
        }
        if revoked.voids(&self.client, self.epoch) {
            return Err(TicketError::Voided);
        }
        Ok(())
    }

    fn message(&self) -> [u8; MESSAGE_LEN] {
        let mut out = [0; MESSAGE_LEN];
        out[..32].copy_from_slice(self.client.as_bytes());
        out[32..48].copy_from_slice(self.domain.as_bytes());
        out[48] = self.rights as u8;
        out[49..57].copy_from_slice(&self.epoch.0.to_le_bytes());
        out[57..].copy_from_slice(&self.expires_ns.to_le_bytes());
        out
    }
}

/// Which tickets are void before their time. Goes to the nodes with the heartbeat; small because it forgets what has expired.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revocations {
    /// Its version: the epoch of the last change that voided something.
    pub version: Epoch,
    /// All tickets below this epoch are void.
    pub all_before: Epoch,
    /// Tickets of these devices below the epoch are void; in order of key.
    pub devices: Vec<(PublicKey, Epoch)>,
}

wire!(struct Revocations { version, all_before, devices });

impl Revocations {
    /// Whether a ticket of this device, given at this epoch, is void.
    pub fn voids(&self, device: &PublicKey, given: Epoch) -> bool {
        let before = self.devices.binary_search_by_key(device, |(device, _)| *device).map(|at| self.devices[at].1);
        given < self.all_before || before.is_ok_and(|before| given < before)
    }

    /// Lets the list be searched, and bounds it: what is above [`MAX_REVOKED`] voids all older tickets instead.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.devices.retain(|(_, before)| *before > self.all_before);
        if self.devices.len() > MAX_REVOKED {
            let newest = self.devices.iter().map(|(_, before)| *before).max();
            self.all_before = newest.unwrap_or(self.all_before);
            self.devices.clear();
        }
        self.devices.sort_unstable();
        self
    }
}

/// The tickets that were shown on one connection, verified. What a node asks before each request.
#[derive(Debug, Clone, Default)]
pub struct Shown {
    tickets: Vec<Ticket>,
}

impl Shown {
    /// Takes a ticket that holds now; replaces an older one for the same domain.
    ///
    /// # Errors
    /// Why it does not hold; [`TicketError::Missing`] when there are too many.
    pub fn take(
        &mut self,
        ticket: Ticket,
        index: &PublicKey,
        client: &PublicKey,
        now_ns: i64,
        revoked: &Revocations,
    ) -> Result<(), TicketError> {
        ticket.holds(now_ns, revoked)?;
        ticket.verify(index, client)?;
        self.tickets.retain(|old| old.domain != ticket.domain && old.holds(now_ns, revoked).is_ok());
        if self.tickets.len() >= MAX_SHOWN {
            return Err(TicketError::Missing);
        }
        self.tickets.push(ticket);
        Ok(())
    }

    /// Whether any of them still holds.
    pub fn any_holds(&self, now_ns: i64, revoked: &Revocations) -> bool {
        self.tickets.iter().any(|ticket| ticket.holds(now_ns, revoked).is_ok())
    }

    /// Whether blocks of a domain may be read (`write` false) or written now.
    ///
    /// # Errors
    /// Why not.
    pub fn may(&self, domain: &DomainId, write: bool, now_ns: i64, revoked: &Revocations) -> Result<(), TicketError> {
        let ticket = self.tickets.iter().find(|ticket| ticket.domain == *domain).ok_or(TicketError::Missing)?;
        if !(if write { ticket.rights.writes() } else { ticket.rights.reads() }) {
            return Err(TicketError::Missing);
        }
        ticket.holds(now_ns, revoked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;

    const NOW: i64 = 1_000;

    fn index() -> SigningKey {
        SigningKey::from_seed(&[1; 32])
    }

    fn ticket() -> Ticket {
        let (client, domain) = (PublicKey([2; 32]), DomainId([3; 16]));
        Ticket::sign(&index(), client, domain, TicketRights::Read, Epoch(5), NOW + 10)
    }

    #[test]
    fn a_ticket_holds_only_as_it_was_signed_and_for_its_client() {
        let (index, good) = (index().public(), ticket());
        assert_eq!(good.verify(&index, &good.client), Ok(()));
        assert_eq!(good.verify(&index, &PublicKey([9; 32])), Err(TicketError::NotYours));
        let other = SigningKey::from_seed(&[2; 32]).public();
        for forged in [
            Ticket { domain: DomainId([4; 16]), ..good },
            Ticket { rights: TicketRights::ReadWrite, ..good },
            Ticket { epoch: Epoch(6), ..good },
            Ticket { expires_ns: good.expires_ns + 1, ..good },
            Ticket { client: other, ..good },
        ] {
            assert_eq!(forged.verify(&index, &forged.client), Err(TicketError::Forged));
        }
        assert_eq!(good.verify(&other, &good.client), Err(TicketError::Forged));
    }

    #[test]
    fn a_ticket_ends_with_its_time_and_with_its_device() {
        let (good, none) = (ticket(), Revocations::default());
        assert_eq!(good.holds(NOW + 9, &none), Ok(()));
        assert_eq!(good.holds(NOW + 10, &none), Err(TicketError::Expired));
        let of = |device: PublicKey, before| Revocations { devices: vec![(device, Epoch(before))], ..none.clone() };
        assert_eq!(good.holds(NOW, &of(good.client, 6)), Err(TicketError::Voided));
        assert_eq!(good.holds(NOW, &of(good.client, 5)), Ok(()), "it was given after the change");
        assert_eq!(good.holds(NOW, &of(PublicKey([9; 32]), 6)), Ok(()));
        let all = Revocations { all_before: Epoch(6), ..none };
        assert_eq!(good.holds(NOW, &all), Err(TicketError::Voided));
    }

    #[test]
    fn a_connection_may_what_its_tickets_say_and_no_more() {
        let (index, good, none) = (index().public(), ticket(), Revocations::default());
        let mut shown = Shown::default();
        assert_eq!(shown.may(&good.domain, false, NOW, &none), Err(TicketError::Missing));
        shown.take(good, &index, &good.client, NOW, &none).unwrap();
        assert_eq!(shown.may(&good.domain, false, NOW, &none), Ok(()));
        assert_eq!(shown.may(&good.domain, true, NOW, &none), Err(TicketError::Missing));
        assert_eq!(shown.may(&DomainId([4; 16]), false, NOW, &none), Err(TicketError::Missing));
        assert_eq!(shown.may(&good.domain, false, NOW + 10, &none), Err(TicketError::Expired));
        let revoked = Revocations { all_before: Epoch(6), ..none.clone() };
        assert_eq!(shown.may(&good.domain, false, NOW, &revoked), Err(TicketError::Voided));
        assert_eq!(shown.take(good, &index, &good.client, NOW, &revoked), Err(TicketError::Voided));
        assert_eq!(shown.take(good, &index, &PublicKey([9; 32]), NOW, &none), Err(TicketError::NotYours));
    }

    #[test]
    fn a_long_list_of_revocations_becomes_one_line_that_voids_no_less() {
        let devices: Vec<_> = (0..=MAX_REVOKED as u64).map(|n| (PublicKey([n as u8; 32]), Epoch(n + 1))).collect();
        let short = Revocations { devices: devices[1..].to_vec(), ..Revocations::default() }.bounded();
        assert_eq!(short.devices.len(), MAX_REVOKED);
        let long = Revocations { devices: devices.clone(), ..Revocations::default() }.bounded();
        assert!(long.devices.is_empty());
        for (device, before) in devices {
            assert!(long.voids(&device, Epoch(before.0 - 1)));
        }
        assert!(!long.voids(&PublicKey([0; 32]), Epoch(MAX_REVOKED as u64 + 1)), "a new ticket is good");
    }

    #[test]
    fn a_ticket_has_golden_bytes() {
        let bytes = wire::encode(&ticket());
        let fields = [&[2; 32][..], &[3; 16], &[1], &5u64.to_le_bytes(), &(NOW + 10).to_le_bytes()].concat();
        assert_eq!(bytes[..MESSAGE_LEN], fields);
        // Ed25519 is deterministic: BLAKE3 of the signature stands for it.
        let sum = cas_core::id::Sum::of(&bytes[MESSAGE_LEN..]).to_string();
        assert_eq!(sum, GOLDEN_SIGNATURE);
        for len in 0..bytes.len() {
            assert!(wire::decode::<Ticket>(&bytes[..len], 0).is_err(), "cut at {len}");
        }
    }

    const GOLDEN_SIGNATURE: &str = "91769ef4f24734031fd0e77b64fe9bb04645c5c3dbdaf654a7f4ff433bca0bd3";
}
