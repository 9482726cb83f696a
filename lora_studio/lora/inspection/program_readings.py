"""The share of a LoRA file's change that arrives in other programs, by their loaders' rules
(`lora.file.other_programs`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from lora_studio.catalog import SD1, family_title
from lora_studio.lora.file.alphas import SCALED_KINDS, Scaling, alpha_of
from lora_studio.lora.file.contents import Contents, FileLayer, shown
from lora_studio.lora.file.identify import DENOISER
from lora_studio.lora.file.keys import ALPHA, DORA, DOWN, UP
from lora_studio.lora.file.other_programs import INPUTS, OUTPUTS, PROGRAMS, Program, verdict

Outcome = Literal["whole", "nearly", "in part", "otherwise", "refused", "unknown"]
OUTCOMES: Mapping[Outcome, str] = {
    "whole": "yes",
    "nearly": "nearly",
    "in part": "in part",
    "otherwise": "draws something else",
    "refused": "no",
    "unknown": "not known",
}
MOST_REASONS = 3
SPOILT = "takes the NaN or infinite numbers in, which spoil every picture"
UNKNOWN_NAMES = "doesn't know names"
UNTOLD = "nothing in the file tells its family"


@dataclass(frozen=True, kw_only=True)
class ProgramReading:
    """A program's reading of a file. `share` is the part of the change, 0 to 1, that arrives as it was
    trained, by squared norms (by numbers where a layer's norm depends on the base); None where the program's
    rules for this family aren't known here."""

    program: str
    outcome: Outcome
    share: float | None
    why: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        share = "" if self.share in (None, 0.0, 1.0) else f", {100 * (self.share or 0):.3g} % of its change"
        return f"{OUTCOMES[self.outcome]}{share}{': ' if self.why else ''}{'; '.join(self.why)}"


@dataclass(frozen=True, kw_only=True)
class ReadFile:
    """A file as other programs see it: its layers, the names of all its tensors, its family, the alphas in
    its header, how much each layer counts, and which have NaN or infinite numbers."""

    contents: Contents
    keys: Collection[str]
    family: str
    scalings: Mapping[str, Scaling] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    broken: frozenset[str] = frozenset()


def readings(file: ReadFile) -> list[ProgramReading]:
    """The readings of all programs."""
    if not file.family and any(
        DENOISER.match(name.removeprefix("lora_unet_")) for name in file.contents.layers
    ):
        file = replace(file, family=SD1)  # its rules are those of its kin
    return [_reading(program, file) for program in PROGRAMS]


def _reading(program: Program, file: ReadFile) -> ProgramReading:
    if file.family in program.lacks:
        why = (f"it can't run {family_title(file.family)}",)
        return ProgramReading(program=program.name, outcome="refused", share=0.0, why=why)
    if file.family not in program.names:
        why = (
            (f"its rules for {family_title(file.family)} aren't in our table",) if file.family else (UNTOLD,)
        )
        return ProgramReading(program=program.name, outcome="unknown", share=None, why=why)
    if refusal := program.refusal(file.keys, file.family):
        return ProgramReading(program=program.name, outcome="refused", share=0.0, why=(refusal,))
    return _by_layers(program, file)


def _by_layers(program: Program, file: ReadFile) -> ProgramReading:
    layers = file.contents.layers
    if any(_of_layer(program, layers[name], file)[0] != "refused" for name in file.broken):
        return ProgramReading(program=program.name, outcome="otherwise", share=0.0, why=(SPOILT,))
    total = arrived = touched = 0.0
    reasons, nearly = Counter[str](), Counter[str]()
    for name, layer in file.contents.layers.items():
        weight = file.weights.get(name, 0.0)
        total += weight
        result, why = _of_layer(program, layer, file)
        if result in ("whole", "nearly"):
            arrived += weight
        if result != "refused":
            touched += weight
        (nearly if result == "nearly" else reasons)[why] += 1
    del reasons[""], nearly[""]
    share = min(1.0, arrived / total) if total else float(not reasons)
    if not reasons:
        outcome: Outcome = "nearly" if nearly else "whole"
        share = 1.0
    elif arrived:
        outcome = "in part"
    else:
        outcome = "otherwise" if touched else "refused"
    most = tuple(reason for reason, _ in (reasons + nearly).most_common(MOST_REASONS))
    return ProgramReading(program=program.name, outcome=outcome, share=share, why=most)


def _of_layer(program: Program, layer: FileLayer, file: ReadFile) -> tuple[str, str]:
    """(reading, reason) of a layer."""
    if not program.finds(layer.spelled, file.family):
        return "refused", _unknown_names(layer.spelled)
    found = verdict(program, layer.kind, magnitudes_of(layer))
    if found.reading in ("refused", "otherwise"):
        return found.reading, found.why
    if not program.header_alpha and ALPHA not in layer.keys and layer.kind in SCALED_KINDS:
        rank = layer.shapes[DOWN][0] if DOWN in layer.shapes else 0
        alpha = alpha_of(file.scalings, layer.spelled, rank) if rank else None
        if alpha and alpha != rank:
            return (
                "otherwise",
                f"takes no alpha from the header, which makes it {rank / alpha:.3g} times as strong",
            )
    return found.reading, found.why


def magnitudes_of(layer: FileLayer) -> str:
    """The side whose norms a DoRA's magnitudes are (INPUTS, OUTPUTS); empty without magnitudes."""
    if DORA not in layer.shapes:
        return ""
    first, outputs = layer.shapes[DORA][0], layer.shapes.get(UP, (0,))[0]
    return OUTPUTS if first > 1 and outputs in (0, first) else INPUTS


def _unknown_names(spelled: str) -> str:
    """A reason, by the beginning that names like this have."""
    for start in BEGINNINGS:
        if spelled.startswith(start):
            return f"{UNKNOWN_NAMES} that begin with {start} here"
    return f"{UNKNOWN_NAMES} like {shown(spelled.split('.')[0])}"


BEGINNINGS = (
    *("base_model.model.", "unet.", "transformer.", "diffusion_model.", "text_encoders.", "text_encoder"),
    *("lycoris_", "oft_unet_", "lora_transformer_", "lora_unet_layers_", "lora_unet_", "lora_te"),
)
