"""A tiny base and a few pictures, made once; and a way to train on them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lora_studio.config import TrainConfig
from tests.support.configs import ConfigMaker
from tests.support.tiny import make_pictures, tiny_values


@pytest.fixture(autouse=True)
def on_the_cpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Comparisons to the bit are made on the CPU, also where there is a graphics card."""
    if request.node.get_closest_marker("gpu") is None:
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
        monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pictures(tmp_path_factory.mktemp("tiny") / "pictures")


@pytest.fixture
def make_config(tiny_base: Path, pictures: Path, tmp_path: Path) -> ConfigMaker:
    """`make_config(name, **changes)`: a training of four steps into a folder of that name."""

    def make(name: str = "disc", **changes: object) -> TrainConfig:
        base = Path(str(changes.pop("base", tiny_base)))
        data = Path(str(changes.pop("data", pictures)))
        return TrainConfig.from_values(tiny_values(base, data, tmp_path / "lora" / name, **changes))

    return make


@pytest.fixture(scope="session")
def trained_with_checkpoints(
    tiny_base: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The result folder of a run of four steps with previews and a checkpoint at each."""
    from lora_studio.trainer import train

    folder = tmp_path_factory.mktemp("loras") / "disc"
    values = tiny_values(tiny_base, pictures, folder, trigger_word="zwx", sample_every_n_steps=None)
    return Path(train(TrainConfig.from_values(values)).path)


@pytest.fixture
def lora_with_checkpoints(trained_with_checkpoints: Path, tmp_path: Path) -> Path:
    """A copy of it to change."""
    return Path(shutil.copytree(trained_with_checkpoints, tmp_path / "disc"))
