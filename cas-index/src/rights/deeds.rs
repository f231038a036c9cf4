//! What the audit log says of a command, and what of it decides who may give it.

use super::command::{Change, Deed, Of, To};
use super::holder::Holder;
use crate::audit::Line;
use crate::command::Command as Any;
use crate::state::VaultRow;
use crate::state::snapshots::find;
use crate::tables::Tables;
use cas_core::id::{PublicKey, SnapshotId, VaultId};
use cas_core::keyring::KeyringObject;
use cas_core::snapshot::SnapshotObject;
use cas_net::Result;
use cas_net::rights::{Account, Role};

/// A command in words.
#[derive(Debug, Clone, Default)]
pub(super) struct Summary {
    pub deed: String,
    pub vault: Option<VaultId>,
    pub vault_exists: bool,
    pub name: String,
    pub detail: String,
    /// Whether the log tells of it when it was done. Refusals are always told of.
    pub is_logged: bool,
}

impl Summary {
    fn new(deed: &str) -> Self {
        Self { deed: deed.to_owned(), is_logged: true, ..Self::default() }
    }

    fn quiet(deed: &str) -> Self {
        Self { is_logged: false, ..Self::new(deed) }
    }

    /// What is written down when it was done.
    pub(super) fn line(&self, holder: &Holder) -> Line {
        let Self { deed, vault, name, detail, .. } = self.clone();
        Line { device: holder.device, user: holder.user.clone(), deed, vault, name, detail }
    }

    /// What is written down when it was refused. Devices that nobody knows are counted as one: there is no end of them.
    pub(super) fn refused(&self, holder: &Holder, why: &str) -> Line {
        let line = self.line(holder);
        let detail = [&line.detail[..], why].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ");
        if holder.user.is_empty() && !holder.is_console() {
            let detail = format!("unknown device {}: {detail}", holder.device);
            return Line { device: PublicKey::ZERO, detail, ..line };
        }
        Line { detail, ..line }
    }
}

/// A command in words, with what it is about.
pub(super) fn summary(tables: &impl Tables, deed: &Deed, carried: Option<&Any>) -> Result<Summary> {
    let named = |deed: &str, name: &str, detail: String| Summary { name: name.into(), detail, ..Summary::new(deed) };
    Ok(match deed {
        Deed::Carry { .. } => match carried {
            Some(carried) => of_carried(tables, carried)?,
            None => Summary::quiet("nothing"),
        },
        Deed::AddUser { name, may_found, .. } => {
            named("add user", name, if *may_found { "may make vaults".into() } else { String::new() })
        }
        Deed::ChangeUser { name, change } => named(
            "change user",
            name,
            match change {
                Change::Disable => "disabled".into(),
                Change::Enable => "enabled".into(),
                Change::MayFound(may) => format!("may make vaults: {may}"),
            },
        ),
        Deed::SetPassword { name, .. } => named("set password", name, String::new()),
        Deed::LogIn { user, label, .. } => named("log in", user, format!("device {label}")),
        Deed::MakeToken { user, own_rights, life_ns, .. } => {
            named("make token", user, format!("for {} s; rights of its own: {own_rights}", life_ns / 1_000_000_000))
        }
        Deed::UseToken { label, .. } => named("enrol", label, String::new()),
        Deed::Revoke { device } => named("revoke device", &PublicKey(*device).to_string(), String::new()),
        Deed::Share { role, vault, prefix, who, give } => {
            let role = Role::from_byte(*role).map_or("no role", Role::name);
            let who = match who {
                To::User(name) => format!("user {name}"),
                To::Device(device) => format!("device {}", PublicKey(*device)),
            };
            let deed = if *give { "grant" } else { "withdraw" };
            of_vault(named(deed, prefix, format!("{role}, {who}")), *vault)
        }
        Deed::Lock { vault, prefix, keep_ns } => {
            of_vault(named("lock", prefix, format!("for {} s", keep_ns / 1_000_000_000)), *vault)
        }
        Deed::Retain { vault, prefix, keep } => {
            let detail = if keep.is_empty() { "keep everything".to_owned() } else { keep.clone() };
            of_vault(named("set retention", prefix, detail), *vault)
        }
        Deed::Quota { of, bytes } => {
            let bytes = bytes.map_or("none".to_owned(), |bytes| format!("{bytes} bytes"));
            named("set quota", &account(of).to_string(), bytes)
        }
        Deed::AcceptClock { to_ns } => named("accept clock", "", format!("{to_ns} ns since 1970")),
        Deed::Refused { deed, vault, name, .. } => {
            of_vault(Summary { name: name.clone(), ..Summary::quiet(deed) }, *vault)
        }
        Deed::Seen => Summary::quiet("seen"),
        Deed::Tick => Summary::quiet("tick"),
    })
}

fn of_carried(tables: &impl Tables, command: &Any) -> Result<Summary> {
    Ok(match command {
        Any::PutKeyring { object, .. } => match KeyringObject::parse(&object.0) {
            Ok(parsed) => {
                let vault_exists = VaultRow::of(tables, &parsed.vault())?.is_some();
                let deed = if vault_exists { "set keyring" } else { "make a vault" };
                let detail = format!("version {}", parsed.version());
                Summary { vault: Some(parsed.vault()), vault_exists, detail, ..Summary::new(deed) }
            }
            Err(_) => Summary::new("set keyring"),
        },
        Any::StartSession { vault, .. } => of_vault(Summary::quiet("push"), *vault),
        Any::EndSession { .. } => Summary::quiet("end session"),
        Any::Commit { object, .. } => of_object("push", &object.0),
        Any::Forget { removal, .. } => of_object("forget", &removal.0),
        Any::Return { returning, .. } => of_object("undelete", &returning.0),
        Any::Undelete { snapshot } => match find(tables, &SnapshotId(*snapshot))? {
            Some((version, _)) => {
                let (vault, detail) = (Some(version.row.vault), format!("version {}", version.row.seq));
                Summary { vault, name: version.row.name, detail, ..Summary::new("undelete") }
            }
            None => Summary::new("undelete"),
        },
        Any::Mark { ids, bad } => {
            let detail = format!("{} blocks {}", ids.count(), if *bad { "bad" } else { "good" });
            Summary { detail, ..Summary::new("mark blocks") }
        }
        Any::EmptyTrash { before_ns, .. } => {
            Summary { detail: format!("what is older than {before_ns} ns since 1970"), ..Summary::new("empty trash") }
        }
        // Collection asks the same again and again.
        Any::Condemn { .. } | Any::Deleted { .. } | Any::Touch { .. } | Any::Register(_) => {
            Summary::quiet(command.name())
        }
        _ => Summary::new(command.name()),
    })
}

/// A version that is made or removed: of the object, since the row may not be there yet.
fn of_object(deed: &str, object: &[u8]) -> Summary {
    let Ok(parsed) = SnapshotObject::parse_unverified(object) else { return Summary::new(deed) };
    let record = parsed.record();
    let (vault, name) = (Some(record.vault), record.name.as_str().to_owned());
    Summary { vault, name, detail: format!("version {}", record.seq), ..Summary::new(deed) }
}

fn of_vault(summary: Summary, vault: [u8; 16]) -> Summary {
    Summary { vault: Some(VaultId(vault)).filter(|vault| *vault != VaultId::ZERO), ..summary }
}

pub(super) fn account(of: &Of) -> Account {
    match of {
        Of::User(name) => Account::User(name.clone()),
        Of::Vault(vault) => Account::Vault(VaultId(*vault)),
    }
}
