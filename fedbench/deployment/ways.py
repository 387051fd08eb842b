"""How the payloads of a run may travel, by the names that users have for it."""

from __future__ import annotations

from collections.abc import Callable

from fedbench.deployment.extra import check_flower
from fedbench.errors import FedbenchError, shown
from fedbench.running import IN_PROCESS, Way

FLOWER = "flower"


def way_of(engine: str, say: Callable[[str], None]) -> Way:
    """The way of a name: ``in-process``, or ``flower``.

    Args:
        engine: the name.
        say: is told at the end of a run over Flower how many bytes that took.

    Raises:
        FedbenchError: there is none of that name, or what it takes is not installed.
    """
    if engine == IN_PROCESS.name:
        return IN_PROCESS
    if engine != FLOWER:
        raise FedbenchError(f"engine = {shown(engine)} is not known: in-process, or {FLOWER}.")
    check_flower()
    # Imported here because it imports Flower, which most do without.
    from fedbench.deployment.rehearsal import rehearsed

    return Way(FLOWER, lambda prepared, model, folder: rehearsed(prepared, model, folder, say))
