"""Support of other programs for the LoRA files written here: the rules of their loaders as facts, and the
result for each kind of network. Docs, model cards and help texts come from this table.

Read from the programs' public sources: A1111 1.10 (extensions-builtin/Lora), Forge of June 2025
(packages_3rdparty/comfyui_lora_collection, backend/patcher/lora), ComfyUI of 2025 (comfy/lora,
comfy/weight_adapter), InvokeAI of August 2026 (backend/patches), diffusers 0.42 (loaders), which a test runs.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from lora_studio.catalog import ANIMA, FLUX, SD1, SD2, SDXL, ZIMAGE
from lora_studio.config_groups import NetworkGroup
from lora_studio.lora.file.contents import BELONG, DIAG_OFT, LOHA, LOKR, LORA
from lora_studio.lora.file.keys import ALPHA, DORA, split_key

Reading = Literal["whole", "nearly", "otherwise", "refused"]
"""Results of loading, in this order: as trained; as good as trained; something else; not at all."""
UNET_NAMES = re.compile(
    r"lora_unet_(?:(?:down|up|input|output|double|single)_blocks|mid_block|middle_block)_.+"
)
TEXT_NAMES = re.compile(
    r"lora_te[12]?_text_model_encoder_layers_\d+_(?:mlp_fc[12]|self_attn_(?:q|k|v|out)_proj)"
)
INPUTS, OUTPUTS = "inputs", "outputs"


STABLE = frozenset({SD1, SD2, SDXL})


@dataclass(frozen=True, kw_only=True)
class Program:
    """One program's loader. `families` are the base models whose files as written here it is known to read,
    `kinds` are the networks whose tensors it takes, `dora` those of them whose
    magnitudes it takes; `norms` is the reading of a DoRA with magnitudes of the outputs; `special` are
    readings of single kinds that differ from "whole", with the reason."""

    name: str
    kinds: frozenset[str]
    dora: frozenset[str]
    norms: tuple[Reading, str]
    families: frozenset[str] = STABLE
    special: Mapping[str, tuple[Reading, str]] = field(default_factory=dict)

    def takes(self, key: str) -> bool:
        """Whether this program uses a tensor of this name."""
        layer, part = split_key(key)
        if not (UNET_NAMES.fullmatch(layer) or TEXT_NAMES.fullmatch(layer)):
            return False
        kinds = [kind for kind in self.kinds if part in BELONG[kind]]
        return bool(kinds) or part == ALPHA or (part == DORA and bool(self.dora))


@dataclass(frozen=True)
class Verdict:
    """A program's reading of a kind of file; `why` is empty where the file is read whole."""

    program: str
    reading: Reading
    why: str = ""


A1111 = Program(
    name="A1111",
    kinds=frozenset({LORA, LOHA, LOKR, DIAG_OFT}),
    dora=frozenset({LORA, LOHA, LOKR}),
    norms=("otherwise", "divides by the norms of the inputs"),
)
FORGE = Program(
    name="Forge",
    kinds=frozenset({LORA, LOHA, LOKR}),
    dora=frozenset({LORA, LOHA, LOKR}),
    norms=("nearly", "takes the norms from the unchanged weight"),
    families=STABLE | {FLUX},
    special={DIAG_OFT: ("refused", "passes over every tensor")},
)
COMFYUI = Program(
    name="ComfyUI",
    kinds=frozenset({LORA, LOHA, LOKR, DIAG_OFT}),
    dora=frozenset({LORA, LOHA, LOKR}),
    norms=("nearly", "takes the norms from the unchanged weight"),
    families=STABLE | {ANIMA, FLUX},
    special={DIAG_OFT: ("nearly", "exact at weight 1 without constraint only")},
)
INVOKEAI = Program(
    name="InvokeAI",
    kinds=frozenset({LORA, LOHA, LOKR}),
    dora=frozenset({LORA}),
    norms=("otherwise", "divides by the norms of the inputs"),
    families=STABLE | {FLUX},
    special={DIAG_OFT: ("refused", "knows no OFT")},
)
DIFFUSERS = Program(
    name="diffusers",
    kinds=frozenset({LORA}),
    dora=frozenset(),
    norms=("otherwise", "leaves the magnitudes out"),
    families=STABLE | {ZIMAGE, FLUX},
    special={kind: ("refused", "reads LoRA and LoCon only") for kind in (LOHA, LOKR, DIAG_OFT)},
)
PROGRAMS = (A1111, FORGE, COMFYUI, INVOKEAI, DIFFUSERS)
WRITTEN: Mapping[str, tuple[str, str]] = {
    "LoRA, LoCon": (LORA, ""),
    "DoRA": (LORA, INPUTS),
    "DoRA, `wd_on_output`": (LORA, OUTPUTS),
    "LoHa": (LOHA, ""),
    "LoKr": (LOKR, ""),
    "LoHa or LoKr with DoRA": (LOHA, INPUTS),
    "OFT (`diag-oft`)": (DIAG_OFT, ""),
}
"""The kinds of files that are written here: (kind, whose norms DoRA's magnitudes are)."""
WORDS: Mapping[Reading, str] = {
    "whole": "yes",
    "nearly": "nearly",
    "otherwise": "draws something else",
    "refused": "no",
}


