"""How tensors are compressed on the wire: one short file per codec, registered here."""

from __future__ import annotations

from fedbench.wire.codecs.codec import Codec
from fedbench.wire.codecs.floats import FP16, FP32

CODECS: dict[str, Codec] = {codec.name: codec for codec in (FP32, FP16)}

__all__ = ["CODECS", "Codec"]
