"""How large a backbone is and what a method adds to it, counted from its shape alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedbench.errors import FedbenchError
from fedbench.files import read_json
from fedbench.models.backbones import BUILT_IN, locate
from fedbench.models.fresh_weights import SUFFIX


@dataclass(frozen=True)
class Shape:
    """A decoder with gated feed-forward layers and grouped-query attention."""

    hidden: int
    between: int  #: width of the feed-forward layer
    layers: int
    heads: int
    key_heads: int
    head: int  #: width of one head
    vocabulary: int
    tied: bool  #: one matrix for input and output embeddings
    bias: bool  #: on queries, keys and values

    @property
    def queries(self) -> int:
        """Width of all queries."""
        return self.heads * self.head

    @property
    def keys(self) -> int:
        """Width of all keys, and of all values."""
        return self.key_heads * self.head

    @property
    def projections(self) -> tuple[tuple[int, int], ...]:
        """(in, out) of the seven linear projections of a block."""
        h, q, k, b = self.hidden, self.queries, self.keys, self.between
        return ((h, q), (h, k), (h, k), (q, h), (h, b), (h, b), (b, h))

    @property
    def linear(self) -> int:
        """Weights of all projections: what multiplies every token, and what NF4 packs."""
        return self.layers * sum(a * b for a, b in self.projections)

    @property
    def parameters(self) -> int:
        """Every parameter of the backbone."""
        biases = self.layers * (self.queries + 2 * self.keys) if self.bias else 0
        norms = (2 * self.layers + 1) * self.hidden
        return self.linear + biases + norms + self.embeddings

    @property
    def embeddings(self) -> int:
        """Weights of input and output embeddings."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    def trainable(self, method: str, rank: int) -> int:
        """Parameters that ``method`` trains.

        LoRA: rank (in + out) per projection (arXiv:2106.09685). IA3: one vector each for keys,
        values and the input of the feed-forward output (arXiv:2205.05638). Full: all of them.
        """
        if method == "full":
            return self.parameters
        if method == "ia3":
            return self.layers * (2 * self.keys + self.between)
        return self.layers * sum(rank * (a + b) for a, b in self.projections)


#: Shapes as config.json of each repository gives them. The counts that follow from them are those
#: of the model cards: 7.61, 7.25, 8.03, 0.135 and 0.49 billion parameters; those of
#: Llama 2 are 6.74, 13.0 and 69.0 billion (arXiv:2307.09288 says 7, 13 and 70).
KNOWN: Mapping[str, Shape] = {
    "Qwen/Qwen2.5-7B-Instruct": Shape(3584, 18944, 28, 28, 4, 128, 152064, False, True),
    "mistralai/Mistral-7B-Instruct-v0.3": Shape(4096, 14336, 32, 32, 8, 128, 32768, False, False),
    "meta-llama/Llama-3.1-8B-Instruct": Shape(4096, 14336, 32, 32, 8, 128, 128256, False, False),
    "HuggingFaceTB/SmolLM2-135M": Shape(576, 1536, 30, 9, 3, 64, 49152, True, False),
    "Qwen/Qwen2.5-0.5B": Shape(896, 4864, 24, 14, 2, 64, 151936, True, True),
    "meta-llama/Llama-2-7b-hf": Shape(4096, 11008, 32, 32, 32, 128, 32000, False, False),
    "meta-llama/Llama-2-13b-hf": Shape(5120, 13824, 40, 40, 40, 128, 32000, False, False),
    "meta-llama/Llama-2-70b-hf": Shape(8192, 28672, 80, 64, 8, 128, 32000, False, False),
}


def shape_of(name: str) -> Shape:
    """The shape of a backbone: read where it is on this machine, else from :data:`KNOWN`.

    Raises:
        FedbenchError: it is on the hub, and its shape is not known here.
    """
    folder = here(name)
    if folder is not None:
        return from_config(read_json(folder / "config.json"))
    repository = name.partition("@")[0]
    if repository not in KNOWN:
        raise FedbenchError(
            f"The size of {repository} is not known here: download it first, or add its shape to "
            "KNOWN in fedbench/report/shapes.py."
        )
    return KNOWN[repository]


def from_config(config: Mapping[str, Any]) -> Shape:
    """The shape that a ``config.json`` describes."""
    heads = int(config["num_attention_heads"])
    return Shape(
        hidden=int(config["hidden_size"]),
        between=int(config["intermediate_size"]),
        layers=int(config["num_hidden_layers"]),
        heads=heads,
        key_heads=int(config.get("num_key_value_heads") or heads),
        head=int(config.get("head_dim") or config["hidden_size"] // heads),
        vocabulary=int(config["vocab_size"]),
        tied=bool(config.get("tie_word_embeddings", False)),
        bias=config.get("model_type") == "qwen2",
    )


def here(name: str) -> Path | None:
    """The folder of a backbone that lies on this machine; nothing is fetched to find out."""
    base = name.removesuffix(SUFFIX)
    if base in BUILT_IN or Path(base).is_dir():
        return locate(base)
    from huggingface_hub import try_to_load_from_cache

    repository, _, revision = base.partition("@")
    wanted = ("config.json", "model.safetensors"), ("config.json", "model.safetensors.index.json")
    for names in wanted:
        cached = [try_to_load_from_cache(repository, file, revision=revision) for file in names]
        if all(isinstance(path, str) for path in cached):
            return Path(str(cached[0])).parent
    return None
