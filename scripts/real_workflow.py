"""The whole job over the HTTP API: scripts/test_real_workflow.sh [--url URL] [--steps N] [--keep]

Without --url an app of its own is started on the embedded base model, with an empty home that is deleted in
the end. With --url nothing of that studio is changed but for one set of pictures, one LoRA and its images,
which are deleted again unless --keep is given; its line in the list of
trainings stays. LORA_STUDIO_USER and LORA_STUDIO_PASSWORD are used where the
page asks for them; with SUPABASE_URL and SUPABASE_KEY the status is looked up there too.

With --options '{"sample_every_n_steps": 0}' the training has other options than what its kind brings.

Each line says PASS or FAIL. Exit code 0: all passed, 1: something failed, 2: it could not begin.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from PIL import Image, ImageChops

CHECKOUT = Path(__file__).resolve().parent.parent
EXAMPLE = CHECKOUT / "examples" / "alien"
PROMPT, SEED = "a zwx", 11
ACTIVE = {"queued", "running", "stopping", "pausing"}
ENDED_WELL = "finished"
PATIENCE = 1_800.0
"""Seconds for the training."""


class Failure(Exception):
    """A check that did not hold, in a sentence."""


@dataclass(kw_only=True)
class Api:
    """The named endpoints of a studio. Each call posts, then reads the stream of events until the result."""

    address: str
    client: httpx.Client

    def call(self, endpoint: str, **values: Any) -> Any:
        """The answer of an endpoint. Raises Failure with the studio's own sentence when it refuses."""
        path = f"{self.address}/gradio_api/call/v2/{endpoint}"
        answer = self.client.post(path, json=values)
        if answer.status_code != 200:
            raise Failure(f"/{endpoint} answered {answer.status_code}: {answer.text[:200]}")
        event_id = answer.json()["event_id"]
        with self.client.stream("GET", f"{self.address}/gradio_api/call/{endpoint}/{event_id}") as stream:
            kind = ""
            for line in stream.iter_lines():
                if line.startswith("event:"):
                    kind = line.removeprefix("event:").strip()
                elif line.startswith("data:") and kind in {"complete", "error"}:
                    data = json.loads(line.removeprefix("data:"))
                    if kind == "error":
                        raise Failure(_sentence(data))
                    return data[0] if isinstance(data, list) and len(data) == 1 else data
        raise Failure(f"/{endpoint} ended without a result.")

    def upload(self, files: list[Path]) -> list[dict[str, Any]]:
        """Files as the endpoints take them."""
        parts = [("files", (file.name, file.read_bytes())) for file in files]
        answer = self.client.post(f"{self.address}/gradio_api/upload", files=parts)
        answer.raise_for_status()
        return [{"path": path, "meta": {"_type": "gradio.FileData"}} for path in answer.json()]


