"""What shares leave open: the share that, beside given ones, makes any secret that one likes.

Shamir's polynomials over GF(2^128) with arithmetic of its own, so that it depends on nothing that
it tests: numbers are polynomials over GF(2), reduced by x^128 + x^7 + x^2 + x + 1.
"""

from __future__ import annotations

from functools import lru_cache

BLOCK = 16
_REDUCING = (1 << 128) | 0b10000111


def times(a, b):
    found = 0
    while b:
        if b & 1:
            found ^= a
        a, b = a << 1, b >> 1
        if a >> 128:
            a ^= _REDUCING
    return found


@lru_cache
def inverse(a):
    """By Fermat: the power 2^128 - 2."""
    found, power = 1, 2**128 - 2
    while power:
        if power & 1:
            found = times(found, a)
        a, power = times(a, a), power >> 1
    return found


def at(place, points):
    """The value at ``place`` of the polynomial through ``points``, by Lagrange."""
    total = 0
    for x, y in points.items():
        for other in points:
            if other != x:
                y = times(y, times(place ^ other, inverse(x ^ other)))
        total ^= y
    return total


def completing(shares, secret, index):
    """The share with an ``index`` with which ``shares``, one too few, make ``secret``."""
    starts = range(0, len(secret), BLOCK)
    return b"".join(
        at(index, {0: _number(secret, start)} | {i: _number(s, start) for i, s in shares.items()})
        .to_bytes(BLOCK, "big")
        for start in starts
    )  # fmt: skip


def _number(content, start):
    return int.from_bytes(content[start : start + BLOCK], "big")
