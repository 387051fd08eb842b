"""What the energy suite measured, as tables and a figure that tell a measurement from an estimate.

Energy is that of processor and accelerator. Memory is billed by a constant where nothing counts it:
it would be most of the sum and say nothing of a method, so it stands in rows of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fedbench.config import TRAINED, PartitionConfig, parse_config
from fedbench.energy.meters import MEASURED
from fedbench.files import write_bytes
from fedbench.phases import PHASES
from fedbench.report import stats
from fedbench.report.claim_file import Evidence
from fedbench.report.saving import Configuration, Measured, Saving
from fedbench.report.writing import latex, markdown, numbers, write_origin

if TYPE_CHECKING:
    import pandas as pd

Measurement = Mapping[str, Any]

_COUNTED = ("cpu", "gpu")
_JOULES_PER_KWH = 3.6e6
_MOVED = "Measured with other code or another suite than today's: make energy measures anew."
_SHARE = "share of "
_EVEN = "split evenly over rounds"  #: no meter is read at the end of each
NOTHING = (
    "Energy: not run. This profile has no energy suite, or make energy has not measured it here: "
    "no number of energy may be taken from its accuracy runs, which shared the machine."
)
ESTIMATED = "estimated"
COUNTED = "counted"
OVER_REPEATS = "t over repeats"

COLUMNS = (
    *("task", "backbone", "method", "compute", "setting", "quantity", "unit", "obtained"),
    *("mean", "ci_low", "ci_high", "ci_kind", "repeats", "reached", "per_repeat"),
)


def joules_of(one: Measurement, phases: Sequence[str], components: Sequence[str]) -> float:
    """What the named phases and components of one measurement took, together."""
    return float(sum(one["joules"].get(p, {}).get(c, 0.0) for p in phases for c in components))


def per_token(one: Measurement) -> float:
    """Joules of training per token, without memory."""
    return joules_of(one, ["train"], _COUNTED) / int(one["tokens"])


def _to_target(one: Measurement, target: float) -> float:
    """Training energy up to the first round that reaches ``target``; NaN if none does.

    The rounds of a run are taken to cost the same: what one of them cost was not measured.
    """
    curve = one["validation"]
    reached = [number for number, value in enumerate(curve, start=1) if value >= target]
    spent = joules_of(one, ["train"], _COUNTED)
    return spent * reached[0] / len(curve) if reached else float("nan")


def _sent(one: Measurement) -> float:
    """Bytes between sites and server; a site that trains alone sends nothing to anybody."""
    sent = one["bytes_down"] + one["bytes_up"]
    return float(sent) if one["config"]["setting"] == "federated" else 0.0


def _quantities(target: float) -> dict[tuple[str, str], Callable[[Measurement], float]]:
    """Name and unit of everything reported, and how it follows from one measurement."""
    shares: dict[tuple[str, str], Callable[[Measurement], float]] = {
        (f"{_SHARE}{name}", "% of all energy"): lambda one, name=name: (  # type: ignore[misc]
            100 * joules_of(one, [name], _COUNTED) / joules_of(one, PHASES, _COUNTED)
        )
        for name in PHASES
    }
    return {
        ("training", "mJ per token"): lambda one: 1000 * per_token(one),
        ("training, memory by constant", "mJ per token"): lambda one: (
            1000 * joules_of(one, ["train"], ["ram"]) / one["tokens"]
        ),
        (f"training to {100 * target:.0f} % validation accuracy", "J"): lambda one: _to_target(
            one, target
        ),
        ("inference", "J per 1,000 items"): lambda one: (
            1000 * joules_of(one, ["evaluate"], _COUNTED) / one["items"]
        ),
        ("whole run", "g CO2e"): lambda one: (
            joules_of(one, PHASES, _COUNTED) / _JOULES_PER_KWH * one["grid_g_per_kwh"]
        ),
        ("whole run", "s"): lambda one: one["wall_seconds"],
        ("peak memory in training", "MB"): lambda one: one["peak_memory_bytes"]["train"] / 1e6,
        ("peak memory in scoring", "MB"): lambda one: one["peak_memory_bytes"]["evaluate"] / 1e6,
        ("payloads, both directions", "kB"): lambda one: _sent(one) / 1e3,
        ("adapter", "kB"): lambda one: one["adapter_bytes"] / 1e3,
        **shares,
    }


def energy_table(record: Mapping[str, Any] | None) -> pd.DataFrame:
    """One row per method, setting and quantity: mean over repeats with a 95 % t interval.

    ``obtained`` says of every row whether it was measured, counted or estimated; ``reached`` how
    many repeats have a value at all (a target may be missed).
    """
    import pandas as pd

    if record is None:
        return pd.DataFrame(columns=list(COLUMNS))
    rows = []
    for same in groups_of(record["measurements"]):
        for (quantity, unit), follows in _quantities(record["spec"]["target"]).items():
            values = np.array([follows(one) for one in same], dtype=np.float64)
            rows.append(
                about(same[0])
                | {
                    "quantity": quantity,
                    "unit": unit,
                    "obtained": obtained_by(quantity, unit, same[0]),
                }
                | summary(values)
            )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def needs_and_shares(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What a method needs, and which share of the energy each phase of a run takes."""
    shares = frame["quantity"].str.startswith(_SHARE)
    return frame[~shares], frame[shares]


