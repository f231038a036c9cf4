//! How an entry of a snapshot is shown: as `ls -l` does, and as JSON with the field names of restic.

use crate::printer::bytes;
use crate::{escape, time};
use cas_core::manifest::{Entry, FileType};
use serde_json::{Map, Value, json};

/// `drwxr-xr-x`.
pub fn permissions(entry: &Entry) -> String {
    let kind = match entry.file_type {
        FileType::File => '-',
        FileType::Directory => 'd',
        FileType::Symlink => 'l',
        FileType::Fifo => 'p',
        FileType::Socket => 's',
        FileType::CharDevice => 'c',
        FileType::BlockDevice => 'b',
    };
    let special = [(0o4000, 's', 'S'), (0o2000, 's', 'S'), (0o1000, 't', 'T')];
    let mut text = String::from(kind);
    for (place, (bit, with_x, without_x)) in special.into_iter().enumerate() {
        let bits = entry.mode >> (6 - 3 * place) & 0o7;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (entry.mode & bit != 0, bits & 1 != 0) {
            (true, true) => with_x,
            (true, false) => without_x,
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

/// The word that restic has for a type.
pub fn type_name(file_type: FileType) -> &'static str {
    match file_type {
        FileType::File => "file",
        FileType::Directory => "dir",
        FileType::Symlink => "symlink",
        FileType::Fifo => "fifo",
        FileType::Socket => "socket",
        FileType::CharDevice => "chardev",
        FileType::BlockDevice => "dev",
    }
}

/// The size of a file, exact or for people; a device has its numbers there.
pub fn size(entry: &Entry, human: bool) -> String {
    match (entry.file_type, entry.device) {
        (FileType::File, _) if human => bytes(entry.size),
        (FileType::File, _) => entry.size.to_string(),
        (_, Some((major, minor))) => format!("{major}, {minor}"),
        _ => "-".to_owned(),
    }
}

/// What `ls -l` shows before the path.
pub fn attributes(entry: &Entry, human: bool) -> String {
    let (user, group) = (named(&entry.user, entry.uid), named(&entry.group, entry.gid));
    let time = time::local_of(entry.mtime.seconds, entry.mtime.nanoseconds);
    format!("{} {user:<8} {group:<8} {:>11} {time}", permissions(entry), size(entry, human))
}

/// A path as it is shown: with a slash behind a directory, with what a link points to if `long`.
pub fn path(path: &[u8], entry: &Entry, long: bool) -> String {
    let shown = escape::text(path);
    match (&entry.link_target, &entry.hardlink) {
        _ if entry.is_dir() => format!("{shown}/"),
        (Some(target), _) if long => format!("{shown} -> {}", escape::text(target)),
        (_, Some(first)) if long => format!("{shown} = {}", escape::text(first)),
        _ => shown,
    }
}

fn named(name: &[u8], number: u32) -> String {
    if name.is_empty() { number.to_string() } else { escape::text(name) }
}

/// An entry as an object; paths are those of the snapshot, without a slash before them.
pub fn object(path: &[u8], entry: &Entry) -> Map<String, Value> {
    let mut out = Map::new();
    escape::put(&mut out, "path", path);
    escape::put(&mut out, "name", cas_core::manifest::base_name_of(path));
    out.insert("type".to_owned(), type_name(entry.file_type).into());
    out.insert("mode".to_owned(), entry.mode.into());
    out.insert("permissions".to_owned(), permissions(entry).into());
    out.insert("uid".to_owned(), entry.uid.into());
    out.insert("gid".to_owned(), entry.gid.into());
    escape::put(&mut out, "user", &entry.user);
    escape::put(&mut out, "group", &entry.group);
    let time = time::rfc3339_of(entry.mtime.seconds, entry.mtime.nanoseconds);
    out.insert("mtime".to_owned(), time.into());
    if entry.file_type == FileType::File {
        out.insert("size".to_owned(), entry.size.into());
    }
    if let Some(target) = &entry.link_target {
        escape::put(&mut out, "linktarget", target);
    }
    if let Some(first) = &entry.hardlink {
        escape::put(&mut out, "hardlink", first);
    }
    if let Some((major, minor)) = entry.device {
        out.insert("device".to_owned(), json!([major, minor]));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_read_as_in_ls() {
        let shown = |mode, file_type| permissions(&Entry { mode, ..Entry::new(file_type) });
        assert_eq!(shown(0o755, FileType::Directory), "drwxr-xr-x");
        assert_eq!(shown(0o6754, FileType::File), "-rwsr-sr--");
        assert_eq!(shown(0o7600, FileType::File), "-rwS--S--T");
        assert_eq!(shown(0o1777, FileType::Directory), "drwxrwxrwt");
    }
}
