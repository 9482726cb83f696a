"""Support of other programs for the LoRA files written here: the rules of their loaders as facts, and the
result for each kind of network. Docs, model cards and help texts come from this table.

Read from the programs' public sources: A1111 1.10 (extensions-builtin/Lora), Forge of June 2025
(packages_3rdparty/comfyui_lora_collection, backend/patcher/lora), ComfyUI of 2025 (comfy/lora,
comfy/weight_adapter), InvokeAI of August 2026 (backend/patches), diffusers 0.42 (loaders), which a test runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from lora_studio.catalog import ANIMA, CHROMA, FLUX, KLEIN, SD1, SD2, SDXL, ZIMAGE
from lora_studio.config_groups import NetworkGroup
from lora_studio.lora.file.contents import (
    BELONG,
    BOFT,
    DIAG_OFT,
    FULL,
    GENERALIZED,
    IA3,
    LOHA,
    LOKR,
    LORA,
    TITLES,
    shown,
)
from lora_studio.lora.file.keys import ALPHA, BIAS, DORA, spelled_key

Reading = Literal["whole", "nearly", "otherwise", "refused"]
"""Results of loading, in this order: as trained; as good as trained; something else; not at all."""
BLOCKS = r"(?:(?:down|up|input|output)_blocks|mid_block|middle_block|time_embed|conv_in|conv_out)"
CLIP_LAYER = r"(?:mlp[._]fc[12]|self_attn[._](?:q|k|v|out)_proj)"
KOHYA_STABLE = (rf"lora_unet_{BLOCKS}_.+", rf"lora_te[12]?_text_model_encoder_layers_\d+_{CLIP_LAYER}")
OWN_STABLE = (rf"diffusion_model\.{BLOCKS}\..+",)
OLD_STABLE = (
    rf"(?:unet\.)?{BLOCKS}\..+\.processor\.to_(?:q|k|v|out)",
    rf"(?:unet\.)?{BLOCKS}\.(?:(?!\.to_).)+",
    rf"text_encoder(?:_2)?\.text_model\.encoder\.layers\.\d+\.{CLIP_LAYER}",
)
"""diffusers' names as ComfyUI knows them: of attention layers, those of diffusers' first form alone."""
FLUX_BLOCK, FLUX_BLOCK_OF_DIFFUSERS = r"(?:double|single)_blocks", r"(?:single_)?transformer_blocks"
CLIP_OF_FLUX = rf"lora_te1_text_model_encoder_layers_\d+_{CLIP_LAYER}"
ANIMA_BLOCK = r"(?:llm_adapter[._])?blocks"
ZIMAGE_BLOCK = r"(?:layers|noise_refiner|context_refiner)"
INPUTS, OUTPUTS = "inputs", "outputs"


STABLE = frozenset({SD1, SD2, SDXL})


def _names(
    stable: tuple[str, ...], others: Mapping[str, tuple[str, ...]] | None = None
) -> Mapping[str, re.Pattern[str]]:
    found = {**dict.fromkeys(STABLE, stable), **(others or {})}
    return {family: re.compile("|".join(patterns)) for family, patterns in found.items()}


@dataclass(frozen=True, kw_only=True)
class Program:
    """One program's loader. `families` are the base models whose files as written here it is known to read,
    `names` are patterns of the names by which it finds a base's layers in any file, `kinds` are the networks
    whose tensors it takes, `dora` those of them whose magnitudes it takes; `norms` is the reading of a DoRA
    with magnitudes of the outputs; `special` are readings of single kinds that differ from "whole", with the
    reason; `header_alpha` says whether alphas count that stand in the file's header alone; `lacks` are
    families that it can't run; `refuses` are rules by which a single tensor refuses the whole file."""

    name: str
    kinds: frozenset[str]
    dora: frozenset[str]
    norms: tuple[Reading, str]
    names: Mapping[str, re.Pattern[str]]
    families: frozenset[str] = STABLE
    special: Mapping[str, tuple[Reading, str]] = field(default_factory=dict)
    header_alpha: bool = False
    lacks: frozenset[str] = frozenset()
    refuses: tuple[Callable[[Collection[str], str], str], ...] = ()

    def takes(self, key: str, family: str = "") -> bool:
        """Whether this program uses a tensor of this name for a family; for any where it isn't said."""
        _, part, spelled = spelled_key(key)
        if not any(self.finds(spelled, one) for one in ([family] if family else self.names)):
            return False
        kinds = [kind for kind in self.kinds if part in BELONG[kind]]
        biases = part == BIAS and FULL in self.kinds
        return bool(kinds) or biases or part == ALPHA or (part == DORA and bool(self.dora))

    def finds(self, spelled: str, family: str) -> bool:
        """Whether this program finds the layer of a file by its name there."""
        names = self.names.get(family)
        return names is not None and names.fullmatch(spelled) is not None

    def refusal(self, keys: Collection[str], family: str) -> str:
        """The reason why a file with these tensors is refused whole, whatever its layers are; else empty."""
        return next((why for rule in self.refuses if (why := rule(keys, family))), "")


