"""Over Flower's grid, the same apps end with the same bits as in process, whatever is combined."""

from __future__ import annotations

from functools import partial

import pytest

from fedbench.engines.answering import answer
from fedbench.engines.in_process import InProcess
from fedbench.engines.over_flower import (
    OverFlower,
    answering_app,
)
from fedbench.federation import federate
from tests import bigram
from tests.grids import in_memory
from tests.unit.test_federation import HELD, same

_PRIVATE = {"unit": "example", "clip": 1.0, "noise": 1.0, "examples": 4}
_HIDDEN = {"unit": "site", "clip": 1.0, "noise": 0.5}
_SECURE = {"bound": 8.0}
#: what is combined with every rule
VARIANTS = {
    "plain": {},
    "compressed": {"codec": "int8", "codec_down": "delta+int8"},
    "compressed with feedback": {"codec": "ef+top-k:share=0.5"},
    "private examples": {"privacy": _PRIVATE},
    "private sites": {"privacy": _HIDDEN},
    "masked": {"secure": _SECURE},
    "masked private sites": {"secure": _SECURE, "privacy": _HIDDEN},
    "masked private examples": {"secure": _SECURE, "privacy": _PRIVATE},
    "part of the sites": {"participation": 0.5, "rounds": 4},
}


def over_flower(config, folder):
    contexts = bigram.contexts(HELD, config, folder / "flower-sites")
    apps = {site: answering_app(partial(answer, one)) for site, one in contexts.items()}
    with in_memory(apps) as nodes:
        engine = OverFlower(nodes.grid, nodes.directory, pause=0.001)
        return federate(config, engine, list(HELD), bigram.initial(), folder / "flower")


def in_process(config, folder):
    engine = InProcess(bigram.contexts(HELD, config, folder / "sites"))
    return federate(config, engine, list(HELD), bigram.initial(), folder / "here")


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("rule", ["fedavg", "fedprox:mu=0.1", "scaffold", "fedadam"])
def test_a_federation_ends_with_the_same_bits(rule, variant, tmp_path):
    config = bigram.config(rule=rule, sites=3, **VARIANTS[variant])
    expected, found = in_process(config, tmp_path), over_flower(config, tmp_path)
    assert same(found.adapter, expected.adapter)
    assert found.log == expected.log
