//! The audit log as the index keeps it: appended to, never changed. DESIGN §10; bytes: FORMAT §9.
//!
//! Promise: every entry is written by the command that it tells of. Refusals cannot make the log grow without bound: per
//! device and minute there are at most two entries, the first refusal and a count of the others; devices that nobody knows
//! count as one.
//! Not here: the bytes and the chain (`cas_net::rights::audit`).

use crate::rights::row::{HEAD, REFUSED, key};
use crate::state::{Meta, damaged};
use crate::tables::{Table, Tables};
use cas_core::codec::{Reader, put_varint};
use cas_core::id::{PublicKey, Sum, VaultId};
use cas_net::Result;
use cas_net::rights::audit::{AuditPage, Chain, Chained, Entry, Head, Verdict};

/// The time within which refusals are counted together, in nanoseconds: a minute.
pub const REFUSALS_NS: i64 = 60 * 1_000_000_000;
/// Entries that are looked through for one page.
const MAX_LOOK: u64 = 65_536;

/// What is written down about something that was done or refused.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Line {
    pub device: PublicKey,
    pub user: String,
    pub deed: String,
    pub vault: Option<VaultId>,
    pub name: String,
    pub detail: String,
}

/// How far the log goes.
pub fn head(tables: &impl Tables) -> Result<Head> {
    let Some(bytes) = tables.get(Table::Rights, &key(HEAD, &[]))? else { return Ok(Head::default()) };
    let error = || damaged("audit", "has a malformed head");
    let (seq, hash) = bytes.split_first_chunk::<8>().ok_or_else(error)?;
    Ok(Head { seq: u64::from_be_bytes(*seq), hash: Sum(hash.try_into().map_err(|_| error())?) })
}

/// Writes down what was done.
pub(crate) fn done(tables: &mut impl Tables, meta: &Meta, line: Line) -> Result<()> {
    append(tables, meta, line, 0)
}

/// Writes down what was refused, or counts it. `times`: how often.
pub(crate) fn refused(tables: &mut impl Tables, meta: &Meta, line: Line, times: u64) -> Result<()> {
    let key = key(REFUSED, &[line.device.as_bytes()]);
    let mut counter = Counter::of(tables, &key)?;
    if counter.is_over(meta.time_ns) {
        flush(tables, meta, &line.device, &counter)?;
        counter = Counter { since_ns: meta.time_ns, more: times - times.min(1) };
        append(tables, meta, line, times.min(1))?;
    } else {
        counter.more = counter.more.saturating_add(times);
    }
    tables.put(Table::Rights, &key, counter.encode());
    Ok(())
}

/// Writes down counts whose minute is over.
pub(crate) fn flush_refusals(tables: &mut impl Tables, meta: &Meta) -> Result<()> {
    let mut over = Vec::new();
    tables.scan_prefix(Table::Rights, &[REFUSED], &mut |key, bytes| {
        let counter = Counter::decode(bytes)?;
        if counter.is_over(meta.time_ns) {
            over.push((key.to_vec(), counter));
        }
        Ok(true)
    })?;
    for (key, counter) in over {
        let device = key[1..].try_into().map_err(|_| damaged("rights", "has a key of another length"))?;
        flush(tables, meta, &PublicKey(device), &counter)?;
        tables.remove(Table::Rights, &key);
    }
    Ok(())
}

fn flush(tables: &mut impl Tables, meta: &Meta, device: &PublicKey, counter: &Counter) -> Result<()> {
    if counter.more == 0 {
        return Ok(());
    }
    let user = crate::rights::row::Device::of(tables, device)?.map_or(String::new(), |row| row.user);
    let line = Line {
        device: *device,
        user,
        deed: "more refusals".into(),
        detail: format!("within a minute of {} ns", counter.since_ns),
        ..Line::default()
    };
    append(tables, meta, line, counter.more)
}

fn append(tables: &mut impl Tables, meta: &Meta, line: Line, refused: u64) -> Result<()> {
    let head = head(tables)?;
    let Line { device, user, deed, vault, name, detail } = line;
    let (epoch, time_ns) = (meta.epoch.0, meta.time_ns);
    let entry = Entry { seq: head.seq + 1, epoch, time_ns, device, user, deed, vault, name, detail, refused };
    let bytes = entry.encode();
    let head = head.after(&bytes);
    tables.put(Table::Audit, &head.seq.to_be_bytes(), [head.hash.as_bytes(), &bytes[..]].concat());
    tables.put(Table::Rights, &key(HEAD, &[]), [&head.seq.to_be_bytes()[..], head.hash.as_bytes()].concat());
    Ok(())
}

/// Entries after a number that `sees` lets through.
pub fn page(tables: &impl Tables, after: u64, limit: u32, sees: &dyn Fn(&Entry) -> bool) -> Result<AuditPage> {
    let mut page = AuditPage { next: after, head: head(tables)?, ..AuditPage::default() };
    let mut looked = 0;
    each(tables, after, &mut |entry| {
        if page.entries.len() >= limit as usize || looked >= MAX_LOOK {
            page.more = true;
            return Ok(false);
        }
        looked += 1;
        page.next = entry.seq;
        let read =
            Entry::decode(&entry.bytes).map_err(|e| damaged(format!("audit entry {}", entry.seq), e.to_string()));
        if sees(&read?) {
            page.entries.push(entry);
        }
        Ok(true)
    })?;
    Ok(page)
}

