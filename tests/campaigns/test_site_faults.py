"""Sites that fail in rounds of a toy: what was planned happens, and nothing else does."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
import torch

from fedbench.cohorts import draw_cohort
from fedbench.engines.faulty import faulty
from fedbench.engines.in_process import InProcess
from fedbench.errors import FedbenchError
from fedbench.faults import FAULTS
from fedbench.faults.plan import strike
from fedbench.federation import federate
from fedbench.privacy import ledger
from fedbench.resolving import resolve
from tests import bigram

HELD = {
    "site-00": bigram.sequences((1, 2), (1, 2), (3, 4)),
    "site-01": bigram.sequences((1, 5), (2, 3)),
    "site-02": bigram.sequences((4, 5), (5, 1), (2, 2), (3, 3)),
    "site-03": bigram.sequences((3, 1), (2, 5), (5, 5)),
    "site-04": bigram.sequences((2, 1), (4, 4)),
}
#: what a federation may be beside its faults
FEDERATIONS = (
    {"rule": "fedavg"},
    {"rule": "fedprox"},
    {"rule": "scaffold", "optimizer": "sgd"},
    {"rule": "fednova", "optimizer": "sgd"},
    {"rule": "fedadam"},
    {"rule": "median"},
    {"codec": "ef+top-k:share=0.5"},
    {"codec": "ef+sign", "codec_down": "delta+int8"},
    {"codec": "int8", "codec_down": "delta+int4"},
    {"participation": 0.6, "validated_by": "cohort"},
    {"participation": 0.6, "codec_down": "delta+int8"},
    {"rule": "krum:hostile=1", "attack": "sign-flip", "hostile": 0.2},
    {"privacy": {"unit": "example", "clip": 1.0, "noise": 1.0, "examples": 3}},
    {"privacy": {"unit": "site", "clip": 1.0, "noise": 1.0}},
    {"secure": {"bound": 4.0, "greatest_weight": 4.0}},
    {"own_passes": 1},
)
#: of which an attempt is lost; ``late`` where it is beyond the deadline
LOST = {"drop-out", "silent", "crash", "garbage"}

#: of which every refusal says one
MEANINGLESS = ("has no meaning", "needs policy.deadline", "can never be reached")


class Killed(Exception):
    pass


def drawn(seed):
    """A configuration with faults, as a pure function of a seed; None if it has no meaning."""
    dice = random.Random(seed)
    kinds = dice.sample(sorted(FAULTS), dice.randint(1, len(FAULTS)))
    scale = dice.choice([0.1, 0.3, 0.6, 1.0])
    parts = []
    for kind in kinds:
        options = {"late": f",seconds={dice.choice([5, 90])}",
                   "memory": f",holds={dice.choice([0, 1, 1])}"}.get(kind, "")  # fmt: skip
        parts.append(f"{kind}:rate={scale * dice.uniform(0.2, 1):.3f}{options}")
    policy = {
        "minimum": dice.choice([1, 1, 1, 2, 3, 5]),
        "deadline": dice.choice([30, 30, 30, None]),
        "retries": dice.choice([0, 0, 1, 2, 8]),
    }
    values = {"sites": 5, "passes": 4, "rounds": 3, "seed": seed, "faults": "+".join(parts)}
    try:
        return resolve(bigram.config(**values, policy=policy, **dice.choice(FEDERATIONS)))
    except FedbenchError as error:
        if not any(clause in str(error) for clause in MEANINGLESS):
            raise
        return None


class Dying:
    """An engine whose process dies after so many answers."""

    def __init__(self, engine, answers):
        self.engine, self.left = engine, answers

    def exchange(self, messages, deadline=None):
        for pair in self.engine.exchange(messages, deadline):
            if not self.left:
                raise Killed
            self.left -= 1
            yield pair


class Shuffled:
    """An engine that does sites' work, and delivers their answers, in another order of sites."""

    def __init__(self, engine, seed):
        self.engine, self.dice = engine, random.Random(seed)

    def exchange(self, messages, deadline=None):
        order = self.dice.sample([*messages], len(messages))
        answers = [*self.engine.exchange({site: messages[site] for site in order}, deadline)]
        place = {site: self.dice.random() for site, _ in answers}
        yield from sorted(answers, key=lambda pair: place[pair[0]])


def federated(config, folder, *, dies_after=None, order=None, sound=False):
    """State, log and debits of a federation, or the sentence it ends with.

    With ``sound`` nothing befalls its sites, whatever the configuration says.
    """
    contexts = bigram.contexts(HELD, config, folder / "sites")
    if config.attack != "none":
        from fedbench.attacks import attack_of

        contexts["site-01"] = replace(contexts["site-01"], attack=attack_of(config.attack))
    engine = InProcess(contexts) if sound else faulty(InProcess(contexts), config)
    if order is not None:
        engine = Shuffled(engine, order)
    if dies_after is not None:
        engine = Dying(engine, dies_after)
    try:
        done = federate(config, engine, [*HELD], bigram.initial(), folder / "server")
    except FedbenchError as error:
        return str(error)
    spent = {
        str(path.relative_to(folder)): ledger._read(path) for path in folder.rglob("privacy.json")
    }
    return done.adapter, done.log, spent