@dataclass(kw_only=True)
class Run:
    """One way through. `home` is the studio's own folder, where it is known."""

    api: Api
    home: Path | None
    environment: dict[str, str]
    steps: int
    options: dict[str, Any]
    keep: bool
    failed: int = 0
    dataset: str = ""
    job: dict[str, Any] = field(default_factory=dict)
    there_before: set[str] = field(default_factory=set)

    @contextmanager
    def check(self, title: str) -> Iterator[list[str]]:
        """Says PASS with what was put into the list, or FAIL with the reason."""
        findings: list[str] = []
        begun = time.monotonic()
        try:
            yield findings
        except (Failure, httpx.HTTPError, OSError, ValueError, KeyError, TypeError) as error:
            self.failed += 1
            _say(
                "FAIL",
                title,
                f"{type(error).__name__}: {error}" if not isinstance(error, Failure) else str(error),
            )
        else:
            seconds = time.monotonic() - begun
            _say("PASS", title, ", ".join([*findings, f"{seconds:.1f} s"]))

    def go(self) -> int:
        """The number of checks that failed. Raises Failure when there is no studio to ask."""
        self.opens()
        if self.failed:
            raise Failure("no studio answers there.")
        self.uploads()
        if self.dataset:
            self.trains()
        if self.job.get("lora_slug"):
            self.is_in_the_library()
            self.generates()
        self.refuses()
        if not self.keep:
            self.cleans_up()
        return self.failed

    def opens(self) -> None:
        with self.check("the page and the description of the API answer") as findings:
            page = self.api.client.get(f"{self.api.address}/")
            _want(
                page.status_code == 200 and "LoRA Studio" in page.text,
                f"the page answered {page.status_code}",
            )
            described = self.api.client.get(f"{self.api.address}/gradio_api/openapi.json").json()
            findings.append(f"{sum('/call/v2/' in path for path in described['paths'])} endpoints")

    def uploads(self) -> None:
        with self.check("pictures are uploaded") as findings:
            pictures = sorted(EXAMPLE.glob("*.png"))
            made = self.api.call("upload_dataset", files=self.api.upload(pictures), name="Workflow test")
            _want(
                made["images"] == len(pictures),
                f"{made['images']} of {len(pictures)} arrived: {made['refused']}",
            )
            self.dataset = made["dataset_id"]
            findings.append(f"{made['images']} pictures")

    def trains(self) -> None:
        with self.check("a training starts") as findings:
            self.job = self.api.call(
                "start_training",
                dataset_id=self.dataset,
                name="Workflow test",
                kind="object",
                trigger="zwx",
                options={**self.options, "max_train_steps": self.steps},
            )
            findings.append(f"job {self.job['job_id']}")
        if not self.job:
            return
        with self.check("its progress rises to 100 %") as findings:
            seen = self._follow()
            _want(
                self.job["status"] == ENDED_WELL, f"it ended {self.job['status']}: {self.job.get('message')}"
            )
            _want(seen == sorted(seen), f"the progress fell: {seen}")
            _want(self.job["progress"] == 100, f"the progress ended at {self.job['progress']}")
            _want(self.job["step"] == self.steps, f"{self.job['step']} of {self.steps} steps")
            findings.append(f"{len(set(seen))} different percentages, loss {self.job['loss']:.4f}")
        self.is_in_the_stores()

    def _follow(self) -> list[float]:
        seen, give_up = [float(self.job["progress"])], time.monotonic() + PATIENCE
        while self.job["status"] in ACTIVE:
            _want(time.monotonic() < give_up, "it takes too long")
            time.sleep(0.5)
            self.job = self.api.call("training_status", job_id=self.job["job_id"])
            seen.append(float(self.job["progress"]))
        return seen

    def is_in_the_stores(self) -> None:
        sources = ["local"] if self.home else []
        sources += ["supabase"] if self.environment.get("SUPABASE_URL") else []
        for source in sources:
            with self.check(f"scripts/check_model_status.py says the same ({source})") as findings:
                reply = self._status(source)
                _want(reply["status"] == self.job["status"], f"it says {reply['status']}")
                _want(float(reply["progress"]) == 100, f"it says {reply['progress']} %")
                findings.append(f"{reply['status']}, {reply['progress']:g} %")

    def _status(self, source: str) -> dict[str, Any]:
        command = [
            sys.executable,
            "scripts/check_model_status.py",
            self.job["job_id"],
            "--json",
            "--source",
            source,
        ]
        give_up = time.monotonic() + 120
        while True:  # what goes to Supabase is on its way for a moment
            run = subprocess.run(
                command, cwd=CHECKOUT, env=self.environment, capture_output=True, text=True, check=False
            )
            found: dict[str, Any] = (
                json.loads(run.stdout) if run.returncode == 0 and run.stdout.strip() else {}
            )
            if found.get("status") == self.job["status"] or time.monotonic() > give_up:
                _want(bool(found), f"exit code {run.returncode}: {(run.stderr or run.stdout).strip()[-200:]}")
                return found
            time.sleep(0.5)

    def is_in_the_library(self) -> None:
        with self.check("the LoRA is in the library, a whole file that diffusers reads") as findings:
            by_slug = {lora["slug"]: lora for lora in self.api.call("list_loras", search="")}
            _want(self.job["lora_slug"] in by_slug, f"there is no {self.job['lora_slug']}")
            facts = by_slug[self.job["lora_slug"]]
            answer = self.api.client.get(f"{self.api.address}/{facts['download_url'].lstrip('/')}")
            _want(answer.status_code == 200, f"the file answered {answer.status_code}")
            length = int.from_bytes(answer.content[:8], "little")
            header = json.loads(answer.content[8 : 8 + length])
            metadata = header["__metadata__"]
            _want("ss_network_dim" in metadata, "the file has no ss_* metadata")
            _want(len(answer.content) == facts["size_bytes"], "the file is not as long as it is said to be")
            findings.append(
                f"{len(header) - 1} tensors, dim {metadata['ss_network_dim']}, "
                f"{len(answer.content) / 1e3:.0f} kB"
            )

    def _own_images(self) -> set[str]:
        """Ids of the gallery's images with our prompt and seed."""
        found = self.api.call("list_images", search=PROMPT, limit=500)
        return {image["image_id"] for image in found if (image["prompt"], image["seed"]) == (PROMPT, SEED)}

    def generates(self) -> None:
        self.there_before = self._own_images()
        use = [{"slug": self.job["lora_slug"], "weight": 1.0}]
        drawn: dict[str, Image.Image] = {}
        for title, loras, prompt in (("with the LoRA", use, PROMPT), ("by the base alone", [], PROMPT)):
            with self.check(f"a picture is drawn {title}, in base64 with its settings") as findings:
                made = self.api.call("generate_base64", prompt=prompt, loras=loras, seed=SEED, count=1)[0]
                picture = Image.open(io.BytesIO(base64.b64decode(made["image"], validate=True)))
                picture.load()
                drawn[title] = picture
                _want(made["seed"] == SEED, f"its seed is {made['seed']}")
                reply = str(picture.info.get("parameters", ""))
                _want(f"Seed: {SEED}" in reply, "the picture doesn't carry its settings")
                _want(
                    (f"<lora:{self.job['lora_slug']}:" in reply) == bool(loras),
                    f"it names the wrong LoRAs: {reply}",
                )
                findings.append(f"{picture.width} x {picture.height}")
        with self.check("the same request draws the same picture, as a file") as findings:
            files = self.api.call("generate", prompt=PROMPT, loras=use, seed=SEED, count=1)
            answer = self.api.client.get(_url_of(files[0], self.api.address))
            again = Image.open(io.BytesIO(answer.content))
            _want(again.tobytes() == drawn["with the LoRA"].tobytes(), "it is another picture")
            findings.append("equal to the last pixel")
        with self.check("the LoRA changes the picture") as findings:
            _want(len(drawn) == 2, "there are no two pictures to compare")
            one, other = (picture.convert("RGB") for picture in drawn.values())
            histogram = ImageChops.difference(one, other).convert("L").histogram()
            mean = sum(value * count for value, count in enumerate(histogram)) / (one.width * one.height)
            _want(mean > 4, f"the mean difference is {mean:.2f} of 255")
            findings.append(f"mean difference {mean:.1f} of 255")

    def refuses(self) -> None:
        for title, call in (
            ("an unknown training", lambda: self.api.call("training_status", job_id="0" * 32)),
            (
                "no steps",
                lambda: self.api.call("generate_base64", prompt="x", options={"num_inference_steps": 0}),
            ),
        ):
            with self.check(f"{title} is refused with a sentence") as findings:
                findings.append(_refusal(call))

    def cleans_up(self) -> None:
        slug = self.job.get("lora_slug")
        if slug:
            with self.check("its images are deleted again") as findings:
                made = self._own_images() - self.there_before
                _want(bool(made), "there are none in the gallery")
                for image_id in made:
                    self.api.call("delete_image", image_id=image_id)
                _want(self._own_images() == self.there_before, "they are still listed")
                findings.append(f"{len(made)} images")
            with self.check("the LoRA is deleted again"):
                self.api.call("delete_lora", slug=slug)
                left = {lora["slug"] for lora in self.api.call("list_loras", search="")}
                _want(slug not in left, "it is still listed")
        if self.dataset:
            with self.check("the pictures are deleted again"):
                self.api.call("delete_dataset", dataset_id=self.dataset)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", help="a studio that runs already; without it one is started")
    parser.add_argument("--steps", type=int, default=60, help="length of the training (default: 60)")
    parser.add_argument("--options", type=json.loads, default={}, help="more of its options, a JSON object")
    parser.add_argument("--keep", action="store_true", help="delete nothing at the end")
    options = parser.parse_args()
    try:
        with _studio(options.url) as (address, home, environment), _client(address) as client:
            run = Run(
                api=Api(address=address, client=client),
                home=home,
                environment=environment,
                steps=options.steps,
                options=options.options,
                keep=options.keep,
            )
            failed = run.go()
    except (Failure, httpx.HTTPError, OSError) as error:
        print(f"It could not begin: {error}", file=sys.stderr)
        return 2
    print("All passed." if not failed else f"{failed} failed.")
    return 1 if failed else 0


