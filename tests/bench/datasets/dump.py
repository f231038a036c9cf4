"""A database dump, 1.3 GB at full scale, in two versions that differ in 0.3 % of the rows.

    first/dump.sql, next/dump.sql

Rows are SQL inserts with what tables have: keys, times, names, amounts, tokens, free text; about 2.5:1 under zstd 3.
The next version has runs of rows changed and inserted at scattered places, as tables in order of their key do.
"""

import base64
import hashlib
import os
import random
import shutil

from . import words

DICE = 108
SEED = 1306
BYTES = 1_300_000_000
CHANGED_SHARE = 0.003
PLACES = 60
BATCH = 2000
FIRST_DAY = 1_600_000_000


def make(folder, scale, options):
    random_words = random.Random(SEED)
    vocabulary = words.vocabulary(random_words, 12000)
    # A table to pick from with two random bytes: frequent words stand in it often.
    table = random_words.choices(vocabulary, cum_weights=words.zipf_weights(len(vocabulary), rare=60), k=65536)
    for version in ("first", "next"):
        os.makedirs(os.path.join(folder, version), exist_ok=True)
    rows = write(os.path.join(folder, "first", "dump.sql"), table, int(BYTES * scale), None)
    places = max(3, round(PLACES * scale))
    length = max(1, int(rows * CHANGED_SHARE / places))
    starts = sorted(random.Random(SEED + 1).sample(range(0, rows - length), places))
    changed = {start + offset for start in starts for offset in range(length)}
    write(os.path.join(folder, "next", "dump.sql"), table, rows, changed)


def write(path, table, limit, changed):
    """Writes rows until `limit` bytes (first version) or `limit` rows (next version, with these rows changed)."""
    number = size = 0
    with open(path, "wb", buffering=1 << 20) as file:
        while (number < limit) if changed is not None else (size < limit):
            batch = []
            count = min(BATCH, limit - number) if changed is not None else BATCH
            dice = hashlib.shake_128(b"%d %d" % (SEED, number)).digest(DICE * count)
            for at in range(count):
                here = dice[DICE * at:DICE * at + DICE]
                key = number + at
                if changed is None or key not in changed:
                    batch.append(row(key, here, table))
                    continue
                there = hashlib.shake_128(b"next %d" % key).digest(DICE)
                batch.append(row(key, here[:40] + there[40:], table))
                if there[0] < 128:
                    batch.append(row(10**9 + key, there, table))
            text = "".join(batch).encode()
            file.write(text)
            size += len(text)
            number += count
    return number


def row(key, dice, table):
    """One insert; `dice` are random bytes."""
    pick = int.from_bytes
    number = pick(dice[:6], "little")
    text = " ".join([table[dice[i] << 8 | dice[i + 1]] for i in range(24, 24 + 2 * (8 + dice[23] % 13), 2)])
    return (
        f"INSERT INTO orders VALUES ({key},'{table[dice[6] << 8 | dice[7]]}.{table[dice[8] << 8 | dice[9]]}@example.org',"
        f"{FIRST_DAY + key * 7 + dice[10] % 7},{number % 100000 / 100:.2f},'{('open', 'paid', 'sent', 'done')[dice[11] & 3]}',"
        f"'{base64.b64encode(dice[64:100]).decode()}','{text}');\n"
    )


def sync(dataset, target):
    """Writes the next dump over the first one."""
    shutil.copyfile(os.path.join(dataset, "next", "dump.sql"), os.path.join(target, "dump.sql"))
