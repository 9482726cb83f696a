"""Two people in the real app: neither reaches the other's jobs, files or pictures, by id, path, thumbnail,
endpoint, route or event of the page, until they are shared."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from lora_studio.access.quotas import Use
from lora_studio.access.roles import Role
from lora_studio.store.database import Database
from lora_studio.store.people.visitors import Visitors
from lora_studio.studio import Studio
from lora_studio.ui.blocks import build
from tests.integration.visitor_table import CALLS, LISTED, QUICK, REFUSED, ROUTES, Hers
from tests.support.api_caller import Caller, Refused, sentence_of, write_lora, write_picture
from tests.support.gradio_leftovers import IGNORE, sweep
from tests.support.serving import App
from tests.support.shared_apps import PASSWORD, USER
from tests.support.waiting import PATIENCE

SECRETS = ("quokka", "adaslora", "adasset", "adastraining", "adascaption", "adasfile")
"""Words that stand in all that is Ada's, and nowhere else."""
PEOPLE = {"ada": Role.TRAINER, "bob": Role.TRAINER, "vic": Role.VIEWER, "cleo": Role.CREATOR}
OTHERS = ("bob", "vic", "guest")
"""Who try at Ada's things."""


@dataclass(frozen=True)
class Everybody:
    app: App
    callers: Mapping[str, Caller]
    visitors: Visitors

    def __getitem__(self, name: str) -> Caller:
        return self.callers[name]


@pytest.fixture(scope="module")
def people(locked: App) -> Iterator[Everybody]:
    with closing(Database(locked.home / "studio.db")) as database:
        visitors = Visitors.over(database, admin="studio", is_open=False)
        for name, role in PEOPLE.items():
            visitors.people.add(name, role, PASSWORD)
        callers = {name: log_in(locked, name) for name in (*PEOPLE, USER)}
        callers["guest"] = open_link(locked, visitors.invites.make_link()[1])
        yield Everybody(locked, callers, visitors)
        for one in callers.values():
            one.http.close()


def log_in(app: App, name: str) -> Caller:
    http = httpx.Client(base_url=app.address, timeout=PATIENCE, trust_env=False)
    http.post("login", data={"username": name, "password": PASSWORD}).raise_for_status()
    return Caller(app=app, http=http)


def open_link(app: App, token: str) -> Caller:
    """Who looks around by a read-only link."""
    http = httpx.Client(base_url=app.address, timeout=PATIENCE, trust_env=False)
    assert http.get("", params={"view": token}).status_code == 303
    return Caller(app=app, http=http)


@pytest.fixture(scope="module")
def hers(people: Everybody, tmp_path_factory: pytest.TempPathFactory) -> Hers:
    """Ada has a set of pictures, a LoRA, pictures, a training, a generation, and something in the trash."""
    ada, folder, home = people["ada"], tmp_path_factory.mktemp("ada"), people.app.home
    (picture,) = ada.upload(write_picture(folder / "adasfile.png"))
    ada.http.post("gradio_api/upload?upload_id=adas-upload", files=[("files", ("adasfile.txt", b"x"))])
    dataset = ada.run("upload_dataset", [picture], "adasset")["dataset_id"]
    ada.run("set_caption", dataset, "adasfile.png", "adascaption")
    (lora_file,) = ada.upload(write_lora(folder / "adaslora.safetensors"))
    (lora,) = ada.run("import_lora", [lora_file])
    loras = [{"slug": lora["slug"]}]
    (made,) = ada.run("generate", "quokka one", loras, "starter", "", 5, 1, QUICK, session="adas")
    (gone,) = ada.run("generate", "quokka gone", [], "starter", "", 6, 1, QUICK)
    (again,) = ada.run("img2img", picture, "quokka again", None, [], 7, 1, {**QUICK, "strength": 0.9})
    images = {row["prompt"]: row for row in ada.run("list_images", "", 50)}
    token = ada.run("delete_image", images["quokka gone"]["image_id"])["undo"]
    options = {"max_train_steps": 1, "sample_every_n_steps": 0}
    job = ada.run("start_training", dataset, "adastraining", "style", "", "starter", options)["job_id"]
    wait_for(lambda: ada.run("training_status", job)["status"] == "finished")
    ticket = ada.run("list_generations")[0]["ticket"]
    event = ada.http.post("gradio_api/call/list_images", json={"data": ["", 5]}).json()["event_id"]
    image = images["quokka one"]
    (kept,) = (home / "inputs").glob("*.png")
    path = path_of(image["download_url"])
    thumbnails = home / "cache" / "thumbnails"
    ada.http.post("gradio_api/run/predict", json=look_of(ada, dataset)).raise_for_status()
    assert made["path"] != again["path"]
    assert gone["path"]
    paths = {
        "image": path,
        "thumbnail": str(next((thumbnails / "images").rglob("*.webp"))),
        "lora": path_of(lora["download_url"]),
        "lora thumbnail": str(thumbnails / "loras" / lora["slug"] / "x.png.0.webp"),
        "dataset thumbnail": str(next((thumbnails / "datasets" / dataset).rglob("*.webp"))),
        "input": str(kept),
        "upload": picture["path"],
        "lora upload": lora_file["path"],
        "output": made["path"],
        "log": str(home / "jobs" / job / "log.txt"),
        "dotted": str(Path(path).parent / "x" / ".." / Path(path).name),
    }
    return Hers(
        dataset=dataset,
        picture=picture,
        lora=lora["slug"],
        title=lora["title"],
        image=image["image_id"],
        job=job,
        ticket=ticket,
        token=token,
        input=kept.stem,
        session="adas",
        event=event,
        paths=paths,
    )