@dataclass(frozen=True)
class Verdict:
    """A program's reading of a kind of file; `why` is empty where the file is read whole."""

    program: str
    reading: Reading
    why: str = ""


KOHYA_STARTS = ("lora_unet_", "lora_te_", "lora_te1_", "lora_te2_")
LOW_RANK_ENDS = (".lora_down.weight", ".lora_up.weight", ".alpha")


def _names_without_lora(keys: Collection[str], family: str) -> str:
    """diffusers' check of all keys: those of a Kohya file must be pairs with alphas, all others hold the word
    lora. Magnitudes are dropped before."""
    kept = [key for key in keys if "dora_scale" not in key]
    if family in STABLE and all(key.startswith(KOHYA_STARTS) for key in kept):
        odd = next((key for key in kept if not key.endswith(LOW_RANK_ENDS)), "")
        return f"one tensor that is no pair refuses the whole file, as {shown(odd)}" if odd else ""
    odd = next((key for key in kept if "lora" not in key), "") if family in (*STABLE, ANIMA) else ""
    return f"a tensor without “lora” in its name refuses the whole file, as {shown(odd)}" if odd else ""


def _beginnings_of_invoke(keys: Collection[str], family: str) -> str:
    """InvokeAI's check of the largest family's keys."""
    starts = ("lora_unet_", "lora_te1_", "lora_te2_")
    odd = next((key for key in keys if not key.startswith(starts)), "") if family == SDXL else ""
    return (
        f"a name with another beginning than Kohya's refuses the whole file, as {shown(odd)}" if odd else ""
    )


