"""Lines that show what was measured between machines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def table(found: Mapping[str, Any]) -> list[str]:
    return []
