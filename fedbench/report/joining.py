"""Should a site join? What it gains over training alone, and over not training, on its own items.

A site has few test items, so that its own difference is uncertain: beside it stands McNemar's
exact p-value on these very items, and an interval over clusters of them, of which McNemar's test
knows nothing. Both must agree before a site is shown to gain or to lose. The mean over sites is in
:func:`~fedbench.report.differences.contrasts`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from fedbench.profiles import ADAMW, FEDAVG
from fedbench.report import stats
from fedbench.report.cells import COVERAGE, Cell, cells, counterpart, coverage, holders, whole
from fedbench.report.rule_figures import said_of_sites
from fedbench.report.scores import clusters_of, paired, right_by_site
from fedbench.report.tables import SIGNIFICANT, facts_of
from fedbench.rules import is_personal
from fedbench.store import Run

if TYPE_CHECKING:
    import pandas as pd

ALONE = ("local", "base")  #: what a site could do without the others
JOINING_COLUMNS = (
    *("task", "task_title", "backbone", "method", "partition", "rule", "seed", "site", "n_train"),
    *("n_test", "base", "local", "federated", "gain_over_base", "gain_over_local"),
    *("gain_over_local_low", "gain_over_local_high"),
    *("mcnemar", "verdict", "personal", *COVERAGE, "synthetic", "runs"),
)


def joining(runs: Iterable[Run]) -> pd.DataFrame:
    """A row per site and seed: its accuracy on its own test items in three settings, in fractions.

    ``mcnemar`` is the exact two-sided p-value of federated against local on the site's items,
    adjusted by Holm's method over the sites of the same run. Sites too small to train are left out;
    a row tells how many of all there were, and what share of the training examples was theirs.
    """
    import pandas as pd

    found = whole(cells(runs))
    where = holders(found)
    rows = []
    for cell in found:
        if cell.config.setting == "federated" and _offered(cell):
            others = {setting: counterpart(cell, found, setting) for setting in ALONE}
            for run in cell.runs:
                held = where[cell.config.task, cell.config.partition, run.config.seed]
                rows += _rows(cell, run, others, held)
    return pd.DataFrame(rows, columns=list(JOINING_COLUMNS))


def _offered(cell: Cell) -> bool:
    """Whether it is what a site would join: FedAvg, or what leaves it an adapter of its own.

    Where sites hold unequal ranks it is the shared adapter of full rank that is scored, which a
    site of fewer ranks does not hold: nothing is known of what it would get. Federations under
    plain SGD are there for the rules that need it, and have nobody beside them who trains alone.
    """
    fits = not cell.config.partition.ranks and cell.config.optimizer == ADAMW
    return fits and (cell.rule == FEDAVG or is_personal(cell.config))


def _rows(
    cell: Cell, run: Run, others: Mapping[str, Cell | None], held: Mapping[str, str]
) -> list[dict[str, Any]]:
    seed, facts = run.config.seed, facts_of(cell)
    right = {"federated": right_by_site(cell, seed, held)}
    for setting, other in others.items():
        if other and (other.seedless or seed in other.seeds):
            right[setting] = right_by_site(other, seed, held)
    sites = [site for site in run.sites if right["federated"].get(str(site["site"]))]
    names = ("task", "task_title", "backbone", "method", "partition", "rule", "synthetic")
    rows = []
    for site in sites:
        mine = {setting: by_site[str(site["site"])] for setting, by_site in right.items()}
        within = clusters_of(cell.tables[cell.seeds.index(seed)])
        row = {name: facts[name] for name in names}
        row |= {"seed": seed, "site": site["site"], "n_train": site["n_train"], "runs": run.id}
        row |= {"personal": is_personal(cell.config), **coverage(run)}
        rows.append(row | _of_site(mine, within))
    adjusted = stats.holm([row["mcnemar"] for row in rows])
    return [row | _told(row, p) for row, p in zip(rows, adjusted, strict=True)]


def _of_site(
    right: Mapping[str, Mapping[str, bool]], clusters: Mapping[str, str]
) -> dict[str, Any]:
    """Scores of one site from what is right in each setting, by item."""
    shares = {setting: sum(items.values()) / len(items) for setting, items in right.items()}
    together = right["federated"]
    p, found = float("nan"), {}
    if alone := right.get("local"):
        p = stats.mcnemar([*together.values()], [alone[item] for item in together])
        gain = paired(together, alone, clusters)
        low, high = max(-1.0, gain.low), min(1.0, gain.high)
        found = {"gain_over_local_low": low, "gain_over_local_high": high}
    gains = {
        f"gain_over_{setting}": shares["federated"] - shares[setting]
        for setting in ALONE
        if setting in shares
    }
    return {**shares, **gains, **found, "n_test": len(together), "mcnemar": p}


def _told(row: Mapping[str, Any], p: float) -> dict[str, Any]:
    if p != p:
        return {"mcnemar": p, "verdict": "not run alone"}
    if p >= SIGNIFICANT or row["gain_over_local_low"] <= 0 <= row["gain_over_local_high"]:
        return {"mcnemar": p, "verdict": "no difference shown"}
    return {"mcnemar": p, "verdict": "gains" if row["gain_over_local"] > 0 else "loses"}


def say_joining(frame: pd.DataFrame) -> str:
    """How many sites gain or lose by joining, for each task and partition, in words."""
    lines = []
    keys = ["task_title", "backbone", "method", "partition", "rule"]
    for (task, backbone, method, partition, rule), part in frame.groupby(keys, sort=False):
        known = part[part["gain_over_local"].notna()]
        if known.empty:
            continue
        gain, count = 100 * known["gain_over_local"], len(known)
        shown = known["verdict"].value_counts()
        lines.append(
            f"- {task}, {backbone}, {method}, {partition}, {rule}: over {count} sites and seeds, "
            "joining "
            f"changes accuracy on a site's own items by {gain.mean():+.1f} points on average, from "
            f"{gain.min():+.1f} to {gain.max():+.1f}. {int((gain < 0).sum())} of them score lower "
            f"than alone; {shown.get('loses', 0)} are shown to lose and {shown.get('gains', 0)} "
            "to gain (McNemar within a site, adjusted over the sites of a run, and an interval "
            "over item clusters that agrees; of two adapters each). "
            f"{said_of_sites(known)}"
        )
    return "\n".join(lines) or "No site was run both alone and together."