def groups_of(measurements: Sequence[Measurement]) -> list[list[Measurement]]:
    """Repeats of one method and setting, in the order in which they were measured."""
    found: dict[tuple[str, str], list[Measurement]] = {}
    for one in measurements:
        found.setdefault((one["method"], one["config"]["setting"]), []).append(one)
    return [found[key] for key in sorted(found, key=lambda key: key[0] != "lora")]


def about(one: Measurement) -> dict[str, Any]:
    """What was measured, as the first columns of every table."""
    config = one["config"]
    return {name: config[name] for name in ("task", "backbone", "method", "compute", "setting")}


def obtained_by(quantity: str, unit: str, one: Measurement) -> str:
    """How a quantity is known: energy as its meter says, time and memory by the system."""
    if unit in ("s", "MB"):
        return MEASURED
    if unit == "kB":
        return COUNTED
    if "constant" in quantity:
        return str(one["how"].get("ram", ESTIMATED))
    ways = [str(one["how"][name]) for name in _COUNTED if name in one["how"]]
    return "; ".join([*ways, _EVEN] if quantity.startswith("training to") else ways)


def is_estimated(obtained: str) -> bool:
    """Whether any part of it is no measurement."""
    return ESTIMATED in obtained


def summary(values: stats.Array) -> dict[str, Any]:
    """Mean and t interval of one value per repeat, NaN where a repeat has none."""
    known = values[~np.isnan(values)]
    each = " ".join(f"{value:.6g}" for value in known)
    found = {"repeats": len(values), "reached": len(known), "per_repeat": each}
    if len(known) < len(values) or len(known) < 2:
        mean = float(known.mean()) if len(known) == len(values) and len(known) else float("nan")
        return found | {"mean": mean, "ci_low": np.nan, "ci_high": np.nan, "ci_kind": "none"}
    interval = stats.seed_interval(known)
    return found | {
        "mean": interval.mean,
        "ci_low": interval.low,
        "ci_high": interval.high,
        "ci_kind": OVER_REPEATS,
    }


