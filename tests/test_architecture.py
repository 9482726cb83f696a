"""The rules that the code keeps to, in tests/support/rules. Each check is shown to be able to fail."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.rules import docstrings, imports, limits, names, threads
from tests.support.rules.source import Check, Source, TreeCheck, sources
from tests.support.serving import CHECKOUT

# Each check with files it must complain about.
VIOLATIONS: dict[Check, list[tuple[str, str]]] = {
    **imports.VIOLATIONS,
    **names.VIOLATIONS,
    **limits.VIOLATIONS,
    **docstrings.VIOLATIONS,
    **threads.VIOLATIONS,
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
    *threads.ALLOWED,
]

TREE_VIOLATIONS: dict[TreeCheck, list[list[tuple[str, str]]]] = {
    **imports.TREE_VIOLATIONS,
    **names.TREE_VIOLATIONS,
    **limits.TREE_VIOLATIONS,
}
TREE_ALLOWED = [
    ("lora_studio/data/pixels/e.py", "from lora_studio.data.a import x"),
    ("lora_studio/data/a.py", "from lora_studio.data.b import x\nfrom lora_studio import data"),
    ("lora_studio/data/b.py", "import torch"),
    ("lora_studio/data/__init__.py", ""),
    ("lora_studio/lora/__init__.py", ""),
]


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


@pytest.mark.slow  # in the first tier the rules of imports say so, and an idle app has no torch in its memory
@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("app", {"torch", "diffusers", "transformers", "accelerate", "peft", "pandas"}),
        ("lora_studio.trainer", {"gradio", "torch", "diffusers", "transformers", "accelerate", "peft"}),
        ("lora_studio.training.start.start_run", {"gradio"}),
    ],
)
def test_importing_leaves_out(module: str, absent: set[str]) -> None:
    """In a fresh interpreter, so that nothing is there already."""
    program = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert absent & set(json.loads(run.stdout.splitlines()[-1])) == set()
