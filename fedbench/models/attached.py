"""A backbone with a method on it, for as long as a run needs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from torch import nn

from fedbench.config import RunConfig
from fedbench.models.backbones import load_model, load_tokenizer, model_type
from fedbench.models.deltas import fold
from fedbench.models.families import family_of
from fedbench.models.methods import METHODS
from fedbench.models.placement import as_if_here
from fedbench.models.quantise import backbone_bytes
from fedbench.models.tensors import load_tensors, trained_tensors
from fedbench.seeding import seeded
from fedbench.streams import seed_of

#: One backbone at a time stays in a process: runs of a grid come sorted by backbone.
_backbone = lru_cache(maxsize=1)(load_model)
tokenizer_of = lru_cache(maxsize=2)(load_tokenizer)


@contextmanager
def attached(config: RunConfig) -> Iterator[nn.Module]:
    """The model of ``config``, its adapter freshly initialised from the ``init`` stream.

    The backbone is loaded once per process. On leaving, its weights and trained values are restored
    and the adapter is taken off, so that the next run finds the backbone as it was.
    """
    backbone = _backbone_of(config)
    method = METHODS[config.method]
    with seeded(seed_of("init", config.seed)), as_if_here(backbone, config.device):
        model = method.attach(backbone, family_of(model_type(config.backbone)), config)
    initial = trained_tensors(model)
    if config.checkpointing:
        backbone.activation_checkpointing_enable({"use_reentrant": False})
    try:
        yield model.eval()
    finally:
        fold(model, {})
        load_tensors(model, initial)
        if config.checkpointing:
            backbone.activation_checkpointing_disable()
        method.detach(model)


def backbone_sizes(config: RunConfig) -> dict[str, int]:
    """Parameters of the bare backbone of ``config``, and their bytes as they lie in memory.

    To be asked while nothing is attached.
    """
    backbone = _backbone_of(config)
    return {
        "backbone_parameters": backbone.num_parameters(),
        "backbone_bytes": backbone_bytes(backbone),
    }


def _backbone_of(config: RunConfig) -> Any:
    return _backbone(
        config.backbone,
        dtype=config.dtype,
        device=config.device,
        compute=config.compute,
        placement=config.placement,
    )
