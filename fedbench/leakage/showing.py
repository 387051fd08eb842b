"""Findings as lines of a table."""

from __future__ import annotations

from fedbench.leakage.audit import Finding
from fedbench.leakage.inverting import Inverted
from fedbench.leakage.measures import Rate

FINDINGS = (
    f"{'':<14} {'by loss':>26}  {'offline':>7}  {'by likelihood ratio':>26}\n"
    "defence           AUC       TPR at 1 % FPR      AUC     AUC       TPR at 1 % FPR  "
    "exposure in/out of most  epsilon >=  by guesses     s"
)
INVERTED = (
    "defence        step   projections           batch  tokens  span: precision  recall  "
    "nearest: recall  most frequent: recall"
)


def finding_row(found: Finding) -> str:
    """One defence."""
    exposure = (
        f"{found.exposure_inserted:.2f}/{found.exposure_other:.2f} of {found.exposure_most:g}"
    )
    line = (
        f"{found.defence:<14} {found.auc_loss:6.3f} {_rate(found.tpr_loss):>20}  "
        f"{found.auc_surprise:7.3f}  "
        f"{found.auc_ratio:6.3f} {_rate(found.tpr_ratio):>20}  {exposure:>23}  "
        f"{found.epsilon:10.2f}  {found.epsilon_guesses:10.2f}  {found.seconds:4.0f}"
    )
    if found.check is None:
        return line
    # No attack shows that a promise is kept, only that it is not.
    said = "passed: not refuted" if found.check.passed else "failed: refuted"
    return (
        f"{line}\n{'':<14} epsilon {found.check.epsilon:g} as claimed: {said}, "
        f"at least {found.check.proven:.2f} is proven (TPR {_rate(found.check.tpr)}, "
        f"FPR {_rate(found.check.fpr)})"
    )


def inverted_row(found: Inverted) -> str:
    """One defence, one batch size."""
    projections = "+".join(name.removesuffix("_proj") for name in found.projections)
    step = "later" if found.before else "first"
    return (
        f"{found.defence:<14} {step}  {projections:<20}  {found.batch_size:5}  "
        f"{found.tokens:6.1f}  {found.span.precision:15.2f}  {found.span.recall:6.2f}  "
        f"{found.nearest.recall:15.2f}  {found.baseline.recall:21.2f}"
    )


def _rate(rate: Rate) -> str:
    return f"{rate.value:.3f} [{rate.low:.2f}, {rate.high:.2f}]"
