"""Files that a site alone may have written, by what the system says of who could have."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from fedbench.errors import FedbenchError

_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def check_owned(path: Path) -> None:
    """Make sure that nobody but this user, or the system's administrator, could write a file.

    Whoever can write a folder can put another file in the place of one in it, so the folders above
    count as well, and so do those that a link leads through. In folders above the file's own, such
    as ``/tmp``, others may write where each can remove only what is theirs. Where a system has no
    such permissions, nothing can be told and nothing is refused.

    Raises:
        FedbenchError: somebody else could; says who and what to do.
        OSError: there is no such file.
    """
    if not hasattr(os, "getuid"):
        return
    named, real = path.absolute(), path.resolve(strict=True)
    own = {named.parent, real.parent}
    for place in dict.fromkeys([real, *named.parents, *real.parents]):
        found = place.stat()
        if found.st_uid not in (os.getuid(), 0):
            raise FedbenchError(
                f"{place} belongs to another user (number {found.st_uid}), who could write {path} "
                f"at will: run chown {os.getuid()} {place}, or keep the file elsewhere."
            )
        shared = place != real and place not in own and found.st_mode & stat.S_ISVTX
        if found.st_mode & _OTHERS and not shared:
            raise FedbenchError(
                f"{place} can be written by {' and '.join(_who(found.st_mode))}, and with it "
                f"{path}, which only this site may write: run chmod go-w {place}."
            )


def _who(mode: int) -> Iterator[str]:
    if mode & stat.S_IWGRP:
        yield "its group"
    if mode & stat.S_IWOTH:
        yield "everybody"
