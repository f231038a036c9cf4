#!/usr/bin/env python3
"""Restores a snapshot from the files of an embedded store, with FORMAT.md in hand and no line of cas.

    restore.py STORE IDENTITY-FILE                         lists the snapshots that are there
    restore.py STORE IDENTITY-FILE NAME[@SEQ] TARGET       restores one into a folder that is made

Only node/segments is read: not the index, not the cache of the node. Everything is verified before it is
written; what cannot be read or restored is named, and the exit code is 1 then. The store is never changed.
Needs Python 3.9 and the modules blake3, cryptography, pyrage and zstandard. The § are those of cas-core/FORMAT.md.
"""

import argparse
import mmap
import os
import stat
import struct
import sys
from pathlib import Path

import pyrage
import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

DATA, PAGE, LIST, SNAPSHOT, KEYRING = 1, 2, 3, 4, 5
KIND_NAMES = {DATA: "data", PAGE: "page", LIST: "list"}
MAX_RAW, MAX_CHILDREN, MAX_HEIGHT = 64 << 20, 4096, 32
ZEROS = bytes(32)


class Broken(Exception):
    """Something does not follow the format, or is not there."""


def need(holds, what):
    if not holds:
        raise Broken(what)


# §1 Conventions


def kdf(context, material, length=32):
    return blake3(material, derive_key_context="cas v1 " + context).digest(length=length)


def keyed(key, message):
    return blake3(message, key=key).digest()


