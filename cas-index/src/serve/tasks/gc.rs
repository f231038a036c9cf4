//! The collector: empties the trash by age, then condemns what nobody references, step by step.
//!
//! What is condemned, the state machine decides: never what a live session protects. The deletes are carried by the answers
//! to beats and come back as answers of nodes; so many that wait for that hold the next step back, which
//! bounds both the queue and what one command looks at.

use super::{Job, retention};
use crate::serve::history::End;
use cas_core::id::BlockId;
use cas_net::{Condemned, GcHolder, Index as _, Result};
use std::time::Duration;

/// Blocks condemned in a whole step.
const FULL_STEP: usize = 8192;
/// And in one beside a push.
const SMALL_STEP: usize = 512;
/// Blocks whose deletes are not answered, at most.
const BACKLOG: usize = 16_384;
/// How long it waits for nodes to answer deletes while nothing else can be done.
const NODES: Duration = Duration::from_secs(10 * 60);

pub(super) fn run(job: &mut Job<'_>) -> Result<End> {
    let emptied = retention::empty_trash(job)?;
    job.note = format!("{emptied} versions left the trash");
    let mut stuck = Duration::ZERO;
    let mut known = job.tools.index.status()?.epoch;
    loop {
        let Some(is_full) = job.turn()? else { return Ok(End::Stopped) };
        let waiting = usize::try_from(job.tools.index.status()?.condemned).unwrap_or(usize::MAX);
        let step = if is_full { FULL_STEP } else { SMALL_STEP };
        if waiting >= BACKLOG {
            if stuck >= NODES {
                return Ok(End::Held(format!("nodes have not answered {waiting} deletes")));
            }
            job.tools.bell.sleep(job.tools.options.limits.pause);
            stuck += job.tools.options.limits.pause;
            continue;
        }
        stuck = Duration::ZERO;
        let step = job.tools.index.condemn((waiting + step).min(BACKLOG))?;
        count(job, &step, &mut known)?;
        if !step.more {
            return Ok(step.held.map_or(End::Done, |holder| End::Held(in_words(&holder))));
        }
    }
}

/// Counts what is newly condemned: old deletes stand in each step until they are answered.
fn count(job: &mut Job<'_>, step: &Condemned, known: &mut cas_core::id::Epoch) -> Result<()> {
    let new: Vec<BlockId> = step.deletes.iter().filter(|d| d.epoch > *known).map(|d| d.id).collect();
    *known = step.deletes.iter().map(|delete| delete.epoch).max().unwrap_or(*known).max(*known);
    job.items += new.len() as u64;
    let rows = job.tools.index.rows(&new)?;
    job.bytes += rows.iter().flatten().map(|row| u64::from(row.len)).sum::<u64>();
    Ok(())
}

fn in_words(holder: &GcHolder) -> String {
    match holder {
        GcHolder::Session(session) => format!("push session {}: {}", session.session, session.label),
        GcHolder::NewEra => "not everything could be read since the index was rebuilt".to_owned(),
    }
}
