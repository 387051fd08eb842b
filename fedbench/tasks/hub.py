"""Rows from the Hugging Face hub, through ``datasets``: data files only, no code of theirs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fedbench.errors import FedbenchError

if TYPE_CHECKING:
    from fedbench.tasks.spec import HubSpec, Role


def download(spec: HubSpec, name: str) -> Iterator[tuple[Role, str, dict[str, Any]]]:
    """Yield (role, where, columns) of every row of the pinned revision.

    ``HF_HUB_OFFLINE=1`` is respected: then only the local cache is read.

    Raises:
        FedbenchError: ``datasets`` is not installed, the hub cannot be reached, or the revision
            does not hold the splits that the task's file names.
    """
    for role, splits in spec.splits.items():
        for split in splits:
            for number, row in enumerate(_split(spec, name, split), start=1):
                yield role, f"{spec.id}, {split}, row {number}", row


def _split(spec: HubSpec, name: str, split: str) -> list[dict[str, Any]]:
    try:
        import datasets
    except ImportError:
        raise FedbenchError(
            f"The dataset {name} is not on this machine and datasets is not installed: "
            "pip install datasets, or put the files into data/raw (see data/README.md)."
        ) from None
    try:
        table = datasets.load_dataset(
            spec.id, name=spec.config, split=split, revision=spec.revision
        )
        return [dict(row) for row in table]
    except Exception as error:  # whatever a download may raise, the user reads one sentence
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300].rstrip(".")
        raise FedbenchError(
            f"The dataset {name} is not on this machine, and split {split[:80]} of {spec.id[:80]} "
            f"at revision {str(spec.revision)[:80]} could not be had from the Hugging Face hub "
            f"({reason}): connect once, or put the files into data/raw/{name} (see data/README.md)."
        ) from None
