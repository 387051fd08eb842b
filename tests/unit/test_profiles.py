"""Every profile that ships is a grid without repeats, and fair to every setting."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict

import pytest
import yaml

from fedbench import profiles
from fedbench.config import ONE_SITE, SETTINGS, TRAINED, PartitionConfig
from fedbench.defects import DEFECTS, defect_of, right_of
from fedbench.errors import FedbenchError
from fedbench.paths import CHECKOUT, profile_names
from fedbench.profiles import FEDAVG, Cell, cells, load, read_spec, searches, settings_of
from fedbench.resolving import resolve
from fedbench.rules import RULES, rule_of

NAMES = profile_names()
#: profiles that compare federations and nothing else
FEDERATED_ALONE = ("bytes", "gallery", "attacks", "faults", "privacy")


@pytest.fixture
def tuned(monkeypatch):
    """Values for every cell, as a search would leave them: rates differ by setting."""
    rates = {"local": 1e-3, "federated": 2e-3, "centralized": 4e-3}

    def values(name):
        return {
            cell.key: {"passes": 3.0, "learning_rate": rates} for cell, _ in cells(read_spec(name))
        }

    monkeypatch.setattr(profiles, "tuned_values", values)


def test_the_readme_names_the_profiles_there_are():
    rows = re.findall(r"^\| `([a-z-]+)`", (CHECKOUT / "README.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_profile_is_spelt_out_in_resolved_runs_each_once(name, tuned):
    runs = load(name).runs
    assert runs
    assert len({run.id for run in runs}) == len(runs)
    assert all(resolve(run) == run for run in runs)


@pytest.mark.parametrize("name", NAMES)
def test_settings_of_a_cell_get_equal_passes(name, tuned):
    passes = defaultdict(set)
    for run in load(name).runs:
        if run.setting in TRAINED:
            passes[run.task, run.backbone, run.method, run.labels].add(run.passes)
    assert passes
    assert all(len(found) == 1 for found in passes.values())


@pytest.mark.parametrize("name", NAMES)
def test_what_a_setting_does_not_depend_on_is_not_repeated(name, tuned):
    count, blocks = defaultdict(int), defaultdict(int)
    for run in load(name).runs:
        if run.setting == "base" and not run.partition.rewrites("base"):
            count[run.task, run.backbone, run.method] += 1
    for cell, grid in cells(read_spec(name)):
        if "base" in grid.settings:
            blocks[cell.task, cell.backbone, cell.method] += 1
    assert set(count) == set(blocks)
    assert all(count[key] <= blocks[key] for key in count)
    assert count or name in FEDERATED_ALONE


@pytest.mark.parametrize("name", NAMES)
def test_every_cell_has_the_settings_of_its_block_with_the_same_seeds(name, tuned):
    asked = defaultdict(set)
    for c, grid in cells(read_spec(name)):
        if c.rule == FEDAVG:
            asked[c.task, c.backbone, c.method] |= {*grid.settings}
    seeds = defaultdict(lambda: defaultdict(set))
    for run in load(name).runs:
        cell = (run.task, run.backbone, run.method, run.labels)
        seeds[cell][run.setting].add(run.seed)
    for cell, found in seeds.items():
        assert set(found) == asked[cell[:3]], cell
        trained = {frozenset(found[setting]) for setting in TRAINED if setting in found}
        assert len(trained) == 1, cell


@pytest.mark.parametrize("name", NAMES)
def test_federated_and_local_see_the_same_partitions(name, tuned):
    seen = defaultdict(set)
    for run in load(name).runs:
        seen[run.setting].add((run.task, run.backbone, run.method, run.partition.whole))
    alone = {one for one in seen["federated"] if one[-1].ranks or name in FEDERATED_ALONE}
    alone |= {one for one in seen["federated"] if one[-1].slowest < 1}  # alone, all are as fast
    assert seen["federated"] == seen["local"] | alone
    for setting in ("base", "centralized"):
        for *_, partition in seen[setting]:
            assert partition.sites == 1 or partition.rewrites(setting)


def test_what_is_wrong_on_purpose_is_in_the_gallery_alone(tuned):
    assert [name for name in NAMES if any(run.defective for run in load(name).runs)] == ["gallery"]


def test_the_gallery_asks_for_every_defect_beside_what_it_spoils():
    runs = {run.model_copy(update={"seed": 0}) for run in load("gallery").runs}
    wrong = {run for run in runs if run.defective}
    assert {defect_of(run) for run in wrong} == {*DEFECTS.values()}
    assert {right_of(run) for run in wrong} == runs - wrong


def test_the_gallery_trains_with_what_the_search_chose_for_the_right_rule():
    tuned = profiles.tuned_values("rules")
    for run in load("gallery").runs:
        right = right_of(run) if run.defective else run
        found = tuned[Cell(right.task, right.backbone, right.method, right.rule).key]
        assert (run.learning_rate, run.passes) == (
            found["learning_rate"]["federated"],
            found["passes"],
        )


def test_every_attack_meets_fedavg_and_every_robust_rule_and_each_is_run_without_one_too():
    robust = {n for n in RULES if rule_of(n).server.__module__ == "fedbench.rules.robust"}
    attacked, honest = defaultdict(set), defaultdict(set)
    for run in load("attacks").runs:
        about = (run.partition, run.seed)
        (attacked if run.hostile else honest)[run.rule].add((run.attack, run.hostile, *about))
    assert {name.partition(":")[0] for name in attacked} == {FEDAVG, *robust}
    assert len({frozenset(met) for met in attacked.values()}) == 1
    for rule, met in attacked.items():
        assert {about[2:] for about in met} == {about[2:] for about in honest[rule]}


def test_attacks_meet_sites_that_train_with_what_the_search_chose_for_fedavg():
    run = next(run for run in load("attacks").runs)
    found = profiles.tuned_values("rules")[Cell(run.task, run.backbone, run.method).key]
    told = (found["learning_rate"]["federated"], found["passes"])
    assert {(run.learning_rate, run.passes) for run in load("attacks").runs} == {told}


def test_every_plan_of_faults_meets_every_policy_and_nobody_failing_is_run_too():
    plans, sound = defaultdict(set), set()
    for run in load("faults").runs:
        if run.faults == "none":
            sound.add((run.seed, run.partition, run.policy.retries))
        else:
            plans[run.faults].add((run.seed, run.partition, run.policy.retries))
    assert len(plans) == 4
    assert len({frozenset(met) for met in plans.values()}) == 1
    assert {about[:2] for about in sound} == {about[:2] for about in next(iter(plans.values()))}


def test_sites_that_fail_train_with_what_the_search_chose_for_fedavg():
    runs = load("faults").runs
    cell = Cell(runs[0].task, runs[0].backbone, runs[0].method)
    found = profiles.tuned_values("rules")[cell.key]
    told = (found["learning_rate"]["federated"], found["passes"])
    assert {(run.learning_rate, run.passes) for run in runs} == {told}


@pytest.mark.parametrize("name", NAMES)
def test_seeds_of_the_search_are_never_reported(name):
    spec = read_spec(name)
    if spec.tuning is None:
        return
    reported = {seed for grid in spec.grid for seed in grid.seeds}
    assert reported.isdisjoint(spec.tuning.seeds)


@pytest.mark.parametrize("name", NAMES)
def test_tasks_backbones_and_methods_of_a_profile_are_ours_or_public(name):
    from fedbench.models.methods import METHODS
    from fedbench.tasks.specfile import read_spec as read_task

    for cell, _ in cells(read_spec(name)):
        assert cell.method in METHODS
        read_task(cell.task)


def write(folder, name, **values):
    spec = {
        "title": "own",
        "minutes": 1,
        "common": {"learning_rate": 0.1},
        "partitions": [{"kind": "iid", "sites": 2}, {"kind": "dirichlet", "alpha": 1, "sites": 2}],
        "grid": [{"tasks": ["fpb"], "backbones": ["b"], "methods": ["lora"], "seeds": [0, 1]}],
        **values,
    }
    (folder / f"{name}.yml").write_text(yaml.safe_dump(spec))


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.setattr(profiles, "_FOLDER", tmp_path)
    read_spec.cache_clear()
    yield tmp_path
    read_spec.cache_clear()


def test_a_grid_is_every_combination_in_every_setting(own):
    write(own, "own")
    runs = load("own").runs
    # base once; centralized by seed; local and federated by seed and partition
    assert len(runs) == 1 + 2 + 4 + 4


def test_settings_of_one_site_are_repeated_where_a_partition_rewrites_their_examples(own):
    grid = {"tasks": ["fpb"], "backbones": ["b"], "methods": ["lora"], "seeds": [0, 1]}
    iid = {"kind": "iid", "sites": 2}
    noisy = [{**iid, "noise": 0.3}, {**iid, "noise": 0.3, "slowest": 0.5}]
    write(own, "own", grid=[{**grid, "partitions": [iid, *noisy, {**iid, "dialects": 2}]}])
    count = Counter(run.setting for run in load("own").runs)
    assert count["federated"] == 4 * 2
    assert count["local"] == 3 * 2  # a site alone is as fast as any
    assert count["centralized"] == 3 * 2  # as it is, with noise, with dialects
    assert count["base"] == 1 + 2  # as it is; and with dialects, whose items a seed deals


def test_overlapping_blocks_do_not_repeat_a_run(own):
    block = {"tasks": ["fpb"], "backbones": ["b"], "methods": ["lora"], "seeds": [0, 1]}
    write(own, "own", grid=[block, {**block, "methods": ["lora", "ia3"]}])
    assert len(load("own").runs) == 2 * 11


def test_a_block_may_see_fewer_partitions_than_the_profile(own):
    grid = {"tasks": ["fpb"], "backbones": ["b"], "methods": ["lora"], "seeds": [0]}
    write(own, "own", grid=[{**grid, "partitions": [{"kind": "iid", "sites": 3}]}])
    assert sorted((run.setting, run.partition.sites) for run in load("own").runs) == [
        ("base", 1), ("centralized", 1), ("federated", 3), ("local", 3),
    ]  # fmt: skip


def test_codecs_of_a_block_are_those_of_federations_and_win_over_the_common_one(own):
    grid = {"tasks": ["fpb"], "backbones": ["b"], "methods": ["lora"], "seeds": [0, 1]}
    grid |= {"settings": ["base", "federated"], "partitions": [{"kind": "iid", "sites": 3}]}
    rate = {"learning_rate": 0.1}
    coded = {"codecs": ["int8", "ef+int4"], "common": {**rate, "codec": "sign"}}
    write(own, "own", grid=[{**grid, **coded}, {**grid, "common": {**rate, "codec": "fp16"}}])
    assert Counter((run.setting, run.codec) for run in load("own").runs) == {
        ("base", "sign"): 1, ("federated", "int8"): 2, ("federated", "ef+int4"): 2,
        ("base", "fp16"): 1, ("federated", "fp16"): 2,
    }  # fmt: skip


def test_the_bytes_profile_trains_lora_as_the_rules_profile_does(tuned):
    rules = {run.id for run in load("rules").runs}
    plain = [run for run in load("bytes").runs if run.method == "lora" and run.codec == "fp32"]
    assert {run.id for run in plain} <= rules
    assert len(plain) == 4  # untuned, and three seeds


def test_a_cell_of_several_blocks_is_searched_once_in_the_settings_of_all(own):
    block = {"tasks": ["fpb"], "backbones": ["b"], "methods": ["lora"], "seeds": [0]}
    write(own, "own", grid=[block, {**block, "settings": ["federated"], "passes": [2]}])
    ((cell, grid),) = searches(read_spec("own")).items()
    assert cell == Cell("fpb", "b", "lora")
    assert (grid.settings, grid.passes) == (("base", *TRAINED), ())


def test_plain_sgd_is_tuned_by_itself_and_adamw_keeps_its_name(own, monkeypatch):
    block = {"tasks": ["fpb"], "backbones": ["b"], "methods": ["lora"], "seeds": [0]}
    block |= {"settings": ["federated"]}
    rules = {"rules": [FEDAVG, "scaffold"], "common": {"optimizer": "sgd"}}
    write(own, "own", common={}, grid=[block, {**block, **rules}])
    found = {cell.key: cell for cell in searches(read_spec("own"))}
    assert list(found) == ["fpb b lora", "fpb b lora sgd", "fpb b lora scaffold sgd"]
    rates = {key: 0.1 * (1 + place) for place, key in enumerate(found)}
    tuned = {k: {"passes": 1, "learning_rate": {"federated": rate}} for k, rate in rates.items()}
    monkeypatch.setattr(profiles, "tuned_values", lambda name: tuned)
    for run in load("own").runs:
        cell = Cell(run.task, run.backbone, run.method, run.rule, run.optimizer)
        assert run.learning_rate == rates[cell.key]


def test_a_block_wins_over_the_profile(own):
    grid = {"tasks": ["fpb"], "backbones": ["b"], "methods": ["lora"], "seeds": [0]}
    write(
        own,
        "own",
        common={"rounds": 2, "rank": 4, "learning_rate": 0.1},
        grid=[{**grid, "common": {"rounds": 3}}],
    )
    assert {(run.rounds, run.rank) for run in load("own").runs} == {(3, 4)}


def test_tuned_values_reach_every_trained_setting_and_base_needs_none(own, tuned):
    write(own, "own")
    rates = {run.setting: run.learning_rate for run in load("own").runs}
    assert rates["local"] == 1e-3
    assert rates["centralized"] == 4e-3
    assert {run.passes for run in load("own").runs} == {3.0}


def test_values_that_were_never_tuned_are_asked_for(own, monkeypatch):
    write(own, "own", common={})
    monkeypatch.setattr(profiles, "tuned_values", lambda name: {})
    with pytest.raises(
        FedbenchError, match=f"no values for {Cell('fpb', 'b', 'lora').key}.*make tune"
    ):
        load("own")


def test_an_unknown_profile_is_told_which_there_are():
    with pytest.raises(FedbenchError, match="tiny"):
        read_spec("no-such-profile")


def test_all_problems_of_a_profile_are_told_at_once(own):
    write(own, "own", minutes="long", partitons=[], grid=[{"tasks": ["fpb"], "seed": [0]}])
    with pytest.raises(FedbenchError) as caught:
        read_spec("own")
    message = str(caught.value)
    assert "own.yml" in message
    assert "minutes" in message
    assert "partitons is not a field, did you mean partitions?" in message
    assert "grid.0.seed is not a field, did you mean seeds?" in message
    assert "grid.0.methods is missing" in message


def test_a_seed_that_chose_learning_rates_cannot_be_reported(own):
    search = {"seeds": [1000, 0], "learning_rates": [0.1], "passes": [1]}
    write(own, "own", tuning=search)
    with pytest.raises(FedbenchError, match=r"tuning.seeds and grid seeds share 0"):
        read_spec("own")


def test_a_field_that_no_run_has_is_told(own):
    write(own, "own", common={"round": 3, "learning_rate": 0.1})
    with pytest.raises(FedbenchError, match=r"round is not a field, did you mean rounds\?"):
        load("own")


def test_all_problems_of_all_runs_of_a_profile_are_told_at_once(own):
    block = {"backbones": ["b"], "seeds": [0], "settings": ["federated"],
             "common": {"learning_rate": 0.1}}  # fmt: skip
    write(own, "own", grid=[
        {**block, "tasks": ["nope", "neither"], "methods": ["lorra"]},
        {**block, "tasks": ["fpb"], "methods": ["lora"], "rules": ["fedavgg", "scaffold"]},
        {**block, "tasks": ["fpb"], "methods": ["ia3"], "common": {"rounds": 0, "rank": "x"}},
    ])  # fmt: skip
    with pytest.raises(FedbenchError) as caught:
        load("own")
    for clause in ("no task 'nope'", "no task 'neither'", "method = 'lorra'", "rule = 'fedavgg'",
                   "scaffold", "rounds = 0", "rank = 'x'"):  # fmt: skip
        assert clause in str(caught.value)
    assert str(caught.value).count("method = 'lorra'") == 1


def test_a_profile_without_a_run_is_refused(own):
    write(own, "own", grid=[{"tasks": [], "backbones": [], "methods": [], "seeds": []}])
    with pytest.raises(FedbenchError, match="its grid names no run"):
        load("own")


def test_tuned_values_are_those_of_the_file(own, monkeypatch, tmp_path):
    path = tmp_path / "tuning.json"
    content = {"own": {"cells": {"key": {"passes": 1}}}}
    path.write_text(json.dumps(content | {"digest": profiles.tuning_digest(content)}))
    monkeypatch.setattr(profiles, "shipped", lambda name: path)
    assert profiles.tuned_values("own") == {"key": {"passes": 1}}
    assert profiles.tuned_values("other") == {}


def test_tuned_values_changed_by_hand_are_refused(monkeypatch, tmp_path):
    path = tmp_path / "tuning.json"
    path.write_text(json.dumps({"own": {"cells": {"key": {"passes": 1}}}, "digest": "x"}))
    monkeypatch.setattr(profiles, "shipped", lambda name: path)
    with pytest.raises(FedbenchError, match="restore it with git checkout"):
        profiles.tuned_values("own")


def test_a_rule_other_than_fedavg_is_run_in_the_federated_setting_only(tuned):
    found = defaultdict(lambda: defaultdict(set))
    for run in load("rules").runs:
        found[run.rule][run.setting].add((run.partition.whole, run.seed))
    at_most = found[FEDAVG]["federated"]
    assert set(found[FEDAVG]) == {"base", *TRAINED}
    assert len(found) > 2
    for rule, settings in found.items():
        assert settings["federated"] <= at_most
        assert {seed for _, seed in settings["federated"]} == {0, 1, 2}
        assert rule == FEDAVG or set(settings) == {"federated"}


def test_every_rule_is_searched_on_the_same_axes():
    asked = {cell: (grid.passes, grid.learning_rates, grid.settings, tuple(grid.common))
             for cell, grid in searches(read_spec("rules")).items()}  # fmt: skip
    assert len(asked) == 13
    usual = {found for cell, found in asked.items() if cell.optimizer == "adamw"}
    assert usual == {((), (), ("federated",), ()), ((), (), SETTINGS, ())}
    sgd = {found[:3] for cell, found in asked.items() if cell.optimizer == "sgd"}
    assert sgd == {((), (0.1, 0.3, 1.0), ("federated",))}


def test_a_site_is_left_out_of_federations_only():
    whole, fewer = PartitionConfig(sites=3), PartitionConfig(sites=3, without=2)
    spec = read_spec("tiny").model_copy(update={"partitions": (fewer, whole)})
    grid = spec.grid[0].model_copy(update={"settings": SETTINGS, "partitions": ()})
    found = defaultdict(set)
    for setting, partition, _ in settings_of(spec, grid):
        found[setting].add(partition)
    one = {key: {ONE_SITE} for key in ("base", "centralized")}
    assert found == one | {"local": {whole}, "federated": {whole, fewer}}


def test_every_site_of_the_rules_profile_is_left_out_once_per_seed(tuned):
    fewer = [run for run in load("rules").runs if run.partition.without is not None]
    (whole,) = {run.partition.whole for run in fewer}
    assert {(run.setting, run.rule) for run in fewer} == {("federated", FEDAVG)}
    for seed in (0, 1, 2):
        left_out = [run.partition.without for run in fewer if run.seed == seed]
        assert sorted(left_out) == list(range(whole.sites))
    beside = {(run.partition, run.seed, run.rule) for run in load("rules").runs}
    assert {(whole, seed, FEDAVG) for seed in (0, 1, 2)} <= beside
