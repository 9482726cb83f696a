"""Downloads from a server on this machine, which a resolver of the test gives names of the internet to."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lora_studio.downloads.checked_network import Refused, Web
from lora_studio.downloads.web_download import Limits, WebDownload
from lora_studio.errors import DiskFull, StudioError
from lora_studio.events import Event, PhaseAdvanced
from lora_studio.settings import Settings
from tests.support.file_server import HOST, LOCAL, Answer, FileServer, serve_files
from tests.support.waiting import until

BODY = b"file" * 40_000


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serve_files() as serving:
        serving.answers["/a.safetensors"] = Answer(body=(BODY,))
        yield serving


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where the files go; only whole ones are left in it."""
    place = tmp_path / "fetched"
    yield place
    assert all(path.read_bytes() == BODY for path in place.glob("**/*"))


def download(server: FileServer, settings: Settings, **more: object) -> WebDownload:
    values: dict[str, object] = {"check": lambda start: None, "settings": settings, "web": server.web()}
    return WebDownload(**{**values, **more})  # type: ignore[arg-type]


def test_a_file_arrives_with_its_progress(server: FileServer, settings: Settings, folder: Path) -> None:
    events: list[Event] = []
    path = download(server, settings).fetch(server.url("/a.safetensors"), folder, events.append)
    assert path == folder / "a.safetensors"
    assert path.read_bytes() == BODY
    assert {event.phase for event in events if isinstance(event, PhaseAdvanced)} == {"download"}
    assert isinstance(last := events[-1], PhaseAdvanced)
    assert (last.done, last.total, last.note) == (len(BODY), len(BODY), "a.safetensors")


def test_names_are_looked_up_once(server: FileServer, settings: Settings, folder: Path) -> None:
    """A name that is bound anew between the check and the connection (DNS rebinding) has no second turn."""
    answers = iter([[LOCAL], ["10.0.0.1"]])
    web = server.web(resolve=lambda host, port: next(answers))
    path = download(server, settings, web=web).fetch(server.url("/a.safetensors"), folder)
    assert path
    assert path.read_bytes() == BODY
    assert server.asked[0][1]["host"] == f"{HOST}:{server.port}"
    assert next(answers) == ["10.0.0.1"]


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["10.1.2.3"], ["169.254.169.254"], ["::1"], ["::ffff:127.0.0.1"], ["0.0.0.0"]],
)
@pytest.mark.parametrize("beside", [[], ["8.8.8.8"]])
def test_names_of_the_inside_are_refused_before_anything_is_sent(
    server: FileServer, settings: Settings, folder: Path, addresses: list[str], beside: list[str]
) -> None:
    web = Web(schemes=frozenset({"http"}), resolve=lambda host, port: [*beside, *addresses])
    with pytest.raises(Refused, match="private network"):
        download(server, settings, web=web).fetch(server.url("/a.safetensors"), folder)
    assert not server.asked


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "127.1", "2130706433"),
        *("0x7f.1", "0177.0.0.1", "[::]", "[0:0:0:0:0:ffff:7f00:1]", "①②⑦.⓪.⓪.①"),
    ],
)
def test_the_systems_own_names_of_this_machine_are_refused(
    server: FileServer, settings: Settings, folder: Path, host: str
) -> None:
    """With the real resolver, which knows more spellings of 127.0.0.1 than any list."""
    web = Web(schemes=frozenset({"http"}))
    with pytest.raises(StudioError) as caught:
        download(server, settings, web=web).fetch(server.url("/a.safetensors", host=host), folder)
    assert isinstance(caught.value, Refused) or "can't be reached" in caught.value.message
    assert not server.asked


