"""Who is hostile."""

from __future__ import annotations

from collections.abc import Sequence

from fedbench.streams import generator


def hostile_sites(sites: Sequence[str], share: float, seed: int) -> tuple[str, ...]:
    """A ``share`` of ``sites``, rounded to whole ones, at least one where it is above 0; sorted.

    Each site draws its own place in the order in which sites turn hostile, so that a larger share
    only adds to them.
    """
    if not share:
        return ()
    drawn = sorted(sites, key=lambda site: generator("hostile", seed, site).random())
    return tuple(sorted(drawn[: max(1, round(share * len(drawn)))]))
