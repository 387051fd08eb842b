"""What Flower's SuperNode says when it cannot go on, as a sentence for whoever runs a site."""

from __future__ import annotations

import re
from collections.abc import Mapping

from fedbench.deployment.node import Entrance

_FOR_GOOD: Mapping[str, str] = {
    r"\[code: 2004\]": "{server} does not know the key of this site: give {key} to whoever runs "
    "it, who names the file in its configuration and starts it again.",
    r"certificate has expired|certificate is not yet valid": "The certificate of {server} is not "
    "valid today: whoever runs it renews it with python -m fedbench keys server --renew (or a "
    "clock is wrong).",
    r"certificate is not valid for|doesn't match|Hostname mismatch": "The certificate of {server} "
    "is not for that name: reach it under a name that it was made for, or let whoever runs it add "
    "this one with python -m fedbench keys server --renew --host NAME.",
    r"CERTIFICATE_VERIFY_FAILED": "{server} is not vouched for by {authority}: it is not the "
    "server that this file came from; compare its fingerprint by telephone.",
    r"401 Unauthorized": "{server} does not take this site's proof of its key: the clock of one "
    "of both machines is wrong; set it, and start this site again.",
    r"WRONG_VERSION_NUMBER|packet length too long": "{server} speaks no TLS: it was started with "
    "--plain-text, or is another program.",
    r"Unable to parse the private key": "{key} is not a private key that Flower reads: make a pair "
    "with python -m fedbench keys site.",
}
#: A node goes on as if nothing were, and the server would wait for ever.
_LOST = re.compile(r"Failed to (receive|send) message")
_BROKEN = re.compile(r"Connection attempt failed")
_MENDED = re.compile(r"Connection successful|SuperNode ID")


def for_good(said: str, entrance: Entrance) -> str | None:
    """Why there is no use in connecting again; None if there may be."""
    for pattern, sentence in _FOR_GOOD.items():
        if re.search(pattern, said):
            public = entrance.key.with_suffix(".pub") if entrance.key else "its public key"
            return sentence.format(server=entrance.server, key=public, authority=entrance.authority)
    return None


def lost(said: str) -> bool:
    """Whether a message was given up, so that only who connects anew is sent it again."""
    return _LOST.search(said) is not None


def passing(said: str, entrance: Entrance) -> str:
    """How the connection is now: broken, or there again; empty if nothing was said of it."""
    broken = [match.start() for match in _BROKEN.finditer(said)]
    mended = [match.start() for match in _MENDED.finditer(said)]
    if broken and (not mended or broken[-1] > mended[-1]):
        return f"{entrance.server} does not answer: this site tries again until it does."
    return f"Connected with {entrance.server}." if mended else ""
