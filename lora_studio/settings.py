"""Settings of the installation, read once from the environment: places, passwords, the machine."""

from __future__ import annotations

import difflib
import logging
import os
import re
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lora_studio.errors import ConfigError

logger = logging.getLogger(__name__)

PACKAGE = Path(__file__).resolve().parent
IS_WHEEL = (PACKAGE / "checkout").is_dir()
CHECKOUT = PACKAGE / "checkout" if IS_WHEEL else PACKAGE.parent
"""Folder of the embedded base, the example sets and app.py; a wheel brings it inside the package."""
PLACE = Path("~/lora-studio") if IS_WHEEL else CHECKOUT
"""Folder that holds home and models unless variables name others."""
KEEP_FREE_GB = 0.5
"""GB that are enough for the orderly end of a training: its LoRA, its row, its log."""
OURS = "LORA_STUDIO_"
VARIABLES = frozenset(
    f"{OURS}{name}"
    for name in (
        *("HOME", "MODELS", "USER", "PASSWORD", "PUBLIC", "HOSTS", "SD_SCRIPTS", "SD_SCRIPTS_PYTHON"),
        *(
            "PRECISION",
            "QTYPE",
            "BLOCKS_TO_SWAP",
            "MEMORY_GB",
            "KEEP_FREE_GB",
            "RESULT_PICTURES",
            "METRICS_TOKEN",
            "SUPABASE_UPLOADS",
            "UMASK",
            "TORCH",
            "WEBHOOK",
        ),
        *("HUB_ROLE", "MODAL", "MODAL_GPU", "MODAL_MAX_USD", "VOLUME", "CHROMIUM"),
    )
)
"""All variables of this program, those of its tests and of its installation too."""
YES, NO = {"1", "true", "yes", "on", "y", "t"}, {"", "0", "false", "no", "off", "n", "f"}
MOST_BLOCKS = 200
"""Blocks of a denoiser that may be asked for, as in a training."""
HOST = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9._-]{0,252}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
"""A name or an address as browsers send it, with a port or without."""
WEBHOOK = re.compile(r"https://[!-~]{1,1900}")


