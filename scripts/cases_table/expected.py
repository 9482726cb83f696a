"""The expected outcome of each made case. A file that is not listed is tried, without a verdict."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

USED, KEPT, REFUSED = "used", "kept", "refused"
"""KEPT is a LoRA that is taken into the library and not drawn with: the base at hand is of another family, or
the file is damaged where only drawing looks."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The outcome of a case by one way in: `result` in a few words, `said` the sentences."""

    outcome: str
    result: str = ""
    said: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return " ".join(filter(None, (self.result, *self.said)))


@dataclass(frozen=True, kw_only=True)
class Expected:
    """`says` is a pattern for each answer's text; `by_command` another outcome of the command line, which
    draws at once where page and API only fill in fields."""

    what: str
    outcome: str = USED
    says: str = ""
    by_command: str = ""

    def agrees(self, answer: Answer, *, draws: bool, by_command: bool = False) -> bool:
        """`draws` is False for an import alone, which may keep what later draws or is refused in drawing."""
        wanted = (by_command and self.by_command) or self.outcome
        if not draws:
            return (answer.outcome == REFUSED) == (wanted == REFUSED)
        return answer.outcome == wanted and re.search(self.says, answer.text) is not None


def _case(what: str, says: str = "", outcome: str = USED, by_command: str = "") -> Expected:
    return Expected(what=what, says=says, outcome=outcome, by_command=by_command)


