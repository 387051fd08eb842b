from __future__ import annotations

import pytest

from fedbench import report
from fedbench.errors import FedbenchError


def test_scores_that_follow_from_the_items_pass(runs):
    report.check_scores(runs)


def test_a_score_that_its_items_do_not_give_is_found(save, config):
    with pytest.raises(FedbenchError, match=r"recorded as 0\.990000, its items say"):
        report.check_scores([save(config("federated"), accuracy=0.99)])


def test_equal_passes_pass(runs):
    report.check_equal_passes(runs)


def test_a_setting_that_saw_more_of_the_data_is_found(save, config):
    runs = [save(config("federated")), save(config("centralized", passes=10))]

    with pytest.raises(
        FedbenchError, match=r"fpb, fedbench-llama, lora processed .* 5 to 10 times"
    ):
        report.check_equal_passes(runs)


def test_a_missing_file_is_named(tmp_path):
    (tmp_path / "t.csv").write_text("x")

    with pytest.raises(FedbenchError, match=r"lacks t\.md, t\.tex, t\.json"):
        report.check_written(tmp_path, ["t"], report.TABLE)
