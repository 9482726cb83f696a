"""Files of a training for sd-scripts: its pictures, its prompts and its argument TOML in the job's folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from lora_studio import catalog
from lora_studio.catalog.training_scripts import TRAINING_SCRIPTS, TrainingScript
from lora_studio.config import TrainConfig, config_leaf
from lora_studio.config_groups import DatasetGroup
from lora_studio.data.buckets import resolution_of
from lora_studio.data.training_set.dataset_export import dataset_options, subset_options
from lora_studio.data.training_set.export_folder import free_place
from lora_studio.data.training_set.exported_pictures import ReadablePicture, readable_pictures, white_mask
from lora_studio.data.training_set.folders import PictureFolder, read_folder
from lora_studio.errors import ConfigError, ModelFileError
from lora_studio.families.base_files.found_base import FoundBase
from lora_studio.families.base_files.hub import cached, split_id
from lora_studio.families.base_files.locate import find_base
from lora_studio.files import disk_errors, expanded, write_atomically
from lora_studio.kohya_config import OPTIONS, kohya_options
from lora_studio.kohya_config.options import PLAIN
from lora_studio.kohya_config.sample_prompts import prompt_lines
from lora_studio.parsing.toml_text import read_toml, write_table
from lora_studio.settings import Settings
from lora_studio.training.evaluation.intervals import even_interval
from lora_studio.training.result_path import check_output

WHERE = (
    "Set LORA_STUDIO_SD_SCRIPTS to its folder, LORA_STUDIO_SD_SCRIPTS_PYTHON to its Python: docs/kohya.md."
)
PLACES = ("train_data_dir", "reg_data_dir", "in_json", "conditioning_data_dir", "caption_extension")
"""Options that the laid-out pictures replace."""
NOT_TOLD = {
    *(
        "kind",
        "num_repeats",
        "title",
        "output_name",
        "output_dir",
        "trigger_word",
        "engine",
        "sd_scripts_args",
    ),
    *("sample_prompts", "sample_steps", "sample_guidance", "sample_seed", "cache_latents_to_disk"),
    *("cache_text_encoder_outputs", "resolution_height", "weight_decay", "checkpoint_board"),
    *("result_pictures", "train_distilled", "dataset_version"),
}
"""Settings that reach sd-scripts by another way, or matter to this program only."""


NOT_SAMPLED = ("flux2_shift",)
"""Ways to draw a flow model's time that sd-scripts doesn't have."""


@dataclass(frozen=True, kw_only=True)
class Launch:
    """A prepared start of sd-scripts. `saves` is the folder it writes to; `prompts` are those of the
    previews, and `notes` sentences on settings it lacks."""

    command: tuple[str, ...]
    folder: Path
    saves: Path
    base: FoundBase
    images: int
    total_steps: int
    prompts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class _LaidOut(NamedTuple):
    """A dataset config with the number of its pictures, and notes on those that were left out."""

    config: Path
    images: int
    notes: list[str]


def prepare(config: TrainConfig, settings: Settings, folder: Path) -> Launch:
    """Check everything and write it into `folder`, the job's. Raises StudioError."""
    check_output(config.output)
    base = find_base(config.model.pretrained_model_name_or_path, settings)
    if base.layout == "hub" and split_id(base.path_or_id)[1]:
        raise ModelFileError(
            f"{base.path_or_id} is not on this machine yet, and sd-scripts fetches no single files.",
            "Draw a picture with this base once; that fetches it.",
            path=base.path_or_id,
        )
    script = script_for(config, base)
    checkout, python = find_checkout(settings, script.file)
    saves = Path(config.output.output_dir).absolute() / "checkpoints"
    pictures = read_folder(config.dataset)
    options = kohya_options(config)
    for name in () if config.dataset.dataset_config else PLACES:
        options.pop(name, None)
    options |= base_options(config, base) | _of_script(config, script)
    prompts = _prompts(config, base)
    with disk_errors("The training", "laid out for sd-scripts"):
        folder.mkdir(parents=True, exist_ok=True)
        saves.mkdir(parents=True, exist_ok=True)
        laid_out = _dataset(config, pictures, folder)
        options["dataset_config"] = str(laid_out.config)
        options |= _previews(config, prompts, folder)
        options |= {**_files(script, base), **_given(config)}
        _check_files(script, base, options)
        options |= {"output_dir": str(saves), "output_name": config.output.output_name}
        options |= {"save_model_as": "safetensors"}
        text = "\n".join(write_table("arguments", options).split("\n")[1:]) + "\n"
        write_atomically(folder / "arguments.toml", text)
    return Launch(
        command=(python, script.file, "--config_file", str(folder.absolute() / "arguments.toml")),
        folder=checkout,
        saves=saves,
        base=base,
        images=laid_out.images,
        total_steps=config.optimizer.max_train_steps,
        prompts=prompts if "sample_prompts" in options else (),
        notes=(*pictures.notes, *laid_out.notes, *_notes(config)),
    )


