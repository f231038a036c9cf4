"""A million small files (at full scale): what the memory of a push and the cost of one more look depend on.

    first/000/000.txt … first/999/999.txt, and next/ with every 500th changed
"""

import hashlib
import os
import shutil

FOLDERS = 1000
FILES = 1000
EVERY = 500
FRESH_TIME = 1_750_000_000


def make(folder, scale, options):
    folders = max(1, round(FOLDERS * scale))
    for version in ("first", "next"):
        for number in range(folders):
            here = os.path.join(folder, version, f"{number:03}")
            os.makedirs(here)
            for file in range(FILES):
                write(os.path.join(here, f"{file:03}.txt"), content(number * FILES + file, version))


def content(number, version):
    """Text of 30 to 1,500 bytes, a third of it random."""
    salt = version if number % EVERY == 0 else "first"
    dice = hashlib.shake_128(f"{salt} {number}".encode()).digest(256)
    return (f"{number}: " + dice[:2 + dice[0]].hex() + "\n" + f"line of file {number}\n" * (dice[1] % 50)).encode()


def write(path, data):
    with open(path, "wb") as file:
        file.write(data)
    os.utime(path, (FRESH_TIME, FRESH_TIME))


def sync(dataset, target):
    """Writes over only what changed."""
    for where, _, names in os.walk(os.path.join(dataset, "next")):
        for name in names:
            folder = os.path.basename(where)
            if (int(folder) * FILES + int(name[:3])) % EVERY == 0:
                shutil.copyfile(os.path.join(where, name), os.path.join(target, folder, name))
