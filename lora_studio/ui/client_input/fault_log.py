"""Errors in the log: the same one once with its traceback, then a line each time. A client can send the same
request a thousand times."""

from __future__ import annotations

import logging
import threading
import traceback

MOST_KNOWN = 200


class FaultLog:
    """A log of errors. Threads may share it."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger, self._lock = logger, threading.Lock()
        self._known: set[tuple[str, str, str]] = set()

    def tell(self, error: BaseException, doing: str) -> None:
        """Log an error. `doing` names the place, as "bug 12ab34 in generate"; its last word and the place in
        the code identify the error."""
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
        fault = (doing.rpartition(" ")[2], type(error).__name__, place)
        with self._lock:
            is_new = fault not in self._known and len(self._known) < MOST_KNOWN
            if is_new:
                self._known.add(fault)
        if is_new:
            self._logger.error("%s", doing, exc_info=error)
        else:
            self._logger.error("%s, as before: %s", doing, one_line(error))


def one_line(error: BaseException) -> str:
    """The error's class and message on one line. A message may repeat a client's data."""
    message = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {message.encode('utf-8', 'replace').decode()}"
