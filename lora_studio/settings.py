"""Where things live and what kind of machine this is, read once from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`home` holds all state, `models` the weights; `starter` is the embedded base model.

    `on_space` is true on Hugging Face Spaces. `public_space` is the owner's word that a Space may run without
    a password. `sd_scripts` is a checkout of sd-scripts, for the engine of that name, and `sd_scripts_python`
    the interpreter that runs it.
    """

    home: Path
    models: Path
    starter: Path = CHECKOUT / "models" / "starter"
    username: str = ""
    password: str = ""
    on_space: bool = False
    public_space: bool = False
    sd_scripts: Path | None = None
    sd_scripts_python: str = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read `LORA_STUDIO_HOME`, `LORA_STUDIO_MODELS`, `LORA_STUDIO_USER`, `LORA_STUDIO_PASSWORD`,
        `LORA_STUDIO_PUBLIC` (1 lets a Space run without a password), `LORA_STUDIO_SD_SCRIPTS`,
        `LORA_STUDIO_SD_SCRIPTS_PYTHON` and the variables that Spaces set."""
        env = os.environ if environment is None else environment
        checkout = env.get("LORA_STUDIO_SD_SCRIPTS", "")
        return cls(
            home=Path(env.get("LORA_STUDIO_HOME") or CHECKOUT / "studio_data").expanduser().resolve(),
            models=Path(env.get("LORA_STUDIO_MODELS") or CHECKOUT / "models").expanduser().resolve(),
            username=env.get("LORA_STUDIO_USER", ""),
            password=env.get("LORA_STUDIO_PASSWORD", ""),
            on_space=env.get("SYSTEM") == "spaces" or bool(env.get("SPACE_ID")),
            public_space=env.get("LORA_STUDIO_PUBLIC", "").strip().lower() in {"1", "true", "yes"},
            sd_scripts=Path(checkout).expanduser().resolve() if checkout else None,
            sd_scripts_python=env.get("LORA_STUDIO_SD_SCRIPTS_PYTHON", ""),
        )

    @property
    def database(self) -> Path:
        return self.home / "studio.db"

    @property
    def datasets(self) -> Path:
        return self.home / "datasets"

    @property
    def jobs(self) -> Path:
        return self.home / "jobs"

    @property
    def images(self) -> Path:
        return self.home / "images"

    @property
    def cache(self) -> Path:
        return self.home / "cache"

    @property
    def trash(self) -> Path:
        return self.home / "trash"

    @property
    def uploads(self) -> Path:
        """Gradio's temporary folder: the only place a path received from a browser may point into."""
        return self.home / "uploads"

    @property
    def loras(self) -> Path:
        return self.models / "lora"

    @property
    def bases(self) -> Path:
        return self.models / "base"

    def create_folders(self) -> None:
        for folder in (
            self.home,
            self.datasets,
            self.jobs,
            self.images,
            self.cache,
            self.trash,
            self.uploads,
            self.loras,
            self.bases,
        ):
            folder.mkdir(parents=True, exist_ok=True)
