"""Error feedback: what a codec lost is owed, and sent with what comes next.

Seide et al. (Interspeech 2014, section 3); Karimireddy et al. (arXiv:1901.09847, algorithm 1):
p = u + e is sent as C(p), and e = p - C(p) is kept. A biased codec then loses nothing for good.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedbench.wire.schema import schema_of

if TYPE_CHECKING:
    from torch import Tensor

    from fedbench.wire.codecs import Codec
    from fedbench.wire.codecs.stage import Random, Tensors


def compressed(
    codec: Codec, update: Tensors, owed: Tensors, random: Random
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The parts that are sent of an update, and what is owed afterwards.

    What is owed of tensors that are not part of this update stays owed, as where halves of an
    adapter take turns. Nothing is owed by a codec without feedback.
    """
    if not codec.feedback:
        return codec.encode(update, random), {}
    due = {
        name: t.float() + owed[name] if name in owed else t.float() for name, t in update.items()
    }
    parts = codec.encode(due, random)
    received = codec.decode(parts, schema_of(due))
    return parts, {**owed, **{name: tensor - received[name] for name, tensor in due.items()}}
