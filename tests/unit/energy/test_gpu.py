"""A GPU's counter is read: a stand-in for NVML that draws 100 W gives 100 J a second."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

NVML = """
import time

NVML_TEMPERATURE_GPU = 0
_since = time.perf_counter()


class NVMLError(Exception):
    pass


class NVMLError_NotSupported(NVMLError):
    pass


class c_nvmlMemory_t:
    def __init__(self, total, free, used):
        self.total, self.free, self.used = total, free, used


def nvmlInit():
    pass


def nvmlDeviceGetCount():
    return 1


def nvmlDeviceGetHandleByIndex(index):
    return index


def nvmlDeviceGetTotalEnergyConsumption(handle):
    return int(1000 * 100 * (time.perf_counter() - _since))


def nvmlDeviceGetPowerUsage(handle):
    return 100_000


def nvmlDeviceGetEnforcedPowerLimit(handle):
    return 300_000


def nvmlDeviceGetName(handle):
    return "stand-in"


def nvmlDeviceGetUUID(handle):
    return "GPU-0"


def nvmlDeviceGetMemoryInfo(handle):
    return c_nvmlMemory_t(1, 1, 0)


def nvmlDeviceGetTemperature(handle, kind):
    return 30


class _Rates:
    gpu = 50


def nvmlDeviceGetUtilizationRates(handle):
    return _Rates


def nvmlDeviceGetComputeMode(handle):
    return 0


def nvmlDeviceGetComputeRunningProcesses(handle):
    return []


def nvmlDeviceGetGraphicsRunningProcesses(handle):
    return []
"""

MEASURE = """
import json, time
from fedbench.energy.meters import CodeCarbonMeter

meter = CodeCarbonMeter("DEU")
before = time.perf_counter()
meter.start()
time.sleep(1.0)
joules = meter.stop()
print(json.dumps([meter.how(), joules, time.perf_counter() - before]))
"""


def test_the_counter_of_a_gpu_is_read(tmp_path):
    (tmp_path / "pynvml.py").write_text(NVML)
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\nexit 0\n")
    tool.chmod(0o755)
    paths = {name: os.environ.get(name, "") for name in ("PATH", "PYTHONPATH")}
    found = {name: f"{tmp_path}{os.pathsep}{value}" for name, value in paths.items()}
    found["PYTHONPATH"] += os.pathsep + os.getcwd()
    output = subprocess.run(
        [sys.executable, "-c", MEASURE],
        env=os.environ | found,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout
    how, joules, seconds = json.loads(output.splitlines()[-1])
    assert how["gpu"] == "measured (NVML)"
    assert joules["gpu"] == pytest.approx(100 * seconds, rel=0.2)
