"""Text files of any encoding: UTF-8 and UTF-16 by their marks, else the encoding that fits.

Old encodings don't say what they are. Some are certain all the same: a letter with an accent between plain
ones is Western European, kana are Japanese. Where several fit, each is shown as a preview.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass

MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
HIGH_BYTES = re.compile(rb"[\x80-\xff]+")
LONGEST_WESTERN_RUN, LONGEST_ACCENTED_RUN = 2, 4
PREVIEW_LETTERS = 60
TYPOGRAPHY = "‘’“”„‚–—…•€™°²³«»¿¡·×½¼¾§©®´ªº±"
WESTERN = re.compile(f"[A-Za-z\\u00c0-\\u00ff\u0152\u0153\u0160\u0161\u0178\u017d\u017e{TYPOGRAPHY}]")
KANA = re.compile("[\u3041-\u3096\u30a1-\u30fc]")
EAST_ASIAN = re.compile("[\u3000-\u303f\u3041-\u3096\u30a1-\u30fc\u4e00-\u9fff\uff01-\uff5e]")
HANGUL = re.compile("[\uac00-\ud7a3]")
CYRILLIC = re.compile("[\u0401\u0410-\u044f\u0451]")
PLAIN = re.compile("[A-Za-z]")
MIXED = re.compile("[A-Za-z][\u0400-\u04ff]|[\u0400-\u04ff][A-Za-z]")
LETTERS = {
    "cp932": EAST_ASIAN,
    "cp1252": WESTERN,
    "cp949": HANGUL,
    "cp1251": CYRILLIC,
    "gb18030": EAST_ASIAN,
    "euc_jp": EAST_ASIAN,
    "big5": EAST_ASIAN,
}
"""The letters that each encoding is used for, likelier encodings first."""
NAMES = {
    "cp1252": "Windows-1252",
    "cp932": "Shift-JIS",
    "euc_jp": "EUC-JP",
    "gb18030": "GB 18030",
    "big5": "Big5",
    "cp949": "EUC-KR",
    "cp1251": "Windows-1251",
}


@dataclass(frozen=True, kw_only=True)
class DecodedText:
    """Text decoded by an `encoding`, by its known name; `certain` when it can't well be another."""

    text: str
    encoding: str
    certain: bool = True

    @property
    def preview(self) -> str:
        """The first line as `“rot café” in Windows-1252`."""
        line = " ".join(self.text.split())
        shown = line if len(line) <= PREVIEW_LETTERS else f"{line[:PREVIEW_LETTERS]}…"
        return f"“{shown}” in {self.encoding}"


def readings(content: bytes) -> list[DecodedText]:
    """The ways to read a text file, the likeliest first: one where that is certain, none for bytes that are
    no text. Line ends become `\\n`."""
    mark = next((name for start, name in MARKS if content.startswith(start)), "utf-8")
    try:
        text = content.decode(mark)
    except UnicodeDecodeError:
        text = "\0"
    if "\0" not in text:
        return [DecodedText(text=_lines(text), encoding="UTF-16" if mark == "utf-16" else "UTF-8")]
    if mark != "utf-8" or b"\0" in content:
        return []
    found = sorted(_old_readings(content), key=lambda pair: -pair[0])
    certain = [reading for _, reading in found if reading.certain]
    return certain[:1] or [reading for _, reading in found]


def _old_readings(content: bytes) -> Iterator[tuple[float, DecodedText]]:
    """Each possible decoding, with the share of letters beyond ASCII that fit its language, 0 to 1."""
    longest = max(len(run) for run in HIGH_BYTES.findall(content))
    for codec, letters in LETTERS.items():
        try:
            text = content.decode(codec)
        except UnicodeDecodeError:
            continue
        beyond = [letter for letter in text if letter > "\x7f"]
        fitting = sum(letters.match(letter) is not None for letter in beyond) / max(1, len(beyond))
        if MIXED.search(text) or (codec == "cp1252" and longest > LONGEST_ACCENTED_RUN):
            fitting /= 2
        kana = sum(KANA.match(letter) is not None for letter in beyond)
        certain = fitting == 1 and {
            "cp1252": longest <= LONGEST_WESTERN_RUN and len(PLAIN.findall(text)) >= 2 * len(beyond),
            "cp932": 8 * kana >= len(beyond),
            "euc_jp": 5 * kana >= len(beyond),
        }.get(codec, False)
        yield fitting, DecodedText(text=_lines(text), encoding=NAMES[codec], certain=certain)


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n").strip("\ufeff")
