from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from lora_studio.events import Event, StepDone
from lora_studio.files import sha256
from lora_studio.lora.file.lora_files import read_header
from lora_studio.trainer import train
from tests.support.configs import ConfigMaker
from tests.support.single_file import write_single_file


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
