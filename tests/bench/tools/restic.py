"""restic."""

import json

from .tool import Tool


class Restic(Tool):
    name = "restic"
    program = "restic"
    environment = {"RESTIC_REPOSITORY": "{state}/repository", "RESTIC_PASSWORD": "{password}"}

    version_command = "version"

    def init(self):
        return self.run("init", "--repository-version", "2")

    def push(self, source, version):
        return self.run("backup", "--quiet", "--tag", f"v{version}", ".", folder=source)

    def pull(self, version, target):
        return self.run("restore", self.snapshot(version), "--target", target)

    def check(self):
        return self.run("check", "--read-data")

    def forget(self, version):
        return self.run("forget", "--prune", self.snapshot(version))

    def snapshot(self, version):
        return json.loads(self.ask("snapshots", "--json", "--tag", f"v{version}"))[0]["id"]