@dataclass(frozen=True, kw_only=True)
class HubAccounts:
    """Logins with accounts of the Hugging Face Hub, as a Space with `hf_oauth: true` is given them.
    `callback` is the address that the Hub sends people back to, `owner` the account that is an admin, `role`
    what everybody else with an account is; empty: only those who are invited come in."""

    provider: str
    client_id: str
    client_secret: str = field(repr=False)
    callback: str
    owner: str
    role: str = ""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The installation. `home` holds all state, `models` the weights; `starter` is the
    embedded base model, with the others beside it.

    `on_space` is true on Hugging Face Spaces, `zero_gpu` on those whose GPU is lent to single calls, which
    draw and can't train. `public_space` lets a Space run without a password, `hosts` are
    more names under which the page is reached, `guests` is true while a page with a password is served:
    others than the owner may ask. `sd_scripts` is a checkout of sd-scripts, for the engine of that name, and
    `sd_scripts_python` the interpreter that runs it. `precision` is the number format of generation,
    `qtype` what denoisers are held in there, `blocks_to_swap` how many of their blocks wait in the machine's
    memory, `memory_gb` the limit of loaded base models in GB (None: found out), `keep_free_gb` the GB of the
    disk that stay free. With `result_pictures` the first pictures with a new LoRA are drawn by themselves, as
    its training's own settings say. `metrics_token` opens `/metrics` without a login, `webhook` hears of
    trainings that end. `supabase_key` is a secret key, or a publishable one that goes with the email and
    password of an account; `supabase_uploads` sends finished files there too.
    """

    home: Path
    models: Path
    starter: Path = CHECKOUT / "models" / "starter"
    username: str = ""
    password: str = field(default="", repr=False)
    on_space: bool = False
    zero_gpu: bool = False
    public_space: bool = False
    hosts: tuple[str, ...] = ()
    guests: bool = False
    sd_scripts: Path | None = None
    sd_scripts_python: str = ""
    precision: Literal["auto", "fp32", "fp16", "bf16"] = "auto"
    qtype: Literal["none", "qfloat8", "qint8", "nf4"] = "none"
    blocks_to_swap: int = 0
    memory_gb: float | None = None
    keep_free_gb: float = KEEP_FREE_GB
    result_pictures: bool = True
    metrics_token: str = field(default="", repr=False)
    webhook: str = field(default="", repr=False)
    supabase_url: str = ""
    supabase_key: str = field(default="", repr=False)
    supabase_email: str = ""
    supabase_password: str = field(default="", repr=False)
    supabase_uploads: bool = False
    hub_accounts: HubAccounts | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read `LORA_STUDIO_HOME`, `LORA_STUDIO_MODELS`, `LORA_STUDIO_USER`, `LORA_STUDIO_PASSWORD`,
        `LORA_STUDIO_PUBLIC` (1 lets a Space run without a password), `LORA_STUDIO_HOSTS` (names with commas
        between them), `LORA_STUDIO_SD_SCRIPTS`, `LORA_STUDIO_SD_SCRIPTS_PYTHON`,
        `LORA_STUDIO_PRECISION`, `LORA_STUDIO_QTYPE`, `LORA_STUDIO_BLOCKS_TO_SWAP`,
        `LORA_STUDIO_MEMORY_GB`, `LORA_STUDIO_KEEP_FREE_GB`, `LORA_STUDIO_RESULT_PICTURES`,
        `LORA_STUDIO_METRICS_TOKEN`, `LORA_STUDIO_WEBHOOK`, `LORA_STUDIO_HUB_ROLE`, `SUPABASE_URL`,
        `SUPABASE_KEY`, `SUPABASE_EMAIL`, `SUPABASE_PASSWORD`, `LORA_STUDIO_SUPABASE_UPLOADS` and the
        variables that Spaces set. Raises ConfigError."""
        env = os.environ if environment is None else environment
        checkout = env.get("LORA_STUDIO_SD_SCRIPTS", "")
        return cls(
            home=_folder("LORA_STUDIO_HOME", env.get("LORA_STUDIO_HOME") or PLACE / "studio_data"),
            models=_folder("LORA_STUDIO_MODELS", env.get("LORA_STUDIO_MODELS") or PLACE / "models"),
            username=env.get("LORA_STUDIO_USER", "").strip(),  # as the login takes it
            password=env.get("LORA_STUDIO_PASSWORD", "").rstrip("\r\n"),  # as read from a file with a line
            on_space=env.get("SYSTEM") == "spaces" or bool(env.get("SPACE_ID")),
            zero_gpu=env.get("SPACES_ZERO_GPU", "").strip().lower() in {"1", "t", "true"},
            public_space=_is_yes("LORA_STUDIO_PUBLIC", env),
            hosts=_names(env.get("LORA_STUDIO_HOSTS", "")),
            sd_scripts=_folder("LORA_STUDIO_SD_SCRIPTS", checkout) if checkout else None,
            sd_scripts_python=env.get("LORA_STUDIO_SD_SCRIPTS_PYTHON", ""),
            precision=_precision(env.get("LORA_STUDIO_PRECISION", "")),
            qtype=_qtype(env.get("LORA_STUDIO_QTYPE", "")),
            blocks_to_swap=_blocks(env.get("LORA_STUDIO_BLOCKS_TO_SWAP", "")),
            memory_gb=_gigabytes(env.get("LORA_STUDIO_MEMORY_GB", "")),
            keep_free_gb=_kept_free(env.get("LORA_STUDIO_KEEP_FREE_GB", "")),
            result_pictures=_is_yes("LORA_STUDIO_RESULT_PICTURES", env, otherwise="1"),
            metrics_token=env.get("LORA_STUDIO_METRICS_TOKEN", "").strip(),
            webhook=_webhook(env.get("LORA_STUDIO_WEBHOOK", "")),
            supabase_url=env.get("SUPABASE_URL", "").strip(),
            supabase_key=env.get("SUPABASE_KEY", "").strip(),
            supabase_email=env.get("SUPABASE_EMAIL", "").strip(),
            supabase_password=env.get("SUPABASE_PASSWORD", ""),
            supabase_uploads=_is_yes("LORA_STUDIO_SUPABASE_UPLOADS", env),
            hub_accounts=_hub_accounts(env),
        )

    @property
    def keep_free_bytes(self) -> int:
        return round(self.keep_free_gb * 1e9)

    @property
    def database(self) -> Path:
        return self.home / "studio.db"

    def embedded(self, name: str) -> Path:
        """The folder of an embedded base model: they lie beside each other."""
        return self.starter if name == "starter" else self.starter.with_name(name)

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
    def inputs(self) -> Path:
        """Folder of pictures to redraw and their masks, each under its content hash."""
        return self.home / "inputs"

    @property
    def wildcards(self) -> Path:
        """Folder of text files of choices, one a line; `__name__` in a prompt takes one of name.txt."""
        return self.home / "wildcards"

    @property
    def cache(self) -> Path:
        return self.home / "cache"

    @property
    def edited(self) -> Path:
        """Folder of edited pictures; they may be deleted, and are made again from the originals."""
        return self.cache / "edited"

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
        """Make the folders. Existing ones are closed to others as far as new ones would be."""
        for folder in (
            self.home,
            self.datasets,
            self.jobs,
            self.images,
            self.inputs,
            self.wildcards,
            self.cache,
            self.trash,
            self.uploads,
            self.loras,
            self.bases,
        ):
            folder.mkdir(parents=True, exist_ok=True)
        for folder in (self.home, self.loras):
            with suppress(OSError):  # somebody else's, who decides
                mode = stat.S_IMODE(folder.stat().st_mode)
                if mode & _umask():
                    folder.chmod(mode & ~_umask())
                    if any(path.is_dir() for path in folder.iterdir()):  # a fresh checkout has nobody to tell
                        logger.warning("%s is closed to others now; LORA_STUDIO_UMASK says to whom.", folder)


