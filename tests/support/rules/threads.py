"""Threads of the page and the API: whoever starts one says on whose behalf it works.

A call comes in on behalf of a visitor (docs/adr/0006-people-and-owners.md), which a new thread doesn't know:
it would work as the person at the machine, who may do all. `asyncio.to_thread` and Starlette's
`run_in_threadpool` carry the visitor along; `on_behalf` carries it into a thread that is started by hand.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.support.rules.source import Check, Source

OF_VISITORS = ("lora_studio/ui/", "lora_studio/jobs/zero_gpu_generator.py")
CARRIES = "lora_studio.access.visitor.on_behalf"
THREADS = {"threading.Thread": "target", "threading.Timer": "function"}
"""Classes of threads, with the parameter that is what the thread does: its second by place."""
FORGETFUL = ("concurrent.futures", "multiprocessing", "_thread")
"""Modules whose threads and processes know nothing of the visitor."""


def threads_without_visitor(source: Source) -> Iterator[str]:
    if not source.path.startswith(OF_VISITORS):
        return
    for line, module in source.imports:
        if module.startswith(FORGETFUL):
            yield f"{source.path}:{line}: {module} doesn't carry the visitor along"
    names = dict(_names(source))
    for node in source.nodes:
        if isinstance(node, ast.Call) and (parameter := THREADS.get(_full(node.func, names))):
            by_name = [keyword.value for keyword in node.keywords if keyword.arg == parameter]
            work = [*by_name, *node.args[1:2]]
            if not (work and isinstance(work[0], ast.Call) and _full(work[0].func, names) == CARRIES):
                yield f"{source.path}:{node.lineno}: a thread whose {parameter} isn't `on_behalf(...)`"
        elif isinstance(node, ast.Attribute) and node.attr == "run_in_executor":
            yield f"{source.path}:{node.lineno}: run_in_executor forgets the visitor; take asyncio.to_thread"
        elif isinstance(node, ast.ClassDef):
            kinds = {_full(base, names) for base in node.bases} & THREADS.keys()
            yield from (f"{source.path}:{node.lineno}: {node.name} is a {kind} of its own" for kind in kinds)


def _names(source: Source) -> Iterator[tuple[str, str]]:
    """Names that imports bring, with what they stand for."""
    for node in source.nodes:
        if isinstance(node, ast.Import):
            yield from ((alias.asname, alias.name) for alias in node.names if alias.asname)
        elif isinstance(node, ast.ImportFrom):
            yield from ((alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names)


def _full(function: ast.expr, names: dict[str, str]) -> str:
    head, dot, rest = ast.unparse(function).partition(".")
    return f"{names.get(head, head)}{dot}{rest}"


VIOLATIONS: dict[Check, list[tuple[str, str]]] = {
    threads_without_visitor: [
        ("lora_studio/ui/refresh.py", "import threading\nthreading.Thread(target=look, daemon=True).start()"),
        ("lora_studio/ui/refresh.py", "from threading import Thread as T\nT(None, look)"),
        ("lora_studio/ui/refresh.py", "import threading as t\nt.Timer(3, look)"),
        ("lora_studio/ui/refresh.py", "import threading\nthreading.Thread(target=copy_context().run)"),
        ("lora_studio/ui/refresh.py", "import threading\nclass Look(threading.Thread): pass"),
        ("lora_studio/ui/upload/upload_tab.py", "from concurrent.futures import ThreadPoolExecutor"),
        ("lora_studio/ui/upload/upload_tab.py", "import concurrent.futures"),
        ("lora_studio/ui/upload/upload_tab.py", "def late():\n    import multiprocessing.pool"),
        ("lora_studio/ui/serving/gate.py", "async def f(loop): await loop.run_in_executor(None, look)"),
    ],
}
ALLOWED = [
    (
        "lora_studio/ui/refresh.py",
        "import threading\nfrom lora_studio.access.visitor import on_behalf\n"
        "threading.Thread(target=on_behalf(look), daemon=True)\nthreading.Timer(3, on_behalf(look))",
    ),
    ("lora_studio/ui/refresh.py", "import gradio as gr\ngr.Timer(3)\nawait asyncio.to_thread(look)"),
    ("lora_studio/jobs/training_queue.py", "import threading\nthreading.Thread(target=work)"),
]