def savings(record: Mapping[str, Any] | None) -> Measured:
    """What each measured configuration saves of energy and peak memory against LoRA.

    The two are paired by repeat, in the federated setting. Both are those of training: energy per
    token, and the system's peak of memory.
    """
    if record is None:
        return {}
    needs = {
        "energy": per_token,
        "peak_memory": lambda one: one["peak_memory_bytes"]["train"],
    }
    chosen = [one for one in record["measurements"] if one["config"]["setting"] == "federated"]
    by_method: dict[str, dict[int, Measurement]] = {}
    for one in chosen:
        by_method.setdefault(one["method"], {})[one["repeat"]] = one
    reference = by_method.pop("lora", {})
    return {
        (resource, _configuration(next(iter(mine.values())))): saving
        for mine in by_method.values()
        for resource, need in needs.items()
        if (saving := _saving(mine, reference, need, resource)) is not None
    }


def _configuration(one: Measurement) -> Configuration:
    config = one["config"]
    names = ("task", "backbone", "method", "compute")
    partition = PartitionConfig.model_validate(config["partition"])
    return Configuration(**{name: config[name] for name in names}, partition=partition.label)


def energy_remarks(record: Mapping[str, Any] | None) -> list[str]:
    """What must be said beside verdicts on energy and memory; nothing if all is as it should be."""
    moved = record is not None and record.get("moved")
    return [f"Energy and peak memory: {_MOVED}"] if moved else []


def _saving(
    mine: Mapping[int, Measurement],
    reference: Mapping[int, Measurement],
    need: Callable[[Measurement], float],
    resource: str,
) -> Saving | None:
    """One minus the ratio of needs, with a t interval over the repeats that both have."""
    both = sorted({*mine} & {*reference})
    if len(both) < 2:
        return None
    found = stats.seed_interval(np.array([1 - need(mine[i]) / need(reference[i]) for i in both]))
    how = (
        obtained_by("training", "mJ per token", mine[both[0]]) if resource == "energy" else MEASURED
    )
    evidence: Evidence = "estimated" if is_estimated(how) else "measured"
    return Saving(found.mean, found.low, found.high, evidence, OVER_REPEATS, len(both))


def energy_wide(frame: pd.DataFrame) -> pd.DataFrame:
    """The table that people read: a row per method and setting, a column per quantity."""
    import pandas as pd

    rows = []
    for _, part in frame.groupby(["method", "setting"], sort=False):
        first = part.iloc[0]
        cells = {f"{row.quantity} ({row.unit})": _cell(row) for row in part.itertuples()}
        rows.append({"method": first["method"], "setting": first["setting"], **cells})
    return pd.DataFrame(rows)


def _cell(row: Any) -> str:
    if row.mean != row.mean:
        return f"not reached ({row.reached} of {row.repeats})" if row.reached < row.repeats else ""
    mark = "~" if is_estimated(row.obtained) else ""
    if row.ci_low != row.ci_low or row.ci_low == row.ci_high:  # one repeat, or counted exactly
        return f"{mark}{digits(row.mean)}"
    return f"{mark}{digits(row.mean)} [{digits(row.ci_low)}, {digits(row.ci_high)}]"


