"""The field's known holes, replayed over the bare port: published advisories of Gradio, and of programs like
this one. Each row names where it was; none may read, fetch, write, run or change anything.

The numbers were compared with what the advisories say (GitHub's and OSV's texts, 2026-11-29); a hole whose
number could not be found so has none here."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.api_caller import Caller
from tests.support.serving import CHECKOUT

PASSWORDS, FETCHED = "/etc/passwd", b"fetched-from-inside"
SECRETS = (b"root:", b"SQLite format 3", b"[build-system]", FETCHED)
CALL = "/gradio_api/run/"
FILE_DATA = {"meta": {"_type": "gradio.FileData"}}
BOUNDARY = "x" * 40


@dataclass(frozen=True, kw_only=True)
class Hole:
    """A request that worked somewhere. INSIDE stands for a server on this machine's loopback, HOME for the
    studio's folder; `where` is the advisory, or the program whose route it was."""

    where: str
    path: str
    method: str = "GET"
    json: Any = None
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    statuses: tuple[int, ...] = (400, 401, 403, 404, 405, 413, 421, 422, 500)


def files(*paths: str) -> list[Hole]:
    return [Hole(where="file route of Gradio", path=f"{root}file={path}") for path in paths for root in ROOTS]


def call(where: str, endpoint: str, *data: Any) -> Hole:
    sent = {"data": [*data], "session_hash": "holes"}
    return Hole(where=where, path=CALL + endpoint, method="POST", json=sent, statuses=(500,))


def post(where: str, path: str, data: Any = None) -> Hole:
    return Hole(where=where, path=path, method="POST", json=data if data is not None else {})


def form(name: str, content: bytes, boundary: str = BOUNDARY) -> tuple[bytes, dict[str, str]]:
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    body = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}


