"""What Flower makes of toy updates; ``python -m tests.flower_vectors`` writes it down.

The same inputs go to our rules in ``tests/unit/rules/test_beside_flower.py``. Where Flower departs
from the papers, it is made to agree, and said here: FedAdam's rate is corrected for bias (of the
round after), which the paper has not, so the rate is divided by that correction before each round;
second moments start from zero and not from tau squared, so tau is small; Multi-Krum weights by
examples, so that sites hold equally many.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

PATH = Path(__file__).with_suffix(".json")
ROUNDS, TAU = 3, 1e-6
START = [np.array([1.0, -2.0, 0.5]), np.array([[0.25, 3.0]])]


def updates(round_: int) -> list[list[Any]]:
    """What each of seven sites adds to the model in a round; the last is far from the others."""
    random = np.random.default_rng(round_)
    scales = [1.0] * 6 + [30.0]
    return [[scale * random.normal(size=part.shape) for part in START] for scale in scales]


UNEVEN, EVEN = [1, 5, 2, 4, 3, 2, 6], [2] * 7
_OPTIONS = f"rate=0.1,tau={TAU:g}"
#: by the name of Flower's strategy: our rule, and the examples of each site
OURS = {
    "FedAvg": ("fedavg", UNEVEN),
    "FedAvgM": ("fedavgm:momentum=0.5,rate=0.7", UNEVEN),
    "FedAdagrad": (f"fedadagrad:{_OPTIONS}", UNEVEN),
    "FedAdam": (f"fedadam:{_OPTIONS}", UNEVEN),
    "FedYogi": (f"fedyogi:{_OPTIONS}", UNEVEN),
    "Krum": ("krum:hostile=1", EVEN),
    "Multi-Krum": ("krum:hostile=1,keep=3", EVEN),
    "FedTrimmedAvg": ("trimmed-mean:share=0.2", EVEN),
    "FedMedian": ("median", EVEN),
}


def strategies(first: Any) -> dict[str, Any]:
    """Flower's strategies, from its first model."""
    from flwr.server import strategy as flower

    moments: dict[str, Any] = {"initial_parameters": first, "eta": 0.1, "eta_l": 0.1, "tau": TAU}
    both = {**moments, "beta_1": 0.9, "beta_2": 0.99}
    momentum = {"server_learning_rate": 0.7, "server_momentum": 0.5}
    return {
        "FedAvg": flower.FedAvg(),
        "FedAvgM": flower.FedAvgM(initial_parameters=first, **momentum),
        "FedAdagrad": flower.FedAdagrad(**moments),
        "FedAdam": flower.FedAdam(**both),
        "FedYogi": flower.FedYogi(**both),
        "Krum": flower.Krum(num_malicious_clients=1),
        "Multi-Krum": flower.Krum(num_malicious_clients=1, num_clients_to_keep=3),
        "FedTrimmedAvg": flower.FedTrimmedAvg(beta=0.2),
        "FedMedian": flower.FedMedian(),
    }


def played(name: str) -> list[list[Any]]:
    """The model after each round of one of Flower's strategies."""
    from flwr.common import (
        Code,
        FitRes,
        Status,
        ndarrays_to_parameters,
        parameters_to_ndarrays,
    )

    strategy = strategies(ndarrays_to_parameters(START))[name]
    model, found = START, []
    rate = getattr(strategy, "eta", 0.0)
    for round_ in range(1, ROUNDS + 1):
        if name == "FedAdam":
            corrected = math.sqrt(1 - 0.99 ** (round_ + 1)) / (1 - 0.9 ** (round_ + 1))
            strategy.eta = rate / corrected
        results = [
            (
                None,
                FitRes(
                    Status(Code.OK, ""),
                    ndarrays_to_parameters([p + u for p, u in zip(model, update, strict=True)]),
                    count,
                    {},
                ),
            )
            for count, update in zip(OURS[name][1], updates(round_), strict=True)
        ]
        parameters, _ = strategy.aggregate_fit(round_, results, [])
        model = parameters_to_ndarrays(parameters)
        found.append([part.tolist() for part in model])
    return found


def vectors() -> dict[str, Any]:
    """All models, and Flower's version."""
    from importlib.metadata import version

    rounds = {name: played(name) for name in OURS}
    return {"flwr": version("flwr"), "rounds": rounds}


if __name__ == "__main__":
    PATH.write_text(json.dumps(vectors(), indent=1) + "\n", encoding="utf-8")
