"""From what a user wrote to the one canonical configuration that a run's id is the hash of."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from fedbench.config import PartitionConfig, RunConfig, parse_config
from fedbench.errors import FedbenchError
from fedbench.models.backbones import check_device, model_type
from fedbench.models.families import family_of
from fedbench.models.methods import METHODS
from fedbench.optimizers import OPTIMIZERS
from fedbench.rules import canonical, rule_of, wrong_with
from fedbench.tasks import load_task, located
from fedbench.tasks.examples import OPTIONS
from fedbench.tasks.spec import fields_of
from fedbench.tasks.specfile import read_spec
from fedbench.wire.codecs import CODECS


def checked(values: Mapping[str, Any]) -> RunConfig:
    """The resolved configuration that ``values`` describe, with sources that can be used.

    Raises:
        FedbenchError: every wrong field, unknown name, impossible combination and missing source
            in one message.
    """
    told = []
    try:
        config = parse_config(values)
    except FedbenchError as error:
        told.append(str(error))
        config = parse_config({"task": "", **_sound(values)})
    for check in (resolve, check_sources):
        try:
            check(config)
        except FedbenchError as error:
            told.append(str(error))
    if told:
        raise FedbenchError(" ".join(told))
    return resolve(config)


def _sound(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of ``values`` with which nothing is wrong by themselves."""

    def fits(name: str) -> bool:
        try:
            parse_config({"task": "", name: values[name]})
        except FedbenchError:
            return False
        return True

    return {name: value for name, value in values.items() if fits(name)}


def resolve(config: RunConfig) -> RunConfig:
    """Fill in what was left open, and give equivalent configurations the same form.

    The base and centralized settings have one site, so they do not depend on a partition; in a
    federation of one site there is no share of sites to draw. Where every cohort has all sites,
    they validate either way.

    Raises:
        FedbenchError: all names that are not registered and all combinations without a meaning,
            in one message.
    """
    problems = [*_unknown(config)]
    if config.method in METHODS:
        problems += _impossible(config)
    if problems:
        raise FedbenchError(f"There is no such choice: {'; '.join(problems)}.")
    return _canonical(config)


def check_sources(config: RunConfig) -> None:
    """Make sure that task, backbone and device can be used, before any work is done.

    Raises:
        FedbenchError: one message with what is wrong with any of them.
    """
    checks: dict[Callable[[str], object], str] = {
        load_task: config.task,
        lambda name: family_of(model_type(name)): config.backbone,
        check_device: config.device,
    }
    problems = _ruled_out(config)
    for check, name in checks.items():
        try:
            check(name)
        except FedbenchError as error:
            problems.append(str(error))
            if check is load_task:
                problems.append(_where_nothing_is(name))
    if problems:
        raise FedbenchError(" ".join(filter(None, problems)))


def _ruled_out(config: RunConfig) -> list[str]:
    """Choices that the task's description leaves no meaning to."""
    try:
        spec, _ = read_spec(config.task)
    except FedbenchError:
        return []  # told when the task is loaded
    problems = []
    if config.partition.kind == "natural" and not spec.attribute:
        problems.append(
            f"partition.kind = natural needs owners, and task {spec.name} names none: use iid, "
            "dirichlet or quantity, or name an attribute in the task's file."
        )
    shown = {*fields_of(spec.prompt[spec.scoring])} & {OPTIONS, *spec.options}
    if config.labels == "shuffled" and shown:
        problems.append(
            "labels = shuffled has no meaning where a prompt shows its options: the right one "
            "would still stand among them; take a prompt without them, as where text is scored."
        )
    return problems


def _where_nothing_is(task: str) -> str:
    """That FEDBENCH_DATA names a place without this dataset, which is easily got wrong."""
    place = os.environ.get("FEDBENCH_DATA")
    dataset = Path(task).stem.partition(":")[0]
    if not place or (Path(place) / dataset).is_dir():
        return ""
    return f"FEDBENCH_DATA is {place}, which has no folder {dataset}."


def _canonical(config: RunConfig) -> RunConfig:
    filled: dict[str, Any] = {
        "task": located(config.task),
        "rule": canonical(config.rule),
        "compute": config.compute or METHODS[config.method].computes[0],
    }
    if config.setting in ("base", "centralized"):
        filled["partition"] = PartitionConfig(kind="iid", sites=1)
    if config.setting != "federated":
        filled["participation"] = 1.0
    if filled.get("participation", config.participation) == 1:
        filled["validated_by"] = "all"
    return config.model_copy(update=filled)


def _unknown(config: RunConfig) -> Iterable[str]:
    registries: dict[str, Mapping[str, object]] = {
        "method": METHODS,
        "codec": CODECS,
        "optimizer": OPTIMIZERS,
    }
    for field, registry in registries.items():
        given = getattr(config, field)
        if given not in registry:
            near = difflib.get_close_matches(given, registry, n=1)
            hint = f", did you mean {near[0]}?" if near else ""
            yield f"{field} = {given!r} is not known{hint} (allowed: {', '.join(registry)})"
    if problem := wrong_with(config.rule):
        yield problem


def _impossible(config: RunConfig) -> list[str]:
    problems = []
    allowed = METHODS[config.method].computes
    if config.compute is not None and config.compute not in allowed:
        problems.append(
            f"compute = {config.compute!r} has no meaning for method {config.method} "
            f"(allowed: {', '.join(allowed)})"
        )
    if config.optimizer.endswith("paged") and config.device == "cpu":
        problems.append(
            f"optimizer = {config.optimizer!r} has no meaning on a CPU, whose memory has no other "
            "to page to: take adamw-8bit"
        )
    if not wrong_with(config.rule) and (reason := rule_of(config.rule).refuses(config)):
        problems.append(f"rule = {config.rule!r} has no meaning here: {reason}")
    return problems
