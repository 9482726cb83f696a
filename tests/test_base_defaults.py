"""Somebody's own base has its family's defaults and its own size, whichever way a training comes in."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from lora_studio.catalog import BASES, EMBEDDED, SDXL, base_of_family, plan
from lora_studio.config import TrainConfig
from lora_studio.families import family_of
from lora_studio.families.base_files.locate import find_base
from lora_studio.settings import Settings
from lora_studio.studio import Studio
from lora_studio.training_request import StartTraining
from tests.support.single_file import write_single_file
from tests.support.tiny import make_tiny, make_tiny_sdxl

SDXL_WANTED = {
    "resolution": 1024,
    "max_bucket_reso": 2048,
    "network_dim": 16,
    "network_alpha": 8,
    "network_train_unet_only": True,
    "sample_guidance": 5.0,
}
XL_KEY = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
XL_TEXT = "conditioner.embedders.1.model.ln_final.weight"
SD2_KEY = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
SD2_NORM = "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias"


@pytest.fixture
def dataset(studio: Studio, tmp_path: Path) -> str:
    for number in range(4):
        Image.new("RGB", (64, 64), (60 * number, 80, 120)).save(tmp_path / f"{number}.png")
    return studio.datasets.create("squares", sorted(tmp_path.glob("*.png"))).id


@pytest.fixture(scope="module")
def tiny_xl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_sdxl(tmp_path_factory.mktemp("tiny") / "xl")


def sdxl_file(path: Path, **marks: torch.Tensor) -> Path:
    """As much of an SDXL checkpoint as is looked at: no configuration beside it."""
    save_file({XL_KEY: torch.ones(8, 2048), XL_TEXT: torch.ones(4), **marks}, path)
    return path


def folder_of(base: Path, target: Path, **sizes: Mapping[str, Any]) -> Path:
    """A copy of a tiny base's configuration (no weights), with changes by file."""
    for name in ("model_index.json", *(f"{part}/config.json" for part in ("unet", "vae"))):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(base / name, target / name)
    (target / "scheduler").mkdir()
    shutil.copy(base / "scheduler" / "scheduler_config.json", target / "scheduler")
    for part, changes in sizes.items():
        path = target / part / ("scheduler_config.json" if part == "scheduler" else "config.json")
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return target


def values_of(studio: Studio, base: str, **how: Any) -> dict[str, Any]:
    wanted = StartTraining(name="Cat", base=base, **{"kind": "object", **how})
    return studio.trainings.folder_config(wanted, "x", 10).values()


def test_an_sdxl_checkpoint_trains_as_sdxl(studio: Studio, settings: Settings) -> None:
    sdxl_file(settings.bases / "illustrious.safetensors")
    values = values_of(studio, "illustrious.safetensors")
    assert {name: values[name] for name in SDXL_WANTED} == SDXL_WANTED
    person = values_of(studio, "illustrious.safetensors", kind="person")
    assert (person["network_dim"], person["text_encoder_lr"]) == (32, None)
    assert find_base("illustrious.safetensors", settings).traits.guidance_scale == 5.0


def test_what_was_set_stays(studio: Studio, settings: Settings) -> None:
    sdxl_file(settings.bases / "pony.safetensors")
    chosen = {"resolution": 768, "network_dim": 4, "network_train_unet_only": False}
    values = values_of(studio, "pony.safetensors", kind="character", overrides=chosen)
    assert {name: values[name] for name in chosen} == chosen
    assert values["text_encoder_lr"] == 5e-5


@pytest.mark.parametrize(
    ("shape", "sample_size", "native"),
    [("sdxl", 128, 1024), ("sdxl", 96, 768), ("sd15", 64, 512), ("sd2_v", 96, 768), ("sd15", 8, 64)],
)
def test_a_folder_has_its_own_size(
    studio: Studio, settings: Settings, tmp_path: Path, shape: str, sample_size: int, native: int
) -> None:
    base = make_tiny(shape, tmp_path / "tiny")
    folder_of(base, settings.bases / "mine", unet={"sample_size": sample_size})
    values = values_of(studio, "mine")
    found = find_base("mine", settings)
    assert (values["resolution"], found.traits.native_size, found.traits.step) == (native, native, 8)
    assert found.predicts_velocity == (shape == "sd2_v")
    assert values["network_train_unet_only"] == (shape == "sdxl")
    assert values["max_bucket_reso"] == 2 * native


@pytest.mark.parametrize("shape", ["sdxl", "sd15", "sd2_v"])
def test_a_checkpoint_with_its_configuration_beside_it(
    settings: Settings, tmp_path: Path, shape: str
) -> None:
    base = make_tiny(shape, settings.bases / "mine")
    write_single_file(base, settings.bases / "mine.safetensors")
    found = find_base("mine.safetensors", settings)
    assert (found.layout, found.facts.native_size, found.predicts_velocity) == ("file", 64, shape == "sd2_v")


