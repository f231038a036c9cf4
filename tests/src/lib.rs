//! What tests and benchmarks of whole programs share.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The program `cas`: built now, in the profile of whoever asks, if it is not as new as its sources; `CAS_BINARY` names another.
///
/// # Panics
/// It does not build.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(path) = std::env::var_os("CAS_BINARY") {
            return path.into();
        }
        let me = std::env::current_exe().expect("a test is a program");
        let profile = me.ancestors().nth(2).expect("TARGET/PROFILE/deps/NAME");
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--locked", "-p", "cas-cli", "--target-dir"])
            .arg(profile.parent().expect("TARGET/PROFILE"))
            .args(profile.ends_with("release").then_some("--release"))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status();
        assert!(built.is_ok_and(|status| status.success()), "the program builds");
        profile.join("cas")
    })
}
