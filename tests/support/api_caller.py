"""Requests to a running app without Gradio's client, which would put right or refuse some of what is sent."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save_file

from tests.support.serving import CHECKOUT, App
from tests.support.waiting import PATIENCE

LAYER = "mid_block.attentions.0.transformer_blocks.0.attn1.to_k"
LONGEST_SENTENCE = 1200
INSIDE = re.compile(
    r"Traceback|Something went wrong|Internal Server|File \"|\bat 0x|<class|instance of|valid tuple|"
    r"[A-Z][a-z]+Error\b|site-packages|\.py\b"
)
"""What only a programmer would say."""


class Refused(Exception):
    """The sentence that an endpoint answered."""


@dataclass(frozen=True, kw_only=True)
class Caller:
    """`session` is that of all requests that name none: without, Gradio would set up another for each, which
    takes ten times the rest."""

    app: App
    http: httpx.Client
    session: str = field(default_factory=lambda: secrets.token_hex(8))

    def post(self, endpoint: str, data: Any, session: str = "") -> httpx.Response:
        """The bare answer; NaN and Infinity travel as Python writes them."""
        return self.send(f"run/{endpoint}", {"data": data, "session_hash": session or self.session})

    def send(self, path: str, body: Mapping[str, Any]) -> httpx.Response:
        """The answer, after a wait where there were too many requests of this person."""
        content, headers = json.dumps(body), {"Content-Type": "application/json"}
        while True:
            answer = self.http.post(f"gradio_api/{path}", content=content, headers=headers)
            if answer.status_code != 429:
                return answer
            time.sleep(float(answer.headers["retry-after"]))

    def run(self, endpoint: str, *data: Any, session: str = "") -> Any:
        """What the endpoint gives. Raises Refused."""
        answer = self.post(endpoint, list(data), session)
        if answer.status_code != 200:
            raise Refused(sentence_of(answer, self.app))
        return answer.json()["data"][0]

    def upload(self, *paths: Path) -> list[dict[str, Any]]:
        """The files as the endpoints take them."""
        sent = [("files", (path.name, path.read_bytes())) for path in paths]
        answer = self.http.post("gradio_api/upload", files=sent).raise_for_status()
        return [{"path": path, "meta": {"_type": "gradio.FileData"}} for path in answer.json()]

    def fetch(self, address: str) -> bytes:
        return self.http.get(address).raise_for_status().content

    def bugs(self) -> list[str]:
        """Lines of the app's log that no bad input may cause."""
        return [line for line in self.app.said if re.search(r"Traceback|\bbug [0-9a-f]{6}\b", line)]


@contextmanager
def caller(app: App) -> Iterator[Caller]:
    with httpx.Client(base_url=app.address, timeout=PATIENCE, trust_env=False) as http:
        yield Caller(app=app, http=http)


def sentence_of(answer: httpx.Response, app: App) -> str:
    """What a refusal says; asserts that a person can read it, and that it tells nothing of the inside."""
    said = answer.json()["error"]
    assert isinstance(said, str), answer.text
    assert 10 < len(said) < LONGEST_SENTENCE, said[:1000]
    assert "\n" not in said, said
    assert said[-1] in ".,!?", said
    assert not INSIDE.search(said), said
    for inside in (app.home, app.models, CHECKOUT):
        assert str(inside) not in said, said
    return said


def write_lora(path: Path, value: float = 0.05) -> Path:
    """A LoRA of one layer that fits the starter."""
    weights = CHECKOUT / "models" / "starter" / "unet" / "diffusion_pytorch_model.safetensors"
    with safe_open(weights, "numpy") as base:
        rows, columns = base.get_slice(f"{LAYER}.weight").get_shape()
    name = f"lora_unet_{LAYER.replace('.', '_')}"
    tensors = {
        f"{name}.lora_down.weight": numpy.full((4, columns), value, numpy.float32),
        f"{name}.lora_up.weight": numpy.full((rows, 4), value, numpy.float32),
        f"{name}.alpha": numpy.float32([4]),
    }
    said = {"ss_network_module": "networks.lora", "ss_network_dim": "4", "ss_network_alpha": "4"}
    about = {"ss_sd_model_name": "starter", "ss_base_model_version": "sd_v1", "ss_steps": "20"}
    save_file(tensors, path, metadata={**said, **about})
    return path


def write_picture(path: Path, colour: str = "teal") -> Path:
    Image.new("RGB", (64, 64), colour).save(path)
    return path
