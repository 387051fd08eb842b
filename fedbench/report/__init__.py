"""From finished runs to tables, figures and sentences. Nothing here trains, or imports torch."""

from __future__ import annotations

import os
from pathlib import Path

from fedbench.energy.suite import found as energy_record
from fedbench.report.captions import (
    composition_caption,
    contrasts_caption,
    convergence_caption,
    main_caption,
    resources_caption,
    results_caption,
    scores_caption,
)
from fedbench.report.claims import FIGURE, TABLE, check_equal_passes, check_scores, check_written
from fedbench.report.differences import contrasts
from fedbench.report.energy import (
    energy_table,
    needs_and_shares,
    say_energy,
    write_energy_table,
)
from fedbench.report.energy_bars import energy_figure, save_energy_figure
from fedbench.report.energy_parts import component_table, extrapolated
from fedbench.report.figures import (
    composition_figure,
    convergence_figure,
    resources_figure,
    save_figure,
)
from fedbench.report.inventory import audit, composition, convergence, resources
from fedbench.report.peer_figure import peers_caption, peers_figure
from fedbench.report.peers import beside_others
from fedbench.report.score_figure import main_figure, main_parts
from fedbench.report.sentences import (
    say_audit,
    say_composition,
    say_contrasts,
    say_convergence,
    say_main,
    say_resources,
)
from fedbench.report.tables import main_results, wide
from fedbench.report.writing import write_table

__all__ = [
    "FIGURE",
    "TABLE",
    "audit",
    "beside_others",
    "check_equal_passes",
    "check_scores",
    "check_written",
    "component_table",
    "composition",
    "composition_caption",
    "composition_figure",
    "contrasts",
    "contrasts_caption",
    "convergence",
    "convergence_caption",
    "convergence_figure",
    "energy_figure",
    "energy_record",
    "energy_table",
    "extrapolated",
    "folder",
    "main_caption",
    "main_figure",
    "main_parts",
    "main_results",
    "needs_and_shares",
    "peers_caption",
    "peers_figure",
    "resources",
    "resources_caption",
    "resources_figure",
    "results_caption",
    "save_energy_figure",
    "save_figure",
    "say_audit",
    "say_composition",
    "say_contrasts",
    "say_convergence",
    "say_energy",
    "say_main",
    "say_resources",
    "scores_caption",
    "wide",
    "write_energy_table",
    "write_table",
]


def folder(output: str) -> Path:
    """Work from the checkout, and return the folder that tables and figures go to.

    Jupyter starts a notebook in the folder that holds it, papermill where it was called: this
    moves one level up in the first case, so that ``build/`` and ``figures/`` are the same for both.
    """
    here = Path.cwd()
    if here.name == "notebooks" and (here.parent / "fedbench").is_dir():
        os.chdir(here.parent)
    return Path(output).resolve()