@contextmanager
def _studio(url: str | None) -> Iterator[tuple[str, Path | None, dict[str, str]]]:
    """Address, home folder if it is on this machine, and the environment that its scripts need."""
    if url:
        home = os.environ.get("LORA_STUDIO_HOME")
        yield url.rstrip("/"), Path(home) if home else None, dict(os.environ)
        return
    from scripts.bench.startup import running_app, wait_for_page

    with (
        tempfile.TemporaryDirectory(prefix="workflow-", ignore_cleanup_errors=True) as folder,
        running_app(Path(folder)) as (process, address, _),
    ):
        wait_for_page(address, process)
        places = {"LORA_STUDIO_HOME": folder, "LORA_STUDIO_MODELS": f"{folder}/models"}
        yield address.rstrip("/"), Path(folder), {**os.environ, **places}


@contextmanager
def _client(address: str) -> Iterator[httpx.Client]:
    """Signed in where the studio asks for it. Raises Failure when it doesn't take the password."""
    with httpx.Client(timeout=httpx.Timeout(60, read=600), follow_redirects=True, trust_env=False) as client:
        user, password = os.environ.get("LORA_STUDIO_USER", "studio"), os.environ.get("LORA_STUDIO_PASSWORD")
        if password:
            answer = client.post(f"{address}/login", data={"username": user, "password": password})
            if answer.status_code != 200:
                raise Failure(f"the studio does not take the password of {user!r}.")
        yield client


def _refusal(call: Callable[[], object]) -> str:
    try:
        answer = call()
    except Failure as refused:
        _want("Traceback" not in str(refused) and len(str(refused)) > 10, f"no sentence: {refused}")
        return f"“{refused}”"
    raise Failure(f"it was taken: {str(answer)[:100]}")


def _url_of(file: Any, address: str) -> str:
    """The address of a file that an endpoint returned."""
    data = file.get("image", file) if isinstance(file, dict) else {}
    return str(data.get("url") or f"{address}/gradio_api/file={data['path']}")


def _sentence(data: Any) -> str:
    findings = data.get("error") if isinstance(data, dict) else data
    return str(findings or "It failed without saying why.")


def _want(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Failure(otherwise)


def _say(verdict: str, title: str, extra: str) -> None:
    print(f"{verdict}  {title}" + (f"  ({extra})" if extra else ""), flush=True)


if __name__ == "__main__":
    sys.exit(main())
