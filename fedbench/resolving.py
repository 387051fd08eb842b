"""From what a user wrote to the one canonical configuration that a run's id is the hash of."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from fedbench.attacks import NONE, attack_of
from fedbench.attacks import canonical as canonical_attack
from fedbench.attacks import wrong_with as wrong_with_attack
from fedbench.cohorts import expected_size
from fedbench.config import RunConfig, parse_config
from fedbench.errors import FedbenchError, shown
from fedbench.faults import canonical as canonical_faults
from fedbench.faults import wrong_with as wrong_with_faults
from fedbench.faults.validity import impossible as impossible_faults
from fedbench.models.backbones import check_device, model_type
from fedbench.models.families import family_of
from fedbench.models.methods import METHODS
from fedbench.models.placement import check_placement
from fedbench.optimizers import OPTIMIZERS
from fedbench.problems import examined
from fedbench.rules import canonical, rule_of, wrong_with
from fedbench.rules.validity import hidden, not_private
from fedbench.tasks import load_task, located
from fedbench.tasks.defective import apart
from fedbench.tasks.examples import OPTIONS
from fedbench.tasks.lookalike import dialects
from fedbench.tasks.spec import fields_of
from fedbench.tasks.specfile import read_spec
from fedbench.wire.codecs import canonical as canonical_codec
from fedbench.wire.codecs import codec_of
from fedbench.wire.codecs import wrong_with as wrong_with_codec


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
        config = _sound(values)
    for check in (resolve, check_sources):
        try:
            check(config)
        except FedbenchError as error:
            told.append(str(error))
    if told:
        raise FedbenchError(" ".join(told))
    return resolve(config)


def _sound(values: Mapping[str, Any]) -> RunConfig:
    """As much of ``values`` as nothing is wrong with, so that more can be told of the rest."""
    left, _ = examined(values, RunConfig, task="")
    config = parse_config({"task": ""})
    for name in (*left, *left):  # twice: some have a meaning beside others only
        with suppress(FedbenchError):
            config = parse_config({**dict(config), name: left[name]})
    return config


def resolve(config: RunConfig) -> RunConfig:
    """Fill in what was left open, and give equivalent configurations the same form.

    The base and centralized settings have one site, so they depend on a partition only where it
    changes the examples (:meth:`~fedbench.config.PartitionConfig.seen_by`); in a federation of one
    site there is no share of sites to draw. Where every cohort has all sites, they validate either
    way.

    Raises:
        FedbenchError: all names that are not registered and all combinations without a meaning,
            in one message.
    """
    # What contradicts what is told beside names that are not known, as if the method were another.
    known = config.method in METHODS
    other = config if known else config.model_copy(update={"method": "lora", "compute": None})
    problems = [*_unknown(config), *_impossible(other)]
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
        check_placement: config.placement,
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
    if config.partition.kind == "label" and spec.options:
        problems.append(
            f"partition.kind = label needs answers that are classes, and the answers of task "
            f"{spec.name} are letters of options, which say nothing: use dirichlet, which deals by "
            "topic."
        )
    most = dialects(spec.generator.name) if spec.generator else 1
    if config.partition.dialects > most:
        remedy = f"1 to {most}" if most > 1 else "leave it out, or take a look-alike"
        problems.append(
            f"partition.dialects = {config.partition.dialects} is more than the {most} that task "
            f"{spec.name} can be worded in: {remedy}."
        )
    shown = {*fields_of(spec.prompt[spec.scoring])} & {OPTIONS, *spec.options}
    if config.labels == "shuffled" and shown:
        problems.append(
            "labels = shuffled has no meaning where a prompt shows its options: the right one "
            "would still stand among them; take a prompt without them, as where text is scored."
        )
    goal = None if wrong_with_attack(config.attack) else attack_of(config.attack).goal
    if goal and goal.triggered and spec.options and not shown:
        problems.append(
            f"attack = {config.attack!r} has no target in task {spec.name}, whose first option is "
            "known by its place, which the prompt does not show: take label-flip, or a task with "
            "labels or letters."
        )
    return problems


def _where_nothing_is(task: str) -> str:
    """That FEDBENCH_DATA names a place without this dataset, which is easily got wrong."""
    place = os.environ.get("FEDBENCH_DATA")
    dataset = Path(apart(task)[1]).stem.partition(":")[0]
    if not place or (Path(place) / dataset).is_dir():
        return ""
    return f"FEDBENCH_DATA is {place}, which has no folder {dataset}."


def _canonical(config: RunConfig) -> RunConfig:
    filled: dict[str, Any] = {
        "task": located(config.task),
        "rule": canonical(config.rule),
        "attack": canonical_attack(config.attack),
        "faults": canonical_faults(config.faults),
        "codec": canonical_codec(config.codec),
        "codec_down": canonical_codec(config.codec_down),
        "compute": config.compute or METHODS[config.method].computes[0],
        "partition": config.partition.seen_by(config.setting),
    }
    if config.setting != "federated":
        filled["participation"] = 1.0
    if filled.get("participation", config.participation) == 1:
        filled["validated_by"] = "all"
    return config.model_copy(update=filled)


def _unknown(config: RunConfig) -> Iterable[str]:
    registries: dict[str, Mapping[str, object]] = {
        "method": METHODS,
        "optimizer": OPTIMIZERS,
    }
    for field, registry in registries.items():
        given = getattr(config, field)
        if given not in registry:
            near = difflib.get_close_matches(given[:100], registry, n=1)
            hint = f", did you mean {near[0]}?" if near else ""
            yield f"{field} = {shown(given)} is not known{hint} (allowed: {', '.join(registry)})"
    if problem := wrong_with(config.rule):
        yield problem
    if problem := wrong_with_attack(config.attack):
        yield problem
    if problem := wrong_with_faults(config.faults):
        yield problem
    for field in ("codec", "codec_down"):
        if problem := wrong_with_codec(field, getattr(config, field)):
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
    if config.placement == "offloaded" and allowed and (config.compute or allowed[0]) != "plain":
        problems.append(
            "placement = offloaded has no meaning for a quantised backbone, which is packed on its "
            "device: take compute = plain, or placement = whole"
        )
    if config.placement == "sharded" and config.device == "cpu":
        problems.append("placement = sharded has no meaning on a CPU: take offloaded")
    if config.partition.ranks and config.method not in ("lora", "qlora"):
        problems.append(
            f"partition.ranks has no meaning for method {config.method}, which has no ranks"
        )
    problems += [*_impossible_codecs(config), *_impossible_privacy(config)]
    problems += [*_impossible_attacks(config), *_impossible_sums(config)]
    problems += impossible_faults(config)
    if not wrong_with(config.rule) and (reason := rule_of(config.rule).refuses(config)):
        problems.append(f"rule = {config.rule!r} has no meaning here: {reason}")
    return problems


def _impossible_attacks(config: RunConfig) -> Iterable[str]:
    if wrong_with_attack(config.attack):
        return
    attacked = config.attack != NONE
    if attacked and not config.hostile:
        yield f"attack = {config.attack!r} has no meaning while hostile is 0: say 0.2, or none"
    if config.hostile and not attacked:
        yield f"hostile = {config.hostile:g} has no meaning without an attack: say which, or 0"
    if (attacked or config.hostile) and config.setting != "federated":
        yield (
            f"attack and hostile have no meaning in the setting {config.setting}, where no sites "
            "train together: leave them out"
        )
    needed = attack_of(config.attack).differences and not wrong_with(config.rule)
    if needed and not rule_of(config.rule).differences:
        yield (
            f"attack = {config.attack!r} has no meaning under {config.rule}, whose sites send "
            "whole factors and no differences: take label-flip or backdoor"
        )


def _impossible_codecs(config: RunConfig) -> Iterable[str]:
    if not wrong_with_codec("codec", config.codec):
        up = codec_of(config.codec)
        if up.delta:
            yield f"codec = {config.codec!r} has no meaning: an update is a difference already"
        if up.differences and not wrong_with(config.rule) and not rule_of(config.rule).differences:
            yield (
                f"codec = {config.codec!r} has no meaning under {config.rule}, whose sites send "
                "whole factors: take fp32, fp16, bf16, int8 or int4"
            )
    if not wrong_with_codec("codec_down", config.codec_down):
        down = codec_of(config.codec_down)
        if down.feedback:
            yield (
                f"codec_down = {config.codec_down!r} has no meaning: what a change lost is part of "
                "the next one anyway: take delta"
            )
        elif down.differences and not down.delta:
            yield (
                f"codec_down = {config.codec_down!r} has a meaning for changes only: put delta+ "
                "before it"
            )
        if down.delta and config.partition.ranks:
            yield (
                f"codec_down = {config.codec_down!r} has no meaning where sites hold unequal "
                "ranks, and are not all told the same"
            )


def _impossible_privacy(config: RunConfig) -> Iterable[str]:
    if config.private("site") is not None and not wrong_with(config.rule):
        if config.setting != "federated":
            yield (
                f"privacy.unit = 'site' has no meaning in the setting {config.setting}, which has "
                "a single site in a federation"
            )
        if config.partition.ranks:
            yield "privacy.unit = 'site' is not derived for sites of unequal ranks"
        if reason := not_private(rule_of(config.rule)):
            yield f"privacy.unit = 'site' has no meaning under {config.rule}: {reason}"
    if config.private("example") is not None and config.dropout:
        yield "privacy.unit = 'example' is not implemented with dropout: take dropout = 0"
    if config.sampling == "poisson" and config.validated_by == "cohort":
        yield "sampling = 'poisson' may draw nobody: take validated_by = all"


def _impossible_sums(config: RunConfig) -> Iterable[str]:
    """What cannot be done where the server sees a sum only."""
    if config.secure is None:
        return
    if config.setting != "federated":
        yield (
            f"secure has no meaning in the setting {config.setting}, where a federation has a "
            "single site: its sum is its update"
        )
    if not wrong_with(config.rule) and (reason := hidden(rule_of(config.rule))):
        yield f"secure has no meaning under {config.rule}: {reason}"
    if not wrong_with_codec("codec", config.codec) and not codec_of(config.codec).additive:
        yield (
            f"codec = {config.codec!r} has no meaning with secure: what it saves cannot be added "
            "under masks, where every site must send all numbers: take fp32, fp16, bf16, int8 or "
            "int4"
        )
    size = expected_size(config, range(config.partition.sites))
    if config.sampling == "fixed" and size < 2 <= config.partition.sites:
        yield (
            f"participation = {config.participation:g} of {config.partition.sites} sites has no "
            f"meaning with secure: a sum of one is its update: take {2 / config.partition.sites:g} "
            "or more"
        )
    if config.partition.ranks:
        yield "secure is not built for sites of unequal ranks, whose vectors differ in length"
    if config.attack != NONE:
        yield (
            f"attack = {config.attack!r} has no meaning with secure: what a hostile site could put "
            "behind its mask is not simulated: leave one of them out"
        )
    privacy = config.private("site")
    if privacy is not None and config.sampling == "poisson":
        yield (
            "secure with privacy.unit = 'site' has no meaning with sampling = 'poisson': a round "
            "of too few sites for a sum is given up, without noise, which tells who was drawn: "
            "take sampling = fixed"
        )
    if privacy is not None and config.secure.bound < privacy.clip:
        yield (
            f"secure.bound = {config.secure.bound:g} is below privacy.clip = {privacy.clip:g}: a "
            "clipped update could still be refused for what it holds: take a bound that is no less"
        )
