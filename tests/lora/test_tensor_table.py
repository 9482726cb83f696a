"""The bounded reader of safetensors headers, beside the format's own library."""

from __future__ import annotations

import contextlib
import json
import struct
import time
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError, safe_open

from lora_studio.errors import BrokenFile, ModelFileError
from lora_studio.lora.file import tensor_table
from lora_studio.lora.file.lora_files import read_header
from lora_studio.lora.file.tensor_table import DTYPE_BITS, read_tensor_table

DATA = b"12345678"
ENTRY: dict[str, Any] = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
FIELDS = '"dtype":"F32","shape":[2],"data_offsets":[0,8]'


def write(path: Path, header: Any, data: bytes = DATA) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def library_takes(path: Path) -> bool:
    try:
        with safe_open(str(path), framework="numpy"):
            return True
    except SafetensorError:
        return False


def studio_takes(path: Path) -> bool:
    try:
        read_tensor_table(path)
    except BrokenFile:
        return False
    return True


def raw(fields: str = FIELDS, name: str = "a", before: str = "") -> bytes:
    return f'{{{before}"{name}":{{{fields}}}}}'.encode()


SAME = {
    "plain": ({"a": ENTRY}, DATA),
    "blanks behind the header": (raw() + b"     ", DATA),
    "blanks before the header": (b"  " + raw(), DATA),
    "zeros behind the header": (raw() + b"\0\0", DATA),
    "bytes behind the tensors": ({"a": ENTRY}, DATA + b"\0" * 7),
    "cut off": ({"a": ENTRY}, DATA[:-1]),
    "a float as a side": (raw(FIELDS.replace("[2]", "[2.0]")), DATA),
    "an exponent as a side": (raw(FIELDS.replace("[2]", "[2e0]")), DATA),
    "true as a side": (raw(FIELDS.replace("[2]", "[true,2]")), DATA),
    "a text as sides": (raw(FIELDS.replace("[2]", '"2"')), DATA),
    "a side below 0": ({"a": {**ENTRY, "shape": [-2]}}, DATA),
    "an enormous side": ({"a": {**ENTRY, "shape": [10**30, 0], "data_offsets": [0, 0]}}, b""),
    "no numbers": ({"a": {**ENTRY, "shape": [0], "data_offsets": [0, 0]}}, b""),
    "one number": ({"a": {**ENTRY, "shape": [], "data_offsets": [0, 4]}}, DATA[:4]),
    "a hole": ({"a": {**ENTRY, "data_offsets": [4, 12]}}, DATA + b"1234"),
    "a hole between": ({"a": ENTRY, "b": {**ENTRY, "data_offsets": [12, 20]}}, DATA + DATA + b"1234"),
    "an overlap": ({"a": ENTRY, "b": ENTRY}, DATA),
    "half an overlap": ({"a": ENTRY, "b": {**ENTRY, "data_offsets": [4, 12]}}, DATA + b"1234"),
    "in any order": ({"b": {**ENTRY, "data_offsets": [8, 16]}, "a": ENTRY}, DATA + DATA),
    "beyond the file": ({"a": {**ENTRY, "shape": [4], "data_offsets": [0, 16]}}, DATA),
    "backwards": ({"a": {**ENTRY, "data_offsets": [8, 0]}}, DATA),
    "three offsets": ({"a": {**ENTRY, "data_offsets": [0, 8, 9]}}, DATA),
    "a float as an offset": (raw(FIELDS.replace("[0,8]", "[0,8.0]")), DATA),
    "an unknown format": ({"a": {**ENTRY, "dtype": "F33"}}, DATA),
    "a list as a format": ({"a": {**ENTRY, "dtype": ["F32"]}}, DATA),
    "more than needed": ({"a": {**ENTRY, "more": [{"x": 1.5}]}}, DATA),
    "less than needed": (raw('"dtype":"F32","shape":[2]'), DATA),
    "a field twice": (raw(FIELDS + ',"shape":[2]'), DATA),
    "metadata twice": (raw(before='"__metadata__":{"x":"1"},"__metadata__":{"x":"1"},'), DATA),
    "metadata of null": ({"__metadata__": None, "a": ENTRY}, DATA),
    "metadata with a number": ({"__metadata__": {"x": 1}, "a": ENTRY}, DATA),
    "metadata with null": ({"__metadata__": {"x": None}, "a": ENTRY}, DATA),
    "metadata with a table": ({"__metadata__": {"x": {"y": "z"}}, "a": ENTRY}, DATA),
    "metadata with NUL": ({"__metadata__": {"x": "a\0b"}, "a": ENTRY}, DATA),
    "a whole surrogate pair": (raw(before='"__metadata__":{"x":"\\ud83d\\ude00"},'), DATA),
    "half a surrogate pair": (raw(before='"__metadata__":{"x":"\\ud800"},'), DATA),
    "half a pair in a name": (raw(name="a\\udc00"), DATA),
    "half a pair in bytes": (raw().replace(b'"a"', b'"a\xed\xa0\x80"'), DATA),
    "a mark of order": (b"\xef\xbb\xbf" + raw(), DATA),
    "a control character": (raw(name="a\x01"), DATA),
    "no number": (raw(FIELDS + ',"x":NaN'), DATA),
    "a hundred brackets": (raw(FIELDS + f',"x":{"[" * 100}{"]" * 100}'), DATA),
    "two hundred brackets": (raw(FIELDS + f',"x":{"[" * 200}{"]" * 200}'), DATA),
    "nothing": ({}, b""),
    "half a byte": ({"a": {**ENTRY, "dtype": "F4", "shape": [3], "data_offsets": [0, 1]}}, b"0"),
    "two halves of a byte": ({"a": {**ENTRY, "dtype": "F4", "data_offsets": [0, 1]}}, b"0"),
}


