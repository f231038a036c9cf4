"""One run of one program over one data set: the steps, in order, and the sizes between them."""

import filecmp
import importlib
import os
import shutil
import subprocess

import measure

FIRST, AGAIN, SYNCED, FRESH = "first push", "push again, unchanged", "push next, synced over", "push next, fresh directory"
PULL, CHECK, FORGET = "pull", "check with all data", "forget one, collect now"
SIZE_FIRST, SIZE_BOTH, SIZE_AFTER = "store: first", "store: first + next", "store: after collecting"
STEPS = [FIRST, AGAIN, SYNCED, FRESH, PULL, CHECK, FORGET]
# Not measured: the second push is forgotten, so that forgetting the first frees something; what was pulled is compared.
FORGET_AGAIN, PULLED = "forget the push again", "compare what was pulled"
SIZES = [SIZE_FIRST, SIZE_BOTH, SIZE_AFTER]

# A fresh directory only differs from a synced one where files have times that a program can trust.
FRESH_SETS = ("kernel", "million")


def one_run(tool_class, dataset, scratch, number, record):
    """Runs all steps; `record(step, cost, bytes or Failed)` gets each result. Only a failed first push ends the run."""
    name = os.path.basename(dataset)
    place = os.path.join(scratch, f"{name}-{number}-{tool_class.name.replace('|', '-')}")
    shutil.rmtree(place, ignore_errors=True)
    state, work, target = (os.path.join(place, part) for part in ("state", "work", "pulled"))
    os.makedirs(state)
    subprocess.run(["cp", "-a", "--sparse=always", os.path.join(dataset, "first"), work], check=True)
    tool = tool_class(state, os.path.join(place, "log"))

    def step(title, action):
        try:
            record(title, action())
            return True
        except (measure.Failed, LookupError, OSError) as error:
            record(title, error if isinstance(error, measure.Failed) else measure.Failed(str(error)))
            return False

    def size(title):
        record(title, measure.stored_bytes(tool.repository))

    warm(work)
    if not step(FIRST, lambda: initial(tool, work)):
        return
    size(SIZE_FIRST)
    step(AGAIN, lambda: tool.push(work, 2))
    step(FORGET_AGAIN, lambda: tool.forget(2))
    if name in FRESH_SETS:
        step(FRESH, lambda: fresh_directory(tool, dataset, state))
    importlib.import_module(f"datasets.{name}").sync(dataset, work)
    warm(work)
    step(SYNCED, lambda: tool.push(work, 3))
    size(SIZE_BOTH)
    if step(PULL, lambda: tool.pull(3, target)) and number == 0:
        step(PULLED, lambda: same(work, tool.pulled(target, work)))
    step(CHECK, tool.check)
    step(FORGET, lambda: tool.forget(1))
    size(SIZE_AFTER)


def initial(tool, work):
    """The first push, into a repository made before."""
    tool.init()
    return tool.push(work, 1)


def fresh_directory(tool, dataset, state):
    """Pushes `next` from another folder, then puts repository and caches back as they were."""
    saved = state + ".saved"
    subprocess.run(["cp", "-a", state, saved], check=True)
    fresh = os.path.join(dataset, "next")
    warm(fresh)
    try:
        return tool.push(fresh, 3)
    finally:
        os.rename(state, state + ".fresh")
        os.rename(saved, state)


def warm(folder):
    """Reads everything once, so that each program finds it in the page cache."""
    buffer = bytearray(1 << 20)
    for where, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(where, name)
            if os.path.isfile(path) and not os.path.islink(path):
                with open(path, "rb", buffering=0) as file:
                    while file.readinto(buffer):
                        pass


def same(source, pulled):
    """Whether a pull brought back every file, byte by byte."""
    for where, folders, names in os.walk(source):
        there = os.path.join(pulled, os.path.relpath(where, source))
        if sorted(os.listdir(there)) != sorted(folders + names):
            raise measure.Failed(f"{there} has not the entries of {where}")
        for name in names:
            a, b = os.path.join(where, name), os.path.join(there, name)
            if os.path.islink(a):
                equal = os.readlink(a) == os.readlink(b)
            else:
                equal = filecmp.cmp(a, b, shallow=False)
            if not equal:
                raise measure.Failed(f"{b} differs from {a}")


def clear(scratch):
    """Removes what the runs left, but not the logs."""
    for name in os.listdir(scratch):
        place = os.path.join(scratch, name)
        log = os.path.join(place, "log")
        if os.path.exists(log):
            os.replace(log, place + ".log")
        if os.path.isdir(place):
            shutil.rmtree(place, ignore_errors=True)
