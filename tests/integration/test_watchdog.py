"""The last line of defence: nothing that a client may send makes others wait for the page.

Every parameter of every endpoint gets texts that are hard to read, as long as they may be, and the files that
are read get them inside; meanwhile another client asks for the page. An answer counts as late only if it took
more than a second on the clock and the app worked for more than a second of processor time meanwhile: the
first alone may be a busy machine, the second alone work that leaves others their turn.
"""

from __future__ import annotations

import json
import struct
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from PIL import Image, PngImagePlugin

from lora_studio.grids.grid_request import PARAMETERS
from tests.integration.endpoint_table import ENDPOINTS, Row, World, right_values
from tests.support.api_caller import Caller, caller, write_lora
from tests.support.pace import stretched
from tests.support.serving import App, running_app
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.slow
LATE = 1.0
"""Seconds, of the clock and, stretched where this machine is slower, of the app's processor time."""
LOOKS = ("", *9 * ("revision",))
"""What is asked for, in turn: the page, and what each open one asks once a second, which costs little."""
LENGTHS, LENGTH_OF_AXES = (1900, 110), 7900
"""A little less than a prompt may have, a little more than a number, and a little less than an axis."""
TOO_LONG = 60_000
PARSED = {("generate", "prompt"), ("generate", "negative_prompt"), ("grid", "y"), ("set_caption", "caption")}
"""Where each text is sent, as in options; each of the others gets some, not all the same."""
SHARE = 6
"""How many those are."""
TRAININGS = ("start_training", "plan_training")
"""What they take begins a training, or one that is measured: few of those."""
OPTIONS = ("negative_prompt", "sampler", "style", "width", "optimizer_args", "network_args", "resolution")


