"""A toy backbone and task for whole processes."""

from __future__ import annotations

import pytest

from tests import toys


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    """Options of ``python -m fedbench run`` that name a toy backbone and a toy task."""
    folder = tmp_path_factory.mktemp("toy")
    return {
        "task": str(toys.make_task(folder / "task")),
        "backbone": str(toys.make_backbone(folder / "backbone")),
        "partition": {"kind": "iid", "sites": 2, "minimum": 2},
        "batch_size": 8,
        "rank": 2,
        "max_tokens": 64,
        "generated": 2,
    }
