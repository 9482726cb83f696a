"""The Blocks of the page, and the checks that its endpoints need against hand-written requests."""

from __future__ import annotations

import copy
import inspect
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.block_function import BlockFunction
from gradio.exceptions import InvalidPathError
from gradio.routes import App
from gradio.state_holder import SessionState
from gradio_client.utils import (  # type: ignore[import-untyped]
    is_file_obj_with_meta,
    is_http_url_like,
    traverse,
)

from lora_studio.access.visitor import acting, visitor
from lora_studio.ui.client_input.audited_calls import deed_of, entry_of
from lora_studio.ui.client_input.fault_log import one_line
from lora_studio.ui.client_input.upload_owners import claim_files, sees_upload
from lora_studio.ui.languages.language import ENGLISH, asked_language, language, speaking
from lora_studio.ui.languages.translated_props import translated_answer, translated_config
from lora_studio.ui.languages.translation import (
    present_table,
    translate_messages,
    translated,
    translated_message,
)
from lora_studio.ui.page_config import lighten
from lora_studio.ui.session_state import PageComponents

if TYPE_CHECKING:
    from lora_studio.store.people.audit_log import AuditLog
    from lora_studio.store.people.visitors import Visitors
    from lora_studio.ui.client_input.session_owners import SessionOwners
    from lora_studio.ui.refresh import PageRefresh

logger = logging.getLogger(__name__)

QUEUE_SECONDS, PROGRESS_SECONDS = 0.05, 0.1
"""Seconds between two looks of Gradio's queue for a call that waits, and for progress to send. Those that
Gradio takes on Windows."""
MALFORMED = "The request could not be read. Reload the page, or see docs/api.md for what it takes."

NOT_ACCEPTED = "A file was not accepted. Upload it through the page or the client."
NOT_THEIRS = "This session is somebody else's. Reload the page."


