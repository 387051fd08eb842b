"""How large, long and deep a file may be that somebody else wrote: what is beyond is not read.

A small file that takes all memory once it is read, a bomb, stops a machine. Sizes are looked at
before anything is read, and what a packed file unpacks to before it is unpacked. What the public
datasets and our own records take is told beside each limit.
"""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import Node

from fedbench.errors import FedbenchError

KIB, MIB = 1 << 10, 1 << 20
YAML_BYTES = 64 * KIB  #: of a description or configuration; ours take 5 KiB at most
_YAML_DEPTH = 50  #: of what stands in one another; PyYAML takes ever longer for each
YAML_VALUES = 50_000  #: of a YAML file with all references followed; ours have a few hundred
JSON_BYTES = 256 * MIB  #: of a record; that of a run of 10,000 sites takes some MiB
#: of a dataset's file, unpacked; MedMCQA's 182,822 training questions would take 109 MiB if they
#: are as long as those of its other file, which we have
DATA_BYTES = 512 * MIB
LINE = 8 * MIB  #: characters of one line of a dataset; those of ours have some thousands
ROWS = 5_000_000  #: of a dataset's file
CELLS = 20_000_000  #: values in all columns of a Parquet file; MedMCQA has two million


#: what PyYAML lets through of a value that is not what its tag says, such as ``!!int x``
_ODD_YAML = (ArithmeticError, AttributeError, LookupError, TypeError)


def read_within(path: Path, most: int) -> bytes:
    """The bytes of a file that has at most so many.

    Raises:
        FedbenchError: there are more; none of them is read.
        OSError: it cannot be read.
    """
    with path.open("rb") as handle:
        size = os.fstat(handle.fileno()).st_size  # none is told of what is no plain file
        found = handle.read((size or most) + 1) if size <= most else b""
    if max(size, len(found)) > most:
        raise FedbenchError(
            f"{path} has more than {most:,} bytes, the most that is read of such a file: split it, "
            "or leave out what is not needed."
        )
    return found


def unpacked(path: Path, most: int) -> bytes:
    """What a gzip file unpacks to.

    Raises:
        FedbenchError: more than ``most`` bytes; no more are unpacked.
        OSError, EOFError, zlib.error: it is damaged or cannot be read.
    """
    with gzip.open(path, "rb") as handle:
        found = handle.read(most + 1)
    if len(found) > most:
        raise FedbenchError(f"{path} unpacks to more than {most:,} bytes: fetch it again.")
    return found


def from_json(text: str | bytes) -> Any:
    """The value that JSON tells.

    Raises:
        ValueError: it is none, or is nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def from_yaml(text: str) -> Any:
    """The value that YAML tells, of plain kinds only: no object is made and no code is run.

    Raises:
        ValueError: it is none, is nested too deeply, or refers to itself too often.
    """
    try:
        return yaml.load(text, Loader=_Plain)
    except yaml.MarkedYAMLError as error:  # its own text quotes the line
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ValueError(f"line {line}: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except _ODD_YAML:
        raise ValueError("a value is not what its tag says") from None


class _Plain(yaml.SafeLoader):
    """PyYAML's safe loader, which counts what references would unfold to before it unfolds any.

    Depth is looked at while lines are read: thousands of brackets would take it minutes.
    """

    def check_token(self, *choices: Any) -> bool:
        if self.flow_level + len(self.indents) > _YAML_DEPTH:
            raise ValueError("nested too deeply")
        return bool(super().check_token(*choices))

    def get_single_node(self) -> Node | None:
        node = super().get_single_node()
        if node is not None:
            _unfolded(node, {})
        return node


def _unfolded(node: Node, known: dict[int, int]) -> int:
    """Values under ``node``, each as often as it is referred to.

    Raises:
        ValueError: they are too many.
    """
    if id(node) not in known:
        known[id(node)] = YAML_VALUES  # what holds itself has no end
        parts = node.value if isinstance(node.value, list) else []
        flat = [part for one in parts for part in (one if isinstance(one, tuple) else (one,))]
        known[id(node)] = 1 + sum(_unfolded(part, known) for part in flat)
    if known[id(node)] > YAML_VALUES:
        raise ValueError(f"its references unfold to more than {YAML_VALUES:,} values")
    return known[id(node)]
