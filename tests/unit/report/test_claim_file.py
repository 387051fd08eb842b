from __future__ import annotations

import pytest

from fedbench import profiles
from fedbench.errors import FedbenchError
from fedbench.paths import profile_names
from fedbench.report.claim_file import Rule, digest, read_claims
from fedbench.tasks.specfile import read_spec

RULE = "rule: {least_gain: 0.05, points: 0.03, share: 0.2}\n"
PART = "{name: loss, test: non-inferiority, metric: accuracy, of: ia3, to: lora}"
CLAIM = """\
claims:
  - id: C3
    sentence: IA3 saves resources.
    source: a paper
    table: contrasts
    parts: [PART]
    command: make verify
    time: seconds
    hardware: any
"""


def written(tmp_path, part=PART, rule=RULE, claim=CLAIM):
    path = tmp_path / "claims.yml"
    path.write_text(rule + claim.replace("PART", part))
    return path


def test_the_repository_states_three_claims_and_their_margin():
    stated = read_claims()

    assert [claim.id for claim in stated.claims] == ["C1", "C2", "C3"]
    assert stated.rule == Rule(least_gain=0.05, points=0.03, share=0.2)


def test_no_shipped_profile_measures_energy_on_a_real_task_as_the_third_claim_says():
    energy = [found for name in profile_names() if (found := profiles.read_spec(name).energy)]

    assert all(read_spec(suite.task)[0].synthetic for suite in energy)
    assert "No profile that is shipped measures energy" in read_claims().claims[2].command


@pytest.mark.parametrize(("gain", "margin"), [(0.40, 0.03), (0.15, 0.03), (0.10, 0.02)])
def test_the_margin_is_the_smaller_of_three_points_and_a_fifth_of_the_gain(gain, margin):
    assert read_claims().rule.margin(gain) == pytest.approx(margin)


@pytest.mark.parametrize(
    ("part", "clause"),
    [
        (PART.replace("}", ", colour: red}"), "colour is not a field"),
        (PART.replace("non-inferiority", "saving"), "names its evidence"),
        (PART.replace("}", ", evidence: counted}"), "names its evidence"),
        (PART.replace("metric: accuracy", "metric: energy"), "names its evidence"),
        (PART.replace("of: ia3", "of: federated"), "two settings, or two methods"),
    ],
)
def test_a_part_that_has_no_meaning_is_refused(tmp_path, part, clause):
    with pytest.raises(FedbenchError, match=clause):
        read_claims(written(tmp_path, part))


def test_the_digest_follows_the_margin_and_no_remark(tmp_path):
    first = digest(read_claims(written(tmp_path)))
    remarked = digest(read_claims(written(tmp_path, claim=CLAIM.replace("seconds", "minutes"))))
    moved = digest(read_claims(written(tmp_path, rule=RULE.replace("0.03", "0.05"))))

    assert first == remarked != moved
