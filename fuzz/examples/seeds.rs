//! Writes the seeds of all targets to `fuzz/seeds/TARGET/NAME`, and removes what is no seed any more.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

fn main() -> io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    let mut written = BTreeSet::new();
    for (target, name, bytes) in cas_fuzz::seeds() {
        let path = root.join(target).join(name);
        fs::create_dir_all(path.parent().expect("a seed is in a folder"))?;
        fs::write(&path, bytes)?;
        written.insert(path);
    }
    for folder in paths_in(&root)? {
        for path in paths_in(&folder)?.into_iter().filter(|path| !written.contains(path)) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn paths_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
}