/// Verifies the whole log. `known`: heads that somebody remembers.
pub fn verify(tables: &impl Tables, known: &[Head]) -> Result<Verdict> {
    let mut chain = Chain::new(known);
    each(tables, 0, &mut |entry| {
        chain.take(&entry);
        Ok(true)
    })?;
    Ok(chain.finish(head(tables)?))
}

fn each(tables: &impl Tables, after: u64, visit: &mut dyn FnMut(Chained) -> Result<bool>) -> Result<()> {
    let Some(from) = after.checked_add(1) else { return Ok(()) };
    tables.scan(Table::Audit, &from.to_be_bytes(), &mut |key, value| {
        let seq = key.try_into().map(u64::from_be_bytes);
        let seq = seq.map_err(|_| damaged("audit", "has a key of another length"))?;
        let (hash, bytes) = value.split_first_chunk::<32>().unwrap_or((&[0; 32], value));
        visit(Chained { seq, hash: Sum(*hash), bytes: bytes.to_vec() })
    })
}

/// Refusals of a device within a minute.
struct Counter {
    since_ns: i64,
    /// Those that have no entry of their own.
    more: u64,
}

impl Counter {
    fn of(tables: &impl Tables, key: &[u8]) -> Result<Self> {
        let bytes = tables.get(Table::Rights, key)?;
        bytes.map_or(Ok(Self { since_ns: i64::MIN, more: 0 }), |bytes| Self::decode(&bytes))
    }

    fn is_over(&self, now_ns: i64) -> bool {
        now_ns.saturating_sub(self.since_ns) >= REFUSALS_NS
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = self.since_ns.to_le_bytes().to_vec();
        put_varint(&mut out, self.more);
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let mut r = Reader::new("refusals row", bytes);
        let read = (|| Ok(Self { since_ns: r.i64()?, more: r.varint()? }))();
        read.map_err(|e: cas_core::codec::FormatError| damaged("rights", e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::MemTables;
    use cas_core::id::Epoch;
    use cas_net::rights::audit::Fault;

    fn at(time_ns: i64) -> Meta {
        Meta { epoch: Epoch(5), time_ns, ..Meta::default() }
    }

    fn line(device: u8) -> Line {
        Line { device: PublicKey([device; 32]), deed: "push".into(), ..Line::default() }
    }

    #[test]
    fn what_is_written_verifies_and_every_hand_laid_on_it_is_found() {
        let mut tables = MemTables::default();
        (0..9).for_each(|n| done(&mut tables, &at(n), line(n as u8)).unwrap());
        let good = verify(&tables, &[]).unwrap();
        assert_eq!((good.entries, good.faults.len()), (9, 0));

        let mut changed = tables.clone();
        let mut row = tables.get(Table::Audit, &5u64.to_be_bytes()).unwrap().unwrap().into_owned();
        *row.last_mut().unwrap() ^= 1;
        changed.put(Table::Audit, &5u64.to_be_bytes(), row);
        assert_eq!(verify(&changed, &[]).unwrap().faults[0], Fault::Changed(5));

        for gone in 1..=9u64 {
            let mut removed = tables.clone();
            removed.remove(Table::Audit, &gone.to_be_bytes());
            assert_eq!(verify(&removed, &[good.head]).unwrap().faults[0], Fault::Missing { from: gone, to: gone });
        }
    }

    #[test]
    fn a_hostile_device_grows_the_log_by_two_entries_a_minute() {
        let mut tables = MemTables::default();
        let minutes = 10;
        for n in 0..minutes * 600 {
            refused(&mut tables, &at(n * REFUSALS_NS / 600), line(1), 3).unwrap();
        }
        flush_refusals(&mut tables, &at((minutes + 1) * REFUSALS_NS)).unwrap();
        let log = page(&tables, 0, 1000, &|_| true).unwrap();
        assert_eq!(log.entries.len() as i64, 2 * minutes);
        let counted: u64 = log.entries.iter().map(|e| Entry::decode(&e.bytes).unwrap().refused).sum();
        assert_eq!(counted as i64, minutes * 600 * 3, "and every refusal is counted");
        assert_eq!(verify(&tables, &[]).unwrap().faults, []);
    }

    #[test]
    fn pages_follow_one_another_and_show_what_may_be_seen() {
        let mut tables = MemTables::default();
        (0..10).for_each(|n| done(&mut tables, &at(n), line(n as u8 % 2)).unwrap());
        let (mut seen, mut after) = (Vec::new(), 0);
        loop {
            let page = page(&tables, after, 2, &|entry| entry.device.0[0] == 1).unwrap();
            seen.extend(page.entries.iter().map(|entry| entry.seq));
            after = page.next;
            if !page.more {
                break;
            }
        }
        assert_eq!(seen, [2, 4, 6, 8, 10]);
    }
}
