"""The same federation as a Flower app, by its documentation (message API, flwr 1.41).

Every client has the plain loop of :mod:`fedbench.bench.plain_loop`; one at a time, on one thread.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

from fedbench.bench import plain_loop
from fedbench.bench.shapes import Shape, Work, batches_of, holdings, site_names
from fedbench.config import RunConfig

#: Neither Flower nor ray is to send anything anywhere.
_QUIET = {"FLWR_TELEMETRY_ENABLED": "0", "RAY_USAGE_STATS_ENABLED": "0"}


def simulate(config: RunConfig, shape: Shape, work: Work) -> None:
    """Run all rounds of ``config`` in Flower's simulation; it has ray start processes."""
    os.environ.update(_QUIET)
    from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
    from flwr.clientapp import ClientApp
    from flwr.serverapp import Grid, ServerApp
    from flwr.serverapp.strategy import FedAvg
    from flwr.simulation import run_simulation

    server, client = ServerApp(), ClientApp()

    @server.main()  # type: ignore[untyped-decorator]
    def serve(grid: Grid, context: Context) -> None:
        strategy = FedAvg(
            fraction_train=work.cohort / work.sites,
            fraction_evaluate=0.0,
            min_available_nodes=work.sites,
        )
        adapter = ArrayRecord(plain_loop.adapter(_model(config)))
        strategy.start(grid=grid, initial_arrays=adapter, num_rounds=config.rounds)

    @client.train()  # type: ignore[untyped-decorator]
    def fit(message: Message, context: Context) -> Message:
        model, held = _model(config), _held(shape, work)
        site = site_names(work)[int(context.node_config["partition-id"])]
        plain_loop.load(model, message.content["arrays"].to_torch_state_dict())
        losses = plain_loop.train(model, batches_of(held[site], config, site), config.learning_rate)
        metrics = MetricRecord({"loss": sum(losses) / len(losses), "num-examples": len(held[site])})
        arrays = ArrayRecord(plain_loop.adapter(model))
        return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)

    one_core = {
        "init_args": {"num_cpus": 1, "include_dashboard": False},
        "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
    }
    run_simulation(server, client, num_supernodes=work.sites, backend_config=one_core)


@lru_cache
def _model(config: RunConfig) -> Any:
    """Loaded once per process, which is kinder than what most examples do."""
    import torch
    from transformers import AutoModelForCausalLM

    from fedbench.bench.shapes import attach

    torch.set_num_threads(1)
    backbone = AutoModelForCausalLM.from_pretrained(config.backbone, dtype=torch.float32)
    return attach(backbone, config)


_held = lru_cache(holdings)
