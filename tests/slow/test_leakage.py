"""An overfitted site without a defence gives its members away."""

from __future__ import annotations

import pytest

from fedbench.leakage.audit import audit, standard_plan
from fedbench.leakage.defences import Defence

pytestmark = pytest.mark.slow


def test_an_overfitted_site_without_a_defence_gives_its_members_away():
    (found,) = audit(standard_plan(shadows=8), [Defence("none")])
    assert found.auc_loss > 0.7
    assert found.auc_ratio > 0.7
    assert found.loss_inside < found.loss_outside
    assert found.exposure_inserted > found.exposure_other + 1
    assert found.epsilon > 0
    assert found.epsilon_guesses > 0
