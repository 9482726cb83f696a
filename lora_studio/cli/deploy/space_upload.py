"""A Space on the Hub: made or renewed, its files replaced as a whole, and waited for."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_studio import __version__
from lora_studio.cli.deploy.space_files import SpaceFile
from lora_studio.downloads.hub_errors import hub_errors
from lora_studio.errors import ConfigError, StudioError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

MOUNTED = "/data"
BUILD_SECONDS = 3600.0
LAST_LINES = 40
OURS = "lora_studio/__init__.py"
BRINGS = {".gitattributes", "README.md"}
"""Files of a Space that somebody has just made."""
BUILDING = {"BUILDING", "RUNNING_BUILDING", "APP_STARTING", "RUNNING_APP_STARTING"}


@dataclass(frozen=True, kw_only=True)
class SpacePlan:
    """A Space as it shall be. `bucket` is a storage bucket, empty for none; `secrets` and `variables` become
    its environment, `replace` lets the files of somebody else's program go."""

    name: str
    files: Sequence[SpaceFile]
    hardware: str
    private: bool = False
    bucket: str = ""
    sleep_seconds: int | None = None
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    variables: Mapping[str, str] = field(default_factory=dict)
    replace: bool = False

    @property
    def environment(self) -> dict[str, str]:
        """The variables, with the studio's folders in the bucket if there is one."""
        if not self.bucket:
            return dict(self.variables)
        folders = {"LORA_STUDIO_HOME": "studio_data", "LORA_STUDIO_MODELS": "models"}
        return {**{name: f"{MOUNTED}/{folder}" for name, folder in folders.items()}, **self.variables}


def deploy(plan: SpacePlan, tell: Callable[[str], None]) -> tuple[str, bool]:
    """Make or renew the Space, wait until it runs, and return its address and whether it is new. Raises
    StudioError, with the end of the Space's log when it fails there."""
    from huggingface_hub import HfApi

    api = HfApi()
    with hub_errors(plan.name):
        owner = api.whoami()["name"]
    name = plan.name if "/" in plan.name else f"{owner}/{plan.name}"
    with hub_errors(name):
        is_new = not api.repo_exists(name, repo_type="space")
        if not is_new:
            _check_ours(api, name, plan.replace)
            _renew(api, name, plan)
            tell(f"The Space {name} is there and is renewed.")
        else:
            _make(api, name, plan)
            tell(f"The Space {name} is made.")
        with tempfile.TemporaryDirectory() as folder:
            for file in plan.files:
                file.write(Path(folder))
            tell(f"{len(plan.files)} files go up.")
            api.upload_folder(
                repo_id=name,
                repo_type="space",
                folder_path=folder,
                delete_patterns=["*"],
                commit_message=f"LoRA Studio {__version__}",
            )
        tell("It builds; the first time this takes some minutes.")
        stage = _stage(api, name)
    if stage != "RUNNING":
        raise StudioError(_failure(api, name, stage), "The log above says why.")
    return f"{api.endpoint}/spaces/{name}", is_new


def _stage(api: HfApi, name: str) -> str:
    """The Space's stage once it is there, or after an hour."""
    try:
        return str(api.wait_for_space(name, timeout=BUILD_SECONDS).stage)
    except TimeoutError:
        return "BUILDING"


def _make(api: HfApi, name: str, plan: SpacePlan) -> None:
    """Make the Space with its hardware at once: accounts that pay nothing may make some kinds only."""
    hardware: Any = plan.hardware  # also a name that this client doesn't list yet
    api.create_repo(
        name,
        repo_type="space",
        space_sdk="gradio",
        private=plan.private,
        space_hardware=hardware,
        space_sleep_time=plan.sleep_seconds,
        space_secrets=_pairs(plan.secrets) or None,
        space_variables=_pairs(plan.environment) or None,
        space_volumes=_volumes(plan) or None,
    )


def _renew(api: HfApi, name: str, plan: SpacePlan) -> None:
    """Set what the plan names; other secrets and variables of the Space stay, and so does a private one."""
    if plan.private:
        api.update_repo_settings(name, repo_type="space", private=True)
    for key, value in plan.secrets.items():
        api.add_space_secret(name, key, value)
    for key, value in plan.environment.items():
        api.add_space_variable(name, key, value)
    if volumes := _volumes(plan):
        api.set_space_volumes(name, volumes)
    runtime = api.get_space_runtime(name)
    if plan.hardware not in {runtime.requested_hardware, runtime.hardware}:
        hardware: Any = plan.hardware
        api.request_space_hardware(name, hardware, sleep_time=plan.sleep_seconds)
    elif plan.sleep_seconds:
        api.set_space_sleep_time(name, plan.sleep_seconds)


def _check_ours(api: HfApi, name: str, replace: bool) -> None:
    """Refuse to replace the files of another program. Raises ConfigError."""
    files = set(api.list_repo_files(name, repo_type="space"))
    if OURS not in files and not files <= BRINGS and not replace:
        raise ConfigError(
            f"The Space {name} holds another program: {len(files)} files would be deleted.",
            "Choose another name, or say --replace.",
            field="name",
        )


def _pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in values.items()]


def _volumes(plan: SpacePlan) -> list[Any]:
    from huggingface_hub import Volume

    return [Volume(type="bucket", source=plan.bucket, mount_path=MOUNTED)] if plan.bucket else []


def _failure(api: HfApi, name: str, stage: str) -> str:
    """The end of the Space's log, and a sentence."""
    with hub_errors(name):
        lines = deque(api.fetch_space_logs(name, build="BUILD" in stage or stage in BUILDING), LAST_LINES)
    log = ["".join(sign if sign.isprintable() else " " for sign in line.rstrip()) for line in lines]
    return "\n".join([*log, "", f"The Space {name} does not run: {stage}."])
