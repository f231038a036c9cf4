"""What `compare` asks of a program: one method per step, each answers what it cost."""

import os
import shutil

import measure

PASSWORD = "benchmark"


class Tool:
    """A program with a fresh repository in the folder `state`."""

    name = ""
    program = ""
    environment = {}
    version_command = "--version"

    def __init__(self, state, log):
        self.state = state
        self.log = log
        self.repository = os.path.join(state, "repository")
        home = os.path.join(state, "home")
        os.makedirs(home)
        self.env = {key: value for key, value in os.environ.items() if not key.startswith(self.own_variables())}
        xdg = {f"XDG_{kind}_HOME": os.path.join(home, kind.lower()) for kind in ("CACHE", "CONFIG", "DATA", "STATE")}
        # A bus or a runtime folder of the user would be a way back to the user's files.
        self.env.pop("XDG_RUNTIME_DIR", None)
        self.env.update(xdg, HOME=home, LC_ALL="C.UTF-8")
        self.env.update({key: value.format(state=state, password=PASSWORD) for key, value in self.environment.items()})

    @classmethod
    def path(cls):
        """Where the program is, or None."""
        return shutil.which(cls.program)

    @classmethod
    def version(cls):
        """What it says about itself."""
        return measure.answer([cls.path(), cls.version_command], dict(os.environ), "/").strip().splitlines()[0]

    @classmethod
    def own_variables(cls):
        """Environment variables with these beginnings are the user's and are not passed on."""
        return (cls.name.upper() + "_",)

    def run(self, *arguments, folder="/"):
        """Runs the program."""
        return measure.run([self.path(), *arguments], self.env, folder, self.log)

    def shell(self, script, folder="/"):
        """Runs a pipeline."""
        return measure.run(script, self.env, folder, self.log)

    def ask(self, *arguments):
        """What the program prints; not measured."""
        return measure.answer([self.path(), *arguments], self.env, "/")

    def init(self):
        """Makes the repository."""
        raise NotImplementedError

    def push(self, source, version):
        """Stores the folder as version 1, 2 …"""
        raise NotImplementedError

    def pull(self, version, target):
        """Restores everything of a version below the folder `target`, which does not exist yet."""
        raise NotImplementedError

    def pulled(self, target, source):
        """Where below `target` the content of `source` lies after a pull."""
        return target

    def check(self):
        """Verifies the repository with all data."""
        raise NotImplementedError

    def forget(self, version):
        """Removes a version and frees its space now."""
        raise NotImplementedError
