"""Who may import whom, and the limits that keep files readable. Each check is shown to be able to fail."""

from __future__ import annotations

import ast
import inspect
import json
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path, PurePosixPath

import pytest

from lora_studio.catalog import FAMILIES

CHECKOUT = Path(__file__).resolve().parent.parent

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
    {"training", "generation"},
    {"trainer", "generator", "gallery", "dataset", "grids"},
    {"jobs"},
    {"training_setup"},
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
MODEL_WORDS = {"unet", "alphas", "text_encoder", "vae"}
"""Parts of some base models only: who knows them knows one family."""
HOME_OF_MODEL_WORDS = ("lora_studio/families/", "lora_studio/lora/", "lora_studio/kohya_config/")
MODEL_WORDS_OF_OTHERS = {
    "lora_studio/images/foreign_settings/invoke.py": "InvokeAI's name of a setting",
    "lora_studio/images/foreign_settings/swarm.py": "SwarmUI's name of a setting",
    "lora_studio/prompts/lora_tags.py": "Forge's name of a weight in a tag",
}
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

FOLDER_FILES, FOLDER_FILES_OF = 14, {"lora_studio": 20}
"""The top level holds the front doors and the contracts that all rooms share, each in a file of its own."""
FILE_LINES, FILE_LINES_OF = 400, {"app.py": 60}
FUNCTION_LINES, FUNCTION_LINES_IN = 60, {"lora_studio/training/loop.py": 130}
PARAMETERS = 7
COLUMNS = 110

POOR_OPENINGS = {
    *("what", "which", "who", "whose", "where", "when", "how", "why", "as", "so", "than", "such", "if"),
    *("it", "its", "they", "them", "their", "this", "that", "these", "those", "there", "here", "then"),
    *("of", "by", "on", "for", "with", "without", "from", "in", "at", "to", "after", "before", "inside"),
    *("and", "but", "also", "not", "because", "meanwhile", "raises", "returns"),
}
"""Words that begin neither a noun phrase nor an imperative."""
NAMES_WITHOUT_NOUN = {"told", "said", "own", "known", "more"}
SELF_EXPLAINING_LINES = 8
"""A public function with a longer body has a docstring."""


@dataclass(frozen=True)
class Source:
    """A Python file: its path from the checkout, with slashes, and its text."""

    path: str
    text: str

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(ast.parse(self.text)))

    @property
    def modules(self) -> tuple[str, ...]:
        return PurePosixPath(self.path).with_suffix("").parts

    @property
    def is_in_package(self) -> bool:
        return self.modules[0] == "lora_studio"

    def imports(self) -> Iterator[tuple[int, str]]:
        """Line and full dotted name of all imports, those for types and those inside functions included."""
        for node in self.nodes:
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                start = self.modules[: -node.level] if node.level else ()
                module = ".".join([*start, *([node.module] if node.module else [])])
                yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
                yield node.lineno, str(getattr(node.args[0], "value", "?"))


Check = Callable[[Source], Iterator[str]]


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
    for line, name in source.imports():
        there = unit_of(tuple(name.split(".")))
        if there in ("", here) or there in CONTRACTS:
            continue
        if LEVEL_OF.get(there, len(LEVELS)) >= LEVEL_OF.get(here, 0):
            yield f"{source.path}:{line}: {here} must not import {there}"


def heavy_contracts(source: Source) -> Iterator[str]:
    if unit_of(source.modules) in CONTRACTS:
        for line, name in source.imports():
            top = name.split(".")[0]
            if top not in sys.stdlib_module_names and top not in {"anyascii", "pydantic", "lora_studio"}:
                yield f"{source.path}:{line}: a contract imports {top}"


def libraries_out_of_place(source: Source) -> Iterator[str]:
    for line, name in source.imports():
        library = name.split(".")[0]
        if library in HOME_OF_LIBRARY and not source.path.startswith(HOME_OF_LIBRARY[library]):
            yield f"{source.path}:{line}: {library} belongs into {' and '.join(HOME_OF_LIBRARY[library])}"


