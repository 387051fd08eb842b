"""What campaigns at full size counted: ``python -m tests.campaigns.outcome FOLDER [--record]``.

With ``--record`` the repository keeps it, in ``data/campaigns.json``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from fedbench.files import write_json
from fedbench.provenance import fingerprint, provenance

KEPT = Path("data/campaigns.json")


def told(counts: dict[str, dict[str, float]]) -> str:
    """One line per campaign."""
    lines = []
    for name, found in sorted(counts.items()):
        values = ", ".join(f"{key.replace('_', ' ')} {value:,}" for key, value in found.items())
        lines.append(f"{name.replace('_', ' ')}: {values}")
    return "\n".join(lines)


def main(folder: Path, *, record: bool) -> None:
    counts = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    print(told(counts))
    if record:
        write_json(
            KEPT, {"campaigns": counts, "provenance": provenance(fingerprint("fedbench.running"))}
        )
        print(f"Wrote {KEPT}.")


if __name__ == "__main__":
    main(Path(sys.argv[1]), record="--record" in sys.argv[2:])
