//! `cas init`, and the same on the first push: a store, an identity, a vault.

use crate::exit::Exit;
use crate::workplace::Workplace;
use cas_client::store::Store;
use cas_client::vault::{NewVault, Vault};
use cas_client::{ClientError, Result, ServiceError, identity, random};
use cas_core::agebox::Identity;
use cas_core::domain::{DomainRecord, Profile};
use clap::{Args, ValueEnum};

/// Create a store, an identity if there is none, and a vault
///
/// Shows the recovery key once: with it alone, everything can be read again.
#[derive(Debug, Args)]
pub struct Init {
    /// Size of blocks: fine for many small changes, large above 100 TB
    #[arg(long, env = "CAS_BLOCKS", value_enum, default_value = "default")]
    blocks: Blocks,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Blocks {
    /// 16 KiB to 256 KiB
    Fine,
    /// 64 KiB to 1 MiB
    Default,
    /// 1 MiB to 16 MiB
    Large,
}

impl Init {
    /// Runs it.
    pub fn run(self, work: &Workplace) -> Result<Exit> {
        let profile = match self.blocks {
            Blocks::Fine => Profile::Fine,
            Blocks::Default => Profile::Default,
            Blocks::Large => Profile::Large,
        };
        let (store, _) = create(work, profile)?;
        store.close()?;
        Ok(Exit::Ok)
    }
}

/// The store that is there already, if whoever made it was interrupted before there was a vault in it.
fn unfinished(work: &Workplace) -> Result<Store> {
    let taken = || ClientError::NotEmpty(work.store_path());
    let store = work.open_alone().map_err(|e| if matches!(e, ClientError::NoStore(_)) { taken() } else { e })?;
    if store.index().vaults()?.is_empty() { Ok(store) } else { Err(taken()) }
}

/// Makes store and vault, and the identity if there is none. Says where they are, and shows the recovery key once.
pub fn create(work: &Workplace, profile: Profile) -> Result<(Store, Vault)> {
    let identity_path = work.identity_path();
    let host = cas_client::host::host_name();
    let identities = match work.identities() {
        Err(ClientError::NoIdentity(_)) => vec![identity::create(&identity_path, &format!("cas identity of {host}"))?],
        found => found?,
    };
    let store = match work.address()? {
        Some(_) => work.open_alone()?,
        None => match Store::create(&work.store_path(), &work.label()) {
            Err(ClientError::NotEmpty(_)) => unfinished(work)?,
            made => made?,
        },
    };
    if let Some(cluster) = store.cluster() {
        let me = cluster.rights().whoami()?;
        if !me.may_found {
            let (user, hint) = (
                me.device.user,
                "an owner lets him into a vault: cas grant; an admin lets him make one: cas user vaults",
            );
            return Err(ServiceError::Denied(format!("{user} may not make vaults; {hint}")).into());
        }
    }
    let place = store.place();
    if store.cluster().is_none() && !store.index().vaults()?.is_empty() {
        work.printer.say(format!("{place} was a store without its descriptor; it is there again"));
        let vault = Vault::open(&store, identities, None, &work.places.state)?;
        return Ok((store, vault));
    }
    let recovery = Identity::from_random(&random());
    let new = NewVault {
        domain: DomainRecord::of_profile(profile),
        owner: identities[0].recipient(),
        recovery: recovery.recipient(),
        label: host,
    };
    let vault = Vault::create(&store, identities, new, &work.places.state)?;
    let secret = recovery.secret_line();
    if work.printer.json() {
        work.printer.object(&serde_json::json!({
            "message_type": "initialized",
            "store": place,
            "identity": identity_path,
            "vault": vault.id().to_string(),
            "recovery_key": secret.as_str(),
        }));
    } else {
        let printer = &work.printer;
        printer.must_say(format!("store         {place}"));
        printer.must_say(format!("identity      {}", identity_path.display()));
        printer.must_say(format!("recovery key  {}", secret.as_str()));
        printer.must_say(
            "Write the recovery key down and keep it away from this machine: it is shown only now, and is the only",
        );
        printer.must_say("way to your files if the identity is lost.");
    }
    Ok((store, vault))
}