def path_of(address: str) -> str:
    return httpx.URL(address).path.partition("=")[2] if "%" in address else address.partition("=")[2]


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def dependencies(caller: Caller) -> list[dict[str, Any]]:
    return list(caller.http.get("config").json()["dependencies"])


def look_of(caller: Caller, dataset: str) -> dict[str, Any]:
    """The event of opening the page with a draft, which shows the draft's pictures."""
    config = caller.http.get("config").json()
    ids = {part["props"].get("elem_id"): part["id"] for part in config["components"]}
    found = next(one for one in config["dependencies"] if one["inputs"] == [ids["draft"]])
    draft = {"owner": "ada", "upload": {"dataset": dataset}}
    return {"fn_index": found["id"], "data": [draft], "session_hash": "adas"}


def state_of(caller: Caller) -> dict[str, Any]:
    """All that Ada's lists say."""
    lists = {
        name: caller.run(name)
        for name in ("list_datasets", "list_loras", "list_images", "list_trainings", "list_generations")
    }
    return json.loads(json.dumps(lists))  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def untouched(people: Everybody, hers: Hers) -> dict[str, Any]:
    return state_of(people["ada"])


def hidden_in(text: str) -> list[str]:
    return [word for word in SECRETS if word in text.casefold()]


def test_every_endpoint_has_a_row(people: Everybody) -> None:
    named = people["ada"].http.get("gradio_api/info").json()["named_endpoints"]
    assert {name.lstrip("/") for name in named} == set(CALLS), (
        "Give each endpoint a row in tests/integration/visitor_table.py: what somebody else tries with it."
    )


@IGNORE
def test_every_route_has_a_row(studio_of_its_own: Studio) -> None:
    app = build(studio_of_its_own).without_server()
    nested = [getattr(route, "original_router", None) for route in app.routes]
    routes = [*app.routes, *(route for router in nested if router for route in router.routes)]
    paths = {path for route in routes if (path := getattr(route, "path", ""))}
    assert len(paths) > 60
    missing = {path for path in paths if path not in ROUTES}
    assert not missing, "Give each route a row in tests/integration/visitor_table.py."


@pytest.fixture
def studio_of_its_own() -> Iterator[Studio]:
    from lora_studio.studio import open_studio

    with closing(open_studio(start_worker=False)) as opened:
        yield opened
    sweep()


@pytest.mark.parametrize("endpoint", sorted(CALLS))
def test_nobody_reaches_another_s_things_by_an_endpoint(
    people: Everybody, hers: Hers, untouched: dict[str, Any], endpoint: str
) -> None:
    for name, (make, expected) in itertools.product(OTHERS, CALLS[endpoint]):
        answer = people[name].post(endpoint, make(hers))
        if expected is REFUSED:
            assert answer.status_code == 500, (name, answer.text[:300])
            said = sentence_of(answer, people.app)
            assert not hidden_in(said.replace(hers.lora, "").replace(hers.title, "")), (name, said)
        else:
            assert answer.status_code == 200, (name, answer.text)
            told = answer.text.replace(hers.lora, "")  # they may have asked by that word
            assert not hidden_in(told), name
            assert not [key for key in (hers.ticket, hers.job, hers.image) if key in answer.text]
            assert expected is not LISTED or answer.json()["data"] == [[]]
    assert state_of(people["ada"]) == untouched


@pytest.mark.parametrize("route", sorted(ROUTES))
def test_nobody_reaches_another_s_things_by_a_route(people: Everybody, hers: Hers, route: str) -> None:
    for name, request in itertools.product(OTHERS, ROUTES[route]):
        body = request.says(hers)
        path = request.path(hers)
        answer = people[name].http.request(request.method, path, json=body)
        assert answer.status_code in request.status, (name, path, answer.status_code, answer.text[:200])
        assert not hidden_in(answer.text), (name, path)


