//! The audit log: what was done and refused, hash-chained. FORMAT §9.
//!
//! Promise: [`Chain`] finds every entry that was changed, removed, inserted or moved, and says which, as long as somebody
//! remembers a [`Head`]: the index does, and so may whoever reads the log. Who can rewrite the whole log and every
//! remembered head is not found out: hence heads are worth keeping elsewhere.
//! Not here: what is logged (`cas_index::audit`).

use crate::wire::wire;
use cas_core::codec::{FormatError, Reader, RecordWriter, critical};
use cas_core::id::{PublicKey, Sum, VaultId};

const VERSION: u8 = 1;
/// The longest text in an entry, in bytes.
pub const MAX_AUDIT_TEXT: usize = 1024;
/// The longest entry, in bytes.
pub const MAX_ENTRY: usize = 4 * (MAX_AUDIT_TEXT + 8) + 256;
/// Faults that are listed.
pub const MAX_FAULTS: usize = 1000;

const TAG_SEQ: u64 = critical(1);
const TAG_EPOCH: u64 = critical(2);
const TAG_TIME: u64 = critical(3);
const TAG_DEVICE: u64 = critical(4);
const TAG_USER: u64 = critical(5);
const TAG_DEED: u64 = critical(6);
const TAG_VAULT: u64 = critical(7);
const TAG_NAME: u64 = critical(8);
const TAG_DETAIL: u64 = critical(9);
const TAG_REFUSED: u64 = critical(10);

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    /// Its number, from 1, without gaps.
    pub seq: u64,
    /// The command that wrote it.
    pub epoch: u64,
    /// Cluster time, nanoseconds since 1970.
    pub time_ns: i64,
    /// Which device did it; zero: the operator of the index, by its own hands; for refusals also: devices nobody knows.
    pub device: PublicKey,
    /// Whose the device was; empty if nobody's.
    pub user: String,
    /// What: a word of a fixed list.
    pub deed: String,
    /// In which vault.
    pub vault: Option<VaultId>,
    /// To which name, or to whom.
    pub name: String,
    /// What else is to be known.
    pub detail: String,
    /// How often it was refused; 0: it was done. More than 1: as often within one minute, this deed or others.
    pub refused: u64,
}

