"""What is said after a run of its wire: bytes, promises, hostile sites, and who was not heard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fedbench.store import BYTES, MASKED, Run

#: what leaves a site in the settings where nobody sends updates to anybody
_ALONE = {
    "local": "bytes: nothing leaves a site in this setting",
    "centralized": "bytes: all examples leave their sites in this setting, and are not counted",
}


def of_the_wire(run: Run) -> Iterator[str]:
    """A line for each that there is something to say of."""
    if run.config.setting in _ALONE:
        yield _ALONE[run.config.setting]
    elif run.rounds:
        yield from _bytes(run)
    if run.config.privacy is not None and run.rounds:
        yield _epsilon(run)
    yield from _hostile(run)
    yield from _failing(run)
    yield from _refused(run)


def _bytes(run: Run) -> Iterator[str]:
    config, metrics = run.config, run.metrics
    trained = [record for record in run.rounds if "bytes_up" in record]
    turns = sum(len(each["cohort"]) + len(each.get("refused") or ()) for each in trained)
    up, down, scored = (
        f"{metrics[name] / 1e6 / max(turns, 1):.3g}"
        for name in ("bytes_up", "bytes_down", "bytes_validation")
    )
    keys = _total(run, MASKED)
    masks = f", {keys / 1e6 / max(turns, 1):.3g} of keys and shares" if keys else ""
    yield (
        f"megabytes for each site and round that it took part in, on average: {up} sent, {down} "
        f"received, {scored} more both ways to score what came of it{masks}"
    )
    if config.secure is not None and config.codec != "fp32":
        yield (
            f"a masked number takes {config.secure.bits} bits, whatever the codec: {config.codec} "
            "rounds here and saves nothing"
        )
    if config.byte_budget is not None:
        spent = _total(run, (*BYTES, *MASKED)) / 1e6
        yield (
            f"byte budget: {spent:.1f} of {config.byte_budget / 1e6:.1f} MB in {len(trained)} "
            f"of {config.rounds} rounds; the first round is done whatever it takes"
        )


def _total(run: Run, ways: Sequence[str]) -> int:
    return sum(run.metrics.get(f"bytes_{way}") or 0 for way in ways)


def _epsilon(run: Run) -> str:
    privacy = run.config.privacy
    assert privacy is not None
    spent = [value for each in run.rounds for value in (each.get("epsilon") or {}).values()]
    return (
        f"epsilon: {max(spent, default=0.0):.3g} at delta {privacy.delta:g} for one "
        f"{privacy.unit}, of simulated noise: it is that of the mechanism, and protects nobody in "
        "this run"
    )


def _hostile(run: Run) -> Iterator[str]:
    if not (told := run.metrics.get("attack")):
        return
    sites = ", ".join(told["hostile"])
    line = f"hostile: {sites} ({len(told['hostile'])} of {len(run.sites)} sites)"
    if "success" in told:
        line += f"; got the answer it was after on {100 * told['success']:.0f} % of the items"
    if "success_without_trigger" in told:
        line += f", and on {100 * told['success_without_trigger']:.0f} % without its trigger"
    yield line


def _failing(run: Run) -> Iterator[str]:
    """How many rounds had faults, and what came of it; simulated seconds are called so."""
    struck = [record for record in run.rounds if record.get("faults")]
    if not struck:
        return
    again = sum(len(whys) for r in run.rounds for whys in (r.get("asked_again") or {}).values())
    lost = sum(len(record.get("refused") or ()) for record in run.rounds)
    abandoned = sum(bool(record.get("abandoned")) for record in run.rounds)
    waited = sum(record.get("waited") or 0.0 for record in run.rounds)
    yield (
        f"faults: in {len(struck)} of {len(run.rounds)} rounds; sites were asked again {again} "
        f"times, {lost} answers were lost in the end, {abandoned} rounds abandoned, and {waited:g} "
        "simulated seconds waited"
    )


def _refused(run: Run) -> Iterator[str]:
    """The first reason of every site; ``rounds`` of ``run.json`` has all."""
    first: dict[str, str] = {}
    for record in run.rounds:
        for site, reason in (record.get("refused") or {}).items():
            first.setdefault(site, f"not counted in round {record['round'] + 1}: {site}: {reason}")
    yield from (first[site] for site in sorted(first))
