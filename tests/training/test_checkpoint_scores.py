from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lora_studio.config import TrainConfig
from lora_studio.data.pixels.picture_pixels import open_picture
from lora_studio.events import Event, Noted
from lora_studio.families.base_files.locate import find_base
from lora_studio.families.features.picture_features import likeness
from lora_studio.lora.checkpoint_report import read_report
from lora_studio.runtime import find_device
from lora_studio.settings import CHECKOUT
from lora_studio.trainer import train
from lora_studio.training.evaluation.checkpoint_scores import CheckpointScorer
from lora_studio.training.evaluation.previews import PreviewSampler, write_picture
from lora_studio.training.model import load_engine
from tests.support.configs import ConfigMaker


@pytest.fixture(scope="module")
def starter_judge(tmp_path_factory: pytest.TempPathFactory) -> CheckpointScorer:
    folder = tmp_path_factory.mktemp("judge")
    values = {
        "pretrained_model_name_or_path": "starter",
        "train_data_dir": str(CHECKOUT / "examples" / "alien"),
        "output_name": "x",
        "output_dir": str(folder),
        "resolution": 64,
        "network_dim": 4,
        "network_train_unet_only": True,
        "sample_guidance": 3,
        "mixed_precision": "no",
    }
    engine = load_engine(TrainConfig.from_values(values), find_base("starter"), find_device(), torch.float32)
    judge = CheckpointScorer(engine=engine, preview_sampler=PreviewSampler(engine=engine))
    judge.preview_sampler.prepare(())
    return judge


def examples(name: str, folder: Path) -> list[Path]:
    """As small as the starter's own pictures."""
    paths = sorted((CHECKOUT / "examples" / name).glob("*.png"))
    for path in paths:
        write_picture(open_picture(path).resize((64, 64)), folder / path.name)
    return [folder / path.name for path in paths]


@pytest.mark.parametrize(
    ("name", "other"), [("alien", "ink"), pytest.param("ink", "alien", marks=pytest.mark.slow)]
)
def test_likeness_tells_the_subject_from_other_pictures(
    starter_judge: CheckpointScorer, tmp_path: Path, name: str, other: str
) -> None:
    """Half of a set is learned; the other half must look more like it than another set does: of 25
    pairs, chance would get half."""
    own, others = examples(name, tmp_path), examples(other, tmp_path)
    paths = [*own[::2], *own[1::2], *others[1::2]]
    table = torch.stack([starter_judge.features(starter_judge.of_picture(path)) for path in paths])
    table = (table - table.mean(0)) / (table.std(0) + 1e-6)
    known, same, different = table.split([len(own[::2]), len(own[1::2]), len(others[1::2])])
    near = [likeness(picture[None], different, known) for picture in same]
    far = [likeness(picture[None], different, known) for picture in different]
    right = sum(one > two for one in near for two in far)  # type: ignore[operator]
    assert right >= 0.9 * len(near) * len(far)


@pytest.mark.slow
def test_adherence_finds_the_prompt_of_each_picture(starter_judge: CheckpointScorer, tmp_path: Path) -> None:
    prompts = ("cat", "rocket on a pink background", "castle on a green background")
    images = starter_judge.preview_sampler.draw(prompts, (1, 2, 3), lambda *_: False, steps=10)
    for number, image in enumerate(images):
        write_picture(image, tmp_path / f"{number}.png")
    latents = torch.cat([starter_judge.of_picture(tmp_path / f"{number}.png") for number in range(3)])
    assert bool((starter_judge.margins(latents, prompts) > 0).all())
    assert bool(starter_judge.margins(latents.roll(1, 0), prompts).mean() < 0)


def test_likeness_runs_from_the_base_to_the_training_pictures() -> None:
    base, training = torch.tensor([[1.0, 0.0], [1.0, 0.1]]), torch.tensor([[0.0, 1.0], [0.1, 1.0]])
    assert likeness(base, base, training) == pytest.approx(0)
    assert likeness(training, base, training) == pytest.approx(1, abs=0.05)
    assert likeness(base, training, training) is None


def test_a_run_ends_with_a_board(trained_with_checkpoints: Path) -> None:
    board = read_report(trained_with_checkpoints)
    assert board is not None
    assert [row.step for row in board.rows] == [1, 2, 3, 4]
    files = [path for row in board.rows for path in (*row.pictures, row.without)]
    files += [*board.base, board.without_base]
    assert all((trained_with_checkpoints / path).is_file() for path in files)
    assert all(len(row.pictures) == len(board.prompts) == 3 for row in board.rows)
    assert all(row.leak is not None and 0 <= row.leak <= 1 for row in board.rows)


def test_the_board_knows_the_validation_losses(make_config: ConfigMaker) -> None:
    events: list[Event] = []
    result = train(make_config(validation_split=0.5), events.append)
    board = read_report(result.path)
    assert board is not None
    assert board.base_loss is not None
    assert [row.validation_loss is not None for row in board.rows] == [True] * 4
    assert board.recommended
    assert board.reason in [event.message for event in events if isinstance(event, Noted)]


@pytest.mark.parametrize(
    "changes", [pytest.param({"checkpoint_board": False}, marks=pytest.mark.slow), {"save_every_n_steps": 0}]
)
def test_where_there_is_nothing_to_compare_there_is_no_board(make_config: ConfigMaker, changes: dict) -> None:
    result = train(make_config(trigger_word="zwx", sample_every_n_steps=2, **changes))
    assert read_report(result.path) is None
    drawn = [path.name for path in Path(result.path, "previews").glob("without-*")]
    assert bool(drawn) == ("checkpoint_board" not in changes)


def test_out_of_time_the_board_says_so(make_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lora_studio.training.evaluation.checkpoint_scores.seconds_allowed", lambda _: -1.0)
    result = train(make_config(trigger_word="zwx", sample_every_n_steps=None))
    board = read_report(result.path)
    assert board is not None
    assert "no time" in board.notes[0]
    assert board.recommended == 0


def test_a_stop_ends_the_comparison(make_config: ConfigMaker) -> None:
    asked: list[bool] = []

    def stop_while_comparing() -> bool:
        return bool(asked)

    def listen(event: Event) -> None:
        if getattr(event, "note", "") == "compare":
            asked.append(True)

    config = make_config(trigger_word="zwx", sample_every_n_steps=None)
    result = train(config, listen, stop_while_comparing)
    board = read_report(result.path)
    assert len(asked) == 2  # after the first picture, and at the end
    assert board is not None
    assert result.status == "finished"