impl Entry {
    /// Its bytes. Longer texts are cut.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = RecordWriter::new();
        out.field(TAG_SEQ, self.seq.to_le_bytes()).field(TAG_EPOCH, self.epoch.to_le_bytes());
        out.field(TAG_TIME, self.time_ns.to_le_bytes()).field(TAG_DEVICE, self.device.0);
        if let Some(vault) = &self.vault {
            out.field(TAG_VAULT, vault.0);
        }
        if self.refused > 0 {
            out.field(TAG_REFUSED, self.refused.to_le_bytes());
        }
        let texts =
            [(TAG_USER, &self.user), (TAG_DEED, &self.deed), (TAG_NAME, &self.name), (TAG_DETAIL, &self.detail)];
        for (tag, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
            out.field(tag, cut(text));
        }
        [&[VERSION], &out.finish()[..]].concat()
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// Bytes that no entry has.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut r = Reader::new("audit entry", bytes);
        if bytes.len() > MAX_ENTRY {
            return Err(r.error("a length within the limit"));
        }
        r.expect(&[VERSION], "version 1")?;
        let mut out = Self::default();
        let mut required = 0;
        let unknown = r.clone().record(|tag, r| {
            match tag {
                TAG_SEQ => (out.seq, required) = (r.u64()?, required + 1),
                TAG_EPOCH => (out.epoch, required) = (r.u64()?, required + 1),
                TAG_TIME => (out.time_ns, required) = (r.i64()?, required + 1),
                TAG_DEVICE => (out.device, required) = (PublicKey(r.array()?), required + 1),
                TAG_USER => out.user = text(r)?,
                TAG_DEED => out.deed = text(r)?,
                TAG_VAULT => out.vault = Some(VaultId(r.array()?)),
                TAG_NAME => out.name = text(r)?,
                TAG_DETAIL => out.detail = text(r)?,
                TAG_REFUSED => out.refused = r.u64()?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        if required != 4 || !unknown.is_empty() || out.encode() != bytes {
            return Err(r.error("all fields that must be there, in their only form"));
        }
        Ok(out)
    }
}

fn cut(text: &str) -> &[u8] {
    let mut len = text.len().min(MAX_AUDIT_TEXT);
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    &text.as_bytes()[..len]
}

fn text(r: &mut Reader<'_>) -> Result<String, FormatError> {
    let bytes = r.rest();
    if bytes.is_empty() || bytes.len() > MAX_AUDIT_TEXT {
        return Err(r.error("a text within the limit"));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| r.error("UTF-8"))?.to_owned();
    r.take(bytes.len())?;
    Ok(text)
}

/// How far a log goes: its newest entry, and the hash that stands for all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    /// The number of the newest entry; 0 for an empty log.
    pub seq: u64,
    /// Its hash.
    pub hash: Sum,
}

wire!(struct Head { seq, hash });

impl Head {
    /// The head after an entry with these bytes.
    #[must_use]
    pub fn after(&self, bytes: &[u8]) -> Self {
        Self { seq: self.seq + 1, hash: link(&self.hash, bytes) }
    }
}

/// `BLAKE3(previous hash ‖ entry)`; before the first entry the hash is zero.
pub fn link(previous: &Sum, entry: &[u8]) -> Sum {
    Sum::of(&[previous.as_bytes(), entry].concat())
}

/// An entry with its place in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chained {
    /// The number under which it is kept.
    pub seq: u64,
    /// The hash that is kept with it.
    pub hash: Sum,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

wire!(struct Chained { seq, hash, bytes });

/// A part of the log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditPage {
    /// Entries in order. For who sees one vault only: those of the vault, which cannot be verified without the others.
    pub entries: Vec<Chained>,
    /// Where the next page begins: ask for what is after this number.
    pub next: u64,
    /// Whether there may be more now.
    pub more: bool,
    /// The head of the whole log.
    pub head: Head,
}

wire!(struct AuditPage { entries, next, more, head });

/// What is wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The entry, its hash, or everything up to the entry before is not what was written.
    #[error("entry {0} was changed, or the chain before it")]
    Changed(u64),
    /// Entries are not there.
    #[error("entries {from} to {to} are missing")]
    Missing {
        /// The first.
        from: u64,
        /// The last.
        to: u64,
    },
    /// An entry stands in another place.
    #[error("entry {is} stands in the place of {at}")]
    Moved {
        /// Where it stands.
        at: u64,
        /// What it is.
        is: u64,
    },
    /// An entry stands behind the newest one.
    #[error("entry {0} was added by another hand")]
    Inserted(u64),
    /// The log is another than the one whose head was remembered.
    #[error("up to entry {0} it is another log than it was")]
    Rewritten(u64),
}

wire!(enum Fault as "fault of the audit log" {
    0 = Changed(seq), 1 = Missing { from, to }, 2 = Moved { at, is }, 3 = Inserted(seq), 4 = Rewritten(seq),
});

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    /// Entries looked at.
    pub entries: u64,
    /// The newest entry that is kept, and the hash that stands for all of them: worth writing down elsewhere.
    pub head: Head,
    /// What is wrong, in order, at most [`MAX_FAULTS`].
    pub faults: Vec<Fault>,
}

wire!(struct Verdict { entries, head, faults });

/// Verifies a log, entry by entry in the order of their numbers.
#[derive(Debug, Default)]
pub struct Chain {
    verdict: Verdict,
    /// Heads that somebody remembers, to be met on the way.
    known: Vec<Head>,
}

