"""The audits of leaks on disk: tables to be read, captions, and where their numbers come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedbench.files import write_bytes
from fedbench.provenance import fingerprint
from fedbench.records import Record
from fedbench.report.figures import write_picture
from fedbench.report.leakage import RANGE, WITHIN
from fedbench.report.rule_figures import span
from fedbench.report.tables import NOT_RUN
from fedbench.report.writing import latex, markdown, numbers, write_origin

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SYNTHETIC = "synthetic facts, questions and answers: no evidence about other texts or larger models"
NOT_MEASURED = "not measured"
_ROOT = "fedbench.leakage.recording"  #: whose code a record depends on


def write_leakage(
    frame: pd.DataFrame,
    shown: pd.DataFrame,
    name: str,
    folder: Path,
    records: Sequence[Record],
    caption: str,
) -> str:
    """Write ``frame`` as ``name``.csv and ``shown`` as .md and .tex, origins as .json.

    Returns the Markdown, to be shown.

    Raises:
        FedbenchError: the folder cannot be written.
    """
    said = " ".join([caption, *remarks(records)])
    page = f"{said}\n\n{markdown(shown)}"
    write_bytes(folder / f"{name}.csv", numbers(frame))
    write_bytes(folder / f"{name}.md", page.encode())
    write_bytes(folder / f"{name}.tex", latex(shown, name, said).encode())
    write_origin(folder, name, {"caption": said, "origins": origins(records)})
    return page


def save_leakage_figure(
    figure: Figure,
    frame: pd.DataFrame,
    name: str,
    folder: Path,
    records: Sequence[Record],
    caption: str,
) -> Path:
    """Write the figure as .png and .pdf with its numbers and origins; return the PNG's path.

    Raises:
        FedbenchError: the folder cannot be written.
    """
    said = " ".join([caption, *remarks(records)])
    write_picture(figure, name, folder, SYNTHETIC if records else "")
    write_bytes(folder / f"{name}.csv", numbers(frame))
    write_origin(folder, name, {"caption": said, "origins": origins(records)})
    return folder / f"{name}.png"


def origins(records: Sequence[Record]) -> list[dict[str, Any]]:
    """How each audit was made: method, seed, size, configuration, commit, versions, machine."""
    known = ("method", "seed", "date", "minutes", "plan", "config", "provenance")
    return [{name: record[name] for name in known if name in record} for record in records]


def remarks(records: Sequence[Record]) -> list[str]:
    """What must be said of recorded audits wherever they are drawn."""
    if not records:
        return []
    now = fingerprint(_ROOT)
    older = sum(record["provenance"]["code"] != now for record in records)
    commits = sorted({str(record["provenance"]["commit"])[:12] for record in records})
    told = f"{_counted(str(len(records)), 'audit')} drawn as recorded at commit"
    dirty = sum(bool(record["provenance"].get("dirty")) for record in records)
    moved = f" The code of {older} has changed since." if older else ""
    moved += f" {dirty} with changes that were not committed." if dirty else ""
    return [
        f"{SYNTHETIC[0].upper()}{SYNTHETIC[1:]}.",
        f"{told} {', '.join(commits)}.{moved}",
    ]


def leakage_shown(frame: pd.DataFrame) -> pd.DataFrame:
    """The table of :func:`~fedbench.report.leakage.leakage` as people read it."""
    import pandas as pd

    return pd.DataFrame([_shown(row) for row in frame.to_dict("records")])


def _shown(row: Mapping[Any, Any]) -> dict[str, str]:
    ran = bool(row["n_seeds"])
    claim = f"{row['claimed']:g}: {row['check']}" if ran and row["check"] else ""
    cells = {
        "fit to members (% of undefended)": _spread(row, "fit", 100, ".0f"),
        "AUC by loss": _spread(row, "auc_loss", 1, ".2f"),
        "AUC offline": _spread(row, "auc_surprise", 1, ".2f"),
        "AUC by likelihood ratio": _spread(row, "auc_ratio", 1, ".2f"),
        "TPR at 1 % FPR by loss (%)": _spread(row, "tpr_loss", 100, ".1f"),
        "TPR offline (%)": _spread(row, "tpr_surprise", 100, ".1f"),
        "TPR by likelihood ratio (%)": _spread(row, "tpr_ratio", 100, ".1f"),
        "exposure of canaries (bits)": _spread(row, "exposure", 1, ".2f"),
        "not inserted (bits)": _spread(row, "exposure_other", 1, ".2f"),
        "epsilon, at least": f"{row['epsilon']:.2f}",
        "by guesses, at least": f"{row['epsilon_guesses']:.2f}",
        "epsilon claimed": claim,
        "check: TPR / FPR (%)": f"{100 * row['check_tpr']:.1f} / {100 * row['check_fpr']:.1f}",
        "tokens of one example (%)": _spread(row, "tokens", 100, ".0f") or NOT_MEASURED,
        "commonest tokens (%)": _spread(row, "tokens_baseline", 100, ".0f"),
    }
    return {
        "method": str(row["method"]),
        "defence": str(row["defence"]),
        **{name: cell if ran else "" for name, cell in cells.items()},
        "verdict": str(row["verdict"]),
        "seeds": str(row["seeds"]) if ran else "",
    }


def _spread(row: Mapping[Any, Any], column: str, scale: float, form: str) -> str:
    """``mean [low, high]``; the mean alone without an interval, nothing without a value."""
    mean, low, high = (row[f"{column}{end}"] for end in ("", "_low", "_high"))
    if mean != mean:
        return ""
    told = f"{scale * mean:{form}}"
    return told if low != low else f"{told} [{scale * low:{form}}, {scale * high:{form}}]"


def tokens_shown(frame: pd.DataFrame) -> pd.DataFrame:
    """The table of :func:`~fedbench.report.leakage.leaked_tokens` as people read it."""
    import pandas as pd

    return pd.DataFrame(
        [
            {
                "method": row["method"],
                "defence": row["defence"],
                "step": row["step"],
                "projections": row["projections"],
                "batch": f"{row['batch']}",
                "different tokens": f"{row['tokens']:.1f}",
                "in the span: precision (%)": f"{100 * row['span_precision']:.0f}",
                "recall (%)": f"{100 * row['span_recall']:.0f}",
                "nearest: recall (%)": _spread(row, "recovered", 100, ".0f"),
                "commonest: recall (%)": f"{100 * row['baseline']:.0f}",
                "seeds": row["seeds"],
            }
            for row in frame.to_dict("records")
        ]
    )


def leakage_caption(frame: pd.DataFrame) -> str:
    """Of the table of defences and of its figure."""
    known = frame[frame["n_seeds"] > 0]
    if known.empty:
        return f"What updates tell: {NOT_RUN}."
    return (
        "What a server learns from one local training of a site that overfits, by defence. "
        f"{_size(known)} {_spreads(known)} Members are half of {span(known['pool'])} examples, by "
        "a fair coin for each; TPR is at 1 % FPR; offline: by likelihood under models that were "
        "trained without the example; guesses have an AUC above "
        f"{known['auc_guessing'].max():.3f} in less than 1 of 1000. Fit: by how much "
        "training lowered the loss of members, in % of what it did without a "
        "defence; where it is small, the model learnt hardly anything, and an attack that fails "
        "shows no protection. Exposure: at most "
        f"{span(known['exposure_most'])} bits, {known['exposure_chance'].mean():.2f} by chance. "
        "Epsilon, at least: lower bounds of 95 % confidence from the canaries of all seeds "
        "together, as independent trials (Clopper-Pearson, corrected for the number of "
        "thresholds) and by guesses, without that; no outcome could have proven more in the first "
        f"way than {span(known['epsilon_provable'], '.1f')}, so that a claim above it cannot be "
        "refuted here. A claim is refuted where TPR > e^epsilon FPR + delta, or the same of TNR "
        "and FNR, beyond error; "
        f"delta {', '.join(f'{each:g}' for each in sorted(set(known['delta'])))}. "
        "Noise is simulated: its seed is known. Tokens: share of a single example's tokens "
        "recovered from one step, beside as many of the commonest ones; a sum of sites is one step "
        "on all of their batches together. No attack shows that a defence holds."
    )


def _size(known: pd.DataFrame) -> str:
    parts = []
    for method, part in known.groupby("method", sort=False):
        count = int(part["n_seeds"].iloc[0])
        seeds = _counted(str(count), "seed")
        parts.append(f"{method}: {seeds} of {part['shadows'].iloc[0]:.0f} shadow sites")
    return f"{'; '.join(parts)}."


def _counted(count: str, word: str) -> str:
    return f"{count} {word}{'' if count == '1' else 's'}"


def _spreads(known: pd.DataFrame) -> str:
    words = {
        RANGE: "[ ] with several seeds: least and greatest seed, around their mean",
        WITHIN: "with one seed: 95 % Clopper-Pearson interval of a TPR, and no interval elsewhere",
    }
    found = [words[kind] for kind in dict.fromkeys(known["kind"])]
    told = "; ".join(found)
    return (
        f"{told[0].upper()}{told[1:]}; a seed draws members, canaries, adapter, batches and noise, "
        "and the facts are the same."
    )


def tokens_caption(frame: pd.DataFrame) -> str:
    """Of the table of :func:`~fedbench.report.leakage.leaked_tokens`."""
    if frame.empty:
        return f"Tokens read off a gradient: {NOT_RUN}."
    return (
        "Tokens read off the gradient of one step of plain SGD in the first block, means over "
        f"batches and {_counted(span(frame['n_seeds']), 'seed')}, [ ] least to greatest seed: "
        "share of a batch's tokens (recall) that pass the span check, that are among as many "
        "tokens nearest to the span, and that are among as many of the commonest tokens of other "
        "examples. Of five tolerances the one that serves the attack best. IA3 trains no matrix "
        "whose gradient spans tokens."
    )
