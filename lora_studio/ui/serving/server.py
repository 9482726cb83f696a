"""The server of the page: access, port, and an orderly end."""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import signal
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

import gradio as gr

from lora_studio.errors import ConfigError
from lora_studio.operations.studio_logs import StudioLog, begin_log, end_log
from lora_studio.prompts.styles import PREVIEWS
from lora_studio.settings import Settings
from lora_studio.store.people.audit_log import AuditLog
from lora_studio.store.people.people import People
from lora_studio.store.people.visitors import Visitors
from lora_studio.studio import Studio
from lora_studio.ui.blocks import build
from lora_studio.ui.document import add_script
from lora_studio.ui.page_revision import Revisions
from lora_studio.ui.serving.gate import Gate, GatedApp
from lora_studio.ui.serving.hub_login import HubLogin
from lora_studio.ui.serving.login import SHORT_PASSWORD, Access
from lora_studio.ui.serving.monitoring import Monitoring
from lora_studio.ui.serving.request_bodies import LARGEST_UPLOAD
from lora_studio.ui.serving.request_origin import Names, bracketed, is_loopback
from lora_studio.ui.serving.visitor_routes import VisitorRoutes
from lora_studio.ui.theme import stylesheet, theme

logger = logging.getLogger(__name__)

FIRST_PORT, PORTS = 7860, 40
MOST_WAITING = 20
MOST_STATES = 40
"""Pages whose components Gradio remembers, more than 1 MB each: it never hears that one was closed. A
forgotten page goes on with new ones."""


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A page that is being served."""

    blocks: gr.Blocks
    address: str
    share_address: str
    access: Access
    log: StudioLog

    def close(self) -> None:
        self.blocks.close(verbose=False)
        end_log(self.log)


def decide_access(
    settings: Settings,
    *,
    host: str,
    share: bool,
    username: str = "",
    password: str = "",
    people: bool = False,
) -> Access:
    """The access to the page. Off this machine there is a password, always: the one given, those of the
    `people` who are there, or one that is made up. The exception is a Space whose owner said
    LORA_STUDIO_PUBLIC=1. Raises ConfigError for half a pair."""
    username, password = username.strip() or settings.username, password or settings.password
    if password and not username:
        username = "studio"
    if username and not password:
        raise ConfigError(
            "A user name without a password protects nothing.",
            "Give --password or LORA_STUDIO_PASSWORD too.",
            field="password",
        )
    if password:
        return Access(username=username, password=password, people=people)
    if settings.on_space and settings.public_space and not share:
        return Access()
    if share or settings.on_space or not is_loopback(host):
        if people:
            return Access(people=True)
        return Access(username="studio", password=secrets.token_urlsafe(12), made=True)
    return Access()


def access_of(studio: Studio, options: argparse.Namespace, host: str) -> Access:
    """The access to the page by app.py's options, settings, and this home's people. Raises ConfigError."""
    return decide_access(
        studio.settings,
        host=host,
        share=options.share,
        username=options.user,
        password=options.password,
        people=bool(People(studio.database).all()),
    )


def free_port(host: str, wanted: int | None) -> int:
    """`wanted` if it is free; without a wish the first free port from 7860. Raises ConfigError."""
    if wanted is not None:
        if not _is_free(host, wanted):
            raise ConfigError(
                f"Port {wanted} can't be used on {host}: it is taken, or not allowed.",
                "Close the other program, choose another --port, or leave it out.",
                field="port",
            )
        return wanted
    for port in range(FIRST_PORT, FIRST_PORT + PORTS):
        if _is_free(host, port):
            return port
    raise ConfigError(
        f"No port from {FIRST_PORT} to {FIRST_PORT + PORTS - 1} is free on {host}.",
        "Choose one with --port.",
        field="port",
    )


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        if os.name != "nt":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), port))
        except (OSError, OverflowError):
            return False
    return True


def answered_names(settings: Settings, *, host: str, access: Access, share: bool) -> Names:
    """The names that the page answers to. With a password to any: tunnels, proxies and networks have names
    that nobody here knows. On a Space only the Hub's own proxy gets through."""
    anyone = access.asks or share or settings.on_space
    return Names.of(host, settings.hosts, anyone=anyone, framed=settings.on_space)


