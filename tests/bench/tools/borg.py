"""borg."""

import os

from .tool import Tool


class Borg(Tool):
    name = "borg"
    program = "borg"
    environment = {
        "BORG_REPO": "{state}/repository",
        "BORG_PASSPHRASE": "{password}",
        "BORG_BASE_DIR": "{state}/home",
        "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
    }

    def init(self):
        return self.run("init", "--encryption", "repokey-blake2")

    def push(self, source, version):
        return self.run("create", "--compression", "zstd,3", f"::v{version}", ".", folder=source)

    def pull(self, version, target):
        os.makedirs(target)
        return self.run("extract", "--sparse", f"::v{version}", folder=target)

    def check(self):
        return self.run("check", "--verify-data")

    def forget(self, version):
        return self.run("delete", f"::v{version}") + self.run("compact")
