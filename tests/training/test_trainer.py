from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open

from lora_studio.config import TrainConfig
from lora_studio.errors import ConfigError, DatasetError, Diverged, ModelFileError, OutOfMemory
from lora_studio.events import (
    CheckpointSaved,
    Event,
    Finished,
    Noted,
    Paused,
    PhaseAdvanced,
    PreviewSaved,
    Started,
    StepDone,
    Stopped,
)
from lora_studio.lora.file.lora_files import find_file, read_header
from lora_studio.trainer import train
from tests.support.configs import ConfigMaker
from tests.support.refusals import refused
from tests.support.runs import of, run_until


def notes(events: list[Event]) -> list[str]:
    return [event.message for event in of(Noted, events)]


def test_the_events_of_a_run_tell_its_story(make_config: ConfigMaker) -> None:
    config = make_config(sample_every_n_steps=None, sample_prompts=("zwx",))
    result, events = run_until(config)
    assert isinstance(events[0], Started)
    assert events[0].phases == ("load", "cache", "preview", "train", "save")
    assert (events[0].total_steps, events[0].images, events[0].dtype) == (4, 4, "float32")
    assert isinstance(events[-1], Finished)
    assert (events[-1].path, events[-1].steps) == (result.path, 4)
    phases = list(dict.fromkeys(event.phase for event in of(PhaseAdvanced, events)))
    assert phases == ["load", "cache", "preview", "save"]
    for phase in phases:
        done = [event for event in of(PhaseAdvanced, events) if event.phase == phase]
        assert (done[0].done, done[-1].done) == (0, done[-1].total)
    assert [event.step for event in of(StepDone, events)] == [1, 2, 3, 4]
    assert [event.step for event in of(PreviewSaved, events)] == [0, 1, 2, 3, 4]
    assert [(event.step, event.final) for event in of(CheckpointSaved, events)] == [
        (1, False),
        (2, False),
        (3, False),
        (4, True),
    ]
    assert (result.status, result.steps) == ("finished", 4)
    assert result.final_loss == of(StepDone, events)[-1].average_loss


def test_the_result_folder_is_whole(make_config: ConfigMaker) -> None:
    config = make_config(
        "my-disc",
        title="My Disc",
        trigger_word="zwx",
        sample_every_n_steps=2,
        sample_prompts=("zwx",),
        kind="style",
        network_alpha=2,
    )
    result, _ = run_until(config)
    folder = Path(result.path)
    assert {path.name for path in folder.iterdir()} == {
        *(
            "my-disc.safetensors",
            "adapter_config.json",
            "training.json",
            "README.md",
            "previews",
            "checkpoints",
        )
    }
    assert find_file(folder) == Path(result.file) == folder / "my-disc.safetensors"
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {
        *(f"my-disc-step0000000{step}.safetensors" for step in (1, 2, 3))
    }
    assert {path.name for path in (folder / "previews").iterdir()} >= {
        *("base-0.png", "step-000002-0.png", "step-000004-0.png")
    }
    with Image.open(folder / "previews" / "base-0.png") as preview:
        assert preview.size == (64, 64)
    training = json.loads((folder / "training.json").read_text())
    assert TrainConfig.from_json(training["config"]) == config
    assert training["result"]["status"] == "finished"
    assert (training["result"]["steps"], training["result"]["images"]) == (4, 4)
    assert training["result"]["previews"][-1]["path"] == "previews/step-000004-0.png"
    assert training["versions"]["torch"] == torch.__version__
    adapter = json.loads((folder / "adapter_config.json").read_text())
    assert (adapter["peft_type"], adapter["r"], adapter["lora_alpha"]) == ("LORA", 4, 2)
    assert {"attn1.to_q", "proj_in", "ff.net.0.proj", "self_attn.q_proj"} <= set(adapter["target_modules"])
    assert "previews/step-000004-0.png" in (folder / "README.md").read_text()


