"""Meters: joules by component since they were started, and how each component is obtained.

CodeCarbon (https://github.com/mlco2/codecarbon) reads RAPL and NVML where it may; elsewhere it
multiplies a rated power by time, which is an estimate however many digits it has. It does not say
in its output which of the two it did, so that is read from its hardware objects here.
"""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import Mapping
from typing import Any, Protocol

from fedbench.errors import FedbenchError

_JOULES_PER_KWH = 3.6e6

#: How CodeCarbon calls a way of obtaining power, and what we call it.
_HOW = {
    "intel_rapl": "measured (RAPL)",
    "windows_emi": "measured (EMI)",
    "intel_power_gadget": "measured (Power Gadget)",
    "cpu_load": "estimated (rated power scaled by load)",
    "constant": "estimated (constant power)",
}
MEASURED = "measured"


class Meter(Protocol):
    """Something that counts joules between ``start`` and ``stop``."""

    def start(self) -> None:
        """Begin a segment."""

    def stop(self) -> Mapping[str, float]:
        """End the segment; its joules by component (``cpu``, ``ram``, ``gpu``)."""

    def how(self) -> Mapping[str, str]:
        """How each component is obtained, in words that begin with measured or estimated."""

    def grid_factor(self) -> tuple[float, str]:
        """Grams of CO2 equivalent per kWh, and where and by whom that is said."""


class CodeCarbonMeter:
    """One CodeCarbon tracker, offline, whose tasks are the segments.

    Args:
        country: three-letter ISO code; decides the factor of the grid and nothing else.

    Raises:
        FedbenchError: CodeCarbon does not know the country.
    """

    def __init__(self, country: str) -> None:
        from codecarbon import OfflineEmissionsTracker

        logging.getLogger("codecarbon").setLevel(logging.ERROR)
        self._tracker: Any = OfflineEmissionsTracker(
            country_iso_code=country,
            tracking_mode="machine",
            allow_multiple_runs=True,
            output_methods=[],
            log_level="error",
        )
        self._country = country
        self._segments = 0
        self._factor = self._read_factor()
        # The first task takes seconds to find out what there is to measure with.
        self.start()
        self.stop()

    def start(self) -> None:
        """Begin a segment."""
        self._segments += 1
        self._tracker.start_task(f"segment-{self._segments}")

    def stop(self) -> dict[str, float]:
        """End the segment; its joules by component."""
        data = self._tracker.stop_task(f"segment-{self._segments}")
        if data is None:
            raise FedbenchError("CodeCarbon lost a task: measure again with nothing else running.")
        energies = {"cpu": data.cpu_energy, "ram": data.ram_energy, "gpu": data.gpu_energy}
        known = self.how()
        return {name: kwh * _JOULES_PER_KWH for name, kwh in energies.items() if name in known}

    def how(self) -> dict[str, str]:
        """How each component is obtained, read from CodeCarbon's hardware objects."""
        found: dict[str, str] = {}
        for part in self._tracker._hardware:
            kind = type(part).__name__
            if kind == "GPU":
                found["gpu"] = "measured (NVML)"
            elif kind == "RAM":
                found["ram"] = "estimated (constant power by memory size)"
            else:
                mode = getattr(part, "_mode", "constant")
                found["cpu"] = _HOW.get(mode, f"estimated ({mode})")
        return found

    def grid_factor(self) -> tuple[float, str]:
        """Grams of CO2 equivalent per kWh of the country's grid, as CodeCarbon ships it."""
        return self._factor

    def _read_factor(self) -> tuple[float, str]:
        from codecarbon.input import DataSource

        data: Any = DataSource
        mix = data().get_global_energy_mix_data()
        if self._country not in mix:
            raise FedbenchError(
                f"CodeCarbon knows no country {self._country!r}: give its three-letter ISO code, "
                "such as DEU."
            )
        entry = mix[self._country]
        version = importlib.metadata.version("codecarbon")
        source = f"{entry['country_name']}, energy mix that codecarbon {version} ships"
        return float(entry["carbon_intensity"]), source
