"""Keys: pairs for agreement (X25519, RFC 7748), and what is derived from them (HKDF, RFC 5869).

**Life of a key.** A site makes two pairs when it advertises, and both are for this attempt only. A
pair for the whole run would be wrong: once a site drops out, the server learns its masking key, and
with the seeds that were revealed in earlier rounds it could unmask what that site sent there. The
private halves are kept by the site until it has masked (:class:`~.site.Private`), then dropped;
Python cannot promise that their memory is overwritten. No private key is ever sent; of the masking
key, shares are. Nothing here is logged, and no ``repr`` shows it.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fedbench.secure_aggregation.messages import BadExchange

KEY = 32  #: bytes of a private key, a public key, and whatever is derived


def new_key() -> bytes:
    """A private key, from the operating system's generator."""
    return X25519PrivateKey.generate().private_bytes_raw()


def public_of(private: bytes) -> bytes:
    """The public half."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def agreed(private: bytes, public: bytes, info: bytes, owner: str) -> bytes:
    """The key that this private half and the public half of ``owner`` have in common.

    Args:
        info: what it is for; the same at both ends.
        owner: whose public half it is, for the message of a refusal.

    Raises:
        BadExchange: the public half is none (it would give everybody the same key).
    """
    try:
        own = X25519PrivateKey.from_private_bytes(private)
        secret = own.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        raise BadExchange(f"What {owner} advertised is not a public key.") from None
    return derived(secret, info)


def derived(secret: bytes, info: bytes) -> bytes:
    """A key for one purpose, 32 bytes, from a secret that has 16 bytes of randomness or more."""
    return HKDF(algorithm=SHA256(), length=KEY, salt=None, info=info).derive(secret)
