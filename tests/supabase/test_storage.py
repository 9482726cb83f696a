"""Storage under the policies of our migrations, through real supabase-py; large files by tuspy.

What is expected was observed on the vendor's own Storage server (docs/supabase.md).
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from storage3 import SyncStorageClient
from storage3.exceptions import StorageApiError
from storage3.types import FileOptions
from tusclient import client as tus
from tusclient.exceptions import TusCommunicationError

from tests.support.supabase.clients import Clients, clients_of
from tests.support.supabase.databases import Postgres
from tests.support.supabase.server import Server

BYTES: FileOptions = {"content-type": "application/octet-stream"}
AGAIN: FileOptions = {**BYTES, "upsert": "true"}
CONTENT = bytes(range(256)) * 8


@pytest.fixture(scope="module")
def who(server: Server) -> Iterator[Clients]:
    with clients_of(server) as clients:
        yield clients


def storage(client: Any) -> SyncStorageClient:
    found: SyncStorageClient = client.storage
    return found


def refusal(work: Callable[[], Any]) -> tuple[str, str]:
    with pytest.raises(StorageApiError) as caught:
        work()
    return str(caught.value.status), str(caught.value.code)


@pytest.fixture
def mine(who: Clients, request: pytest.FixtureRequest) -> str:
    """The key of an object of the first user."""
    key = f"{who.user_id}/{request.node.name[:40].replace('[', '-').replace(']', '')}/lora.safetensors"
    storage(who.user).from_("loras").upload(key, CONTENT, BYTES)
    return key


def test_a_user_keeps_files_in_their_own_folder(who: Clients, mine: str) -> None:
    bucket = storage(who.user).from_("loras")
    assert bucket.download(mine) == CONTENT
    assert bucket.exists(mine)
    info = bucket.info(mine)
    assert (info["size"], info["content_type"]) == (len(CONTENT), "application/octet-stream")
    folder, _, name = mine.rpartition("/")
    assert [entry["name"] for entry in bucket.list(folder)] == [name]
    assert folder.split("/")[1] in [
        entry["name"] for entry in bucket.list(str(who.user_id)) if entry["id"] is None
    ]
    bucket.upload(mine, b"new", AGAIN)
    assert bucket.download(mine) == b"new"
    assert [row["name"] for row in bucket.remove([mine, f"{mine}.never"])] == [mine]
    assert not bucket.exists(mine)


def test_what_is_there_is_not_overwritten_by_chance(who: Clients, mine: str) -> None:
    bucket = storage(who.user).from_("loras")
    assert refusal(lambda: bucket.upload(mine, b"new", BYTES)) == ("409", "Duplicate")
    assert bucket.download(mine) == CONTENT


def test_another_user_gets_nowhere_near_it(who: Clients, mine: str) -> None:
    theirs = storage(who.other).from_("loras")
    assert refusal(lambda: theirs.download(mine)) == ("404", "not_found")
    assert refusal(lambda: theirs.info(mine)) == ("404", "not_found")
    assert refusal(lambda: theirs.create_signed_url(mine, 60)) == ("404", "not_found")
    assert refusal(lambda: theirs.upload(f"{who.user_id}/x", b"x", BYTES)) == ("403", "Unauthorized")
    assert refusal(lambda: theirs.upload(mine, b"x", AGAIN)) == ("403", "Unauthorized")
    assert theirs.list(mine.rpartition("/")[0]) == []
    assert theirs.remove([mine]) == []
    assert storage(who.user).from_("loras").download(mine) == CONTENT


def test_anon_gets_nothing(who: Clients, mine: str) -> None:
    bucket = storage(who.anon).from_("loras")
    assert refusal(lambda: bucket.download(mine)) == ("404", "not_found")
    assert refusal(lambda: bucket.upload("x/y", b"x", BYTES)) == ("403", "Unauthorized")
    assert bucket.list("") == []
    assert bucket.remove([mine]) == []


def test_the_service_reads_and_writes_everywhere(who: Clients, mine: str) -> None:
    bucket = storage(who.service).from_("loras")
    assert bucket.download(mine) == CONTENT
    bucket.upload("team/lora.safetensors", CONTENT, AGAIN)
    assert {bucket.id for bucket in storage(who.service).list_buckets()} == {"images", "loras"}
    assert not storage(who.service).get_bucket("loras").public


@pytest.mark.parametrize(
    ("bucket", "name", "kind", "size", "expected"),
    [
        ("images", "a.png", "text/html", 10, ("415", "invalid_mime_type")),
        ("loras", "a.safetensors", "image/png", 10, ("415", "invalid_mime_type")),
        ("images", "a.png", "image/png", 20 * 1024 * 1024 + 1, ("413", "Payload too large")),
        ("loras", "draché.safetensors", "application/octet-stream", 10, ("400", "InvalidKey")),
        ("dragons", "a", "application/octet-stream", 10, ("404", "Bucket not found")),
    ],
)
def test_a_bucket_takes_what_it_is_for(
    who: Clients, bucket: str, name: str, kind: str, size: int, expected: tuple[str, str]
) -> None:
    place = storage(who.user).from_(bucket)
    assert (
        refusal(lambda: place.upload(f"{who.user_id}/{name}", bytes(size), {"content-type": kind}))
        == expected
    )


def test_a_signed_address_needs_no_key_and_gives_parts(who: Clients, mine: str) -> None:
    address = storage(who.user).from_("loras").create_signed_url(mine, 60)["signedURL"]
    assert httpx.get(address).content == CONTENT
    part = httpx.get(address, headers={"Range": "bytes=3-6"})
    assert (part.status_code, part.content) == (206, CONTENT[3:7])
    assert httpx.get(address[:-2]).json()["error"] == "InvalidJWT"
    ended = storage(who.user).from_("loras").create_signed_url(mine, -1)["signedURL"]
    assert httpx.get(ended).json()["statusCode"] == "400"


def test_an_error_has_its_true_status_in_its_body(who: Clients, server: Server) -> None:
    """Who looks at the HTTP status alone takes every refusal for a bad request."""
    token = server.keys.token(str(who.user_id), "x@example.org")
    headers = {"apikey": server.anon_key, "Authorization": f"Bearer {token}"}
    answer = httpx.get(f"{server.url}/storage/v1/object/loras/nothing", headers=headers)
    assert answer.status_code == 400
    assert answer.json() == {"statusCode": "404", "error": "not_found", "message": "Object not found"}


def uploader(server: Server, token: str, key: str, content: bytes, **more: Any) -> Any:
    headers = {"Authorization": f"Bearer {token}", "apikey": server.anon_key, "x-upsert": "true"}
    there = tus.TusClient(f"{server.url}/storage/v1/upload/resumable", headers=headers)
    metadata = {"bucketName": "loras", "objectName": key, "contentType": "application/octet-stream"}
    return there.uploader(file_stream=io.BytesIO(content), chunk_size=1024, metadata=metadata, **more)


def test_a_large_file_goes_on_where_it_stopped(server: Server) -> None:
    user = server.user("resumes@example.org")
    key = f"{user.id}/large.safetensors"
    begun = uploader(server, user.token, key, CONTENT)
    begun.upload_chunk()
    server.stop()
    with pytest.raises(TusCommunicationError):
        begun.upload_chunk()
    server.start()
    resumed = uploader(server, user.token, key, CONTENT, url=begun.url)
    assert resumed.offset == 1024, "the server knows how far it was"
    resumed.upload()
    with ExitStack() as stack:
        client = Clients(server, stack).with_key(server.anon_key, user.token)
        assert storage(client).from_("loras").download(key) == CONTENT


def test_a_resumable_upload_is_asked_the_same_things_and_answers_in_plain_text(server: Server) -> None:
    user, other = server.user("one@example.org"), server.user("two@example.org")
    begun = uploader(server, user.token, f"{user.id}/a", CONTENT)
    begun.upload_chunk()

    def told(method: str, url: str, token: str, **headers: str) -> tuple[int, str]:
        who = {"Authorization": f"Bearer {token}", "apikey": server.anon_key}
        answer = httpx.request(method, url, headers={**who, **headers})
        assert answer.headers["content-type"].startswith("text/plain")
        return answer.status_code, answer.text.strip()

    here = f"{server.url}/storage/v1/upload/resumable"

    def start(key: str, length: int) -> tuple[int, str]:
        named = f"bucketName {encoded('loras')},objectName {encoded(key)}"
        return told("POST", here, user.token, **{"Upload-Length": str(length), "Upload-Metadata": named})

    refused = "new row violates row-level security policy"
    assert start(f"{other.id}/a", 10)[0] == 403
    assert start(f"{user.id}/é", 10) == (400, f"Invalid key: {user.id}/é")
    assert start(f"{user.id}/b", 60 << 20) == (413, "Maximum size exceeded")
    assert told("PATCH", begun.url, other.token, **{"Upload-Offset": "1024"})[1].startswith(refused)
    assert told("PATCH", begun.url, user.token, **{"Upload-Offset": "7"}) == (409, "Upload-Offset conflict")
    assert told("PATCH", f"{here}/nothing", user.token, **{"Upload-Offset": "0"})[0] == 404


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_an_outage_leaves_what_was_there(server: Server, postgres: Postgres, mine: str) -> None:
    url = server.url
    server.stop()
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)
    server.start()
    assert server.url == url
    with postgres.connect() as connection:
        assert connection.execute("select 1 from storage.objects where name = %s", (mine,)).fetchone() == (1,)
