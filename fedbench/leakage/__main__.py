"""What a site's update tells about its examples: ``python -m fedbench.leakage``.

Prints two tables, of membership and of tokens, and writes ``build/leakage/audit.json``. With
``--record`` the result is kept in data/leakage/ instead, as one of the audits that
notebooks/privacy/02_what_updates_tell.ipynb is drawn from.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from fedbench.errors import FedbenchError

_COMMAND = "python -m fedbench.leakage"


def main(arguments: Sequence[str] | None = None) -> int:
    """Audit, and turn an expected error into one line."""
    options = _parser().parse_args(arguments)
    try:
        _audit(options)
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
    parser.add_argument("--record", action="store_true", help="keep the result in data/leakage/")
    return parser


def _audit(options: argparse.Namespace) -> None:
    from fedbench.files import write_json
    from fedbench.leakage import records
    from fedbench.leakage.audit import standard_plan
    from fedbench.leakage.recording import audited
    from fedbench.paths import home

    plan = standard_plan(options.method, options.seed, shadows=options.shadows)
    given = f"--method {options.method} --shadows {options.shadows} --seed {options.seed}"
    record = audited(plan, f"{_COMMAND} {given}{' --record' * options.record}")
    if options.record:
        path = records.write(record)
    else:
        path = home() / "leakage" / "audit.json"
        write_json(path, record)
    print(f"\nWritten to {path}; facts and questions are synthetic.")


if __name__ == "__main__":
    raise SystemExit(main())
