"""Where the chance of privacy comes from: seeded streams, or the operating system.

A simulation draws its noise and its samples from seeded streams, because a run is a function of its
configuration; whoever knows the seed can take them off again. A real site, and the server of a real
federation, must draw them where nobody can look: from the operating system. Then the same turn,
asked for again, has other noise: it is a release of its own, and costs its own epsilon. To answer a
message twice without that, the first answer must be kept (:mod:`fedbench.deployment.resending`).

Nothing else that the public seed decides at a site is secret in what epsilon promises. The rounding
of codecs is done to an update that has its noise already. Dropout, and batches that are passes
over the examples in an order that the seed tells, exist only where examples are not private: there
a server that knows both learns more easily from an update, of which nothing was promised. Keys and
masks of secure aggregation come from the operating system always.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fedbench.privacy.noise import Source, real, simulated
from fedbench.streams import Uniform, uniform


@dataclass(frozen=True)
class Chance:
    """Where noise and samples come from, and which releases are therefore the same."""

    noise: Callable[..., Source]  #: of a key
    sample: Callable[..., Uniform]  #: of the name of a stream and a key
    #: the name of a release whose tensors, and whose key of noise, have this digest
    release: Callable[[str], str]


def from_system(count: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Multiples of 2**-53 from [0, 1), all equally likely, of the operating system's bytes."""
    bits = np.frombuffer(os.urandom(8 * count), dtype=np.uint64) >> 11
    return bits.astype(np.float64).reshape(count) * 2.0**-53


def _noise(*key: int | str) -> Source:
    return real()


def _sample(name: str, *key: int | str) -> Uniform:
    return from_system


def _same(digest: str) -> str:
    return digest


def _of_its_own(digest: str) -> str:
    return f"{digest}+{secrets.token_hex(16)}"


#: a function of the configuration
SIMULATED = Chance(simulated, uniform, _same)
#: other at every call, whatever the key
REAL = Chance(_noise, _sample, _of_its_own)
