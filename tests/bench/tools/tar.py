"""tar | zstd -3: no dedup, no encryption, no versions; what the machine can do at best on a first push."""

import os
import shlex

from .tool import Tool


class Tar(Tool):
    name = "tar|zstd"
    program = "zstd"

    def archive(self, version):
        return shlex.quote(os.path.join(self.repository, f"{version}.tar.zst"))

    def init(self):
        os.makedirs(self.repository)

    def push(self, source, version):
        return self.shell(f"tar --sparse -C {shlex.quote(source)} -cf - . | zstd -q -3 -T0 -o {self.archive(version)}")

    def pull(self, version, target):
        os.makedirs(target)
        return self.shell(f"zstd -q -dc {self.archive(version)} | tar --sparse -C {shlex.quote(target)} -xpf -")

    def check(self):
        return self.shell(f"zstd -q -t {shlex.quote(self.repository)}/*.zst")

    def forget(self, version):
        return self.shell(f"rm {self.archive(version)}")
