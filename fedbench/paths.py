"""Where things are: what ships with the package, and where a user's runs go."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath

from fedbench.errors import FedbenchError

PACKAGE = Path(__file__).resolve().parent
CHECKOUT = PACKAGE.parent


def profile_names() -> list[str]:
    """Profiles that the package ships."""
    return sorted(path.stem for path in (PACKAGE / "profiles").glob("*.yml"))


def home() -> Path:
    """Folder of everything that is computed: ``$FEDBENCH_HOME``, else ``build``."""
    return Path(os.environ.get("FEDBENCH_HOME", "build"))


@contextmanager
def fresh_home() -> Iterator[None]:
    """Let runs go to a folder that is removed at the end of the block."""
    before = os.environ.get("FEDBENCH_HOME")
    with tempfile.TemporaryDirectory(prefix="fedbench-") as folder:
        os.environ["FEDBENCH_HOME"] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ["FEDBENCH_HOME"]
            else:
                os.environ["FEDBENCH_HOME"] = before


def within(folder: Path, name: str) -> Path:
    """The path of ``name``, which some file gives, under ``folder``; it need not be there.

    Raises:
        FedbenchError: it is absolute, goes up with ``..``, or leaves the folder by a link.
    """
    path = folder / name
    said = PurePath(name)
    below = "\0" not in name and not said.is_absolute() and ".." not in said.parts
    if not below or not path.resolve().is_relative_to(folder.resolve()):
        raise FedbenchError(
            f"{name!r} leaves the folder {folder}: name a file that is in it or below it, with no "
            ".. and no link that leads elsewhere."
        )
    return path


def shipped(name: str) -> Path:
    """Path of a file or folder of ``data/`` that the project ships.

    A wheel carries them inside the package, a checkout beside it.

    Raises:
        FedbenchError: neither place has it.
    """
    for root in (PACKAGE / "_data", CHECKOUT / "data"):
        if (root / name).exists():
            return root / name
    raise FedbenchError(
        f"data/{name} is missing from this installation: "
        "restore it with git checkout, or install fedbench again."
    )
