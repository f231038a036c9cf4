//! The directory of a served index: its key beside its log and tables. FORMAT §9, §10.
//!
//! Promise: a key that is there is never replaced; what an interrupted `init` left is taken up by the next one.

use crate::rights::{Caller, Guarded};
use crate::{Index, Options};
use cas_core::id::PublicKey;
use cas_net::rights::{NewUser, Rights, Role, RoleGrant, Who};
use cas_net::{Index as _, Result, ServiceError};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

const KEY: &str = "key";
const NEW_KEY: &str = "key.new";

/// Makes an index to be served, with its first user, who is admin and may do the rest. Answers its key, which is its
/// name on the network.
///
/// # Errors
/// [`ServiceError::Denied`] if there is an index with users, or the name or password of the admin is none;
/// [`ServiceError::Io`], [`ServiceError::Busy`] if the index is open.
pub fn init(dir: &Path, admin: &NewUser) -> Result<PublicKey> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|e| ServiceError::io(format!("create {}", dir.display()), e))?;
    let seed = match seed(dir) {
        Err(ServiceError::NotFound { .. }) => make_seed(dir)?,
        found => found?,
    };
    let index = Index::open_cluster(dir, Options::new(seed))?;
    let owner = Guarded::new(index.clone(), Caller::Console);
    let others = owner.users()?.into_iter().any(|user| user.name != admin.name);
    if others || !owner.roles(None)?.is_empty() {
        return Err(ServiceError::Denied(format!("{} holds an index with users", dir.display())));
    }
    if owner.users()?.is_empty() {
        owner.add_user(admin)?;
    } else if let Some(password) = &admin.password {
        owner.set_password(&admin.name, None, password)?;
    }
    let who = Who::User(admin.name.clone());
    owner.grant_role(&RoleGrant { role: Role::Admin, vault: None, prefix: String::new(), who })?;
    index.close()?;
    Ok(index.public_key())
}

/// The index in this directory in the hands of whoever runs it, while nobody serves it: for setting right what nobody
/// is left to do over the network, such as a lost password.
///
/// # Errors
/// As [`Index::open`]; [`ServiceError::Busy`] while it is served.
pub fn console(dir: &Path) -> Result<(Arc<Index>, Guarded)> {
    let options = Options { must_exist: true, ..Options::new(seed(dir)?) };
    let index = Index::open_cluster(dir, options)?;
    Ok((index.clone(), Guarded::new(index, Caller::Console)))
}

/// The seed of the key of the index in this directory.
///
/// # Errors
/// [`ServiceError::NotFound`] if there is none, [`ServiceError::Damaged`], [`ServiceError::Io`].
pub fn seed(dir: &Path) -> Result<[u8; 32]> {
    let path = dir.join(KEY);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == ErrorKind::NotFound => {
            return Err(ServiceError::NotFound { what: "key of an index", name: path.display().to_string() });
        }
        Err(e) => return Err(ServiceError::io(format!("read {}", path.display()), e)),
    };
    let found = bytes.len();
    bytes.try_into().map_err(|_| ServiceError::Damaged {
        what: path.display().to_string(),
        detail: format!("expected 32 bytes, found {found}"),
    })
}

/// Draws a seed and keeps it, durably, for the owner's eyes only.
fn make_seed(dir: &Path) -> Result<[u8; 32]> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|e| ServiceError::Stopped(format!("no randomness: {e}")))?;
    let (path, new) = (dir.join(KEY), dir.join(NEW_KEY));
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&seed)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(|e| ServiceError::io(format!("write {}", path.display()), e))?;
    Ok(seed)
}
