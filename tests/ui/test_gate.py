"""The gate by hand-made requests: who is answered, who is sent away, and how much is read before that."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from lora_studio.ui.serving import request_bodies
from lora_studio.ui.serving.gate import Gate
from lora_studio.ui.serving.login import Access
from lora_studio.ui.serving.request_origin import Names
from tests.support.asgi import Answered, Pair, Sent, answer_to

HOST = "localhost:7860"
OPEN, LOCKED = Access(), Access(username="ada", password="correct horse")
LOCAL, ANYONE = Names.of("127.0.0.1", anyone=False), Names.of("0.0.0.0", anyone=True)
SPACE = Names.of("0.0.0.0", anyone=True, framed=True)
COOKIE = "session"
INNER = 222
"""The status of what lies behind the gate."""
JOIN, RUN, UPLOAD = "/gradio_api/queue/join", "/gradio_api/run/predict", "/gradio_api/upload"
VISIT: list[Pair] = [
    ("sec-fetch-site", "cross-site"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-dest", "document"),
]


async def inside(scope: Any, receive: Any, send: Any) -> None:
    """Reads all, as Gradio does, and answers."""
    message: dict[str, Any] = {"more_body": True}
    while scope["type"] == "http" and message.get("more_body"):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RuntimeError("what Gradio does then")
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        return
    allowed = [(b"access-control-allow-origin", b"http://evil.example"), (b"x-frame-options", b"ALLOWALL")]
    await send({"type": "http.response.start", "status": INNER, "headers": allowed})
    await send({"type": "http.response.body", "body": b"inside"})


def ask(access: Access, names: Names, headers: Sequence[Pair] = (), **sent: Any) -> Answered:
    gate = Gate(access, names)
    gate.cookie, gate.tokens = COOKIE, {"known": "ada"}
    host = [] if any(name == "host" for name, _ in headers) else [("host", HOST)]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await gate(scope, receive, send, inside)

    return asyncio.run(answer_to(app, Sent(headers=[*host, *headers], **sent)))


def in_session(*more: Pair) -> list[Pair]:
    return [("cookie", f"{COOKIE}=known"), *more]


@pytest.mark.parametrize(
    "host", ["localhost:7860", "LOCALHOST:7860", "127.0.0.1:7860", "[::1]:7860", "[0:0::1]", "localhost:8080"]
)
def test_this_machine_is_answered(host: str) -> None:
    assert ask(OPEN, LOCAL, [("host", host)]).status == INNER


@pytest.mark.parametrize(
    "host",
    [
        *(
            "evil.example",
            "x.localhost:7860",
            "localhost.:7860",
            "localhost.evil.example",
            "127.0.0.1.nip.io",
        ),
        *("[::ffff:127.0.0.1]:7860", "127.1", "2130706433", "0.0.0.0:7860", "192.168.1.5", "10.0.0.1"),
    ],
)
def test_without_a_password_no_other_name_is_answered(host: str) -> None:
    refused = ask(OPEN, LOCAL, [("host", host)])
    assert refused.status == 421
    assert refused.body.count(b".") >= 1
    assert ask(LOCKED, ANYONE, [("host", host)]).status == 200  # the question for the password


@pytest.mark.parametrize(
    "host", ["", "a b", "localhost/x", "a@b", "localhost:port", "[::1", "x" * 300, "ü", "a\tb"]
)
def test_what_is_no_host_is_refused(host: str) -> None:
    for access, names in ((OPEN, LOCAL), (LOCKED, ANYONE)):
        assert ask(access, names, [("host", host)]).status == 400
        assert ask(access, names, [("host", HOST), ("host", HOST)]).status == 400


def test_names_that_the_owner_gives() -> None:
    lan = Names.of("192.168.1.5", ["studio.lan", "proxy.example:8443"], anyone=False)
    for host in ("192.168.1.5:7860", "studio.lan", "Studio.LAN:80", "proxy.example:8443", HOST):
        assert ask(OPEN, lan, [("host", host)]).status == INNER, host
    assert ask(OPEN, lan, [("host", "lan")]).status == 421
    behind = [("host", HOST), ("origin", "https://proxy.example:8443")]
    assert ask(OPEN, lan, behind, method="POST", path=RUN).status == INNER
    assert ask(OPEN, LOCAL, behind, method="POST", path=RUN).status == 403


FOREIGN: list[list[Pair]] = [
    [("origin", "http://evil.example")],
    [("origin", "null")],
    [("origin", "")],
    [("origin", "file://")],
    [("origin", "http://localhost:8000")],
    [("origin", "http://localhost")],
    [("origin", "http://localhost:7860.evil.example")],
    [("origin", "http://localhost:7860@evil.example")],
    [("origin", "http://[::1")],
    [("origin", "http://x.localhost:7860")],
    [("origin", "chrome-extension://abc")],
    [("origin", "http://localhost:7860"), ("origin", "http://evil.example")],
    [("sec-fetch-site", "cross-site")],
    [("sec-fetch-site", "same-site")],
    [("sec-fetch-site", "nonsense")],
    [("origin", "http://localhost:7860"), ("sec-fetch-site", "cross-site")],
]


@pytest.mark.parametrize("foreign", FOREIGN, ids=str)
@pytest.mark.parametrize(("access", "names"), [(OPEN, LOCAL), (LOCKED, ANYONE), (LOCKED, SPACE)])
def test_pages_of_others_are_sent_away(access: Access, names: Names, foreign: list[Pair]) -> None:
    for method in ("GET", "POST", "OPTIONS", "PUT", "DELETE"):
        for path in ("/", RUN, UPLOAD, "/login", "/logout", "/gradio_api/file=x", "/config"):
            answer = ask(access, names, in_session(*foreign), method=method, path=path, chunks=[b"x" * 100])
            assert (answer.status, answer.read) == (403, 0), (method, path)
            assert "access-control-allow-origin" not in dict(answer.headers)
    assert ask(access, names, in_session(*foreign), kind="websocket").status == 1008


@pytest.mark.parametrize(
    "own",
    [
        [],
        [("origin", "http://localhost:7860")],
        [("origin", "HTTP://LocalHost:7860"), ("sec-fetch-site", "same-origin")],
        [("sec-fetch-site", "none")],
    ],
    ids=str,
)
def test_the_page_itself_and_programs_come_through(own: list[Pair]) -> None:
    for access, names in ((OPEN, LOCAL), (LOCKED, ANYONE), (LOCKED, SPACE)):
        for method, path in (("GET", "/config"), ("POST", RUN), ("POST", UPLOAD), ("GET", "/info")):
            answer = ask(access, names, in_session(*own), method=method, path=path)
            assert answer.status == INNER
            assert "access-control-allow-origin" not in dict(answer.headers)
        assert ask(access, names, in_session(*own), kind="websocket").status == 101


def test_a_proxy_may_say_under_which_name_it_was_asked() -> None:
    behind = [
        ("host", "127.0.0.1:7860"),
        ("x-forwarded-host", "studio.example, inner.example"),
        ("origin", "https://studio.example"),
    ]
    assert ask(LOCKED, ANYONE, in_session(*behind), method="POST", path=RUN).status == INNER
    assert ask(LOCKED, ANYONE, in_session(*behind[::2]), method="POST", path=RUN).status == 403


def test_a_link_from_elsewhere_opens_the_page_and_nothing_else() -> None:
    for path in ("/", "/gradio_api/file=x.png"):
        assert ask(OPEN, LOCAL, VISIT, path=path).status == INNER
        assert ask(OPEN, LOCAL, VISIT, path=path, method="POST").status == 403
        assert ask(OPEN, LOCAL, [*VISIT, ("origin", "null")], path=path).status == 403
        framed = [*VISIT[:2], ("sec-fetch-dest", "iframe")]
        assert ask(OPEN, LOCAL, framed, path=path).status == 403
        assert ask(OPEN, SPACE, framed, path=path).status == INNER
    for path in ("/logout", "/config", "/gradio_api/queue/data", "/gradio_api/heartbeat/x"):
        assert ask(OPEN, LOCAL, VISIT, path=path).status == 403


def test_in_front_of_the_login_nothing_is_shown_or_read() -> None:
    for path in ("/config", "/gradio_api/info", "/gradio_api/openapi.json", "/openapi.json", "/theme.css"):
        assert ask(LOCKED, ANYONE, path=path).status == 401
    for path in ("/gradio_api/token", "/gradio_api/user", "/gradio_api/file=x", "/assets/x.js", "//"):
        assert ask(LOCKED, ANYONE, path=path).status == 401
    for path in (RUN, JOIN, UPLOAD, "/gradio_api/call/x", "/gradio_api/cancel"):
        answer = ask(LOCKED, ANYONE, path=path, method="POST", chunks=[b"x" * 10**6] * 100)
        assert (answer.status, answer.read) == (401, 0)
    page = ask(LOCKED, ANYONE)
    assert page.status == 200
    assert b'name="password"' in page.body
    assert b"gradio" not in page.body.lower()
    for cookie in ("session=", "session=wrong", "session", "other=known", ";;=", "session=known; session=x"):
        assert ask(LOCKED, ANYONE, [("cookie", cookie)], path="/config").status == 401, cookie


@pytest.mark.parametrize(
    "path", ["/openapi.json", "/gradio_api/token", "/gradio_api/vibe-code/", "/monitoring"]
)
def test_routes_that_are_not_ours_are_closed(path: str) -> None:
    assert ask(OPEN, LOCAL, path=path).status == 404
    assert ask(LOCKED, ANYONE, in_session(), path=path).status == 404
    for posted in (path, "/gradio_api/component_server", "/gradio_api/stream/x", "/", "/anything"):
        assert ask(OPEN, LOCAL, path=posted, method="POST").status == 404


def test_a_body_is_bounded_whether_announced_or_not() -> None:
    most = request_bodies.CALL.size
    for path, limit in (
        (RUN, most),
        ("/gradio_api/cancel", request_bodies.NOTHING.size),
        (UPLOAD, request_bodies.UPLOAD.size),
    ):
        announced = [("content-length", str(limit + 1))]
        answer = ask(OPEN, LOCAL, announced, path=path, method="POST", chunks=[b"x"])
        assert (answer.status, answer.read) == (413, 0)
    piece = b" " * 10**6
    answer = ask(OPEN, LOCAL, path=RUN, method="POST", chunks=(piece for _ in range(1000)))
    assert answer.status == 413
    assert answer.read == most + len(piece)
    assert ask(OPEN, LOCAL, path=RUN, method="POST", chunks=[piece] * 99).status == INNER
    assert ask(OPEN, LOCAL, path="/config", chunks=[piece]).status == 413


def test_json_of_many_values_is_refused_before_it_is_parsed() -> None:
    for unit in (b"0,", b"[", b'{"a":'):
        answer = ask(OPEN, LOCAL, path=JOIN, method="POST", chunks=(unit * 10_000 for _ in range(500)))
        assert answer.status == 413
        assert answer.read <= request_bodies.CALL.values * len(unit) + len(unit) * 10_000  # type: ignore[operator]
    picture = [b'{"data": ["data:image/png;base64,', *[b"A" * 10**6] * 40, b'"]}']
    assert ask(OPEN, LOCAL, path=JOIN, method="POST", chunks=picture).status == INNER


@pytest.mark.parametrize("address", ["https://evil.example/x.png", "http://evil.example", "HTTPS://a/b"])
def test_nothing_is_fetched_from_elsewhere_and_served_as_ours(address: str) -> None:
    for path in (f"/gradio_api/file={address}", f"/gradio_api/proxy={address}"):
        for method in ("GET", "HEAD"):
            for headers in ([], VISIT):
                assert ask(OPEN, LOCAL, headers, path=path, method=method).status in {403, 404}
    for path in ("/gradio_api/file=C:/pictures/http.png", "/gradio_api/file=/a/https/x.png"):
        assert ask(OPEN, LOCAL, path=path).status == INNER


def form(*parts: tuple[str, bytes]) -> tuple[list[Pair], list[bytes]]:
    chunks = [
        b"--B\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + body + b"\r\n"
        for head, body in parts
    ]
    return [("content-type", "multipart/form-data; boundary=B")], [*chunks, b"--B--\r\n"]


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ([('name="files"; filename="a.png"', b"x" * 10**6)] * 50, INNER),
        ([('name="files"; filename="a.png"', b"x")] * (request_bodies.MOST_FILES + 1), 413),
        ([('name="files"', b"x" * (request_bodies.LARGEST_FIELDS + 1))], 413),
        ([('name="filename"', b"x" * (request_bodies.LARGEST_FIELDS + 1))], 413),
        ([('name="a"', b"x")] * (request_bodies.MOST_FIELDS + 1), 413),
        ([('name="a"', b"x")] * request_bodies.MOST_FIELDS, INNER),
    ],
)
def test_a_form_has_so_many_files_and_little_text(parts: list[tuple[str, bytes]], status: int) -> None:
    headers, chunks = form(*parts)
    assert ask(OPEN, LOCAL, headers, path=UPLOAD, method="POST", chunks=chunks).status == status


@pytest.mark.parametrize("boundary", ["", "B" * (request_bodies.LONGEST_BOUNDARY + 1)])
def test_no_boundary_keeps_a_form_from_being_watched(boundary: str) -> None:
    headers, chunks = form(*[('name="a"', b"x")] * (request_bodies.MOST_FIELDS + 1))
    chunks = [chunk.replace(b"--B", f"--{boundary}".encode()) for chunk in chunks]
    for sent in (boundary, f'"{boundary}"'):
        headers = [("content-type", f"multipart/form-data; boundary={sent}")]
        answer = ask(OPEN, LOCAL, headers, path=UPLOAD, method="POST", chunks=chunks)
        assert (answer.status, answer.read) == (413, 0)


@pytest.mark.parametrize("access", [OPEN, LOCKED])
def test_every_answer_carries_the_security_headers(access: Access) -> None:
    names = ANYONE if access.password else LOCAL
    answers = [
        ask(access, names),
        ask(access, names, in_session()),
        ask(access, names, path="/nowhere", method="POST"),
        ask(access, names, [("origin", "null")]),
        ask(access, names, [("host", "a b")]),
    ]
    for answer in answers:
        said = dict(answer.headers)
        assert said["x-content-type-options"] == "nosniff"
        assert said["cross-origin-resource-policy"] == "same-origin"
        assert said["x-frame-options"] == "DENY"
        assert "frame-ancestors 'none'" in said["content-security-policy"]
        assert len([name for name, _ in answer.headers if name == "x-frame-options"]) == 1
    framed = dict(ask(access, SPACE, in_session()).headers)
    assert "https://huggingface.co" in framed["content-security-policy"]
    assert "x-frame-options" not in framed


def test_behind_a_proxy_with_a_path() -> None:
    gate = Gate(LOCKED, ANYONE, root_path="https://studio.example/lora/")
    gate.cookie, gate.tokens = COOKIE, {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await gate(scope, receive, send, inside)

    for path, status in (("/lora/", 200), ("/", 200), ("/lora/config", 401), ("/lora/gradio_api/x", 401)):
        assert asyncio.run(answer_to(app, Sent(path=path))).status == status


def test_an_upload_that_does_not_fit_on_the_disk_is_not_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    sent: dict[str, Any] = {"method": "POST", "path": UPLOAD, "chunks": [b"x"]}
    length = ("content-length", "1")
    assert ask(OPEN, LOCAL, [length], **sent).status != 507
    monkeypatch.setenv("LORA_STUDIO_KEEP_FREE_GB", "900000")
    refused = ask(OPEN, LOCAL, [length], **sent)
    assert (refused.status, refused.read) == (507, 0)
    assert b"This upload would take" in refused.body
    assert ask(OPEN, LOCAL, [length], method="POST", path=RUN, chunks=[b"x"]).status == INNER
    assert ask(OPEN, LOCAL, **{**sent, "chunks": [b"x" * 100] * 100}).status == 507


def test_an_upload_of_unknown_length_ends_when_the_disk_is_full(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setattr(request_bodies, "ROOM_STEP", 10_000)
    piece = b"x" * 1000

    def chunks() -> Iterator[bytes]:
        for number in range(100):
            if number == 50:
                monkeypatch.setenv("LORA_STUDIO_KEEP_FREE_GB", "900000")
            yield piece

    refused = ask(OPEN, LOCAL, path=UPLOAD, method="POST", chunks=chunks())
    assert refused.status == 507
    assert refused.read < 70 * len(piece)
