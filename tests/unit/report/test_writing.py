from __future__ import annotations

import json
from dataclasses import replace

import pandas as pd
import pytest

from fedbench.config import PartitionConfig
from fedbench.errors import Damaged, FedbenchError
from fedbench.report import audit, main_results, wide, write_table
from fedbench.report.origin import face, origins, remarks
from fedbench.report.writing import check_drawn, latex, markdown, render


def test_a_table_is_written_as_numbers_pages_and_provenance(runs, tmp_path):
    write_table(wide(main_results(runs)), "main", tmp_path, runs, "Main.")

    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [
        "main.csv", "main.json", "main.md", "main.tex",
    ]  # fmt: skip


def test_the_csv_holds_fractions_and_the_page_percent(runs, tmp_path):
    frame = main_results(runs)
    page = write_table(frame, "main", tmp_path, runs, "Main.", columns=["task", "mean"])
    back = pd.read_csv(tmp_path / "main.csv")

    assert back["mean"].tolist() == pytest.approx(frame["mean"].tolist(), rel=1e-5)
    assert f"| fpb | {100 * frame['mean'].iloc[0]:.1f} |" in page


def test_the_same_runs_give_the_same_bytes(runs, tmp_path):
    for name in ("a", "b"):
        write_table(main_results(runs), "main", tmp_path / name, runs, "Main.")

    for kind in ("csv", "md", "tex", "json"):
        assert (tmp_path / f"a/main.{kind}").read_bytes() == (
            tmp_path / f"b/main.{kind}"
        ).read_bytes()


def test_captions_say_what_is_synthetic_and_what_is_not_comparable(runs, tmp_path):
    page = write_table(audit(runs), "audit", tmp_path, runs, "Tasks.")

    assert "MedQA look-alike: synthetic look-alike data" in page
    assert "Financial PhraseBank: Not comparable with published results" in page


def test_captions_say_what_is_a_subset_and_what_was_quantised(save, config, tmp_path):
    run = save(config("federated", method="qlora", train_limit=64, compute="nf4-dequantised"))
    page = write_table(audit([run]), "audit", tmp_path, [run], "Tasks.")

    assert "training set limited to 64 of 400 examples." in page
    assert "qlora: NF4 backbone, dequantised" in page


@pytest.mark.parametrize(
    ("split", "said"),
    [
        ("train", "training set limited to 30 of 400 examples."),
        ("validation", "validation set limited to 30 of 80 examples."),
        ("test", "test set limited to 30 of 120 examples."),
    ],
)
def test_each_split_that_a_limit_cut_is_said_with_both_numbers(save, config, split, said):
    run = save(config("federated"), **{f"n_{split}": 30})

    assert [text for text in remarks([run]) if "limited" in text] == [
        f"Financial PhraseBank: {said}"
    ]
    assert face([run]) == said.replace("set limited", "sets limited").replace(
        f" of {said.split()[-2]} examples.", " examples"
    )


def test_a_limit_that_left_nothing_out_is_not_said(save, config):
    run = save(config("federated", train_limit=2000, test_limit=1000))

    assert not [text for text in [*remarks([run]), face([run])] if "limited" in text]


def test_prompts_that_lost_their_beginning_are_said(save, config):
    cut = {"train": 12, "validation": 0, "test": 3}
    run = save(config("federated", max_tokens=160), cut_prompts=cut)

    assert (
        "Financial PhraseBank: 12 training and 3 test prompts lost their beginning to the limit of "
        "160 tokens of fedbench-llama." in remarks([run])
    )


@pytest.mark.parametrize(("cut", "said"), [(60, False), (61, True)])
def test_a_figure_says_on_its_face_where_most_prompts_were_cut(save, config, cut, said):
    run = save(config("base"), cut_prompts={"train": 0, "validation": 0, "test": cut})
    words = "most prompts of Financial PhraseBank lost their beginning"
    assert (words in face([run])) == said


@pytest.mark.parametrize("counted", [{}, {"cut_prompts": {"train": 0, "test": 0}}])
def test_prompts_that_are_whole_or_were_not_counted_are_not_said(save, config, counted):
    assert "beginning" not in " ".join(remarks([save(config("federated"), **counted)]))


