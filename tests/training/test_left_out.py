"""What a training leaves out of memory, in a fresh interpreter."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.configs import ConfigMaker
from tests.support.serving import CHECKOUT
from tests.support.single_file import write_single_file

PROGRAM = """
import json, sys
from lora_studio.config import TrainConfig
from lora_studio.events import StepDone
from lora_studio.trainer import train

LEFT_OUT = ("gradio", "sympy", "torch._dynamo.eval_frame", "torch._inductor", "torch.distributed.tensor",
    "torch.fx.experimental.symbolic_shapes", "torchvision", "pandas", "matplotlib", "scipy")
there = {}

def listen(event):
    if isinstance(event, StepDone):
        there[event.step] = [name for name in LEFT_OUT if name in sys.modules]

train(TrainConfig.from_json(json.loads(sys.argv[1])), listen)

import torch
from transformers.masking_utils import TransformGetItemToIndex

weight = torch.nn.Parameter(torch.ones(2))
optimizer = torch.optim.AdamW([weight], lr=0.5)

def step():
    weight.grad = torch.ones(2)
    optimizer.step()
    return weight.tolist()

before = step(), "sympy" in sys.modules
compiled = torch.compile(lambda numbers: numbers.relu() + 1, backend="eager", fullgraph=True)
answer = compiled(torch.tensor([-1.0, 2.0])).tolist()
from diffusers.models.attention import BasicTransformerBlock
real = sys.modules["torch._dynamo"]
print(json.dumps({
    "there": there,
    "before": before,
    "compiled": answer,
    "after": [step(), "sympy" in sys.modules, real.__file__.endswith("__init__.py")],
    "told": real.trace_rules.is_callable_allowed(BasicTransformerBlock),
    "made": type(TransformGetItemToIndex()).__module__,
}))
"""


@pytest.mark.slow
def test_what_compiles_models_comes_when_something_is_compiled(
    make_config: ConfigMaker, tiny_base: Path, tmp_path: Path
) -> None:
    base = write_single_file(shutil.copytree(tiny_base, tmp_path / "base"), tmp_path / "base.safetensors")
    config = make_config(base=base, max_train_steps=2)
    command = [sys.executable, "-c", PROGRAM, json.dumps(config.to_json())]
    done = subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["there"] == {"1": [], "2": []}
    before, after = found["before"], found["after"]
    assert before[1] is False
    assert after[1:] == [True, True]
    assert before[0] > after[0]  # the optimizer goes on
    assert found["compiled"] == [1.0, 3.0]
    assert found["told"] is True
    assert found["made"] == "torch._dynamo._trace_wrapped_higher_order_op"
