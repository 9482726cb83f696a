"""The training engine's front door: a frozen configuration in, a stream of events out, a stop signal in.

Importing this module loads no torch; the first training does.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from lora_studio.config import TrainConfig
from lora_studio.errors import StudioError
from lora_studio.events import Commands, Emit, ShouldStop, ignore, never_stop, no_commands
from lora_studio.families.base_files.base_hashes import base_hashes_beside
from lora_studio.families.base_files.locate import find_base
from lora_studio.families.weights.deferred_compiler import defer_compiler
from lora_studio.runtime import memory_errors, memory_kept_at_hand, without_collections
from lora_studio.training.result_path import TrainResult as TrainResult

if TYPE_CHECKING:
    from lora_studio.training.optimization.process_ranks import Ranks


def train(
    config: TrainConfig,
    emit: Emit = ignore,
    should_stop: ShouldStop = never_stop,
    *,
    resume_from: Path | None = None,
    fork: bool = False,
    commands: Commands = no_commands,
    ranks: Ranks | None = None,
) -> TrainResult:
    """Train a LoRA and write its folder `output_dir`. Stopping is a result: what was learned so far is saved.

    `resume_from` is a state file or a folder of them: the run goes on from there as if it had never ended, to
    the bit. With `fork` it is a new run, which only begins with the weights of that state. `commands` is
    asked once a step. With several `ranks` each process calls this, and only rank 0 is heard and given
    signals. Raises ConfigError, DatasetError, ModelFileError and its kin, OutOfMemory, Diverged.
    """
    if ranks is None or ranks.is_first:
        with suppress(StudioError):  # raised again where the base is needed
            # While the libraries load on one core: neither the first step nor the last save is to wait.
            base_hashes_beside(find_base(config.model.pretrained_model_name_or_path))
    with without_collections():
        if ranks is None or ranks.count == 1:
            defer_compiler()
        from lora_studio.training.optimization.process_ranks import ALONE
        from lora_studio.training.resuming.rollback import LESS_MEMORY
        from lora_studio.training.resuming.start_point import find_start_point
        from lora_studio.training.run_control import RunControl
        from lora_studio.training.start.start_run import start_run
        from lora_studio.training.train_state import keeping_random_states
    with memory_kept_at_hand(), memory_errors("training", LESS_MEMORY), keeping_random_states():
        session = RunControl(
            config=config,
            emit=emit,
            should_stop=should_stop,
            commands=commands,
            origin=find_start_point(resume_from, fork=fork),
            ranks=ranks or ALONE,
        )
        return start_run(session)
