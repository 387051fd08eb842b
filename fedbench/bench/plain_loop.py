"""Local training and averaging as one writes it with Hugging Face and peft, and nothing else.

What is compared with is in this file, whole: the batch padded to its longest sequence, the prompt
labelled -100, ``model(**batch).loss``, AdamW, clipping; then the mean of the adapters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fedbench.tokens import Answered

PADDING = 1  #: token id
_IGNORED = -100  #: label that the loss of Hugging Face's models leaves out


def pad(examples: Sequence[Answered]) -> dict[str, Tensor]:
    """A batch as the models take it: ids, mask and labels, each (sequences, tokens)."""
    width = max(len(example.tokens) for example in examples)
    ids, mask, labels = [], [], []
    for example in examples:
        tokens, missing = list(example.tokens), width - len(example.tokens)
        ids.append(tokens + [PADDING] * missing)
        mask.append([1] * len(tokens) + [0] * missing)
        answer = tokens[example.start :]
        labels.append([_IGNORED] * example.start + answer + [_IGNORED] * missing)
    return {
        "input_ids": torch.tensor(ids),
        "attention_mask": torch.tensor(mask),
        "labels": torch.tensor(labels),
    }


def train(model: Any, batches: Sequence[Sequence[Answered]], learning_rate: float) -> list[float]:
    """One step per batch, in place; the loss of every step."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=learning_rate, weight_decay=0.0)
    device = trainable[0].device
    losses = []
    model.train()
    for examples in batches:
        optimizer.zero_grad()
        inputs = {name: values.to(device) for name, values in pad(examples).items()}
        loss = model(**inputs).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trainable, 1.0)
        optimizer.step()
        losses.append(loss.item())
    return losses


def adapter(model: Any) -> dict[str, Tensor]:
    """A copy of the adapter as peft saves it."""
    from peft import get_peft_model_state_dict

    return {name: value.clone() for name, value in get_peft_model_state_dict(model).items()}


def load(model: Any, tensors: dict[str, Tensor]) -> None:
    """Write an adapter into the model."""
    from peft import set_peft_model_state_dict

    set_peft_model_state_dict(model, tensors)


def mean(adapters: Sequence[dict[str, Tensor]], weights: Sequence[int]) -> dict[str, Tensor]:
    """Their weighted mean, tensor by tensor."""
    total = sum(weights)
    return {
        name: sum((w / total) * a[name] for w, a in zip(weights, adapters, strict=True))  # type: ignore[misc]
        for name in adapters[0]
    }
