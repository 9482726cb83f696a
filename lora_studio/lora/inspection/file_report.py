"""The inspection of a file: its header, then its tensors, layer by layer."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from lora_studio.catalog import FAMILIES, family_title
from lora_studio.errors import UnknownFormat
from lora_studio.files import expanded
from lora_studio.formatting import counted
from lora_studio.lora.file.alphas import SCALED_KINDS, common_alpha, scalings
from lora_studio.lora.file.contents import FULL, LORA, TITLES, Contents, contents_of, say_left_out, shown
from lora_studio.lora.file.identify import family_of_layers, no_network
from lora_studio.lora.file.keys import ALPHA, BIAS, DIFF, DORA, DOWN, MID
from lora_studio.lora.file.lora_files import LONGEST_TITLE, family_from_words
from lora_studio.lora.file.tensor_table import Tensors, read_tensor_table
from lora_studio.lora.inspection.layer_strength import (
    MOST_OPERATIONS,
    LayerStrength,
    has_finite_numbers,
    operations_of,
    strength_of,
)
from lora_studio.lora.inspection.lora_report import BlockStrength, LoraReport
from lora_studio.lora.inspection.model_blocks import block_of
from lora_studio.lora.inspection.private_metadata import find_private
from lora_studio.lora.inspection.program_readings import ReadFile, readings
from lora_studio.lora.inspection.suggestions import IN_HEADER, KOHYA, suggestions_for
from lora_studio.lora.inspection.training_metadata import training_lines
from lora_studio.lora.network.weights import stream_weights
from lora_studio.parsing.plain_text import LONGEST_NAME, plain_name, plain_text

MOST_NAMED, MOST_BLOCKS = 5, 300
FROM_WORDS, FROM_LAYERS = "its metadata", "its layers"
TOO_LARGE = "Some layers are so large that their strength isn't measured."
NEEDS_BASE = "How strong a DoRA, an OFT or a whole new weight is depends on the base: name one to measure it."
EIGHT_BITS = "Name a base to measure what is left of it when it is merged into 8 bits (fp8, int8)."


ABOUT_BASES = (NEEDS_BASE, EIGHT_BITS)
"""Notes that a measurement on a base makes needless."""


@dataclass(kw_only=True)
class _Measured:
    """Strengths of the layers so far, by Kohya's name."""

    layers: dict[str, LayerStrength] = field(default_factory=dict)
    unmeasured: int = 0


def inspect_file(path: Path | str) -> LoraReport:
    """Read a file and report on it. Raises BrokenFile, UnknownFormat (also for files that hold no LoRA)."""
    report = _read(expanded(path))
    return replace(report, suggestions=suggestions_for(report))


def _read(path: Path) -> LoraReport:
    metadata, tensors, _ = read_tensor_table(path)
    contents = contents_of(tensors)
    if not contents.layers:
        raise UnknownFormat(*no_network(plain_name(path), tensors, contents), path=path)
    measured = _measure(path, contents)
    words = family_from_words(metadata)
    family = words or family_of_layers(contents)
    found = measured.layers
    broken = [shown(contents.layers[name].spelled) for name, one in found.items() if not one.is_finite]
    zero = [shown(contents.layers[name].spelled) for name, one in found.items() if one.is_zero]
    left = sum(one.values for one in contents.left_out)
    norms = [one.norm for one in found.values()]
    file = ReadFile(
        contents=contents,
        keys=tensors,
        family=family,
        scalings=scalings(metadata, path),
        weights=_weights(contents, found),
        broken=frozenset(name for name, one in found.items() if not one.is_finite),
    )
    return LoraReport(
        name=plain_name(path),
        size_bytes=path.stat().st_size,
        what=what_of(contents),
        kinds=dict(Counter(TITLES[layer.kind] for layer in contents.layers.values())),
        family=family,
        family_title=family_title(family) if family else "",
        family_source=FROM_WORDS if words else FROM_LAYERS if family else "",
        here=_here(family, len(broken), is_empty=len(zero) == len(contents.layers)),
        base=plain_text(metadata.get("ss_sd_model_name"), LONGEST_NAME),
        ranks=dict(sorted(Counter(_rank(layer.shapes) for layer in contents.layers.values()).items())),
        alpha=common_alpha(path, contents, metadata),
        alpha_source=_alpha_source(contents, file),
        spelling=common_spelling(contents),
        precision=_precision(tensors),
        blocks=_blocks(contents, found),
        norm=math.hypot(*(norm or 0.0 for norm in norms)) if None not in norms else None,
        broken=tuple(broken[:MOST_NAMED]),
        broken_count=len(broken),
        zero=tuple(zero[:MOST_NAMED]),
        zero_count=len(zero),
        left_out=say_left_out(contents.left_out, contents.values),
        left_out_share=left / max(contents.values, 1),
        embeddings=tuple(plain_text(word, LONGEST_TITLE) for word in list(contents.embeddings)[:MOST_NAMED]),
        training=training_lines(metadata),
        private=tuple(find_private(metadata)),
        programs=tuple(readings(file)),
        notes=_notes(measured),
    )


