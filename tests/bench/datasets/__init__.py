"""The data sets, each in one file.

`make(folder, scale, options)` writes `first/` and `next/`, the same bytes from the same seed.
`sync(dataset, target)` turns a copy of `first/` into the next version and touches only what changed.
"""
