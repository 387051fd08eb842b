"""Logits where they are needed: the one door between token ids and a model.

Batches are padded on the right. A causal model never looks right, so its real positions come
out the same with no attention mask at all, which keeps attention on its fastest path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Token ids and the positions whose next token is asked for.

    ``rows[i], columns[i]`` is the position that predicts the token ``targets[i]``.
    """

    input_ids: Tensor  #: (sequences, tokens), padded on the right
    rows: Tensor  #: (supervised,)
    columns: Tensor  #: (supervised,)
    targets: Tensor  #: (supervised,)


def collate(tokens: Sequence[Sequence[int]], starts: Sequence[int], device: str) -> Batch:
    """Make a batch that asks for ``tokens[i][starts[i]:]`` of every sequence ``i``.

    The last token of a sequence is asked for, never read, so it is not part of the input.
    """
    longest = max(len(sequence) for sequence in tokens) - 1
    padded = [[*sequence[:-1], *[0] * (longest + 1 - len(sequence))] for sequence in tokens]
    asked = [
        (row, position - 1, sequence[position])
        for row, (sequence, start) in enumerate(zip(tokens, starts, strict=True))
        for position in range(start, len(sequence))
    ]
    rows, columns, targets = (list(part) for part in zip(*asked, strict=True))
    tensors = (torch.tensor(part, device=device) for part in (padded, rows, columns, targets))
    return Batch(*tensors)


def supervised_logits(model: Any, batch: Batch) -> Tensor:
    """Logits in fp32 at the batch's supervised positions, shape (supervised, vocabulary).

    The head runs only on columns that some sequence needs (``logits_to_keep`` of transformers).
    """
    kept, where = batch.columns.unique(return_inverse=True)
    output = model(input_ids=batch.input_ids, logits_to_keep=kept, use_cache=False)
    logits: Tensor = output.logits[batch.rows, where]
    return logits.float()
