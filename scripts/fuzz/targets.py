"""Targets of the fuzzing: a name, the function that takes an input, and sound inputs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from scripts.fuzz import inputs

A1111 = (
    b"a (cat:1.2), <lora:ink:0.8> BREAK {red|blue} dog\nNegative prompt: bad, [ugly]\nSteps: 20, "
    b"Sampler: DPM++ 2M Karras, CFG scale: 7.5, Seed: 3141592653589793, Size: 512x768, Clip skip: 2, "
    b'Denoising strength: 0.4, Hires upscale: 2, Hires resize: 100x200, Lora hashes: "ink: abcdef012345", '
    b"Variation seed: 4, Variation seed strength: 0.1, ENSD: 31337"
)
NEEDED = b'pretrained_model_name_or_path = "starter"\ntrain_data_dir = "pictures"\n'
TOML = b"""
pretrained_model_name_or_path = "starter"
train_data_dir = "pictures"
resolution = "512,650"
network_dim = 8
network_args = ["conv_dim=4", "algo=lokr"]
optimizer_args = ["betas=0.9,0.99", "weight_decay=0.1"]
max_train_epochs = 3
[additional]
min_snr_gamma = 5
noise_offset_type = "Original"
"""


@dataclass(frozen=True, kw_only=True)
class Target:
    """`run(data, folder)` may raise StudioError; anything else is a crash. `folder` is empty at each call."""

    run: Callable[[bytes, Path], None]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...]


def _text(data: bytes) -> str:
    """Half characters too, as JSON can hold them."""
    return data.decode("utf-8", "surrogatepass" if b"\xed" in data else "replace")


def _decoded(data: bytes) -> str:
    try:
        return _text(data)
    except UnicodeDecodeError:
        return data.decode("latin-1")


def infotext(data: bytes, folder: Path) -> None:
    from lora_studio.images.infotext import restore

    restore(_decoded(data))


def settings_picture(data: bytes, folder: Path) -> None:
    """A picture whose text chunk is the input: A1111's, and JSON of other programs."""
    from lora_studio.images.image_metadata import read_settings

    name, _, text = _decoded(data).encode("utf-8", "replace").decode().partition("\n")
    name = name.encode("latin-1", "replace").decode("latin-1")[:79].strip("\0 ") or "parameters"
    path = folder / "x.png"
    path.write_bytes(inputs.picture_with(**{name: text}))
    read_settings(path)


def prompt(data: bytes, folder: Path) -> None:
    from lora_studio.prompts.expand import expand, unread, untagged
    from lora_studio.prompts.prompt_weights import read_weights
    from lora_studio.request import GenerateRequest

    request = GenerateRequest(base="starter", prompt=_decoded(data))
    (folder / "colour.txt").write_text("red\nblue\n__colour__\n", "utf-8")
    unread(request.prompt)
    read_weights(request.prompt)
    untagged(request.prompt, request.negative_prompt, request.loras)
    expand(request.prompt, 1, folder)


def grid(data: bytes, folder: Path) -> None:
    from lora_studio.grids.grid_cells import plan_grid
    from lora_studio.grids.grid_request import GridRequest

    parameter, _, values = _decoded(data).partition("\n")
    request = {"base": "starter", "prompt": "a cat"}
    plan_grid(GridRequest(request=request, x={"parameter": parameter, "values": values}))


def toml(data: bytes, folder: Path) -> None:
    from lora_studio.kohya_config.argument_file import read_file

    path = folder / "x.toml"
    path.write_bytes(data)
    read_file(path).config(steps_per_epoch=10, output_name="x", output_dir=".")


def safetensors(data: bytes, folder: Path) -> None:
    from lora_studio.lora.file.lora_files import read_header
    from lora_studio.lora.inspection.file_report import inspect_file

    path = folder / "x.safetensors"
    path.write_bytes(inputs.with_length(data) if len(data) % 4 else data)
    read_header(path)
    inspect_file(path)


def archive(data: bytes, folder: Path) -> None:
    """The bytes of an archive, or else lines: names, and behind a tab what such a file holds."""
    if not data.startswith(b"PK"):
        text = data.decode("utf-8", "replace").replace("\0", "")
        lines = [line.partition("\t") for line in text.split("\n")[:40]]
        one = inputs.picture()
        data = inputs.zipped({name[:300]: held.encode() or one for name, _, held in lines if name})
    _take(data, folder, "x.zip")


def picture(data: bytes, folder: Path) -> None:
    from lora_studio.images.input_store import take_in

    _take(inputs.with_sums(data) if data.startswith(b"\x89PNG") else data, folder, "x.png")
    take_in(folder / "x.png", folder / "inputs")


