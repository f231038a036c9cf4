//! Empties the trash by age. What a retention lock keeps stays, whatever its age: the state machine looks.

use super::Job;
use crate::serve::history::End;
use cas_net::{Index as _, Result};

pub(super) fn run(job: &mut Job<'_>) -> Result<End> {
    empty_trash(job).map(|emptied| {
        job.items = emptied;
        End::Done
    })
}

/// Answers how many versions went for good.
pub(super) fn empty_trash(job: &Job<'_>) -> Result<u64> {
    let before_ns = job.tools.index.cluster_time_ns().saturating_sub(job.tools.options.trash_ns);
    Ok(job.tools.index.empty_trash(before_ns)?.len() as u64)
}
