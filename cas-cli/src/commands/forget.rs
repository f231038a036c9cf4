//! `cas forget`: versions to the trash, named or by a policy.

use crate::exit::Exit;
use crate::keep::KeepOptions;
use crate::workplace::Workplace;
use cas_client::reference::Reference;
use cas_client::store::{Store, now_ns};
use cas_client::vault::Vault;
use cas_client::{ClientError, Result, forget};
use cas_core::retention::{KeepPolicy, Moment, Plan, Version};
use cas_net::SnapshotRow;
use clap::Args;
use serde_json::json;
use std::collections::BTreeMap;

/// Move versions to the trash: those named, or those that a policy does not keep
///
/// cas undelete brings them back until cas gc has emptied the trash.
#[derive(Debug, Args)]
pub struct Forget {
    /// Versions (NAME@3, an id), or with a policy the names it goes for [default: all names]
    #[arg(value_name = "REF")]
    references: Vec<String>,
    #[command(flatten)]
    keep: KeepOptions,
    /// Keep what has this tag; may be repeated
    #[arg(long, value_name = "TAG")]
    keep_tag: Vec<String>,
    /// Say what would be done, change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Empty the trash and collect at once: as cas gc --now
    #[arg(long)]
    prune: bool,
}

impl Forget {
    /// Runs it.
    pub fn run(self, work: &Workplace) -> Result<Exit> {
        let store = if self.prune { work.open_alone()? } else { work.open()? };
        let done = self.forget(work, &store);
        let closed = store.close();
        done?;
        closed?;
        Ok(Exit::Ok)
    }

    fn forget(&self, work: &Workplace, store: &Store) -> Result<()> {
        let vault = work.vault(store)?;
        let rows = store.index().snapshots(&vault.id(), None, false)?;
        let policy = self.policy();
        let chosen =
            if policy.is_empty() { self.named(&rows)? } else { self.by_policy(work, store, &vault, &rows, &policy)? };
        let printer = &work.printer;
        if self.dry_run {
            chosen.iter().for_each(|row| tell(work, row, "would be forgotten"));
            return Ok(());
        }
        forget::forget(store, &vault, &chosen, now_ns(), &mut |row| tell(work, row, "forgotten"))?;
        if chosen.is_empty() {
            printer.say("nothing to forget");
        }
        if self.prune {
            super::gc::collect(work, store, true, 0)?;
            return Ok(());
        }
        if !chosen.is_empty() {
            printer.say("cas undelete brings them back until cas gc empties the trash, after 3 days");
        }
        Ok(())
    }

    /// Versions that are named. A name alone would be all of its history: that has to be said otherwise.
    fn named(&self, rows: &[SnapshotRow]) -> Result<Vec<SnapshotRow>> {
        if self.references.is_empty() {
            return Err(ClientError::Usage(
                "name versions (NAME@3, an id) or give a policy (--keep-daily 7 …)".to_owned(),
            ));
        }
        let mut chosen: Vec<SnapshotRow> = Vec::new();
        for text in &self.references {
            if rows.iter().any(|r| r.name == *text) {
                return Err(ClientError::Usage(format!(
                    "{text} is a name with a history: name a version, like {text}@latest, or give a policy, like --keep-last 7"
                )));
            }
            let reference = Reference::parse(text, crate::time::local_offset_s())?;
            if !reference.path.is_empty() {
                return Err(ClientError::Usage(format!("{text}: whole versions are forgotten, not paths in them")));
            }
            let row = reference.choose(rows)?;
            if !chosen.contains(row) {
                chosen.push(row.clone());
            }
        }
        Ok(chosen)
    }

    fn policy(&self) -> KeepPolicy {
        KeepPolicy { tags: self.keep_tag.iter().map(|tag| vec![tag.clone()]).collect(), ..self.keep.policy() }
    }

    fn by_policy(
        &self,
        work: &Workplace,
        store: &Store,
        vault: &Vault,
        rows: &[SnapshotRow],
        policy: &KeepPolicy,
    ) -> Result<Vec<SnapshotRow>> {
        let mut names: BTreeMap<&str, Vec<&SnapshotRow>> = BTreeMap::new();
        for row in rows.iter().filter(|r| self.references.is_empty() || self.references.contains(&r.name)) {
            names.entry(&row.name).or_default().push(row);
        }
        if let Some(missing) = self.references.iter().find(|name| !names.contains_key(name.as_str())) {
            return Err(ClientError::NotFound { what: "name", name: missing.clone() });
        }
        let mut chosen = Vec::new();
        for versions in names.into_values() {
            let plan = plan(store, vault, &versions, policy)?;
            for (row, reasons) in plan.kept() {
                let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
                work.printer.explain(format!("{}@{} kept: {}", row.name, row.seq, reasons.join(", ")));
            }
            chosen.extend(plan.removed().map(|row| (*row).clone()));
        }
        Ok(chosen)
    }
}

fn plan<'a>(
    store: &Store,
    vault: &Vault,
    versions: &[&'a SnapshotRow],
    policy: &KeepPolicy,
) -> Result<Plan<&'a SnapshotRow>> {
    let mut found = Vec::with_capacity(versions.len());
    for row in versions {
        let tags = if policy.tags.is_empty() {
            Vec::new()
        } else {
            vault.details(&vault.record_of(store, &row.snapshot)?)?.tags
        };
        let made = Moment { time_ns: row.time_ns, utc_offset_s: crate::time::offset_s_at(row.time_ns) };
        found.push(Version { key: *row, made, tags });
    }
    Ok(policy.plan(found, now_ns()))
}

fn tell(work: &Workplace, row: &SnapshotRow, what: &str) {
    if work.printer.json() {
        work.printer.object(&json!({
            "message_type": what.replace(' ', "_"),
            "name": row.name,
            "version": row.seq,
            "snapshot_id": row.snapshot.to_string(),
            "time": crate::time::rfc3339(row.time_ns),
        }));
    } else {
        work.printer.say(format!("{}@{} {} {what}", row.name, row.seq, row.snapshot.short()));
    }
}
