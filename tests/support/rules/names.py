"""Words: which name what, and where they may stand."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator

from lora_studio.catalog import FAMILIES
from lora_studio.config import config_leaves
from lora_studio.request import LoraUse
from tests.support.rules.source import Check, Source, TreeCheck, is_dunder

MODEL_WORD = re.compile(r"(?<![a-z])(unet|alphas|text_encoder|vae)(?![a-rt-z]|s[a-z])|UNet")
"""Parts of some base models only, also within a longer name: who knows them knows one family."""
HOME_OF_MODEL_WORDS = ("lora_studio/families/", "lora_studio/lora/", "lora_studio/kohya_config/")
MODEL_WORDS_OF_OTHERS = {
    "lora_studio/catalog/training_scripts.py": "sd-scripts' options, and places in diffusers' layout",
    "lora_studio/images/foreign_settings/comfy.py": "ComfyUI's name of an input",
    "lora_studio/images/foreign_settings/invoke.py": "InvokeAI's name of a setting",
    "lora_studio/images/foreign_settings/swarm.py": "SwarmUI's name of a setting",
    "lora_studio/prompts/lora_tags.py": "Forge's name of a weight in a tag",
    "lora_studio/ui/widgets/form_sections.py": "Kohya's names of options, as patterns",
}
NAMES_OF_SETTINGS = {
    *(leaf.name for leaf in config_leaves()),
    *(name for field in LoraUse.model_fields for name in (field, f"lora_{field}")),
    "trains_text_encoder",
}
"""Kohya's options, with what the configuration says of them, and a request's weights."""
FAMILY_NAMES = {*FAMILIES, "sd15", "sd21", "sdxl", "sd3", "sd35", "flux"}
HOME_OF_FAMILY_NAMES = ("lora_studio/families/", "lora_studio/catalog/")
EMPTY_WORDS = {"manager", "helper", "helpers", "util", "utils", "handler", "handlers", "misc", "common"}
# Words that module names had before they took the field's, with what says the same (docs/developers.md).
REPLACED = {
    "absent": "deleted_elsewhere",
    "agreement": "validate_settings",
    "bare": "base_alone",
    "board": "checkpoint_report",
    "brackets": "prompt_weights",
    "course": "run",
    "crowd": "batch",
    "desk": "generation_queue",
    "faults": "errors",
    "fingerprint": "base_hashes",
    "guard": "rollback",
    "journal": "event_log",
    "judge": "checkpoint_scores",
    "mapped": "mmap_weights",
    "mirrored": "rows",
    "notes": "ignored_settings",
    "quiet": "silence_libraries",
    "recall": "png_info",
    "receiver": "event_sink",
    "redraw": "img2img",
    "rhythm": "intervals",
    "sameness": "compatibility",
    "steering": "run_controls",
    "team": "shared_loras",
    "texts": "prompts",
    "tickets": "generation_progress",
    "turns": "action_locks",
    "unstored": "event_spool",
    "wishes": "remote_commands",
    "words": "formatting",
}
MODULE_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+){0,2}|__(init|main)__")
NAMES_WITHOUT_NOUN = {"told", "said", "own", "known", "more"}


def family_names_out_of_place(source: Source) -> Iterator[str]:
    if not source.path.startswith(HOME_OF_FAMILY_NAMES):
        for node in source.nodes:
            if isinstance(node, ast.Constant) and node.value in FAMILY_NAMES:
                yield f"{source.path}:{node.lineno}: names the family {node.value!r}"


def model_words_out_of_place(source: Source) -> Iterator[str]:
    """In a name, an attribute, a parameter, a key or a part of an f-string. Sentences are free."""
    if not source.is_in_package or source.path in MODEL_WORDS_OF_OTHERS:
        return
    if source.path.startswith(HOME_OF_MODEL_WORDS):
        return
    for node in source.nodes:
        named = [getattr(node, field, None) for field in ("id", "attr", "arg", "name", "asname", "value")]
        for word in named:
            is_name = isinstance(word, str) and word not in NAMES_OF_SETTINGS and not re.search(r"\s", word)
            if is_name and MODEL_WORD.search(word):
                yield f"{source.path}:{getattr(node, 'lineno', 0)}: names {word}, a part of some base models"


def empty_names(source: Source) -> Iterator[str]:
    classes = [node.name for node in source.nodes if isinstance(node, ast.ClassDef)]
    for name in [*source.modules, *classes]:
        words = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}
        if words & EMPTY_WORDS:
            yield f"{source.path}: the name {name} says nothing"


def names_without_noun(source: Source) -> Iterator[str]:
    """Variables and parameters in functions."""
    for function in source.nodes:
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                name = node.id if isinstance(node, ast.Name) else getattr(node, "arg", "")
                if name in NAMES_WITHOUT_NOUN and isinstance(node, ast.Name | ast.arg):
                    yield f"{source.path}:{node.lineno}: the name {name} has no noun"


def private_module_names(source: Source) -> Iterator[str]:
    if source.is_in_package:
        for name in source.modules:
            if not MODULE_NAME.fullmatch(name):
                yield f"{source.path}: the name {name} is not one to three small words"
            for word in REPLACED.keys() & set(name.split("_")):
                yield f"{source.path}: the field's word for {word} is {REPLACED[word]}"


def names_in_two_rooms(tree: list[Source]) -> Iterator[str]:
    rooms = defaultdict[str, list[str]](list)
    for source in tree:
        if source.is_in_package and not is_dunder(source):
            rooms[source.modules[-1]].append(source.path)
    yield from (f"one name for {' and '.join(paths)}" for paths in rooms.values() if len(paths) > 1)


VIOLATIONS: dict[Check, list[tuple[str, str]]] = {
    family_names_out_of_place: [
        ("lora_studio/generation/lora_stack.py", "if family == 'sdxl': pass"),
        ("lora_studio/config.py", f"family: str = {next(iter(FAMILIES))!r}"),
    ],
    model_words_out_of_place: [
        ("lora_studio/training/loop.py", "def f(unet): pass"),
        ("lora_studio/generator.py", "base.pipe.vae.decode(x)"),
        ("lora_studio/gallery.py", "part = 'text_encoder'"),
        ("lora_studio/ui/blocks.py", "alphas = 1"),
        ("lora_studio/studio.py", "load(unet=None)"),
        ("lora_studio/captioning/captioner.py", "self.free_text_encoders()"),
        ("lora_studio/training/activations/frugal_modules.py", "unet_rate = 1"),
        ("lora_studio/jobs/ended/result_pictures.py", "path = f'{folder}/vae/{name}'"),
        ("lora_studio/grids/grid_cells.py", "from diffusers import UNet2DConditionModel"),
    ],
    names_without_noun: [
        ("lora_studio/lora/names.py", "def f():\n    said = []"),
        ("lora_studio/lora/names.py", "def f(own, **more): pass"),
    ],
    private_module_names: [
        ("lora_studio/jobs/desk.py", ""),
        ("lora_studio/training/loss_spikes_of_runs.py", ""),
        ("lora_studio/ui/PageTheme.py", ""),
        ("lora_studio/generation/old_texts.py", ""),
    ],
    empty_names: [
        ("lora_studio/data/image_utils.py", ""),
        ("lora_studio/misc/folders.py", ""),
        ("lora_studio/jobs/training_queue.py", "class JobManager: pass"),
        ("lora_studio/jobs/training_queue.py", "class HTTPHandler: pass"),
    ],
}

TREE_VIOLATIONS: dict[TreeCheck, list[list[tuple[str, str]]]] = {
    names_in_two_rooms: [[("lora_studio/data/export.py", ""), ("lora_studio/cli/export.py", "")]],
}