def test_the_one_who_made_them_reaches_them_and_so_does_an_admin(people: Everybody, hers: Hers) -> None:
    """The table above would hold of an app that answers nothing at all."""
    for name in ("ada", "studio"):
        caller = people[name]
        for what in ("image", "thumbnail", "lora", "dataset thumbnail", "input", "upload", "output"):
            got = caller.http.get("gradio_api/file=" + hers.paths[what])
            assert got.status_code == 200, (name, what, got.text[:200])
        assert caller.run("training_status", hers.job)["status"] == "finished"
        assert {row["file"]: row["caption"] for row in caller.run("list_captions", hers.dataset)} == {
            "adasfile.png": "adascaption"
        }
        assert [row["slug"] for row in caller.run("list_loras", "adaslora")] == [hers.lora]
        assert hers.ticket in [row["ticket"] for row in caller.run("list_generations")]
        seen = json.dumps(state_of(caller))
        assert {"quokka", "adaslora", "adasset", "adastraining"} <= set(hidden_in(seen))
    assert people["studio"].http.get("metrics").status_code == 200


@pytest.fixture
def strangers(people: Everybody) -> Iterator[list[Caller]]:
    """As many as it takes to ask thousands of things at once: each may ask hundreds."""
    names = [f"stranger-{number}" for number in range(8)]
    for name in names:
        people.visitors.people.add(name, Role.TRAINER, PASSWORD)
    callers = [log_in(people.app, name) for name in names]
    yield callers
    for one in callers:
        one.http.close()


@pytest.mark.slow
def test_no_event_of_the_page_shows_or_changes_another_s_things(
    people: Everybody, hers: Hers, strangers: list[Caller]
) -> None:
    """Every event with each of Ada's ids in each of its inputs, and as the data of a click."""
    before, tried = state_of(people["ada"]), 0
    for event, bob in zip(dependencies(strangers[0]), itertools.cycle(strangers), strict=False):
        if not event["backend_fn"] or event["api_visibility"] == "public":
            continue
        is_click = event["collects_event_data"]
        sent = hers.names if is_click or event["inputs"] else {"nothing": ""}
        for what, key in sent.items():
            data = [key] * len(event["inputs"])
            clicked = is_click and what in {"token", "ticket", "image"}
            for action in ("undo", "stop", "redraw") if clicked else ("use",):
                facts = {"id": key, "slug": key, "action": action, "step": 1, "file": "adasfile.png"}
                told = {"event_data": {**facts, "text": "spoilt"}, "session_hash": bob.session}
                body = {"fn_index": event["id"], "data": data, **told}
                answer = bob.send("run/predict", body)
                tried += 1
                said = answer.text.replace(hers.lora, "")
                assert answer.status_code in {200, 422, 500}, answer.text[:300]
                assert not hidden_in(said), (event["api_name"], what, said[:500])
    assert tried > 400
    assert state_of(people["ada"]) == before
    assert not people["ada"].bugs()


def test_a_shared_thing_is_seen_and_not_changed(people: Everybody, hers: Hers) -> None:
    ada, bob, guest = people["ada"], people["bob"], people["guest"]
    with pytest.raises(Refused):
        bob.run("share", "lora", hers.lora, True)
    for what, key in (("lora", hers.lora), ("image", hers.image), ("dataset", hers.dataset)):
        ada.run("share", what, key, True)
    assert [row["slug"] for row in bob.run("list_loras")] == [hers.lora]
    assert [row["image_id"] for row in bob.run("list_images")] == [hers.image]
    assert bob.http.get("gradio_api/file=" + hers.paths["image"]).status_code == 200
    assert bob.http.get("gradio_api/file=" + hers.paths["lora"]).status_code == 200
    assert bob.run("list_captions", hers.dataset)
    assert [row["slug"] for row in guest.run("list_loras")] == [hers.lora]
    assert guest.http.get("gradio_api/file=" + hers.paths["image"]).status_code == 200
    with pytest.raises(Refused, match="viewer"):
        guest.run("generate", "guest's", [{"slug": hers.lora}], "starter", "", 5, 1, QUICK)
    for endpoint, values in (
        ("rename_lora", [hers.lora, "stolen"]),
        ("delete_lora", [hers.lora]),
        ("delete_image", [hers.image]),
        ("delete_dataset", [hers.dataset]),
        ("set_caption", [hers.dataset, "adasfile.png", "spoilt"]),
        ("edit_pictures", [hers.dataset, [{"edit": "flip", "picture": "adasfile.png"}], ""]),
        ("undo_edit", [hers.dataset]),
        ("share", ["image", hers.image, False]),
    ):
        with pytest.raises(Refused, match="yours"):
            bob.run(endpoint, *values)
    (drawn,) = bob.run("generate", "bobs", [{"slug": hers.lora}], "starter", "", 5, 1, QUICK)
    assert bob.http.get(f"gradio_api/file={drawn['path']}").status_code == 200
    assert "bobs" not in json.dumps(ada.run("list_images"))
    for what, key in (("lora", hers.lora), ("image", hers.image), ("dataset", hers.dataset)):
        ada.run("share", what, key, False)
    assert bob.run("list_loras") == []
    assert [row["prompt"] for row in bob.run("list_images")] == ["bobs"]