def what_of(contents: Contents) -> str:
    """The kind of network in the words people use: LoCon for a LoRA of convolutions, DoRA with magnitudes."""
    layers = contents.layers.values()
    title = TITLES[contents.algo]
    if contents.algo == LORA and any(
        MID in layer.shapes or math.prod(layer.shapes[DOWN][2:]) > 1 for layer in layers if layer.kind == LORA
    ):
        title = "LoCon"
    if contents.algo == FULL and all(
        len(layer.shapes[DIFF]) == 1 if DIFF in layer.shapes else BIAS in layer.shapes for layer in layers
    ):
        title = "differences of norms and biases"
    if any(DORA in layer.shapes for layer in layers):
        title = "DoRA" if title == "LoRA" else f"DoRA of {title}"
    return title


def _measure(path: Path, contents: Contents) -> _Measured:
    measured, left = _Measured(), MOST_OPERATIONS
    for name, weights in stream_weights(path):
        cost = operations_of(contents.layers[name])
        if cost > left:
            measured.unmeasured += 1
            measured.layers[name] = LayerStrength(is_finite=has_finite_numbers(weights))
            continue
        left -= cost
        measured.layers[name] = strength_of(weights)
    return measured


def _weights(contents: Contents, found: Mapping[str, LayerStrength]) -> dict[str, float]:
    """The weight of each layer in shares: its squared norm, or its numbers where one has no norm."""
    squares = {name: (one.norm or 0.0) ** 2 for name, one in found.items()}
    if any(squares.values()) and all(one.norm is not None for one in found.values() if one.is_finite):
        return squares
    return {name: float(layer.values) for name, layer in contents.layers.items()}


def _blocks(contents: Contents, found: Mapping[str, LayerStrength]) -> tuple[BlockStrength, ...]:
    grouped: dict[str, list[str]] = {}
    for name in contents.layers:
        block = block_of(name)
        grouped.setdefault(
            block if block in grouped or len(grouped) < MOST_BLOCKS else "the rest", []
        ).append(name)
    blocks = []
    for block, names in sorted(grouped.items(), key=lambda pair: _place(pair[0])):
        norms = [found[name].norm for name in names]
        relatives = [one for name in names if (one := found[name].relative) is not None]
        ranks = [_rank(contents.layers[name].shapes) for name in names]
        blocks.append(
            BlockStrength(
                block=block,
                layers=len(names),
                ranks=(min(ranks), max(ranks)),
                norm=math.hypot(*(norm for norm in norms if norm is not None)) if None not in norms else None,
                relative=max(relatives) if relatives else None,
            )
        )
    return tuple(blocks)


def _place(block: str) -> tuple[str, str, int]:
    """The order of blocks: numbers count as numbers."""
    start, _, number = block.rpartition(".")
    return block.partition(",")[0], start or block, int(number) if number.isdecimal() else 0


def _rank(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """The rank of a layer; 0 where it has none."""
    found = [shapes[part][0] for part in (DOWN, "hada_w1_b", "lokr_w2_b", "lokr_w1_b") if part in shapes]
    return max(found, default=0)


def _alpha_source(contents: Contents, file: ReadFile) -> str:
    scaled = [layer for layer in contents.layers.values() if layer.kind in SCALED_KINDS]
    with_alpha = sum(ALPHA in layer.keys for layer in scaled)
    if scaled and with_alpha == len(scaled):
        return "a tensor of each layer"
    if with_alpha:
        return f"tensors of {with_alpha} of {len(scaled)} layers"
    return IN_HEADER if file.scalings else "" if not scaled else "none: the rank stands for it"


def common_spelling(contents: Contents) -> str:
    """The spelling of most layers, as people call it."""
    return Counter(spelling_of(layer.spelled, layer.keys) for layer in contents.layers.values()).most_common(
        1
    )[0][0]


def spelling_of(spelled: str, keys: Mapping[str, str]) -> str:
    """The program whose way of naming layers this is."""
    if spelled.startswith("base_model.model."):
        return "PEFT"
    if spelled.startswith(("diffusion_model.", "model.diffusion_model.", "text_encoders.")):
        return "ComfyUI"
    if spelled.startswith("lycoris_"):
        return "LyCORIS"
    if spelled.startswith("lora_"):
        return "PEFT" if "lora_A" in keys.get(DOWN, "") else KOHYA
    if spelled.startswith(("unet.", "transformer.", "text_encoder")) or ".processor." in spelled:
        return "diffusers"
    return "sd-scripts' networks.oft" if spelled.startswith("oft_unet_") else "names without a prefix"


def _precision(tensors: Tensors) -> dict[str, float]:
    counts = Counter[str]()
    for dtype, shape in tensors.values():
        counts[dtype] += math.prod(shape)
    total = max(1, sum(counts.values()))
    return {dtype: count / total for dtype, count in counts.most_common()}


def _here(family: str, broken: int, *, is_empty: bool) -> str:
    """A sentence on whether it works here, where a file with NaN or infinite numbers is refused."""
    if is_empty:
        return "It changes nothing: all of its layers are zero."
    if broken:
        return f"It is refused here: {counted(broken, 'layer has', 'layers have')} NaN or infinite numbers."
    if family in FAMILIES:
        return f"It works here, with a base that is {family_title(family)}."
    if family:
        return f"{family_title(family)} can't be run here yet."
    return "Nothing in it tells its family: whether it works shows when a base draws with it."


def _notes(measured: _Measured) -> tuple[str, ...]:
    silent = any(one.norm is None and one.is_finite for one in measured.layers.values())
    about = TOO_LARGE if measured.unmeasured else NEEDS_BASE
    return (*((about,) if silent else ()), EIGHT_BITS)
