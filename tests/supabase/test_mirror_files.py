"""Files: sent where that is asked for, large ones in chunks, and fetched by others with every care."""

from __future__ import annotations

import hashlib
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from lora_studio.errors import BrokenFile, ModelFileError, StoreError
from lora_studio.jobs.supabase import storage_uploads
from lora_studio.records import LoraRecord
from tests.support.supabase.mirroring import Home, Open, Rows, open_home, write_lora
from tests.support.supabase.server import Server
from tests.support.waiting import PATIENCE, until


class Interrupted(httpx.HTTPTransport):
    """No chunk of a file gets through after so many of them, until `may_pass` is raised."""

    def __init__(self, may_pass: int) -> None:
        super().__init__()
        self.may_pass, self.passed = may_pass, 0
        self.bodies: list[int] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "PATCH" and "/upload/resumable/" in request.url.path:
            if self.passed >= self.may_pass:
                raise httpx.ConnectError("unreachable", request=request)
            self.passed += 1
            self.bodies.append(int(request.headers.get("content-length", "0")))
        return super().handle_request(request)


@pytest.fixture
def opened(opened: Open) -> Open:
    return partial(opened, supabase_uploads=True)


ARTIFACT = "select artifact_bucket, artifact_path, artifact_bytes, artifact_sha256 from loras where id = %s"


def artifact(rows: Rows, home: Home, slug: str = "cat") -> tuple[Any, ...]:
    return rows(ARTIFACT, home.there("lora", slug))[0]


def test_without_being_asked_no_file_is_sent(opened: Open, rows: Rows) -> None:
    home = opened(supabase_uploads=False)
    home.finish(home.begin())
    home.draw("a cat")
    home.mirror.start()
    assert home.mirror.flush(PATIENCE)
    assert artifact(rows, home) == (None, None, None, None)
    assert rows("select count(*) from storage.objects where name like %s", f"{home.machine}/%") == [(0,)]


def test_a_finished_lora_its_preview_and_a_picture(opened: Open, server: Server, rows: Rows) -> None:
    home = opened()
    file = home.finish(home.begin())
    previews = file.parent / "previews"
    previews.mkdir()
    Image.new("RGB", (8, 8), "blue").save(previews / "step-000010-0.png")
    home.gallery.scan()
    picture = home.draw("a cat", "cat")
    home.mirror.start()
    assert home.mirror.flush(PATIENCE)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    path = f"{home.machine}/{digest}.safetensors"
    assert artifact(rows, home) == ("loras", path, file.stat().st_size, digest)
    image = "select bucket, path from generated_images where id = %s"
    assert rows(image, home.there("image", picture)) == [("images", f"{home.machine}/{picture}.png")]
    (preview,) = rows("select preview_path from loras where id = %s", home.there("lora", "cat"))[0]
    assert preview.startswith(f"{home.machine}/")
    kept = rows("select bucket_id, name from storage.objects where name like %s", f"{home.machine}/%")
    assert len(kept) == 3


def test_an_account_keeps_to_its_own_folder(opened: Open, server: Server, rows: Rows) -> None:
    user = server.user("cleo@example.org")
    account = {"supabase_email": user.email, "supabase_password": user.password}
    home = opened(supabase_key=server.anon_key, **account)
    home.finish(home.begin())
    home.mirror.start()
    assert home.mirror.flush(PATIENCE)
    assert artifact(rows, home)[1].startswith(f"{user.id}/")


def test_a_large_file_goes_on_where_it_was(opened: Open, rows: Rows) -> None:
    """Chunks of 6 MiB; the network fails after two, and the program is closed and opened again."""
    network = Interrupted(may_pass=2)
    home = opened(at=0, transport=network)
    file = home.finish(home.begin(), kilobytes=15 * 1024)
    home.mirror.start()
    until(lambda: network.passed == 2 and json.loads(home.outbox.waiting("file", 1)[0].note or "{}")
          if home.outbox.waiting("file", 1) else False)  # fmt: skip
    assert home.mirror.state().state == "waiting"
    home.mirror.close()
    again = Interrupted(may_pass=100)
    with open_home(file.parents[3], transport=again, **_facts(home)) as reopened:
        reopened.mirror.start()
        assert reopened.mirror.flush(PATIENCE)
        size = file.stat().st_size
        assert artifact(rows, reopened)[2] == size
    assert network.bodies == [storage_uploads.CHUNK] * 2
    assert sum(network.bodies) + sum(again.bodies) == size


def _facts(home: Home) -> dict[str, Any]:
    names = ("supabase_url", "supabase_key", "supabase_uploads")
    return {name: getattr(home.settings, name) for name in names}


def test_an_upload_that_the_server_forgot_begins_anew(opened: Open, server: Server, rows: Rows) -> None:
    network = Interrupted(may_pass=1)
    home = opened(transport=network)
    file = home.finish(home.begin(), kilobytes=13 * 1024)
    home.mirror.start()
    until(lambda: network.passed == 1)
    server.resumable.unfinished.clear()
    network.may_pass = 100
    assert home.mirror.flush(PATIENCE)
    assert artifact(rows, home)[2] == file.stat().st_size


def test_a_file_that_is_too_large_is_a_warning(
    opened: Open, rows: Rows, caplog: pytest.LogCaptureFixture
) -> None:
    """Its size is asked before a byte is sent; the training is as finished as ever."""
    network = Interrupted(may_pass=0)
    home = opened(transport=network)
    job = home.begin()
    home.finish(job, kilobytes=53 * 1024)
    home.mirror.start()
    letters = until(home.outbox.dead_letters)
    assert [(letter.kind, letter.key) for letter in letters] == [("file", "cat")]
    assert home.mirror.flush(PATIENCE)
    assert home.queue.get(job.id).status == "finished"
    assert home.mirror.state().refused == 1
    assert "was not uploaded" in caplog.text
    assert network.passed == 0