def no_other_way(username: str, password: str) -> bool:
    """A Gradio `auth` that refuses all, so that Gradio asks for a session: they begin at the gate only."""
    return False


def open_page(studio: Studio, *, host: str, port: int, access: Access, share: bool = False) -> Opened:
    """Serve the page in threads of its own and return."""
    settings, log = studio.settings, begin_log(studio.settings)
    if 0 < len(access.password) < SHORT_PASSWORD and (share or not is_loopback(host)):
        logger.warning("The password is short: give it %d characters or more.", SHORT_PASSWORD)
    os.environ["GRADIO_TEMP_DIR"] = str(
        settings.uploads
    )  # the only folder that validate.safe_uploads accepts
    os.environ["NO_PROXY"] = ",".join(filter(None, [os.environ.get("NO_PROXY"), "127.0.0.1", "localhost"]))
    add_script()
    studio = _with_lent_gpu(studio)
    admin = access.username if access.password else ""
    visitors = Visitors.over(studio.database, settings, admin=admin, is_open=not access.asks)
    blocks = build(replace(studio, settings=replace(settings, guests=access.asks)), visitors)
    blocks.queue(max_size=MOST_WAITING)
    names = answered_names(settings, host=host, access=access, share=share)
    root_path = os.environ.get("GRADIO_ROOT_PATH", "")
    gate = Gate(access, names, visitors=visitors, root_path=root_path, shared=share)
    gate.audit = AuditLog(settings.home)
    gate.routes = VisitorRoutes(settings, blocks.sessions) if access.asks else None
    gate.hub = HubLogin(settings.hub_accounts, visitors) if settings.hub_accounts and access.asks else None
    gate.revisions = Revisions(studio)
    gate.monitoring = Monitoring(studio, closed=names.answered is None and not access.asks)
    if settings.result_pictures:
        studio.endings.add(studio.result_pictures.after)
        studio.result_pictures.catch_up()
    _, address, share_address = blocks.launch(
        _app=GatedApp(gate),
        server_name=bracketed(host),
        server_port=port,
        share=share,
        auth=no_other_way if access.asks else None,
        prevent_thread_lock=True,
        quiet=True,
        show_error=False,
        max_file_size=LARGEST_UPLOAD,
        run_history=False,
        footer_links=["api"],
        enable_monitoring=False,
        state_session_capacity=MOST_STATES,
        ssr_mode=False,
        allowed_paths=[str(path) for path in served_folders(settings)],
        blocked_paths=[str(path) for path in private_paths(settings)],
        theme=theme(),
        css=stylesheet(),
    )
    shared = share_address or ""
    return Opened(blocks=blocks, address=address, share_address=shared, access=access, log=log)


def _with_lent_gpu(studio: Studio) -> Studio:
    """The studio that draws on ZeroGPU where it is. Before torch is loaded, as ZeroGPU's own package asks."""
    if not studio.settings.zero_gpu:
        return studio
    from lora_studio.jobs.zero_gpu_generator import ZeroGpuGenerator

    lent = replace(studio.drawing, generator=ZeroGpuGenerator(studio.settings, gr.Error))
    return replace(studio, drawing=lent)


def served_folders(settings: Settings) -> list[Any]:
    """Folders that browsers may fetch from: pictures, their thumbnails, those to redraw, live previews, LoRAs
    with their previews, previews of styles."""
    cache = settings.cache
    shown = [settings.images, settings.inputs, cache / "thumbnails", cache / "live", settings.loras]
    return [*shown, PREVIEWS]


def private_paths(settings: Settings) -> list[Any]:
    database = settings.database
    return [
        database,
        *(database.with_name(database.name + ending) for ending in ("-wal", "-shm")),
        settings.trash,
    ]


def end_asked() -> threading.Event:
    """An event set by SIGTERM from now on, which would otherwise end the process at once, jobs and all. Call
    in the main thread, before there is anything that has to end in order."""
    ended = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        ended.set()

    signal.signal(signal.SIGTERM, end)
    return ended


def wait_for_end(ended: threading.Event) -> None:
    """Return on Ctrl+C, or when the end is asked for."""
    with suppress(KeyboardInterrupt):
        while not ended.wait(0.5):
            pass
