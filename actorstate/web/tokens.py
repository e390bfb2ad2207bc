"""Tokens: 256 random bits, and a signature that says that they were minted here. No IO.

Without the signature any string that a client says would have to be looked for in the store, to
know whether it is a tab. With it a stranger costs one hash, and nothing is created or asked for.
"""

from __future__ import annotations

import hmac
import secrets
from base64 import urlsafe_b64encode
from typing import Final, final

_RANDOM_BYTES: Final = 32
_DIGEST: Final = "sha256"
_LENGTH: Final = 43 + 1 + 43  # of 32 bytes in URL-safe base64, a dot, and as many again


@final
class Mint:
    """Makes tokens, and knows its own.

    Args:
        key: the secret of all processes that have the same tokens (see `Store.signing_key`).

    Example:
        >>> mint = Mint(b"the key of these processes")
        >>> token = mint.mint()
        >>> mint.is_ours(token), mint.is_ours(token[:-1]), Mint(b"another").is_ours(token)
        (True, False, False)
    """

    def __init__(self, key: bytes) -> None:
        self._key: Final = key

    def mint(self) -> str:
        """Make the token of a new tab."""
        return self._signed(secrets.token_urlsafe(_RANDOM_BYTES))

    def is_ours(self, token: str) -> bool:
        """Tell whether a token was minted with this key, in a time that tells nothing else.

        The whole of it is compared, and not what its signature decodes to: the last character of
        base64 has bits to spare, and one tab shall not have several tokens.
        """
        if len(token) != _LENGTH or not token.isascii():
            return False
        return hmac.compare_digest(token, self._signed(token.partition(".")[0]))

    def _signed(self, random: str) -> str:
        digest = hmac.digest(self._key, random.encode(), _DIGEST)
        return f"{random}.{urlsafe_b64encode(digest).rstrip(b'=').decode()}"
