"""What a site's update tells about its examples: ``python -m fedbench.leakage``.

Prints two tables, of membership and of tokens, and writes ``build/leakage/audit.json``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from fedbench.errors import FedbenchError

_COMMAND = "python -m fedbench.leakage"


def main(arguments: Sequence[str] | None = None) -> int:
    """Audit, and turn an expected error into one line."""
    options = _parser().parse_args(arguments)
    try:
        _audit(options.method, options.shadows, options.seed)
    except FedbenchError as error:
        print(f"fedbench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nfedbench: stopped; nothing was recorded.", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=_COMMAND, description=__doc__)
    parser.add_argument("--method", choices=("lora", "ia3", "full"), default="lora")
    parser.add_argument("--shadows", type=int, default=24, help="shadow sites (default: 24)")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def _audit(method: str, shadows: int, seed: int) -> None:
    from fedbench.files import write_json
    from fedbench.leakage.audit import audit, standard_plan
    from fedbench.leakage.defences import standard_defences
    from fedbench.leakage.inversion import invertible
    from fedbench.leakage.showing import FINDINGS, INVERTED, finding_row, inverted_row
    from fedbench.paths import home
    from fedbench.provenance import fingerprint, provenance

    plan = standard_plan(method, seed, shadows=shadows)
    rows = standard_defences(plan.config, plan.expected)
    found = list(_shown(FINDINGS, finding_row, audit(plan, rows)))
    tokens = []
    if invertible(method):
        tokens = list(_shown(INVERTED, inverted_row, _inverted(plan)))
    else:
        print(f"\nTokens cannot be read off gradients of {method} by the span check.")
    path = home() / "leakage" / "audit.json"
    write_json(
        path,
        {
            "config": plan.config.model_dump(mode="json"),
            "findings": [finding.to_json() for finding in found],
            "inverted": [inverted.to_json() for inverted in tokens],
            "provenance": provenance(fingerprint("fedbench.leakage.audit")) | {"command": _COMMAND},
        },
    )
    print(f"\nWritten to {path}; facts and questions are synthetic.")


def _inverted(plan: Any) -> Iterator[Any]:
    from fedbench.leakage.defences import standard_defences
    from fedbench.leakage.inverting import ALL, EVERY_POSITION, QUERY, invert

    config = plan.config
    defences = standard_defences(config, plan.expected)
    single = [d for d in defences if not d.hidden_in_mean and d.sampled is None]
    for size in (1, 4, 16):
        yield invert(config, size, before=0, projections=EVERY_POSITION)
        yield invert(config, size, projections=QUERY)
        yield from (invert(config, size, defence, projections=ALL) for defence in single)


def _shown(heading: str, row: Any, found: Iterator[Any]) -> Iterator[Any]:
    """The same, each printed as soon as it is there."""
    print(f"\n{heading}", flush=True)
    for one in found:
        print(row(one), flush=True)
        yield one


if __name__ == "__main__":
    raise SystemExit(main())
