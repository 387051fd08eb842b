"""Secure aggregation: a server learns the sum of what sites send, and nothing of any one of them.

The protocol of Bonawitz et al., "Practical Secure Aggregation for Privacy-Preserving Machine
Learning" (CCS 2017), figure 4, over the full graph of sites: four exchanges, each a pure function
at a site (:mod:`.site`) and one at the server (:mod:`.server`)::

    exchange    a site is told        a site replies          the server then knows
    advertise   the terms             two public keys         who takes part (U1)
    share       everybody's keys      an encrypted share      who can be unmasked (U2)
                                      for every other site
    mask        the shares for it     its masked vector       whose vectors are in the sum (U3)
    unmask      who is in the sum     for each of U2 one      the sum over U3
                and who is missing    share: of the seed, or
                                      of the key, never both

**What is not there.** This is the version for a server and sites that are honest but curious. Of
the version for active adversaries the signatures under the advertised keys (a public key
infrastructure in exchanges 0 and 1) and the consistency check (round 3 of figure 4, in which sites
sign the set U3) are left out: a server that lies about who advertised what, or tells different
sites different sets, is not noticed. A site still refuses what it can see to be wrong: both
secrets of one site, a second request in one attempt, a key of its own that is not its own, a share
that was altered. The server notices wrong shares of a missing site's key, which must make what was
advertised, and of a seed: every vector ends with 128 bits of zeros (:data:`.masks.TAIL`), in whose
sum a mask shows that stayed on. One site that reveals a wrong share spoils the attempt and not the
sum. It cannot notice a vector that is false below its masks.

**What remains to be learned.** The sum itself; who took part in which exchange. Of two sums that
differ by one site's vector, an observer of both learns that vector: two attempts at one round that
were both revealed are such sums, so an honest server takes the first. Noise hides a site in a sum
(differential privacy), masks do not.

**Keys do not touch results.** They come from the operating system and are never the same twice, but
masks cancel exactly in integers modulo 2^32 or 2^64: a run stays a function of its configuration.

SecAgg+ (Bell et al., "Secure Single-Server Aggregation with (Poly)Logarithmic Overhead", CCS 2020)
would have every site share and mask with k neighbours instead of all: the same exchanges, with a
roster and a delivery that list neighbours only.
"""

from fedbench.secure_aggregation.fixed_point import (
    FixedPoint,
    check_finite,
    clipped,
    decoded,
    encoded,
    shortened,
)
from fedbench.secure_aggregation.messages import (
    BadExchange,
    Blocks,
    Reveal,
    Terms,
    TooFewSites,
    usual_threshold,
)
from fedbench.secure_aggregation.rehearsal import Received, aggregate
from fedbench.secure_aggregation.server import (
    Collected,
    collect,
    deliveries,
    roster,
    unmasked,
)
from fedbench.secure_aggregation.site import Private, advertise, mask, share, unmask

__all__ = [
    "BadExchange",
    "Blocks",
    "Collected",
    "FixedPoint",
    "Private",
    "Received",
    "Reveal",
    "Terms",
    "TooFewSites",
    "advertise",
    "aggregate",
    "check_finite",
    "clipped",
    "collect",
    "decoded",
    "deliveries",
    "encoded",
    "mask",
    "roster",
    "share",
    "shortened",
    "unmask",
    "unmasked",
    "usual_threshold",
]
