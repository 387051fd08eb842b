"""Backbones of seven and eight billion parameters with drawn weights, built where they are used.

Time, memory and energy of a step do not depend on what the weights are, so nothing is downloaded;
what such a model answers means nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from fedbench.errors import FedbenchError
from fedbench.report.shapes import KNOWN, Shape
from fedbench.seeding import seeded
from fedbench.streams import seed_of

#: Which of the known shapes are measured, and the architecture of each.
LARGE: Mapping[str, str] = {
    "meta-llama/Llama-3.1-8B-Instruct": "llama",
    "mistralai/Mistral-7B-Instruct-v0.3": "mistral",
    "Qwen/Qwen2.5-7B-Instruct": "qwen2",
}


def build(shape: Shape, architecture: str, device: str, dtype: str) -> Any:
    """A frozen backbone of this shape on ``device``, its weights drawn there."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        architecture,
        hidden_size=shape.hidden,
        intermediate_size=shape.between,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_heads,
        head_dim=shape.head,
        vocab_size=shape.vocabulary,
        tie_word_embeddings=shape.tied,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=1,
        use_cache=False,
    )
    with seeded(seed_of("benchmark", architecture)), torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
    return model.requires_grad_(False).eval()


def known(name: str) -> tuple[Shape, str]:
    """Shape and architecture of one of :data:`LARGE`.

    Raises:
        FedbenchError: it is not among them.
    """
    if name not in LARGE:
        raise FedbenchError(f"The shape of {name} is not known: use one of {', '.join(LARGE)}.")
    return KNOWN[name], LARGE[name]


@torch.no_grad()
def pack(model: Any, dtype: str) -> Any:
    """Replace every projection of every block by its NF4 form, as QLoRA loads a backbone.

    The same as loading stored weights with ``compute: nf4``: doubly quantised, multiplied in
    ``dtype``; the output head stays as it is.
    """
    from bitsandbytes.nn import Linear4bit, Params4bit

    for parent in list(model.model.modules()):
        for name, layer in list(parent.named_children()):
            if type(layer) is nn.Linear:
                packed = Linear4bit(
                    layer.in_features,
                    layer.out_features,
                    bias=layer.bias is not None,
                    compute_dtype=getattr(torch, dtype),
                    quant_type="nf4",
                    device="meta",
                )
                weight = layer.weight.data
                plain: Any = Params4bit(weight, requires_grad=False, quant_type="nf4")
                packed.weight = plain.to(weight.device)
                packed.bias = layer.bias
                setattr(parent, name, packed)
    model.is_loaded_in_4bit = True  # what peft asks before it puts LoRA on a layer
    return model
