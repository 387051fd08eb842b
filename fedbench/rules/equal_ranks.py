"""For rules under which sites of unequal ranks have no meaning."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fedbench.rules.rule import anything

if TYPE_CHECKING:
    from fedbench.config import RunConfig


NOT_DERIVED = "it is not derived for sites of unequal ranks"


def only_equal_ranks(
    why: str, also: Callable[[RunConfig], str] = anything
) -> Callable[[RunConfig], str]:
    """Refuse unequal ranks, for the reason ``why``, and whatever ``also`` refuses."""

    def refuses(config: RunConfig) -> str:
        return why if config.partition.ranks else also(config)

    return refuses