def hard(length: int) -> Iterator[str]:
    """Texts that make careless patterns go back and forth, and careless parsers go deep."""
    third = length // 3
    yield "1" * third + "-" + "1" * third + "(" + "1" * (third - 4) + "x"
    yield "Steps: 1, Denoising strength: " + "0" * (length - 40) + "x"
    yield "a" + " " * (length - 2) + "b"
    for piece in (
        "(",
        "[",
        "{",
        "((a:1",
        "{a|",
        "<lora:",
        "__a",
        "a=",
        "a:",
        '"',
        "\\",
        "(a:1.1)",
        ", ",
        "\n",
        "é",
    ):
        yield (piece * length)[:length]
    yield "(" * (length // 2) + ")" * (length // 2)
    yield "[" * (length // 2) + "]" * (length // 2)
    yield "a=" + "1" * (length - 3) + "x"
    yield "{" + "a|" * (length // 2 - 2) + "}"


@dataclass
class Watch:
    """Another client. `late` are the answers that came too late, in seconds, with what was being asked."""

    app: App
    asking: str = ""
    slowest: float = 0.0

    def __post_init__(self) -> None:
        self.late: list[tuple[str, float, float]] = []
        self.answers = 0
        self._ended = threading.Event()

    @contextmanager
    def on(self) -> Iterator[None]:
        thread = threading.Thread(target=self._look)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()

    def _look(self) -> None:
        process = psutil.Process(self.app.process.pid)
        with httpx.Client(base_url=self.app.address, timeout=PATIENCE, trust_env=False) as http:
            while not self._ended.wait(0.05):
                asking, worked, begun = self.asking, sum(process.cpu_times()[:2]), time.monotonic()
                http.get(LOOKS[self.answers % len(LOOKS)]).raise_for_status()
                seconds, work = time.monotonic() - begun, sum(process.cpu_times()[:2]) - worked
                self.answers += 1
                self.slowest = max(self.slowest, min(seconds, work))
                if seconds > LATE and work > LATE and work > stretched(LATE):
                    self.late.append((f"{asking} … {self.asking}", seconds, work))


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    with running_app(tmp_path_factory.mktemp("app")) as app, caller(app) as made:
        made.run(
            "generate", "a dog", [], "starter", "", 1, 1, {"num_inference_steps": 1}
        )  # loads what is slow to load
        yield made


@pytest.fixture(scope="module")
def world(studio: Caller, tmp_path_factory: pytest.TempPathFactory) -> World:
    return World.in_app(studio, tmp_path_factory.mktemp("world"))


def forms(parameter: str, text: str, number: int) -> Iterator[Any]:
    """The values of a parameter that hold the text of this number: the text, or what it may stand in."""
    match parameter:
        case "x":
            name = list(PARAMETERS)[number % len(PARAMETERS)]
            yield {"parameter": name, "values": text}
            yield {"parameter": f"lora_weight:{text}", "values": "1"}
        case "y" | "z":
            yield {"parameter": "guidance_scale", "values": text}
        case "options":
            yield {OPTIONS[number % len(OPTIONS)]: text}
        case "loras":
            yield from ([{"slug": text}], [{"slug": "layer", "weight": text}])
        case "files" | "picture" | "image" | "mask":
            yield {"path": text}
        case _:
            yield text


def test_whatever_is_sent_the_page_is_answered(studio: Caller, world: World) -> None:
    watch = Watch(studio.app)
    with watch.on():
        for endpoint, row in ENDPOINTS.items():
            _send_all(studio, watch, endpoint, row, right_values(row, world))
    for job in studio.run("list_trainings", 500):
        studio.post("stop_training", [job["job_id"]])
    assert watch.answers > 20
    assert watch.late == []
    assert not studio.bugs()


def _send_all(studio: Caller, watch: Watch, endpoint: str, row: Row, right: dict[str, Any]) -> None:
    for place, parameter in enumerate(row):
        for number, text in _texts(endpoint, parameter, place):
            for value in forms(parameter, text, number):
                watch.asking = f"{endpoint} {parameter} {str(value)[:60]!r} of {len(text)}"
                studio.post(endpoint, list({**right, parameter: value}.values()))


def _texts(endpoint: str, parameter: str, place: int) -> list[tuple[int, str]]:
    """The texts for a parameter, each with a number that no other text for this parameter has."""
    if endpoint in TRAININGS and parameter != "options":
        return list(enumerate(islice(hard(LENGTHS[0]), 3)))
    if parameter == "x":
        texts = list(hard(LENGTH_OF_AXES))
        some = [texts[step % len(texts)] for step in range(2 * len(PARAMETERS))]
    elif parameter == "options" or (endpoint, parameter) in PARSED:
        some = [*hard(LENGTHS[0]), *islice(hard(LENGTHS[1]), 0, None, 3)]
    else:
        texts = [text for length in LENGTHS for text in hard(length)]
        some = [texts[(place + step) % len(texts)] for step in range(0, 5 * SHARE, 5)]
    return list(enumerate([*some, *islice(hard(TOO_LONG), place % 4, place % 4 + 1)]))


def test_whatever_is_in_a_file_the_page_is_answered(studio: Caller, world: World, tmp_path: Path) -> None:
    watch = Watch(studio.app)
    with watch.on():
        for length, every in ((1900, 3), (60_000, 1), (2_000_000, 3)):
            for number, text in enumerate(islice(hard(length), 0, None, every)):
                watch.asking = f"files with {text[:40]!r} of {length}"
                name = f"{length}-{number}"
                (picture,) = studio.upload(_settings_picture(tmp_path / f"{name}.png", text))
                studio.post("read_settings", [picture])
                studio.post("upload_dataset", [studio.upload(_archive(tmp_path / f"{name}.zip", text)), name])
                lora = _lora(tmp_path / f"l{name}.safetensors", text)
                studio.post("import_lora", [studio.upload(lora)])
        studio.run("list_loras", "")
    assert watch.answers > 20
    assert watch.late == []
    assert not studio.bugs()


def _settings_picture(path: Path, text: str) -> Path:
    chunks = PngImagePlugin.PngInfo()
    chunks.add_itxt("parameters", f"{text}\nSteps: 2, Sampler: DDIM, Seed: 1, {text}")
    chunks.add_itxt("prompt", json.dumps({"1": {"class_type": "KSampler", "inputs": {"seed": text}}}))
    Image.new("RGB", (64, 64)).save(path, pnginfo=chunks)
    return path


def _archive(path: Path, text: str) -> Path:
    picture = path.with_suffix(".one.png")
    Image.new("RGB", (64, 64), (len(text) % 255, ord(text[0]) % 255, 0)).save(picture)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(picture, "a.png")
        archive.writestr("a.txt", text[:60_000])
        archive.writestr("metadata.jsonl", json.dumps({"file_name": "a.png", "text": text}))
    return path


def _lora(path: Path, text: str) -> Path:
    """A LoRA that fits, with the text in all that it says about itself."""
    data = write_lora(path).read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    told = (
        "ss_tag_frequency",
        "ss_network_args",
        "ss_steps",
        "ss_network_dim",
        "modelspec.title",
        "ss_output_name",
    )
    header["__metadata__"] |= dict.fromkeys(
        (*told, "modelspec.trigger_phrase", "lora_adapter_metadata"), text
    )
    new = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(new)) + new + data[8 + size :])
    return path
