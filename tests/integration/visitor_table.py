"""What one person tries at another's things: for every endpoint a call, for every route a request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

LISTED, REFUSED, FINE = "listed", "refused", "fine"
"""Lists without a thing of Ada's; refused in a sentence; answered, since it has nothing of Ada's."""
QUICK = {"num_inference_steps": 1}


@dataclass(frozen=True, kw_only=True)
class Hers:
    """The things of the one who is called Ada, by what names them."""

    dataset: str
    picture: Mapping[str, Any]
    lora: str
    title: str
    image: str
    job: str
    ticket: str
    token: str
    input: str
    session: str
    event: str
    paths: Mapping[str, str]
    """Files by what they are."""

    @property
    def names(self) -> dict[str, str]:
        """What may be put wherever the page takes an id."""
        return {
            **{"dataset": self.dataset, "lora": self.lora, "image": self.image, "job": self.job},
            **{"ticket": self.ticket, "token": self.token, "input": self.input},
        }


Call = tuple[Callable[[Hers], list[Any]], str]


def _draws(*more: Any) -> Callable[[Hers], list[Any]]:
    return lambda hers: ["a dog", [{"slug": hers.lora}], "starter", "", 1, 1, QUICK, *more]


def _trains(*named: str) -> Callable[[Hers], list[Any]]:
    return lambda hers: [hers.dataset, *named, "style", "", "starter", {"max_train_steps": 1}]


def _rewords(*, preview: bool) -> Callable[[Hers], list[Any]]:
    added = {"operation": "add", "words": "spoilt"}
    return lambda hers: [hers.dataset, added, "", "", "", preview, ""]


def _job(hers: Hers) -> list[Any]:
    return [hers.job]


CALLS: Mapping[str, list[Call]] = {
    "upload_dataset": [(lambda hers: [[hers.picture], "mine"], REFUSED)],
    "start_training": [(_trains("stolen"), REFUSED)],
    "plan_training": [(_trains(), REFUSED)],
    "training_status": [(_job, REFUSED)],
    "stop_training": [(_job, REFUSED)],
    "pause_training": [(_job, REFUSED)],
    "resume_training": [(_job, REFUSED), (lambda hers: [hers.job, True], REFUSED)],
    "save_now": [(_job, REFUSED)],
    "preview_now": [(_job, REFUSED)],
    "use_checkpoint": [(lambda hers: [hers.lora, 1], REFUSED)],
    "list_datasets": [(lambda hers: [], LISTED)],
    "list_captions": [(lambda hers: [hers.dataset], REFUSED)],
    "set_caption": [(lambda hers: [hers.dataset, "teal.png", "spoilt"], REFUSED)],
    "list_edits": [(lambda hers: [hers.dataset], REFUSED)],
    "edit_pictures": [
        (lambda hers: [hers.dataset, [{"edit": "flip", "picture": "adasfile.png"}], "spoilt"], REFUSED)
    ],
    "undo_edit": [(lambda hers: [hers.dataset], REFUSED)],
    "redo_edit": [(lambda hers: [hers.dataset], REFUSED)],
    "name_version": [(lambda hers: [hers.dataset, "stolen"], REFUSED)],
    "go_to_version": [(lambda hers: [hers.dataset, "originals"], REFUSED)],
    "check_dataset": [(_trains(), REFUSED)],
    "stop_check": [(lambda hers: [hers.dataset], REFUSED)],
    "fix_dataset": [(lambda hers: [hers.dataset, ["borders"], []], REFUSED)],
    "dataset_report": [(lambda hers: [hers.dataset, "json"], REFUSED)],
    "caption_words": [(lambda hers: [hers.dataset, "", "", "", "starter"], REFUSED)],
    "change_captions": [(_rewords(preview=True), REFUSED), (_rewords(preview=False), REFUSED)],
    "start_captioning": [(lambda hers: [hers.dataset, "starter", "", "{caption}", True], REFUSED)],
    "captioning_status": [(lambda hers: [hers.dataset], REFUSED)],
    "stop_captioning": [(lambda hers: [hers.dataset], REFUSED)],
    "export_dataset": [(lambda hers: [hers.dataset, 1, "", ""], REFUSED)],
    "stop_export": [(lambda hers: [], FINE)],
    "delete_dataset": [(lambda hers: [hers.dataset], REFUSED)],
    "list_trainings": [(lambda hers: [500], LISTED)],
    "list_loras": [(lambda hers: [""], LISTED), (lambda hers: [hers.title], LISTED)],
    "import_lora": [(lambda hers: [[{**hers.picture, "path": hers.paths["lora upload"]}]], REFUSED)],
    "inspect_lora": [(lambda hers: [hers.lora, ""], REFUSED), (lambda hers: [hers.lora, "starter"], REFUSED)],
    "inspect_file": [(lambda hers: [[{**hers.picture, "path": hers.paths["lora upload"]}], ""], REFUSED)],
    "repair_lora": [(lambda hers: [hers.lora, {"strip_private": True}, "stolen"], REFUSED)],
    "merge_loras": [(lambda hers: [[{"slug": hers.lora}, {"slug": hers.lora}], {}, "stolen"], REFUSED)],
    "list_repairs": [(lambda hers: [], FINE)],
    "stop_repair": [(lambda hers: [], FINE)],
    "compare_trainings": [(lambda hers: [hers.job, hers.job], REFUSED)],
    "start_strength_report": [(lambda hers: [hers.lora, "", "", [1]], REFUSED)],
    "strength_report": [(lambda hers: [hers.lora], REFUSED)],
    "export_lora": [(lambda hers: [hers.lora, {}], REFUSED)],
    "get_card": [(lambda hers: [hers.lora], REFUSED)],
    "set_card": [(lambda hers: [hers.lora, "spoilt", "", []], REFUSED)],
    "publish_lora": [(lambda hers: [hers.lora, "x/stolen", True], REFUSED)],
    "stop_publishing": [(lambda hers: [], FINE)],
    "import_lora_link": [(lambda hers: ["https://localhost/" + hers.lora], REFUSED)],
    "stop_import": [(lambda hers: [], FINE)],
    "rename_lora": [(lambda hers: [hers.lora, "stolen"], REFUSED)],
    "delete_lora": [(lambda hers: [hers.lora], REFUSED)],
    "delete_training": [(lambda hers: [hers.job], REFUSED)],
    "list_images": [(lambda hers: ["", 500], LISTED)],
    "delete_image": [(lambda hers: [hers.image], REFUSED)],
    "undo_delete": [(lambda hers: [hers.token], REFUSED)],
    "share": [
        (lambda hers: ["training", hers.job, True], REFUSED),
        (lambda hers: ["lora", hers.lora, True], REFUSED),
        (lambda hers: ["dataset", hers.dataset, True], REFUSED),
        (lambda hers: ["image", hers.image, True], REFUSED),
    ],
    "generate": [(_draws(), REFUSED), (lambda hers: [f"a dog <lora:{hers.lora}:1>"], REFUSED)],
    "generate_base64": [(_draws(), REFUSED), (lambda hers: [f"a dog <lora:{hers.title}:1>"], REFUSED)],
    "img2img": [
        (lambda hers: [hers.picture, "a dog", None, [], 1, 1, QUICK], REFUSED),
        (lambda hers: [hers.picture["path"], "a dog", None, [], 1, 1, QUICK], REFUSED),
    ],
    "grid": [
        (lambda hers: ["a dog", _axis("seed", "1"), None, None, [{"slug": hers.lora}], 1, QUICK], REFUSED),
        (lambda hers: ["a dog", _axis(f"lora_weight:{hers.lora}", "1"), None, None, [], 1, QUICK], REFUSED),
        (lambda hers: ["a dog", _axis("lora", hers.lora), None, None, [], 1, QUICK], REFUSED),
    ],
    "interrupt": [(lambda hers: [hers.ticket], REFUSED)],
    "list_generations": [(lambda hers: [], FINE)],
    "list_samplers": [(lambda hers: [], FINE)],
    "list_styles": [(lambda hers: [], FINE)],
    "check_studio": [(lambda hers: [], REFUSED)],
    "list_storage": [(lambda hers: [], REFUSED)],
    "clean_up": [(lambda hers: ["trash"], REFUSED)],
    "read_settings": [(lambda hers: [{**hers.picture, "path": hers.paths["image"]}], REFUSED)],
}
"""Every endpoint with Ada's things."""