def same(a, b):
    """Whether two federations ended alike, to the bit."""
    if isinstance(a, str) or isinstance(b, str):
        return a == b
    tensors = a[0].keys() == b[0].keys() and all(torch.equal(a[0][n], b[0][n]) for n in a[0])
    return tensors and a[1:] == b[1:]


def on_its_way(struck):
    """Whether an answer that came too late is a whole one."""
    return "late" in struck.kinds and struck.mishap.holds != 0 and not LOST & {*struck.kinds}


def lost(config, round_, site, attempt):
    """Whether the plan alone says that an attempt fails."""
    struck = strike(config, round_, site, attempt)
    deadline = config.policy.deadline
    late = "late" in struck.kinds and deadline is not None and struck.seconds > deadline
    return bool(LOST & {*struck.kinds}) or late or struck.mishap.holds == 0


def check_against_plan(config, log):
    """What the record of every round says is what the plan makes happen; counts by kind."""
    found = Counter()
    for record in log:
        if "bytes_up" not in record or record["round"] >= config.rounds:
            continue
        round_, refused = record["round"], record.get("refused", {})
        again = record.get("asked_again", {})
        for site in draw_cohort(config, [*HELD], round_):
            attempts = 1 + len(again.get(site, ()))
            planned = ["+".join(strike(config, round_, site, a).kinds) for a in range(attempts)]
            assert record.get("faults", {}).get(site, [""] * attempts) == planned
            outcomes = [lost(config, round_, site, attempt) for attempt in range(attempts)]
            assert all(outcomes[:-1]), (round_, site, planned)
            answered_late = any(
                on_its_way(strike(config, round_, site, attempt)) for attempt in range(attempts - 1)
            )
            if not record.get("abandoned") and config.privacy is None:
                counted = site in record["cohort"]
                assert counted != (site in refused)
                assert counted == (not outcomes[-1] or answered_late), (round_, site, planned)
            if site in refused:
                assert attempts == 1 + config.policy.retries
            found.update(kind for one in planned for kind in one.split("+") if kind)
            found["asked again"] += attempts - 1
        if "abandoned" in record:
            found["abandoned"] += 1
            assert record["cohort"] == []
        elif config.privacy is None and record["cohort"]:
            assert len(record["cohort"]) >= config.policy.minimum
    return found


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_whatever_befalls_sites_a_federation_ends_as_planned(campaign, tmp_path):
    count = campaign.size(sample=40, full=400)
    wrong, seen, federations, sentences = [], Counter(), 0, Counter()
    for seed in range(campaign.seed, campaign.seed + count):
        config = drawn(seed)
        if config is None:
            seen["refused combinations"] += 1
            continue
        federations += 1
        found = federated(config, tmp_path / f"{seed}")
        if not same(found, federated(config, tmp_path / f"{seed}-again", order=seed)):
            wrong.append((seed, "another order"))
        if seed % 3 == 0:
            killed = tmp_path / f"{seed}-killed"
            with pytest.raises(Killed):
                federated(config, killed, dies_after=random.Random(seed).randrange(1, 15))
            if not same(found, federated(config, killed)):
                wrong.append((seed, "killed"))
            seen["killed"] += 1
        if isinstance(found, str):
            sentences[found.split(",")[0]] += 1
            continue
        seen += check_against_plan(config, found[1])
        everybody = all(
            not record.get("refused") and not record.get("abandoned") for record in found[1]
        )
        if everybody and "memory" not in config.faults and not config.secure:
            usual = federated(config, tmp_path / f"{seed}-sound", sound=True)
            alike = all(torch.equal(found[0][name], usual[0][name]) for name in usual[0])
            if not (alike and found[2] == usual[2]):
                wrong.append((seed, "all answered"))
            seen["all answered"] += 1
    campaign.count(
        trials=count,
        federations=federations,
        wrong_results=len(wrong),
        **{name.replace(" ", "_").replace("-", "_"): number for name, number in seen.items()},
        nothing_learned=sum(sentences.values()),
    )
    assert not wrong
    assert federations > count / 4
    assert {*FAULTS, "asked again", "abandoned", "all answered", "killed"} <= {*seen}
    assert sum(seen[kind] for kind in FAULTS) > 3 * federations
    assert all("Not one update was accepted" in one or "No site" in one for one in sentences)
