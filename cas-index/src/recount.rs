//! Recount: all counts against the edges they should follow from. Reports, never changes.
//!
//! Works in passes over ranges of ids, so that memory is bounded whatever the number of blocks. Commands wait
//! until it is through: it compares one state.

use crate::state::blocks::{Row, split_ids};
use crate::state::snapshots::{Latest, each_version};
use crate::state::{Meta, damaged};
use crate::tables::{Table, Tables};
use cas_core::id::BlockId;
use cas_net::{Recount, Result};
use std::collections::BTreeMap;

/// Blocks counted in one pass.
const PASS: u64 = 2 << 20;

/// Compares every count with a recount from pages, versions, keyrings, removals and returns.
pub fn recount(tables: &impl Tables) -> Result<Recount> {
    let meta = Meta::load(tables)?;
    let passes = ((meta.live + meta.bad + meta.condemned) / PASS + 1).min(256);
    let mut out = Recount::default();
    for pass in 0..passes {
        // Ranges of the first byte: ids are hashes, so they are about equally full.
        let range = (pass * 256 / passes)..((pass + 1) * 256 / passes);
        one_pass(tables, &|id| range.contains(&u64::from(id.0[0])), range.start as u8, &mut out)?;
    }
    Ok(out)
}

fn one_pass(tables: &impl Tables, mine: &dyn Fn(&BlockId) -> bool, from: u8, out: &mut Recount) -> Result<()> {
    let mut counts: BTreeMap<BlockId, u32> = BTreeMap::new();
    each_reference(tables, &mut |id| {
        if mine(id) {
            *counts.entry(*id).or_default() += 1;
            out.edges += 1;
        }
    })?;
    tables.scan(Table::Blocks, &[from], &mut |key, value| {
        let id = BlockId(key.try_into().map_err(|_| damaged("blocks", "has a key of another length"))?);
        if !mine(&id) {
            return Ok(false);
        }
        let row = Row::decode(value).map_err(|e| damaged(id, e.to_string()))?;
        let counted = counts.remove(&id).unwrap_or(0);
        out.rows += 1;
        if row.is_condemned() && counted > 0 {
            out.dangling.push(id);
        } else if row.count != counted {
            out.wrong.push((id, row.count, counted));
        }
        Ok(true)
    })?;
    out.dangling.extend(counts.into_keys());
    Ok(())
}

/// Everything that counts one.
fn each_reference(tables: &impl Tables, visit: &mut dyn FnMut(&BlockId)) -> Result<()> {
    tables.scan(Table::Kids, &[], &mut |_, children| {
        split_ids(children).iter().for_each(&mut *visit);
        Ok(true)
    })?;
    each_version(tables, |version| {
        visit(&version.row.root);
        visit(&version.row.object);
        version.removal().iter().for_each(&mut *visit);
        Ok(())
    })?;
    tables.scan(Table::Names, &[], &mut |_, value| {
        let latest = Latest::decode(value).map_err(|e| damaged("names", e.to_string()))?;
        latest.stub.iter().for_each(|(removal, _)| visit(removal));
        Ok(true)
    })?;
    for table in [Table::Stubs, Table::Keyrings] {
        tables.scan(table, &[], &mut |_, ids| {
            split_ids(ids).iter().for_each(&mut *visit);
            Ok(true)
        })?;
    }
    Ok(())
}