def tagger_tags(data: bytes, folder: Path) -> None:
    """A tagger's list of tags, all of which it is sure of."""
    import numpy as np

    from lora_studio.captioning.tagger_options import TaggerOptions
    from lora_studio.captioning.tagger_tags import read_tags, tagged_caption

    path = folder / "selected_tags.csv"
    path.write_bytes(data)
    tags = read_tags(path)
    tagged_caption(tags, np.ones(len(tags), dtype=np.float32), TaggerOptions(use_rating_tags=True))


def _take(data: bytes, folder: Path, name: str) -> None:
    from lora_studio.data.ingestion.ingest import ingest

    path = folder / name
    path.write_bytes(data)
    (folder / "into").mkdir()
    ingest([path], folder / "into")


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _words(line: str) -> tuple[bytes, ...]:
    return tuple(line.encode().split(b" "))


NUMBERS = _words("1 0. - ( ) : [ ] 1-1 (+ 1.2) , 1e9 x 64x64")
MARKS = _words("( ) [ ] { } | $$ __colour__ <lora: > :1.2) BREAK \\")
LABELS = (
    *_words('" : , Steps: Seed: Size: Template: Version: 0000000000'),
    b"\nNegative prompt: ",
    b"Hires resize: ",
)
JSON_MARKS = _words('{" ": [ ] } "inputs": "class_type": "KSampler" null \\ud800 "prompt": "seed": "1"')
FOREIGN = (
    'parameters {"sui_image_params": {"prompt": "a cat", "seed": 1, "steps": 20, "cfgscale": 7}}',
    'parameters {"prompt": "a cat", "seed": "123", "base_model": "x", "steps": 30}',
    'prompt {"3": {"class_type": "KSampler", "inputs": {"seed": 1, "cfg": 7, "positive": ["4", 0]}}}',
    'invokeai_metadata {"positive_prompt": "a cat", "seed": 1, "steps": 20, "width": 512}',
    'Comment {"prompt": "a cat", "steps": 28, "scale": 5.0, "seed": 1, "sampler": "k_euler", "uc": "bad"}',
)
ZIP_LINES = (
    b"a.png\na.txt\ta cat\n10_sks cat/b.png\nb-masklabel.png\n@eaDir/a.png/t.jpg\n../c.png",
    b'metadata.jsonl\t{"file_name": "a.png", "text": "a cat"}\na.png',
    b"captions.csv\tfile,text\na.png\na.png.txt\t\xff\xfea\x00",
)
TAGS = b'tag_id,name,category,count\n1,general,9,0\n2,long_hair,0,9\n3,"a, (b)",4,1\n4,^_^,0,\n'
AXES = (
    b"seed\n1, 2, 1-10 (+3), 5-30 [6]",
    b"guidance_scale\n1.5-7.5 (+0.5)",
    b'prompt\n"a, b", c',
    b"size\n64x64, 128x64",
    b"sampler\nEuler a, DDIM",
    b"lora_weight:ink\n0.5-1 [3]",
)
WEIGHTED = b"a (cat:1.2), [dog], <lora:ink:0.8:lbw=MIDD> BREAK a:b"
CHOSEN = b"a {red|blue} cat, {2$$red|blue|__colour__} dog, {1-2$$ and $$a|b}"

TARGETS = {
    "infotext": Target(run=infotext, seeds=(A1111,), words=LABELS),
    "settings in pictures": Target(
        run=settings_picture,
        seeds=(b"parameters\n" + A1111, *(line.encode().replace(b" ", b"\n", 1) for line in FOREIGN)),
        words=(*LABELS, *JSON_MARKS),
    ),
    "prompts": Target(run=prompt, seeds=(WEIGHTED, CHOSEN, b"((((a))))"), words=MARKS),
    "grid axes": Target(run=grid, seeds=AXES, words=NUMBERS),
    "TOML": Target(
        run=toml,
        seeds=(TOML, *(NEEDED + line + b"\n" for line in TOML.split(b"\n")[3:] if b"=" in line)),
        words=_words('= [ ] [[ " { , true network_args 1111111111111111111111 {a= 1979-05-27 \n'),
    ),
    "safetensors headers": Target(
        run=safetensors,
        seeds=tuple(inputs.lora_files()),
        words=(*JSON_MARKS, *_words('"shape":[ "data_offsets":[ "__metadata__": 4294967296 1.5 -1')),
    ),
    "ZIPs": Target(
        run=archive,
        seeds=(*inputs.archives(), *ZIP_LINES),
        words=(b"PK\x01\x02", b"PK\x05\x06", b"\xff\xff\xff\xff", *_words("/ .. \n \t .png .txt con 10_")),
    ),
    "taggers' tags": Target(
        run=tagger_tags, seeds=(TAGS,), words=_words(', " \n \r 0 4 9 -1 ^_^ tag_id, \ufeff')
    ),
    "pictures": Target(
        run=picture,
        seeds=tuple(inputs.pictures()),
        words=(b"\xff\xd8\xff", b"Exif\0\0", b"\x00\x00\x75\x30", *_words("IHDR IDAT iCCP acTL RIFF eXIf")),
    ),
}
