"""Epsilon of what was released, by opacus's accountants and never by our own mathematics.

Every release is a Gaussian mechanism of sensitivity 1 and standard deviation ``noise``, on a unit
that took part with probability ``rate`` (Poisson sampling; 1 claims no amplification).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Literal, NamedTuple

from fedbench.errors import FedbenchError

#: numerical composition of privacy loss (Gopi et al., arXiv:2106.02848), or of Renyi divergences
#: (Mironov et al., arXiv:1908.10530), which is looser and never breaks down
Accountant = Literal["prv", "rdp"]


class Releases(NamedTuple):
    """A number of releases of the same kind."""

    noise: float  #: standard deviation, in units of the sensitivity
    rate: float  #: probability with which a unit takes part
    times: int


#: above it, the looser bound is told: nothing is promised either way, and numerical composition
#: would take memory in proportion
_MEANINGLESS = 200.0


def epsilon(releases: Sequence[Releases], delta: float, accountant: Accountant) -> float:
    """Epsilon of all ``releases`` together at ``delta``; 0 for none."""
    made = tuple(release for release in releases if release.times)
    loose = _epsilon(made, delta, "rdp")
    return loose if loose > _MEANINGLESS else _epsilon(made, delta, accountant)


@lru_cache(maxsize=4096)
def _epsilon(releases: tuple[Releases, ...], delta: float, accountant: Accountant) -> float:
    if not releases:
        return 0.0
    with _quietly():
        from opacus.accountants import create_accountant

        counting = create_accountant(accountant)
        counting.history = [tuple(one) for one in releases]
        # Below 0 where delta alone allows more than was released.
        return max(0.0, float(counting.get_epsilon(delta)))


@lru_cache(maxsize=4096)
def noise_for(
    target: float, delta: float, rate: float, count: int, accountant: Accountant
) -> float:
    """The least noise with which so many releases stay within the epsilon ``target``.

    Found by opacus to within 0.01 of the target, from below.

    Raises:
        FedbenchError: no noise is enough, as far as the accountant can tell.
    """
    with _quietly():
        from opacus.accountants.utils import get_noise_multiplier

        try:
            return float(
                get_noise_multiplier(
                    target_epsilon=target,
                    target_delta=delta,
                    sample_rate=rate,
                    steps=count,
                    accountant=accountant,
                    epsilon_tolerance=min(0.01, target / 100),
                )
            )
        except ValueError:
            raise FedbenchError(
                f"privacy.epsilon = {target:g} cannot be told to be reached in {count} releases by "
                f"the accountant {accountant}: take a larger epsilon, fewer rounds or passes"
                f"{', or the accountant prv' if accountant == 'rdp' else ''}."
            ) from None


@contextmanager
def _quietly() -> Iterator[None]:
    """Without warnings of limits (log of zero at rate 1) and of orders that give a looser bound."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