ROOTS = ("/", "/gradio_api/")
HOLES = [
    # Reading files: CVE-2023-34239, CVE-2023-51449, CVE-2024-47164, CVE-2025-23042, CVE-2026-28414; also
    # AUTOMATIC1111's file= before it had an allow-list.
    *files(
        *(PASSWORDS, f"/{PASSWORDS}", "../../../../../../etc/passwd", "..%2f..%2f..%2f..%2fetc%2fpasswd"),
        *(
            "%2e%2e/%2e%2e/%2e%2e/etc/passwd",
            "....//....//etc/passwd",
            f"file://{PASSWORDS}",
            "/proc/self/environ",
        ),
        *(
            "HOME/studio.db",
            "HOME/STUDIO.DB",
            "HOME/./studio.db",
            "HOME/images/../studio.db",
            "HOME/studio.db%00",
        ),
        *(
            f"{CHECKOUT}/pyproject.toml",
            "pyproject.toml",
            "..\\..\\etc\\passwd",
            "C:/Windows/win.ini",
            "~/.ssh/id_rsa",
        ),
    ),
    Hole(where="CVE-2024-47166, custom components", path="/custom_component/x/../../../../etc/passwd"),
    Hole(
        where="CVE-2024-47166, custom components", path="/gradio_api/custom_component/x/client/..%2f..%2fetc"
    ),
    *(
        Hole(where="static files", path=f"/{at}/..%2f..%2f..%2fetc/passwd")
        for at in ("static", "assets", "theme")
    ),
    Hole(where="ComfyUI, /view", path=f"/view?filename=../../../..{PASSWORDS}&type=input"),
    Hole(
        where="CVE-2025-6237, InvokeAI, bulk downloads",
        path=f"/api/v1/images/download/..%2f..%2f..{PASSWORDS}",
    ),
    Hole(where="text-generation-webui, /file", path=f"/file/{PASSWORDS}"),
    # Any method of any component: CVE-2024-1561.
    *(
        post(
            "CVE-2024-1561",
            f"{root}component_server",
            {"component_id": 1, "fn_name": name, "data": [PASSWORDS]},
        )
        for root in ROOTS
        for name in ("move_resource_to_block_cache", "ls", "__init__")
    ),
    # Paths and addresses in place of files: CVE-2024-0964, CVE-2024-1728, CVE-2024-4941, CVE-2024-51751,
    # CVE-2024-47167, CVE-2024-4325.
    *(
        call("CVE-2024-51751", endpoint, given)
        for endpoint in ("read_settings", "import_lora", "upload_dataset")
        for given in (
            *(PASSWORDS, {"path": PASSWORDS}, {"path": PASSWORDS, **FILE_DATA}, {"path": "HOME/studio.db"}),
            *(
                {"path": "INSIDE", **FILE_DATA},
                {"path": "x", "url": "INSIDE", **FILE_DATA},
                {"url": "INSIDE"},
            ),
            *([{"path": PASSWORDS, **FILE_DATA}], f"file://{PASSWORDS}", "INSIDE"),
        )
    ),
    *(
        call("CVE-2024-47167, img2img of an address", "img2img", given, "a dog")
        for given in (
            PASSWORDS,
            {"path": "INSIDE", **FILE_DATA},
            {"url": "INSIDE"},
            "INSIDE",
            "data:text/html,x",
        )
    ),
    # Fetching for others: CVE-2024-1183, CVE-2024-2206, CVE-2026-28416; ComfyUI's CVE-2024-12882; here.
    *(
        Hole(where="CVE-2024-2206", path=f"{root}{route}{address}")
        for root in ROOTS
        for route in ("proxy=", "file=")
        for address in ("INSIDE", "http://169.254.169.254/latest/meta-data/", "https://huggingface.co/x")
    ),
    *(
        call("SSRF by a link", "import_lora_link", link)
        for link in (
            "INSIDE",
            "https://127.0.0.1/x",
            "https://[::ffff:127.0.0.1]/x",
            "https://0x7f.1/x",
            "file:///x",
        )
    ),
    post(
        "CVE-2024-12882, ComfyUI", "/internal/models/download", {"url": "INSIDE", "model_directory": "../x"}
    ),
    post("AUTOMATIC1111, /sdapi", "/sdapi/v1/img2img", {"init_images": ["INSIDE"]}),
    # Open redirects: CVE-2024-4940, CVE-2024-8021, CVE-2026-28415.
    *(
        Hole(where="CVE-2024-4940", path=path)
        for path in (
            *(
                "/file=https://evil.example",
                "/gradio_api/file=https://evil.example",
                "/login?next=//evil.example",
            ),
            *("/login/huggingface?_target_url=https://evil.example",),
            *("/login/callback?_target_url=//evil.example", "//evil.example/%2e%2e"),
        )
    ),
    Hole(where="CVE-2026-28415", path="/logout?_target_url=https://evil.example", statuses=(303,)),  # to here
    # Other pages in the same browser: CVE-2024-47084, CVE-2024-47165, ComfyUI's CVE-2024-10481.
    *(
        Hole(where="CVE-2024-47165", path=path, method=method, json=data, headers=headers, statuses=(403,))
        for path, method, data in (
            *(
                (CALL + "list_loras", "POST", {"data": [""]}),
                ("/gradio_api/queue/join", "POST", {"data": []}),
            ),
            *(
                ("/config", "GET", None),
                ("/gradio_api/upload", "POST", {}),
                ("/gradio_api/info", "GET", None),
            ),
        )
        for headers in (
            *(
                {"Origin": "null"},
                {"Origin": "http://evil.example"},
                {"Origin": "http://localhost.evil.example"},
            ),
            *({"Origin": "http://127.0.0.1:1"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "file://"}),
        )
    ),
    Hole(where="a name bound anew", path="/config", headers={"Host": "evil.example"}, statuses=(421,)),
    # What is shown to strangers: Gradio's monitoring page, its session for scripts.
    *(
        Hole(where="shown to strangers", path=path)
        for path in (
            "/monitoring",
            "/monitoring/summary",
            "/gradio_api/token",
            "/token",
            "/openapi.json",
            "/docs",
        )
    ),
    # Bodies with endless boundaries: CVE-2024-8966, CVE-2024-10821 (InvokeAI).
    *(
        Hole(where="CVE-2024-8966", path="/gradio_api/upload", method="POST", body=body, headers=headers)
        for body, headers in (form("x.png", b"x", "-" * 5000), form("x.png", b"x", "x" * 300))
    ),
    # Opening what can run code: CVE-2024-12029 (InvokeAI), pickles everywhere.
    post("CVE-2024-12029, InvokeAI", "/api/v2/models/install?source=INSIDE", {}),
    Hole(
        where="CVE-2024-11042, InvokeAI",
        path="/api/v1/images/delete",
        method="POST",
        json={"image_names": ["/x"]},
    ),
    post("ComfyUI, /prompt", "/prompt", {"prompt": {}}),
    post("ComfyUI-Manager", "/customnode/install/git_url", {"url": "https://evil.example"}),
    post("AUTOMATIC1111, extensions", "/sdapi/v1/server-restart"),
    post("AUTOMATIC1111, options", "/sdapi/v1/options", {"outdir_samples": "/x"}),
    # Commands and paths in settings: CVE-2024-32022 to CVE-2024-32027 (kohya_ss).
    *(
        call("CVE-2024-32022, kohya_ss", "start_training", "0" * 12, name, "style", "", "starter", options)
        for name, options in (
            *(
                ("x; touch /tmp/owned", {}),
                ("$(touch /tmp/owned)", {}),
                ("../../x", {}),
                ("x", {"output_dir": "/x"}),
            ),
            *(("x", {"sd_scripts_args": ["; touch /tmp/owned"]}), ("x", {"train_data_dir": "/etc"})),
            *(("x", {"pretrained_model_name_or_path": PASSWORDS}), ("x", {"logging_dir": "/x"})),
        )
    ),
    *(
        call("trust_remote_code, hub ids", "generate", "a dog", [], base)
        for base in (
            "/etc",
            "../starter",
            "~/x",
            "evil/model --trust_remote_code",
            "https://evil.example/m",
            "a\\b",
        )
    ),
]