def _axis(parameter: str, values: str) -> dict[str, str]:
    return {"parameter": parameter, "values": values}


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request for something of Ada's. `status` is the answer to everybody else; `says` what is sent."""

    method: str = "GET"
    path: Callable[[Hers], str]
    says: Callable[[Hers], Any] = lambda hers: None
    status: tuple[int, ...] = (403, 404)


def _file(what: str) -> Request:
    return Request(path=lambda hers: f"gradio_api/file={quote(hers.paths[what])}")


def _closed(path: str, method: str = "GET") -> list[Request]:
    return [Request(method=method, path=lambda hers: path, status=(404,))]


def _posted(path: str, says: Callable[[Hers], Any], *status: int) -> list[Request]:
    return [Request(method="POST", path=lambda hers: path, says=says, status=status)]


def _stranger(path: str) -> list[Request]:
    """A route without anything of anybody's: a visitor gets it, and nothing of Ada's is in it."""
    return [Request(path=lambda hers: path, status=(200, 302, 307, 404))]


FILES = (
    "image",
    "thumbnail",
    "lora",
    "lora thumbnail",
    "dataset thumbnail",
    "input",
    "upload",
    "output",
    "log",
)
ROUTES: Mapping[str, list[Request]] = {
    "/": _stranger(""),
    "/config": _stranger("config"),
    "/config/": _stranger("config/"),
    "/gradio_api/info": _stranger("gradio_api/info"),
    "/gradio_api/info/": _stranger("gradio_api/info/"),
    "/gradio_api/openapi.json": _stranger("gradio_api/openapi.json"),
    "/gradio_api/queue/status": _stranger("gradio_api/queue/status"),
    "/gradio_api/user": _stranger("gradio_api/user"),
    "/gradio_api/user/": _stranger("gradio_api/user/"),
    "/gradio_api/login_check": _stranger("gradio_api/login_check"),
    "/gradio_api/login_check/": _stranger("gradio_api/login_check/"),
    "/gradio_api/app_id": _stranger("gradio_api/app_id"),
    "/gradio_api/app_id/": _stranger("gradio_api/app_id/"),
    "/gradio_api/startup-events": _stranger("gradio_api/startup-events"),
    "/gradio_api/theme.css": _stranger("gradio_api/theme.css"),
    "/theme.css": _stranger("theme.css"),
    "/favicon.ico": _stranger("favicon.ico"),
    "/robots.txt": _stranger("robots.txt"),
    "/manifest.json": _stranger("manifest.json"),
    "/pwa_icon": _stranger("pwa_icon"),
    "/pwa_icon/{size}": _stranger("pwa_icon/64"),
    "/static/{path:path}": _stranger("static/x"),
    "/assets/{path:path}": _stranger("assets/x"),
    "/svelte/{path:path}": _stranger("svelte/x"),
    "/metrics": [Request(path=lambda hers: "metrics", status=(401,))],
    "/healthz": _stranger("healthz"),
    "/revision": _stranger("revision"),
    "/openapi.json": _closed("openapi.json"),
    "/monitoring": _closed("monitoring"),
    "/monitoring/summary": _closed("monitoring/summary"),
    "/monitoring/{key}": _closed("monitoring/x"),
    "/gradio_api/deep_link": [
        Request(path=lambda hers: f"gradio_api/deep_link?session_hash={hers.session}", status=(404,))
    ],
    "/gradio_api/token": _closed("gradio_api/token"),
    "/gradio_api/token/": _closed("gradio_api/token/"),
    "/gradio_api/dev/reload": _closed("gradio_api/dev/reload"),
    "/gradio_api/runs": _closed("gradio_api/runs"),
    "/gradio_api/runs/": _closed("gradio_api/runs/"),
    "/gradio_api/run-history/buckets": _closed("gradio_api/run-history/buckets"),
    "/gradio_api/run-history/connect": _closed("gradio_api/run-history/connect", "POST"),
    "/gradio_api/run-history/records": _closed("gradio_api/run-history/records"),
    "/gradio_api/run-history/records/{endpoint}/{record_id}/assets/{asset_id}": _closed(
        "gradio_api/run-history/records/list_images/1/assets/1"
    ),
    "/gradio_api/proxy={url_path:path}": _closed("gradio_api/proxy=http://localhost/"),
    "/gradio_api/custom_component/{id}/{environment}/{type}/{file_name}": _closed(
        "gradio_api/custom_component/a/client/b/c"
    ),
    "/gradio_api/file={path_or_url:path}": [
        *map(_file, FILES),
        Request(path=lambda hers: f"gradio_api/file={quote(hers.paths['dotted'])}"),
    ],
    "/gradio_api/file/{path:path}": [
        Request(path=lambda hers: f"gradio_api/file/{quote(hers.paths['image'].lstrip('/'))}", status=(404,))
    ],
    "/gradio_api/heartbeat/{session_hash}": [
        Request(path=lambda hers: f"gradio_api/heartbeat/{hers.session}", status=(403,))
    ],
    "/gradio_api/queue/data": [
        Request(path=lambda hers: f"gradio_api/queue/data?session_hash={hers.session}", status=(403,))
    ],
    "/gradio_api/call/{api_name}/{event_id}": [
        Request(path=lambda hers: f"gradio_api/call/list_images/{hers.event}", status=(403,))
    ],
    "/gradio_api/call/v2/{api_name}/{event_id}": [
        Request(path=lambda hers: f"gradio_api/call/v2/list_images/{hers.event}", status=(403,))
    ],
    "/gradio_api/upload_progress": [
        Request(path=lambda hers: "gradio_api/upload_progress?upload_id=adas-upload", status=(403,))
    ],
    "/gradio_api/stream/{session_hash}/{run}/{component_id}/playlist.m3u8": [
        Request(path=lambda hers: f"gradio_api/stream/{hers.session}/1/1/playlist.m3u8", status=(404,))
    ],
    "/gradio_api/stream/{session_hash}/{run}/{component_id}/{segment_id}.{ext}": [
        Request(path=lambda hers: f"gradio_api/stream/{hers.session}/1/1/1.ts", status=(404,))
    ],
    "/gradio_api/stream/{session_hash}/{run}/{component_id}/playlist-file": [
        Request(path=lambda hers: f"gradio_api/stream/{hers.session}/1/1/playlist-file", status=(404,))
    ],
    "/gradio_api/stream/{event_id}": [
        Request(method="POST", path=lambda hers: f"gradio_api/stream/{hers.event}", status=(404,))
    ],
    "/gradio_api/stream/{event_id}/close": [
        Request(method="POST", path=lambda hers: f"gradio_api/stream/{hers.event}/close", status=(404,))
    ],
    "/gradio_api/cancel": _posted(
        "gradio_api/cancel",
        lambda hers: {"session_hash": hers.session, "fn_index": 0, "event_id": hers.event},
        403,
    ),
    "/gradio_api/reset": _posted("gradio_api/reset", lambda hers: {"event_id": hers.event}, 200),
    "/gradio_api/reset/": _posted("gradio_api/reset/", lambda hers: {"event_id": hers.event}, 200),
    "/gradio_api/queue/join": _posted(
        "gradio_api/queue/join", lambda hers: {"fn_index": 0, "data": [], "session_hash": hers.session}, 400
    ),
    **{
        f"/gradio_api/{way}/{{api_name}}{slash}": _posted(
            f"gradio_api/{way}/list_images{slash}",
            lambda hers: {"data": ["", 5], "session_hash": hers.session},
            *status,
        )
        for way, status in (("run", (500,)), ("api", (500,)), ("call", (400,)))
        for slash in ("", "/")
    },
    **{
        f"/gradio_api/call/v2/{{api_name}}{slash}": _posted(
            f"gradio_api/call/v2/list_images{slash}",
            lambda hers: {"search": "", "session_hash": hers.session},
            *(200, 400, 422, 500),
        )
        for slash in ("", "/")
    },
    "/gradio_api/upload": _posted("gradio_api/upload?upload_id=adas-upload", lambda hers: None, 403),
    **{
        f"/gradio_api/{path}": _closed(f"gradio_api/{path}", "POST")
        for path in (
            *("component_server", "component_server/", "process_recording", "vibe-edit", "vibe-edit/"),
            *("undo-vibe-edit", "undo-vibe-edit/", "vibe-code", "vibe-code/"),
            *("vibe-starter-queries", "vibe-starter-queries/"),
        )
    },
    "/login": [],
    "/login/": [],
    "/logout": [],
}
"""Every route of the served app. Those without a request have nothing to do with anybody's things: tested in
tests/ui/test_login.py and test_sessions.py."""
