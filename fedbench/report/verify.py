"""A profile's verdicts, printed, written and held against the recorded ones. Nothing is run.

``data/verdicts.json`` keeps the verdict of every part of every claim in every cell, by profile. It
is a record, not a wish: "does not hold" is as good an entry as "holds". What is compared is the
words, not the numbers, which may differ a little on another machine (:mod:`fedbench.report.compare`
holds those against the reference).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from fedbench import grid, profiles
from fedbench.energy.suite import found as energy_record
from fedbench.errors import FedbenchError
from fedbench.files import read_json, write_bytes, write_json
from fedbench.locks import DATA_LOCK, locked
from fedbench.paths import CHECKOUT
from fedbench.provenance import git
from fedbench.report import verdicts as judging
from fedbench.report.cells import Cell, cells, whole
from fedbench.report.claim_file import FILE, Claims, digest, read_claims
from fedbench.report.claims import check_passes_of, check_scores_of
from fedbench.report.energy import energy_remarks, savings
from fedbench.report.origin import remarks
from fedbench.report.verdicts import Summary, Verdict, points
from fedbench.report.writing import markdown_lines
from fedbench.store import Run

RECORDED = CHECKOUT / "data" / "verdicts.json"
README = CHECKOUT / "README.md"
BEGIN = "<!-- claims: written by python -m fedbench verify --accept -->"
END = "<!-- end of claims -->"
SHOWN = ("cpu", "smoke")  #: profiles whose verdicts the README tells
NO_RECORD = "no verdict recorded yet"

_CHECKS: Mapping[str, Callable[[Sequence[Cell]], None]] = {
    "scores follow from the items": check_scores_of,
    "trained settings processed each example equally often": check_passes_of,
}

Record = Mapping[str, Any]


def verify(profile: str, folder: Path, *, accept: bool = False) -> bool:
    """Print the verdicts of a profile and write ``claims.json`` to ``folder``.

    Returns whether all validity checks pass and the verdicts are the recorded ones. With
    ``accept`` the verdicts become the recorded ones, and the README's table is written anew.

    Raises:
        FedbenchError: unknown profile, no runs, a damaged run, or verdicts that no valid check
            stands behind were to be accepted.
    """
    stated, name = read_claims(), profiles.short_name(profile)
    runs, planned = grid.found(profile), grid.planned(profile)
    if not runs:
        raise FedbenchError(
            f"None of the {len(planned)} runs of {name} is there, so nothing was verified or "
            f"written: make figures PROFILE={profile} does them."
        )
    found, energy = whole(cells(runs, planned)), energy_record(profile)
    told = judging.summaries(stated, judging.verdicts(stated, found, savings(energy)))
    failed = failures(found)
    said = [when_fixed(runs), *remarks(runs), *energy_remarks(energy)]
    print("\n".join([*lines(stated, told), "", *(f"note: {text}" for text in said), ""]))
    checks = {check: failed.get(check, "passed") for check in _CHECKS}
    write_json(folder / "claims.json", _as_json(stated, name, told, checks, said))
    print(f"Wrote {folder / 'claims.json'}: {len(runs)} of {len(planned)} runs are there.")
    for check in _CHECKS:
        print(f"check: {check}: {checks[check]}")
    now = as_record(stated, told)
    if accept:
        if lacking := len(planned) - len(runs):
            raise FedbenchError(
                f"The verdicts of {name} were not recorded, because {lacking} of its "
                f"{len(planned)} runs are not there: make figures PROFILE={profile} does them."
            )
        _accept(name, now, failed, stated)
    recorded = read_recorded().get(name)
    unlike = differences(recorded, now)
    print("\n".join(unlike) or f"The verdicts of {name} are the recorded ones.")
    return not failed and not unlike


def failures(found: Sequence[Cell]) -> dict[str, str]:
    """Validity checks that do not pass, each with its sentence."""
    failed = {}
    for name, check in _CHECKS.items():
        try:
            check(found)
        except FedbenchError as error:
            failed[name] = str(error)
    return failed


def lines(stated: Claims, told: Sequence[Summary]) -> Iterator[str]:
    """What ``verify`` prints: a claim, its parts, and the cells of each with their numbers."""
    for claim in stated.claims:
        yield f"{claim.id}. {claim.sentence} ({claim.source})"
        for summary in (one for one in told if one.claim == claim.id):
            yield f"  {summary.part}: {summary.verdict} ({summary.said})"
            yield from _cell_lines(summary.cells)


def _cell_lines(some: Sequence[Verdict]) -> Iterator[str]:
    """A line per cell, or a single one where all of them are undecided for the same reason."""
    reasons = {verdict.reason for verdict in some}
    if len(reasons) == 1 and len(some) > 1 and some[0].mean is None:
        yield f"    all {len(some)} cells: {some[0].reason}"
        return
    yield from (f"    {one.about}: {one.verdict}; {_numbers(one)}" for one in some)


def _numbers(one: Verdict) -> str:
    if one.mean is None or one.low is None or one.high is None:
        return one.reason
    if one.n_repeats:
        saved = _span(one.mean, one.low, one.high)
        return f"share saved = {saved} %, {one.n_repeats} repeats: {one.reason}"
    if one.margin is None and one.p is None and one.gain is None:  # a saving: its reason tells all
        return one.reason
    parts = [f"{one.contrast} = {_span(one.mean, one.low, one.high)}"]
    parts += [] if one.margin is None else [f"margin {100 * one.margin:.2g}"]
    if one.gain is not None and one.gain_low is not None and one.gain_high is not None:
        parts += [f"gain over base {_span(one.gain, one.gain_low, one.gain_high)}"]
    parts += [] if one.p is None else [f"p = {one.p:.2g}"]
    parts += [f"{one.n_seeds} seeds", f"{one.n_test:,} items"]
    return f"{', '.join(parts)}: {one.reason}"


def _span(mean: float, low: float, high: float) -> str:
    return f"{points(mean)} [{points(low)}, {points(high)}]"


def _as_json(
    stated: Claims,
    profile: str,
    told: Sequence[Summary],
    checks: Mapping[str, str],
    said: Sequence[str],
) -> dict[str, Any]:
    claims = {claim.id: claim.model_dump(exclude={"id", "parts"}) for claim in stated.claims}
    parts = [{**asdict(one), "said": one.said} for one in told]
    rule = {**stated.rule.model_dump(), "digest": digest(stated)}
    found = {"rule": rule, "checks": checks, "notes": said, "claims": claims, "parts": parts}
    return {"profile": profile, **found}


def as_record(stated: Claims, told: Iterable[Summary]) -> dict[str, Any]:
    """The words that are kept of a profile's verdicts, and the digest of the rule behind them.

    What an energy suite found of look-alikes is not kept: it decides nothing, and another machine
    may find otherwise without anything being wrong.
    """
    parts = {
        _key(one): {
            "verdict": one.verdict,
            "said": one.said,
            "cells": sorted(f"{cell.about}: {cell.verdict}" for cell in one.cells),
        }
        for one in told
        if not (one.synthetic and one.by_suite)
    }
    return {"rule": digest(stated), "parts": parts}


def _key(one: Summary) -> str:
    return f"{one.claim}, {one.part}{' (look-alikes)' if one.synthetic else ''}"


def read_recorded(path: Path | None = None) -> dict[str, Any]:
    """The recorded verdicts by profile; empty where none were ever recorded."""
    path = path or RECORDED
    recorded: dict[str, Any] = read_json(path) if path.exists() else {}
    return recorded


def differences(recorded: Record | None, now: Record) -> list[str]:
    """What is not as recorded, a line each; empty if every word is the same."""
    if recorded is None:
        return [
            "No verdict is recorded for this profile: "
            "look at these, then run the same command with --accept."
        ]
    if recorded["rule"] != now["rule"]:
        return [
            f"The recorded verdicts were reached with other tests or margins than those of "
            f"data/{FILE}: look at the new ones, then run the same command with --accept."
        ]
    before, after = _words(recorded), _words(now)
    keys = dict.fromkeys([*before, *after])
    return [
        f"{key}: {after.get(key, 'absent')}, recorded as: {before.get(key, 'absent')}"
        for key in keys
        if before.get(key) != after.get(key)
    ]


def _words(record: Record) -> dict[str, str]:
    """Every verdict by what it is about; cells that cannot be told apart are counted."""
    found: dict[str, str] = {}
    for key, part in record["parts"].items():
        found[key] = part["verdict"]
        for number, cell in enumerate(part["cells"]):
            about, _, word = cell.rpartition(": ")
            name = f"{key}, {about}"
            found[name if name not in found else f"{name} ({number})"] = word
    return found


def _accept(name: str, now: Record, failed: Mapping[str, str], stated: Claims) -> None:
    if failed:
        raise FedbenchError(
            f"The verdicts of {name} were not recorded, because a validity check failed: "
            f"{next(iter(failed.values()))}"
        )
    with locked(RECORDED.with_name(DATA_LOCK)):
        write_json(RECORDED, {**read_recorded(), name: now})
        write_readme(README, stated, read_recorded())
    print(f"Recorded them in {RECORDED}, and wrote the table of claims in {README.name}.")


def claims_table(stated: Claims, recorded: Mapping[str, Record]) -> str:
    """The README's table of claims: what was recorded for each part, by profile."""
    head = ["claim", "decided on", *(f"`{profile}`" for profile in SHOWN)]
    rows = [
        [f"{claim.id}. {claim.sentence}" if number == 0 else "", part.name]
        + [_told(recorded.get(profile), f"{claim.id}, {part.name}") for profile in SHOWN]
        for claim in stated.claims
        for number, part in enumerate(claim.parts)
    ]
    return markdown_lines([head, *rows])


