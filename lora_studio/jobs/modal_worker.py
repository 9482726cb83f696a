"""The worker that trains at Modal, and everything else that speaks with Modal."""

from __future__ import annotations

import contextlib
import io
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lora_studio.errors import ConfigError, StoreError, StudioError
from lora_studio.events import Emit, ShouldStop
from lora_studio.files import disk_errors, replacing
from lora_studio.jobs.cloud.cloud_run import folder_of, run_order
from lora_studio.jobs.cloud.cloud_settings import CloudSettings
from lora_studio.jobs.cloud.cloud_worker import Cloud, CloudUnreachable, CloudWorker
from lora_studio.jobs.cloud.local_cloud import LocalCloud
from lora_studio.jobs.cloud.luggage import files_of
from lora_studio.settings import Settings
from lora_studio.training_request import RunRequest

logger = logging.getLogger(__name__)

NAME = "lora-studio"
"""The name of app, volume, queue and dictionary at Modal."""
FUNCTION = "train"
MOUNT = Path("/vol")
GRACE_SECONDS = 900
"""Seconds beyond the paid ones in which a run may save and end in order."""
DAY = 24 * 3600
READY = ".ready"
"""The ending of a file beside each content that has arrived whole under that name."""
ACCOUNT = "Run `modal setup`, or set MODAL_TOKEN_ID and MODAL_TOKEN_SECRET."
DEPLOY = "Deploy it from the checkout: modal deploy deploy/modal_app.py"
RESUME = "Resume goes on from the last state that has arrived here."
INSTALL = "Install it: .venv/bin/pip install 'modal>=1.6,<2'"


class ModalWorker:
    """A worker that trains at Modal, when the owner allows it. Raises ConfigError where nobody did."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def run(self, request: RunRequest, emit: Emit, should_stop: ShouldStop) -> None:
        """Train there until the end, a stop or a pause. Raises StudioError."""
        limits = allowed_limits()
        CloudWorker(self._cloud(limits), self._settings, limits).run(request, emit, should_stop)

    def _cloud(self, limits: CloudSettings) -> Cloud:
        if limits.mode == "local":
            return LocalCloud(self._settings.home / "modal", run_order)
        return ModalCloud(limits.gpu)


def allowed_limits() -> CloudSettings:
    """The owner's limits. Raises ConfigError where trainings at Modal are not allowed."""
    limits = CloudSettings.from_environment()
    if not limits.mode:
        raise ConfigError(
            "Nobody has allowed trainings at Modal, which cost money.",
            "Set LORA_STUDIO_MODAL=1 for the studio: docs/deploy.md.",
            field="worker",
        )
    return limits


@contextlib.contextmanager
def modal_errors(doing: str) -> Iterator[None]:
    """Turn Modal's errors into StudioErrors. `doing` finishes "Modal could not ..."."""
    try:
        import modal
    except ImportError:
        raise ConfigError("The package modal is not installed.", INSTALL, field="worker") from None
    try:
        yield
    except modal.exception.AuthError:
        raise ConfigError("Modal knows no account on this machine.", ACCOUNT, field="worker") from None
    except modal.exception.NotFoundError as error:
        raise StoreError(f"There is no app {NAME} at Modal ({_first_line(error)}).", DEPLOY) from error
    except modal.exception.ExecutionError as error:
        raise StoreError(f"Modal could not {doing}: {_first_line(error)}", DEPLOY) from error
    except (modal.exception.FunctionTimeoutError, modal.exception.RemoteError) as error:
        raise StudioError(f"Modal ended the training: {_first_line(error)}", RESUME) from error
    except (modal.exception.Error, OSError) as error:
        text = f"Modal could not {doing}: {_first_line(error)}"
        raise CloudUnreachable(text, RESUME) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:300]


