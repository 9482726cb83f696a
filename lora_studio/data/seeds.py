"""Seeds that depend on their purpose and not on what was drawn before.

So a run does not change when something is cached, batched or previewed differently.
"""

from __future__ import annotations

import hashlib


def seed_of(*parts: int | str) -> int:
    """A 63-bit seed from a run's seed and its purpose, epoch, picture ..."""
    named = "\x1f".join(str(part) for part in parts)  # file names among them may be in no encoding
    digest = hashlib.sha256(named.encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") >> 1
