"""A whole run: checked, loaded, encoded, trained, and its last word."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from lora_studio.config import TrainConfig
from lora_studio.data.training_set.folders import PictureFolder, read_folder
from lora_studio.errors import ConfigError
from lora_studio.events import Finished, Noted, Paused, PhaseAdvanced, Started, Stopped
from lora_studio.families.base_files.fetched_base import fetched_base
from lora_studio.families.base_files.found_base import FoundBase
from lora_studio.families.base_files.hub import must_fetch
from lora_studio.families.base_files.locate import find_base
from lora_studio.files import check_room, remove_unfinished
from lora_studio.lora.run_states import state_folder
from lora_studio.runtime import Device, compute_dtype, find_device
from lora_studio.settings import Settings
from lora_studio.training.disk_use import DiskUse, disk_use
from lora_studio.training.evaluation.base_pictures import base_pictures
from lora_studio.training.evaluation.intervals import preview_steps
from lora_studio.training.evaluation.previews import Previews, PreviewSampler
from lora_studio.training.evaluation.validation import Validation
from lora_studio.training.free_encoders import encodes_later, free_encoders
from lora_studio.training.ignored_settings import ignored_settings
from lora_studio.training.loop import Loop
from lora_studio.training.model import Engine, load_engine, trained_rates
from lora_studio.training.optimization.lr_schedules import build_schedule
from lora_studio.training.optimization.optimizers import build_optimizer, describe
from lora_studio.training.out_of_memory import Fallbacks
from lora_studio.training.preparation.training_data import TrainingData, prepare_data
from lora_studio.training.result_folder import ResultFolder
from lora_studio.training.result_path import Ending, TrainResult, check_output, result_file
from lora_studio.training.resuming.rollback import Rollback
from lora_studio.training.resuming.start_point import facts_of_run
from lora_studio.training.run import TrainingRun
from lora_studio.training.run_control import RunControl
from lora_studio.training.train_state import States

PHASES = ("download", "load", "cache", "preview", "train", "save")
DOES_IT_ALONE = "This process does the work of all {} (num_processes) by itself: the same result, no sooner."


def start_run(session: RunControl) -> TrainResult:
    """Train from the first check to the last word. Raises StudioError."""
    config, emit = session.config, session.emit
    folder, found = _check(session)
    device = find_device()
    dtype = compute_dtype(config.model.mixed_precision, device)
    if dtype == torch.float16 and device.kind != "cuda":
        raise ConfigError(
            f"mixed_precision fp16 needs a graphics card by NVIDIA; this is {device.title}.",
            "Choose auto.",
            field="mixed_precision",
        )
    _announce(session, folder, found, device, dtype)
    fetched = not session.ranks.is_first or fetched_base(found, emit, session.stop)
    if not session.ranks.agreed(int(bool(fetched))):
        return _end(session, None, complete=False)
    if found.layout == "hub":
        found = find_base(found.name)
    emit(PhaseAdvanced(phase="load", done=0, total=1, note=found.name))
    engine = load_engine(config, found, device, dtype)
    emit(PhaseAdvanced(phase="load", done=1, total=1, note=found.name))
    for message in (*engine.memory_notes, *engine.notes):
        emit(Noted(message=message, level="warning"))
    cache = Settings.from_environment().cache / "latents"
    data, later = None, encodes_later(engine, session.ranks)
    if not session.stop():
        data = prepare_data(engine, folder, emit, session.stop, cache_folder=cache, later=later)
    if session.ranks.agreed(int(data is None or session.stop())) or data is None:
        return _end(session, None, complete=False)
    use = disk_use(engine, math.prod(PreviewSampler(engine=engine).size))  # a byte a pixel: what PNGs take
    wanted = use.at_an_end if session.origin.resumed else use.peak
    check_room(Path(config.output.output_dir), "This training", wanted)
    course = _course(session, engine, data, folder, use)
    free_encoders(engine, data, course.previews)
    file = course.run()
    return _end(session, file, complete=course.complete)


def _check(session: RunControl) -> tuple[PictureFolder, FoundBase]:
    """Find what can be wrong before anything is loaded, as far as possible."""
    config = session.config
    if config.run.engine != "lora-studio":
        raise ConfigError(
            f"engine {config.run.engine} does not train in this process.",
            "Start the training from the page or with lora-studio train.",
            field="engine",
        )
    session.origin.check_settings(config)
    check_output(config.output, resumes=session.origin.resumed is not None)
    trained_rates(config)
    return read_folder(config.dataset), find_base(config.model.pretrained_model_name_or_path)


def _announce(
    session: RunControl, folder: PictureFolder, found: FoundBase, device: Device, dtype: torch.dtype
) -> None:
    left_out = set() if preview_steps(session.config) else {"preview"}
    left_out |= set() if must_fetch(found) else {"download"}
    session.emit(
        Started(
            total_steps=session.config.optimizer.max_train_steps,
            phases=tuple(phase for phase in PHASES if phase not in left_out),
            device=device.title,
            dtype=str(dtype).removeprefix("torch."),
            images=sum(not picture.is_reg for picture in folder.pictures),
            start_step=session.origin.step,
        )
    )
    if session.ranks.count != session.config.run.num_processes:
        session.emit(Noted(message=DOES_IT_ALONE.format(session.config.run.num_processes)))
    for message in session.origin.notes:
        session.emit(Noted(message=message, level="warning"))
    remark = found.facts.remark(found.name, session.config.model.v_parameterization)
    ignored = ignored_settings(session.config, device, found.family)
    for message in filter(None, (remark, found.doubt, *folder.notes, *ignored)):
        session.emit(Noted(message=message))


def _course(
    session: RunControl, engine: Engine, data: TrainingData, folder: PictureFolder, use: DiskUse
) -> TrainingRun:
    """Everything in its place for the first step, or for the one after the state."""
    config, origin = session.config, session.origin
    facts = facts_of_run(engine, data)
    for note in origin.check_facts(facts):
        session.emit(Noted(message=note))
    optimizer = build_optimizer(config.optimizer, engine.parameter_groups())
    loop = Loop(
        engine=engine,
        data=data,
        optimizer=optimizer,
        schedule=build_schedule(config.optimizer, optimizer),
        scaler=torch.amp.GradScaler(engine.device.kind) if engine.dtype == torch.float16 else None,
        ranks=session.ranks,
    )
    fallbacks = Fallbacks(loop=loop, folder=folder, emit=session.emit, should_stop=session.stop)
    session.last = origin.begin(loop, fallbacks)
    session.ranks.spread([weight for group in optimizer.param_groups for weight in group["params"]])
    states = States(folder=state_folder(config.output.output_dir), settings=config.output)
    if session.ranks.is_first:
        remove_unfinished(Path(config.output.output_dir))
        states.forget_after(origin.step if origin.resumed else -1)
    result = ResultFolder(engine=engine, data=data, optimizer=describe(optimizer, config.optimizer))
    if origin.resumed:
        result.started_at, result.session_id = origin.resumed.started_at, origin.resumed.session_id
    return TrainingRun(
        session=session,
        rollback=Rollback(loop=loop, fallbacks=fallbacks, states=states, emit=session.emit),
        states=states,
        facts=facts,
        result=result,
        previews=Previews(
            engine=engine,
            folder=result.path / "previews",
            emit=session.emit,
            should_stop=session.stop,
            saved=[*origin.previews],
            kept=base_pictures(engine, Settings.from_environment().cache / "base-previews"),
        ),
        validation=Validation(engine=engine, data=data, emit=session.emit, should_stop=session.stop),
        disk=use,
    )


def _end(session: RunControl, file: Path | None, *, complete: bool) -> TrainResult:
    """The run's last word."""
    full = session.full
    ending: Ending = "finished" if complete else "stopped" if session.stopping and not full else "paused"
    if file is None and session.stopping and session.origin.resumed:
        file = _earlier_result(session.config)
    folder, steps = str(file.parent) if file else "", session.step
    if ending == "finished":
        session.emit(Finished(path=folder, steps=steps, seconds=session.seconds))
    else:
        paused = Paused(step=steps)
        if full:
            hint = f"{full.hint} Then resume it."
            paused = Paused(step=steps, message=f"Paused: {full.message}", hint=hint)
        session.emit(Stopped(step=steps, path=folder) if ending == "stopped" else paused)
    return TrainResult(
        status=ending,
        path=folder,
        file=str(file or ""),
        steps=steps,
        seconds=session.seconds,
        final_loss=session.last.average_loss if session.last else None,
    )


def _earlier_result(config: TrainConfig) -> Path | None:
    """The file that the run left when it was stopped before."""
    file = result_file(config.output.output_dir, config.output.output_name)
    return file if file.exists() else None
