//! The heartbeat: what the node says of itself, and what the answer changes.

use super::Inner;
use cas_net::Result;
use cas_net::cluster::{BeatAnswer, Cluster};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Beats until the node stops.
pub fn run(inner: &Inner) {
    let chance = RandomState::new();
    let mut count = 0u64;
    loop {
        if let Err(e) = inner.store.check() {
            return inner.fail(e.to_string());
        }
        match beat(inner) {
            Ok(()) => {
                inner.metrics.beats.add(1);
                inner.link.heard(None);
                if inner.metrics.beats.get() == 1 {
                    // The first one says that no orders are left from before; what there is to do comes with the next.
                    continue;
                }
            }
            Err(why) => {
                inner.metrics.beats_failed.add(1);
                inner.link.heard(Some(&why));
            }
        }
        count += 1;
        if inner.stop.sleep_lightly(about(inner.settings.beat, chance.hash_one(count))) {
            return;
        }
    }
}

/// Give or take a tenth, so that nodes do not beat in step.
fn about(time: Duration, chance: u64) -> Duration {
    time * 9 / 10 + time * u32::try_from(chance % 1024).expect("small") / 5120
}

fn beat(inner: &Inner) -> Result<()> {
    let beat = inner.a_beat()?;
    let BeatAnswer { layout, time_ns, orders } = inner.link.cluster.beat(&beat)?;
    inner.losses.told(&beat.damage);
    inner.standing.tell_time(time_ns);
    if let Some(revoked) = inner.link.cluster.revocations(inner.standing.revoked())? {
        inner.standing.tell_revocations(revoked);
    }
    // Orders name peers by their keys: where those are stands in the layout.
    let known = inner.standing.version();
    if layout > known {
        refresh(inner)?;
    } else if layout < known
        && let Some(older) = inner.link.cluster.layout(0)?
    {
        // An index that was restored knows less than it did: what it knows is what counts.
        tracing::warn!(known, layout, "the index goes by an older layout: it is taken");
        inner.standing.tell_layout(older);
    }
    for order in orders {
        if inner.desk.give(order) {
            inner.metrics.orders.add(1);
        }
    }
    Ok(())
}

/// Gets a newer layout, if there is one.
pub fn refresh(inner: &Inner) -> Result<()> {
    if let Some(layout) = inner.link.cluster.layout(inner.standing.version())? {
        inner.standing.tell_layout(layout);
    }
    Ok(())
}
