"""A policy to begin with: every field with its default, and what it is about."""

from __future__ import annotations

from pathlib import Path

from fedbench.durable import make_folder
from fedbench.errors import FedbenchError
from fedbench.files import on_disk, write_bytes

_WRITABLE = 0o022  #: by others than the owner of a folder
TEXT = """\
# What this site lets a federation do with its data. Only this site can write this file; whatever
# is not allowed here is refused before anything is computed. A line that begins with # is a
# comment: take the # away to say something else than the default, which stands behind it.

# SHA-256 of backbones by name; left out, those that come with fedbench.
# backbones: {fedbench-llama: "0000000000000000000000000000000000000000000000000000000000000000"}

# Rules, codecs and methods; left out, all that fedbench has.
# rules: [fedavg, fedprox]
# codecs: [fp32, int8, delta]
# methods: [lora]

# Bytes of one message, seconds and examples of one turn of training.
largest_payload: 1073741824
longest_round: 3600
largest_turn: 1000000

# Sites that a round must have at least, and that a masked sum must be over.
minimum_cohort: 2

# required: the server sees sums of updates only. allowed: it may see this site's own.
secure_aggregation: required

# Most that may be spent of every example's privacy in the whole life of the data, over all runs.
# With it, every run must keep examples private.
# epsilon: 8
# delta: 0.00001

# Whether the server may have adapters scored on this site's validation items (counts only).
validation: allowed
"""


def write_policy(path: Path) -> None:
    """Write the text to a file that only its owner can write.

    Raises:
        FedbenchError: there is one already, or it cannot be written.
    """
    if path.exists():
        raise FedbenchError(f"{path} is there already: it stays as it is.")
    with on_disk(path):
        make_folder(path.parent)
        path.parent.chmod(path.parent.stat().st_mode & ~_WRITABLE)
    write_bytes(path, TEXT.encode())
