"""Packages of the Debian archive, fetched by name and unpacked without root."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedbench.errors import FedbenchError


def require_apt() -> None:
    """Stop with one clear sentence where the corpus cannot be fetched."""
    missing = [tool for tool in ("apt-get", "dpkg", "dpkg-deb") if shutil.which(tool) is None]
    if missing:
        raise FedbenchError(
            f"The pretraining corpus comes from the Debian archive, but {', '.join(missing)} "
            "is not installed here; run this command on a Debian system or use the "
            "backbones that are already in data/backbones."
        )


def fetch(package: str, folder: Path) -> Path:
    """Return the package file, downloaded unless an earlier run already did."""
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if not (found := _downloaded(package, folder)):
        _run(["apt-get", "download", "-qq", package], folder, package)
        found = _downloaded(package, folder)
    if not found:
        raise FedbenchError(f"apt-get downloaded nothing for the package {package}.")
    return found[-1]


def unpack(archive: Path, tree: Path) -> Path:
    """Unpack a package below ``tree``; a half-unpacked tree is never taken as whole."""
    if not tree.exists():
        partial = tree.with_name(tree.name + ".partial")
        command = ["dpkg", "-x", str(archive.resolve()), str(partial.resolve())]
        with _writing(partial):
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            _run(command, partial, archive.name)
            partial.rename(tree)
    return tree


def version(archive: Path) -> str:
    """Return the version that the package itself states."""
    command = ["dpkg-deb", "--field", str(archive.resolve()), "Version"]
    return _run(command, archive.parent, archive.name).strip()


def _downloaded(package: str, folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{package}_*.deb"))


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turn a full disk or a read-only folder into one sentence."""
    try:
        yield
    except OSError as error:
        raise FedbenchError(
            f"{folder} could not be written ({error.strerror}): free the disk or make the folder "
            "writable, then start again; what was finished stays."
        ) from None


def _run(command: list[str], folder: Path, package: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise FedbenchError(f"{command[0]} failed for {package}: {reason[0]}")
    return done.stdout
