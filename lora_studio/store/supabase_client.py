"""The client of the Supabase project: supabase-py over an HTTP client of our own. The only module that
imports supabase.

Every failure leaves as one of `supabase_errors.py`, in our words. Texts from outside are stripped of the key,
the token and the password before anybody may see them.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lora_studio.errors import MirrorError
from lora_studio.parsing.secret_text import without_secrets
from lora_studio.settings import Settings
from lora_studio.store.supabase_errors import (
    ExpiredToken,
    NotAllowed,
    Refused,
    Unreachable,
    fault_of,
    seconds_of,
)

if TYPE_CHECKING:
    import httpx

Result = TypeVar("Result")
Row = Mapping[str, Any]

SECONDS, CONNECT_SECONDS, FILE_SECONDS = 5.0, 2.0, 60.0
EARLY_SECONDS = 60.0
"""Seconds before its end that a token is renewed."""
BLOCK = 1 << 20


class Supabase:
    """One project, one user. Makes no request before one is needed; safe to share between threads.
    `transport` stands below the real client, for tests. Raises MirrorError, see `supabase_errors.py`."""

    def __init__(self, settings: Settings, *, transport: httpx.BaseTransport | None = None) -> None:
        self._settings, self._transport = settings, transport
        self._lock = threading.RLock()
        self._connected: tuple[Any, httpx.Client] | None = None
        self._token, self._expires_at, self._user = "", 0.0, ""

    @property
    def url(self) -> str:
        return self._settings.supabase_url.rstrip("/")

    def user_id(self) -> str:
        """The id of the account that is signed in; empty with a secret key."""
        with self._faults():
            self._sign_in()
        return self._user

    def upsert(
        self, table: str, rows: Sequence[Row], *, on_conflict: str = "id", ignore: bool = False
    ) -> None:
        """Write rows that all have the same columns. With `ignore`, existing rows stay as they are."""

        def send(client: Any) -> Any:
            from postgrest.types import ReturnMethod

            query = client.table(table).upsert(
                list(rows), on_conflict=on_conflict, ignore_duplicates=ignore, returning=ReturnMethod.minimal
            )
            return query.execute()

        self._rows(send)

    def select(
        self, table: str, columns: str = "*", *, order: str = "", limit: int = 1000, **where: Any
    ) -> list[dict[str, Any]]:
        """Rows whose columns equal `where` (also `column__neq`, `column__not_null`), newest first."""

        def send(client: Any) -> Any:
            query = _where(client.table(table).select(columns), where)
            return (query.order(order, desc=True) if order else query).limit(limit).execute()

        return self._rows(send)

    def update(self, table: str, values: Row, **where: Any) -> None:
        self._rows(lambda client: _where(client.table(table).update(dict(values)), where).execute())

    def delete(self, table: str, **where: Any) -> None:
        self._rows(lambda client: _where(client.table(table).delete(), where).execute())

    def call(self, function: str, **arguments: Any) -> Any:
        """Call a function of the project's database."""
        return self._call(lambda client: client.rpc(function, arguments).execute().data)

    def upload(self, bucket: str, path: str, file: Path, kind: str) -> None:
        """Send a small file in one request; an existing one is replaced. `kind` is its MIME type."""
        options = {"content-type": kind, "upsert": "true"}
        self._call(lambda client: client.storage.from_(bucket).upload(path, file, options))

    def download(self, bucket: str, path: str) -> Iterator[bytes]:
        """The blocks of a file, as they come."""
        url = f"{self.url}/storage/v1/object/{bucket}/{path}"
        with self._faults():
            client = self._client()[1]
            with client.stream("GET", url, timeout=FILE_SECONDS) as answer:
                yield from answer.iter_bytes(BLOCK)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request that supabase-py has no method for, alike; `options` go to httpx."""
        url = path if path.startswith("http") else f"{self.url}{path}"
        if not url.startswith(f"{self.url}/"):  # the key goes nowhere else
            raise Refused("The server named an address outside of the project.")
        options.setdefault("timeout", FILE_SECONDS)
        with self._faults():
            return self._client()[1].request(method, url, **options)

    def close(self) -> None:
        with self._lock:
            if self._connected is not None:
                self._connected[1].close()
            self._connected = None

    def _rows(self, send: Callable[[Any], Any]) -> list[dict[str, Any]]:
        rows = self._call(lambda client: send(client).data)
        if not isinstance(rows, list):  # a captive portal's page, with status 200
            raise Unreachable("Something that is not Supabase answered.")
        return rows

    def _call(self, send: Callable[[Any], Result]) -> Result:
        with self._faults():
            try:
                return send(self._client()[0])
            except ExpiredToken:
                if not self._token:
                    raise
                self._expires_at = 0.0
                return send(self._client()[0])

    def _client(self) -> tuple[Any, httpx.Client]:
        with self._lock:
            if self._connected is None:
                self._connected = self._connect()
            if self._expires_at < time.time() + EARLY_SECONDS:
                self._sign_in()
            return self._connected

    def _connect(self) -> tuple[Any, httpx.Client]:
        import httpx
        from supabase import ClientOptions, create_client

        http = httpx.Client(
            timeout=httpx.Timeout(SECONDS, connect=CONNECT_SECONDS),
            http2=False,
            follow_redirects=False,
            transport=self._transport,
            event_hooks={"request": [self._sign], "response": [_check]},
        )
        options = ClientOptions(
            httpx_client=http, postgrest_client_retry=False, auto_refresh_token=False, persist_session=False
        )
        return create_client(self.url, self._settings.supabase_key, options=options), http

    def _sign(self, request: httpx.Request) -> None:
        request.headers["apikey"] = self._settings.supabase_key
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        elif "Authorization" not in request.headers:
            request.headers["Authorization"] = f"Bearer {self._settings.supabase_key}"

    def _sign_in(self) -> None:
        """Get the account's token; the key alone needs none."""
        with self._lock:
            settings = self._settings
            if not settings.supabase_email or self._expires_at > time.time() + EARLY_SECONDS:
                return
            if self._connected is None:
                self._connected = self._connect()
            self._token = ""
            who = {"email": settings.supabase_email, "password": settings.supabase_password}
            url = f"{self.url}/auth/v1/token?grant_type=password"
            try:
                given = self._connected[1].post(url, json=who).json()
            except Unreachable:
                raise
            except MirrorError as error:
                raise NotAllowed(
                    f"The sign-in to Supabase failed: {error.message}",
                    "Check SUPABASE_EMAIL and SUPABASE_PASSWORD.",
                ) from None
            self._token, self._user = str(given["access_token"]), str(given["user"]["id"])
            self._expires_at = time.time() + float(given.get("expires_in") or 3600)

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        """Translate exceptions of the libraries; odd answers make supabase-py raise all kinds of things."""
        import httpx
        from postgrest.exceptions import APIError
        from storage3.exceptions import StorageException
        from supabase import SupabaseException

        try:
            yield
        except MirrorError as error:
            error.message, error.hint = (
                self._without_secrets(error.message),
                self._without_secrets(error.hint),
            )
            error.args = (error.message,)
            raise
        except httpx.TimeoutException as error:
            raise Unreachable("Supabase does not answer in time.") from error
        except httpx.InvalidURL as error:
            raise NotAllowed(
                "SUPABASE_URL is no address.", "It looks like https://abc.supabase.co."
            ) from error
        except httpx.HTTPError as error:
            raise Unreachable(
                self._without_secrets(f"Supabase can't be reached: {_short(error)}.")
            ) from error
        except SupabaseException as error:
            reason = self._without_secrets(_short(error))
            raise NotAllowed(
                f"Supabase is not set up: {reason}.", "Check SUPABASE_URL and SUPABASE_KEY."
            ) from None
        except (APIError, StorageException, ValueError, LookupError, TypeError, AttributeError) as error:
            reason = self._without_secrets(_short(error))
            raise Unreachable(f"Supabase gave an answer that makes no sense: {reason}.") from None

    def _without_secrets(self, text: str) -> str:
        return without_secrets(
            text, (self._settings.supabase_key, self._settings.supabase_password, self._token)
        )


