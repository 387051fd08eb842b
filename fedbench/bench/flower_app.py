"""The same federation as a Flower app, by its documentation (message API, flwr 1.41).

Every client has the plain loop of :mod:`fedbench.bench.plain_loop`; one at a time, on one thread.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import lru_cache
from statistics import fmean
from typing import Any

from fedbench.bench import plain_loop
from fedbench.bench.outcome import Outcome, counted_steps, outcome
from fedbench.bench.shapes import Held, Shape, Work, batches_of, holdings, site_names
from fedbench.config import RunConfig
from fedbench.errors import FedbenchError

#: Neither Flower nor ray is to send anything anywhere.
_QUIET = {"FLWR_TELEMETRY_ENABLED": "0", "RAY_USAGE_STATS_ENABLED": "0"}


def simulate(config: RunConfig, shape: Shape, work: Work) -> Outcome:
    """Run all rounds of ``config`` in Flower's simulation; it has ray start processes.

    Raises:
        FedbenchError: a client failed. By itself Flower would log that and go on to the next
            round, in the end without any client.
    """
    os.environ.update(_QUIET)
    from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
    from flwr.clientapp import ClientApp
    from flwr.serverapp import Grid, ServerApp
    from flwr.serverapp.strategy import FedAvg
    from flwr.simulation import run_simulation

    server, client = ServerApp(), ClientApp()
    rounds: list[list[Any]] = []
    ends: list[Outcome] = []

    class Strict(FedAvg):  # type: ignore[misc]
        def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> Any:
            received = list(replies)
            rounds.append([reply.content["metrics"] for reply in without_failure(received)])
            return super().aggregate_train(server_round, received)

    @server.main()  # type: ignore[untyped-decorator]
    def serve(grid: Grid, context: Context) -> None:
        strategy = Strict(fraction_evaluate=0.0, min_available_nodes=work.sites)
        initial = plain_loop.adapter(_model(config))
        result = strategy.start(
            grid=grid, initial_arrays=ArrayRecord(initial), num_rounds=config.rounds
        )
        steps = sum(int(metrics["steps"]) for of_round in rounds for metrics in of_round)
        losses = [fmean(metrics["loss"] for metrics in of_round) for of_round in rounds]
        ends.append(outcome(steps, losses, initial, result.arrays.to_torch_state_dict()))

    @client.train()  # type: ignore[untyped-decorator]
    def fit(message: Message, context: Context) -> Message:
        model, held = _model(config), _held(shape, work)
        site = site_names(work)[int(context.node_config["partition-id"])]
        turn = int(message.content["config"]["server-round"]) - 1
        plain_loop.load(model, message.content["arrays"].to_torch_state_dict())
        batches = batches_of(held[site], config, site, turn)
        with counted_steps() as counter:
            losses = plain_loop.train(model, batches, config.learning_rate)
        told = {"loss": fmean(losses), "steps": counter.steps, "num-examples": len(held[site])}
        arrays = ArrayRecord(plain_loop.adapter(model))
        content = RecordDict({"arrays": arrays, "metrics": MetricRecord(told)})
        return Message(content, reply_to=message)

    one_core = {
        "init_args": {"num_cpus": 1, "include_dashboard": False},
        "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
    }
    run_simulation(server, client, num_supernodes=work.sites, backend_config=one_core)
    if not ends:
        raise FedbenchError("Flower's server ended before its last round.")
    return ends[0]


def without_failure(replies: Iterable[Any]) -> list[Any]:
    """The replies, none of which is an error.

    Raises:
        FedbenchError: one is; with the reason that its client gave.
    """
    received = list(replies)
    for reply in received:
        if reply.has_error():
            in_one_line = " ".join(reply.error.reason.split())
            raise FedbenchError(f"A client of Flower failed: {in_one_line}")
    return received


@lru_cache
def _model(config: RunConfig) -> Any:
    """Loaded once per process, which is kinder than what most examples do."""
    import torch
    from transformers import AutoModelForCausalLM

    from fedbench.bench.shapes import attach

    torch.set_num_threads(1)
    backbone = AutoModelForCausalLM.from_pretrained(
        config.backbone, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
    )
    return attach(backbone, config)


@lru_cache
def _held(shape: Shape, work: Work) -> Held:
    """Made once per process. A function of this module's own, for ray names it to its workers."""
    return holdings(shape, work)