PICTURES: Mapping[str, Expected] = {
    "animated.webp": _case("two pictures in one file", "the first is used"),
    "bomb.png": _case("30,000 × 30,000 pixels in a kilobyte", "too large", REFUSED),
    "cmyk.jpg": _case("print colours, no profile", "1 picture"),
    "exif6.jpg": _case("turned by its EXIF", "1 picture"),
    "grey16.png": _case("grey in 16 bit", "1 picture"),
    "icc_red_means_blue.png": _case("a profile that swaps red and blue", "colour profile"),
    "palette_alpha.png": _case("a palette with a transparent entry that no pixel has", "1 picture"),
    "panorama.png": _case("6400 × 64 pixels", "loses 96%"),
    "photo.heic": _case(
        "a HEIC photo's first bytes, then zeros", "photo.heic (is damaged|is a HEIC)", REFUSED
    ),
    "photo.jxl": _case("JPEG XL", "is a JPEG XL picture", REFUSED),
    "rgba_half.png": _case("half transparent", "transparent"),
    "sliver.png": _case("33 × 4000 pixels", "loses 97%"),
    "still.avif": _case("AVIF", "1 picture"),
    "truncated.jpg": _case("a JPEG cut off", "damaged or cut off", REFUSED),
}
SETS: Mapping[str, Expected] = {
    "encodings.zip": _case(
        "captions in five encodings, one empty", "6 pictures, 5 .*Windows-1252.*Shift-JIS"
    ),
    "hf_imagefolder.zip": _case("captions in metadata.jsonl", "6 pictures, 6 "),
    "kohya_caches.zip": _case("Kohya's folders with .npz caches", "6 pictures, 0 .*6 caches"),
    "long_captions.zip": _case("captions of some 420 tokens: training says what is cut", "6 pictures, 6 "),
    "names.zip": _case("CON.png, an emoji, 200 letters, combining marks", "6 pictures, 0 "),
    "nested_same_names.zip": _case("a/0.png and b/0.png with captions", "6 pictures, 2 "),
    "onetrainer_masks.zip": _case("-masklabel.png beside three pictures", "6 pictures, 0 .*3 masks"),
    "same_stem.zip": _case("a.png, a.jpg and one a.txt", "8 pictures, 2 "),
    "synology.zip": _case("a file server's thumbnails and trash", "6 pictures, 0 .*leave behind"),
}
SETTINGS: Mapping[str, Expected] = {
    "civitai_big_seed.png": _case("a seed beyond 32 bits", "3141592653589793"),
    "civitai_resources.png": _case("Civitai's resources without names", "Not taken over: checkpoint"),
    "clip_skip_0.png": _case("clip skip 0", "Clip skip 0: 1 is taken"),
    "comfyui.png": _case("ComfyUI: a sampler without links", "ComfyUI.* no prompt"),
    "fooocus_json.png": _case("Fooocus' JSON", "settings of Fooocus"),
    "lora_block_weight.png": _case("a LoRA tag with lbw= and stop=", "lbw=MIDD:stop=20", by_command=REFUSED),
    "lora_cjk.png": _case("a LoRA tag in Chinese signs", "猫の絵” (is not )?in ", by_command=REFUSED),
    "seed_minus_one.png": _case("seed -1", "seed -1 means any"),
    "size_big.png": _case("2304 × 1536 pixels", "2304 × 1536 is set to 2048 × 1368"),
    "size_odd.png": _case("513 × 771 pixels", "513 × 771 is set to 512 × 768"),
    "steps_999.png": _case("999 steps", "Steps 999: 200 is taken"),
    "swarm_json.png": _case("SwarmUI's JSON", "settings of SwarmUI"),
    "tags_look_like_settings.png": _case("a prompt of pairs, no settings", "1girl, Artist: foo|name no base"),
    "template_lines.png": _case("Template: lines behind the settings", "Passed over, behind the settings"),
}
OTHERS = "was made for {}"
SIZES = "other sizes"
LORAS: Mapping[str, Expected] = {
    "alpha_without_layer": _case("SD 1: an alpha without its layer", SIZES, KEPT),
    "anima_kohya": _case("Anima", OTHERS.format("Anima"), KEPT),
    "anima_kohya_te": _case("Anima with its text encoder", OTHERS.format("Anima"), KEPT),
    "loras/bundle_embedding": _case("SD 1: an embedding bundled", SIZES, KEPT),
    "chroma_kohya": _case("Chroma, by its metadata", OTHERS.format("Chroma"), KEPT),
    "diff_and_bias": _case("SD 1: differences of a norm", SIZES, KEPT),
    "flux1_kohya": _case("FLUX.1", OTHERS.format("FLUX.1"), KEPT),
    "flux2_klein4b": _case("FLUX.2 klein", OTHERS.format("FLUX.2 klein"), KEPT),
    "full_diff": _case("one whole difference", SIZES, KEPT),
    "ia3": _case("(IA)³", SIZES, KEPT),
    "lumina2": _case("Lumina 2, the same bytes as Chroma's", OTHERS.format("Lumina"), KEPT),
    "lycoris_norm": _case("SD 1: LyCORIS' norms", SIZES, KEPT),
    "qwen_attn_only": _case("Qwen-Image", OTHERS.format("Qwen-Image"), KEPT),
    "sdxl_te2_projection": _case("SDXL with the text projection", OTHERS.format("Stable Diffusion XL"), KEPT),
    "sdxl_te_only": _case("SDXL, text encoders only", OTHERS.format("Stable Diffusion XL"), KEPT),
    "zimage_aitoolkit": _case("Z-Image, ai-toolkit", OTHERS.format("Z-Image"), KEPT),
    "zimage_kohya": _case("Z-Image, Kohya's names", OTHERS.format("Z-Image"), KEPT),
    "My LoRA (v2)": _case("blanks and brackets in the name"),
    "all_zero": _case("all weights 0", "changes nothing"),
    "alpha_int64": _case("alphas as whole numbers"),
    "alpha_left_over": _case("an alpha without its layer", "left out"),
    "alpha_missing": _case("no alphas"),
    "alpha_zero": _case("alphas of 0"),
    "bias_diff": _case("a bias of another size", "left out"),
    "bundle_embedding": _case("an embedding bundled that no text encoder takes", "left out"),
    "bytes_behind": _case("seven bytes behind the end", "damaged", REFUSED),
    "cut_off": _case("the last kilobyte missing", "damaged", REFUSED),
    "dtype_bf16": _case("bfloat16"),
    "dtype_f16": _case("float16"),
    "dtype_f64": _case("float64"),
    "dtype_f8_e5m2": _case("8-bit floats"),
    "half_the_layers": _case("every second layer"),
    "header_padded": _case("blanks behind the header"),
    "lycoris_prefix": _case("LyCORIS' names"),
    "metadata_stripped": _case("a title is all its metadata"),
    "no_metadata": _case("no metadata"),
    "one_nan": _case("one value is no number", "no numbers", KEPT),
    "peft_names": _case("PEFT's names"),
    "unet_only": _case("the denoiser's layers only"),
    "up_missing": _case("a layer without its second factor", "left out"),
    "猫の絵": _case("Chinese signs in the name"),
}