def test_the_team_sees_and_fetches_a_lora(opened: Open, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = opened(), opened()
    whole = second.gallery.import_lora

    def slowly(path: Path) -> LoraRecord:
        record = whole(path)
        time.sleep(0.3)  # some rounds would pass
        return record

    monkeypatch.setattr(second.gallery, "import_lora", slowly)
    file = first.finish(first.begin("dragon"))
    for home in (first, second):
        home.mirror.start()
    assert first.mirror.flush(PATIENCE)
    (found,) = until(
        lambda: [lora for lora in second.mirror.team() if lora.id == first.there("lora", "dragon")]
    )
    assert (found.name, found.trigger_word, found.size_bytes) == ("Dragon", "zwx", file.stat().st_size)
    record = second.mirror.fetch(found.id)
    assert Path(record.path).read_bytes() == file.read_bytes()
    assert found not in second.mirror.team()
    assert not list(second.settings.cache.rglob("*.safetensors"))
    assert second.mirror.flush(PATIENCE)
    mine = "select count(*) from loras where worker_id = %s"
    assert rows(mine, second.machine) == [(0,)]  # what came from there does not go back
    assert all(lora.slug != "dragon" or lora.id != found.id for lora in first.mirror.team())


def test_a_picture_with_a_fetched_lora_is_not_stuck(opened: Open, rows: Rows) -> None:
    first, second = opened(), opened()
    first.finish(first.begin("robot"))
    first.mirror.start()
    assert first.mirror.flush(PATIENCE)
    second.mirror.start()
    record = second.mirror.fetch(first.there("lora", "robot"))
    picture = second.draw("a robot", record.slug)
    assert second.mirror.flush(PATIENCE)
    image = "select prompt from generated_images where id = %s"
    assert rows(image, second.there("image", picture)) == [("a robot",)]


FAULTS = [
    ("artifact_sha256 = repeat('0', 64)", BrokenFile, "not the one"),
    ("artifact_bytes = artifact_bytes + 1", BrokenFile, "not the one"),
    ("artifact_bytes = 5", BrokenFile, "not the one"),
    ("artifact_bytes = 1::bigint << 40", BrokenFile, "larger than"),
    ("artifact_path = '../../secrets.safetensors'", BrokenFile, "no .safetensors"),
    ("artifact_path = worker_id || '/x.ckpt'", BrokenFile, "no .safetensors"),
    ("slug = '../up'", BrokenFile, "name"),
    ("status = 'archived'", StoreError, "any more"),
]


@pytest.mark.parametrize(("change", "error", "said"), FAULTS)
def test_what_others_wrote_is_not_believed(
    opened: Open, rows: Rows, change: str, error: type[Exception], said: str
) -> None:
    first, second = opened(), opened()
    first.finish(first.begin("cat"))
    first.mirror.start()
    assert first.mirror.flush(PATIENCE)
    there = first.there("lora", "cat")
    rows(f"update loras set {change} where id = %s returning id", there)
    with pytest.raises(error, match=said):
        second.mirror.fetch(there)
    assert second.gallery.loras() == []
    assert not [path for path in second.settings.cache.rglob("*") if path.is_file()]


def test_a_file_that_is_no_lora_is_not_taken_in(opened: Open, server: Server, rows: Rows) -> None:
    first, second = opened(), opened()
    file = first.finish(first.begin("cat"))
    file.write_bytes(b"\x80\x04pickle" * 50)  # after the library has read it
    first.mirror.start()
    assert first.mirror.flush(PATIENCE)
    with pytest.raises(ModelFileError):
        second.mirror.fetch(first.there("lora", "cat"))
    assert second.gallery.loras() == []
    assert list(second.settings.loras.iterdir()) == []
    assert not list((second.settings.cache / "team").iterdir())


def test_a_strange_row_hides_none_of_the_others(opened: Open, rows: Rows) -> None:
    first, second = opened(), opened()
    for name in ("dragon", "robot", "cat"):
        first.finish(first.begin(name))
    for home in (first, second):
        home.mirror.start()
    assert first.mirror.flush(PATIENCE)
    change = "update loras set {} where id = %s returning id"
    rows(change.format("created_at = 'infinity'"), first.there("lora", "dragon"))
    long = "name = E'Ro\\nbot ' || repeat('x', 150), trigger_word = repeat('zwx, ', 100000)"
    rows(change.format(long), first.there("lora", "robot"))
    ours = {first.there("lora", name) for name in ("dragon", "robot", "cat")}
    found = until(lambda: [lora for lora in second.mirror.team() if lora.id in ours])
    named = {lora.slug: lora for lora in found}
    assert set(named) == {"robot", "cat"}
    assert (named["robot"].name[:9], len(named["robot"].name)) == ("Ro bot xx", 120)
    assert len(named["robot"].trigger_word) <= 300


@pytest.mark.parametrize("given", ["", "x", "../../etc/passwd", "1; drop table loras"])
def test_only_an_id_is_asked_for(opened: Open, given: str) -> None:
    with pytest.raises(StoreError, match="no such LoRA"):
        opened().mirror.fetch(given)


def test_imported_loras_are_not_given_away(opened: Open, rows: Rows, tmp_path: Path) -> None:
    """Their row is told, their file is not ours to upload."""
    home = opened()
    home.gallery.import_lora(write_lora(tmp_path / "found.safetensors"))
    home.mirror.start()
    assert home.mirror.flush(PATIENCE)
    assert artifact(rows, home, "found") == (None, None, None, None)
