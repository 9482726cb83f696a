from __future__ import annotations

import pytest

from lora_studio.parsing.text_encodings import readings


@pytest.mark.parametrize(
    ("text", "codec", "name"),
    [
        ("rot café", "cp1252", "Windows-1252"),
        ("naïveté déjà vu", "cp1252", "Windows-1252"),
        ("オレンジ", "cp932", "Shift-JIS"),
        ("赤い猫、笑顔", "cp932", "Shift-JIS"),
        ("赤い猫", "euc_jp", "EUC-JP"),
        ("grün", "utf-16", "UTF-16"),
        ("grün", "utf-16-le-with-mark", "UTF-16"),
        ("grün 猫", "utf-8-sig", "UTF-8"),
        ("grün 猫", "utf-8", "UTF-8"),
        ("", "utf-8", "UTF-8"),
    ],
)
def test_what_is_certain_is_read(text: str, codec: str, name: str) -> None:
    content = b"\xff\xfe" + text.encode("utf-16-le") if codec == "utf-16-le-with-mark" else text.encode(codec)
    assert [(one.text, one.encoding, one.certain) for one in readings(content)] == [(text, name, True)]


@pytest.mark.parametrize(
    ("text", "codec", "name"),
    [
        ("красный кот", "cp1251", "Windows-1251"),
        ("红色的猫", "gb18030", "GB 18030"),
        ("빨간 고양이", "cp949", "EUC-KR"),
        ("猫", "cp932", "Shift-JIS"),
        ("Größe – “x”", "cp1252", "Windows-1252"),
        ("ÄÖÜ groß", "cp1252", "Windows-1252"),
    ],
)
def test_what_is_not_certain_begins_with_the_likeliest(text: str, codec: str, name: str) -> None:
    found = readings(text.encode(codec))
    assert (found[0].text, found[0].encoding, found[0].certain) == (text, name, False)
    assert found[0].preview == f"“{text}” in {name}"
    assert len(found) > 1


def test_line_ends_are_one_kind_and_what_is_no_text_has_no_reading() -> None:
    assert readings(b"a\r\nb\rc")[0].text == "a\nb\nc"
    for content in ("a cat".encode("utf-16-le"), b"\x89PNG\r\n\x1a\n\0\0", bytes(40)):
        assert readings(content) == []
