"""fedbench: a benchmark of federated fine-tuning of language models on private data.

>>> import fedbench
>>> run = fedbench.run(fedbench.RunConfig(task="lookalike_fpb", setting="federated"))
>>> run.metrics["accuracy"]
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedbench.config import PartitionConfig, RunConfig
from fedbench.errors import FedbenchError
from fedbench.store import Run, load

if TYPE_CHECKING:
    from collections.abc import Callable

__version__ = "0.1.0"
__all__ = ["FedbenchError", "PartitionConfig", "Run", "RunConfig", "load", "resolve", "run"]


def run(
    config: RunConfig,
    progress: Callable[[float], None] = lambda share: None,
    *,
    again: bool = False,
) -> Run:
    """Do one run, or return it if it was done before; see :func:`fedbench.running.run`."""
    # Imported here because torch and transformers take seconds that reading results need not.
    from fedbench.running import run as run_

    return run_(config, progress, again=again)


def resolve(config: RunConfig) -> RunConfig:
    """The canonical form of a configuration; see :func:`fedbench.resolving.resolve`."""
    from fedbench.resolving import resolve as resolve_

    return resolve_(config)