def test_sites_too_small_to_train_are_named_once_with_what_they_hold(save, config, too_small):
    runs = [too_small(save(config(s, 1)), "site-00", "site-02") for s in ("local", "federated")]
    held = sum(site["n_train"] for site in runs[0].sites if not site["trained"])
    said = [text for text in remarks(runs) if "too small" in text]

    assert said == [
        "Financial PhraseBank, iid: 2 sites too small to train: site-00 (seed 1), site-02 (seed "
        f"1), their {held} examples are not used."
    ]


@pytest.fixture
def edges(monkeypatch):
    """A search that ended at an edge for IA3 in all settings, and for LoRA in one."""
    rates = dict.fromkeys(("local", "federated", "centralized"), 0.09)
    cell = {"passes": 5.0, "learning_rate": rates}
    cells = {
        "fpb fedbench-llama ia3": cell | {"at_an_edge": list(rates)},
        "fpb fedbench-llama lora": cell | {"at_an_edge": ["centralized"]},
        "fpb fedbench-llama lora scaffold sgd": cell | {"at_an_edge": ["federated"]},
    }
    monkeypatch.setattr("fedbench.report.searches.searched", lambda: {"cpu": {"cells": cells}})


def test_a_learning_rate_at_the_edge_of_its_search_is_said(save, config, edges):
    runs = [
        save(config(setting, method=method, learning_rate=0.09))
        for method in ("ia3", "lora", "qlora")
        for setting in ("base", "local", "federated", "centralized")
    ]

    assert (
        "Learning rate at the edge of its search: fedbench-llama ia3 on Financial PhraseBank (all "
        "settings); fedbench-llama lora on Financial PhraseBank (centralized)."
    ) in remarks(runs)


@pytest.mark.parametrize(
    "other",
    [
        *({"learning_rate": 0.03}, {"passes": 2}, {"task": "lookalike_medqa"}),
        *({"optimizer": "sgd"}, {"rule": "fedadam"}),
    ],
)
def test_an_edge_is_not_said_of_runs_that_were_trained_otherwise(save, config, edges, other):
    setting = "federated" if "rule" in other else "local"
    run = save(config(setting, **{"method": "ia3", "learning_rate": 0.09} | other))

    assert "edge" not in " ".join(remarks([run]))


def test_an_edge_is_said_of_a_rule_and_an_optimizer_by_name(save, config, edges):
    run = save(config("federated", rule="scaffold", optimizer="sgd", learning_rate=0.09))

    assert "fedbench-llama lora scaffold sgd on Financial PhraseBank" in " ".join(remarks([run]))


def test_participation_is_said_to_be_rounded_only_where_it_is_partial(save, config):
    whole, partial = (save(config("federated", participation=share)) for share in (1.0, 0.3))
    said = "Participation 0.3 is rounded to whole sites, at least one in every round."

    assert said in remarks([whole, partial])
    assert "Participation" not in " ".join(remarks([whole]))


def test_sites_too_small_are_told_apart_by_partition_where_one_label_has_several(
    save, config, too_small
):
    sizes = [PartitionConfig(kind="iid", sites=sites) for sites in (2, 4)]
    runs = [too_small(save(config("local", partition=one)), "site-00") for one in sizes]
    said = [text for text in remarks(runs) if "too small" in text]

    assert [text.split(": ")[0] for text in said] == [
        f"Financial PhraseBank, iid, {sites} sites" for sites in (2, 4)
    ]


@pytest.mark.parametrize(
    ("values", "metrics", "said"),
    [
        ({}, {}, True),
        ({"backbone": "owner/model"}, {}, False),
        ({"task": "lookalike_medqa"}, {}, False),
        ({}, {"synthetic": True}, False),
        ({}, {"domain": "health"}, False),
        ({}, {"scoring": "text"}, False),
    ],
)
def test_a_built_in_backbone_on_real_sentiment_is_said_to_know_the_form(
    save, config, values, metrics, said
):
    found = " ".join(remarks([save(config("federated", **values), **metrics)]))

    assert ("Financial PhraseBank: The built-in backbones were pretrained on text" in found) == said