impl Chain {
    /// Begins before the first entry. `known`: heads that were remembered; each must be met.
    pub fn new(known: &[Head]) -> Self {
        let mut known = known.to_vec();
        known.sort_by_key(|head| head.seq);
        Self { verdict: Verdict::default(), known }
    }

    /// The next entry.
    pub fn take(&mut self, entry: &Chained) {
        let Head { seq: last, hash: previous } = self.verdict.head;
        self.verdict.entries += 1;
        if entry.seq <= last {
            return self.fault(Fault::Inserted(entry.seq));
        }
        let missing = entry.seq > last + 1;
        if missing {
            self.fault(Fault::Missing { from: last + 1, to: entry.seq - 1 });
        }
        match Entry::decode(&entry.bytes) {
            Ok(read) if read.seq != entry.seq => self.fault(Fault::Moved { at: entry.seq, is: read.seq }),
            Ok(_) if missing || entry.hash == link(&previous, &entry.bytes) => {}
            _ => self.fault(Fault::Changed(entry.seq)),
        }
        self.verdict.head = Head { seq: entry.seq, hash: entry.hash };
        while let Some(known) = self.known.first().copied().filter(|known| known.seq <= entry.seq) {
            self.known.remove(0);
            if known.seq == entry.seq && known.hash != entry.hash {
                self.fault(Fault::Rewritten(known.seq));
            }
        }
    }

    /// After the last entry: `head` is what the index remembers.
    pub fn finish(mut self, head: Head) -> Verdict {
        let last = self.verdict.head;
        let expected = self.known.iter().map(|known| known.seq).chain([head.seq]).max().unwrap_or(0);
        if last.seq < expected {
            self.fault(Fault::Missing { from: last.seq + 1, to: expected });
        } else if last.seq > head.seq {
            self.fault(Fault::Inserted(head.seq + 1));
        } else if last.hash != head.hash {
            self.fault(Fault::Rewritten(head.seq));
        }
        self.verdict
    }

