"""rustic: the same repository format as restic."""

import json
import os

from .tool import Tool


class Rustic(Tool):
    name = "rustic"
    program = "rustic"
    environment = {"RUSTIC_REPOSITORY": "{state}/repository", "RUSTIC_PASSWORD": "{password}"}

    def init(self):
        return self.run("init")

    def push(self, source, version):
        return self.run("backup", "--tag", f"v{version}", source)

    def pull(self, version, target):
        return self.run("restore", self.snapshot(version), target)

    def pulled(self, target, source):
        return os.path.join(target, source.lstrip("/"))

    def check(self):
        return self.run("check", "--read-data")

    def forget(self, version):
        return self.run("forget", "--prune", "--instant-delete", "--keep-delete", "0s", self.snapshot(version))

    def snapshot(self, version):
        """Groups of snapshots, each with its snapshots; older versions print pairs."""
        for group in json.loads(self.ask("snapshots", "--json")):
            for snapshot in group["snapshots"] if isinstance(group, dict) else group[1]:
                if f"v{version}" in snapshot["tags"]:
                    return snapshot["id"]
        raise LookupError(f"rustic has no snapshot v{version}")
