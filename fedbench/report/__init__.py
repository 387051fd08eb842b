"""From finished runs to tables, figures and sentences. Nothing here trains, or imports torch."""

from __future__ import annotations

import os
from pathlib import Path

from fedbench.energy.suite import found as energy_record
from fedbench.leakage.records import recorded as leakage_records
from fedbench.report.attacks import attacks, say_attacks
from fedbench.report.attacks_figure import attacks_caption, attacks_figure
from fedbench.report.byte_budget import (
    budget_caption,
    cost_to_target,
    quality_under_budget,
    say_targets,
    side_by_side,
    target_caption,
)
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
from fedbench.report.codec_figure import (
    codec_caption,
    codec_figure,
    codec_figure_caption,
    full_caption,
)
from fedbench.report.codec_table import codec_table, full_table, say_codecs
from fedbench.report.contribution import (
    contribution,
    contribution_summary,
    say_contribution,
)
from fedbench.report.contribution_figure import (
    contribution_caption,
    contribution_figure,
    contribution_mean_caption,
)
from fedbench.report.differences import contrasts
from fedbench.report.energy import (
    energy_table,
    needs_and_shares,
    say_energy,
    write_energy_table,
)
from fedbench.report.energy_bars import energy_figure, save_energy_figure
from fedbench.report.energy_parts import component_table, extrapolated
from fedbench.report.faults import faults, say_faults
from fedbench.report.faults_figure import faults_caption, faults_figure
from fedbench.report.figures import (
    composition_figure,
    convergence_figure,
    resources_figure,
    save_figure,
)
from fedbench.report.gallery import gallery, say_bugs, say_gallery
from fedbench.report.gallery_figure import gallery_caption, gallery_figure
from fedbench.report.heterogeneity import heterogeneity, say_heterogeneity
from fedbench.report.heterogeneity_figures import (
    heterogeneity_caption,
    heterogeneity_figure,
    measures_caption,
    sites_caption,
    sites_figure,
    spread_caption,
    spread_figure,
)
from fedbench.report.heterogeneity_gains import gains_caption, gains_figure
from fedbench.report.inventory import audit, composition, convergence, resources
from fedbench.report.joining import joining, say_joining
from fedbench.report.leakage import leakage, leaked_tokens, say_leakage
from fedbench.report.leakage_figure import leakage_figure
from fedbench.report.leakage_page import (
    leakage_caption,
    leakage_shown,
    save_leakage_figure,
    tokens_caption,
    tokens_shown,
    write_leakage,
)
from fedbench.report.peer_figure import peers_caption, peers_figure
from fedbench.report.peers import beside_others
from fedbench.report.privacy import epsilon_by_round, privacy, say_privacy
from fedbench.report.privacy_figures import (
    epsilon_caption,
    epsilon_figure,
    privacy_caption,
    privacy_figure,
)
from fedbench.report.rule_convergence import (
    rule_convergence,
    rule_endings,
    rule_endings_caption,
    say_rule_convergence,
)
from fedbench.report.rule_curves import rule_convergence_caption, rule_convergence_figure
from fedbench.report.rule_figures import (
    joining_caption,
    joining_figure,
    rules_caption,
    rules_figure,
)
from fedbench.report.rule_table import rule_table, say_rules
from fedbench.report.score_figure import main_figure, main_parts
from fedbench.report.sentences import (
    say_audit,
    say_composition,
    say_contrasts,
    say_convergence,
    say_main,
    say_resources,
)
from fedbench.report.site_spread import (
    say_site_spread,
    site_spread,
    site_spread_caption,
    site_spread_figure,
    sites_by_rule,
)
from fedbench.report.tables import main_results, wide
from fedbench.report.traffic import say_traffic, traffic_caption, traffic_table
from fedbench.report.writing import write_table

__all__ = [
    "FIGURE",
    "TABLE",
    "attacks",
    "attacks_caption",
    "attacks_figure",
    "audit",
    "beside_others",
    "budget_caption",
    "check_equal_passes",
    "check_scores",
    "check_written",
    "codec_caption",
    "codec_figure",
    "codec_figure_caption",
    "codec_table",
    "component_table",
    "composition",
    "composition_caption",
    "composition_figure",
    "contrasts",
    "contrasts_caption",
    "contribution",
    "contribution_caption",
    "contribution_figure",
    "contribution_mean_caption",
    "contribution_summary",
    "convergence",
    "convergence_caption",
    "convergence_figure",
    "cost_to_target",
    "energy_figure",
    "energy_record",
    "energy_table",
    "epsilon_by_round",
    "epsilon_caption",
    "epsilon_figure",
    "extrapolated",
    "faults",
    "faults_caption",
    "faults_figure",
    "folder",
    "full_caption",
    "full_table",
    "gains_caption",
    "gains_figure",
    "gallery",
    "gallery_caption",
    "gallery_figure",
    "heterogeneity",
    "heterogeneity_caption",
    "heterogeneity_figure",
    "joining",
    "joining_caption",
    "joining_figure",
    "leakage",
    "leakage_caption",
    "leakage_figure",
    "leakage_records",
    "leakage_shown",
    "leaked_tokens",
    "main_caption",
    "main_figure",
    "main_parts",
    "main_results",
    "measures_caption",
    "needs_and_shares",
    "peers_caption",
    "peers_figure",
    "privacy",
    "privacy_caption",
    "privacy_figure",
    "quality_under_budget",
    "resources",
    "resources_caption",
    "resources_figure",
    "results_caption",
    "rule_convergence",
    "rule_convergence_caption",
    "rule_convergence_figure",
    "rule_endings",
    "rule_endings_caption",
    "rule_table",
    "rules_caption",
    "rules_figure",
    "save_energy_figure",
    "save_figure",
    "save_leakage_figure",
    "say_attacks",
    "say_audit",
    "say_bugs",
    "say_codecs",
    "say_composition",
    "say_contrasts",
    "say_contribution",
    "say_convergence",
    "say_energy",
    "say_faults",
    "say_gallery",
    "say_heterogeneity",
    "say_joining",
    "say_leakage",
    "say_main",
    "say_privacy",
    "say_resources",
    "say_rule_convergence",
    "say_rules",
    "say_site_spread",
    "say_targets",
    "say_traffic",
    "scores_caption",
    "side_by_side",
    "site_spread",
    "site_spread_caption",
    "site_spread_figure",
    "sites_by_rule",
    "sites_caption",
    "sites_figure",
    "spread_caption",
    "spread_figure",
    "target_caption",
    "tokens_caption",
    "tokens_shown",
    "traffic_caption",
    "traffic_table",
    "wide",
    "write_energy_table",
    "write_leakage",
    "write_table",
]


def folder(output: str) -> Path:
    """Work from the checkout, and return the folder that tables and figures go to.

    Jupyter starts a notebook in the folder that holds it, papermill where it was called: this
    moves up in the first case, so that ``build/`` and ``figures/`` are the same for both.
    """
    here = Path.cwd()
    for each in (here, *here.parents):
        if each.name == "notebooks" and (each.parent / "fedbench").is_dir():
            os.chdir(each.parent)
            break
    return Path(output).resolve()
