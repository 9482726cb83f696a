"""Passwords as hashes that cost memory and time to try (scrypt, RFC 7914)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets

COST, BLOCK, LANES = 2**14, 8, 1
"""scrypt's parameters: 16 MB and some 40 ms of one core for a try."""
SALT_BYTES, HASH_BYTES = 16, 32
BASE64 = r"\$([A-Za-z0-9+/=]{1,200})"
KEPT = re.compile(r"scrypt\$(\d{1,8})\$(\d{1,3})\$(\d{1,3})" + BASE64 + BASE64)


def hashed(password: str) -> str:
    """The text that is stored: the parameters, a fresh salt, the hash."""
    salt = secrets.token_bytes(SALT_BYTES)
    made = _scrypt(password, salt, COST, BLOCK, LANES)
    salt_text, hash_text = (base64.b64encode(part).decode() for part in (salt, made))
    return f"scrypt${COST}${BLOCK}${LANES}${salt_text}${hash_text}"


def is_right(password: str, kept: str) -> bool:
    """Whether a password belongs to a text of `hashed`. A text that is none takes as long and is no."""
    found = KEPT.fullmatch(kept)
    parts = found.groups() if found else KEPT.fullmatch(NOBODYS).groups()  # type: ignore[union-attr]
    cost, block, lanes = (int(part) for part in parts[:3])
    salt, expected = (base64.b64decode(part) for part in parts[3:])
    made = _scrypt(password, salt, cost, block, lanes)
    return hmac.compare_digest(made, expected) and found is not None


def _scrypt(password: str, salt: bytes, cost: int, block: int, lanes: int) -> bytes:
    """scrypt of a password's SHA-512: by itself it ignores NULs at a password's end."""
    digest = hashlib.sha512(password.encode(errors="surrogatepass")).digest()
    memory = 128 * cost * block * (lanes + 2)
    return hashlib.scrypt(digest, salt=salt, n=cost, r=block, p=lanes, maxmem=memory, dklen=HASH_BYTES)


NOBODYS = f"scrypt${COST}${BLOCK}${LANES}${'A' * 22}==${'A' * 43}="
"""A hash to try against where there is none, so that the time tells nobody's name."""
