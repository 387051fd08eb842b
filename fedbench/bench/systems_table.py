"""What was measured of large backbones, as tables; records on disk, one per device."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedbench.bench.pairs import ratios, spread
from fedbench.bench.sides import OURS, PLAIN, PLAIN_DRY
from fedbench.energy.meters import MEASURED
from fedbench.files import read_json, write_bytes
from fedbench.paths import CHECKOUT
from fedbench.report.writing import latex, markdown, numbers, write_origin

if TYPE_CHECKING:
    import pandas as pd

Record = Mapping[str, Any]

RECORDED, FIGURES = CHECKOUT / "data" / "systems", CHECKOUT / "figures" / "systems"
NOT_MEASURED = "not measured"


def file_of(record: Record, folder: Path) -> Path:
    """The file of a record, named by its device."""
    name = re.sub(r"[^a-z0-9]+", "-", record["device"].lower()).strip("-")
    return folder / f"{name}.json"


def recorded(folder: Path = RECORDED) -> dict[str, Record]:
    """The records of a folder by the names of their devices' files."""
    return {path.stem: read_json(path) for path in sorted(folder.glob("*.json"))}


def merged(before: Record, after: Record) -> Record:
    """A record with the rows of both; of a backbone that both have, those of ``after``."""
    again = {row["backbone"] for row in after["rows"]}
    kept = {
        kind: [row for row in before.get(kind, ()) if row["backbone"] not in again]
        for kind in ("rows", "beside")
    }
    return {**after, **{kind: [*rows, *after[kind]] for kind, rows in kept.items()}}


def save(record: Record, name: str, folder: Path) -> str:
    """Write both tables as CSV, Markdown and LaTeX; return the Markdown."""
    pages = []
    for what, made, caption in (
        ("methods", methods(record), methods_caption(record)),
        ("beside", beside(record), beside_caption(record)),
    ):
        page = f"{caption}\n\n{markdown(made)}"
        stem = f"{name}_{what}"
        write_bytes(folder / f"{stem}.csv", numbers(made))
        write_bytes(folder / f"{stem}.md", page.encode())
        write_bytes(folder / f"{stem}.tex", latex(made, stem, caption).encode())
        origin = {key: record[key] for key in ("date", "device", "provenance")}
        write_origin(folder, stem, {"caption": caption, "origin": origin})
        pages.append(page)
    return "\n".join(pages)


def methods(record: Record) -> pd.DataFrame:
    """One row per backbone and way of training."""
    import pandas as pd

    return pd.DataFrame([_row(row, record) for row in record["rows"]])


def _row(row: Mapping[str, Any], record: Record) -> dict[str, Any]:
    speed = spread([row["tokens"] / seconds for seconds in row["seconds"]])
    used = spread([row["flops"] / seconds / record["peak_flops"] for seconds in row["seconds"]])
    measured = sorted(part for part, how in record["how"].items() if how.startswith(MEASURED))
    spent = [sum(joules[part] for part in measured) for joules in row["joules"]]
    return {
        "backbone": row["backbone"],
        "billion_parameters": round(row["parameters"] / 1e9, 2),
        "method": row["way"],
        "million_trained": round(row["trained_parameters"] / 1e6, 2),
        "tokens_per_second": round(speed.median),
        "slowest": round(speed.lowest),
        "fastest": round(speed.highest),
        "share_of_peak": round(used.median, 3),
        "joules_per_1000_tokens": (
            round(1000 * spread(spent).median / row["tokens"], 1) if measured else NOT_MEASURED
        ),
        "peak_gb": round(row["peak_bytes"] / 1e9, 1),
        "predicted_over_peak": round(row["predicted_bytes"] / row["peak_bytes"], 2),
    }


def methods_caption(record: Record) -> str:
    """How the first table was made."""
    peak = record["peak_flops"] / 1e12
    idle = record["idle_watts"]
    watts = idle if isinstance(idle, str) else f"{idle:.0f} W"
    repeats = len(record["rows"][0]["seconds"])
    steps, size = record["rows"][0]["steps"], record["batch_size"]
    how = "; ".join(f"{part}: {how}" for part, how in sorted(record["how"].items()))
    return (
        f"Weights random: systems figures only. {record['device']}, {record['dtype']}; batches of "
        f"{size} texts of {record['texts']}; medians of {repeats} repeats of {steps} training "
        f"steps. Share of peak: counted operations over the {peak:.0f} TFLOP/s of a matrix product "
        "measured here; what checkpointing computes again is not counted. Joules are those of "
        f"measured components, idle power included ({watts}); {how}. Peak: what the allocator "
        "handed out; predicted: the tensors that fedbench plan counts for the same steps."
    )


def beside(record: Record) -> pd.DataFrame:
    """One row per backbone and shape of text: our step beside a user's."""
    import pandas as pd

    return pd.DataFrame([row for one in record["beside"] for row in _ratios(one)])


def _ratios(one: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    seconds: Mapping[str, Sequence[float]] = one["seconds"]
    for peer in (PLAIN, PLAIN_DRY):
        found = ratios(seconds[OURS], seconds[peer])
        yield {
            "backbone": one["backbone"],
            "shape": one["shape"],
            "beside": peer,
            "ratio": round(found.median, 3),
            "lowest": round(found.lowest, 3),
            "highest": round(found.highest, 3),
            "ours_ms_per_step": round(1000 * spread(seconds[OURS]).median / one["steps"], 1),
        }


def beside_caption(record: Record) -> str:
    """How the second table was made."""
    return (
        f"Weights random: systems figures only. Time of a LoRA step of ours over that of a plain "
        f"Hugging Face and peft loop on the same batches of {record['batch_size']}; "
        f"{record['device']}, {record['dtype']}; below 1 is faster; least and greatest of the "
        "repeats."
    )
