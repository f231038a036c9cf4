//! What this machine and this person are called.

/// The name of this machine.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The name of the user who runs this.
pub fn user_name() -> String {
    uzers::get_effective_username().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
