"""What was found, for people: one line per aggregator and check."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fedbench.conformance.checks import CHECKS, Finding


def lines(findings: Sequence[Finding]) -> Iterator[str]:
    """The findings of one aggregator, with the questions that were asked."""
    for found in findings:
        measured = found.reason or f"error {found.error:.1e}"
        about = f"{found.verdict:11}  {found.check.name:15}"
        yield f"{about}  {measured:15}  {found.check.question}"


def overview(by_name: dict[str, Sequence[Finding]]) -> Iterator[str]:
    """A table of all, and what its marks mean."""
    width = max(map(len, by_name))
    columns = [check.name for check in CHECKS]
    yield "  ".join([" " * width, *columns])
    for name, findings in by_name.items():
        marks = [_mark(f).center(len(c)) for f, c in zip(findings, columns, strict=True)]
        yield "  ".join([name.ljust(width), *marks]).rstrip()
    yield ""
    yield "+ keeps what it claims, ! does not; (error) is not claimed, and only measured"


def _mark(found: Finding) -> str:
    if found.verdict == "not claimed":
        return f"({found.error:.1g})"
    return {"passed": "+", "failed": "!"}[found.verdict]
