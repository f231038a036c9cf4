//! `cas audit`: what was done and refused, and whether the log is the one it was.

use crate::exit::Exit;
use crate::workplace::{STOP, Workplace};
use crate::{escape, time};
use cas_client::Result;
use cas_client::audit::{self, SeenHead};
use cas_core::id::PublicKey;
use cas_net::rights::audit::{Entry, Head};
use clap::{Args, Subcommand};
use serde_json::json;

/// Show the audit log of a cluster: every change and every refusal
///
/// An owner or auditor of a vault sees what concerns it, an admin or an auditor of the system sees all.
#[derive(Debug, Args)]
pub struct Audit {
    #[command(subcommand)]
    command: Option<AuditCommand>,
    /// Only entries after this number
    #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
    after: u64,
    /// Only what was refused
    #[arg(long)]
    refused: bool,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Verify the hash chain on this machine, against the head that was seen here last time; damage is exit code 14
    ///
    /// Prints the head. Written down elsewhere and given again with --known, it shows that nobody rewrote the log up to there.
    Verify {
        /// A head that was written down: NUMBER:HASH; may be repeated
        #[arg(long, value_name = "HEAD", value_parser = head)]
        known: Vec<Head>,
    },
}

fn head(text: &str) -> std::result::Result<Head, String> {
    let wrong = || "expected NUMBER:HASH, as cas audit verify prints it".to_owned();
    let (seq, hash) = text.split_once(':').ok_or_else(wrong)?;
    Ok(Head { seq: seq.parse().map_err(|_| wrong())?, hash: hash.parse().map_err(|_| wrong())? })
}

impl Audit {
    /// Runs it.
    pub fn run(self, work: &Workplace) -> Result<Exit> {
        let cluster = work.cluster()?;
        let rights = &**cluster.rights();
        if let Some(AuditCommand::Verify { known }) = self.command {
            let seen = SeenHead::of(&work.places.state, &cluster.address().key);
            return verify(work, rights, &seen, known);
        }
        audit::read(rights, self.after, &STOP, &mut |page| {
            let entries = audit::entries(page)?;
            entries.iter().filter(|entry| entry.refused > 0 || !self.refused).for_each(|entry| tell(work, entry));
            Ok(())
        })?;
        Ok(Exit::Ok)
    }
}

fn verify(
    work: &Workplace,
    rights: &dyn cas_net::rights::Rights,
    seen: &SeenHead,
    mut known: Vec<Head>,
) -> Result<Exit> {
    known.extend(seen.read()?);
    let verdict = audit::verify(rights, &known, &STOP)?;
    let head = format!("{}:{}", verdict.head.seq, verdict.head.hash);
    let printer = &work.printer;
    if printer.json() {
        let faults: Vec<String> = verdict.faults.iter().map(ToString::to_string).collect();
        printer.object(&json!({
            "message_type": "summary", "entries": verdict.entries, "head": head, "faults": faults, "known": known.len(),
        }));
    } else {
        verdict.faults.iter().for_each(|fault| printer.must_say(format!("error: {fault}")));
        printer.say(format!("{} entries, {} heads remembered", verdict.entries, known.len()));
        printer.line(head);
    }
    if !verdict.faults.is_empty() {
        return Ok(Exit::Damaged);
    }
    seen.keep(&verdict.head)?;
    Ok(Exit::Ok)
}

fn tell(work: &Workplace, entry: &Entry) {
    let device = (entry.device != PublicKey::ZERO).then(|| entry.device.to_string());
    if work.printer.json() {
        work.printer.object(&json!({
            "number": entry.seq, "time": time::rfc3339(entry.time_ns), "user": entry.user, "device": device,
            "deed": entry.deed, "vault": entry.vault.map(|vault| vault.to_string()), "name": entry.name,
            "detail": entry.detail, "refused": entry.refused,
        }));
        return;
    }
    let short = device.map_or("the index itself".to_owned(), |mut device| {
        device.truncate(12);
        if entry.user.is_empty() { format!("device {device}") } else { format!("{} ({device})", entry.user) }
    });
    let mut text = format!("{:>6}  {}  {short}: {}", entry.seq, time::local(entry.time_ns), entry.deed);
    for part in [&entry.name, &entry.detail].into_iter().filter(|part| !part.is_empty()) {
        text.push_str(&format!(" {}", escape::text(part.as_bytes())));
    }
    if let Some(vault) = &entry.vault {
        let mut vault = vault.to_string();
        vault.truncate(8);
        text.push_str(&format!(" in vault {vault}"));
    }
    match entry.refused {
        0 => {}
        1 => text.push_str(": REFUSED"),
        often => text.push_str(&format!(": REFUSED {often} times")),
    }
    work.printer.line(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_reads_as_it_is_printed() {
        let known = head(&format!("12:{}", "0a".repeat(32))).unwrap();
        assert_eq!(known.seq, 12);
        assert_eq!(head(&format!("{}:{}", known.seq, known.hash)), Ok(known));
        assert!(head("12").is_err() && head("x:0a").is_err());
    }
}
