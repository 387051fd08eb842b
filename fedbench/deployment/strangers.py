"""Who was not let in: keys that a SuperLink does not know, told once to whoever runs the server."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from fedbench.deployment.keys import fingerprint_of
from fedbench.deployment.telling import Say

_TRIED = re.compile(
    rb"\[ApiError:2004\] Attempted to register SuperNode with public key: (b'[^']*')"
)
_MOST = 20  #: whoever makes up keys fills no screen


@dataclass
class Strangers:
    """Looks through what a SuperLink says, from now on, for keys that it does not know."""

    log: Path
    say: Say
    told: set[str] = field(default_factory=set)
    begin: int = field(init=False)  #: where in the log to look next

    def __post_init__(self) -> None:
        self.begin = self.log.stat().st_size if self.log.exists() else 0

    def look(self) -> None:
        """Tell who tried to connect since the last look."""
        with self.log.open("rb") as handle:
            handle.seek(self.begin)
            lines = handle.read().rpartition(b"\n")[0]
        self.begin += len(lines)
        for found in _TRIED.finditer(lines):
            name = _digits(found[1].decode())
            if name and name not in self.told and len(self.told) < _MOST:
                self.told.add(name)
                self.say(
                    "A site was not let in, whose key is not named in the run file. If it should "
                    "be: name its .pub there and start the server again. Fingerprint of the key, "
                    f"to compare by telephone (SHA-256): {name}"
                )


def _digits(written: str) -> str | None:
    """The fingerprint of a key as Python writes its bytes; None if it is no key."""
    try:
        key = load_pem_public_key(ast.literal_eval(written))
    except (ValueError, SyntaxError):
        return None
    return fingerprint_of(key) if isinstance(key, EllipticCurvePublicKey) else None
