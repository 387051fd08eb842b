"""A toy backbone and task for whole processes."""

from __future__ import annotations

import pytest

from tests import toys


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    """Options of ``python -m fedbench run`` that name a toy backbone and a toy task."""
    return toys.options(tmp_path_factory.mktemp("toy"))
