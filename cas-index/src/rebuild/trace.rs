//! What a version reaches: edges and counts, page by page.

use super::Work;
use crate::state::blocks::{Row, State, row};
use crate::tables::{Table, Tables};
use cas_core::id::{BlockId, Kind, Sum};
use cas_net::Result;
use std::collections::HashSet;

impl Work<'_> {
    /// Counts one reference on a block; one that no node has gets a row that says so.
    pub(super) fn hold(&mut self, id: &BlockId, domain: u32) -> Result<Row> {
        let mut row = match row(&self.tables, id)? {
            Some(row) => row,
            None => {
                self.found.unreadable.push((*id, "no node has it".into()));
                let (state, sum, zero) = (State::Bad(self.meta.epoch), Sum::ZERO, self.meta.epoch);
                Row { kind: Kind::Data, state, sum, count: 0, len: 0, domain, device: 0, zero }
            }
        };
        row.count += 1;
        self.put(id, row);
        Ok(row)
    }

    /// Counts the root, and the edges of every page that was not reached before.
    pub(super) fn trace(&mut self, root: &BlockId, domain: u32) -> Result<()> {
        let mut pages = Vec::new();
        if self.hold(root, domain)?.kind.has_children() {
            pages.push(*root);
        }
        while let Some(page) = pages.pop() {
            if self.tables.get(Table::Kids, page.as_bytes())?.is_some() {
                continue;
            }
            match self.fetch_children(&page) {
                Ok(children) => {
                    let edges = children.iter().flat_map(|child| child.0).collect();
                    self.tables.put(Table::Kids, page.as_bytes(), edges);
                    for child in children {
                        if self.hold(&child, domain)?.kind.has_children() {
                            pages.push(child);
                        }
                    }
                    self.spill()?;
                }
                Err(why) => self.mark_unreadable(&page, why)?,
            }
        }
        Ok(())
    }

    /// Whether something is gone that a root reaches and that nothing which lives needs: then the collector was there. What lives
    /// has been traced before; what that lacks is damage, and says nothing of the collector.
    pub(super) fn is_gone(&self, root: &BlockId) -> Result<bool> {
        let (mut open, mut seen) = (vec![*root], HashSet::new());
        while let Some(id) = open.pop() {
            let Some(row) = row(&self.tables, &id)? else { return Ok(true) };
            let is_known = row.state != State::Live || self.tables.get(Table::Kids, id.as_bytes())?.is_some();
            if !row.kind.has_children() || is_known || !seen.insert(id) {
                continue;
            }
            // One that is there and does not read is damage, too.
            open.extend(self.fetch_children(&id).unwrap_or_default());
        }
        Ok(false)
    }

    fn mark_unreadable(&mut self, page: &BlockId, why: String) -> Result<()> {
        if let Some(row) = row(&self.tables, page)?.filter(|row| row.state == State::Live) {
            self.found.unreadable.push((*page, why));
            self.put(page, Row { state: State::Bad(self.meta.epoch), ..row });
        }
        Ok(())
    }
}