def test_the_same_picture_and_the_same_lora_are_each_one_s_own(
    people: Everybody, hers: Hers, tmp_path: Path
) -> None:
    ada, bob = people["ada"], people["bob"]
    (ours,) = bob.run("import_lora", bob.upload(write_lora(tmp_path / "same.safetensors")))
    assert ours["slug"] != hers.lora
    assert ours["hash"] == ada.run("list_loras", hers.title)[0]["hash"]
    bob.run("delete_lora", ours["slug"])
    (image,) = bob.run("generate", "quokka one", [], "starter", "", 5, 1, QUICK)
    found = bob.run("list_images", "quokka")
    assert len(found) == 1
    assert image["path"]
    bob.run("delete_image", found[0]["image_id"])
    assert hers.image in [row["image_id"] for row in ada.run("list_images", "quokka one")]


def test_roles_bound_what_one_may_do(people: Everybody, tmp_path: Path) -> None:
    vic, cleo = people["vic"], people["cleo"]
    drawing = ["a dog", [], "starter", "", 1, 1, QUICK]
    assert cleo.run("generate", *drawing)
    files = cleo.upload(write_picture(tmp_path / "a.png"))
    with pytest.raises(Refused, match="creator"):
        cleo.run("upload_dataset", files, "x")
    for endpoint in ("generate", "generate_base64"):
        with pytest.raises(Refused, match="viewer"):
            vic.run(endpoint, *drawing)
    assert vic.http.post("gradio_api/upload", files=[("files", ("a.png", b"x"))]).status_code == 403
    people.visitors.people.set_role("vic", Role.CREATOR)
    assert vic.run("generate", *drawing)
    people.visitors.people.set_role("vic", Role.VIEWER)
    with pytest.raises(Refused):
        vic.run("generate", *drawing)


def test_a_quota_is_one_person_s_whichever_way_is_asked(
    people: Everybody, hers: Hers, tmp_path: Path
) -> None:
    bob, ada, kept = people["bob"], people["ada"], people.visitors.people
    drawing = ["a dog", [], "starter", "", 1]
    kept.set_limits("bob", {Use.IMAGES: 0})
    try:
        for endpoint in ("generate", "generate_base64"):
            with pytest.raises(Refused, match="pictures a day"):
                bob.run(endpoint, *drawing, 1, QUICK)
        axis = {"parameter": "seed", "values": "1, 2"}
        with pytest.raises(Refused, match="pictures a day"):
            bob.run("grid", "a dog", axis, None, None, [], 1, QUICK)
        kept.set_limits("bob", {Use.DISK: 1})
        upload = bob.http.post("gradio_api/upload", files=[("files", ("a.png", b"xx"))])
        assert (upload.status_code, "You may keep" in upload.text) == (507, True)
        kept.set_limits("bob", {Use.TRAININGS: 0})
        dataset = bob.run("upload_dataset", bob.upload(write_picture(tmp_path / "a.png")), "b")["dataset_id"]
        with pytest.raises(Refused, match="trainings that wait or run"):
            bob.run("start_training", dataset, "b", "style", "", "starter", {"max_train_steps": 1})
        bob.run("delete_dataset", dataset)
        assert ada.run("generate", *drawing, 1, QUICK)
    finally:
        kept.set_limits("bob", {})
    assert people.visitors.usage.used(Use.IMAGES, "ada") > 0


def test_the_kill_switch_puts_everybody_out(people: Everybody, hers: Hers) -> None:
    assert hers
    people.visitors.people.revoke_all()
    for name, caller in people.callers.items():
        assert caller.http.get("config").status_code == 401, name
        assert caller.http.post("gradio_api/run/list_loras", json={"data": [""]}).status_code == 401, name
    again = log_in(people.app, "ada")
    with closing(again.http):
        assert again.run("list_loras")