class Reader:
    """Bytes, read front to back."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        need(self.at + n <= len(self.data), "cut short")
        self.at += n
        return self.data[self.at - n : self.at]

    def rest(self):
        return self.take(len(self.data) - self.at)

    def more(self):
        return self.at < len(self.data)

    def end(self):
        need(not self.more(), "trailing bytes")

    def unpack(self, form):
        values = struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))
        return values[0] if len(values) == 1 else values

    def varint(self):
        value, shift = 0, 0
        while True:
            byte = self.unpack("B")
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                need(value < 1 << 64 and (byte or shift == 7), "a varint that is not the shortest")
                return value
            need(shift < 70, "a varint that is too long")

    def bytes(self):
        return self.take(self.varint())

    def bytes32(self):
        return self.take(self.unpack("I"))


class Fields(dict):
    def __missing__(self, number):
        raise Broken(f"field {number} is missing")


def record(data, known):
    """The fields of a record by number. `known` are the critical ones that this program knows."""
    fields, before, r = Fields(), -1, Reader(data)
    while r.more():
        tag = r.varint()
        need(tag > before, "fields that do not ascend")
        need(tag & 1 == 0 or tag >> 1 in known, f"critical field {tag >> 1}, which this program does not know")
        fields[tag >> 1], before = r.bytes(), tag
    return fields


def varints(data, count):
    r = Reader(data)
    values = [r.varint() for _ in range(count)]
    r.end()
    return values


def many(data):
    r, out = Reader(data), []
    while r.more():
        out.append(r.bytes())
    return out


# §8 Segments


class Segments:
    """Where the bodies of all blocks lie. A block may lie there more than once; a deleted one may still be there."""

    HEADER, RECORD_HEADER = 32, 116

    def __init__(self, folder):
        self.places, self.kinds, self.problems = {}, {}, []
        for path in sorted(folder.glob("*.seg")):
            if path.stat().st_size > self.HEADER:
                with open(path, "rb") as file:
                    self.read(path.name, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        need(self.places, f"there are no segments with blocks in {folder}")

    def read(self, name, data):
        salt = data[16:24]
        if data[:5] != b"CASS\x01" or blake3(data[:24]).digest()[:8] != data[24 : self.HEADER]:
            self.problems.append(f"{name}: its header is damaged")
            salt = None  # That of the first record.
        at, lost_from = self.HEADER, None
        while at < len(data):
            header = data[at : at + self.RECORD_HEADER]
            good = header[:4] == b"CASR" and blake3(header[8:]).digest()[:4] == header[4:8]
            if good and salt is None:
                salt = header[8:16]
            good = good and header[8:16] == salt
            if not good or len(header) < self.RECORD_HEADER:  # Damage, or a torn tail if no record follows.
                lost_from = at if lost_from is None else lost_from
                at = data.find(b"CASR", at + 1)
                if at < 0:
                    return
                continue
            if lost_from is not None:
                self.problems.append(f"{name}: damaged from byte {lost_from} to {at}")
                lost_from = None
            what, kind, length = struct.unpack_from("<BB2xI", header, 16)
            at += self.RECORD_HEADER
            if what == 1:
                id, total = header[52:84], header[84:116]
                self.places.setdefault(id, []).append((data, at, length, total))
                self.kinds.setdefault(kind, set()).add(id)
            at += length

    def bodies(self, id):
        """Every copy whose sum is right, the newest first."""
        for segment, at, length, total in reversed(self.places.get(id, [])):
            body = segment[at : at + length]
            if blake3(body).digest() == total:
                yield body

    def objects(self, kind):
        for id in sorted(self.kinds.get(kind, ())):
            for body in self.bodies(id):
                if kdf("object", bytes([kind]) + body) == id:
                    yield id, body
                    break


# §3 Frames


class Blocks:
    """Opens blocks with their P, and believes nothing that their id does not commit to."""

    def __init__(self, segments, secrets):
        self.segments = segments
        self.domain = kdf("domain id", secrets[0])[:16]
        self.content = {kind: [kdf("content " + name, s) for s in secrets] for kind, name in KIND_NAMES.items()}

    def open(self, kind, id, key):
        """The plaintext and the ids of the children."""
        why = "is damaged" if id in self.segments.places else "is not in the segments"
        for frame in self.segments.bodies(id):
            try:
                return self.open_frame(frame, kind, id, key)
            except Broken as broken:
                why = str(broken)
        raise Broken(f"{KIND_NAMES[kind]} block {id.hex()} {why}")

    def open_frame(self, frame, kind, id, key):
        r = Reader(frame)
        need(r.take(8) == b"CASF" + bytes([1, kind, 1, 0]), "has another header")
        domain, x, count = r.unpack("16s32sI")
        need(domain == self.domain and x == kdf("name", key) and count <= MAX_CHILDREN, "has another header")
        children = [r.take(32) for _ in range(count)]
        need(kdf("id", bytes([kind]) + frame[8 : r.at]) == id, "has another id")
        header = frame[: r.at]
        cipher_key = kdf("frame", key + header, 64)[:32]
        try:
            inner = Reader(AESGCM(cipher_key).decrypt(r.take(12), r.rest(), header))
        except InvalidTag:
            raise Broken("does not open with its key") from None
        codec, zeros, raw_len, body_len, padded_len = inner.unpack("B3sIII")
        need(zeros == bytes(3) and codec <= 1 and max(raw_len, body_len) <= MAX_RAW, "has a wrong prefix")
        need(padded_len == len(inner.data) - 16, "has a wrong length")
        body = inner.take(body_len)
        need(not any(inner.rest()), "has a padding that is not zeros")
        plaintext = unzip(body, raw_len) if codec == 1 else body
        need(len(plaintext) == raw_len, "has a wrong length")
        need(any(keyed(c, plaintext) == key for c in self.content[kind]), "holds other content than its name says")
        return plaintext, children


def unzip(body, raw_len):
    try:
        need(zstandard.frame_content_size(body) == raw_len, "has a wrong length")
        return zstandard.ZstdDecompressor().decompress(body, max_output_size=raw_len)
    except zstandard.ZstdError:
        raise Broken("is not valid zstd") from None


# §5 The manifest


class Entry:
    KNOWN = (1, 2, 6, 7, 8, 9, 10, 11, 12, 14)

    def __init__(self, path, data):
        f = record(data, self.KNOWN)
        self.path = path
        self.type = f[1][0]
        self.mode = varints(f[2], 1)[0]
        self.uid, self.gid = varints(f[3], 2) if 3 in f else (0, 0)
        self.mtime_ns = 0
        if 5 in f:
            seconds, nanoseconds = struct.unpack("<qI", f[5])
            self.mtime_ns = seconds * 10**9 + nanoseconds
        self.size = varints(f[6], 1)[0] if 6 in f else 0
        self.inline = f.get(7)
        self.pieces = pieces(Reader(f[8])) if 8 in f else []
        self.list = (f[9][:32], f[9][32]) if 9 in f else None
        self.link_target = f.get(10)
        self.hardlink = f.get(11)
        self.device = varints(f[12], 2) if 12 in f else None
        self.xattrs = f.get(13, b"")
        self.xattr_block = None
        if 14 in f:
            r = Reader(f[14])
            self.xattr_block = (r.varint(), r.take(32))

    def references(self):
        """(kind, P) in the order of the format."""
        yield from ((DATA, key) for _, key in self.pieces if key)
        if self.list:
            yield LIST, self.list[0]
        if self.xattr_block:
            yield DATA, self.xattr_block[1]


def pieces(r):
    """(length, P or None for a hole)…"""
    out = []
    while r.more():
        head = r.varint()
        out.append((head >> 1, None if head & 1 else r.take(32)))
    return out


def ids_of(references, children):
    """The n-th distinct reference belongs to the n-th child id."""
    distinct = list(dict.fromkeys(references))
    need(len(distinct) == len(children), "a page or list with other children than its references")
    return dict(zip(distinct, children))


def check_path(path):
    need(path and b"\0" not in path, "a path that is none")
    need(all(name not in (b"", b".", b"..") for name in path.split(b"/")), "a path that leaves its folder")


class Manifest:
    """Walks the pages of a snapshot. Entries come in order; `problems` says what is missing between them."""

    def __init__(self, blocks, problems):
        self.blocks, self.problems = blocks, problems

    def entries(self, id, key, level=None):
        try:
            page, children = self.blocks.open(PAGE, id, key)
            level, items = self.parse(page, level)
            ids = ids_of([ref for item in items for ref in item[1]], children)
        except Broken as broken:
            self.problems.append(f"a part of the tree cannot be read: {broken}")
            return
        for item, references in items:
            if level == 0:
                yield item, {ref: ids[ref] for ref in references}
            else:
                yield from self.entries(ids[references[0]], item, level - 1)

    def parse(self, page, expected):
        """The level of a page and (entry or P, its references)… """
        r, items, path = Reader(page), [], b""
        version, level, count = r.unpack("BBI")
        need(version == 1 and level < MAX_HEIGHT and expected in (None, level), "a page of another version or level")
        for _ in range(count):
            shared = r.varint()
            need(shared <= len(path), "a prefix that is longer than the path before")
            before, path = path, path[:shared] + r.bytes()
            check_path(path)
            need(before.split(b"/") < path.split(b"/") or not before, "paths that do not ascend")
            if level == 0:
                entry = Entry(path, r.bytes())
                items.append((entry, list(entry.references())))
            else:
                key, _entries, _size = r.take(32), r.varint(), r.varint()
                items.append((key, [(PAGE, key)]))
        r.end()
        return level, items

    def pieces(self, entry, ids):
        """(length, id, P) of a file, id and P None for a hole."""
        if entry.list:
            key, level = entry.list
            yield from self.list_pieces(ids[LIST, key], key, level)
        for length, key in entry.pieces:
            yield length, key and ids[DATA, key], key

    def list_pieces(self, id, key, level):
        data, children = self.blocks.open(LIST, id, key)
        r = Reader(data)
        version, found, count = r.unpack("BBI")
        need(version == 1 and found == level < MAX_HEIGHT, "a list of another version or level")
        if level == 0:
            items = pieces(r)
            need(len(items) == count, "a list with another number of pieces")
            ids = ids_of([key for _, key in items if key], children)
            yield from ((length, key and ids[key], key) for length, key in items)
            return
        items = [(r.take(32), r.varint()) for _ in range(count)]
        r.end()
        ids = ids_of([key for key, _ in items], children)
        for key, _size in items:
            yield from self.list_pieces(ids[key], key, level - 1)

    def xattrs(self, entry, ids):
        data = entry.xattrs
        if entry.xattr_block:
            length, key = entry.xattr_block
            data, _ = self.blocks.open(DATA, ids[DATA, key], key)
            need(len(data) == length, "attributes of another length")
        values = many(data)
        return list(zip(values[::2], values[1::2]))


# §6 Snapshots, §7 keyrings


def verify(public_key, signature, message):
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except InvalidSignature:
        raise Broken("is not signed by the key it names") from None


def decrypt(box, identities):
    try:
        return pyrage.decrypt(box, identities)
    except pyrage.DecryptError as error:
        raise Broken(f"does not open with this identity: {error}") from None


class Snapshot:
    def __init__(self, id, data):
        r = Reader(data)
        magic, version, self.what, zeros = r.unpack("4sBBH")
        need((magic, version, zeros) == (b"CASN", 1, 0) and self.what in (1, 2, 3), "is not a snapshot of version 1")
        raw, signature, self.sealed, self.box = r.bytes32(), r.take(64), r.bytes32(), r.bytes32()
        r.end()
        f = record(raw, range(1, 13))
        verify(f[9], signature, b"cas v1 snapshot\0" + bytes([self.what]) + raw)
        need(self.what != 1 or blake3(self.sealed).digest() == f[10], "has other details than were signed")
        self.object, self.id = id, kdf("snapshot", raw)
        self.vault, self.domain, self.name, self.root, self.device = f[1], f[2], f[3].decode(), f[6], f[9]
        self.seq, self.keyring_hash = varints(f[4], 1)[0], f[8][-32:]
        self.removes, self.undoes = f.get(11), f.get(12)

    def open(self, identities):
        key = decrypt(self.box, identities)
        f = record(AESGCM(key).decrypt(bytes(12), self.sealed, None), (1, 2, 10))
        self.root_key = f[1]
        self.secrets = [f[2][at : at + 32] for at in range(0, len(f[2]), 32)]
        need(kdf("domain id", self.secrets[0])[:16] == self.domain, "has the secret of another domain")
        self.top = Entry(b"", f[8]) if 8 in f else None


def devices_of(data, identities):
    """The vault of a keyring object, its hash, and the devices that may sign."""
    r = Reader(data)
    need(r.take(8) == b"CASK\x01\0\0\0", "is not a keyring of version 1")
    vault, root, version = r.unpack("16s32sI")
    members, _owners = r.bytes32(), r.bytes32()
    r.end()
    need(kdf("vault id", root)[:16] == vault, "has the root key of another vault")
    signed = Reader(decrypt(members, identities))
    body, signature = signed.bytes32(), signed.take(64)
    signed.end()
    verify(root, signature, b"cas v1 keyring\0" + body)
    f = record(body, range(1, 8))
    need((f[1], varints(f[2], 1)[0]) == (vault, version), "is another keyring inside")
    devices, r = set(), Reader(f[7])
    while r.more():
        devices.add(r.take(32))
        r.bytes()
    return vault, blake3(body).digest(), devices


def read_identities(path):
    data = path.read_bytes()
    if data.startswith(b"age-encryption.org/"):
        from getpass import getpass

        data = pyrage.passphrase.decrypt(data, getpass(f"Passphrase of {path}: "))
    lines = (line.strip() for line in data.decode().splitlines())
    return [pyrage.x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#")]


# Writing files


class Restorer:
    def __init__(self, manifest, target, problems):
        self.manifest, self.target, self.problems = manifest, os.fsencode(target), problems
        self.folders = []

    def run(self, snapshot):
        os.makedirs(self.target)
        if snapshot.top:
            self.folders.append((self.target, snapshot.top, {}))
        made = {b""}
        for entry, ids in self.manifest.entries(snapshot.root, snapshot.root_key):
            path = os.path.join(self.target, entry.path)
            try:
                need(os.path.dirname(entry.path) in made, "its folder is not there")
                self.make(path, entry, ids)
                if entry.type == 2:
                    made.add(entry.path)
                    self.folders.append((path, entry, ids))
                elif not entry.hardlink:
                    self.attributes(path, entry, ids)
            except (Broken, OSError) as error:
                self.problems.append(f"{os.fsdecode(entry.path)}: {error}")
        for path, entry, ids in reversed(self.folders):  # Last: what is put into a folder changes its time.
            self.attributes(path, entry, ids)

    def make(self, path, entry, ids):
        if entry.type == 1 and entry.hardlink:
            check_path(entry.hardlink)
            os.link(os.path.join(self.target, entry.hardlink), path, follow_symlinks=False)
        elif entry.type == 1:
            self.write(path, entry, ids)
        elif entry.type == 2:
            os.mkdir(path, 0o700)
        elif entry.type == 3:
            os.symlink(entry.link_target, path)
        else:
            kinds = {4: stat.S_IFIFO, 5: stat.S_IFSOCK, 6: stat.S_IFCHR, 7: stat.S_IFBLK}
            os.mknod(path, kinds[entry.type] | 0o600, os.makedev(*entry.device) if entry.device else 0)

    def write(self, path, entry, ids):
        try:
            with open(path, "xb") as file:
                self.fill(file, entry, ids)
        except Broken:
            os.unlink(path)  # A file that is there is whole.
            raise

    def fill(self, file, entry, ids):
        file.write(entry.inline or b"")
        for length, id, key in self.manifest.pieces(entry, ids):
            if key:
                data, _ = self.manifest.blocks.open(DATA, id, key)
                need(len(data) == length, "a piece of another length")
                file.write(data)
            else:
                file.seek(length, os.SEEK_CUR)
        need(file.tell() == entry.size, "pieces of another length than the file")
        file.truncate()

    def attributes(self, path, entry, ids):
        """All that can be set; the owner first, since that clears bits of the mode."""
        if os.geteuid() == 0:
            self.attempt(path, lambda: os.chown(path, entry.uid, entry.gid, follow_symlinks=False))
        self.attempt(path, lambda: self.set_xattrs(path, entry, ids))
        if entry.type != 3:
            self.attempt(path, lambda: os.chmod(path, entry.mode))
        times = (entry.mtime_ns, entry.mtime_ns)
        self.attempt(path, lambda: os.utime(path, ns=times, follow_symlinks=False))

    def attempt(self, path, step):
        try:
            step()
        except (Broken, OSError) as error:
            self.problems.append(f"{os.fsdecode(path)}: {error}")

    def set_xattrs(self, path, entry, ids):
        for name, value in self.manifest.xattrs(entry, ids):
            os.setxattr(path, name, value, follow_symlinks=False)


# What the person asked for


def snapshots_in(segments, problems):
    found, removals, undone = [], {}, set()
    for id, data in segments.objects(SNAPSHOT):
        try:
            snapshot = Snapshot(id, data)
        except Broken as broken:
            problems.append(f"snapshot object {id.hex()} {broken}")
            continue
        if snapshot.undoes:
            undone.add(snapshot.undoes)
        elif snapshot.removes:
            removals[id] = snapshot.removes
        else:
            found.append(snapshot)
    removed = {snapshot for removal, snapshot in removals.items() if removal not in undone}
    for snapshot in found:
        snapshot.removed = snapshot.id in removed
    return sorted(found, key=lambda s: (s.name, s.seq))


def choose(snapshots, wanted):
    name, _, seq = wanted.partition("@")
    fitting = [s for s in snapshots if s.name == name and (not seq or s.seq == int(seq))]
    need(fitting, f"{wanted} is not in this store")
    return fitting[-1]


def check_device(snapshot, segments, identities, problems):
    """Whether the vault let this device sign; said, and no reason not to restore."""
    for id, data in segments.objects(KEYRING):
        try:
            vault, hash, devices = devices_of(data, identities)
        except Broken as broken:
            problems.append(f"keyring object {id.hex()} {broken}")
            continue
        if (vault, hash) == (snapshot.vault, snapshot.keyring_hash):
            if snapshot.device not in devices:
                problems.append(f"{snapshot.name}@{snapshot.seq} is signed by a device that its vault does not know")
            return
    problems.append(f"the keyring that {snapshot.name}@{snapshot.seq} names cannot be read: its device was not checked")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("identity", type=Path)
    parser.add_argument("snapshot", nargs="?", metavar="NAME[@SEQ]")
    parser.add_argument("target", nargs="?", type=Path)
    args = parser.parse_args()
    if args.snapshot and not args.target:
        parser.error("into which folder?")
    identities = read_identities(args.identity)
    segments = Segments(args.store / "node" / "segments")
    problems = segments.problems
    snapshots = snapshots_in(segments, problems)
    if not args.snapshot:
        for s in snapshots:
            print(f"{s.name}@{s.seq}  {s.id.hex()[:8]}{'  removed' if s.removed else ''}")
    else:
        snapshot = choose(snapshots, args.snapshot)
        snapshot.open(identities)
        check_device(snapshot, segments, identities, problems)
        manifest = Manifest(Blocks(segments, snapshot.secrets), problems)
        Restorer(manifest, args.target, problems).run(snapshot)
    for problem in problems:
        print(f"restore: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Broken, OSError) as error:
        sys.exit(f"restore: {error}")
