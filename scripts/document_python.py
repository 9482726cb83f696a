"""The page of the Python interface, docs/reference/python.md: signatures and docstrings of what a program
that imports the studio calls. `python -m scripts.document_reference` writes it."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from lora_studio.settings import CHECKOUT

PARTS = (
    ("lora_studio/studio.py", ("open_studio", "Studio")),
    ("lora_studio/dataset.py", ("Datasets",)),
    ("lora_studio/training_request.py", ("StartTraining",)),
    ("lora_studio/training_setup.py", ("TrainingSetup",)),
    ("lora_studio/jobs/training_queue.py", ("TrainingQueue",)),
    ("lora_studio/request.py", ("LoraUse", "GenerateRequest")),
    ("lora_studio/gallery.py", ("Gallery",)),
    ("lora_studio/config.py", ("TrainConfig",)),
    ("lora_studio/trainer.py", ("train",)),
    ("lora_studio/generator.py", ("Generator",)),
    ("lora_studio/settings.py", ("Settings",)),
    ("lora_studio/errors.py", ("StudioError",)),
)
"""Files, and what of them is shown, in the order of the page."""
PROPERTIES = ("property", "cached_property")
INTRODUCTION = """\
# In Python

{note}

What a program calls that imports the studio instead of asking [its API](../api.md): the same parts as page
and command line use, and the engine below them. Importing loads no torch. `emit` takes [events](events.md),
`should_stop` is asked once a step; every error that a person can put right is a `StudioError`. What is left
out here is the inside, and may change.

<!-- run by tests/documentation/test_walks.py::test_the_studio_is_used_from_python -->
```python
from pathlib import Path

from lora_studio.request import GenerateRequest, LoraUse
from lora_studio.settings import Settings
from lora_studio.studio import open_studio
from lora_studio.training_request import StartTraining

studio = open_studio(Settings.from_environment())
pictures = studio.datasets.create("Ink", sorted(Path("examples/ink").iterdir()))
wanted = StartTraining(
    dataset_id=pictures.id,
    name="Ink",
    kind="style",
    trigger="zwx",
    overrides={"max_train_steps": 200},
)
job = studio.trainings.start(wanted)
job = studio.jobs.wait(job.id)
lora = LoraUse(slug=Path(job.result_path).name)
(image,) = studio.generate(GenerateRequest(prompt="rocket, zwx style", loras=(lora,), seed=7))
print(job.status, image.path)
studio.close()
```
"""


def python_page(note: str) -> str:
    """The whole text; `note` says how the page is made. Raises KeyError for a name that its file lacks."""
    lines = [INTRODUCTION.replace("{note}", note)]
    for file, names in PARTS:
        tree = ast.parse((CHECKOUT / file).read_text("utf-8"))
        found = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
        module = file.removesuffix(".py").replace("/", ".")
        for name in names:
            lines += [f"## {name}", "", f"`from {module} import {name}`", "", *_about(found[name]), ""]
    return "\n".join(lines)


def _about(node: ast.ClassDef | ast.FunctionDef) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef):
        yield from (f"`{_signature(node)}`", "", *_paragraphs(node))
        return
    yield from _paragraphs(node)
    fields = [
        f"`{item.target.id}: {ast.unparse(item.annotation)}`"
        for item in node.body
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and item.target.id[0] != "_"
    ]
    if fields:
        yield from ("", f"Fields: {', '.join(fields)}")
    methods = [item for item in node.body if isinstance(item, ast.FunctionDef) and item.name[0] != "_"]
    if methods:
        yield ""
    for method in methods:
        yield f"- `{_signature(method)}`" + "".join(f"  \n  {part}" for part in _paragraphs(method) if part)


def _signature(node: ast.FunctionDef) -> str:
    """The signature as it is written, without self; that of a property is its name and type."""
    decorators = {item.id for item in node.decorator_list if isinstance(item, ast.Name)}
    gives = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    if decorators & {*PROPERTIES}:
        return node.name + gives.replace(" ->", ":")
    given = ast.unparse(node.args)
    for first in ("self", "cls"):
        given = given.removeprefix(first).removeprefix(", ")
    return f"{node.name}({given}){gives}"


def _paragraphs(node: ast.ClassDef | ast.FunctionDef) -> Sequence[str]:
    """The docstring's, each on one line, with an empty line between."""
    parts = (ast.get_docstring(node) or "").split("\n\n")
    lines = [" ".join(part.split()) for part in parts if part.strip()]
    return [line for part in lines for line in (part, "")][:-1]