def _told(record: Record | None, key: str) -> str:
    """The verdict on a part in a few words, look-alikes marked as such by their own wording."""
    if record is None:
        return NO_RECORD
    parts = [part for name, part in record["parts"].items() if name.startswith(key)]
    return "; ".join(f"{part['verdict']} ({part['said']})" for part in parts) or NO_RECORD


def write_readme(path: Path, stated: Claims, recorded: Mapping[str, Record]) -> None:
    """Replace what stands between the two comments by the table of today.

    Raises:
        FedbenchError: the comments are not there.
    """
    text = path.read_text(encoding="utf-8")
    before, old = block(path)
    after = text[len(before) + len(old) :]
    write_bytes(path, f"{before}\n{claims_table(stated, recorded)}{after}".encode())


def block(path: Path) -> tuple[str, str]:
    """The text up to the table of claims, and the table with the line break before it.

    Raises:
        FedbenchError: the two comments around it are not there.
    """
    head, begun, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    table, ended, _ = rest.partition(END)
    if not begun or not ended:
        raise FedbenchError(f"{path} needs the lines {BEGIN} and {END}: restore it.")
    return head + begun, table


def when_fixed(runs: Sequence[Run]) -> str:
    """Whether the margins were committed before the first of the runs began, as a sentence.

    The committer's date counts: the author's survives amending and rebasing.
    """
    changed = git("log", "-1", "--format=%cI", "-G", "^rule:|test:|metric:", "--", f"data/{FILE}")
    if not changed or git("status", "--porcelain", "--", f"data/{FILE}"):
        return f"The margins of data/{FILE} are not committed: nothing dates them."
    starts = [str(run.provenance["started"]) for run in runs if "started" in run.provenance]
    if not starts:
        return f"The margins of data/{FILE} were committed on {changed}."
    fixed, began = (datetime.fromisoformat(text) for text in (changed, min(starts)))
    order = "before" if fixed < began else "AFTER"
    return (
        f"The margins of data/{FILE} were committed on {changed}, {order} the first of these runs "
        f"began ({min(starts)})."
    )
