//! What is stored, in order of ids, a page at a time.
//!
//! Promise: a page is one moment's truth of where blocks lie: each block that was there when the page was begun, and is
//! not deleted while it is answered, stands in it exactly once, also while compaction moves it. Between pages the
//! store goes on: what came behind the last id is in a later page, what came before it is not. So all pages together hold every
//! block that was there from the first page to the last, none twice. Whoever needs more (a partition is to be
//! counted, DESIGN §7.1) sets a floor first: what is listed afterwards cannot be deleted by older orders.

use crate::index::Place;
use crate::store::Store;
use cas_core::id::{BlockId, DomainId, Sum};
use cas_net::{Result, ServiceError, StoredBlock};

/// How often a header is looked for again because compaction moved the block meanwhile.
const ATTEMPTS: usize = 8;
/// Places looked up at once in one partition.
const PARTITION_STEP: usize = 512;

/// At most `limit` blocks behind `after`; none only at the end.
pub fn list(store: &Store, after: Option<BlockId>, limit: usize) -> Result<Vec<StoredBlock>> {
    let mut after = after;
    loop {
        let page = store.shared.read().places.list(after, limit)?;
        let Some((last, _)) = page.last() else { return Ok(Vec::new()) };
        after = Some(*last);
        let listed = with_headers(store, &page)?;
        // An empty page would say that this is the end.
        if !listed.is_empty() {
            return Ok(listed);
        }
    }
}

/// At most `limit` blocks of a partition behind `after`; none only at its end.
pub fn list_partition(store: &Store, partition: u16, after: Option<BlockId>, limit: usize) -> Result<Vec<StoredBlock>> {
    let mut after = after.max(before(partition));
    let mut listed = Vec::new();
    while listed.len() < limit {
        // Little is looked at that lies behind the partition: most are small.
        let step = (limit - listed.len()).min(PARTITION_STEP);
        let mut page = store.shared.read().places.list(after, step)?;
        let found = page.len();
        page.retain(|(id, _)| id.partition() == partition);
        let Some((last, _)) = page.last() else { break };
        after = Some(*last);
        listed.extend(with_headers(store, &page)?);
        if page.len() < found {
            break;
        }
    }
    Ok(listed)
}

/// The id behind which the partition begins; none if that is the first.
fn before(partition: u16) -> Option<BlockId> {
    let first = u16::checked_sub(partition << 4, 1)?;
    let mut id = [0xff; BlockId::LEN];
    id[..2].copy_from_slice(&first.to_be_bytes());
    Some(BlockId(id))
}

/// Reads what only the records know, in the order in which they lie.
fn with_headers(store: &Store, page: &[(BlockId, Place)]) -> Result<Vec<StoredBlock>> {
    let mut order: Vec<usize> = (0..page.len()).collect();
    order.sort_unstable_by_key(|i| page[*i].1.at);
    let mut listed: Vec<Option<StoredBlock>> = vec![None; page.len()];
    for i in order {
        let (id, place) = page[i];
        listed[i] = described(store, id, place)?;
    }
    Ok(listed.into_iter().flatten().collect())
}

/// A block with what its record says; nothing if it was deleted meanwhile. One whose record is damaged has an empty sum: whoever
/// compares sees it.
fn described(store: &Store, id: BlockId, mut place: Place) -> Result<Option<StoredBlock>> {
    for _ in 0..ATTEMPTS {
        let (domain, sum) = match store.shared.files.header(&id, &place) {
            Ok(header) => (header.domain, header.sum),
            Err(error) => {
                let Some(now) = store.shared.read().places.get(&id)? else { return Ok(None) };
                if now.at != place.at {
                    place = now;
                    continue;
                }
                match error {
                    ServiceError::Damaged { .. } => (DomainId::ZERO, Sum::ZERO),
                    other => return Err(other),
                }
            }
        };
        let Place { len, put_epoch, kind, .. } = place;
        return Ok(Some(StoredBlock { id, domain, kind, sum, len, put_epoch }));
    }
    Err(ServiceError::Busy(format!("block {id} is being moved")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_begins_right_behind_the_last_id_of_the_one_before() {
        assert_eq!(before(0), None);
        for partition in [1, 2, 0x7ff, 0xfff] {
            let id = before(partition).unwrap();
            assert_eq!(id.partition(), partition - 1);
            assert!(id.0[2..].iter().all(|b| *b == 0xff) && id.0[1] & 0xf == 0xf);
        }
    }
}