def test_the_files_metadata_tells_about_the_run(make_config: ConfigMaker, tiny_base: Path) -> None:
    result, _ = run_until(make_config("my-disc", title="My Disc", trigger_word="zwx", network_alpha=2))
    header = read_header(result.file)
    assert (header.family, header.network_dim, header.network_alpha) == ("sd1", 4, 2.0)
    assert header.base == tiny_base.name
    assert header.metadata["modelspec.title"] == "My Disc"
    assert header.metadata["modelspec.trigger_phrase"] == "zwx"
    assert header.metadata["sshs_model_hash"] == header.tensor_hash
    assert (header.metadata["ss_steps"], header.metadata["ss_num_train_images"]) == ("4", "4")
    tags = json.loads(header.metadata["ss_tag_frequency"])["pictures"]
    assert (tags["zwx"], tags["a disc"]) == (4, 4)
    assert header.tensors["lora_unet_mid_block_attentions_0_proj_in.alpha"] == ("F32", ())


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("fp16", torch.float16), pytest.param("bf16", torch.bfloat16, marks=pytest.mark.slow)],
)
def test_the_file_has_the_wanted_precision(
    make_config: ConfigMaker, precision: str, dtype: torch.dtype
) -> None:
    result, _ = run_until(make_config(save_precision=precision))
    with safe_open(result.file, "pt") as file:
        assert {file.get_tensor(key).dtype for key in file.keys()} == {dtype}  # noqa: SIM118


@pytest.mark.parametrize(
    "when", [PhaseAdvanced, *(pytest.param(kind, marks=pytest.mark.slow) for kind in (Started, PreviewSaved))]
)
def test_stopping_before_the_first_step_leaves_nothing(make_config: ConfigMaker, when: type) -> None:
    config = make_config(sample_every_n_steps=2, sample_prompts=("zwx",))
    result, events = run_until(config, lambda so_far: bool(of(when, so_far)))
    assert (result.status, result.path, result.file, result.steps) == ("stopped", "", "", 0)
    assert events[-1] == Stopped(step=0)
    assert not of(StepDone, events)
    assert not list(Path(config.output.output_dir).glob("*.safetensors"))


def test_stopping_while_pictures_are_encoded_takes_effect_at_the_next_one(make_config: ConfigMaker) -> None:
    def two_are_done(events: list[Event]) -> bool:
        return any(event.phase == "cache" and event.done == 2 for event in of(PhaseAdvanced, events))

    _, events = run_until(make_config(vae_batch_size=2), two_are_done)
    assert max(event.done for event in of(PhaseAdvanced, events) if event.phase == "cache") == 2
    assert not of(StepDone, events)


def test_stopping_during_a_preview_ends_it_and_keeps_what_was_learned(make_config: ConfigMaker) -> None:
    def in_the_second_preview(events: list[Event]) -> bool:
        inside = [
            event for event in of(PhaseAdvanced, events) if event.phase == "preview" and event.done == 1
        ]
        return len(inside) == 2

    config = make_config(sample_every_n_steps=2, sample_steps=9, sample_prompts=("zwx",))
    result, events = run_until(config, in_the_second_preview)
    assert (result.status, result.steps) == ("stopped", 2)
    assert [event.step for event in of(PreviewSaved, events)] == [0]
    assert events[-1] == Stopped(step=2, path=result.path)
    assert find_file(result.path)


def test_a_stop_asked_for_once_holds(make_config: ConfigMaker) -> None:
    """A caller may answer True once and False afterwards."""
    asked = []

    def only_once(events: list[Event]) -> bool:
        if len(of(StepDone, events)) == 2 and not asked:
            asked.append(True)
            return True
        return False

    config = make_config(sample_every_n_steps=2, sample_prompts=("zwx",))
    result, _ = run_until(config, only_once)
    assert (result.status, result.steps) == ("stopped", 2)