def test_captions_say_when_the_code_has_moved(runs, tmp_path, monkeypatch):
    monkeypatch.setattr("fedbench.report.origin._known", {})
    monkeypatch.setattr("fedbench.report.origin.moved", lambda run: "the code has moved since 012")
    page = write_table(audit(runs), "audit", tmp_path, runs, "Tasks.")

    assert "the code has moved since 012" in page


def test_provenance_names_the_runs_behind_a_table_and_no_others(runs, tmp_path):
    frame = main_results(runs)
    frame = frame[frame["setting"] == "base"]
    write_table(frame, "base", tmp_path, runs, "Untuned.")
    groups = json.loads((tmp_path / "base.json").read_text())["origins"]

    assert [group["commit"] for group in groups] == ["0123456789abcdef"]
    assert groups[0]["versions"] == {"torch": "2.9.0"}
    assert groups[0]["hardware"] == "x86_64, 2 cores"
    assert set(groups[0]["runs"]) == {run.id for run in runs if run.config.setting == "base"}


def test_provenance_says_when_a_run_began_what_it_took_and_which_revisions_it_read(
    save, config, tmp_path
):
    run = save(config("federated"))
    made = {"started": "2026-01-02T03:04:05Z", "seconds": 8.8, "data": "0" * 64, "backbone": "1"}
    read = {"backbone_revision": "abc", "sources": {"all.txt": "2" * 64}}
    known = replace(
        run, provenance=run.provenance | made | read, metrics=run.metrics | {"flops": 7}
    )
    [group] = origins([known])

    called = "fpb fedbench-llama lora federated iid seed 0"
    assert group["runs"][run.id] == {
        "run": called, "started": made["started"], "seconds": 8.8, "flops": 7
    }  # fmt: skip
    assert group["inputs"]["fpb"] == {"data": "0" * 64, "sources": read["sources"]}
    assert group["inputs"]["fedbench-llama"] == {"backbone": "1", "backbone_revision": "abc"}
    assert "not measured" in group["energy"]


def test_latex_is_escaped_and_uses_booktabs():
    frame = pd.DataFrame({"n_test": [7], "note": ["50 % & more_† ~ \\x − <3"]})
    page = latex(frame, "t", "R&D")

    assert r"50 \% \& more\_\textdagger{} \textasciitilde{} \textbackslash{}x $-$" in page
    assert r"\textless{}3 \\" in page
    assert r"\caption{R\&D}" in page
    assert [rule in page for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [True] * 3
    assert r"\begin{tabular}{rl}" in page


def test_a_bar_in_a_cell_does_not_break_a_markdown_table():
    assert r"| a\|b |" in markdown(pd.DataFrame({"x": ["a|b"]}))


@pytest.mark.parametrize(
    ("column", "value", "shown"),
    [
        ("mean", 0.12345, "12.3"),
        ("p_chance", 0.0001, "<0.001"),
        ("p_chance", 0.0423, "0.042"),
        ("p_chance", float("nan"), ""),
        ("n_train", 12345, "12,345"),
        ("bytes_up", 10432.4, "10,432"),
        ("passes", 2.5, "2.5"),
        ("smallest_difference", float("inf"), "∞"),
        ("note", "", ""),
        ("note", None, ""),
        ("synthetic", True, "True"),
    ],
)
def test_values_are_rendered_for_people(column, value, shown):
    assert render(column, value) == shown


def test_a_folder_that_cannot_be_written_is_one_sentence(runs, tmp_path):
    (tmp_path / "taken").write_text("a file, not a folder")

    with pytest.raises(FedbenchError, match="could not be written"):
        write_table(audit(runs), "audit", tmp_path / "taken", runs, "Tasks.")


def test_a_drawn_file_that_changed_is_told_and_one_that_is_gone_is_not(runs, tmp_path):
    write_table(audit(runs), "audit", tmp_path, runs, "Tasks.")
    check_drawn(tmp_path)
    (tmp_path / "audit.tex").unlink()
    check_drawn(tmp_path)
    path = tmp_path / "audit.csv"
    path.write_bytes(path.read_bytes().replace(b"1", b"7", 1))
    with pytest.raises(Damaged, match=r"audit\.csv is not the file that was drawn: .*make figures"):
        check_drawn(tmp_path)
