"""The Blocks of the page, and the checks that its endpoints need against hand-written requests."""

from __future__ import annotations

import inspect
import logging
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

from lora_studio.access.visitor import acting
from lora_studio.ui.client_input.audited_calls import deed_of, entry_of
from lora_studio.ui.client_input.fault_log import one_line

if TYPE_CHECKING:
    from lora_studio.store.people.audit_log import AuditLog
    from lora_studio.store.people.visitors import Visitors
    from lora_studio.ui.refresh import PageRefresh

logger = logging.getLogger(__name__)

MALFORMED = "The request could not be read. Reload the page, or see docs/api.md for what it takes."


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

    async def process_api(self, block_fn: BlockFunction | int, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Make a call, the endpoints' by whichever route and the page's own events alike, on behalf of
        who has logged in."""
        request = kwargs.get("request")
        one = request[0] if isinstance(request, list) and request else request
        with acting(self.visitors.of(getattr(one, "username", None))):
            deed = deed_of(str(getattr(block_fn, "name", "")))
            if not deed:
                return await self._answer(block_fn, *args, **kwargs)
            failure: BaseException | None = None
            try:
                return await self._answer(block_fn, *args, **kwargs)
            except BaseException as error:
                failure = error
                raise
            finally:
                inputs = args[0] if args else kwargs.get("inputs") or ()
                self.audit.add(entry_of(deed, inputs, one, failure))

    async def _answer(self, block_fn: BlockFunction | int, *args: Any, **kwargs: Any) -> dict[str, Any]:
        try:
            return await super().process_api(block_fn, *args, **kwargs)
        except gr.Error as error:
            error.print_exception = False  # Gradio's components say it to the client, which is enough
            raise
        except Exception as error:
            name = getattr(block_fn, "name", block_fn)
            logger.warning("a request for %s could not be read: %s", name, one_line(error))
            logger.debug("where", exc_info=True)
            raise gr.Error(MALFORMED, print_exception=False) from None

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
        traverse(inputs, _refuse_address, is_file_obj_with_meta)
        try:
            return list(await super().preprocess_data(block_fn, inputs, state, explicit_call))
        except InvalidPathError as error:
            message = "A file was not accepted. Upload it through the page or the client."
            raise gr.Error(message, print_exception=False) from error


def _refuse_address(file: dict[str, Any]) -> dict[str, Any]:
    if is_http_url_like(file["path"]):
        message = "A file was not accepted: nothing is fetched from an address. Upload the file itself."
        raise gr.Error(message, print_exception=False)
    return file