def test_a_public_address_of_this_machine_is_refused(
    server: FileServer, settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server in a data centre has a public address itself: connections from it to it come from itself."""
    monkeypatch.setattr("lora_studio.downloads.checked_network.is_public", lambda address: True)
    with pytest.raises(Refused, match="is this machine"):
        download(server, settings, web=server.web(inside=frozenset())).fetch(
            server.url("/a.safetensors"), folder
        )
    assert not server.asked


def test_redirects_are_followed(server: FileServer, settings: Settings, folder: Path) -> None:
    server.names["other.example"] = [LOCAL]
    elsewhere = server.url("/a.safetensors", host="other.example")
    for number, target in enumerate(["/1", "2", elsewhere]):
        server.answers[f"/{number}"] = Answer(status=302, headers={"Location": target})
    path = download(server, settings).fetch(server.url("/0"), folder)
    assert path
    assert path.read_bytes() == BODY
    assert server.lookups == [HOST, HOST, HOST, "other.example"]


@pytest.mark.parametrize(
    "target",
    [
        *("http://inside.example/", "http://127.0.0.2:1/", "http://[::1]/", "https://localhost/x"),
        *("ftp://files.example/x", "file:///etc/passwd", "http://a:b@files.example/x", "//inside.example/x"),
        *("gopher://files.example/", "http://", ""),
    ],
)
def test_redirects_are_checked_like_addresses(
    server: FileServer, settings: Settings, folder: Path, target: str
) -> None:
    server.names |= {"inside.example": ["192.168.0.1"], "127.0.0.2": ["127.0.0.2"]}
    server.names |= {"::1": ["::1"], "localhost": ["127.0.0.2"]}
    server.answers["/away"] = Answer(status=302, headers={"Location": target})
    with pytest.raises(Refused):
        download(server, settings).fetch(server.url("/away"), folder)
    assert {path for path, _ in server.asked} == {"/away"}


def test_redirects_have_an_end(server: FileServer, settings: Settings, folder: Path) -> None:
    server.answers["/round"] = Answer(status=307, headers={"Location": "/round"})
    with pytest.raises(Refused, match="redirects"):
        download(server, settings).fetch(server.url("/round"), folder)
    assert len(server.asked) == 6


def test_plain_http_is_refused_by_default(server: FileServer, settings: Settings, folder: Path) -> None:
    with pytest.raises(Refused, match="https"):
        download(server, settings, web=Web()).fetch(server.url("/a.safetensors"), folder)


@pytest.mark.parametrize("length", [-1, None], ids=["said", "not said"])
def test_large_files_end_at_the_limit(
    server: FileServer, settings: Settings, folder: Path, length: int | None
) -> None:
    server.answers["/large"] = Answer(body=(b"x" * 5000,) * 10, length=length)
    small = download(server, settings, limits=Limits(most_bytes=20_000))
    with pytest.raises(StudioError, match="larger than"):
        small.fetch(server.url("/large"), folder)


def test_a_file_that_lies_about_its_size_is_no_file(
    server: FileServer, settings: Settings, folder: Path
) -> None:
    server.answers["/short"] = Answer(body=(b"x" * 500,), length=1000)
    with pytest.raises(StudioError, match="broke off"):
        download(server, settings).fetch(server.url("/short"), folder)


def test_a_file_that_is_refused_by_its_start_is_not_fetched(
    server: FileServer, settings: Settings, folder: Path
) -> None:
    hold = threading.Event()
    server.answers["/page"] = Answer(body=(b"<html>" + b"x" * 100, b"y" * 100), hold=hold)

    def check(start: bytes) -> None:
        assert start.startswith(b"<html>")
        raise StudioError("a page")

    with pytest.raises(StudioError, match="a page"):
        download(server, settings, check=check).fetch(server.url("/page"), folder)
    assert not hold.is_set()


def test_a_stop_is_heard_while_the_server_is_silent(
    server: FileServer, settings: Settings, folder: Path
) -> None:
    stop = threading.Event()
    server.answers["/slow"] = Answer(body=(b"x" * 4096, b"y"), hold=threading.Event())
    results: list[Path | None] = []
    fetching = threading.Thread(
        target=lambda: results.append(
            download(server, settings).fetch(server.url("/slow"), folder, should_stop=stop.is_set)
        )
    )
    fetching.start()
    until(lambda: bool(server.asked))
    stop.set()
    fetching.join(60)
    assert results == [None]


def test_the_time_of_the_whole_is_limited(server: FileServer, settings: Settings, folder: Path) -> None:
    server.answers["/slow"] = Answer(body=(b"x" * 4096, b"y"), hold=threading.Event())
    with pytest.raises(StudioError, match="did not come within"):
        download(server, settings, limits=Limits(seconds=1.0)).fetch(server.url("/slow"), folder)


HINT = b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n"


def test_headers_without_end_have_one(server: FileServer, settings: Settings, folder: Path) -> None:
    """Answers before the answer, of which HTTP allows any number, are no part of the file."""
    server.answers["/hints"] = Answer(endless=HINT * 1000)
    with pytest.raises(StudioError, match="larger than"):
        download(server, settings, limits=Limits(most_bytes=20_000)).fetch(server.url("/hints"), folder)


@pytest.mark.parametrize("drop", [HINT, b"x"], ids=["hints", "bytes"])
def test_a_server_that_drips_keeps_nobody_waiting(
    server: FileServer, settings: Settings, folder: Path, drop: bytes
) -> None:
    server.answers["/drip"] = Answer(endless=drop, pause=0.05)
    with pytest.raises(StudioError, match="hardly anything"):
        download(server, settings, limits=Limits(least_seconds=0.5)).fetch(server.url("/drip"), folder)


@pytest.mark.parametrize("status", [401, 403, 404, 410, 418, 500, 204])
def test_answers_without_a_file_are_sentences(
    server: FileServer, settings: Settings, folder: Path, status: int
) -> None:
    server.answers["/no?key=secret"] = Answer(status=status, length=None if status == 204 else -1)
    with pytest.raises(StudioError) as caught:
        download(server, settings).fetch(server.url("/no?key=secret"), folder)
    assert str(status) in caught.value.message
    assert "secret" not in str(caught.value)


def test_packed_files_and_a_full_disk_are_refused(
    server: FileServer, settings: Settings, folder: Path
) -> None:
    server.answers["/packed"] = Answer(body=(b"x",), headers={"Content-Encoding": "gzip"})
    with pytest.raises(StudioError, match="packed"):
        download(server, settings).fetch(server.url("/packed"), folder)
    full = replace(settings, keep_free_gb=900_000.0)
    with pytest.raises(DiskFull):
        download(server, full).fetch(server.url("/a.safetensors"), folder)


def test_proxies_of_the_environment_are_not_asked(
    server: FileServer, settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy looks names up itself, unchecked."""
    with socket.socket() as nobody:
        nobody.bind((LOCAL, 0))
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://{LOCAL}:{nobody.getsockname()[1]}")
        assert download(server, settings).fetch(server.url("/a.safetensors"), folder)


def test_a_server_that_is_away_is_a_sentence(server: FileServer, settings: Settings, folder: Path) -> None:
    for link in ("http://nobody.example/x", f"http://{HOST}:1/x"):
        with pytest.raises(StudioError, match="can't be reached"):
            download(server, settings).fetch(link, folder)


def test_certificates_are_checked_by_name(settings: Settings, tmp_path: Path, folder: Path) -> None:
    certificate = write_certificate(tmp_path / "cert.pem", HOST)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate)
    trust = ssl.create_default_context(cafile=str(certificate))
    with serve_files(serving) as server:
        server.answers["/a.safetensors"] = Answer(body=(BODY,))
        server.names["other.example"] = [LOCAL]
        assert download(server, settings, web=server.web(trust=trust)).fetch(
            server.url("/a.safetensors", scheme="https"), folder
        )
        for host, web in (("other.example", server.web(trust=trust)), (HOST, server.web())):
            with pytest.raises(StudioError, match="certificate"):
                download(server, settings, web=web).fetch(
                    server.url("/a.safetensors", host=host, scheme="https"), folder
                )


def write_certificate(path: Path, host: str) -> Path:
    """A certificate that signs itself, with its key."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path
