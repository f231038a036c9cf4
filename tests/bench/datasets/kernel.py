"""A kernel source tree and its next version: many small files of which few change.

    first/         the tree, with the times it has in the archive
    next/          the next version as a fresh directory: unchanged files have the same content and new times
    changes.json   {"written": [...], "removed": [...]}: how `first` becomes `next` when only what changed is touched

Without the archive a synthetic tree of as many files with a similar distribution of sizes can stand in.
"""

import bisect
import json
import lzma
import os
import random
import shutil
import sys
import tarfile
import zlib

from . import words

SOURCE = "/usr/src/linux-source-6.1.tar.xz"
SEED = 61
EDITED, ADDED, REMOVED, RENAMED = 1300, 120, 60, 40
SYNTHETIC_FILES = 78000
FRESH_TIME = 1_750_000_000
# Sizes of files of a kernel tree: upper bound in bytes, share of the files.
SIZES = [(256, 0.06), (1024, 0.17), (4096, 0.27), (16384, 0.30), (65536, 0.16), (262144, 0.037), (2097152, 0.003)]


def make(folder, scale, options):
    source = os.environ.get("LINUX_SOURCE", SOURCE)
    first = os.path.join(folder, "first")
    if options.synthetic:
        synthesize(first, scale)
    elif os.path.exists(source):
        extract(source, first, scale)
    else:
        sys.exit(
            f"error: {source} does not exist\n"
            "  help:  apt-get install linux-source-6.1 (or LINUX_SOURCE=FILE.tar.xz),\n"
            f"         or --synthetic for a tree of {SYNTHETIC_FILES} files with similar sizes"
        )
    derive_next(folder, scale)


def extract(source, folder, scale):
    """All files, or at a smaller scale those whose path has a small checksum: the same ones everywhere."""
    with lzma.open(source) as raw, tarfile.open(fileobj=raw, mode="r|") as archive:
        if hasattr(tarfile, "tar_filter"):
            archive.extraction_filter = staticmethod(tarfile.tar_filter)
        for member in archive:
            member.name = member.name.partition("/")[2]
            part = zlib.crc32(member.name.encode()) >= scale * 2**32 or member.isdir()
            if not member.name or (part and scale < 1):
                continue
            archive.extract(member, folder)


def synthesize(folder, scale):
    """Source-like files in folders of about twenty."""
    rng = random.Random(SEED)
    vocabulary = words.vocabulary(rng, 20000)
    weights = words.zipf_weights(len(vocabulary))
    shares = []
    for _, share in SIZES:
        shares.append(share + (shares[-1] if shares else 0))
    count = max(1, int(SYNTHETIC_FILES * scale))
    for number in range(count):
        step = min(bisect.bisect(shares, rng.random()), len(SIZES) - 1)
        least = SIZES[step - 1][0] if step else 16
        size = rng.randint(least, SIZES[step][0])
        group = number // 20
        path = os.path.join(folder, f"part{group // 400}", f"unit{group // 20 % 20}", f"dir{group % 20}", f"file{number}.c")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(source_text(rng, vocabulary, weights, size))
        os.utime(path, (FRESH_TIME - 10**7, FRESH_TIME - 10**7))


def source_text(rng, vocabulary, weights, size):
    """About `size` bytes of lines that look like code."""
    lines, length = [], 0
    picked = iter(rng.choices(vocabulary, cum_weights=weights, k=size // 4 + 16))
    while length < size:
        indent = "\t" * rng.choice((0, 1, 1, 2, 2, 3))
        line = rng.choice(("{}{}_{}({}, {});\n", "{}if ({} == {}->{})\t/* {} */\n", "{}{} = {}({}) + {};\n"))
        line = line.format(indent, *(next(picked, "end") for _ in range(4)))
        lines.append(line)
        length += len(line)
    return "".join(lines).encode()[:size]


def derive_next(folder, scale):
    """A copy of `first` with edits inside files, files added, removed and renamed."""
    rng = random.Random(SEED + 1)
    first, after = os.path.join(folder, "first"), os.path.join(folder, "next")
    shutil.copytree(first, after, symlinks=True, copy_function=copy_content)
    files = sorted(
        os.path.relpath(os.path.join(where, name), first)
        for where, _, names in os.walk(first)
        for name in names
        if not os.path.islink(os.path.join(where, name))
    )
    wanted = [max(1, round(number * scale)) for number in (EDITED, REMOVED, RENAMED, ADDED)]
    chosen = rng.sample(files, min(len(files), sum(wanted)))
    written, removed = [], []
    for number, path in enumerate(chosen):
        here = os.path.join(after, path)
        if number < wanted[0]:
            edit(rng, here)
            written.append(path)
        elif number < wanted[0] + wanted[1]:
            os.remove(here)
            removed.append(path)
        elif number < sum(wanted[:3]):
            stem, suffix = os.path.splitext(path)
            os.rename(here, os.path.join(after, stem + "-renamed" + suffix))
            removed.append(path)
            written.append(stem + "-renamed" + suffix)
        else:
            # A new file resembles an old one, as a new driver does.
            stem, suffix = os.path.splitext(path)
            copy_content(here, os.path.join(after, stem + "-added" + suffix))
            edit(rng, os.path.join(after, stem + "-added" + suffix), times=20)
            written.append(stem + "-added" + suffix)
    set_times(after)
    with open(os.path.join(folder, "changes.json"), "w") as file:
        json.dump({"written": sorted(written), "removed": sorted(removed)}, file, indent=0)


def copy_content(source, target):
    """Content and mode, not times."""
    shutil.copyfile(source, target)
    shutil.copymode(source, target)


def edit(rng, path, times=3):
    """A few lines changed, inserted and removed at one to `times` places."""
    with open(path, "rb") as file:
        lines = file.read().split(b"\n")
    for _ in range(rng.randint(1, times)):
        at = rng.randrange(len(lines))
        kind = rng.random()
        new = [b"\t/* revised %08x */" % rng.getrandbits(32) for _ in range(rng.randint(1, 8))]
        if kind < 0.4:
            lines[at:at + 1] = new
        elif kind < 0.8:
            lines[at:at] = new
        else:
            lines[at:at + rng.randint(1, 8)] = new[:1]
    with open(path, "wb") as file:
        file.write(b"\n".join(lines))


def set_times(folder):
    """Every time is the one of a fresh copy, the same in each run."""
    for where, folders, names in os.walk(folder, topdown=False):
        for name in names:
            os.utime(os.path.join(where, name), (FRESH_TIME, FRESH_TIME), follow_symlinks=False)
        os.utime(where, (FRESH_TIME, FRESH_TIME))


def sync(dataset, target):
    """Makes `target`, a copy of `first`, the next version; touches only what changed."""
    with open(os.path.join(dataset, "changes.json")) as file:
        changes = json.load(file)
    for path in changes["removed"]:
        os.remove(os.path.join(target, path))
    for path in changes["written"]:
        copy_content(os.path.join(dataset, "next", path), os.path.join(target, path))
