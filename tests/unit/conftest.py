"""Toy backbones and a toy task, made once for all unit tests."""

from __future__ import annotations

import pytest

from tests import toys


@pytest.fixture(scope="session")
def backbones(tmp_path_factory):
    """Folders of random two-layer backbones, by architecture, made when first asked for."""
    made = {}

    def of(model_type):
        if model_type not in made:
            folder = tmp_path_factory.mktemp("backbones") / model_type
            made[model_type] = toys.make_backbone(folder, model_type)
        return made[model_type]

    return of


@pytest.fixture(scope="session")
def tokenizer():
    return toys.make_tokenizer()


@pytest.fixture(scope="session")
def toy_task(tmp_path_factory):
    """Path of a YAML file that describes a task of 60 rows."""
    return str(toys.make_task(tmp_path_factory.mktemp("task")))


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """As in the workers of a grid."""
    import torch

    torch.set_num_threads(1)
