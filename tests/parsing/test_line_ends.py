"""Texts with the line ends of Windows are read as those of Linux are, wherever text is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lora_studio.data.caption_tables import read_table
from lora_studio.data.captions import read_caption
from lora_studio.images.infotext import parse_infotext
from lora_studio.kohya_config.argument_file import read_file
from lora_studio.parsing.json_text import read_json
from lora_studio.parsing.text_encodings import readings
from lora_studio.parsing.toml_text import read_toml
from lora_studio.prompts.wildcards import choose


def in_a_file(name: str, read: Callable[[Path], Any]) -> Callable[[bytes, Path], Any]:
    """A reader of a file of this name that holds the text."""

    def read_it(content: bytes, folder: Path) -> Any:
        path = folder / name
        path.write_bytes(content)
        return read(path)

    return read_it


READERS: dict[str, tuple[str, Callable[[bytes, Path], Any]]] = {
    "caption": ("a red fox\n", in_a_file("fox.txt", lambda path: read_caption(path.with_suffix(".png")))),
    "caption of several lines": (
        "a red fox\n\na fox, red\n",
        in_a_file("fox.txt", lambda path: read_caption(path.with_suffix(".png"), all_lines=True)),
    ),
    "table of captions": (
        'file_name,text\na.png,"a fox"\nb.png,"two\nlines"\n',
        lambda content, _: read_table("metadata.csv", content),
    ),
    "lines of JSON": (
        '{"file_name": "a.png", "text": "a fox"}\n{"file_name": "b.png", "text": "b"}\n',
        lambda content, _: read_table("metadata.jsonl", content),
    ),
    "JSON": ('{"a": 1,\n "b": [2,\n 3]}\n', lambda content, _: read_json(content.decode())),
    "TOML": (
        '# one\na = 1\n[b]\nc = """two\nlines"""\n',
        lambda content, _: read_toml(content.decode(), "a"),
    ),
    "settings of a picture": (
        "a fox\nNegative prompt: dog\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 5, Size: 64x64",
        lambda content, _: parse_infotext(content.decode()),
    ),
    "options of sd-scripts": (
        "network_dim = 8\nlearning_rate = 1e-4\n[more]\nmax_train_steps = 20\n",
        in_a_file("config.toml", read_file),
    ),
    "wildcards": (
        "# colours\nred\n\nblue\ngreen\n",
        in_a_file("colour.txt", lambda path: [choose("__colour__", seed, path.parent) for seed in range(9)]),
    ),
    "text in an old encoding": (
        "caf\u00e9 rouge\ncaf\u00e9 bleu\n",
        lambda content, _: [one.text.strip() for one in readings(content.decode().encode("cp1252"))],
    ),
}


@pytest.mark.parametrize(("text", "read"), READERS.values(), ids=READERS)
def test_line_ends_make_no_difference(text: str, read: Callable[[bytes, Path], Any], tmp_path: Path) -> None:
    plain = read(text.encode(), tmp_path)
    assert plain
    assert read(text.replace("\n", "\r\n").encode(), tmp_path) == plain
    assert read(text.rstrip("\n").replace("\n", "\r\n").encode(), tmp_path) == plain


@pytest.mark.parametrize("letter", "\u2028\u2029\x85")
def test_other_separators_of_unicode_end_no_row_of_a_table(letter: str) -> None:
    """JSON and CSV have them inside of texts, as pages and PDFs give them."""
    row = f'{{"file_name": "a.png", "text": "a{letter}fox"}}\n'
    tables = {"metadata.jsonl": row, "metadata.csv": f"file_name,text\na.png,a{letter}fox\n"}
    for name, table in tables.items():
        captions = read_table(name, table.encode())
        assert [caption.split() for caption in captions.values()] == [["a", "fox"]], name
