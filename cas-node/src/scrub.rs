//! Verifies what is stored, in order of ids, a step at a time.
//!
//! Promise: every stored block is read within one round, and those already known to be damaged are named in it.

use crate::index::Region;
use crate::scan::{Found, Scan};
use crate::segment::{Beginning, SEGMENT_HEADER};
use crate::store::Store;
use cas_core::id::BlockId;
use cas_net::{Node, Result, Scrubbed, ServiceError};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::ops::Bound;

/// Places looked up at once.
const STEP: usize = 1024;

/// Reads about `byte_limit` bytes of stored blocks behind `after`.
pub fn scrub(store: &Store, after: Option<BlockId>, byte_limit: u64) -> Result<Scrubbed> {
    let mut scrubbed = Scrubbed::default();
    let mut at = after;
    loop {
        let listed = store.shared.read().places.list(at, STEP)?;
        for (id, place) in &listed {
            name_lost(store, at, Some(*id), &mut scrubbed);
            at = Some(*id);
            scrubbed.blocks += 1;
            scrubbed.bytes += u64::from(place.len);
            match store.get(id) {
                // Deleted meanwhile.
                Ok(_) | Err(ServiceError::NotFound { .. }) => {}
                Err(e @ ServiceError::Damaged { .. }) => scrubbed.damaged.push((*id, e.to_string())),
                Err(e) => return Err(e),
            }
            if scrubbed.bytes >= byte_limit {
                scrubbed.next = at;
                return Ok(scrubbed);
            }
        }
        if listed.is_empty() {
            name_lost(store, at, None, &mut scrubbed);
            return Ok(scrubbed);
        }
    }
}

/// Bytes of segments that are no records though they were written once.
pub fn regions(store: &Store) -> Result<Vec<Region>> {
    let files = &store.shared.files;
    let (known, numbers): (Vec<Region>, Vec<u32>) = {
        let places = &store.shared.read().places;
        (places.regions.clone(), places.usage.keys().copied().collect())
    };
    let mut regions: BTreeSet<Region> = known.into_iter().collect();
    for number in numbers.iter().copied() {
        let (file, beginning, salt) = match files.begin(number) {
            // Compacted meanwhile.
            Err(ServiceError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => continue,
            begun => begun?,
        };
        let is_good = matches!(beginning, Beginning::Good(_));
        if !is_good {
            regions.insert(Region { segment: number, from: 0, to: SEGMENT_HEADER });
        }
        let newest = is_good && numbers.last() == Some(&number);
        let failed = |e| ServiceError::io(format!("read {}", files.path(number).display()), e);
        let mut scan = Scan::new(&*file, salt, newest, 0).map_err(failed)?;
        while let Some(found) = scan.step().map_err(failed)? {
            if let Found::Damage { from, to } = found {
                regions.insert(Region { segment: number, from, to });
            }
        }
    }
    Ok(regions.into_iter().collect())
}

/// Names damaged blocks that are not listed any more, between two ids.
fn name_lost(store: &Store, after: Option<BlockId>, before: Option<BlockId>, scrubbed: &mut Scrubbed) {
    let state = store.shared.read();
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    let to = before.map_or(Bound::Unbounded, Bound::Excluded);
    let lost =
        state.damaged.range((from, to)).map(|(id, damaged)| (*id, format!("block {id} is damaged: {}", damaged.why)));
    scrubbed.damaged.extend(lost);
}
