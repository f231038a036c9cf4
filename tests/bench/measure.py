"""Runs a command and says what it cost: wall time, CPU time and peak memory, of it and all its children.

Peak memory is never below `floor_mb()`: a child begins as a copy of this program, and Linux counts that.
"""

import os
import resource
import subprocess
import time
from dataclasses import dataclass


class Failed(Exception):
    """A command ended with an error; says which, and the end of what it printed."""


@dataclass
class Cost:
    wall_s: float = 0.0
    user_s: float = 0.0
    system_s: float = 0.0
    peak_mb: float = 0.0

    @property
    def cpu_s(self):
        return self.user_s + self.system_s

    def __add__(self, other):
        peak = max(self.peak_mb, other.peak_mb)
        times = (self.wall_s + other.wall_s, self.user_s + other.user_s, self.system_s + other.system_s)
        return Cost(*times, peak)


def floor_mb():
    """The least peak memory that can be measured."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def run(command, environment, folder, log):
    """Runs one command (a list, or a string for bash) in `folder`; what it prints goes to the file `log`."""
    if isinstance(command, str):
        command = ["bash", "-o", "pipefail", "-c", command]
    with open(log, "ab") as output:
        output.write(f"\n$ {' '.join(command)}\n".encode())
        output.flush()
        begins = output.tell()
        began = time.monotonic()
        child = subprocess.Popen(command, env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.monotonic() - began
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        with open(log, "rb") as output:
            output.seek(begins)
            end = output.read()[-600:].decode(errors="replace").strip()
        raise Failed(f"{' '.join(command)[:200]}: exit code {child.returncode}: {end}")
    return Cost(wall, usage.ru_utime, usage.ru_stime, usage.ru_maxrss / 1024)


def answer(command, environment, folder):
    """What a command prints; not measured."""
    done = subprocess.run(command, env=environment, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)[:200]}: exit code {done.returncode}: {done.stderr[-600:].strip()}")
    return done.stdout


def stored_bytes(folder):
    """Bytes on disk below a folder: blocks, not lengths, as `du` counts."""
    total = 0
    for where, _, names in os.walk(folder):
        total += sum(os.lstat(os.path.join(where, name)).st_blocks * 512 for name in names)
    return total
