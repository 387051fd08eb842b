"""Whether Flower is installed, in the version that this package was written for."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from fedbench.errors import FedbenchError

#: the one whose insides :mod:`fedbench.deployment` knows; the same that pyproject.toml demands
FLOWER = "1.41.0"


def check_flower() -> None:
    """Make sure that a federation can go over Flower here.

    Raises:
        FedbenchError: it is not installed, or another version is.
    """
    remedy = 'pip install "fedbench[flower]"'
    try:
        found = version("flwr")
    except PackageNotFoundError:
        raise FedbenchError(f"Flower is not installed: {remedy}.") from None
    if found != FLOWER:
        raise FedbenchError(
            f"Flower {found} is installed, and this was written for {FLOWER}: run {remedy}."
        )
