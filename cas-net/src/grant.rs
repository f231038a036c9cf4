//! Grants: the index's leave to write blocks in a session, with the epoch of the answer that gave it.

use crate::SessionId;
use crate::wire::wire;
use cas_core::id::{Epoch, PublicKey};
use cas_core::signing::{SIGNATURE_LEN, SigningKey, verify};

const PURPOSE: &str = "cas v1 grant";

/// Leave to write the blocks an answer said are absent. Signed by the index; nodes verify it offline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// The session it belongs to.
    pub session: SessionId,
    /// The epoch of the answer that gave it: becomes the blocks' put_epoch.
    pub epoch: Epoch,
    /// Whether blocks may be written again beside bytes the node already has (the old ones are damaged).
    pub replace: bool,
    signature: [u8; SIGNATURE_LEN],
}

wire!(struct Grant { session, epoch, replace, signature });

impl Grant {
    /// Signs a grant.
    pub fn sign(key: &SigningKey, session: SessionId, epoch: Epoch, replace: bool) -> Self {
        let signature = key.sign(PURPOSE, &message(session, epoch, replace));
        Self { session, epoch, replace, signature }
    }

    /// Whether the index with this key gave it.
    pub fn is_from(&self, index: &PublicKey) -> bool {
        verify(index, PURPOSE, &message(self.session, self.epoch, self.replace), &self.signature)
    }
}

fn message(session: SessionId, epoch: Epoch, replace: bool) -> [u8; 17] {
    let mut out = [0; 17];
    out[..8].copy_from_slice(&session.0.to_le_bytes());
    out[8..16].copy_from_slice(&epoch.0.to_le_bytes());
    out[16] = replace.into();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_holds_only_as_it_was_signed() {
        let key = SigningKey::from_seed(&[1; 32]);
        let grant = Grant::sign(&key, SessionId(3), Epoch(9), false);
        assert!(grant.is_from(&key.public()));
        assert!(!grant.is_from(&SigningKey::from_seed(&[2; 32]).public()));
        for forged in [
            Grant { session: SessionId(4), ..grant },
            Grant { epoch: Epoch(10), ..grant },
            Grant { replace: true, ..grant },
        ] {
            assert!(!forged.is_from(&key.public()));
        }
    }
}
