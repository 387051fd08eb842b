"""The suite bites: every rule passes, and every aggregator with a known defect is caught."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fedbench.conformance.checks import CHECKS, examine
from fedbench.conformance.subject import Subject, of_function, of_rule, subject_of
from fedbench.errors import FedbenchError
from fedbench.models.ranks import padded
from fedbench.rules import RULES, rule_of
from fedbench.rules import flexlora as flexing
from fedbench.rules.factors import DELTA
from fedbench.rules.lora_halves import DOWN, UP, ups
from fedbench.rules.rule import USUAL, Contribution, Message
from fedbench.train import LocalObjective

FEDAVG = rule_of("fedavg")


@pytest.mark.parametrize("name", RULES)
def test_every_rule_keeps_what_it_claims(name):
    found = {f.check.name: f for f in examine(subject_of(name))}
    assert [f"{n}: {f.error} {f.reason}" for n, f in found.items() if f.verdict == "failed"] == []
    passed = [f.check.claims for f in found.values() if f.verdict == "passed"]
    assert set(rule_of(name).claims) == frozenset().union(*passed)


def averaged(trained, examples):
    whole = sum(examples)
    return {
        name: sum(n / whole * each[name] for each, n in zip(trained, examples, strict=True))
        for name in trained[0]
    }


def residual(trained, examples, after, scale):
    """What the mean of products has beyond the product of means, by module."""
    whole = sum(examples)
    found = {}
    for up in ups(after):
        down, module = up.replace(UP, DOWN), up.partition(UP)[0]
        exact = sum(
            n / whole * each[up] @ each[down] for each, n in zip(trained, examples, strict=True)
        )
        found[f"{module}.weight"] = scale * (exact - after[up] @ after[down])
    return found


def fedex(shared, trained, examples, scale, *, of=residual):
    """FedEx-LoRA (arXiv:2410.09432, eq. 11 to 13), kept whole for rounds after the first."""
    after = averaged([{n: t[n] for n in t if UP in n or DOWN in n} for t in trained], examples)
    before = {n: value for n, value in shared.items() if n not in after}
    change = of(trained, examples, after, scale)
    return after | {n: before.get(n, 0) + value for n, value in change.items()}


fedex.claims = USUAL | {"exact"}


def test_somebody_elses_exact_aggregator_passes_with_a_change_of_the_weights():
    found = examine(of_function("fedex", fedex))
    assert [f.check.name for f in found if f.verdict == "failed"] == []
    assert next(f for f in found if f.check.name == "exact").verdict == "passed"


def _of_fedex(of):
    def aggregate(*given):
        return fedex(*given, of=of)

    aggregate.claims = fedex.claims
    return of_function("mutant", aggregate)


def _server(server, reduce="sum", base=FEDAVG, **more):
    return of_rule("mutant", replace(base, server=server, reduce=reduce, **more))


def _first_only(state, reduced):
    first = next(iter(reduced))
    return {n: value + first.tensors[n] for n, value in state.items()}


def _last_only(state, reduced):
    *_, last = reduced
    return {n: value + last.tensors[n] for n, value in state.items()}


def _without_weights(state, reduced):
    heard = list(reduced)
    return {n: v + sum(c.tensors[n] for c in heard) / len(heard) for n, v in state.items()}


def _not_normalised(state, reduced):
    return {n: value + reduced.total[n] for n, value in state.items()}


def _one_too_many(state, reduced):
    return {n: value + reduced.total[n] / (reduced.weight + 1) for n, value in state.items()}


def _update_for_adapter(state, reduced):
    return reduced.mean


def _drifting(state, reduced):
    return {n: value + reduced.mean[n] + 1e-3 for n, value in state.items()}


def _decaying(state, reduced):
    return {n: 0.999 * (value + reduced.mean[n]) for n, value in state.items()}


def _running(state, reduced):
    for each in reduced:
        state = {n: value + each.tensors[n] / 2 for n, value in state.items()}
    return state


def _in_half_precision(state, reduced):
    return {n: (value + reduced.mean[n]).half().float() for n, value in state.items()}


def _factors_swapped(state, reduced):
    mean = reduced.mean
    odd = {n.replace(UP, "?").replace(DOWN, UP).replace("?", DOWN): v.T for n, v in mean.items()}
    return {n: value + odd[n] for n, value in state.items()}


def _one_factor_lost(state, reduced):
    return {n: value + reduced.mean[n] * (UP in n) for n, value in state.items()}


def _mean_work_forgotten(state, reduced):
    return {n: value + reduced.mean[n] for n, value in state.items()}


def _flora(of_factors):
    """FLoRA that adds other factors to the backbone than those it heard."""
    flora = rule_of("flora")

    def server(state, reduced):
        return flora.server(state, (Contribution(of_factors(c), c.weight) for c in reduced))

    return of_rule("mutant", replace(flora, server=server))


def _exchanged(contribution):
    """Shapes are kept, so that nothing but a check can tell."""
    return {n: t.flip(1) if UP in n else t for n, t in contribution.tensors.items()}


def _weighted_twice(contribution):
    return {n: t * contribution.weight for n, t in contribution.tensors.items()}


def _base_forgets(rule):
    """Only what the last round added is kept of the delta."""

    def server(state, reduced):
        return rule.server({n: t for n, t in state.items() if not n.startswith(DELTA)}, reduced)

    return of_rule("mutant", replace(rule, server=server))


def _keeps_what_it_gave_away(state, reduced):
    """FLoRA that adds the product to the backbone and leaves it in the adapter as well."""
    heard = list(reduced)
    after = rule_of("flora").server(state, iter(heard))
    whole = sum(c.weight for c in heard)
    mean = {n: sum(c.weight / whole * c.tensors[n] for c in heard) for n in heard[0].tensors}
    return after | mean


def _no_residual(state, reduced):
    after = rule_of("fedex-lora").server(state, reduced)
    return {n: t for n, t in after.items() if not n.startswith(DELTA)}


class _Stale:
    """Adds the update of the round before as well."""

    def __init__(self):
        self.before = {}

    def __call__(self, state, reduced):
        moved = {n: v + reduced.mean[n] + self.before.get(n, 0) for n, v in state.items()}
        self.before = reduced.mean
        return moved


def _flexible(factors):
    """FlexLoRA with another way of making factors."""

    def server(state, reduced):
        heard = list(reduced)
        whole, after = sum(c.weight for c in heard), dict(state)
        for up in ups(state):
            down = up.replace(UP, DOWN)
            after[up], after[down] = factors(
                [c.tensors[up] for c in heard],
                [c.tensors[down] for c in heard],
                [c.weight / whole for c in heard],
                state[down].shape[0],
            )
        return after

    return _server(server, "each", rule_of("flexlora"))


def _root(many_up, many_down, weights, rank):
    b, a = flexing.refactored(many_up, many_down, weights, rank)
    return b / b.norm(dim=0).clamp(min=1e-12).sqrt(), a


def _root_on_both(many_up, many_down, weights, rank):
    """The same product, but a direction without a value loses both of its parts."""
    b, a = flexing.refactored(many_up, many_down, weights, rank)
    root = b.norm(dim=0).sqrt()
    return b / root.clamp(min=1e-12), a * root[:, None]


def _transposed(many_up, many_down, weights, rank):
    b, a = flexing.refactored(many_up, many_down, weights, rank)
    return a.T, b.T


def _unweighted_svd(many_up, many_down, weights, rank):
    return flexing.refactored(many_up, many_down, [1 / len(weights)] * len(weights), rank)


def _not_cut(many_up, many_down, weights, rank):
    return sum(w * b for w, b in zip(weights, many_up, strict=True)), many_down[0]


def _upload_all(message, trained, site_state, examples):
    update = {n: trained[n] - got for n, got in message.adapter.items()}
    return Contribution(update, float(examples)), {}


def _nothing_frozen(message, site_state):
    return LocalObjective()


def _b_forever(state, site):
    """RoLoRA whose turn never comes to A is still exact; whose adapter is old is not."""
    return Message({n: t * 0.5 for n, t in state.items() if "rounds" not in n},
                   {"odd round": state["rounds done"] % 2})  # fmt: skip


def _few_ranks(spoilt):
    """FedEx-LoRA that also takes factors of fewer ranks, which ``spoilt`` fills up."""

    def aggregate(shared, trained, examples, scale):
        rank = max(tensor.shape[0] for name, tensor in shared.items() if DOWN in name)
        return fedex(shared, [spoilt(each, rank) for each in trained], examples, scale)

    aggregate.claims = USUAL | {"exact", "ranks"}
    return of_function("mutant", aggregate)


def _stretched(adapter, rank):
    """The first rank again and again in place of zeros."""

    def filled(name, tensor):
        side = 1 if UP in name else 0
        missing = rank - tensor.shape[side]
        return torch.cat([tensor, *[tensor.narrow(side, 0, 1)] * missing], dim=side)

    return {name: filled(name, tensor) for name, tensor in adapter.items()}


def _turned(adapter, rank):
    """Zeros in front for B and behind for A, so that ranks meet others than their own."""
    wide = padded(adapter, rank)
    missing = rank - min(t.shape[0] for n, t in adapter.items() if DOWN in n)
    return {n: torch.roll(t, missing, 1) if UP in n else t for n, t in wide.items()}


#: By what is wrong with it; the first six are defects of released systems.
MUTANTS = {
    "only the first site is kept (FLoRA)": lambda: _server(_first_only, "each"),
    "the residual is transposed (fedex-lora)": lambda: _of_fedex(
        lambda *given: {n: v.T for n, v in residual(*given).items()}
    ),
    "a root too many in the decomposition (FedLLM-Factory)": lambda: _flexible(_root),
    "alpha / r is left out of the residual (FedLLM-Factory)": lambda: _of_fedex(
        lambda trained, examples, after, scale: residual(trained, examples, after, 1.0)
    ),
    "the still half is trained, and not sent (FedLLM-Factory)": lambda: of_rule(
        "mutant", replace(rule_of("rolora"), local=_nothing_frozen)
    ),
    "the decomposition comes back transposed (APPFL)": lambda: _flexible(_transposed),
    "factors of fewer ranks are filled up at different ends": lambda: _few_ranks(_turned),
    "factors of fewer ranks are stretched": lambda: _few_ranks(_stretched),
    "factors are averaged apart and called exact": lambda: of_rule(
        "mutant", replace(FEDAVG, claims=USUAL | {"exact"})
    ),
    "only the last site is kept": lambda: _server(_last_only, "each"),
    "weights are lost": lambda: _server(_without_weights, "each"),
    "weights are not normalised": lambda: _server(_not_normalised),
    "the denominator is one too large": lambda: _server(_one_too_many),
    "the update replaces the adapter": lambda: _server(_update_for_adapter),
    "the adapter drifts": lambda: _server(_drifting),
    "the adapter decays": lambda: _server(_decaying),
    "a running mean depends on the order": lambda: _server(_running, "each"),
    "everything passes through half precision": lambda: _server(_in_half_precision),
    "factors are swapped": lambda: _server(_factors_swapped),
    "one factor never moves": lambda: _server(_one_factor_lost),
    "the round before is added again": lambda: _server(_Stale()),
    "no weights in the decomposition": lambda: _flexible(_unweighted_svd),
    "dead directions": lambda: _flexible(_root_on_both),
    "the first site's A for all": lambda: _flexible(_not_cut),
    "the residual of rounds before is forgotten": lambda: of_function(
        "mutant", _claiming(lambda s, *g: fedex({n: t for n, t in s.items() if "lora" in n}, *g))
    ),
    "stacked factors do not belong together": lambda: _flora(_exchanged),
    "stacked factors carry their weight twice": lambda: _flora(_weighted_twice),
    "FLoRA forgets the rounds before": lambda: _base_forgets(rule_of("flora")),
    "FedEx forgets the rounds before": lambda: _base_forgets(rule_of("fedex-lora")),
    "FLoRA counts a round twice": lambda: _server(
        _keeps_what_it_gave_away, "each", rule_of("flora")
    ),
    "FedEx without a residual": lambda: _server(_no_residual, "each", rule_of("fedex-lora")),
    "the mean work is forgotten": lambda: _server(_mean_work_forgotten, base=rule_of("fednova")),
    "half of the adapter is broadcast": lambda: of_rule(
        "mutant", replace(rule_of("rolora"), broadcast=_b_forever)
    ),
}


def _claiming(aggregate):
    aggregate.claims = fedex.claims
    return aggregate


@pytest.mark.parametrize("defect", MUTANTS)
def test_a_defect_is_caught(defect):
    found = examine(MUTANTS[defect]())
    assert any(finding.verdict == "failed" for finding in found), defect


def test_every_check_catches_some_defect():
    caught = {
        finding.check.name
        for make in MUTANTS.values()
        for finding in examine(make())
        if finding.verdict == "failed"
    }
    assert caught == {check.name for check in CHECKS}


def test_what_an_aggregator_raises_is_a_finding_and_not_an_end():
    def broken(shared, trained, examples, scale):
        raise KeyError("q_proj")

    found = examine(of_function("broken", broken))
    assert {f.verdict for f in found if f.check.claims <= USUAL} == {"failed"}
    assert all("KeyError" in f.reason for f in found)


def test_what_an_aggregator_does_to_its_arguments_reaches_no_other_check():
    def greedy(shared, trained, examples, scale):
        after = averaged(trained, examples)
        for each in (shared, *trained):
            for tensor in each.values():
                tensor.zero_()
        return after

    assert all(f.verdict != "failed" for f in examine(of_function("greedy", greedy)))


def test_a_function_is_found_by_module_and_name(monkeypatch, tmp_path):
    (tmp_path / "somebody").mkdir()
    (tmp_path / "somebody" / "elses.py").write_text(
        "def first(shared, trained, examples, scale):\n    return trained[0]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    subject = subject_of("somebody.elses:first")
    assert isinstance(subject, Subject)
    assert any(f.verdict == "failed" for f in examine(subject))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nobody.here:f", r"nobody.here:f cannot be imported \(ModuleNotFoundError"),
        ("fedbench.rules:nothing", r"cannot be imported \(AttributeError.*package.module:function"),
        ("fedbench.rules", r"names a module and no function in it: write fedbench.rules:FUNCTION"),
        ("fedbench.rules:RULES", r"fedbench.rules:RULES is no function"),
        ("fedvag", r"'fedvag' is not known, did you mean fedavg"),
    ],
)
def test_what_is_neither_a_rule_nor_a_function_is_refused(text, message):
    with pytest.raises(FedbenchError, match=message):
        subject_of(text)


def test_a_promise_that_is_not_known_is_refused(monkeypatch, tmp_path):
    (tmp_path / "some_body").mkdir()
    (tmp_path / "some_body" / "elses.py").write_text(
        "def f(shared, trained, examples, scale):\n    return shared\nf.claims = {'exactly'}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(FedbenchError, match=r"claims 'exactly', which is not known \(allowed: w"):
        subject_of("some_body.elses:f")


def test_errors_are_relative_and_exactness_is_measured_whether_claimed_or_not():
    found = {f.check.name: f for f in examine(subject_of("fedavg"))}
    assert found["exact"].verdict == "not claimed"
    assert found["exact"].error > 0.1
    assert found["best"].error <= found["exact"].error + torch.finfo(torch.float32).eps