def keep_private(environment: Mapping[str, str] | None = None) -> None:
    """Set the umask from `LORA_STUDIO_UMASK` (octal; empty: 077, which lets nobody else on this machine read
    files of this process; 007 lets a group). For programs, at their start. Raises ConfigError."""
    text = (os.environ if environment is None else environment).get("LORA_STUDIO_UMASK", "").strip() or "077"
    if not re.fullmatch(r"0?[0-7]{1,3}", text):
        raise ConfigError(
            f"LORA_STUDIO_UMASK is {text[:20]!r}.",
            "Let it be 077 (only you), 007 (your group too) or 022 (all may read).",
            field="umask",
        )
    os.umask(int(text, 8))
    for sentence in unknown_variables(environment):
        logger.warning(sentence)


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    before = os.umask(0o077)
    os.umask(before)
    return before


def unknown_variables(environment: Mapping[str, str] | None = None) -> list[str]:
    """A sentence for each variable that looks like one of this program's and is none: it counts for
    nothing."""
    env = os.environ if environment is None else environment
    sentences = []
    for name in sorted(name for name in env if name.upper().startswith(OURS) and name not in VARIABLES):
        meant = difflib.get_close_matches(name.upper(), VARIABLES, 1)
        hint = f" Did you mean {meant[0]}?" if meant else ""
        sentences.append(f"{name[:60]} is no variable of this program and counts for nothing.{hint}")
    return sentences


def _folder(name: str, given: str | Path) -> Path:
    try:
        return Path(given).expanduser().resolve()
    except (RuntimeError, OSError, ValueError) as error:  # nobody of this name, a circle of links
        raise ConfigError(
            f"{name} is {str(given)[:80]!r}, which leads to no folder.", "Give its whole path.", field=name
        ) from error


