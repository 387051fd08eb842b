"""Payloads as tests write and read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from fedbench.rules.rule import Message
from fedbench.site import message_tensors
from fedbench.wire import body_of, encode, framed, opened, schema_of
from fedbench.wire.codecs import codec_of

FIRST = {"accepted": -1, "holds": -1, "form": "whole", "version": 0, "round": 0}
TRAIN = {"kind": "train", "turn": 0, "local_passes": 1.0, "progress": [0.0, 1.0], **FIRST}
VALIDATE = {"kind": "validate", "personal": False, **FIRST}


def written(header: Mapping[str, Any], tensors: Mapping[str, Tensor], codec: str = "fp32") -> bytes:
    """A payload that tells its schema."""
    return encode(header, tensors, codec_of(codec), np.random.default_rng(0))


def asking(header: Mapping[str, Any], message: Message, codec: str = "fp32") -> bytes:
    """A message to a site."""
    return written(header, message_tensors(message), codec)


def header_of(payload: bytes) -> dict[str, Any]:
    return opened(payload)[0]


def update_of(payload: bytes, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of an update, which are named and shaped as those of ``like``."""
    header, body = opened(payload)
    return body_of(body, codec_of(header["codec"]), schema_of(like))


def changed(payload: bytes, **changes: Any) -> bytes:
    """The same payload with another header, sealed again."""
    header, body = opened(payload)
    return framed(header | changes, bytes(body))