def family_names_out_of_place(source: Source) -> Iterator[str]:
    if not source.path.startswith(HOME_OF_FAMILY_NAMES):
        for node in source.nodes:
            if isinstance(node, ast.Constant) and node.value in FAMILY_NAMES:
                yield f"{source.path}:{node.lineno}: names the family {node.value!r}"


def model_words_out_of_place(source: Source) -> Iterator[str]:
    """As a name, an attribute, a parameter or a string of its own, in the package."""
    if not source.is_in_package or source.path in MODEL_WORDS_OF_OTHERS:
        return
    if source.path.startswith(HOME_OF_MODEL_WORDS):
        return
    for node in source.nodes:
        named = [getattr(node, field, None) for field in ("id", "attr", "arg", "name", "value")]
        for word in named:
            if isinstance(word, str) and word in MODEL_WORDS:
                yield f"{source.path}:{getattr(node, 'lineno', 0)}: names {word}, a part of some base models"


def long_files_and_lines(source: Source) -> Iterator[str]:
    lines = source.text.splitlines()
    limit = FILE_LINES_OF.get(source.path, FILE_LINES)
    if len(lines) > limit:
        yield f"{source.path}: {len(lines)} lines, {limit} allowed"
    for number, line in enumerate(lines, 1):
        if len(line) > COLUMNS:
            yield f"{source.path}:{number}: {len(line)} columns, {COLUMNS} allowed"


def long_functions(source: Source) -> Iterator[str]:
    limit = FUNCTION_LINES_IN.get(source.path, FUNCTION_LINES)
    for node in source.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node, clean=False) or ""
            lines = 1 + (node.end_lineno or 0) - node.lineno - len(docstring.splitlines())
            if lines > limit:
                yield f"{source.path}:{node.lineno}: {node.name} has {lines} lines, {limit} allowed"


def many_parameters(source: Source) -> Iterator[str]:
    for node in source.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            given = node.args
            named = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
            names = [argument.arg for argument in named if argument and argument.arg not in {"self", "cls"}]
            if len(names) > PARAMETERS:
                yield f"{source.path}:{node.lineno}: {node.name} has {len(names)} parameters"


def prints(source: Source) -> Iterator[str]:
    if source.is_in_package and not source.path.startswith("lora_studio/cli/"):
        for node in source.nodes:
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                yield f"{source.path}:{node.lineno}: print outside cli/"


def rebound_globals(source: Source) -> Iterator[str]:
    for node in source.nodes:
        if isinstance(node, ast.Global):
            yield f"{source.path}:{node.lineno}: a module keeps state in {', '.join(node.names)}"


def empty_names(source: Source) -> Iterator[str]:
    classes = [node.name for node in source.nodes if isinstance(node, ast.ClassDef)]
    for name in [*source.modules, *classes]:
        words = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}
        if words & EMPTY_WORDS:
            yield f"{source.path}: the name {name} says nothing"


def docstrings(source: Source) -> Iterator[tuple[int, str]]:
    """Line and text of all docstrings, those of constants included."""
    for node in source.nodes:
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            for statement in node.body:
                value = statement.value if isinstance(statement, ast.Expr) else None
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    yield statement.lineno, inspect.cleandoc(value.value)


def poor_openings(source: Source) -> Iterator[str]:
    for line, text in docstrings(source):
        words = re.findall(r"\S+\b", text.lower())[:2]
        if words[:1] and (words[0] in POOR_OPENINGS or words == ["the", "same"]):
            yield f"{source.path}:{line}: neither a noun phrase nor an imperative: {text[:50]}"


def missing_docstrings(source: Source) -> Iterator[str]:
    """Public classes but plain exceptions, and public functions too long to explain themselves."""
    if not source.is_in_package or source.path == "lora_studio/ui/endpoints/schemas.py":
        return  # endpoints describe their schemas
    for node in ast.parse(source.text).body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef) or node.name.startswith("_"):
            continue
        is_class = isinstance(node, ast.ClassDef)
        lines = SELF_EXPLAINING_LINES if is_class else 1 + (node.end_lineno or 0) - node.body[0].lineno
        is_plain = isinstance(node.body[0], ast.Pass) or lines < SELF_EXPLAINING_LINES
        is_command = source.path.startswith("lora_studio/cli/") and not is_class
        if ast.get_docstring(node) is None and not is_plain and not is_command:
            yield f"{source.path}:{node.lineno}: {node.name} has no docstring"


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


