"""States on disk: a header and tensors in one file that tells all about itself.

What crosses the wire is a payload (:mod:`fedbench.wire`); this is what a server or a site writes
for itself, to go on from after it was stopped.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from fedbench.errors import Replaceable
from fedbench.files import write_bytes
from fedbench.wire.frame import BadPayload, framed, opened

if TYPE_CHECKING:
    from torch import Tensor


def keep(path: Path, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write a snapshot, whole or not at all."""
    from safetensors.torch import save as save_safetensors

    # safetensors refuses tensors that share memory, as a rule's state and its adapter may.
    body = save_safetensors({name: t.contiguous().clone() for name, t in tensors.items()})
    write_bytes(path, framed(header, body))


def kept(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of a snapshot.

    Raises:
        Replaceable: it is damaged.
    """
    from safetensors.torch import load as load_safetensors

    header, body = whole(path)
    try:
        return header, load_safetensors(bytes(body))
    except SafetensorError:
        raise damaged(path) from None


def whole(path: Path) -> tuple[dict[str, Any], memoryview]:
    """Header and body of a payload that was kept on disk.

    Raises:
        Replaceable: it is damaged.
    """
    try:
        return opened(path.read_bytes())
    except (BadPayload, OSError):
        raise damaged(path) from None


def damaged(path: Path) -> Replaceable:
    """What is raised of a file from which a run that was stopped cannot go on."""
    return Replaceable(
        f"{path} is damaged: remove it and all else that its run has in its folder work, and the "
        "run starts over; finished runs are not touched."
    )


def parts(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Tensors named ``part/name``, by part and name."""
    found: dict[str, dict[str, Tensor]] = {}
    for full, tensor in tensors.items():
        part, _, name = full.partition("/")
        found.setdefault(part, {})[name] = tensor
    return found


def joined(**states: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Several states as one, the inverse of :func:`parts`."""
    return {f"{part}/{name}": t for part, state in states.items() for name, t in state.items()}
