"""The named endpoints of the running app: by Gradio's client, and by hand-written requests."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from tests.support.serving import CHECKOUT, App
from tests.support.waiting import PATIENCE

EXAMPLES = CHECKOUT / "examples" / "ink"
NAMED = {
    "/upload_dataset",
    "/start_training",
    "/training_status",
    "/stop_training",
    "/plan_training",
    *("/use_checkpoint", "/pause_training", "/resume_training"),
    *("/save_now", "/preview_now"),
    *("/list_datasets", "/list_captions", "/set_caption"),
    *("/list_edits", "/edit_pictures", "/undo_edit", "/redo_edit", "/name_version", "/go_to_version"),
    *("/caption_words", "/change_captions", "/start_captioning", "/captioning_status", "/stop_captioning"),
    *("/check_dataset", "/stop_check", "/fix_dataset", "/dataset_report"),
    *("/delete_dataset", "/export_dataset", "/stop_export", "/delete_training", "/list_trainings"),
    "/list_loras",
    "/import_lora",
    *("/import_lora_link", "/stop_import", "/list_repairs", "/stop_repair"),
    *("/rename_lora", "/delete_lora", "/inspect_lora", "/inspect_file", "/repair_lora", "/merge_loras"),
    *("/compare_trainings", "/start_strength_report", "/strength_report"),
    *("/export_lora", "/get_card", "/set_card", "/publish_lora", "/stop_publishing"),
    *("/list_images", "/delete_image", "/undo_delete"),
    *("/share", "/generate"),
    "/generate_base64",
    "/img2img",
    "/grid",
    "/interrupt",
    "/list_generations",
    "/list_samplers",
    "/list_styles",
    "/read_settings",
    *("/check_studio", "/list_storage", "/clean_up"),
}
SESSION = {"session_hash": "by hand"}
"""Without one, Gradio sets one up for each request, which takes ten times the rest."""
QUICK = {"max_train_steps": 6, "sample_every_n_steps": 0, "train_batch_size": 1}


@pytest.fixture(scope="module")
def client(app: App, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    client = Client(app.address, verbose=False, download_files=str(tmp_path_factory.mktemp("got")))
    yield client
    client.close()


@pytest.fixture(scope="module")
def http(app: App) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=app.address, timeout=PATIENCE, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def dataset_id(client: Client) -> str:
    files = [handle_file(path) for path in sorted(EXAMPLES.iterdir())[:8]]
    made = client.predict(files, "Ink", api_name="/upload_dataset")
    assert (made["images"], made["captions"]) == (4, 4)
    assert made["refused"] == []
    return str(made["dataset_id"])


def wait_for_end(client: Client, job_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE
    active = {"queued", "running", "stopping"}
    while (status := dict(client.predict(job_id, api_name="/training_status")))["status"] in active:
        assert time.monotonic() < deadline, f"still {status}"
        time.sleep(0.3)
    return status


@pytest.fixture(scope="module")
def slug(client: Client, dataset_id: str) -> str:
    """A LoRA, trained through the API."""
    started = client.predict(
        dataset_id=dataset_id,
        name="Ink by API",
        kind="style",
        trigger="zwapi",
        options=QUICK,
        api_name="/start_training",
    )
    assert started["status"] in {"queued", "running"}
    ended = wait_for_end(client, started["job_id"])
    assert (ended["status"], ended["step"], ended["progress"]) == ("finished", 6, 100.0), ended
    return str(ended["lora_slug"])


def test_the_endpoints_are_named_typed_and_documented(http: httpx.Client) -> None:
    named = http.get("gradio_api/info").json()["named_endpoints"]
    assert set(named) == NAMED
    for name, facts in named.items():
        assert facts["description"], name
        assert all(parameter["type"] for parameter in facts["parameters"]), name
        assert all(result["type"] for result in facts["returns"]), name
    kind = next(p for p in named["/start_training"]["parameters"] if p["parameter_name"] == "kind")
    assert kind["type"] == {"enum": ["person", "style", "object", "character"]}
    paths = http.get("gradio_api/openapi.json").json()["paths"]
    assert all(any(path.endswith(name) for path in paths) for name in NAMED)


def test_training_ends_in_a_lora_that_can_be_downloaded(
    client: Client, http: httpx.Client, slug: str
) -> None:
    found = client.predict("zwapi ink", api_name="/list_loras")
    assert [lora["slug"] for lora in found] == [slug] == ["ink-by-api"]
    assert (found[0]["trigger_word"], found[0]["kind"], found[0]["steps"]) == ("zwapi", "style", 6)
    file = http.get(found[0]["download_url"])
    assert file.status_code == 200
    assert len(file.content) == found[0]["size_bytes"]
    assert json.loads(file.content[8 : 8 + int.from_bytes(file.content[:8], "little")])["__metadata__"]
    assert client.predict("nothing like it", api_name="/list_loras") == []


def test_pictures_come_as_files_and_as_base64(client: Client, slug: str) -> None:
    wanted: dict[str, Any] = {
        "prompt": "a dog",
        "loras": [{"slug": "INK by  api", "weight": 0.5}],
        "seed": 7,
        "count": 2,
        "options": {"num_inference_steps": 2, "sampler": "Euler"},
    }
    files = client.predict(**wanted, api_name="/generate")
    assert len(files) == 2
    path = files[0] if isinstance(files[0], str) else files[0]["path"]
    with Image.open(path) as picture:
        assert (picture.format, picture.size) == ("PNG", (64, 64))
        assert "Seed: 7" in picture.info["parameters"]
    encoded = client.predict(**wanted, api_name="/generate_base64")
    assert [image["seed"] for image in encoded] == [7, 8]
    assert base64.b64decode(encoded[0]["image"]) == Path(path).read_bytes()
    assert encoded[0]["infotext"].startswith(f"zwapi, a dog <lora:{slug}:0.5>")
    assert "Sampler: Euler" in encoded[0]["infotext"]


def test_a_picture_is_redrawn_inside_its_mask_alone(client: Client, tmp_path: Path) -> None:
    source, mask = tmp_path / "source.png", tmp_path / "mask.png"
    Image.linear_gradient("L").resize((64, 64)).convert("RGB").save(source)
    white = Image.new("L", (64, 64))
    white.paste(255, (0, 0, 32, 64))
    white.save(mask)
    options = {"num_inference_steps": 2, "strength": 1.0, "mask_blur": 0}
    wanted: dict[str, Any] = {"prompt": "a dog", "seed": 1, "options": options, "api_name": "/img2img"}
    (made,) = client.predict(image=handle_file(source), mask=handle_file(mask), **wanted)
    with Image.open(source) as before, Image.open(made) as after:
        assert "Mask" in after.info["parameters"]
        boxes = ((0, 0, 32, 64), (32, 0, 64, 64))
        same = [before.crop(box).tobytes() == after.convert("RGB").crop(box).tobytes() for box in boxes]
    assert same == [False, True]
    url = f"data:image/png;base64,{base64.b64encode(source.read_bytes()).decode()}"
    (whole,) = client.predict(image=url, **wanted)
    with Image.open(source) as before, Image.open(whole) as after:
        assert before.crop(boxes[1]).tobytes() != after.convert("RGB").crop(boxes[1]).tobytes()


def test_a_grid_is_a_sheet_and_its_cells(client: Client) -> None:
    wanted: dict[str, Any] = {"prompt": "a dog", "options": {"num_inference_steps": 2}, "seed": 3}
    axes = {
        "x": {"parameter": "guidance_scale", "values": "1, 3"},
        "y": {"parameter": "prompt_replace", "values": "dog, cat, fox"},
    }
    made = client.predict(**wanted, **axes, api_name="/grid")
    assert (made["columns"], made["rows"], len(made["cells"])) == (2, 3, 6)
    with Image.open(made["sheet"]) as sheet, Image.open(made["cells"][0]) as cell:
        assert sheet.width > 2 * cell.width
        assert cell.size == (64, 64)
    assert client.predict(**wanted, **axes, api_name="/grid")["reused"] == 6


def test_settings_come_back_from_a_picture(client: Client) -> None:
    options = {"num_inference_steps": 2, "clip_skip": 2, "image_format": "webp"}
    (made,) = client.predict("a dog", seed=11, options=options, api_name="/generate")
    assert Path(made).suffix == ".webp"
    read = client.predict(handle_file(made), api_name="/read_settings")
    assert (read["request"]["seed"], read["request"]["clip_skip"], read["missing"]) == (11, 2, [])
    assert read["infotext"].startswith("a dog")


@pytest.mark.slow
def test_a_generation_is_interrupted_by_who_asked_for_it(client: Client, app: App) -> None:
    job = client.submit("a dog", count=16, options={"num_inference_steps": 200}, api_name="/generate")

    def mine() -> dict[str, Any]:
        return dict(next(iter(client.predict(api_name="/list_generations")), {"prompt": ""}))

    while mine()["prompt"] != "a dog" or mine()["image"] < 2:
        time.sleep(0.1)
    stranger = Client(app.address, verbose=False)
    assert stranger.predict(api_name="/interrupt") == []
    assert mine()["state"] == "running"
    (stopped,) = client.predict(api_name="/interrupt")
    assert stopped["ticket"] == mine()["ticket"]
    assert 1 <= len(job.result(timeout=PATIENCE)) < 16
    assert mine()["state"] == "stopped"
    other = stranger.submit("a cat", count=16, options={"num_inference_steps": 200}, api_name="/generate")
    while mine()["prompt"] != "a cat":
        time.sleep(0.1)
    client.predict(mine()["ticket"], api_name="/interrupt")
    assert len(other.result(timeout=PATIENCE)) < 16
    stranger.close()


def test_what_can_be_chosen_is_listed(client: Client) -> None:
    assert "Euler a" in client.predict(api_name="/list_samplers")
    styles = client.predict(api_name="/list_styles")
    assert all("{prompt}" in style["prompt"] for style in styles)


def test_a_training_stops(client: Client, dataset_id: str) -> None:
    started = client.predict(
        dataset_id,
        "Endless",
        "object",
        "",
        "starter",
        {**QUICK, "max_train_steps": 100_000},
        api_name="/start_training",
    )
    while client.predict(started["job_id"], api_name="/training_status")["step"] < 2:
        time.sleep(0.2)
    assert client.predict(started["job_id"], api_name="/stop_training")["status"] in {"stopping", "stopped"}
    ended = wait_for_end(client, started["job_id"])
    assert ended["status"] == "stopped"
    assert ended["lora_slug"] == "endless"


@pytest.mark.parametrize(
    ("endpoint", "values", "said"),
    [
        (
            "/start_training",
            {"dataset_id": "000000000000", "name": "x", "kind": "style"},
            "no set of pictures",
        ),
        (
            "/start_training",
            {"dataset_id": "../../etc", "name": "x", "kind": "style"},
            "no such set of pictures",
        ),
        ("/training_status", {"job_id": "000000000000"}, "no training"),
        ("/stop_training", {"job_id": "/etc/passwd"}, "no such training"),
        ("/pause_training", {"job_id": "000000000000"}, "no training"),
        ("/resume_training", {"job_id": "../x"}, "no such training"),
        ("/save_now", {"job_id": "000000000000"}, "no training"),
        ("/preview_now", {"job_id": "000000000000"}, "no training"),
        ("/upload_dataset", {"files": []}, "no pictures"),
        ("/generate", {"prompt": "x", "base": "/etc"}, "no base model"),
        ("/generate", {"prompt": "x", "loras": [{"slug": "not-there"}]}, "no LoRA"),
        ("/generate", {"prompt": "x", "loras": [{"slug": "../x"}]}, "slug"),
        ("/generate", {"prompt": "x", "count": 99}, "count"),
        ("/generate", {"prompt": "x", "options": {"num_inference_steps": 0}}, "num_inference_steps"),
        ("/generate", {"prompt": "x", "options": {"stepz": 3}}, "stepz"),
        ("/generate_base64", {"prompt": "x", "options": {"sampler": "Magic"}}, "ampler"),
        ("/generate", {"prompt": "x" * 10_001}, "prompt"),
        ("/generate", {"prompt": "x", "options": {"width": 65}}, "nearest is 64"),
        ("/generate", {"prompt": "x", "options": {"image": "0" * 64}}, "'image'"),
        ("/img2img", {"image": "/etc/passwd", "prompt": "x"}, "not accepted"),
        ("/img2img", {"image": "data:image/png;base64,AAAA", "prompt": "x"}, "picture"),
        ("/img2img", {"image": "", "prompt": "x", "options": {"strength": 0}}, "strength"),
        ("/grid", {"prompt": "x", "x": {"parameter": "seed", "values": "1-500"}}, "500 values"),
        ("/grid", {"prompt": "x", "x": {"parameter": "password", "values": "1"}}, "password"),
        ("/interrupt", {"ticket": "../x"}, "no such generation"),
        ("/interrupt", {"ticket": "000000000000"}, "no generation"),
        ("/read_settings", {"picture": "/etc/passwd"}, "not accepted"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    client: Client, endpoint: str, values: dict[str, Any], said: str
) -> None:
    with pytest.raises(AppError, match=said) as caught:
        client.predict(**values, api_name=endpoint)
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": ""}, "name is empty"),
        ({"name": "a/b"}, "slash"),
        ({"kind": "landscape"}, "kind"),
        ({"base": "nowhere"}, "nowhere"),
        ({"options": {"max_train_steps": 0}}, "max_train_steps"),
        ({"options": {"max_train_step": 10}}, "max_train_steps"),
        ({"options": {"output_dir": "/elsewhere"}}, "output_dir"),
        ({"options": {"pretrained_model_name_or_path": "/etc"}}, "pretrained_model_name_or_path"),
    ],
)
def test_a_training_that_can_not_be_is_not_queued(
    client: Client, dataset_id: str, changes: dict[str, Any], said: str
) -> None:
    values: dict[str, Any] = {"dataset_id": dataset_id, "name": "x", "kind": "style", "options": QUICK}
    with pytest.raises(AppError, match=said):
        client.predict(**{**values, **changes}, api_name="/start_training")


def refusals(path: str) -> list[Any]:
    """A server path in all the forms that a hand-written request can give it."""
    return [
        path,
        {"path": path},
        {"path": path, "meta": {"_type": "gradio.FileData"}},
        {"path": path, "meta": {"_type": "other"}},
        {"path": path, "url": f"file://{path}", "orig_name": "a.png"},
        {"url": f"file://{path}"},
    ]


@pytest.fixture(scope="module")
def secrets(app: App) -> Iterator[list[Path]]:
    """Files of the server that no client may get at: a text, a real picture, the database, the source."""
    text, picture = app.home / "secret.txt", app.home / "secret.png"
    text.write_text("TOP-SECRET caption")
    Image.new("RGB", (640, 640), "red").save(picture)
    yield [text, picture, app.home / "studio.db", CHECKOUT / "app.py", EXAMPLES / "fox.png"]
    text.unlink()
    picture.unlink()


def test_a_server_path_is_no_upload(http: httpx.Client, app: App, secrets: list[Path]) -> None:
    """The endpoint, with each path in each form: refused, and nothing of the file comes back or is stored."""
    kept = [app.home / name for name in ("datasets", "inputs")]
    before = [set(folder.iterdir()) for folder in kept]
    for path in secrets:
        for sent in refusals(str(path)):
            answer = http.post("gradio_api/run/upload_dataset", json={"data": [[sent], "x"], **SESSION})
            assert answer.status_code != 200, (path, sent)
            assert "SECRET" not in answer.text
            assert "dataset_id" not in answer.text
            for endpoint, data in (("img2img", [sent, "x"]), ("img2img", ["data:,", "x", sent])):
                answer = http.post(f"gradio_api/run/{endpoint}", json={"data": data, **SESSION})
                assert answer.status_code != 200, (endpoint, path, sent)
            answer = http.post("gradio_api/run/read_settings", json={"data": [sent], **SESSION})
            assert answer.status_code != 200, (path, sent)
    assert [set(folder.iterdir()) for folder in kept] == before


def test_no_event_of_the_page_takes_a_server_path(http: httpx.Client, app: App, secrets: list[Path]) -> None:
    """Every event that has a file, picture or gallery among its inputs, found in the page's configuration."""
    config = http.get("config").json()
    kinds = {part["id"]: part["type"] for part in config["components"]}
    takers = [
        event
        for event in config["dependencies"]
        if {kinds.get(part) for part in event["inputs"]}
        & {"file", "image", "gallery", "uploadbutton", "imageeditor"}
    ]
    assert len(takers) >= 2
    before = set((app.home / "datasets").iterdir()), set((app.models / "lora").iterdir())
    for event in takers:
        for path in secrets:
            for sent in refusals(str(path)):
                for value in ([sent], sent):
                    data = [
                        value if kinds[part] in {"file", "uploadbutton"} else "" for part in event["inputs"]
                    ]
                    answer = http.post(
                        "gradio_api/run/predict", json={"data": data, "fn_index": event["id"], **SESSION}
                    )
                    assert answer.status_code != 200, (event["id"], value, answer.text)
                    assert "SECRET" not in answer.text
    assert before == (set((app.home / "datasets").iterdir()), set((app.models / "lora").iterdir()))


def test_files_outside_the_served_folders_stay_unseen(
    http: httpx.Client, app: App, secrets: list[Path]
) -> None:
    jobs = [path for path in (app.home / "jobs").rglob("*") if path.is_file()]
    for path in [*secrets, *jobs, Path("/etc/hostname")]:
        if path.exists():
            assert http.get(f"gradio_api/file={path}").status_code in {403, 404}, path


def test_only_the_named_endpoints_are_public(http: httpx.Client) -> None:
    assert http.get("gradio_api/info").json()["unnamed_endpoints"] == {}
    assert http.get("docs").status_code == 404
    assert http.get("monitoring").status_code != 200
    shown = {
        event["api_name"]
        for event in http.get("config").json()["dependencies"]
        if event["api_visibility"] == "public"
    }
    assert {f"/{name}" for name in shown} == NAMED
