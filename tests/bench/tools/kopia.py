"""kopia."""

import json
import os

from .tool import Tool


class Kopia(Tool):
    name = "kopia"
    program = "kopia"
    environment = {
        "KOPIA_PASSWORD": "{password}",
        "KOPIA_CONFIG_PATH": "{state}/kopia.config",
        "KOPIA_CACHE_DIRECTORY": "{state}/cache",
        "KOPIA_LOG_DIR": "{state}/logs",
        "KOPIA_CHECK_FOR_UPDATES": "false",
    }

    def init(self):
        os.makedirs(self.repository)
        made = self.run("repository", "create", "filesystem", "--path", self.repository)
        return made + self.run("policy", "set", "--global", "--compression=zstd")

    def push(self, source, version):
        return self.run("snapshot", "create", "--no-progress", "--tags", f"version:{version}", source)

    def pull(self, version, target):
        return self.run("restore", "--no-progress", self.snapshot(version), target)

    def check(self):
        return self.run("snapshot", "verify", "--verify-files-percent=100")

    def forget(self, version):
        gone = self.run("snapshot", "delete", "--delete", self.snapshot(version))
        # Without waiting for clocks; twice, since the second run removes what the first found unused.
        collect = ("maintenance", "run", "--full", "--safety=none")
        return gone + self.run(*collect) + self.run(*collect)

    def snapshot(self, version):
        for snapshot in json.loads(self.ask("snapshot", "list", "--all", "--json", "--tags", f"version:{version}")):
            return snapshot["id"]
        raise LookupError(f"kopia has no snapshot {version}")
