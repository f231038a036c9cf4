"""casync: no encryption. It has no check; its digest of an index reads and verifies every chunk."""

import glob
import os

from .tool import Tool


class Casync(Tool):
    name = "casync"
    program = "casync"

    def init(self):
        os.makedirs(self.repository)

    def index(self, version):
        return os.path.join(self.repository, f"v{version}.caidx")

    def store(self):
        return f"--store={self.repository}/default.castr"

    def push(self, source, version):
        return self.run("make", self.store(), "--compression=zstd", self.index(version), source)

    def pull(self, version, target):
        return self.run("extract", self.store(), self.index(version), target)

    def check(self):
        costs = [self.run("digest", self.store(), path) for path in sorted(glob.glob(self.index("*")))]
        return sum(costs[1:], costs[0])

    def forget(self, version):
        os.remove(self.index(version))
        return self.run("gc", self.store(), *sorted(glob.glob(self.index("*"))))
