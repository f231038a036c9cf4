"""The programs that are compared, each in one file, all with the same face (`tool.Tool`).

Equal conditions: encryption and zstd on where a program has them, default settings otherwise, a local repository, all
state (caches, keys, configuration) inside one scratch folder, as many threads as the program takes by itself.
"""

from . import borg, bupstash, cas, casync, kopia, restic, rustic, tar

ALL = [cas.Cas, tar.Tar, restic.Restic, borg.Borg, rustic.Rustic, bupstash.Bupstash, kopia.Kopia, casync.Casync]
