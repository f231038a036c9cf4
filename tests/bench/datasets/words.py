"""Random text that compresses like text: words by Zipf's law, numbers, names. All from a seeded `random.Random`."""

import itertools

SYLLABLES = [c + v + e for c in "bcdfghklmnprstvw" for v in "aeiou" for e in ("", "n", "r", "st")]


def vocabulary(random, count):
    """Words of one to four syllables, no two alike."""
    words = {}
    while len(words) < count:
        words["".join(random.choice(SYLLABLES) for _ in range(random.choice((1, 2, 2, 3, 3, 4))))] = None
    return list(words)


def zipf_weights(count, rare=2):
    """Cumulative weights: the n-th word is about n times rarer than the first; a larger `rare` makes them more equal."""
    return list(itertools.accumulate(1.0 / (rank + rare) for rank in range(count)))