class Page(gr.Blocks):
    """The page. A hand-written request may leave out values at its end: they take their defaults, as with
    Gradio's clients, and a missing value without a default is named. A path of this machine in the place of
    an upload is refused; to both, Gradio itself answers an error without words (6.31). An address is refused
    too, which Gradio would fetch into memory and onto the disk, however large. A failure of Gradio at a
    client's data is one line of the log; our own errors are caught by `validate.guarded` before. `refresh`
    keeps the page up to date."""

    refresh: PageRefresh
    visitors: Visitors
    audit: AuditLog
    sessions: SessionOwners
    uploads: Path

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.default_config = PageComponents(self)

    async def process_api(self, block_fn: BlockFunction | int, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Make a call, the endpoints' by any route and the page's own alike, for who has logged in."""
        request = kwargs.get("request")
        one = request[0] if isinstance(request, list) and request else request
        with acting(self.visitors.of(getattr(one, "username", None))), speaking(_language_of(block_fn, one)):
            if not self._is_theirs(kwargs.get("session_hash")):
                raise gr.Error(translated(NOT_THEIRS), print_exception=False)
            event = kwargs.get("event_data")
            deed = deed_of(str(getattr(block_fn, "name", "")), event)
            if deed is None:
                return await self._owned_answer(block_fn, *args, **kwargs)
            failure: BaseException | None = None
            try:
                return await self._owned_answer(block_fn, *args, **kwargs)
            except BaseException as error:
                failure = error
                raise
            finally:
                inputs = args[0] if args else kwargs.get("inputs") or ()
                self.audit.add(entry_of(deed, inputs, event, one, failure))

    async def _owned_answer(self, block_fn: BlockFunction | int, *args: Any, **kwargs: Any) -> dict[str, Any]:
        output = await self._answer(block_fn, *args, **kwargs)
        if not visitor().sees_all:
            traverse(output.get("data"), self._claim_file, is_file_obj_with_meta)
        return output

    def _is_theirs(self, session: str | None) -> bool:
        if self.visitors.is_open or not session:
            return True
        return self.sessions.take(f"session {session}", visitor().name)

    def _claim_file(self, file: dict[str, Any]) -> dict[str, Any]:
        """Record whose a file is that Gradio has copied for an answer."""
        claim_files([file.get("path")], visitor(), self.uploads)
        return file

    def _refuse_file(self, file: dict[str, Any]) -> dict[str, Any]:
        if is_http_url_like(file["path"]):
            message = "A file was not accepted: nothing is fetched from an address. Upload the file itself."
            raise gr.Error(message, print_exception=False)
        if not visitor().sees_all and not sees_upload(file["path"], visitor(), self.uploads):
            raise gr.Error(NOT_ACCEPTED, print_exception=False)
        return file

    def queue(self, *args: Any, **kwargs: Any) -> gr.Blocks:
        """Make the queue, as Gradio does; it asks whose a session is before it takes a call, and looks less
        often whether there is anything to do: 100 to 1,000 times a second takes a twelfth of a core from a
        machine that nobody uses (6.31)."""
        made = super().queue(*args, **kwargs)
        translate_messages(self._queue)
        self._queue.sleep_when_free = QUEUE_SECONDS
        self._queue.progress_update_sleep_when_free = PROGRESS_SECONDS
        push = self._queue.push

        async def take(body: Any, request: Any, username: str | None) -> Any:
            with acting(self.visitors.of(username)):
                if not self._is_theirs(body.session_hash):
                    return False, NOT_THEIRS, "error"
                success, event, state = await push(body, request, username)
                if success and not self.visitors.is_open:
                    self.sessions.take(f"event {event}", visitor().name)
                    self.sessions.take(f"session {body.session_hash}", visitor().name)
                return success, event, state

        self._queue.push = take  # type: ignore[method-assign]
        return made

    async def _answer(self, block_fn: BlockFunction | int, *args: Any, **kwargs: Any) -> dict[str, Any]:
        try:
            return await super().process_api(block_fn, *args, **kwargs)
        except gr.Error as error:
            error.print_exception = False  # Gradio's components say it to the client, which is enough
            error.message, error.title = translated_message(error.message), translated(error.title)
            raise
        except Exception as error:
            name = getattr(block_fn, "name", block_fn)
            logger.warning("a request for %s could not be read: %s", name, one_line(error))
            logger.debug("where", exc_info=True)
            raise gr.Error(translated(MALFORMED), print_exception=False) from None

    @property
    def config(self) -> Any:
        """Gradio's description of the page, in the language that is answered in."""
        table = present_table()
        if table is None:
            return self._english
        if language() not in self._translations:
            self._translations[language()] = translated_config(self._english, table)
        return self._translations[language()]

    @config.setter
    def config(self, config: Any) -> None:
        lighten(config)
        self._english, self._translations = config, dict[str, Any]()

    def without_server(self) -> App:
        """The app that answers requests, for callers without a port."""
        return App.create_app(self)

    def validate_inputs(self, block_fn: BlockFunction, inputs: list[Any]) -> None:
        if len(inputs) < len(block_fn.inputs) and block_fn.fn and block_fn.api_visibility == "public":
            wanted = list(inspect.signature(block_fn.fn).parameters.values())[len(inputs) :]
            if needed := [value.name for value in wanted if value.default is value.empty]:
                message = f"{block_fn.name}: {', '.join(needed)} must be given, in the order of docs/api.md."
                raise gr.Error(message, print_exception=False)
            inputs.extend(value.default for value in wanted)
        super().validate_inputs(block_fn, inputs)

    async def preprocess_data(
        self,
        block_fn: BlockFunction,
        inputs: list[Any],
        state: SessionState | None,
        explicit_call: bool = False,
    ) -> list[Any]:
        traverse(inputs, self._refuse_file, _names_a_file)
        try:
            return list(await super().preprocess_data(block_fn, inputs, state, explicit_call))
        except InvalidPathError as error:
            raise gr.Error(NOT_ACCEPTED, print_exception=False) from error

    async def postprocess_data(
        self, block_fn: BlockFunction, predictions: list[Any] | dict[Any, Any], state: SessionState | None
    ) -> list[Any]:
        """Gradio makes a new component of each update, also where a handler says nothing of an output (6.31):
        those stay out of it. The new ones get the ids of those that they stand for: under a new id the next
        input would be kept for as long as the page is open."""
        outputs = block_fn.outputs
        if isinstance(predictions, dict) and predictions and all(part in outputs for part in predictions):
            block_fn = copy.copy(block_fn)
            block_fn.outputs = [part for part in outputs if part in predictions]
            predictions = [predictions[part] for part in block_fn.outputs]
            if len(predictions) == 1:
                (predictions,) = predictions
        answers = iter(await super().postprocess_data(block_fn, predictions, state))
        if state is not None:
            for block in block_fn.outputs:
                if not block.stateful and (standing := state.get(block._id)) is not None:
                    standing._id = block._id
        numbers = {block._id for block in block_fn.outputs}
        made = [next(answers) if block._id in numbers else gr.skip() for block in outputs]
        table = present_table()
        return translated_answer(outputs, made, table) if table else made


def _language_of(block_fn: BlockFunction | int, request: Any) -> str:
    """The language of a call: English for programs, of the page's own events that of the page."""
    is_public = getattr(block_fn, "api_visibility", "public") == "public"
    return ENGLISH if is_public else asked_language(getattr(request, "headers", None) or {})


def _names_a_file(given: Any) -> bool:
    """Whether Gradio may take a value for a file, with its marker or without."""
    return isinstance(given, dict) and isinstance(given.get("path"), str)