def verdict(program: Program, kind: str, magnitudes: str = "") -> Verdict:
    """One program's reading of files of a kind; `magnitudes` is INPUTS or OUTPUTS, the side whose norms
    DoRA's magnitudes are, empty without DoRA."""
    if kind in program.special:
        return Verdict(program.name, *program.special[kind])
    if not magnitudes:
        return Verdict(program.name, "whole")
    if kind not in program.dora:
        lost: tuple[Reading, str] = (
            ("refused", "knows DoRA of LoRA only")
            if program.dora
            else ("otherwise", "leaves the magnitudes out")
        )
        return Verdict(program.name, *lost)
    return Verdict(program.name, *program.norms) if magnitudes == OUTPUTS else Verdict(program.name, "whole")


def verdicts(kind: str, magnitudes: str = "") -> list[Verdict]:
    """The readings of all programs."""
    return [verdict(program, kind, magnitudes) for program in PROGRAMS]


def written_kind(network: NetworkGroup) -> tuple[str, str]:
    """(kind, whose norms DoRA's magnitudes are) of the files of a training."""
    magnitudes = (OUTPUTS if network.wd_on_output else INPUTS) if network.dora_wd else ""
    return network.algo, magnitudes


def say(kind: str, magnitudes: str = "", family: str = "") -> str:
    """One or two sentences on which programs read such a file for a base of this family, one of Stable
    Diffusion's where it isn't said."""
    found = [verdict(one, kind, magnitudes) for one in PROGRAMS if (family or SD1) in one.families]
    good = [one.program for one in found if one.reading == "whole"]
    rest = [f"{one.program} {_words(one)}" for one in found if one.reading != "whole"]
    sentences = [f"It works as it is in {_listed(['LoRA Studio', *good])}."]
    if rest:
        sentences.append(f"{'; '.join(rest)}.")
    return " ".join(sentences)


def table() -> str:
    """A Markdown table of kinds of files against programs."""
    rows = ["| file | " + " | ".join(program.name for program in PROGRAMS) + " |"]
    rows.append("|---" * (len(PROGRAMS) + 1) + "|")
    for title, (kind, magnitudes) in WRITTEN.items():
        rows.append(f"| {title} | " + " | ".join(_cells(verdicts(kind, magnitudes))) + " |")
    return "\n".join(rows)


def _cells(found: Collection[Verdict]) -> Iterator[str]:
    for one in found:
        yield WORDS[one.reading] + (f": {one.why}" if one.why else "")


def _words(one: Verdict) -> str:
    begin = {"nearly": "reads it nearly", "otherwise": "draws something else", "refused": "can't read it"}
    return f"{begin[one.reading]} ({one.why})"


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