def _check(answer: httpx.Response) -> None:
    """Raise for answers not Supabase's, while status and headers are there: supabase-py loses both."""
    if answer.is_redirect:
        raise Unreachable("Something that is not Supabase answered.")
    kind = answer.headers.get("content-type", "")
    of_rows = "/rest/v1/" in str(answer.url)
    if answer.is_success:
        if of_rows and "html" in kind:  # a captive portal's page
            raise Unreachable("Something that is not Supabase answered.")
        return
    answer.read()
    try:
        body = answer.json()
    except ValueError:
        body = None
    after = seconds_of(answer.headers.get("retry-after", ""))
    status, storage = answer.status_code, "/storage/v1/" in str(answer.url)
    if body is None and storage and "html" not in kind:  # resumable uploads answer in plain text
        body = {"message": answer.text}
    if body is None and status not in (401, 403):  # a gateway's page
        raise Unreachable(f"Supabase can't be reached: status {status}.", retry_after=after)
    fault = fault_of(status, body, retry_after=after, storage=storage)
    if "/auth/v1/" in str(answer.url) and status < 500 and not after:
        raise NotAllowed(fault.message)
    raise fault


def _where(query: Any, where: Mapping[str, Any]) -> Any:
    for name, value in where.items():
        column, _, how = name.partition("__")
        match how:
            case "":
                query = query.eq(column, value)
            case "neq":
                query = query.neq(column, value)
            case "not_null":
                query = query.not_.is_(column, "null")
            case _:
                raise ValueError(f"unknown comparison {how}")
    return query


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