class Inside(BaseHTTPRequestHandler):
    """A server of this machine that nobody may be led to."""

    asked: list[str] = []  # noqa: RUF012 -- of the one server there is

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(FETCHED)

    do_POST = do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        """Nothing on the console."""


@pytest.fixture(scope="module")
def inside() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Inside) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/secret"
        server.shutdown()
        thread.join()


def send(studio: Caller, hole: Hole, places: Mapping[str, str]) -> tuple[int, http.client.HTTPMessage, bytes]:
    """The request as it stands, with nothing made right on the way."""

    def put(text: str) -> str:
        for name, place in places.items():
            text = text.replace(name, place)
        return text

    body = hole.body if hole.json is None else put(json.dumps(hole.json)).encode()
    connection = http.client.HTTPConnection("127.0.0.1", studio.app.port, timeout=300)
    try:
        connection.putrequest(hole.method, put(hole.path), skip_host="Host" in hole.headers)
        headers = {"Content-Type": "application/json"} if hole.json is not None else {}
        headers |= {"Content-Length": str(len(body))} if hole.method == "POST" else {}
        for name, text in {**headers, **hole.headers}.items():
            connection.putheader(name, text)
        connection.endheaders(body or None)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("hole", HOLES, ids=lambda hole: f"{hole.where} {hole.path[:60]}")
def test_the_field_s_known_holes_are_closed(studio: Caller, inside: str, hole: Hole) -> None:
    asked = len(Inside.asked)
    status, headers, body = send(studio, hole, {"INSIDE": inside, "HOME": str(studio.app.home)})
    assert status in hole.statuses, (status, body[:200])
    assert not [secret for secret in SECRETS if secret in body]
    assert "evil.example" not in headers.get("location", "")
    assert headers.get("access-control-allow-origin") is None
    assert len(Inside.asked) == asked, "a server of this machine was asked"
    assert not Path("/tmp/owned").exists()


@pytest.mark.parametrize("name", ["x.html", "x.svg", "x.png", "x.xml"])
def test_what_is_uploaded_never_runs_as_a_page(studio: Caller, name: str) -> None:
    """CVE-2024-47872, ComfyUI's CVE-2024-10099: a page with scripts, handed in as a picture and opened."""
    page = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
    body, headers = form(name, page)
    hole = Hole(where="", path="/gradio_api/upload", method="POST", body=body, headers=headers)
    status, _, stored = send(studio, hole, {})
    if status != 200:
        return
    (path,) = json.loads(stored)
    status, answered, shown = send(studio, Hole(where="", path=f"/gradio_api/file={path}"), {})
    if status == 200 and b"<script>" in shown:
        assert answered["x-content-type-options"] == "nosniff"
        kind = answered["content-type"].partition(";")[0]
        disposition = answered.get("content-disposition", "")
        assert kind in {"image/png", "application/octet-stream"} or disposition.startswith("attachment")


@pytest.mark.parametrize(
    "name", ["../../x.png", "..\\..\\x.png", "/etc/x.png", "a\x00b.png", "con", "x" * 400]
)
def test_uploads_stay_in_their_folder(studio: Caller, name: str) -> None:
    """Path traversal by the names of uploads, which all of them had."""
    uploads = (studio.app.home / "uploads").resolve()
    body, headers = form(name, b"x")
    status, _, stored = send(
        studio, Hole(where="", path="/gradio_api/upload", method="POST", body=body, headers=headers), {}
    )
    assert status in {200, 400, 413, 422, 500}
    for path in json.loads(stored) if status == 200 else []:
        assert Path(path).resolve().is_relative_to(uploads)
        assert Path(path).parent.parent.resolve() == uploads


@pytest.mark.parametrize("name", ["x.ckpt", "x.pt", "x.bin", "x.pkl", "x.safetensors"])
def test_pickles_are_not_opened(studio: Caller, tmp_path: Path, name: str) -> None:
    """A pickle that would leave a trace, under each name (CVE-2024-12029 and its like)."""
    trace = tmp_path / "owned"
    program = f"import pathlib; pathlib.Path({str(trace)!r}).touch()".encode()
    body, headers = form(name, b"cbuiltins\nexec\n(V" + program + b"\ntR.")
    hole = Hole(where="", path="/gradio_api/upload", method="POST", body=body, headers=headers)
    status, _, stored = send(studio, hole, {})
    if status == 200:
        given = [{"path": path, **FILE_DATA} for path in json.loads(stored)]
        for endpoint in ("import_lora", "upload_dataset"):
            status, _, _ = send(studio, call("a pickle", endpoint, given), {})
            assert status == 500
        assert send(studio, call("a pickle", "read_settings", given[0]), {})[0] == 500
    assert not trace.exists()