    fn fault(&mut self, fault: Fault) {
        if self.verdict.faults.len() < MAX_FAULTS {
            self.verdict.faults.push(fault);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(seq: u64) -> Entry {
        Entry {
            seq,
            epoch: seq + 10,
            time_ns: -2,
            device: PublicKey([4; 32]),
            user: "ada".into(),
            deed: "forget".into(),
            vault: Some(VaultId([7; 16])),
            name: "laptop".into(),
            detail: "version 3".into(),
            refused: 0,
        }
    }

    fn log(entries: u64) -> (Vec<Chained>, Head) {
        let mut head = Head::default();
        let mut out = Vec::new();
        for seq in 1..=entries {
            let bytes = entry(seq).encode();
            head = head.after(&bytes);
            out.push(Chained { seq, hash: head.hash, bytes });
        }
        (out, head)
    }

    fn faults(log: &[Chained], head: Head, known: &[Head]) -> Vec<Fault> {
        let mut chain = Chain::new(known);
        log.iter().for_each(|entry| chain.take(entry));
        chain.finish(head).faults
    }

    #[test]
    fn an_entry_has_golden_bytes_and_reads_back() {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let fields = [
            "01",
            "03080100000000000000",
            "05080b00000000000000",
            "0708feffffffffffffff",
            &format!("0920{}", "04".repeat(32)),
            "0b03616461",
            "0d06666f72676574",
            &format!("0f10{}", "07".repeat(16)),
            "11066c6170746f70",
            "130976657273696f6e2033",
        ];
        let golden = fields.concat();
        assert_eq!(hex(&entry(1).encode()), golden);
        let refused = Entry { refused: 3, ..entry(1) };
        assert_eq!(hex(&refused.encode()), format!("{golden}15080300000000000000"));
        let bare = Entry { seq: 1, ..Entry::default() };
        for entry in [entry(1), refused, bare] {
            assert_eq!(Entry::decode(&entry.encode()), Ok(entry));
        }
    }

    #[test]
    fn an_entry_cut_anywhere_or_longer_is_refused() {
        let bytes = entry(1).encode();
        for len in 0..bytes.len() {
            // An entry may end where an optional field begins; then it is another entry, and the chain finds it.
            if let Ok(read) = Entry::decode(&bytes[..len]) {
                assert_ne!(read, entry(1), "cut at {len}");
            }
        }
        assert!(Entry::decode(&[&bytes[..], &[0]].concat()).is_err());
        assert!(Entry::decode(&[&[2], &bytes[1..]].concat()).is_err(), "another version");
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        let long = Entry { name: "ä".repeat(MAX_AUDIT_TEXT), ..entry(1) };
        let read = Entry::decode(&long.encode()).unwrap();
        assert_eq!(read.name, "ä".repeat(MAX_AUDIT_TEXT / 2));
    }

    #[test]
    fn a_whole_log_has_no_faults() {
        for entries in [0, 1, 9] {
            let (log, head) = log(entries);
            assert_eq!(faults(&log, head, &[head]), []);
        }
        let (nine, head) = log(9);
        assert_eq!(faults(&nine, head, &[log(4).1, log(9).1]), []);
    }

    #[test]
    fn every_changed_byte_is_found_and_its_entry_named() {
        let (good, head) = log(5);
        for n in 0..5 {
            for at in 0..good[n].bytes.len() {
                let mut bad = good.clone();
                bad[n].bytes[at] ^= 1;
                let found = faults(&bad, head, &[]);
                let named =
                    |f: &Fault| matches!(f, Fault::Changed(s) | Fault::Moved { at: s, .. } if *s == n as u64 + 1);
                assert!(found.first().is_some_and(named), "entry {}, byte {at}: {found:?}", n + 1);
            }
        }
    }

    #[test]
    fn a_removed_an_inserted_and_a_moved_entry_are_found_and_named() {
        let (good, head) = log(5);
        for n in 0..5usize {
            let mut removed = good.clone();
            removed.remove(n);
            let seq = n as u64 + 1;
            assert_eq!(faults(&removed, head, &[]), [Fault::Missing { from: seq, to: seq }]);

            let mut inserted = good.clone();
            inserted.insert(n, good[n].clone());
            (n + 1..6).for_each(|at| inserted[at].seq += 1);
            assert_eq!(faults(&inserted, head, &[])[0], Fault::Moved { at: seq + 1, is: seq });
        }
        for (a, b) in [(0, 1), (1, 3), (0, 4)] {
            let mut moved = good.clone();
            moved.swap(a, b);
            (moved[a].seq, moved[b].seq) = (a as u64 + 1, b as u64 + 1);
            assert_eq!(faults(&moved, head, &[])[0], Fault::Moved { at: a as u64 + 1, is: b as u64 + 1 });
        }
        let added = good[4].clone();
        let after = [&good[..], &[Chained { seq: 6, ..added }]].concat();
        assert!(faults(&after, head, &[]).contains(&Fault::Inserted(6)));
    }

    #[test]
    fn a_log_written_anew_is_found_by_a_remembered_head() {
        let (good, head) = log(5);
        let mut forged = Head::default();
        let mut anew = Vec::new();
        for seq in 1..=5 {
            let bytes = Entry { name: "nothing".into(), ..entry(seq) }.encode();
            forged = forged.after(&bytes);
            anew.push(Chained { seq, hash: forged.hash, bytes });
        }
        assert_eq!(faults(&anew, head, &[]), [Fault::Rewritten(5)], "the index remembers");
        let third = Head { seq: 3, hash: good[2].hash };
        assert_eq!(faults(&anew, forged, &[third]), [Fault::Rewritten(3)], "somebody else does");
        assert_eq!(faults(&good[..2], log(2).1, &[third]), [Fault::Missing { from: 3, to: 3 }]);
    }
}
