"""The audit on a toy: that what it attacks is what was trained, defended and sent."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from fedbench.errors import FedbenchError
from fedbench.leakage.audit import Plan, audit, finding, rough_seconds
from fedbench.leakage.defences import (
    DEFECT,
    Defence,
    mean,
    never_applied,
    private_examples,
    standard_defences,
    through,
    undefended,
)
from fedbench.leakage.shadows import Draws, Observed, draw, held, observe, site_update
from fedbench.leakage.showing import finding_row
from fedbench.leakage.subjects import subjects
from fedbench.models.attached import attached
from fedbench.models.tensors import trained_tensors
from fedbench.prepare import prepare
from fedbench.tokens import Tokenised
from fedbench.train import Accumulated


@pytest.fixture
def plan(audited):
    return Plan(audited, shadows=3, pool=12, canaries=6, sites=3)


def nothing(shadow):
    return lambda update: {name: torch.zeros_like(t) for name, t in update.items()}


def test_sites_hold_what_their_coins_say_and_nobody_elses(plan):
    who = subjects(prepare(plan.config), 12, 6, 3)
    draws = draw(who, 3, 0)
    mine = held(who, draws, 1)
    expected = [s for s, member in zip(who.pool, draws.members[1], strict=True) if member]
    assert mine[: len(expected)] == expected
    assert len(mine) == draws.members[1].sum() + draws.inserted[1].sum()
    prompts = [{s.tokens[: s.start] for s in part} for part in (who.pool, *who.others)]
    prompts.append({canary.prompt for canary in who.canaries})
    assert sum(map(len, prompts)) == len(set.union(*prompts))
    canary = who.canary(2, 1)
    assert canary.tokens == (*who.canaries[2].prompt, *who.canaries[2].choices[1], who.end)
    # what is scored of a pool's example is what was trained on, without the end token
    for trained, asked in zip(who.pool, who.asked, strict=True):
        assert trained.tokens[:-1] == (*asked.prompt, *asked.choices[0])


def test_too_small_a_task_is_refused(plan):
    with pytest.raises(FedbenchError, match="take a smaller pool"):
        subjects(prepare(plan.config), 1000, 6, 3)


def test_a_single_shadow_is_refused(plan):
    with pytest.raises(FedbenchError, match="take two or more"):
        list(audit(replace(plan, shadows=1), [Defence("none")]))


def test_an_update_is_the_change_and_does_not_depend_on_what_was_trained_before(plan):
    who = subjects(prepare(plan.config), 12, 6, 3)
    with attached(plan.config) as model:
        initial = trained_tensors(model)
        first = site_update(model, initial, who.pool, plan.config, None, None, "a", 0)
        changed = trained_tensors(model)
        again = site_update(model, initial, who.pool, plan.config, None, None, "a", 0)
    for name, start in initial.items():
        torch.testing.assert_close(start + first[name], changed[name])
        assert torch.equal(first[name], again[name])
    assert any(t.abs().max() > 0 for t in first.values())


def test_shadows_train_once_for_defences_with_the_same_gradient(plan):
    calls = []

    def counted(site, shadow):
        calls.append((site, shadow))
        return None

    rows = [Defence("a", counted), Defence("b", counted, sent=nothing)]
    found = list(audit(plan, rows))
    assert [f.defence for f in found] == ["a", "b"]
    assert calls == [("audited", shadow) for shadow in range(3)]
    list(audit(plan, [Defence("c", counted, hidden_in_mean=True)]))
    others = {site for site, _ in calls} - {"audited"}
    assert others == {"other-0", "other-1"}


@pytest.mark.slow
def test_ticks_add_up_to_what_was_told_beforehand(plan):
    rows = [
        Defence("a"),
        Defence("b", hidden_in_mean=True),
        private_examples(plan.config, 8.0, plan.expected),
    ]
    ticks = []
    list(audit(plan, rows, ticks.append))
    assert sum(ticks) == rough_seconds(plan, rows)


def test_what_was_not_trained_has_the_loss_that_it_had_before(plan):
    (lost,) = audit(plan, [Defence("nothing", sent=nothing)])
    members = (lost.loss_inside + lost.loss_outside) / 2
    assert members == pytest.approx(lost.loss_before, rel=0.05)
    (plainly,) = audit(plan, [Defence("none")])
    assert plainly.loss_before == lost.loss_before
    assert plainly.loss_inside < plainly.loss_before


def test_privacy_that_is_never_applied_is_no_defence_at_all(plan):
    plainly, broken = audit(plan, [Defence("none"), never_applied(1.0)])
    assert broken.counts == plainly.counts
    assert broken.auc_ratio == plainly.auc_ratio
    assert broken.check.epsilon == 1.0
    assert plainly.check is None


def test_where_nothing_is_sent_members_and_others_look_alike(plan):
    (lost,) = audit(plan, [Defence("nothing", sent=nothing)])
    (hidden,) = audit(plan, [Defence("hidden", sent=nothing, hidden_in_mean=True)])
    assert lost.loss_inside == hidden.loss_inside
    (plainly,) = audit(plan, [Defence("none")])
    (idle,) = audit(plan, [Defence("idle", lambda site, shadow: lambda model, batch: _idle(model))])
    assert idle.loss_inside == pytest.approx(lost.loss_inside)
    assert plainly.loss_inside != pytest.approx(lost.loss_inside)


def test_a_loss_is_summed_over_an_answers_tokens(plan):
    who = subjects(prepare(plan.config), 12, 6, 3)
    who = replace(who, asked=tuple(Tokenised(a.prompt, ((5, 6, 7),)) for a in who.asked))
    with attached(plan.config) as model:
        initial = trained_tensors(model)
        seen = observe(model, initial, lambda _: nothing(0)(initial), who, np.zeros((1, 6), int))
        ids = torch.tensor([[*who.asked[0].prompt, 5, 6, 7]])
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0, -4:-1]
    expected = torch.nn.functional.cross_entropy(logits, ids[0, -3:], reduction="sum")
    assert seen.losses[0, 0] == pytest.approx(expected.item(), rel=1e-5)


def _idle(model):
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
    return Accumulated(torch.zeros(()), 0)


def test_codecs_are_those_of_the_wire_and_round_anew_in_each_shadow():
    update = {"w": torch.linspace(-1, 1, 500).reshape(5, 100)}
    once, again, other = (through("int8", 0)(shadow)(update)["w"] for shadow in (0, 0, 1))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    torch.testing.assert_close(once, update["w"], atol=0.02, rtol=0)
    sparse = through("top-k:share=0.01", 0)(0)(update)["w"]
    assert int((sparse != 0).sum()) == 5


def test_a_mean_is_that_of_equal_weights():
    torch.testing.assert_close(
        mean([{"w": torch.tensor([1.0, 2.0])}, {"w": torch.tensor([3.0, 6.0])}])["w"],
        torch.tensor([2.0, 4.0]),
    )


def leaking(plan, claimed):
    """A finding on sites that know every member and every canary by heart."""
    random = np.random.default_rng(0)
    flips = random.random((2, 24, 32)) < 0.5
    draws = Draws(flips[0], flips[1], np.zeros((24, 32), dtype=np.int64))
    seen = Observed(
        np.where(flips[0], 0.1, 3.0) + random.random((24, 32)),
        np.where(flips[1], 3.0, random.integers(0, 3, (24, 32))),
    )
    return finding(plan, Defence("row", undefended, claimed=claimed), 8, draws, seen, 4.0, 1.0)


def test_a_finding_refutes_a_claim_that_what_was_seen_excludes(plan):
    assert leaking(plan, None).check is None
    found = leaking(plan, (1.0, 1e-5))
    assert found.auc_loss == found.auc_ratio == 1
    assert found.exposure_inserted == found.exposure_most == 3
    assert found.epsilon > 1
    assert found.epsilon_guesses > 1
    assert not found.check.passed
    assert leaking(plan, (20.0, 1e-5)).check.passed
    assert "failed: refuted" in finding_row(found)
    assert "passed: not refuted" in finding_row(leaking(plan, (20.0, 1e-5)))
    assert leaking(plan, (1.0, 0.4)).epsilon < found.epsilon
    assert leaking(plan, (1.0, 0.4)).epsilon_guesses < found.epsilon_guesses
    kept = json.loads(json.dumps(found.to_json()))
    assert kept["check"]["passed"] is False
    assert kept["counts"][0]["false_positives"] == 0
    assert kept["guesses"]["trials"] == 24 * 32


def test_the_standard_rows_begin_without_a_defence(plan):
    rows = standard_defences(plan.config, plan.expected)
    assert rows[0] == Defence("none")
    assert [row.name for row in rows[:3]] == ["none", "int8", "top-k 1 %"]
    assert rows[3].name.startswith(DEFECT)
    assert [row.name for row in rows[4:6]] == ["sum of sites", "dp-sgd, epsilon = 8"]
    assert rows[5].claimed == (8.0, 1e-5)
    assert rows[6].claimed[0] > 8


def test_private_examples_are_drawn_by_chance_and_noised_in_each_shadow_anew(plan):
    row = private_examples(plan.config, 8.0, 20.0)
    size, passes = plan.config.batch_size, plan.config.passes
    assert row.sampled == (size / 20, round(20 * passes / size))
    (found,) = audit(plan, [row])
    assert found.check.passed
    (plainly,) = audit(plan, [Defence("none")])
    assert found.loss_inside > plainly.loss_inside
