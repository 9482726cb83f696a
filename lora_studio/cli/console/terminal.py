"""Output streams of the commands, on which nothing printed can end a command.

A letter that the terminal or the file can't show (`LC_ALL=C`, a redirect on Windows) becomes a question mark,
and text for a reader who has gone away, or for a full disk, is lost.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast


class SteadyStream:
    """A text stream whose `write` and `flush` raise nothing; everything else is that of `stream`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.reader_is_gone = False
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(OSError, ValueError):
                stream.reconfigure(errors="replace")

    def write(self, text: str) -> int:
        if not self.reader_is_gone:
            try:
                self._stream.write(text)
            except UnicodeError:  # a stream of somebody else's making
                self.write(text.encode("ascii", "replace").decode("ascii"))
            except BlockingIOError:  # a full pipe of somebody who reads slowly
                pass
            except (OSError, ValueError):
                self._let_go()
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if not self.reader_is_gone:
            try:
                self._stream.flush()
            except BlockingIOError:
                pass
            except (OSError, ValueError):
                self._let_go()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _let_go(self) -> None:
        """Send the rest of the buffer nowhere: the interpreter flushes it again when it ends."""
        self.reader_is_gone = True
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            try:
                os.dup2(nowhere, self._stream.fileno())
            finally:
                os.close(nowhere)


@contextlib.contextmanager
def steady_output() -> Iterator[None]:
    """Make `sys.stdout` and `sys.stderr` steady inside the block; missing ones become streams to nowhere."""
    before = sys.stdout, sys.stderr
    with contextlib.ExitStack() as nowhere:
        for name, stream in zip(("stdout", "stderr"), before, strict=True):
            if stream is None:
                stream = nowhere.enter_context(open(os.devnull, "w", encoding="utf-8"))
            setattr(sys, name, cast(TextIO, SteadyStream(stream)))
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            sys.stdout, sys.stderr = before


def has_reader() -> bool:
    """Whether anybody can still read standard output."""
    return not getattr(sys.stdout, "reader_is_gone", False)
