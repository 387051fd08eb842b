"""fedbench: a benchmark of federated fine-tuning of language models on private data.

>>> import fedbench
>>> run = fedbench.run(fedbench.RunConfig(task="lookalike_fpb", setting="federated"))
>>> run.metrics["accuracy"]
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from fedbench.config import PartitionConfig, RunConfig
    from fedbench.errors import FedbenchError
    from fedbench.store import Run, load

__version__ = "0.1.0"
__all__ = ["FedbenchError", "PartitionConfig", "Run", "RunConfig", "load", "resolve", "run"]

#: where what is offered here comes from: imported when it is asked for, as commands need little
_HOMES = {
    "FedbenchError": "errors",
    "PartitionConfig": "config",
    "RunConfig": "config",
    "Run": "store",
    "load": "store",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def run(
    config: RunConfig,
    progress: Callable[[float], None] = lambda share: None,
    *,
    again: bool = False,
    engine: str = "in-process",
) -> Run:
    """Do one run, or return it if it was done before; see :func:`fedbench.running.run`.

    With ``engine="flower"`` its payloads travel over Flower, on this machine and with the same
    result; the logger ``fedbench`` is told how many bytes that took.
    """
    # Imported here because torch and transformers take seconds that reading results need not.
    import logging

    from fedbench.deployment.ways import way_of
    from fedbench.running import run as run_

    say = logging.getLogger("fedbench").info
    return run_(config, progress, again=again, way=way_of(engine, say))


def resolve(config: RunConfig) -> RunConfig:
    """The canonical form of a configuration; see :func:`fedbench.resolving.resolve`."""
    from fedbench.resolving import resolve as resolve_

    return resolve_(config)
