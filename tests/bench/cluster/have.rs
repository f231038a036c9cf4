//! How many ids a second the index answers a client.

use super::figures::{at_least, title};
use super::meter::measure as metered;
use super::town::Town;
use cas_client::identity;
use cas_client::store::Store;
use cas_client::store::cluster::Reach;
use cas_core::id::BlockId;
use cas_core::signing::SigningKey;
use cas_net::StartSession;

const WANTED: f64 = 200_000.0;
/// As a client asks for them.
const PART: usize = 4096;
const CALLERS: usize = 4;
const ROUNDS: usize = 20;

/// See the module.
pub fn measure(town: &Town) {
    let identities = identity::read(&town.path("config/cas/identity"), None).expect("the person has one");
    let device = identities.first().expect("the person has one").device_seed();
    let address = town.index.address.parse().expect("an address");
    let state = town.path("state/bench");
    let store = Store::connect(&Reach { address, device: &device, rack: None, state: &state, waiting: None })
        .expect("it is served");
    let rows = store.index().list_rows(None, PART * ROUNDS).expect("an admin may");
    let row = rows.first().expect("something was pushed");
    let vault = store.index().vaults().expect("it answers").pop().expect("there is one");
    let key = SigningKey::from_seed(&device).public();
    let start = StartSession { vault, domain: row.domain, device: key, label: "bench".into() };
    let session = store.index().start_session(&start).expect("it may push").session;
    let present: Vec<BlockId> = rows.iter().map(|row| row.id).collect();
    let absent: Vec<BlockId> = present.iter().map(|id| BlockId(id.0.map(|byte| !byte))).collect();
    title("have, asked over the network by four callers, in parts of 4096 ids");
    for (what, ids) in [("of blocks that are there", present), ("of blocks that are not", absent)] {
        let parts: Vec<&[BlockId]> = ids.chunks(PART).collect();
        let ((), cost) = metered(&town.pids(), || {
            std::thread::scope(|scope| {
                for caller in 0..CALLERS {
                    let (parts, store) = (&parts, &store);
                    scope.spawn(move || {
                        for n in 0..ROUNDS {
                            let part = parts[(caller + n) % parts.len()];
                            store.index().have(session, part).expect("it answers");
                        }
                    });
                }
            });
        });
        let asked = ids.len().min(PART) * CALLERS * ROUNDS;
        at_least(what, asked as f64 / cost.wall.as_secs_f64(), WANTED, "ids/s");
    }
    let _ = store.index().close_session(session);
}