def digits(value: float) -> str:
    """Three digits, or all of a larger number's, never as a power of ten."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return str(np.format_float_positional(value, precision=3, fractional=False, trim="-"))


def energy_caption(record: Mapping[str, Any]) -> str:
    """What was run, how often, how each component is known, which grid, what idling costs."""
    one, spec = record["measurements"][0], record["spec"]
    how = "; ".join(f"{name}: {words}" for name, words in sorted(one["how"].items()))
    idle = one["idle_watts"]
    idling = idle if isinstance(idle, str) else f"{idle:.1f} W"
    synthetic = " Synthetic look-alike task." if spec["task"].startswith("lookalike") else ""
    guessed = any(is_estimated(one["how"].get(name, "")) for name in _COUNTED)
    warning = " Estimated values carry ~: power guessed from load cannot rank methods by energy."
    moved = f" {_MOVED}" if record.get("moved") else ""
    return (
        f"Energy on {spec['task']} with {spec['backbone']}: mean and 95 % t interval over "
        f"{_repeats(record)}.{synthetic} {how}.{warning if guessed else ''} "
        f"Idle power: {idling}. {one['grid_g_per_kwh']:.0f} g CO2e per kWh ({one['grid_source']}). "
        f"Energy to a target is that of training, {_EVEN}. {_overhead(record)} "
        "Peak memory is that of the whole process, libraries included. "
        f"Scoring includes the scorer that never sees the question.{moved}"
    )


def _overhead(record: Mapping[str, Any]) -> str:
    """What reading the meter added to the run where it added most; it is billed to no phase."""
    shares = [one["overhead_seconds"] / one["wall_seconds"] for one in record["measurements"]]
    return f"Reading the meter took at most {100 * max(shares):.1f} % of a run's time."


def _repeats(record: Mapping[str, Any]) -> str:
    """How often everything was measured: not as often as asked where the suite was stopped."""
    spec = record["spec"]
    done = Counter((one["method"], one["config"]["setting"]) for one in record["measurements"])
    counts = {done[method, setting] for method in spec["methods"] for setting in TRAINED}
    if counts == {spec["repeats"]}:
        return f"{spec['repeats']} repeats"
    span = " to ".join(str(count) for count in sorted({min(counts), max(counts)}))
    return f"{span} of {spec['repeats']} repeats"


def write_energy_table(
    frame: pd.DataFrame, name: str, folder: Path, record: Mapping[str, Any] | None
) -> str:
    """Write the frame as CSV and its wide form as Markdown and LaTeX; return the Markdown."""
    caption = energy_caption(record) if record else NOTHING
    shown = energy_wide(frame)
    page = f"{caption}\n\n{markdown(shown)}" if record else f"{caption}\n"
    write_bytes(folder / f"{name}.csv", numbers(frame))
    write_bytes(folder / f"{name}.md", page.encode())
    write_bytes(folder / f"{name}.tex", latex(shown, name, caption).encode())
    write_origin(folder, name, origin_of(record, caption) if record else {"caption": caption})
    return page


def origin_of(record: Mapping[str, Any], caption: str) -> dict[str, Any]:
    """Where a table or figure of the suite came from, for the JSON beside it."""
    measured = record["measurements"]
    known = ("method", "repeat", "started", "wall_seconds", "how", "idle_watts", "accuracy")
    return {
        "caption": caption,
        "configs": {parse_config(o["config"]).id: o["config"] for o in measured if not o["repeat"]},
        "measurements": [
            {"run": parse_config(one["config"]).id, "setting": one["config"]["setting"]}
            | {name: one[name] for name in known if name in one}
            for one in measured
        ],
        "spec": record["spec"],
        "provenance": record["provenance"],
    }


def face(record: Mapping[str, Any]) -> str:
    """What the figure says on its face."""
    one, spec = record["measurements"][0], record["spec"]
    parts = ["synthetic look-alike task"] if spec["task"].startswith("lookalike") else []
    parts += [f"{name}: {one['how'][name]}" for name in _COUNTED if name in one["how"]]
    parts += ["older code"] if record.get("moved") else []
    return "; ".join([*parts, _repeats(record)])


def say_energy(record: Mapping[str, Any] | None) -> str:
    """What the suite allows to be said about each method against LoRA, and what it does not."""
    if record is None:
        return "Energy was not measured: nothing can be said about it."
    said = [
        f"- {where.method}: {1 - saved.mean:.2f} [{1 - saved.high:.2f}, {1 - saved.low:.2f}] x "
        f"LoRA's energy per training token in federated tuning, 95 % {saved.ci_kind} "
        f"(n = {saved.repeats}; {_worth(saved)})."
        for (resource, where), saved in savings(record).items()
        if resource == "energy"
    ]
    return "\n".join(said) or "Too few repeats: no method can be compared with LoRA."


def _worth(saved: Saving) -> str:
    return "measured" if saved.evidence == MEASURED else "estimated, so it decides nothing"