A1111 = Program(
    name="A1111",
    kinds=frozenset({LORA, LOHA, LOKR, DIAG_OFT, BOFT, FULL, IA3, GENERALIZED}),
    dora=frozenset({LORA, LOHA, LOKR}),
    norms=("otherwise", "divides by the norms of the inputs"),
    names=_names((*KOHYA_STABLE, rf"oft_unet_{BLOCKS}_.+")),
    lacks=frozenset({FLUX, CHROMA, ZIMAGE, ANIMA}),
)
FORGE = Program(
    name="Forge",
    kinds=frozenset({LORA, LOHA, LOKR, FULL, GENERALIZED}),
    dora=frozenset({LORA, LOHA, LOKR}),
    norms=("nearly", "takes the norms from the unchanged weight"),
    names=_names(
        (*KOHYA_STABLE, *OWN_STABLE, *OLD_STABLE),
        {
            FLUX: (
                CLIP_OF_FLUX,
                rf"(?:lora_unet_{FLUX_BLOCK}_|diffusion_model\.{FLUX_BLOCK}\.).+",
                rf"transformer\.{FLUX_BLOCK_OF_DIFFUSERS}\..+",
            ),
        },
    ),
    families=STABLE | {FLUX},
    special={DIAG_OFT: ("refused", "passes over every tensor")},
    lacks=frozenset({ZIMAGE, ANIMA}),
)
COMFYUI = Program(
    name="ComfyUI",
    kinds=frozenset({LORA, LOHA, LOKR, DIAG_OFT, BOFT, FULL, GENERALIZED}),
    dora=frozenset({LORA, LOHA, LOKR}),
    norms=("nearly", "takes the norms from the unchanged weight"),
    names=_names(
        (
            *KOHYA_STABLE,
            *OWN_STABLE,
            *OLD_STABLE,
            rf"lycoris_{BLOCKS}_.+|lora_te[12]_text_projection",
            rf"text_encoders\.clip_[lgh]\.transformer\.text_model\.encoder\.layers\.\d+\.{CLIP_LAYER}",
        ),
        {
            FLUX: (
                CLIP_OF_FLUX,
                rf"(?:lora_unet_{FLUX_BLOCK}_|diffusion_model\.{FLUX_BLOCK}\.).+",
                rf"(?:transformer\.|lycoris_|lora_transformer_){FLUX_BLOCK_OF_DIFFUSERS}[._].+",
            ),
            CHROMA: (
                rf"(?:lora_unet_{FLUX_BLOCK}_|diffusion_model\.{FLUX_BLOCK}\.).+",
                rf"(?:transformer\.|lycoris_|lora_transformer_){FLUX_BLOCK_OF_DIFFUSERS}[._].+",
            ),
            KLEIN: (rf"(?:lora_unet_{FLUX_BLOCK}_|diffusion_model\.{FLUX_BLOCK}\.).+",),
            ZIMAGE: (
                rf"(?:(?:diffusion_model|transformer)\.)?{ZIMAGE_BLOCK}\..+|lycoris_{ZIMAGE_BLOCK}_.+",
                rf"lora_unet_{ZIMAGE_BLOCK}_\d+_(?:attention_(?:qkv|out)|feed_forward_w[123]|adaLN_.+)",
            ),
            ANIMA: (
                rf"lora_unet_{ANIMA_BLOCK}_.+|diffusion_model\.{ANIMA_BLOCK}\..+",
                r"text_encoders\.qwen3_06b\.transformer\.model\.layers\..+",
            ),
        },
    ),
    families=STABLE | {ANIMA, FLUX, CHROMA, KLEIN},
    special={DIAG_OFT: ("nearly", "exact at weight 1 without constraint only")},
)
INVOKEAI = Program(
    name="InvokeAI",
    kinds=frozenset({LORA, LOHA, LOKR, FULL, IA3}),
    dora=frozenset({LORA}),
    norms=("otherwise", "divides by the norms of the inputs"),
    names=_names(
        KOHYA_STABLE,
        {
            FLUX: (
                CLIP_OF_FLUX,
                rf"(?:lora_unet_{FLUX_BLOCK}_|diffusion_model\.{FLUX_BLOCK}\.).+",
                rf"(?:transformer\.|lora_transformer_){FLUX_BLOCK_OF_DIFFUSERS}[._].+",
            ),
            ZIMAGE: (rf"(?:base_model\.model\.)?(?:transformer|diffusion_model)\.{ZIMAGE_BLOCK}\..+",),
            ANIMA: (
                rf"lora_unet_{ANIMA_BLOCK}_.+|lora_te_layers_.+",
                rf"(?:(?:base_model\.model\.)?transformer|diffusion_model)\.{ANIMA_BLOCK}\..+",
            ),
        },
    ),
    families=STABLE | {FLUX},
    special={DIAG_OFT: ("refused", "knows no OFT")},
    refuses=(_beginnings_of_invoke,),
)
DIFFUSERS = Program(
    name="diffusers",
    kinds=frozenset({LORA}),
    dora=frozenset(),
    norms=("otherwise", "leaves the magnitudes out"),
    names=_names(
        (*KOHYA_STABLE, r"(?:unet|text_encoder|text_encoder_2)\..+"),
        {
            FLUX: (CLIP_OF_FLUX, rf"lora_unet_{FLUX_BLOCK}_.+|transformer\.{FLUX_BLOCK_OF_DIFFUSERS}\..+"),
            CHROMA: (rf"lora_unet_{FLUX_BLOCK}_.+|transformer\.{FLUX_BLOCK_OF_DIFFUSERS}\..+",),
            KLEIN: (
                rf"lora_unet_{FLUX_BLOCK}_.+|transformer\.{FLUX_BLOCK_OF_DIFFUSERS}\..+",
                rf"(?:diffusion_model|base_model\.model)\.{FLUX_BLOCK}\..+",
            ),
            ZIMAGE: (rf"lora_unet_{ZIMAGE_BLOCK}_.+|(?:transformer|diffusion_model)\.{ZIMAGE_BLOCK}\..+",),
            ANIMA: (
                rf"diffusion_model\.{ANIMA_BLOCK}\..+|text_conditioner\..+",
                r"transformer\.transformer_blocks\..+",
            ),
        },
    ),
    families=STABLE | {ZIMAGE, FLUX, CHROMA, KLEIN},
    special={kind: ("refused", "reads LoRA and LoCon only") for kind in TITLES if kind != LORA},
    header_alpha=True,
    refuses=(_names_without_lora,),
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
    if kind not in program.kinds:
        return Verdict(program.name, "refused", f"knows no {TITLES[kind]}")
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
