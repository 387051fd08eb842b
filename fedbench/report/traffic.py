"""Bytes of a federation that was not run: computed from a backbone's shape, a method and codecs.

Payloads are counted as :mod:`fedbench.wire` writes them: what a codec makes of every tensor, a
header, and, once per site, the schema. Codecs are asked (``Codec.n_bytes``), so that nothing is
said here of how they work; large matrices are asked for some of their rows. Nothing is measured.

Assumed: every site trains and scores in every round, under FedAvg; links carry nothing else, and
are as fast in both directions.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING, Any

from fedbench.errors import FedbenchError
from fedbench.report.shapes import KNOWN, Shape
from fedbench.wire import Schema, framed
from fedbench.wire.codecs import Codec, codec_of
from fedbench.wire.schema import count

if TYPE_CHECKING:
    import pandas as pd

LLAMAS = {f"Llama 2 {n}B": f"meta-llama/Llama-2-{n}b-hf" for n in (7, 13, 70)}
RANK, SITES, ROUNDS = 16, 10, 100
#: projections that LoRA stands beside: those of its paper (arXiv:2106.09685, section 4.2), or all
ATTENTION = ("self_attn.q_proj", "self_attn.v_proj")
EVERY = (
    *(f"self_attn.{name}_proj" for name in "qkvo"),
    *(f"mlp.{name}_proj" for name in ("gate", "up", "down")),
)
LINKS = {"10_mbit": 1e7, "100_mbit": 1e8, "1_gbit": 1e9}  #: bits per second
_DELTA = "delta+int8"
#: codecs up and down, of an adapter and of all parameters
_USUAL = (("fp32", "fp32"), ("fp16", "fp16"), ("int8", _DELTA), ("int4", _DELTA))
_ADAPTER = (*_USUAL, ("ef+top-k:share=0.01+int8", _DELTA))
_WHOLE = (*_USUAL, ("ef+low-rank:rank=16", _DELTA))
_PEFT = "base_model.model."  #: what names of adapters begin with
_PLACES = 1 << 31  #: numbers that the places of top-k can tell apart
_ROWS, _NUMBERS = 256, 1 << 20  #: of a matrix that is asked for in part: a step holds as many

TRAFFIC_COLUMNS = (
    *("backbone", "method", "numbers", "codec", "codec_down"),
    *("bytes_up", "bytes_down", "bytes_validation", "bytes_once", "gigabytes_all"),
    *(f"seconds_{link}" for link in LINKS),
)


@dataclass(frozen=True)
class Traffic:
    """Bytes of one site."""

    up: int  #: its update, in every round
    down: int  #: what it is told to train on, in every round but the first
    validation: int  #: what it is told to score, and its answer
    once: int  #: what the first round has more: the schema, and the whole in place of a change

    @property
    def round(self) -> int:
        """All of a round but the first."""
        return self.up + self.down + self.validation

    def total(self, sites: int, rounds: int) -> int:
        """All of a federation."""
        return sites * (rounds * self.round + self.once)


def traffic(schema: Schema, codec: str, codec_down: str) -> Traffic:
    """Bytes of one site whose adapter has the tensors of ``schema``.

    Raises:
        FedbenchError: there is no such codec, or it cannot tell so many numbers apart.
    """
    if "top-k" in codec + codec_down and count(schema) >= _PLACES:
        raise FedbenchError(f"top-k tells {_PLACES:,} numbers apart, and these are more.")
    up, down, whole = codec_of(codec), codec_of(codec_down), codec_of("fp32")
    message = tuple((f"adapter/{name}", shape) for name, shape in schema)
    told = len(json.dumps({"layout": message}))
    change = body(down, schema)
    first = body(whole, schema) if down.delta else change
    again = 0 if down.delta else change
    return Traffic(
        up=_outside(_REPLY, up.name) + body(up, schema),
        down=_outside(_TRAIN, down.name) + again,
        validation=_outside(_SCORE, down.name) + change + _outside(_SCORED),
        once=told + first - again,
    )


def body(codec: Codec, schema: Schema) -> int:
    """Bytes that a codec makes of tensors of ``schema``, each by itself.

    top-k chooses among all numbers together, which is less by one number per tensor at most.
    """
    return round(sum(_tensor(codec, shape) for _, shape in schema))


@lru_cache(maxsize=4096)
def _tensor(codec: Codec, shape: tuple[int, ...]) -> float:
    """Bytes of one tensor; those of a large matrix go on as they went from one to two parts of it.

    That is exact for codecs whose bytes grow by as much with every so many rows. It is off by less
    than a block, and for top-k by less than a number per part, where the rest is no whole part.
    """
    step = _ROWS * max(1, _NUMBERS // (_ROWS * max(1, prod(shape[1:]))))
    if len(shape) != 2 or shape[0] <= 2 * step:
        return codec.n_bytes((("", shape),))
    one, two = (codec.n_bytes((("", (n * step, shape[1])),)) for n in (1, 2))
    return one + (two - one) * (shape[0] - step) / step


def schema_of(
    shape: Shape, method: str, rank: int = RANK, targets: Sequence[str] = EVERY
) -> Schema:
    """Tensors that a method trains of a backbone: names and shapes, as they travel.

    ``rank`` and ``targets`` are LoRA's.
    """
    linear = dict(zip(EVERY, shape.projections, strict=True))
    found = dict(_METHODS[method](shape, linear, rank, targets))
    return tuple((name, found[name]) for name in sorted(found))


Tensors = Iterator[tuple[str, tuple[int, ...]]]
Linear = dict[str, tuple[int, int]]  #: inputs and outputs by projection


def _lora(shape: Shape, linear: Linear, rank: int, targets: Sequence[str]) -> Tensors:
    for layer in range(shape.layers):
        for name in targets:
            width, out = linear[name]
            about = f"{_PEFT}model.layers.{layer}.{name}"
            yield f"{about}.lora_A.default.weight", (rank, width)
            yield f"{about}.lora_B.default.weight", (out, rank)


def _ia3(shape: Shape, linear: Linear, rank: int, targets: Sequence[str]) -> Tensors:
    for layer in range(shape.layers):
        about = f"{_PEFT}model.layers.{layer}"
        for name in ("self_attn.k_proj", "self_attn.v_proj"):
            yield f"{about}.{name}.ia3_l.default", (linear[name][1], 1)
        yield f"{about}.mlp.down_proj.ia3_l.default", (1, shape.between)


def _full(shape: Shape, linear: Linear, rank: int, targets: Sequence[str]) -> Tensors:
    yield "model.embed_tokens.weight", (shape.vocabulary, shape.hidden)
    yield "model.norm.weight", (shape.hidden,)
    if not shape.tied:
        yield "lm_head.weight", (shape.vocabulary, shape.hidden)
    for layer in range(shape.layers):
        about = f"model.layers.{layer}"
        for name, (width, out) in linear.items():
            yield f"{about}.{name}.weight", (out, width)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            yield f"{about}.{norm}.weight", (shape.hidden,)


_METHODS = {"lora": _lora, "ia3": _ia3, "full": _full}

# Headers as long as those of a run in the middle of its rounds (fedbench/headers.py, site.py).
_SEAL, _FLOAT = "0" * 16, 0.12345678901234567
_TOLD: dict[str, Any] = {
    "accepted": 10, "form": "change", "holds": 10, "round": 10, "run": _SEAL, "version": 10,
}  # fmt: skip
_TRAIN = _TOLD | {"kind": "train", "local_passes": 0.5, "progress": [_FLOAT] * 2, "turn": 10}
_SCORE = _TOLD | {"kind": "validate", "personal": False}
_ANSWER: dict[str, Any] = {"site": "site-00", "answers": _SEAL}
_WORK = {"steps": 10, "examples": 100, "tokens": 10_000, "flops": 10_000_000_000}
_REPLY = _ANSWER | _WORK | {"kind": "update", "round": 10, "weight": 100.0, "loss": _FLOAT}
_SCORED = _ANSWER | {"kind": "score", "n": 10, "correct": 10, "loss": _FLOAT}


def _outside(header: dict[str, Any], codec: str = "") -> int:
    """Bytes of a payload around its body, if it has one; its schema is known by its digest."""
    told = {"codec": codec, "schema": _SEAL} if codec else {}
    return len(framed(header | told, b""))


def traffic_table(sites: int = SITES, rounds: int = ROUNDS) -> pd.DataFrame:
    """Llama 2 (arXiv:2307.09288) with each method and some codecs: bytes of one site and round.

    ``gigabytes_all`` are those of a federation of so many ``sites`` and ``rounds``; ``seconds_*``
    are those that one site's link takes for all bytes of a round.
    """
    import pandas as pd

    rows = [
        _row(backbone, method, schema, codecs, sites, rounds)
        for backbone, method, schema in _cases()
        for codecs in (_WHOLE if method == "full" else _ADAPTER)
    ]
    return pd.DataFrame(rows, columns=list(TRAFFIC_COLUMNS))


def _cases() -> Iterable[tuple[str, str, Schema]]:
    for backbone, repository in LLAMAS.items():
        shape = KNOWN[repository]
        yield backbone, "ia3", schema_of(shape, "ia3")
        yield backbone, f"lora, r = {RANK}, q and v", schema_of(shape, "lora", RANK, ATTENTION)
        yield backbone, f"lora, r = {RANK}, all linear", schema_of(shape, "lora", RANK)
        yield backbone, "full", schema_of(shape, "full")


def _row(
    backbone: str, method: str, schema: Schema, codecs: tuple[str, str], sites: int, rounds: int
) -> dict[str, Any]:
    found = traffic(schema, *codecs)
    return {
        "backbone": backbone,
        "method": method,
        "numbers": count(schema),
        **dict(zip(("codec", "codec_down"), codecs, strict=True)),
        "bytes_up": found.up,
        "bytes_down": found.down,
        "bytes_validation": found.validation,
        "bytes_once": found.once,
        "gigabytes_all": found.total(sites, rounds) / 1e9,
        **{f"seconds_{link}": 8 * found.round / speed for link, speed in LINKS.items()},
    }


def traffic_caption(sites: int = SITES, rounds: int = ROUNDS) -> str:
    """Of :func:`traffic_table`."""
    return (
        "Computed, not run: bytes of one site and round on Llama 2 (arXiv:2307.09288), of all "
        f"{sites} sites over {rounds} rounds, and the seconds that one site's link takes for a "
        "round, at so many bits per second in either direction. Down is what a site trains on; "
        "validation is what it scores, and its answer. With delta a site that scored an adapter "
        "is not told it again to train on, so that its message down is a header. Once: the schema, "
        "and the whole adapter to a site that has nothing yet. Bytes are what the codecs make of "
        "such tensors, headers included; large matrices are extrapolated from some of their rows, "
        "and top-k is taken of every tensor (a number per tensor more, at most)."
    )


def say_traffic(frame: pd.DataFrame) -> str:
    """The span from the most to the fewest bytes up for each backbone."""
    lines = []
    for backbone, part in frame.groupby("backbone", sort=False):
        most, least = (part.loc[part["bytes_up"].agg(end)] for end in ("idxmax", "idxmin"))
        lines.append(
            f"- {backbone}: from {most['bytes_up'] / 1e9:,.1f} GB ({most['method']}, "
            f"{most['codec']}) to {least['bytes_up'] / 1e6:,.3f} MB ({least['method']}, "
            f"{least['codec']}) up per site and round."
        )
    return "\n".join(lines)
