"""A disk image, 2 GiB of which 1.26 GB are used at full scale, and the same with one package more.

    first/disk.img, next/disk.img

An ext4 file system made by `mke2fs -d` from this machine's own /usr, its files in order of their path: the same content
on the same machine (but times of change in its inodes are those of its making), other content elsewhere. Both are sparse.
"""

import os
import shutil
import subprocess
import sys

BYTES = 2 << 30
USED = 1_260_000_000
PACKAGE = 20_000_000
ROOT = "/usr"
SKIPPED = ("/usr/src", "/usr/local")
LARGEST = 64_000_000
UUID = "6f1d3c1e-0a55-4c1b-9d7e-5f3a3c0b2a10"
TIME = "1750000000"


def make(folder, scale, options):
    if not shutil.which("mke2fs"):
        sys.exit("error: mke2fs does not exist\n  help:  apt-get install e2fsprogs")
    staging = os.path.join(folder, "staging")
    files = candidates()
    used = stage(files, os.path.join(staging, "usr"), int(USED * scale))
    if used < USED * scale * 0.95:
        print(f"  note: {ROOT} has only {used} bytes of files; the image is smaller than it should be")
    build(staging, folder, "first", scale)
    # The files at the end of the order are not in the image yet.
    stage(list(reversed(files)), os.path.join(staging, "opt", "package"), int(PACKAGE * scale))
    build(staging, folder, "next", scale)
    shutil.rmtree(staging)


def candidates():
    """Ordinary files with their sizes, in order of their path."""
    found = []
    for where, folders, names in os.walk(ROOT):
        folders[:] = sorted(name for name in folders if os.path.join(where, name) not in SKIPPED)
        for name in sorted(names):
            path = os.path.join(where, name)
            if os.path.isfile(path) and not os.path.islink(path) and os.access(path, os.R_OK):
                size = os.path.getsize(path)
                if size <= LARGEST:
                    found.append((path, size))
    # Programs and libraries first: the beginning of the order would be headers and documents only.
    return sorted(found, key=lambda file: (not file[0].startswith(("/usr/bin/", "/usr/lib/")), file[0]))


def stage(files, folder, limit):
    """Copies files until they fill `limit` bytes of blocks. Answers how many bytes that were."""
    total = 0
    for path, size in files:
        blocks = -(-size // 4096) * 4096
        if total + blocks > limit:
            continue
        target = os.path.join(folder, os.path.relpath(path, "/"))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copyfile(path, target)
        os.utime(target, (int(TIME), int(TIME)))
        total += blocks
        if total > limit - 4096:
            break
    return total


def build(staging, folder, version, scale):
    os.makedirs(os.path.join(folder, version), exist_ok=True)
    image = os.path.join(folder, version, "disk.img")
    size = max(64 << 20, int(BYTES * scale))
    with open(image, "wb") as file:
        file.truncate(size)
    command = ["mke2fs", "-q", "-t", "ext4", "-U", UUID, "-E", f"hash_seed={UUID},root_owner=0:0", "-d", staging, image]
    environment = dict(os.environ, SOURCE_DATE_EPOCH=TIME, E2FSPROGS_FAKE_TIME=TIME)
    subprocess.run(command, check=True, env=environment)


def sync(dataset, target):
    """Writes the next image over the first one."""
    source = os.path.join(dataset, "next", "disk.img")
    subprocess.run(["cp", "--sparse=always", source, os.path.join(target, "disk.img")], check=True)
