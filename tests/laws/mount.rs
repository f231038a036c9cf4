//! Small and read-only file systems, for those who may mount. They go with their value, also when a test fails.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A mount that ends with this value.
pub struct Mount(PathBuf);

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// A file system in memory with room for this many bytes. `None`, with a word of why, where mounting is not allowed.
pub fn of_bytes(folder: &Path, bytes: u64) -> Option<Mount> {
    std::fs::create_dir_all(folder).expect("a folder");
    mount(folder, &["-t", "tmpfs", "-o", &format!("size={bytes},mode=0700"), "tmpfs"])
}

/// The folder, over itself, read-only.
pub fn read_only(folder: &Path) -> Option<Mount> {
    let source = folder.display().to_string();
    let bound = mount(folder, &["--bind", &source])?;
    let status = Command::new("mount").args(["-o", "remount,bind,ro"]).arg(folder).status();
    status.is_ok_and(|status| status.success()).then_some(bound)
}

fn mount(folder: &Path, args: &[&str]) -> Option<Mount> {
    match Command::new("mount").args(args).arg(folder).output() {
        Ok(output) if output.status.success() => Some(Mount(folder.to_owned())),
        Ok(output) => {
            eprintln!("skipped, nothing can be mounted here: {}", String::from_utf8_lossy(&output.stderr).trim());
            None
        }
        Err(e) => {
            eprintln!("skipped, nothing can be mounted here: {e}");
            None
        }
    }
}