@pytest.mark.parametrize("said", [None, "huge", True, [], [8, "x"], 10**9, -4, {}, [0, 0]])
def test_an_odd_size_is_not_believed(settings: Settings, tiny_xl: Path, said: Any) -> None:
    folder_of(tiny_xl, settings.bases / "mine", unet={"sample_size": said})
    assert find_base("mine", settings).traits.native_size == 1024


@pytest.mark.parametrize("name", [base.name for base in EMBEDDED])
def test_an_embedded_base_by_its_folder_is_the_same(studio: Studio, settings: Settings, name: str) -> None:
    by_name, by_folder = (values_of(studio, base) for base in (name, str(settings.embedded(name))))
    differing = {name for name, value in by_name.items() if value != by_folder[name]}
    assert differing == {"pretrained_model_name_or_path"}
    assert by_folder["resolution"] == 64


def test_a_copy_of_the_starter_knows_its_size(studio: Studio, settings: Settings) -> None:
    copy = folder_of(settings.starter, settings.bases / "copied")
    assert values_of(studio, copy.name)["resolution"] == 64


def test_every_way_in_agrees(
    studio: Studio, settings: Settings, dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lora_studio.cli.main import build_parser
    from lora_studio.cli.train import planned_config, read_wanted
    from lora_studio.ui.endpoints.endpoints import Endpoints
    from lora_studio.ui.upload.setup_panel import KINDS
    from lora_studio.ui.upload.training_summary import Subject, summary

    base = sdxl_file(settings.bases / "mine.safetensors").name
    status = Endpoints(studio).start_training(dataset, "Api", "style", base=base)
    by_api = TrainConfig.from_json(studio.jobs.get(status["job_id"]).config)
    arguments = ["plan", "--images", str(tmp_path), "--kind", "style", "--base", base]
    options = build_parser().parse_args(arguments)
    options.name = "Cli"
    pictures = studio.datasets.get(dataset)
    by_cli = planned_config(studio, read_wanted(options), Path(pictures.path), pictures.images)
    subject = Subject(
        dataset_id=dataset, kind="style", base=base, name="Red fox", typed={"max_train_steps": "30"}
    )
    shown = summary(studio, subject, list(KINDS))
    assert "30 steps, as you set." in shown.reasons
    assert "You will call it with <b>rdfx</b>" in shown.called
    assert "Red fox · style · 4 pictures · 30 steps" in shown.line
    grey = dict(shown.plan.values)
    for name, wanted in SDXL_WANTED.items():
        assert by_api.values()[name] == by_cli.values()[name] == grey[name] == wanted
    assert grey == dict(plan("style", base_of_family(SDXL), 4).values)
    assert grey == dict(plan("style", BASES["sdxl"], 4).values)


def test_a_hub_model_is_asked_before_its_training(
    studio: Studio, tiny_xl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = folder_of(tiny_xl, tmp_path / "there", unet={"sample_size": 128})
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda _, name: str(base / name))
    values = values_of(studio, "somebody/xl")
    assert {name: values[name] for name in SDXL_WANTED} == SDXL_WANTED


@pytest.mark.parametrize(
    ("marks", "prediction", "zero_snr"),
    [((), "", False), (("v_pred",), "v_prediction", False), (("v_pred", "ztsnr"), "v_prediction", True)],
)
def test_marks_of_a_checkpoint_are_read(
    settings: Settings, marks: tuple[str, ...], prediction: str, zero_snr: bool
) -> None:
    file = sdxl_file(settings.bases / "noob.safetensors", **{mark: torch.tensor([]) for mark in marks})
    found = find_base(file.name, settings)
    assert (found.facts.prediction_type, found.facts.zero_snr) == (prediction, zero_snr)
    assert found.traits.native_size == 1024


def test_an_edm_checkpoint_is_refused_in_a_sentence(settings: Settings, tiny_xl: Path) -> None:
    from lora_studio.errors import FamilyMismatch

    file = sdxl_file(settings.bases / "pg.safetensors", edm_mean=torch.ones(4), edm_std=torch.ones(4))
    with pytest.raises(FamilyMismatch, match=r"pg\.safetensors is trained in the EDM way"):
        find_base(file.name, settings)
    folder_of(tiny_xl, settings.bases / "pg", scheduler={"_class_name": "EDMEulerScheduler"})
    with pytest.raises(FamilyMismatch, match="pg is trained in the EDM way"):
        find_base("pg", settings)


@pytest.fixture(scope="module")
def marked(tiny_xl: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the tiny SDXL with NoobAI's marks."""
    file = write_single_file(tiny_xl, tmp_path_factory.mktemp("marked") / "noob.safetensors")
    save_file({**load_file(file), "v_pred": torch.tensor([]), "ztsnr": torch.tensor([])}, file)
    return file


@pytest.fixture
def noob(settings: Settings, tiny_xl: Path, marked: Path) -> Path:
    """The same among the bases, where the configuration beside it knows nothing of the marks."""
    shutil.copytree(tiny_xl, settings.bases / "noob")
    return Path(shutil.copy(marked, settings.bases))


def test_a_marked_checkpoint_is_loaded_as_it_was_trained(settings: Settings, noob: Path) -> None:
    parts = family_of(find_base(noob.name, settings)).load()
    assert (parts.process.config["prediction_type"], float(parts.process.alphas[-1])) == ("v_prediction", 0.0)
    pipeline = parts.pipeline()
    assert pipeline.scheduler.config.prediction_type == "v_prediction"
    assert pipeline.scheduler.config.rescale_betas_zero_snr is True
    plain = family_of(find_base("noob", settings)).load()
    assert (plain.process.config["prediction_type"], float(plain.process.alphas[-1]) > 0) == ("epsilon", True)
    told = family_of(find_base(noob.name, settings)).load(v_parameterization=False)
    assert told.process.config["prediction_type"] == "epsilon"


@pytest.mark.parametrize(("spread", "native"), [(0.2, 768), (0.01, 512)])
def test_an_sd2_checkpoint_tells_what_it_predicts(settings: Settings, spread: float, native: int) -> None:
    values = torch.linspace(-1, 1, 320) * spread * 3**0.5
    tensors = {SD2_KEY: torch.ones(8, 1024), SD2_NORM: values.half(), "cond_stage_model.x": torch.ones(1)}
    save_file(tensors, settings.bases / "two.safetensors")
    found = find_base("two.safetensors", settings)
    assert (found.family, found.traits.native_size, found.predicts_velocity) == ("sd2", native, native == 768)


def test_sd_scripts_is_told_of_the_marks(settings: Settings, noob: Path, make_sd_scripts_config: Any) -> None:
    from lora_studio.jobs.sd_scripts.launch_files import base_options

    options = base_options(make_sd_scripts_config(noob), find_base(noob.name, settings))
    assert (options["v_parameterization"], options["zero_terminal_snr"]) == (True, True)


@pytest.fixture
def make_sd_scripts_config(tmp_path: Path) -> Callable[[Path], TrainConfig]:
    def make(base: Path) -> TrainConfig:
        return TrainConfig.from_values(
            {
                "pretrained_model_name_or_path": str(base),
                "train_data_dir": "x",
                "output_name": "x",
                "output_dir": str(tmp_path / "x"),
                "engine": "sd-scripts",
            }
        )

    return make


def test_an_exported_file_says_what_the_base_predicts(
    settings: Settings, noob: Path, make_sd_scripts_config: Any
) -> None:
    from lora_studio.cli.kohya_train.kohya_job import told_of_base

    told = told_of_base(make_sd_scripts_config(noob), settings)
    assert (told.model.v_parameterization, told.noise.zero_terminal_snr) == (True, True)
    plain = told_of_base(make_sd_scripts_config(noob.with_suffix("")), settings)
    assert (plain.model.v_parameterization, plain.noise.zero_terminal_snr) == (None, False)


def test_a_run_says_how_it_takes_a_marked_checkpoint(settings: Settings, noob: Path) -> None:
    facts = find_base(noob.name, settings).facts
    assert "v-prediction and a noise schedule" in facts.remark("noob", None)
    assert "v_parameterization is off" in facts.remark("noob", False)
    assert find_base("noob", settings).facts.remark("noob", None) == ""


def test_generation_names_a_sampler_that_does_not_suit_the_marks(settings: Settings, noob: Path) -> None:
    from lora_studio.events import Noted
    from lora_studio.generator import Generator
    from lora_studio.request import GenerateRequest

    def notes(sampler: str) -> list[str]:
        events: list[Any] = []
        request = GenerateRequest(
            prompt="x", base=noob.name, width=64, height=64, num_inference_steps=3, sampler=sampler
        )
        Generator(settings).generate(request, events.append)
        return [event.message for event in events if isinstance(event, Noted)]

    assert notes("") == notes("Euler") == []
    assert "zero terminal SNR" in notes("Heun")[0]


def test_the_page_knows_the_size_of_a_base_of_ones_own(settings: Settings) -> None:
    from lora_studio.ui.generate.generate_requests import defaults_of

    sdxl_file(settings.bases / "mine.safetensors")
    wanted = {"num_inference_steps": "25", "guidance_scale": "5", "width": "1024", "height": "1024"}
    assert defaults_of("mine.safetensors", settings) == wanted
    assert set(defaults_of("someone/else", settings).values()) == {"automatic"}


def test_a_marked_checkpoint_is_trained_for_velocity(settings: Settings, noob: Path, tmp_path: Path) -> None:
    from lora_studio.events import Noted, PreviewSaved
    from lora_studio.lora.file.lora_files import read_header
    from lora_studio.trainer import train
    from tests.support.tiny import make_pictures, tiny_values

    values = tiny_values(
        noob, make_pictures(tmp_path / "pictures"), tmp_path / "lora" / "disc", max_train_steps=2
    )
    events: list[Any] = []
    result = train(TrainConfig.from_values({**values, "sample_every_n_steps": 2}), events.append)
    assert result.status == "finished"
    assert read_header(Path(result.file)).metadata["modelspec.prediction_type"] == "v"
    assert any(
        "v-prediction and a noise schedule" in event.message for event in events if isinstance(event, Noted)
    )
    assert any(isinstance(event, PreviewSaved) for event in events)