class ModalCloud:
    """The Cloud at Modal: a volume for the files, a queue with a partition for each run, a dictionary for the
    words to it, and the function of deploy/modal_app.py."""

    def __init__(self, gpu: str) -> None:
        self._gpu = gpu

    @property
    def _volume(self) -> Any:
        import modal

        return modal.Volume.from_name(NAME, create_if_missing=True)

    def upload(self, contents: Mapping[str, Path]) -> int:
        """Send what isn't there yet; see Cloud."""
        sent = 0
        with modal_errors("take the pictures"):
            for place, path in contents.items():
                ready = f"{place}{READY}"
                if self._is_there(ready):
                    continue
                with self._volume.batch_upload(force=True) as batch:
                    for name, file in files_of(path):
                        batch.put_file(str(file), f"{place}/{name}" if name else place)
                with self._volume.batch_upload(force=True) as batch:
                    batch.put_file(io.BytesIO(b"1"), ready)
                sent += 1
        return sent

    def start(self, order: Mapping[str, Any], *, seconds: float) -> ModalCall:
        """Start the function on a card of the wished kind."""
        with modal_errors("start the training"):
            import modal

            timeout = min(DAY, int(seconds) + GRACE_SECONDS)
            function = modal.Function.from_name(NAME, FUNCTION)
            return ModalCall(function.with_options(gpu=self._gpu, timeout=timeout).spawn(dict(order)))

    def batches(self, run: str) -> Sequence[Mapping[str, Any]]:
        """Take what the queue holds for the run."""
        with modal_errors("be asked for news"):
            return list(_queue().get_many(100, block=False, partition=run))

    def say(self, run: str, words: Sequence[str], mark: float) -> None:
        """Put words and mark into the dictionary."""
        with modal_errors("take a command"):
            _words().put(run, (list(words), mark))

    def files(self, folder: str) -> Sequence[str]:
        """Paths of the files in a folder of the volume."""
        import modal

        with modal_errors("list the files"):
            try:
                entries = self._volume.listdir(folder, recursive=True)
            except modal.exception.NotFoundError:
                return []
            return [entry.path.lstrip("/") for entry in entries if entry.type.name == "FILE"]

    def fetch(self, place: str, target: Path) -> None:
        """Read a file of the volume."""
        with modal_errors("give a file"), disk_errors(target.name, "fetched"), replacing(target) as file:
            for part in self._volume.read_file(place):
                file.write(part)

    def read(self, place: str) -> str:
        """Read a text of the volume, as far as it was committed."""
        import modal

        with modal_errors("give a file"):
            try:
                return b"".join(self._volume.read_file(place)).decode("utf-8", "replace")
            except (modal.exception.NotFoundError, FileNotFoundError):
                return ""

    def forget(self, run: str) -> None:
        """Remove the run's folder, its words and what is left in its queue."""
        with modal_errors("remove the run's files"):
            self._volume.remove_file(folder_of(run), recursive=True)
            _words().pop(run, None)
            _queue().clear(partition=run)

    def _is_there(self, place: str) -> bool:
        import modal

        try:
            return bool(self._volume.listdir(place))
        except (modal.exception.NotFoundError, FileNotFoundError):
            return False


class ModalCall:
    """A call of the function, which goes on whatever becomes of this process."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def result(self) -> Mapping[str, Any] | None:
        """The function's return value, None while it runs. Raises StoreError when it was ended."""
        import modal

        with modal_errors("finish the training"):
            try:
                return dict(self._call.get(timeout=0))
            except modal.exception.FunctionTimeoutError:
                raise
            except (modal.exception.OutputExpiredError, TimeoutError, modal.exception.TimeoutError) as error:
                if isinstance(error, modal.exception.OutputExpiredError):
                    raise
                return None

    def cancel(self) -> None:
        """End the function, and with it the costs."""
        try:
            with modal_errors("cancel the training"):
                self._call.cancel()
        except StudioError as error:
            logger.warning("%s", error)


class ModalChannel:
    """The far end's connections, from inside the function."""

    def __init__(self, run: str, volume: Any) -> None:
        self._run, self._volume = run, volume

    def send(self, batch: Mapping[str, Any]) -> None:
        _queue().put(dict(batch), timeout=30.0, partition=self._run)

    def keep(self) -> None:
        """Commit what was written, so that it is there after the machine is gone and for the studio."""
        self._volume.commit()

    def listen(self) -> tuple[Sequence[str], float]:
        words, mark = _words().get(self._run, ([], 0.0))
        return words, mark


class DeafChannel:
    """The far end's connections where there is no Modal: `train.local` leaves everything in its files."""

    def send(self, batch: Mapping[str, Any]) -> None:
        """The events are in the run's file already."""

    def keep(self) -> None:
        """Files of a folder last by themselves."""

    def listen(self) -> tuple[Sequence[str], float]:
        return (), time.monotonic()


def _queue() -> Any:
    import modal

    return modal.Queue.from_name(NAME, create_if_missing=True)


def _words() -> Any:
    import modal

    return modal.Dict.from_name(NAME, create_if_missing=True)