def _is_yes(name: str, environment: Mapping[str, str], otherwise: str = "") -> bool:
    text = environment.get(name, "").strip().lower() or otherwise
    if text not in YES | NO:
        raise ConfigError(f"{name} is {text[:20]!r}.", "Let it be 1 or 0.", field=name)
    return text in YES


def _hub_accounts(env: Mapping[str, str]) -> HubAccounts | None:
    needed = ("SPACE_ID", "SPACE_HOST", "OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET", "OPENID_PROVIDER_URL")
    if not all(env.get(name) for name in needed):
        return None
    host = env["SPACE_HOST"].partition(",")[0].strip()  # custom domains follow
    return HubAccounts(
        provider=env["OPENID_PROVIDER_URL"].rstrip("/"),
        client_id=env["OAUTH_CLIENT_ID"],
        client_secret=env["OAUTH_CLIENT_SECRET"],
        callback=f"https://{host}/login/callback",
        owner=env.get("SPACE_AUTHOR_NAME") or env["SPACE_ID"].partition("/")[0],
        role=env.get("LORA_STUDIO_HUB_ROLE", "").strip(),
    )


def _names(text: str) -> tuple[str, ...]:
    """Host names, each with a port or without; an address counts by its host."""
    given = [one.strip().rpartition("//")[2].partition("/")[0] for one in text.split(",") if one.strip()]
    for name in given:
        if not HOST.fullmatch(name):
            raise ConfigError(
                f"LORA_STUDIO_HOSTS: {name[:80]!r} is no name of a page.",
                "Write names as browsers send them, with commas between: studio.example, [fd00::7]:7860.",
                field="hosts",
            )
    return tuple(given)


def _webhook(text: str) -> str:
    """The address that hears of trainings; whoever knows it may write there, so no message repeats it."""
    address = text.strip()
    if address and not WEBHOOK.fullmatch(address):
        raise ConfigError(
            "LORA_STUDIO_WEBHOOK is no https address.",
            "Give the whole address of the webhook, as https://hooks.example/…",
            field="webhook",
        )
    return address


def _precision(text: str) -> Literal["auto", "fp32", "fp16", "bf16"]:
    match text.strip().lower():
        case "" | "auto":
            return "auto"
        case "fp32" | "fp16" | "bf16" as precision:
            return precision
    raise ConfigError(
        f"LORA_STUDIO_PRECISION is {text!r}.", "Let it be auto, fp32, fp16 or bf16.", field="precision"
    )


def _qtype(text: str) -> Literal["none", "qfloat8", "qint8", "nf4"]:
    match text.strip().lower():
        case "" | "none":
            return "none"
        case "qfloat8" | "qint8" | "nf4" as qtype:
            return qtype
    raise ConfigError(
        f"LORA_STUDIO_QTYPE is {text[:40]!r}.", "Let it be none, qfloat8, qint8 or nf4.", field="qtype"
    )


def _blocks(text: str) -> int:
    plain = text.strip()
    if not plain:
        return 0
    if not (plain.isascii() and plain.isdecimal() and len(plain) < 4 and int(plain) <= MOST_BLOCKS):
        raise ConfigError(
            f"LORA_STUDIO_BLOCKS_TO_SWAP is {text[:40]!r}.",
            f"Let it be a number of blocks from 0 to {MOST_BLOCKS}.",
            field="blocks_to_swap",
        )
    return int(plain)


def _gigabytes(text: str) -> float | None:
    if not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 10_000:
        raise ConfigError(
            f"LORA_STUDIO_MEMORY_GB is {text!r}.",
            "Let it be a number of gigabytes, as 12.",
            field="memory_gb",
        )
    return value


def _kept_free(text: str) -> float:
    if not text.strip():
        return KEEP_FREE_GB
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1_000_000:
        raise ConfigError(
            f"LORA_STUDIO_KEEP_FREE_GB is {text[:40]!r}.",
            "Let it be a number of gigabytes, as 0.5, or 0.",
            field="keep_free_gb",
        )
    return value
