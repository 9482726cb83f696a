from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lora_studio.events import Event, StepDone
from lora_studio.files import sha256
from lora_studio.lora.file.lora_files import read_header
from lora_studio.trainer import train
from tests.support.configs import ConfigMaker
from tests.support.serving import CHECKOUT
from tests.support.single_file import write_single_file

WITHOUT_TORCH = """
import json, sys, threading
from lora_studio.config import TrainConfig
from lora_studio.families.base_files import base_hashes
from lora_studio.trainer import train

hashed = threading.Event()
base_hashes.sha256 = lambda path: hashed.set() or "0"
sys.modules["torch"] = None  # whoever loads it fails
try:
    train(TrainConfig.from_json(json.loads(sys.argv[1])))
except ImportError:
    print(hashed.wait(60))
"""


def test_no_step_waits_for_the_hash_of_the_base(
    make_config: ConfigMaker, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = write_single_file(shutil.copytree(tiny_base, tmp_path / "base"), tmp_path / "base.safetensors")
    stepped, heard = threading.Event(), []

    def slow_hash(path: Path) -> str:
        heard.append(stepped.wait(60))
        return sha256(path)

    def listen(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 3:
            stepped.set()

    monkeypatch.setattr("lora_studio.families.base_files.base_hashes.sha256", slow_hash)
    result = train(make_config(base=base, save_every_n_steps=0), listen)
    assert heard == [True]
    assert read_header(result.file).metadata["ss_new_sd_model_hash"] == sha256(base)


def test_the_hash_of_the_base_begins_before_the_libraries_load(
    make_config: ConfigMaker, tiny_base: Path, tmp_path: Path
) -> None:
    base = write_single_file(shutil.copytree(tiny_base, tmp_path / "base"), tmp_path / "base.safetensors")
    command = [sys.executable, "-c", WITHOUT_TORCH, json.dumps(make_config(base=base).to_json())]
    done = subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, check=True, timeout=120)
    assert done.stdout.split() == ["True"]