def test_stopping_in_a_warm_up_that_changed_nothing_publishes_nothing(make_config: ConfigMaker) -> None:
    config = make_config(lr_scheduler="constant_with_warmup", lr_warmup_steps=2)
    result, events = run_until(config, lambda so_far: len(of(StepDone, so_far)) == 1)
    assert (result.status, result.path) == ("stopped", "")
    assert "before anything was learned" in notes(events)[-1]
    assert not list(Path(config.output.output_dir).glob("*.safetensors"))


def test_a_lora_that_learned_nothing_is_not_published(make_config: ConfigMaker) -> None:
    config = make_config(max_train_steps=1, lr_scheduler="linear", lr_warmup_steps=1)
    with pytest.raises(Diverged, match="learned nothing"):
        run_until(config)
    assert not list(Path(config.output.output_dir).glob("*.safetensors"))


def test_weights_that_are_no_numbers_are_never_written(make_config: ConfigMaker) -> None:
    """Half precision ends at 65504."""
    config = make_config(
        save_precision="fp16", learning_rate=1, weight_decay=0, max_train_steps=1, network_alpha=1
    )
    from lora_studio.training import result_folder

    infinite = {"x.lora_up.weight": torch.tensor([1e6]).half()}
    assert not result_folder.is_finite(infinite["x.lora_up.weight"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lora_studio.lora.network.attach.AttachedLora.tensors", lambda *_: infinite)
        with pytest.raises(Diverged, match="no longer numbers"):
            run_until(config)
    assert not list(Path(config.output.output_dir).rglob("*.safetensors"))


def test_an_earlier_result_is_not_overwritten(make_config: ConfigMaker) -> None:
    config = make_config()
    result, _ = run_until(config)
    before = Path(result.file).read_bytes()
    with pytest.raises(ConfigError, match="already a LoRA disc") as caught:
        run_until(config)
    assert caught.value.field == "output_dir"
    assert Path(result.file).read_bytes() == before


def test_a_full_disk_is_told(make_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    config = make_config(save_every_n_steps=0)
    events: list[Event] = []
    assert train(config, events.append).status == "paused"
    assert isinstance(paused := events[-1], Paused)
    assert "can't be written: No space left" in paused.message
    assert not [path for path in Path(config.output.output_dir).rglob("*") if path.is_file()]


def test_an_output_folder_that_cannot_be_is_told_at_once(make_config: ConfigMaker, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="can't be written"):
        run_until(make_config().with_values({"output_dir": str(tmp_path / "file" / "disc")}))


def test_a_preview_that_fails_at_the_end_loses_nothing(
    make_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lora_studio.training.evaluation.previews import Previews

    save = Previews.save

    def fail_at_the_end(self: Previews, step: int) -> None:
        if step == 4:
            raise RuntimeError("no picture")
        save(self, step)

    monkeypatch.setattr(Previews, "save", fail_at_the_end)
    config = make_config(sample_every_n_steps=4, sample_prompts=("zwx",))
    with pytest.raises(RuntimeError, match="no picture"):
        run_until(config)
    assert read_header(find_file(config.output.output_dir)).metadata["ss_steps"] == "4"


def test_unreadable_pictures_are_noted_and_left_out(
    make_config: ConfigMaker, pictures: Path, tmp_path: Path
) -> None:
    data = shutil.copytree(pictures, tmp_path / "mixed")
    (data / "fake.png").write_text("no picture")
    result, events = run_until(make_config(data=data))
    assert [event for event in of(Noted, events) if event.level == "warning"] == [
        Noted(message="fake.png is not a picture. It is left out.", level="warning")
    ]
    assert json.loads((Path(result.path) / "training.json").read_text())["result"]["images"] == 4


def test_no_readable_picture_is_an_error(make_config: ConfigMaker, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "fake.png").write_text("no picture")
    with pytest.raises(DatasetError) as caught:
        run_until(make_config(data=tmp_path / "data"))
    assert caught.value.path == str(tmp_path / "data")


def test_one_picture_is_enough(make_config: ConfigMaker, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    Image.new("RGB", (300, 80), "red").save(tmp_path / "data" / "a.png")
    result, _ = run_until(
        make_config(data=tmp_path / "data", train_batch_size=3, gradient_accumulation_steps=2)
    )
    assert result.status == "finished"


def test_what_is_wrong_is_found_before_anything_is_loaded(make_config: ConfigMaker, tmp_path: Path) -> None:
    events: list[Event] = []
    with pytest.raises(DatasetError) as dataset:
        train(make_config(data=tmp_path / "gone"), events.append)
    with pytest.raises(ModelFileError) as base:
        train(make_config(base=tmp_path / "gone"), events.append)
    assert dataset.value.path == base.value.path == str(tmp_path / "gone")
    with refused("unet_lr"):
        train(make_config(unet_lr=0, network_train_unet_only=True), events.append)
    assert events == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"network_train_unet_only": True, "text_encoder_lr": 1e-5}, "text_encoder_lr is ignored"),
        ({"keep_tokens": 1}, "keep_tokens is ignored"),
        ({"shuffle_caption": True, "network_train_unet_only": True}, "cache_text_encoder_outputs is ignored"),
        ({"bucket_no_upscale": True, "enable_bucket": False}, "bucket_no_upscale is ignored"),
        ({"lr_scheduler": "linear", "lr_warmup_steps": 5}, "as long as the training"),
        ({"bucket_reso_steps": 12}, "bucket_reso_steps 12 becomes 24"),
        ({"min_bucket_reso": 96}, "min_bucket_reso 96 becomes 64"),
    ],
)
def test_settings_without_effect_are_said(make_config: ConfigMaker, changes: dict, said: str) -> None:
    def is_said(events: list[Event]) -> bool:
        return any(said in note for note in notes(events))

    _, events = run_until(make_config(**changes), is_said)
    assert is_said(events), notes(events)


def test_a_plain_run_has_nothing_to_note(make_config: ConfigMaker) -> None:
    _, events = run_until(make_config())
    assert notes(events) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_running_out_of_memory_is_told(
    make_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("lora_studio.families.sd.StableDiffusionModel.denoise", fail)
    with pytest.raises(OutOfMemory) as caught:
        run_until(make_config())
    assert "gradient_checkpointing" in caught.value.hint


def test_other_errors_stay_themselves(make_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("lora_studio.families.sd.StableDiffusionModel.denoise", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        run_until(make_config())


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"mixed_precision": "bf16"},
        {"mixed_precision": "bf16", "network_train_unet_only": True, "gradient_checkpointing": True},
        {"clip_skip": 2, "sample_every_n_steps": 4},
        {"bucket_no_upscale": True},
        {"enable_bucket": False, "flip_aug": True},
        {"shuffle_caption": True, "keep_tokens": 1, "caption_dropout_rate": 0.5},
        {"network_dropout": 0.5, "noise_offset": 0.1, "min_snr_gamma": 5},
        {"min_timestep": 200, "max_timestep": 800, "lr_scheduler": "cosine", "v_parameterization": True},
        {"mixed_precision": "bf16", "sample_every_n_steps": 2},
    ],
)
def test_options_train(make_config: ConfigMaker, changes: dict) -> None:
    result, events = run_until(make_config(**changes))
    assert result.status == "finished"
    if changes.get("mixed_precision") == "bf16":
        assert of(Started, events)[0].dtype == "bfloat16"
        assert read_header(result.file).metadata["ss_mixed_precision"] == "bf16"


def test_fp16_without_cuda_is_refused(make_config: ConfigMaker) -> None:
    with pytest.raises(ConfigError, match="fp16 needs a graphics card") as caught:
        run_until(make_config(mixed_precision="fp16"))
    assert caught.value.field == "mixed_precision"


def test_training_lowers_the_loss(make_config: ConfigMaker) -> None:
    config = make_config(
        min_timestep=900,
        max_train_steps=60,
        learning_rate=0.02,
        network_dim=8,
        train_batch_size=4,
        save_every_n_steps=0,
    )
    _, events = run_until(config)
    losses = [event.loss for event in of(StepDone, events)]
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])
