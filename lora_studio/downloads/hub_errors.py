"""Errors of the Hugging Face Hub's own library, in one sentence each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lora_studio.errors import ConfigError, StudioError

LOG_IN = (
    "Log in with `hf auth login`, or set HF_TOKEN to a token that may write (huggingface.co/settings/tokens)."
)


@contextmanager
def hub_errors(name: str, what: str = "Space") -> Iterator[None]:
    """Turn the Hub's errors at a Space or a model of this name into one sentence. Raises StudioError."""
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalTokenNotFoundError,
        OfflineModeIsEnabled,
    )

    # The errors of its HTTP library, which lets some through: all are of this class.
    network: list[Any] = [kind for kind in HfHubHTTPError.__mro__ if kind.__name__ == "HTTPError"]
    try:
        yield
    except LocalTokenNotFoundError as error:
        raise StudioError("Nobody is logged in to the Hugging Face Hub.", LOG_IN) from error
    except HFValidationError as error:
        raise ConfigError(f"{name} can't be the name of a {what}.", str(error)[:200], field="name") from error
    except OfflineModeIsEnabled as error:
        raise StudioError("HF_HUB_OFFLINE keeps this machine off the Hub.", "Unset it.") from error
    except (HfHubHTTPError, TimeoutError, OSError, *network) as error:
        raise _explained(name, what, error) from error


def _explained(name: str, what: str, error: BaseException) -> StudioError:
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    words = str(getattr(error, "server_message", None) or "").strip().rstrip(".")[:300]
    because = f": {words}" if words else ""
    if status == 401:
        return StudioError(f"The Hub does not know this login{because}.", LOG_IN)
    if status == 402:
        return StudioError(f"The Hub wants a paid plan for this {what}{because}.", "See its prices.")
    if status in {403, 404}:
        return StudioError(f"This login may not write to {name}, or there is no such place{because}.", LOG_IN)
    if status == 409:
        return StudioError(f"There is a {what} {name} already.", "Choose another name.")
    if status == 429:
        return StudioError("The Hub has had too many requests of this login.", "Try again in some minutes.")
    if status is not None:
        return StudioError(f"The Hub refused {name} ({status}){because}.", "Check name and options.")
    kind = type(error).__name__
    return StudioError(f"The Hub can't be reached ({kind}).", "Check the network, and run it again.")
