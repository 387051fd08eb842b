"""CodeCarbon as a meter: what it counts, and what it does not say by itself."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from fedbench.energy.meters import CodeCarbonMeter
from fedbench.errors import FedbenchError


@pytest.fixture(scope="module")
def meter():
    return CodeCarbonMeter("DEU")


def test_every_component_says_how_it_was_obtained(meter):
    how = meter.how()
    assert {"cpu", "ram"} <= set(how)
    assert all(words.startswith(("measured", "estimated")) for words in how.values())
    assert how["ram"].startswith("estimated")


def test_a_segment_has_joules_of_every_component(meter):
    meter.start()
    deadline = time.monotonic() + 0.3
    while time.monotonic() < deadline:
        pass
    joules = meter.stop()
    assert set(joules) == set(meter.how())
    assert joules["ram"] > 0


def test_the_grid_factor_names_its_country(meter):
    grams, source = meter.grid_factor()
    assert 100 < grams < 1000
    assert "Germany" in source


def test_an_unknown_country_is_refused():
    with pytest.raises(FedbenchError, match="three-letter ISO code"):
        CodeCarbonMeter("XYZ")


@pytest.mark.parametrize(
    ("hardware", "component", "words"),
    [
        (type("CPU", (), {"_mode": "intel_rapl"})(), "cpu", "measured (RAPL)"),
        (type("CPU", (), {"_mode": "cpu_load"})(), "cpu", "estimated (rated power scaled by load)"),
        (type("CPU", (), {"_mode": "constant"})(), "cpu", "estimated (constant power)"),
        (type("GPU", (), {})(), "gpu", "measured (NVML)"),
    ],
)
def test_a_counter_is_told_from_an_estimate(meter, monkeypatch, hardware, component, words):
    monkeypatch.setattr(meter, "_tracker", SimpleNamespace(_hardware=[hardware]))
    assert meter.how() == {component: words}
