"""Names of files that Linux, Windows and macOS can all keep."""

from __future__ import annotations

import re
import unicodedata

RESERVED = re.compile(
    r"(?:con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(?: *\..*)?", re.IGNORECASE | re.DOTALL
)
"""Names of devices on Windows, also with an ending."""
NOT_IN_NAMES = re.compile(r'[<>:"/\\|?*]')
LONGEST_LETTERS, LONGEST_BYTES = 60, 180
"""The bound of a name in letters and in UTF-8's bytes: most systems take 255 of them, endings
follow, and Windows has 260 letters for the whole path."""


def portable_name(text: str, fallback: str, *, instead: str = "_") -> str:
    """The text as a file's or folder's name without an ending, `instead` in the place of each sign that it
    can't have; `fallback` where nothing is left."""
    plain = "".join(letter for letter in unicodedata.normalize("NFC", text) if letter.isprintable())
    plain = NOT_IN_NAMES.sub(instead, plain)[:LONGEST_LETTERS]
    plain = plain.encode()[:LONGEST_BYTES].decode(errors="ignore").strip(" .") or fallback
    return f"_{plain}" if RESERVED.fullmatch(plain) else plain


def is_portable(name: str) -> bool:
    """Whether every system can keep a file of this name, ending included."""
    return bool(
        name
        and len(name.encode(errors="surrogatepass")) <= 255
        and not name.endswith((" ", "."))
        and name not in {".", ".."}
        and not NOT_IN_NAMES.search(name)
        and all(letter >= " " for letter in name)
        and not RESERVED.fullmatch(name)
    )
