"""A language model small enough to work out by hand, and sites that train it.

The next token depends on the present one alone: logits are a row of a table plus a bias. It
answers to the same calls as a transformer, so everything above the models runs on it in
milliseconds, and gradients have closed forms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from fedbench.config import PartitionConfig, RunConfig
from fedbench.site import SiteContext
from fedbench.tokens import Answered, Tokenised

SIZE = 7


class Bigram(nn.Module):
    config = SimpleNamespace(
        model_type="bigram", num_hidden_layers=0, num_attention_heads=1, head_dim=1
    )

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(SIZE, SIZE))
        self.bias = nn.Parameter(torch.zeros(SIZE))

    @property
    def dtype(self) -> torch.dtype:
        return self.table.dtype

    def get_input_embeddings(self) -> nn.Module:
        return self

    def forward(
        self, input_ids: Tensor, logits_to_keep: Tensor, use_cache: bool = False, **ignored: Any
    ) -> SimpleNamespace:
        return SimpleNamespace(logits=(self.table[input_ids] + self.bias)[:, logits_to_keep])


def config(**values: Any) -> RunConfig:
    """Settings under which few steps move the toy far."""
    sites = values.pop("sites", 2)
    defaults = {
        "task": "toy",
        "compute": "plain",
        "rounds": 3,
        "passes": 6,
        "batch_size": 2,
        "learning_rate": 0.1,
        "partition": PartitionConfig(sites=sites),
    }
    return RunConfig.model_validate({**defaults, **values})


def sequences(*pairs: tuple[int, int]) -> list[Answered]:
    """One training sequence per (prompt token, answer token), ended by token 0."""
    return [Answered((prompt, answer, 0), 1) for prompt, answer in pairs]


def contexts(
    held: Mapping[str, Sequence[Answered]], config: RunConfig, folder: Path
) -> dict[str, SiteContext]:
    """Sites that share one model, each asked to tell its first answer from token 6."""
    model = Bigram()
    return {
        site: SiteContext(
            site=site,
            config=config,
            model=model,
            training=list(training),
            validation=[Tokenised(training[0].tokens[:1], ((training[0].tokens[1],), (6,)))],
            validation_gold=[0],
            length_normalised=False,
            initial=initial(),
            folder=folder,
        )
        for site, training in held.items()
    }


def initial() -> dict[str, Tensor]:
    from fedbench.models.tensors import trained_tensors

    return trained_tensors(Bigram())
