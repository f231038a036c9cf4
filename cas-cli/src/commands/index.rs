//! `cas index`: the index itself.

use crate::exit::Exit;
use crate::workplace::Workplace;
use cas_client::Result;
use cas_client::store::Store;
use clap::{Args, Subcommand};
use serde_json::json;

/// Look after the index of the store
#[derive(Debug, Args)]
pub struct Index {
    #[command(subcommand)]
    command: IndexCommand,
}

#[derive(Debug, Subcommand)]
enum IndexCommand {
    /// Make the index anew from the segments alone
    ///
    /// For a damaged or lost index. The old one is kept beside it, as index.old0 and so on.
    Rebuild,
}

impl Index {
    /// Runs it.
    pub fn run(self, work: &Workplace) -> Result<Exit> {
        let IndexCommand::Rebuild = self.command;
        let (store, rebuilt) = work.with_access(false, Store::rebuild_index)?;
        store.close()?;
        let printer = &work.printer;
        if printer.json() {
            printer.object(&json!({
                "message_type": "summary",
                "blocks": rebuilt.blocks,
                "orphans": rebuilt.orphans,
                "snapshots": rebuilt.live,
                "trash": rebuilt.trash,
                "unreadable": rebuilt.unreadable.iter().map(|(id, why)| json!({"block": id.to_string(), "reason": why})).collect::<Vec<_>>(),
                "skipped": rebuilt.skipped.iter().map(|(id, why)| json!({"object": id.to_string(), "reason": why})).collect::<Vec<_>>(),
            }));
        } else {
            for (id, why) in rebuilt.unreadable.iter().chain(&rebuilt.skipped) {
                printer.warn(format!("block {id}: {why}"));
            }
            printer.say(format!(
                "the index was made anew: {} snapshots, {} in the trash, {} blocks, {} that nothing needs",
                rebuilt.live, rebuilt.trash, rebuilt.blocks, rebuilt.orphans
            ));
        }
        let whole = rebuilt.unreadable.is_empty() && rebuilt.skipped.is_empty();
        Ok(if whole { Exit::Ok } else { Exit::Damaged })
    }
}
