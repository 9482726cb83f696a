"""LoRAs by their links: from an address to the library."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lora_studio.access.roles import Role
from lora_studio.access.visitor import Visitor, acting
from lora_studio.downloads.hub_files import SeveralFiles
from lora_studio.errors import DeviceBusy, NotAllowed, StudioError, UnknownFormat
from lora_studio.jobs.lora_files.lora_links import LEFT_SECONDS, LoraLinks
from lora_studio.studio import Studio
from tests.support.file_server import Answer, FileServer, serve_files
from tests.support.strange_loras import strange_lora
from tests.support.waiting import until


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FileServer]:
    with serve_files() as serving:
        body = strange_lora(tmp_path / "ink.safetensors").read_bytes()
        serving.answers["/ink.safetensors"] = Answer(body=(body,))
        yield serving


@pytest.fixture
def links(studio: Studio, server: FileServer) -> Iterator[LoraLinks]:
    yield replace(studio.links, web=server.web())
    assert not [*studio.settings.uploads.iterdir()]


def test_a_link_becomes_a_lora(links: LoraLinks, server: FileServer, studio: Studio) -> None:
    record = links.add(server.url("/ink.safetensors"))
    assert record is not None
    assert (record.slug, record.title) == ("ink", "ink")
    assert studio.gallery.lora("ink").id == record.id
    again = links.add(server.url("/ink.safetensors"))
    assert again is not None
    assert again.slug == "ink"


def test_a_name_on_the_hub_becomes_a_lora(links: LoraLinks, server: FileServer) -> None:
    hub = replace(links, hub=server.url(""))
    files = [{"rfilename": name} for name in ("ink.safetensors", "ink-2.safetensors")]
    listed = json.dumps({"siblings": files}).encode().ljust(80)
    server.answers["/api/models/ada/ink?blobs=true"] = Answer(body=(listed,))
    server.answers["/ada/ink/resolve/main/ink.safetensors"] = server.answers["/ink.safetensors"]
    with pytest.raises(SeveralFiles):
        hub.add("ada/ink")
    record = hub.add("ada/ink", file="ink.safetensors")
    assert record is not None
    assert record.slug == "ink"
    assert hub.add("ada/ink/ink.safetensors") == record


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<!doctype html><title>Log in</title>" + b" " * 80, StudioError),
        (b"PK\x03\x04" + b"\x00" * 80, UnknownFormat),
        (b"\x80\x02}q\x00." + b"\x00" * 80, UnknownFormat),
        (b"\x89PNG\r\n\x1a\n" + b"\x00" * 80, UnknownFormat),
        (b"", UnknownFormat),
        (b"\xff" * 80, UnknownFormat),
        (b"\x40" + b"\x00" * 7 + b"{}" + b" " * 60, StudioError),
    ],
    ids=["page", "zip", "pickle", "picture", "nothing", "long header", "no tensors"],
)
def test_what_is_no_lora_is_refused_and_leaves_nothing(
    links: LoraLinks, server: FileServer, studio: Studio, body: bytes, kind: type[StudioError]
) -> None:
    server.answers["/bad.safetensors"] = Answer(body=(body,))
    with pytest.raises(kind):
        links.add(server.url("/bad.safetensors"))
    assert not [*studio.settings.loras.iterdir()]


def test_one_at_a_time(links: LoraLinks, server: FileServer) -> None:
    hold = threading.Event()
    body = server.answers["/ink.safetensors"].body[0]
    server.answers["/slow.safetensors"] = Answer(body=(body[:100], body[100:]), hold=hold)
    fetching = threading.Thread(target=links.add, args=[server.url("/slow.safetensors")])
    fetching.start()
    until(lambda: bool(server.asked))
    with pytest.raises(DeviceBusy):
        links.add(server.url("/ink.safetensors"))
    hold.set()
    fetching.join(60)
    assert not fetching.is_alive()


def test_who_may_not_import_fetches_nothing(links: LoraLinks, server: FileServer) -> None:
    with acting(Visitor(name="eve", role=Role.VIEWER)), pytest.raises(NotAllowed):
        links.add(server.url("/ink.safetensors"))
    assert not server.asked


def test_a_stop_leaves_nothing(links: LoraLinks, server: FileServer, studio: Studio) -> None:
    assert links.add(server.url("/ink.safetensors"), should_stop=lambda: True) is None
    assert not [*studio.settings.loras.iterdir()]


def test_what_a_killed_program_had_fetched_is_removed(
    links: LoraLinks, server: FileServer, studio: Studio
) -> None:
    old, fresh = (studio.settings.uploads / name for name in ("link-old", "link-fresh"))
    for folder in (old, fresh):
        folder.mkdir(parents=True)
        (folder / "half.safetensors").write_bytes(b"x")
    for path in (old / "half.safetensors", old):
        os.utime(path, (time.time() - LEFT_SECONDS - 60,) * 2)
    assert links.add(server.url("/ink.safetensors")) is not None
    assert [*studio.settings.uploads.iterdir()] == [fresh], "another program may be fetching it"
    shutil.rmtree(fresh)
