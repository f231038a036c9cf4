//! `cas undelete`: versions back from the trash.

use crate::exit::Exit;
use crate::workplace::Workplace;
use cas_client::reference::Reference;
use cas_client::store::{Store, now_ns};
use cas_client::{Result, forget};
use cas_net::{SnapshotRow, SnapshotState};
use clap::Args;
use serde_json::json;

/// Bring forgotten versions back, as long as they are in the trash
///
/// cas snapshots --trash shows what is there.
#[derive(Debug, Args)]
pub struct Undelete {
    /// Versions: NAME@3 or an id
    #[arg(required = true, value_name = "REF")]
    references: Vec<String>,
}

impl Undelete {
    /// Runs it.
    pub fn run(self, work: &Workplace) -> Result<Exit> {
        let store = work.open()?;
        let done = self.undelete(work, &store);
        let closed = store.close();
        done?;
        closed?;
        Ok(Exit::Ok)
    }

    fn undelete(&self, work: &Workplace, store: &Store) -> Result<()> {
        let vault = work.vault(store)?;
        let mut rows = store.index().snapshots(&vault.id(), None, true)?;
        rows.retain(|row| matches!(row.state, SnapshotState::Trash { .. }));
        let mut chosen: Vec<SnapshotRow> = Vec::new();
        for text in &self.references {
            let reference = Reference::parse(text, crate::time::local_offset_s())?;
            chosen.push(reference.choose(&rows)?.clone());
        }
        forget::undelete(store, &vault, &chosen, now_ns(), &mut |row| {
            if work.printer.json() {
                let id = row.snapshot.to_string();
                work.printer.object(
                    &json!({"message_type": "undeleted", "name": row.name, "version": row.seq, "snapshot_id": id}),
                );
            } else {
                work.printer.say(format!("{}@{} {} is back", row.name, row.seq, row.snapshot.short()));
            }
        })
    }
}
