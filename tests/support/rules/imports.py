"""Who may import whom."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

from tests.support.rules.source import Check, Source, TreeCheck

CONTRACTS = {
    "__init__",
    "__version__",
    "access",
    "catalog",
    "config",
    "config_groups",
    "errors",
    "estimate",
    "event_text",
    "events",
    "files",
    "formatting",
    "kohya_config",
    "parsing",
    "records",
    "request",
    "samplers",
    "settings",
    "training_request",
}
LEVELS = (
    CONTRACTS,
    {"downloads", "lora", "data", "store", "runtime"},
    {"prompts"},
    {"families", "images"},
    {"training", "generation", "captioning"},
    {"trainer", "generator", "gallery", "dataset", "grids"},
    {"jobs"},
    {"training_setup", "operations"},
    {"studio"},
    {"ui", "cli"},
    {"__main__", "app", "deploy", "launch", "scripts"},
)
LEVEL_OF = {unit: level for level, units in enumerate(LEVELS) for unit in units}
HOME_OF_LIBRARY = {
    "gradio": ("lora_studio/ui/", "app.py"),
    "supabase": ("lora_studio/store/supabase_client.py",),
    "modal": ("lora_studio/jobs/modal_worker.py", "deploy/"),
}


def unit_of(modules: tuple[str, ...]) -> str:
    """The entry of LEVELS that a module belongs to; empty for what is not ours."""
    if modules[0] == "lora_studio":
        return modules[1] if len(modules) > 1 else "__init__"
    return modules[0] if modules[0] in LEVEL_OF else ""


def unknown_modules(source: Source) -> Iterator[str]:
    if unit_of(source.modules) not in LEVEL_OF:
        yield f"{source.path}: no level in LEVELS"


def imports_upwards_or_sideways(source: Source) -> Iterator[str]:
    here = unit_of(source.modules)
    for line, name in source.imports:
        there = unit_of(tuple(name.split(".")))
        if there in ("", here) or there in CONTRACTS:
            continue
        if LEVEL_OF.get(there, len(LEVELS)) >= LEVEL_OF.get(here, 0):
            yield f"{source.path}:{line}: {here} must not import {there}"


def heavy_contracts(source: Source) -> Iterator[str]:
    if unit_of(source.modules) in CONTRACTS:
        for line, name in source.imports:
            top = name.split(".")[0]
            if top not in sys.stdlib_module_names and top not in {"anyascii", "pydantic", "lora_studio"}:
                yield f"{source.path}:{line}: a contract imports {top}"


def libraries_out_of_place(source: Source) -> Iterator[str]:
    for line, name in source.imports:
        library = name.split(".")[0]
        if library in HOME_OF_LIBRARY and not source.path.startswith(HOME_OF_LIBRARY[library]):
            yield f"{source.path}:{line}: {library} belongs into {' and '.join(HOME_OF_LIBRARY[library])}"


def import_circles(tree: list[Source]) -> Iterator[str]:
    """Of modules, by imports of every kind: those for types and those inside functions close a circle too."""
    modules = {".".join(source.modules).removesuffix(".__init__"): source for source in tree}
    graph: dict[str, set[str]] = {}
    for module, source in modules.items():
        names = [name for _, name in source.imports]
        found = {name if name in modules else name.rpartition(".")[0] for name in names}
        graph[module] = (found & modules.keys()) - {module}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield " -> ".join(reversed(error.args[1]))


def room_circles(tree: list[Source]) -> Iterator[str]:
    """In each folder, of its files and of the rooms in it, each room taken as one."""
    modules = {".".join(source.modules): source for source in tree if source.modules[-1] != "__init__"}
    folders = defaultdict[str, dict[str, set[str]]](lambda: defaultdict(set))
    for source in modules.values():
        for _, name in source.imports:
            there = modules.get(name) or modules.get(name.rpartition(".")[0])
            if there is not None and there is not source:
                pairs = zip(source.modules, there.modules, strict=False)
                depth = next(depth for depth, (ours, theirs) in enumerate(pairs) if ours != theirs)
                folders["/".join(source.modules[:depth])][source.modules[depth]].add(there.modules[depth])
    for folder, graph in folders.items():
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            yield f"{folder}/: {' -> '.join(reversed(error.args[1]))}"


VIOLATIONS: dict[Check, list[tuple[str, str]]] = {
    unknown_modules: [("lora_studio/extras.py", "")],
    imports_upwards_or_sideways: [
        ("lora_studio/store/job_store.py", "from lora_studio.jobs.training_queue import TrainingQueue"),
        ("lora_studio/store/job_store.py", "import lora_studio.data.training_set.folders"),
        ("lora_studio/store/job_store.py", "from lora_studio import data"),
        ("lora_studio/store/job_store.py", "from ..data import folders"),
        ("lora_studio/trainer.py", "from .gallery import Gallery"),
        ("lora_studio/runtime.py", "def late():\n    import lora_studio.families.sd"),
        ("lora_studio/runtime.py", "importlib.import_module('lora_studio.studio')"),
        ("lora_studio/training/loop.py", "from lora_studio.generation.lora_stack import apply"),
        ("lora_studio/ui/blocks.py", "import app"),
        ("lora_studio/config.py", "from lora_studio.store import database"),
        ("lora_studio/lora/file/keys.py", "from lora_studio.extras import anything"),
    ],
    heavy_contracts: [
        ("lora_studio/config.py", "import numpy"),
        ("lora_studio/events.py", "from torch import nn"),
    ],
    libraries_out_of_place: [
        ("lora_studio/studio.py", "import gradio as gr"),
        ("lora_studio/jobs/training_queue.py", "def late():\n    from gradio.routes import App"),
        ("lora_studio/store/outbox.py", "from supabase import create_client"),
        ("lora_studio/jobs/training_queue.py", "import modal"),
    ],
}

TREE_VIOLATIONS: dict[TreeCheck, list[list[tuple[str, str]]]] = {
    import_circles: [
        [
            ("lora_studio/data/a.py", "from lora_studio.data.b import x"),
            ("lora_studio/data/b.py", "def late():\n    from lora_studio.data.c import x"),
            ("lora_studio/data/c.py", "if TYPE_CHECKING:\n    from lora_studio.data import a"),
        ],
    ],
    room_circles: [
        [
            ("lora_studio/data/a.py", "from lora_studio.data.pixels.b import x"),
            ("lora_studio/data/pixels/b.py", ""),
            ("lora_studio/data/pixels/c.py", "from lora_studio.data.a import x"),
        ],
    ],
}
