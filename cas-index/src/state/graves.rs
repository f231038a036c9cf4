//! Graves: objects of the history of names whose rows are gone, and that nodes may still hold. DESIGN §7.1, §11.
//!
//! A row goes when the members that are not away have answered. What a node keeps that was a member before a move, or was away,
//! is no copy that anybody reads; but a rebuild from nodes reads all of it, and a snapshot record that was left somewhere would be
//! a version again. So such objects are deleted until every node that may come back has said that it does not have them, whether it
//! is a member or not, and what tells a rebuild that they are over (a removal, a return: the table *stubs*) stays until then.
//! Deletes here go under the start of the oldest live session: they cannot reach what is put again. Not here: who is asked (the planner).

use super::damaged;
use crate::tables::{Table, Tables};
use cas_core::codec::{Reader, put_varint};
use cas_core::id::BlockId;
use cas_net::Result;

/// An object has no row any more, and may be anywhere.
pub fn open(tables: &mut impl Tables, id: &BlockId) {
    tables.put(Table::Graves, id.as_bytes(), Vec::new());
}

/// It has a row again.
pub fn close(tables: &mut impl Tables, id: &BlockId) -> Result<()> {
    if is_open(tables, id)? {
        tables.remove(Table::Graves, id.as_bytes());
    }
    Ok(())
}

/// Whether a node may still hold it.
pub fn is_open(tables: &impl Tables, id: &BlockId) -> Result<bool> {
    Ok(tables.get(Table::Graves, id.as_bytes())?.is_some())
}

/// A node has said that it does not have an object. Answers whether nobody has it now: then it is forgotten.
pub fn answered(tables: &mut impl Tables, id: &BlockId, node: u32, keepers: &[u32]) -> Result<bool> {
    let Some(bytes) = tables.get(Table::Graves, id.as_bytes())? else { return Ok(false) };
    let mut without = without(&bytes)?;
    if !without.contains(&node) {
        without.push(node);
    }
    if keepers.iter().all(|keeper| without.contains(keeper)) {
        tables.remove(Table::Graves, id.as_bytes());
        return Ok(true);
    }
    let mut value = Vec::new();
    without.iter().for_each(|node| put_varint(&mut value, (*node).into()));
    tables.put(Table::Graves, id.as_bytes(), value);
    Ok(false)
}

/// Objects that a node is to delete, of those from `from` on, looking at no more than `step` of them; and where to go on, if there
/// are more.
pub fn asked(
    tables: &impl Tables,
    from: &[u8],
    step: usize,
    node: u32,
    keepers: &[u32],
) -> Result<(Vec<BlockId>, Option<Vec<u8>>)> {
    let (mut out, mut next, mut seen) = (Vec::new(), None, 0);
    tables.scan(Table::Graves, from, &mut |key, value| {
        if seen == step {
            next = Some(key.to_vec());
            return Ok(false);
        }
        seen += 1;
        let without = without(value)?;
        // If the last one who was waited for was given up, another answer ends it.
        let is_over = keepers.iter().all(|keeper| without.contains(keeper));
        if is_over || !without.contains(&node) {
            out.push(BlockId(key.try_into().map_err(|_| damaged("graves", "has a key of another length"))?));
        }
        Ok(true)
    })?;
    Ok((out, next))
}

fn without(bytes: &[u8]) -> Result<Vec<u32>> {
    let mut r = Reader::new("grave row", bytes);
    let mut out = Vec::new();
    while !r.is_empty() {
        out.push(r.varint().map_err(|e| damaged("graves", e.to_string()))? as u32);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::MemTables;

    const ID: BlockId = BlockId([7; 32]);

    #[test]
    fn an_object_is_forgotten_when_everybody_who_may_come_back_has_said_no() {
        let mut tables = MemTables::default();
        assert!(!answered(&mut tables, &ID, 1, &[1]).unwrap(), "nobody asked");
        open(&mut tables, &ID);
        assert!(!answered(&mut tables, &ID, 300, &[1, 300]).unwrap());
        assert_eq!(tables.get(Table::Graves, ID.as_bytes()).unwrap().unwrap()[..], [0xac, 2]);
        assert_eq!(asked(&tables, &[], 9, 300, &[1, 300]).unwrap(), (vec![], None));
        assert_eq!(asked(&tables, &[], 9, 1, &[1, 300]).unwrap(), (vec![ID], None));
        assert!(is_open(&tables, &ID).unwrap());
        assert!(answered(&mut tables, &ID, 1, &[1, 300]).unwrap());
        assert!(!is_open(&tables, &ID).unwrap());
    }

    #[test]
    fn if_the_last_one_is_given_up_another_answer_ends_it() {
        let mut tables = MemTables::default();
        open(&mut tables, &ID);
        assert!(!answered(&mut tables, &ID, 1, &[1, 2]).unwrap());
        assert_eq!(asked(&tables, &[], 9, 1, &[1]).unwrap().0, [ID]);
        assert!(answered(&mut tables, &ID, 1, &[1]).unwrap());
    }

    #[test]
    fn what_is_put_again_is_not_deleted_and_a_look_goes_on_where_it_ended() {
        let mut tables = MemTables::default();
        for n in 0..5 {
            open(&mut tables, &BlockId([n; 32]));
        }
        close(&mut tables, &BlockId([3; 32])).unwrap();
        let (first, next) = asked(&tables, &[], 2, 1, &[1]).unwrap();
        let (second, end) = asked(&tables, &next.unwrap(), 2, 1, &[1]).unwrap();
        assert_eq!([first, second].concat(), [0, 1, 2, 4].map(|n| BlockId([n; 32])));
        assert_eq!(end, None);
    }
}
