"""cas."""

import os
import shutil

from .tool import Tool


class Cas(Tool):
    name = "cas"
    program = "cas"
    environment = {"CAS_IDENTITY": "{state}/identity"}

    @classmethod
    def path(cls):
        # `compare --cas FILE` says where.
        return shutil.which(os.environ.get("BENCH_CAS", cls.program))

    def init(self):
        return self.run("init", "--store", self.repository)

    def push(self, source, version):
        return self.run("push", "--store", self.repository, source, "--name", "data")

    def pull(self, version, target):
        return self.run("pull", "--store", self.repository, "data", target)

    def check(self):
        return self.run("check", "--store", self.repository, "--read-data")

    def forget(self, version):
        gone = self.run("forget", "--store", self.repository, f"data@{version}")
        return gone + self.run("gc", "--store", self.repository, "--now")
