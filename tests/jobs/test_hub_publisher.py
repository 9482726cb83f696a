"""LoRAs put on a Hub of the test by the Hub's own library: what goes up, and every way to fail."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.numpy import load

from lora_studio.access.roles import Role
from lora_studio.access.visitor import Visitor, acting
from lora_studio.errors import ConfigError, NotAllowed, StudioError
from lora_studio.events import Event, PhaseAdvanced
from lora_studio.jobs.publishing.hub_publisher import HubPublisher
from lora_studio.lora.card_fields import CARD
from lora_studio.studio import Studio
from tests.support.hub_server import TOKEN, point_to
from tests.support.library_entries import write_result
from tests.support.model_hub import ModelHub, model_hub

# The Hub's library sends an open file by a parameter that its HTTP library calls by another name now.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload:DeprecationWarning")
HOME = "/home/ada/pictures"
SLUG = "to-publish"
CONFIG = {
    "version": 1,
    "model": {"pretrained_model_name_or_path": "starter"},
    "dataset": {"train_data_dir": HOME, "trigger_word": "zwx"},
    "output": {"output_name": SLUG, "output_dir": HOME, "title": "To publish"},
}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModelHub]:
    with model_hub(monkeypatch, tmp_path) as server:
        yield server


@pytest.fixture
def publisher(studio: Studio) -> HubPublisher:
    """A LoRA whose file, previews and settings tell of a machine."""
    folder = write_result(studio.settings, SLUG, ss_dataset_dirs=json.dumps({HOME: {"n_repeats": 1}}))
    shown = [
        {
            "step": 100,
            "path": f"previews/step-000100-{n}.png",
            "base_path": "previews/base-0.png",
            "prompt": "a zwx",
        }
        for n in (0, 1)
    ]
    (folder / "training.json").write_text(
        json.dumps({"config": CONFIG, "result": {"images": 3, "previews": shown}})
    )
    info = PngInfo()
    info.add_text("parameters", HOME)
    Image.new("RGB", (40, 30), "green").save(folder / "previews" / "step-000100-0.png", pnginfo=info)
    studio.gallery.scan()
    return studio.publisher


def files_of(hub: ModelHub, name: str = f"ada/{SLUG}") -> dict[str, bytes]:
    return hub.models[name].files


def test_what_is_shown_goes_up_and_nothing_else(
    publisher: HubPublisher, hub: ModelHub, studio: Studio
) -> None:
    plan = publisher.plan(SLUG)
    events: list[Event] = []
    address = publisher.publish(SLUG, "", emit=events.append)
    assert address == f"{hub.url}/ada/{SLUG}"
    assert hub.models[f"ada/{SLUG}"].private
    assert {file.path for file in plan.files} == set(files_of(hub))
    assert set(files_of(hub)) == {
        *(f"{SLUG}.safetensors", "README.md"),
        *("previews/base-0.png", "previews/step-000100-0.png", "previews/step-000100-1.png"),
    }
    assert {fact.key for fact in plan.private} == {"ss_dataset_dirs"}
    assert not [name for name, content in files_of(hub).items() if HOME.encode() in content]
    assert (
        load(files_of(hub)[f"{SLUG}.safetensors"]).keys()
        == load(Path(studio.gallery.lora(SLUG).path).read_bytes()).keys()
    )
    told = [event for event in events if isinstance(event, PhaseAdvanced)]
    assert told[-1].done == told[-1].total > 0
    assert not [*studio.settings.uploads.iterdir()]


def test_the_card_goes_with_what_people_wrote(publisher: HubPublisher, hub: ModelHub, studio: Studio) -> None:
    words = {"description": "Draws a *good* dog.", "prompts": ["a zwx in snow"], "trigger": ""}
    studio.gallery.say_of_lora(SLUG, "model card", {CARD: words})
    publisher.publish(SLUG, "team/dog", private=False)
    assert not hub.models["team/dog"].private
    card = files_of(hub, "team/dog")["README.md"].decode()
    assert "Draws a *good* dog." in card
    assert "- `a zwx in snow`" in card
    assert "license: apache-2.0" in card


def test_a_description_that_names_other_files_keeps_nothing_from_going_up(
    publisher: HubPublisher, hub: ModelHub, studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    previews = Path(studio.gallery.lora(SLUG).path).parent / "previews"
    Image.new("RGB", (1000, 1000)).save(previews / "huge.png")
    (previews / "page.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400_000)
    names = ("previews/..", "previews/.", "previews/gone.png", "previews/huge.png", "previews/page.eps")
    words = {"description": " ".join(f"![x]({name})" for name in names)}
    studio.gallery.say_of_lora(SLUG, "model card", {CARD: words})
    planned = {file.path for file in publisher.plan(SLUG).files}
    publisher.publish(SLUG, "")
    assert not planned & {"previews/..", "previews/.", "previews/gone.png"}
    assert not set(files_of(hub)) & set(names)
    assert "previews/base-0.png" in files_of(hub)


def test_a_second_version_goes_to_the_same_model(
    publisher: HubPublisher, hub: ModelHub, studio: Studio
) -> None:
    publisher.publish(SLUG, "")
    studio.gallery.rename_lora(SLUG, "Renamed")
    publisher.publish(SLUG, "")
    assert hub.models[f"ada/{SLUG}"].commits == 2
    assert b"# Renamed" in files_of(hub)["README.md"]


def test_a_name_of_another_model_is_refused_and_it_stays(publisher: HubPublisher, hub: ModelHub) -> None:
    publisher.publish(SLUG, "taken")
    before = dict(files_of(hub, "ada/taken"))
    write_result(publisher.settings, "other")
    publisher.gallery.scan()
    with pytest.raises(StudioError, match="There is a model ada/taken already"):
        publisher.publish("other", "taken")
    assert files_of(hub, "ada/taken") == before


@pytest.mark.parametrize(
    ("ending", "status", "words"),
    [
        ("whoami-v2", 401, "does not know this login"),
        ("repos/create", 403, "may not write to ada/to-publish"),
        ("repos/create", 402, "paid plan"),
        ("objects/batch", 403, "may not write"),
        ("commit/main", 500, "refused ada/to-publish"),
    ],
)
def test_what_fails_is_a_sentence_and_leaves_no_model(
    publisher: HubPublisher,
    hub: ModelHub,
    caplog: pytest.LogCaptureFixture,
    ending: str,
    status: int,
    words: str,
) -> None:
    hub.refused[ending] = status
    caplog.set_level(logging.DEBUG)
    with pytest.raises(StudioError, match=words) as failure:
        publisher.publish(SLUG, "")
    assert not hub.models
    assert TOKEN not in f"{failure.value} {caplog.text}"
    assert not [*publisher.settings.uploads.iterdir()]


def test_without_a_login_or_a_network_nothing_is_sent(
    publisher: HubPublisher, hub: ModelHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(StudioError, match=r"logged in|does not know this login"):
        publisher.publish(SLUG, "")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    point_to("http://127.0.0.1:9", monkeypatch)
    with pytest.raises(StudioError, match="can't be reached"):
        publisher.publish(SLUG, "")
    assert not hub.models


def test_a_stop_leaves_nothing_on_the_hub(publisher: HubPublisher, hub: ModelHub) -> None:
    def should_stop() -> bool:
        return any(line.endswith("preupload/main") for line in hub.asked)

    assert publisher.publish(SLUG, "", should_stop=should_stop) == ""
    assert "POST /api/repos/create" in hub.asked
    assert not hub.models
    assert publisher.publish(SLUG, "", should_stop=lambda: True) == ""


@pytest.mark.parametrize("is_stopped", [False, True])
def test_a_half_model_that_the_hub_keeps_is_told_of(
    publisher: HubPublisher, hub: ModelHub, is_stopped: bool
) -> None:
    hub.refused["repos/delete"] = 500
    if not is_stopped:
        hub.refused["commit/main"] = 500
    with pytest.raises(StudioError, match=f"is left on the Hub: ada/{SLUG}") as failure:
        publisher.publish(SLUG, "", should_stop=lambda: is_stopped and "POST /api/repos/create" in hub.asked)
    assert ("Stopped" if is_stopped else "500") in failure.value.message
    assert not files_of(hub)


def test_a_bug_that_leaves_a_half_model_says_so_in_the_log(publisher: HubPublisher, hub: ModelHub) -> None:
    hub.refused["repos/delete"] = 500

    def emit(event: Event) -> None:
        if "POST /api/repos/create" in hub.asked:
            raise KeyError("a bug of ours")

    with pytest.raises(KeyError) as failure:
        publisher.publish(SLUG, "", emit=emit)
    assert any(f"is left on the Hub: ada/{SLUG}" in note for note in failure.value.__notes__)


@pytest.mark.parametrize("name", ["a/b/c", "../x", "a b", "/x", "x/", "a" * 200, "näme", "x;rm"])
def test_what_can_be_no_name_is_not_asked_for(publisher: HubPublisher, hub: ModelHub, name: str) -> None:
    with pytest.raises(ConfigError, match="can't be the name"):
        publisher.publish(SLUG, name)
    assert not hub.asked


def test_only_admins_use_the_machines_token(publisher: HubPublisher, hub: ModelHub) -> None:
    with acting(Visitor(name="bob", role=Role.TRAINER)):
        for ask in (lambda: publisher.plan(SLUG), lambda: publisher.publish(SLUG, "")):
            with pytest.raises(NotAllowed):
                ask()
    assert not hub.asked
