"""Whatever stands in a LoRA file's header: only a StudioError comes of it, and nothing stays behind."""

from __future__ import annotations

import contextlib
import json
import logging
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from safetensors import safe_open

from lora_studio.config import TrainConfig
from lora_studio.errors import StudioError
from lora_studio.gallery import Gallery
from lora_studio.lora.model_card import CardBase, write_card
from lora_studio.settings import Settings
from lora_studio.store.database import Database
from lora_studio.store.library import Library
from tests.support.ready_database import put_database
from tests.support.strange_loras import LAYER, strange_lora, write_header

FEW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
MANY = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))

any_text = some.text(some.characters(exclude_categories=()), max_size=60)
words = some.one_of(
    any_text,
    some.sampled_from(
        ("\ud800", "9" * 5000, "1e30", "nan", "-inf", "x" * 5000, "\x00", "a\n---\nb", "` <b>")
    ),
)
any_json = some.recursive(
    some.one_of(some.none(), some.booleans(), some.integers(), some.floats(), words),
    lambda inner: some.one_of(some.lists(inner, max_size=4), some.dictionaries(words, inner, max_size=4)),
    max_leaves=12,
)
keys = some.sampled_from(
    (
        *(
            "modelspec.title",
            "modelspec.trigger_phrase",
            "modelspec.architecture",
            "ss_output_name",
            "ss_steps",
        ),
        *("ss_network_dim", "ss_network_alpha", "ss_sd_model_name", "ss_base_model_version"),
    )
)
metadata = some.dictionaries(some.one_of(keys, words), words, max_size=8)
sides = some.one_of(some.integers(0, 8), any_json)
entry = some.one_of(
    any_json,
    some.fixed_dictionaries(
        {
            "dtype": some.one_of(some.sampled_from(("F32", "F16", "BF16", "F4", "I64")), words),
            "shape": some.one_of(some.lists(some.integers(0, 4), max_size=3), some.lists(sides, max_size=70)),
            "data_offsets": some.one_of(
                some.tuples(some.integers(0, 64), some.integers(0, 64)), some.lists(any_json, max_size=3)
            ),
        }
    ),
)
names = some.one_of(
    words, some.sampled_from((f"{LAYER}.lora_down.weight", f"{LAYER}.lora_up.weight", f"{LAYER}.alpha"))
)
headers = some.one_of(
    any_json,
    some.dictionaries(names, entry, max_size=4),
    some.builds(
        lambda said, table: {"__metadata__": said, **table}, any_json, some.dictionaries(names, entry)
    ),
).map(lambda header: json.dumps(header).encode())


@contextlib.contextmanager
def library() -> Iterator[tuple[Gallery, Settings, Path]]:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        home = Settings(home=place / "home", models=place / "models")
        home.create_folders()
        put_database(home.database)
        database = Database(home.database)
        try:
            yield Gallery(home, Library(database)), home, place
        finally:
            database.close()


def go_through(gallery: Gallery, home: Settings, file: Path) -> None:
    """Import, list, rename, scan, delete, undo; then the same file in the folder itself."""
    strange_lora(home.loras / "good" / "good.safetensors", {"modelspec.title": "Good"}, value=7.0)
    gallery.scan()
    try:
        record = gallery.import_lora(file)
    except StudioError:
        assert [path.name for path in home.loras.iterdir()] == ["good"]
    else:
        with safe_open(str(file), framework="numpy"):
            json.dumps(asdict(record), allow_nan=False, ensure_ascii=False).encode("utf-8")
        assert max(record.network_dim, record.steps) < 2**31
        assert {one.slug for one in gallery.loras()} == {"good", record.slug}
        if record.title.casefold() != "good":
            assert gallery.find_lora(record.title).slug == record.slug
        assert gallery.rename_lora(record.slug, "Renamed").title == "Renamed"
        gallery.undo(gallery.delete_lora(record.slug))
        gallery.delete_lora(record.slug)
    for place in (home.loras / "Dropped.safetensors", home.loras / "place" / "x.safetensors"):
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(file.read_bytes())
    gallery.scan()
    assert "good" in {one.slug for one in gallery.listed_loras()}
    gallery.delete_lora("place")
    assert not (home.loras / "place").exists()


def check_metadata(said: dict[str, str]) -> None:
    with library() as (gallery, home, place):
        go_through(gallery, home, strange_lora(place / "a.safetensors", said))


def check_header(header: bytes, data: bytes) -> None:
    with library() as (gallery, home, place):
        file = write_header(place / "a.safetensors", header, data)
        go_through(gallery, home, file)


def check_card(title: str, trigger: str, prompt: str) -> None:
    values = {
        "pretrained_model_name_or_path": "x",
        "train_data_dir": "x",
        "output_name": "x",
        "output_dir": "x",
    }
    config = TrainConfig.from_values(values)
    output = config.output.model_copy(update={"title": title})
    dataset = config.dataset.model_copy(update={"trigger_word": trigger})
    text = write_card(
        config.model_copy(update={"output": output, "dataset": dataset}),
        CardBase(name=prompt, hub_id=title, licence=trigger),
        images=1,
        steps=1,
        previews=[(prompt, "a.png", "b.png")],
    )
    text.encode("utf-8")
    front = yaml.safe_load(text.split("\n---\n")[0].removeprefix("---\n"))
    assert set(front) <= {"title", "library_name", "base_model", "instance_prompt", "tags"}
    assert len([line for line in text.splitlines() if line.startswith("#")]) == 4


@pytest.fixture(autouse=True)
def silence(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)


@FEW
@given(metadata)
def test_any_metadata(said: dict[str, str]) -> None:
    check_metadata(said)


@FEW
@given(headers, some.sampled_from((b"", b"0" * 4, b"0" * 64)))
def test_any_header(header: bytes, data: bytes) -> None:
    check_header(header, data)


@FEW
@given(any_text, any_text, any_text)
def test_any_card(title: str, trigger: str, prompt: str) -> None:
    check_card(title, trigger, prompt)


@pytest.mark.slow
@MANY
@given(metadata)
def test_a_great_deal_of_metadata(said: dict[str, str]) -> None:
    check_metadata(said)


@pytest.mark.slow
@MANY
@given(headers, some.sampled_from((b"", b"0" * 4, b"0" * 64)))
def test_a_great_many_headers(header: bytes, data: bytes) -> None:
    check_header(header, data)


@pytest.mark.slow
@MANY
@given(any_text, any_text, any_text)
def test_a_great_many_cards(title: str, trigger: str, prompt: str) -> None:
    check_card(title, trigger, prompt)