def script_for(config: TrainConfig, base: FoundBase) -> TrainingScript:
    """The script that trains this network on this base; that of Stable Diffusion 1.x where the family isn't
    known yet. Raises ConfigError where sd-scripts has none."""
    title = catalog.family_title(base.family)
    if base.family and base.family not in TRAINING_SCRIPTS:
        raise ConfigError(
            f"sd-scripts has no training for {title}.",
            "Leave engine as it is: LoRA Studio's own has one.",
            field="engine",
        )
    script = TRAINING_SCRIPTS[base.family or catalog.SD1]
    if script.network_module != PLAIN and kohya_options(config)["network_module"] != PLAIN:
        raise ConfigError(
            f"sd-scripts trains plain LoRA only for {title}.",
            "Leave algo and dora_wd as they are, or engine: LoRA Studio's own trains the other kinds.",
            field="algo",
        )
    sampling = config.noise.timestep_sampling
    if sampling in NOT_SAMPLED:
        raise ConfigError(
            f"sd-scripts has no timestep_sampling {sampling}.",
            "Take flux_shift, or leave engine as it is: LoRA Studio's own has it.",
            field="timestep_sampling",
        )
    return script


def find_checkout(settings: Settings, script: str = TRAINING_SCRIPTS[catalog.SD1].file) -> tuple[Path, str]:
    """The folder of sd-scripts and its interpreter. Raises ConfigError when one of them is missing."""
    if settings.sd_scripts is None:
        raise ConfigError("It isn't set where your sd-scripts is.", WHERE, field="engine")
    if not (settings.sd_scripts / script).is_file():
        raise ConfigError(f"There is no {script} in {settings.sd_scripts}.", WHERE, field="engine")
    python = settings.sd_scripts_python or sys.executable
    if shutil.which(python) is None:
        raise ConfigError(f"There is no Python at {python}.", WHERE, field="engine")
    return settings.sd_scripts, python


def preview_every(config: TrainConfig) -> int:
    """Steps between two previews; 0 for none."""
    every = config.preview.sample_every_n_steps
    return even_interval(config.optimizer.max_train_steps) if every is None else every


def base_options(config: TrainConfig, base: FoundBase) -> dict[str, Any]:
    """Options that tell sd-scripts what we read from the base model."""
    predicts_v = config.model.v_parameterization
    if predicts_v is None:
        predicts_v = base.predicts_velocity
    options: dict[str, Any] = {"pretrained_model_name_or_path": base.path_or_id}
    options |= {"v2": True} if base.family == catalog.SD2 else {}
    options |= {"v_parameterization": True} if predicts_v else {}
    return options | ({"zero_terminal_snr": True} if base.zero_snr and predicts_v else {})


def _of_script(config: TrainConfig, script: TrainingScript) -> dict[str, Any]:
    """The network's module if the script has its own, settings with other defaults, the kind of base."""
    values = config.values()
    module = {} if script.network_module == PLAIN else {"network_module": script.network_module}
    return {**module, **{name: values[name] for name in script.always}, **script.options}


def _files(script: TrainingScript, base: FoundBase) -> dict[str, str]:
    """The files of the base that the script wants one by one, as far as there are such."""
    folder = cached(base.path_or_id) if base.layout == "hub" else Path(base.path_or_id)
    places = {name: folder / place for name, place in script.files.items() if place and folder is not None}
    return {name: str(place.absolute()) for name, place in places.items() if place.is_file()}


def _check_files(script: TrainingScript, base: FoundBase, options: Mapping[str, Any]) -> None:
    """Refuse a run that lacks a file which only a person can name. Raises ConfigError."""
    missing = [name for name in script.files if options.get(name) in (None, "", base.path_or_id)]
    if missing:
        lines = "; ".join(f'{name} = "path/to/file.safetensors"' for name in missing)
        raise ConfigError(
            f"sd-scripts reads {catalog.family_title(base.family)} from its makers' own files, which aren't "
            "all in this base model's folder.",
            f"Add to sd_scripts_args: {lines}.",
            field="sd_scripts_args",
        )


def _dataset(config: TrainConfig, pictures: PictureFolder, folder: Path) -> _LaidOut:
    """The dataset config: the user's own, or one of the pictures as we read them, with finished captions."""
    if config.dataset.dataset_config:
        if pictures.is_edited:
            raise ConfigError(
                "sd-scripts reads the folders of a dataset_config itself, without your edits.",
                "Export the edited pictures and name those folders, or leave engine as it is.",
                field="dataset_config",
            )
        return _LaidOut(expanded(config.dataset.dataset_config).absolute(), len(pictures.pictures), [])
    place = folder / "pictures"
    shutil.rmtree(place, ignore_errors=True)
    sources, notes = readable_pictures(pictures.pictures)
    subsets = _laid_out_subsets(sources, place.absolute(), config.dataset)
    tables = []
    for number, settings in enumerate(pictures.datasets):
        mine = [values for dataset, values in subsets if dataset == number]
        masked = [values for values in mine if "conditioning_data_dir" in values]
        is_own = settings != config.dataset
        options = dataset_options(settings, config.dataset) if is_own else {}
        # For sd-scripts all subsets of a dataset have masks or none has.
        for part in (masked, [values for values in mine if values not in masked]):
            tables += [write_table("[datasets]", options)] if part else []
            tables += [write_table("[datasets.subsets]", values) for values in part]
    write_atomically(folder / "dataset.toml", "\n\n".join(tables) + "\n")
    return _LaidOut((folder / "dataset.toml").absolute(), len(sources), notes)


