"""Inputs that were once well and no longer are: seeds, words of each format, and the ways to damage them."""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
import zlib
from collections.abc import Sequence

from PIL import Image, PngImagePlugin

LONGEST = 20_000
"""Bytes of a damaged input; repeating makes inputs long, and length is what costs."""
EVERYWHERE = (
    b"",
    b"\0",
    b"\xff",
    b"\xed\xa0\x80",
    b"-",
    b"1" * 400,
    b"9" * 5000,
    b"1e999",
    b"nan",
    b" " * 300,
)


def damaged(seed: bytes, words: Sequence[bytes], others: Sequence[bytes], drawn: random.Random) -> bytes:
    """`seed` after one to five changes: bytes turned, cut, repeated, another seed's, words of the format."""
    data = bytearray(seed)
    for _ in range(drawn.choice((1, 1, 1, 2, 3, 5))):
        start = drawn.randrange(len(data) + 1)
        end = min(len(data), start + int(drawn.expovariate(1 / 12)))
        match drawn.randrange(7):
            case 0 if data:
                data[drawn.randrange(len(data))] ^= 1 << drawn.randrange(8)
            case 1:
                del data[start:end]
            case 2:
                data[start:start] = bytes(data[start:end]) * drawn.choice((1, 2, 10, 300, 3000))
            case 3 | 4:
                data[start:end] = drawn.choice((*words, *EVERYWHERE)) * drawn.choice((1, 1, 2, 50, 1000))
            case 5:
                other = drawn.choice(others)
                data[start:end] = other[drawn.randrange(len(other) + 1) :]
            case _:
                data[start:start] = bytes(drawn.randrange(256) for _ in range(drawn.randint(1, 4)))
        del data[LONGEST:]
    return bytes(data)


def with_sums(data: bytes) -> bytes:
    """A PNG whose chunks have the sums of what now stands in them, so that a decoder reads on."""
    parts, place = [data[:8]], 8
    while place + 8 <= len(data):
        size = int.from_bytes(data[place : place + 4], "big")
        body = data[place + 4 : place + 8 + size]
        parts += [data[place : place + 4], body, zlib.crc32(body).to_bytes(4, "big")]
        place += 12 + size
    return b"".join(parts)


def with_length(data: bytes) -> bytes:
    """A safetensors file that says how long its header is now, and has as many bytes behind as before."""
    end = data.rfind(b"}") + 1
    return struct.pack("<Q", max(0, end - 8)) + data[8:]


def zipped(files: dict[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", how) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def picture(form: str = "PNG", mode: str = "RGB", size: tuple[int, int] = (64, 64), **how: object) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, "teal").convert(mode).save(buffer, form, **how)
    return buffer.getvalue()


def picture_with(**texts: str) -> bytes:
    """A small PNG with these text chunks."""
    chunks = PngImagePlugin.PngInfo()
    for name, text in texts.items():
        chunks.add_itxt(name, text)
    return picture(pnginfo=chunks)


def pictures() -> list[bytes]:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a cat"
    grown = {"save_all": True, "append_images": [Image.new("RGB", (64, 64), "red")]}
    return [
        picture(),
        picture(mode="RGBA"),
        picture(mode="P", transparency=0),
        picture(mode="LA"),
        picture(mode="I;16") if "I;16" in Image.MODES else picture(mode="L"),
        picture("JPEG", exif=exif),
        picture("JPEG", mode="CMYK"),
        picture("WEBP", **grown),
        picture("GIF", mode="P", **grown),
        picture("BMP"),
        picture("TIFF"),
    ]


def archives() -> list[bytes]:
    one = picture()
    return [
        zipped({"a.png": one, "a.txt": b"a cat"}),
        zipped({"10_sks cat/a.png": one, "10_sks cat/a.caption": "größe".encode()}, zipfile.ZIP_STORED),
        zipped({"metadata.jsonl": b'{"file_name": "a.png", "text": "a cat"}\n', "a.png": one}),
        zipped({"../a.png": one, "@eaDir/a.png/x.jpg": picture("JPEG"), "a-masklabel.png": one}),
        zipped({"inner.zip": zipped({"a.png": one}), "b.png": picture(mode="RGBA")}),
    ]


def lora_files() -> list[bytes]:
    def packed(tensors: dict[str, tuple[str, list[int]]], **metadata: str) -> bytes:
        place, header = 0, dict[str, object]({"__metadata__": metadata} if metadata else {})
        for name, (kind, shape) in tensors.items():
            size = {"F16": 2, "BF16": 2, "F32": 4}[kind]
            for side in shape:
                size *= side
            header[name] = {"dtype": kind, "shape": shape, "data_offsets": [place, place + size]}
            place += size
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + bytes(place)

    layer = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    kohya = {f"{layer}.lora_down.weight": ("F16", [2, 64]), f"{layer}.lora_up.weight": ("F16", [32, 2])}
    mid = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    peft = {f"{mid}.lora_A.weight": ("F32", [2, 8]), f"{mid}.lora_B.weight": ("F32", [8, 2])}
    halves = {"w1_a": [8, 2], "w1_b": [2, 8], "w2_a": [8, 2], "w2_b": [2, 8]}
    metadata = {"ss_network_dim": "2", "ss_steps": "100", "modelspec.title": "ink", "ss_tag_frequency": "{}"}
    adapter = json.dumps({"r": 2, "lora_alpha": 8, "rank_pattern": {"to_q": 4}})
    return [
        packed(kohya, **metadata),
        packed(kohya | {f"{layer}.alpha": ("F32", [])}, ss_network_args='{"conv_dim": "4"}'),
        packed(peft, lora_adapter_metadata=adapter),
        packed({f"{layer}.hada_{part}": ("BF16", shape) for part, shape in halves.items()}),
        packed(kohya | {f"{layer}.dora_scale": ("F32", [1, 64]), f"{layer}.diff_b": ("F32", [32])}),
    ]