@pytest.mark.parametrize("what", SAME)
def test_what_the_library_takes_is_taken_and_what_it_refuses_refused(tmp_path: Path, what: str) -> None:
    path = write(tmp_path / "a.safetensors", *SAME[what])
    assert studio_takes(path) == library_takes(path)


@pytest.mark.parametrize("dtype", DTYPE_BITS)
def test_every_format_has_the_librarys_size(tmp_path: Path, dtype: str) -> None:
    size = DTYPE_BITS[dtype]
    for end in (size, size + 1):
        entry = {"dtype": dtype, "shape": [8], "data_offsets": [0, end]}
        path = write(tmp_path / "a.safetensors", {"a": entry}, b"0" * end)
        assert studio_takes(path) == library_takes(path) == (end == size)


def test_a_name_that_stands_twice_is_refused(tmp_path: Path) -> None:
    text = f'{{"a":{{{FIELDS}}},"a":{{{FIELDS}}}}}'.encode()
    with pytest.raises(BrokenFile):
        read_tensor_table(write(tmp_path / "a.safetensors", text))


def named(count: int, name: str) -> bytes:
    entry = {"dtype": "F32", "shape": [0, 0], "data_offsets": [0, 0]}
    return json.dumps({name.format(number): entry for number in range(count)}).encode()


def one(before: str = "", fields: str = FIELDS) -> bytes:
    return raw(fields, "lora_unet_x.lora_down.weight", before)


LARGE = tensor_table.HEADER_LIMIT - 1000
WORST: dict[str, Any] = {
    "as many tensors as may be": lambda: named(
        tensor_table.MOST_TENSORS, "lora_unet_a" * 9 + "_{}.lora_down.weight"
    ),
    "with names that look like many": lambda: named(tensor_table.MOST_TENSORS, "lora_A." * 25 + "{}.weight"),
    "with names of no LoRA": lambda: named(tensor_table.MOST_TENSORS, "x_" * 90 + "{}.weight"),
    "one endless name": lambda: raw(name=".lora_A" * (LARGE // 7)),
    "200 sides of 4,299 digits": lambda: one(
        fields='"dtype":"F32","shape":[' + ",".join(["9" * 4299] * 200) + '],"data_offsets":[0,0]'
    ),
    "as many sides as fit": lambda: one(
        fields='"dtype":"F32","shape":[' + "1," * (tensor_table.LONGEST_SKELETON // 2 - 99) + "1]"
    ),
    "decimals": lambda: one(
        fields='"shape":[' + "1.5e300," * (tensor_table.LONGEST_SKELETON // 8 - 99) + "1]"
    ),
    "brackets": lambda: b"[" * LARGE,
    "as many brackets as may be": lambda: b"[" * tensor_table.MOST_BRACKETS,
    "tables": lambda: b"[" + b"{}," * (tensor_table.MOST_BRACKETS // 2 - 2) + b"{}]",
    "quotes": lambda: b'{"' + b'\\"' * (LARGE // 2),
    "backslashes": lambda: b'{"' + b"\\" * LARGE,
    "20 MB of tags": lambda: one(
        '"__metadata__":{"ss_tag_frequency":"' + '{\\"tag\\": 1}, ' * 1_500_000 + '"},'
    ),
    "escapes": lambda: one('"__metadata__":{"a":"' + "\\u0001" * (LARGE // 6) + '"},'),
}


@pytest.mark.parametrize("what", WORST)
def test_no_header_costs_more_than_about_a_second(tmp_path: Path, what: str) -> None:
    path = write(tmp_path / "a.safetensors", WORST[what](), DATA)
    start = time.process_time()
    with contextlib.suppress(ModelFileError):
        read_header(path)
    assert time.process_time() - start < 10  # 0.8 on a quiet core; without bounds minutes


def test_a_header_of_more_than_any_lora_needs_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", tensor_table.HEADER_LIMIT + 1))
        file.truncate(tensor_table.HEADER_LIMIT + 100)
    with pytest.raises(BrokenFile, match="32 MB"):
        read_tensor_table(path)


def test_metadata_of_20_mb_is_read_and_its_table_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", WORST["20 MB of tags"]())
    metadata, tensors, start = read_tensor_table(path)
    assert (metadata, len(tensors)) == ({}, 1)
    assert start > 20_000_000
