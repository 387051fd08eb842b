"""How tensors are compressed on the wire: one short file per kind of stage, registered here.

A configuration names stages in a row, with options: ``int8``, ``top-k:share=0.01+int8``. Before
them may stand ``ef``, error feedback, and ``delta``, the change since what the other end holds.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from fedbench import named
from fedbench.errors import FedbenchError, shown
from fedbench.wire.codecs.blocks import int4, int8
from fedbench.wire.codecs.codec import Codec
from fedbench.wire.codecs.floats import bf16, fp16, fp32
from fedbench.wire.codecs.low_rank import low_rank
from fedbench.wire.codecs.sign import sign
from fedbench.wire.codecs.stage import Stage
from fedbench.wire.codecs.top_k import top_k

STAGES: dict[str, Callable[..., Stage]] = {
    "fp32": fp32,
    "fp16": fp16,
    "bf16": bf16,
    "int8": int8,
    "int4": int4,
    "top-k": top_k,
    "sign": sign,
    "low-rank": low_rank,
}
_FEEDBACK, _DELTA = "ef", "delta"

__all__ = ["STAGES", "Codec", "Stage", "canonical", "codec_of", "wrong_with"]


@lru_cache
def codec_of(text: str) -> Codec:
    """The codec that a configuration names.

    Raises:
        FedbenchError: no such stage or option, or stages that do not follow one another.
    """
    if problem := wrong_with("codec", text):
        raise FedbenchError(f"{problem}.")
    return _made(text)


def wrong_with(field: str, text: str) -> str:
    """Why the ``field`` of a configuration names no codec, as a clause; empty if it does."""
    try:
        _made(text)
    except ValueError as error:
        return f"{field} = {shown(text)}: {error}"
    return ""


def canonical(text: str) -> str:
    """The name of a known codec without what goes without saying."""
    before, words = _read(text)
    told = [named.canonical(word, STAGES) for word in words]
    if told[1:] and told[-1] == "fp32":
        told.pop()
    return "+".join([*before, *told])


def _made(text: str) -> Codec:
    before, words = _read(text)
    stages = [named.made(word, STAGES, STAGES) for word in words]
    for stage, word, after in zip(stages, words, words[1:], strict=False):
        if not stage.leaves:
            raise ValueError(f"{word} leaves nothing for {after}")
    if stages[-1].leaves:
        stages.append(fp32())
    return Codec(canonical(text), tuple(stages), _FEEDBACK in before, _DELTA in before)


def _read(text: str) -> tuple[list[str], list[str]]:
    """What stands before the stages, and these."""
    words = text.split("+")
    before = []
    while words and words[0] in (_FEEDBACK, _DELTA) and words[0] not in before:
        before.append(words.pop(0))
    return before, words or ["fp32"]
