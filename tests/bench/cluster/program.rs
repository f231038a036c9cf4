//! The program that is measured: built now, in the profile of this benchmark, if it is not as new as its sources.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Where it is; `CAS_BINARY` names another.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(path) = std::env::var_os("CAS_BINARY") {
            return path.into();
        }
        let me = std::env::current_exe().expect("a benchmark is a program");
        let profile = me.ancestors().nth(2).expect("TARGET/PROFILE/deps/cluster");
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--locked", "--release", "-p", "cas-cli", "--target-dir"])
            .arg(profile.parent().expect("TARGET/PROFILE"))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status();
        assert!(built.is_ok_and(|status| status.success()), "the program builds");
        profile.join("cas")
    })
}
