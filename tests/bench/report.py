"""Results of all runs, and tables of their medians with cas beside the best peer and beside tar|zstd."""

import json
import os
import platform
import statistics

import measure
import steps

METRICS = [
    ("wall time, s", "wall_s"),
    ("user + system CPU, s", "cpu_s"),
    ("user CPU, s", "user_s"),
    ("peak memory, MB", "peak_mb"),
]
OWN, BOUND = "cas", "tar|zstd"
WIDTH = 12


class Results:
    """Costs and sizes by data set, step and program."""

    def __init__(self, runs, versions):
        self.runs = runs
        self.versions = versions
        self.values = {}
        self.failures = []

    def add(self, dataset, step, tool, value):
        """Keeps a `Cost`, a number of bytes, or a failure."""
        if isinstance(value, measure.Failed):
            self.failures.append((dataset, step, tool, str(value)))
        elif value is not None:
            self.values.setdefault((dataset, step, tool), []).append(value)

    def median(self, dataset, step, tool, metric):
        """The median over the runs, or None if there is no complete set of runs."""
        values = self.values.get((dataset, step, tool), [])
        if len(values) < self.runs:
            return None
        return statistics.median(value if metric is None else getattr(value, metric) for value in values)

    def tables(self, dataset):
        """All tables of one data set, as text."""
        parts = [f"== {dataset}, median of {self.runs} · {cpu()}"]
        parts += [f"   {name}: {version}" for name, version in self.versions.items()]
        parts += [self.table(dataset, title, steps.STEPS, metric, 1) for title, metric in METRICS]
        parts.append(self.table(dataset, "stored, MB", steps.SIZES, None, 1e6))
        parts.append(f"\npeak memory below {measure.floor_mb()} MB cannot be told apart")
        for where, step, tool, why in self.failures:
            if where == dataset:
                parts.append(f"failed: {tool}: {step}: {why}")
        return "\n".join(parts) + "\n"

    def table(self, dataset, title, rows, metric, unit):
        """One metric: rows are steps, columns are programs and the two ratios."""
        names = list(self.versions)
        lines = [f"\n{title:<28}" + "".join(f"{name:>{WIDTH}}" for name in [*names, "cas/peer", "cas/tar"])]
        for row in rows:
            values = {name: self.median(dataset, row, name, metric) for name in names}
            if all(value is None for value in values.values()):
                continue
            peers = [value for name, value in values.items() if name not in (OWN, BOUND) and value is not None]
            ratios = [ratio(values.get(OWN), min(peers, default=None)), ratio(values.get(OWN), values.get(BOUND))]
            cells = ["-" if values[name] is None else f"{values[name] / unit:.2f}" for name in names]
            lines.append(f"{row:<28}" + "".join(f"{cell:>{WIDTH}}" for cell in cells + ratios))
        return "\n".join(lines)

    def write(self, path):
        """Every single value, as JSON."""
        values = [
            {"set": dataset, "step": step, "tool": tool, "runs": [one if isinstance(one, int) else vars(one) for one in runs]}
            for (dataset, step, tool), runs in self.values.items()
        ]
        content = {"machine": cpu(), "versions": self.versions, "values": values, "failures": self.failures}
        with open(path, "w") as file:
            json.dump(content, file, indent=1)


def ratio(own, other):
    """How many times the other's value ours is; small times are noise, not ratios."""
    return f"{own / other:.2f}" if own is not None and other else "-"


def cpu():
    """The processor's name, and how many."""
    try:
        with open("/proc/cpuinfo") as file:
            name = next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.machine()
    return f"{os.cpu_count()} × {name}"