# Each check with files it must complain about.
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
    ],
    long_files_and_lines: [
        ("lora_studio/config.py", "x = 1\n" * 401),
        ("app.py", "x = 1\n" * 61),
        ("lora_studio/config.py", f"x = '{'x' * 110}'"),
    ],
    long_functions: [
        ("lora_studio/config.py", "def long():\n" + "    x = 1\n" * 60),
        (
            "lora_studio/ui/widgets/settings_form.py",
            "class Form:\n    async def long(self):\n" + "        x = 1\n" * 60,
        ),
        ("lora_studio/training/loop.py", "def long():\n" + "    x = 1\n" * 130),
    ],
    many_parameters: [
        ("lora_studio/config.py", "def wide(a, b, c, d, *, e, f, g, h): pass"),
        ("lora_studio/config.py", "class A:\n    def wide(self, a, b, c, d, e, f, *rest, **more): pass"),
    ],
    prints: [("lora_studio/jobs/training_queue.py", "print('queued')")],
    rebound_globals: [("lora_studio/runtime.py", "device = None\ndef take():\n    global device")],
    poor_openings: [
        ("lora_studio/lora/names.py", '"""What a LoRA is called."""'),
        ("lora_studio/lora/names.py", 'def find():\n    """The same, by its title."""'),
        ("lora_studio/lora/names.py", 'LONGEST = 60\n"""Of a slug, in letters."""'),
        ("lora_studio/lora/names.py", 'class A:\n    def find(self):\n        """As `find_slug`."""'),
        ("lora_studio/lora/names.py", 'def run():\n    """Raises ConfigError."""'),
    ],
    missing_docstrings: [
        ("lora_studio/lora/names.py", "class Name:\n    text: str"),
        ("lora_studio/lora/names.py", "def find():\n" + "    x = 1\n" * 8),
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
# ... and files that none of them may complain about.
ALLOWED = [
    ("lora_studio/store/job_store.py", "from lora_studio.records import X\nfrom .database import Database"),
    ("lora_studio/kohya_config.py", "import tomllib\nimport pydantic\nimport lora_studio.config"),
    ("lora_studio/trainer.py", "from lora_studio.training import loop\nimport torch"),
    ("lora_studio/store/supabase_client.py", "from supabase import create_client"),
    ("lora_studio/ui/blocks.py", "import gradio as gr\nfrom lora_studio.studio import Studio"),
    ("lora_studio/families/sdxl.py", "NAME = 'sdxl'"),
    ("lora_studio/families/sd.py", "def f(unet, vae): return alphas"),
    ("lora_studio/training/loop.py", "from lora_studio.families.vae import Codec\n'the unet of a base'"),
    ("lora_studio/cli/train.py", "print('done')\ndef plain(self, a, b, c, d, e, f, g): pass"),
    ("lora_studio/data/checks.py", "class Commonest: pass\nclass Utility: pass\n'about sdxl and flux'"),
    ("app.py", "import gradio as gr\nfrom lora_studio.ui.blocks import build"),
    ("lora_studio/config.py", "def f():\n    '''" + "\n" * 70 + "'''\n" + "    x = 1\n" * 50),
]


TreeCheck = Callable[[list[Source]], Iterator[str]]


def is_dunder(source: Source) -> bool:
    return source.modules[-1].startswith("__")


def crowded_folders(tree: list[Source]) -> Iterator[str]:
    counts = Counter(PurePosixPath(source.path).parent.as_posix() for source in tree if not is_dunder(source))
    for folder, count in counts.items():
        limit = FOLDER_FILES_OF.get(folder, FOLDER_FILES)
        if folder.startswith("lora_studio") and count > limit:
            yield f"{folder}/ has {count} files, {limit} allowed"


def names_in_two_rooms(tree: list[Source]) -> Iterator[str]:
    rooms = defaultdict[str, list[str]](list)
    for source in tree:
        if source.is_in_package and not is_dunder(source):
            rooms[source.modules[-1]].append(source.path)
    yield from (f"one name for {' and '.join(paths)}" for paths in rooms.values() if len(paths) > 1)


def import_circles(tree: list[Source]) -> Iterator[str]:
    """Of modules, by imports of every kind: those for types and those inside functions close a circle too."""
    modules = {".".join(source.modules).removesuffix(".__init__"): source for source in tree}
    graph: dict[str, set[str]] = {}
    for module, source in modules.items():
        names = [name for _, name in source.imports()]
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
        for _, name in source.imports():
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


TREE_VIOLATIONS: dict[TreeCheck, list[list[tuple[str, str]]]] = {
    crowded_folders: [
        [(f"lora_studio/data/room_{number}.py", "") for number in range(15)],
        [(f"lora_studio/contract_{number}.py", "") for number in range(21)],
    ],
    names_in_two_rooms: [[("lora_studio/data/export.py", ""), ("lora_studio/cli/export.py", "")]],
    room_circles: [
        [
            ("lora_studio/data/a.py", "from lora_studio.data.pixels.b import x"),
            ("lora_studio/data/pixels/b.py", ""),
            ("lora_studio/data/pixels/c.py", "from lora_studio.data.a import x"),
        ],
    ],
    import_circles: [
        [
            ("lora_studio/data/a.py", "from lora_studio.data.b import x"),
            ("lora_studio/data/b.py", "def late():\n    from lora_studio.data.c import x"),
            ("lora_studio/data/c.py", "if TYPE_CHECKING:\n    from lora_studio.data import a"),
        ],
    ],
}
TREE_ALLOWED = [
    ("lora_studio/data/pixels/e.py", "from lora_studio.data.a import x"),
    ("lora_studio/data/a.py", "from lora_studio.data.b import x\nfrom lora_studio import data"),
    ("lora_studio/data/b.py", "import torch"),
    ("lora_studio/data/__init__.py", ""),
    ("lora_studio/lora/__init__.py", ""),
]


@cache
def sources() -> list[Source]:
    files = [path for path in (CHECKOUT / "app.py", CHECKOUT / "launch.py") if path.exists()]
    for folder in ("lora_studio", "scripts", "deploy"):
        files += sorted((CHECKOUT / folder).rglob("*.py"))
    return [Source(path.relative_to(CHECKOUT).as_posix(), path.read_text("utf-8")) for path in files]


@pytest.mark.parametrize("check", VIOLATIONS, ids=lambda check: check.__name__)
def test_the_code_keeps_to_the_rule(check: Check) -> None:
    complaints = [complaint for source in sources() for complaint in check(source)]
    assert not complaints, "\n" + "\n".join(complaints)


@pytest.mark.parametrize(
    ("check", "path", "text"), [(check, *file) for check, files in VIOLATIONS.items() for file in files]
)
def test_the_check_can_fail(check: Check, path: str, text: str) -> None:
    assert list(check(Source(path, text)))


@pytest.mark.parametrize("check", TREE_VIOLATIONS, ids=lambda check: check.__name__)
def test_the_tree_keeps_to_the_rule(check: TreeCheck) -> None:
    complaints = list(check(sources()))
    assert not complaints, "\n" + "\n".join(complaints)


@pytest.mark.parametrize(
    ("check", "files"), [(check, files) for check, trees in TREE_VIOLATIONS.items() for files in trees]
)
def test_the_check_of_the_tree_can_fail(check: TreeCheck, files: list[tuple[str, str]]) -> None:
    assert list(check([Source(*file) for file in files]))
    assert not list(check([Source(*file) for file in TREE_ALLOWED]))


@pytest.mark.parametrize(("path", "text"), ALLOWED)
def test_what_is_allowed_passes(path: str, text: str) -> None:
    assert [complaint for check in VIOLATIONS for complaint in check(Source(path, text))] == []


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("app", {"torch", "diffusers", "transformers", "accelerate", "peft"}),
        ("lora_studio.trainer", {"gradio"}),
    ],
)
def test_importing_leaves_out(module: str, absent: set[str]) -> None:
    """In a fresh interpreter, so that nothing is there already."""
    program = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert absent & set(json.loads(run.stdout.splitlines()[-1])) == set()