def _laid_out_subsets(
    sources: Sequence[ReadablePicture], place: Path, run: DatasetGroup
) -> list[tuple[int, dict[str, Any]]]:
    """Lay pictures, captions and masks out in `place`; the tables of their subsets, each with the number of
    its dataset and the options that it has of its own."""
    masked = {picture.subset for picture, files in sources if files.mask}
    subsets: dict[Path, tuple[int, dict[str, Any]]] = {}
    taken: set[Path] = set()
    for picture, files in sources:
        inside = place / f"{picture.subset}_{picture.folder}"
        inside.mkdir(parents=True, exist_ok=True)
        stem = free_place(inside, files.picture.stem, taken).name
        link_or_copy(files.picture, inside / f"{stem}{files.picture.suffix.lower()}")
        if picture.caption:
            (inside / f"{stem}.caption").write_text(picture.caption, "utf-8")
        facts: dict[str, Any] = {"num_repeats": picture.repeats, **subset_options(picture.settings, run)}
        facts |= {"is_reg": True} if picture.is_reg else {}
        if picture.subset in masked:
            facts["conditioning_data_dir"] = str(masks := inside.with_name(f"{inside.name} masks"))
            masks.mkdir(exist_ok=True)
            if files.mask:
                link_or_copy(files.mask, masks / f"{stem}{files.mask.suffix.lower()}")
            else:
                (masks / f"{stem}.png").write_bytes(white_mask(files.picture))
        table = {"image_dir": str(inside), "caption_extension": ".caption", **facts}
        subsets[inside] = picture.dataset, table
    return list(subsets.values())


def link_or_copy(source: Path, target: Path) -> None:
    """Link a picture, so that nothing is stored twice and files that sd-scripts writes beside it stay with
    us; copy where links are not allowed. The link of an edited picture is a hard one: its file stays when
    the cache of edited pictures is cleared."""
    with contextlib.suppress(OSError):
        if source.is_relative_to(Settings.from_environment().edited):
            os.link(source, target)
        else:
            os.symlink(source.absolute(), target)
        return
    shutil.copyfile(source, target)


def _prompts(config: TrainConfig, base: FoundBase) -> tuple[str, ...]:
    given = tuple(" ".join(prompt.split()) for prompt in config.preview.sample_prompts if prompt.strip())
    if given:
        return given
    kind, trigger = config.dataset.kind, config.dataset.trigger_word
    return tuple(catalog.preview_prompts(kind, trigger, base.traits.name))


def _previews(config: TrainConfig, prompts: tuple[str, ...], folder: Path) -> dict[str, Any]:
    every, preview = preview_every(config), config.preview
    if not every or not prompts:
        return {}
    lines = prompt_lines(prompts, preview, resolution_of(config.dataset))
    write_atomically(folder / "prompts.txt", "\n".join(lines) + "\n")
    return {
        "sample_prompts": str((folder / "prompts.txt").absolute()),
        "sample_every_n_steps": every,
        "sample_at_first": True,
    }


def _given(config: TrainConfig) -> Mapping[str, Any]:
    """`sd_scripts_args`, and checkpoints at this engine's interval unless save_every_n_steps is set."""
    lines = "\n".join(config.run.sd_scripts_args)
    try:
        given = read_toml(lines, "sd_scripts_args")
    except ConfigError as error:
        error.field = "sd_scripts_args"
        raise
    saves = preview_every(config) if config.output.save_every_n_steps is None else 0
    return ({"save_every_n_steps": saves} if saves else {}) | given


def _notes(config: TrainConfig) -> list[str]:
    """Sentences on changed settings that sd-scripts lacks."""
    options = kohya_options(config)
    inside = " ".join(options.get("network_args", []))
    changed = [
        name
        for name, value in config.values().items()
        if value != config_leaf(name).default
        and name not in {*options, *OPTIONS, *NOT_TOLD}
        and f"{name}=" not in inside
    ]
    notes = [f"sd-scripts has no {', '.join(changed)}: left out."] if changed else []
    if config.model.mixed_precision == "auto":
        notes.append(
            "mixed_precision is auto, which sd-scripts has not: it computes in 32 bit. Set bf16 or fp16."
        )
    return notes
