"""Text generation in a process of its own, at low priority.

Ending the process is the only way to stop a prompt that is being read, and it returns all memory.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from contextvars import Context, copy_context
from pathlib import Path
from typing import Any

from sightline.capabilities.question import OnPiece
from sightline.errors import InferenceFailed, InvalidParameters, ModelBroken, ProviderTimeout
from sightline.models.generation import Generated, GenerationLimits, GenerationRequest
from sightline.runtime.generation import program
from sightline.runtime.threads import DaemonThreads

_log = logging.getLogger(__name__)

# A cancelled generation returns after a few tokens, but not while it reads its prompt.
CANCEL_GRACE_S = 1.0
# Loading took 3 to 4 s at real size, the first question 6 to 8 s more, and a slow disk takes longer.
START_TIMEOUT_S = 180.0
# Starting again costs 10 s, and staying costs 2 to 4 GB.
IDLE_S = 600.0
# With one thread openvino 2026.4.1 ended with SIGFPE on a tiny model of this structure, not at real size.
LEAST_THREADS = 2
_ENVIRONMENT = (
    "HOME",
    "LD_LIBRARY_PATH",
    "PATH",
    "PYTHONHOME",
    "SYSTEMROOT",
    "TEMP",
    "TMPDIR",
    "VIRTUAL_ENV",
)


class ProcessEnded(Exception):
    """The process ended, or wrote something that is not an answer."""


class GenerationProcess:
    """One process. ``ask`` is for one thread at a time; ``cancel`` and ``kill`` are for any."""

    def __init__(self, folder: Path, options: Mapping[str, Any]) -> None:
        command = [sys.executable, "-P", program.__file__, str(folder), json.dumps(options)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(),
            start_new_session=True,  # Ctrl-C is the server's to handle
        )
        self._has_ended = False
        self._writing = threading.Lock()
        self._logging = threading.Thread(target=self._log_errors, name="generation log", daemon=True)
        self._logging.start()

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process runs and nobody ended it."""
        return not self._has_ended and self._process.poll() is None

    def wait_until_ready(self, timeout_s: float) -> None:
        """Raises ProcessEnded: the model does not load, or takes longer."""
        timer = threading.Timer(timeout_s, self.kill)
        timer.daemon = True
        timer.start()
        try:
            message = self._receive()
        finally:
            timer.cancel()
        if "ready" not in message:
            raise ProcessEnded(message.get("detail", "an answer before it was ready"))

    def ask(self, request: GenerationRequest, on_piece: OnPiece) -> dict[str, Any]:
        """Return the last message of an answer. Raises ProcessEnded."""
        header = {
            "text": request.text,
            "images": [len(image) for image in request.images],
            "schema": request.schema_json,
            "max_tokens": request.max_tokens,
        }
        self._send(json.dumps(header).encode() + b"\n" + b"".join(request.images))
        while True:
            message = self._receive()
            if "piece" not in message:
                return message
            on_piece(message["piece"])

    def cancel(self) -> None:
        """Ask the process to stop after its next token."""
        with suppress(ProcessEnded):
            self._send(b'{"cancel": true}\n')

    def kill(self) -> None:
        """End the process at once."""
        self._has_ended = True
        self._process.kill()

    def end(self) -> None:
        """Kill the process, wait for it and close its pipes."""
        self._process.kill()
        self._process.wait()
        self._logging.join()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert pipe is not None
            with suppress(OSError):  # what was not sent
                pipe.close()

    def _send(self, data: bytes) -> None:
        assert self._process.stdin is not None
        try:
            with self._writing:
                self._process.stdin.write(data)
                self._process.stdin.flush()
        except (OSError, ValueError):
            raise ProcessEnded("it closed its input") from None

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        try:
            message = json.loads(self._process.stdout.readline())
        except ValueError:
            self.kill()
            raise ProcessEnded(f"exit status {self._process.wait()}") from None
        if not isinstance(message, dict):
            self.kill()
            raise ProcessEnded("an answer that is not an object")
        return message

    def _log_errors(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            _log.debug("openvino-genai: %s", line.decode("utf-8", "replace").rstrip()[:1000])


class ProcessGenerator:
    """A ``models.generation.TextGenerator``. Its process is started anew when it has ended."""

    def __init__(self, name: str, folder: Path, limits: GenerationLimits, threads: int) -> None:
        self._name = name
        self._folder = folder
        self._options = {
            "max_prompt_tokens": limits.max_prompt_tokens,
            "max_context_tokens": limits.max_context_tokens,
            "threads": max(LEAST_THREADS, threads),
        }
        self._process: GenerationProcess | None = None
        self._is_starting = False
        self._is_closed = False
        self._thread = DaemonThreads(1, "generation")
        self._ending: asyncio.Task[None] | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._lock = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """The number of the process; None while there is none."""
        return self._process.pid if self._process is not None and self._process.is_alive else None

    def start(self) -> GenerationProcess:
        """Start the process unless it runs. Raises ModelBroken: it does not load the model."""
        if self._process is not None and self._process.is_alive:
            return self._process
        if self._process is not None:
            self._process.end()
        self._is_starting = True
        try:
            self._process = GenerationProcess(self._folder, self._options)
            self._process.wait_until_ready(START_TIMEOUT_S)
        except (OSError, ProcessEnded) as error:
            if self._process is not None:
                self._process.end()
            self._process = None
            _log.warning("%s does not load: %s", self._name, error)
            raise ModelBroken(f"{self._name} does not load in openvino-genai; see the log") from None
        finally:
            self._is_starting = False
        return self._process

    async def generate(self, request: GenerationRequest, on_piece: OnPiece, timeout_s: float) -> Generated:
        """See ``models.generation.TextGenerator``."""
        try:
            async with asyncio.timeout(timeout_s), self._lock:
                if self._ending is not None:
                    await asyncio.shield(self._ending)
                message = await self._answer(request, on_piece)
        except TimeoutError:
            raise ProviderTimeout(f"{self._name} did not answer within {timeout_s:.3g} s") from None
        return self._generated(message)

    async def _answer(self, request: GenerationRequest, on_piece: OnPiece) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        context = copy_context()  # in which the caller is known who listens
        wanted = threading.Event()
        wanted.set()

        def tell(piece: str | None) -> None:
            if wanted.is_set():
                on_piece(piece)

        def exchange() -> dict[str, Any]:
            process = self.start()
            if not wanted.is_set():
                return {"error": "cancelled"}
            return process.ask(request, lambda piece: _call_soon(loop, context, tell, piece))

        if self._idle is not None:
            self._idle.cancel()
        asking = asyncio.ensure_future(self._thread.run(exchange))
        try:
            return await asyncio.shield(asking)
        except ProcessEnded as error:
            _log.warning("%s: its process ended during an answer (%s)", self._name, error)
            raise InferenceFailed(f"{self._name} failed: its process ended during the answer") from None
        except asyncio.CancelledError:
            wanted.clear()
            self._ending = asyncio.create_task(self._stop(asking))
            raise
        finally:
            self._idle = loop.call_later(IDLE_S, self._end_if_idle)

    async def _stop(self, asking: asyncio.Future[Any]) -> None:
        """Stop a generation that nobody waits for: by asking, and if that takes too long by ending it."""
        process = self._process
        if process is not None and not self._is_starting:
            await asyncio.to_thread(process.cancel)
            done, _ = await asyncio.wait({asking}, timeout=CANCEL_GRACE_S)
            if not done:
                process.kill()
        await asyncio.wait({asking})
        if not asking.cancelled():
            asking.exception()  # it was retrieved

    def _generated(self, message: dict[str, Any]) -> Generated:
        match message.get("error"):
            case None:
                return Generated(**{name: message[name] for name in Generated.__dataclass_fields__})
            case "prompt_too_long":
                raise InvalidParameters(
                    f"the question and its images have {message['tokens']} tokens; "
                    f"expected at most {message['limit']} for {self._name}"
                )
            case _:
                _log.warning("%s failed: %s", self._name, message.get("detail"))
                raise InferenceFailed(f"{self._name} failed on this question; see the log")

    def _end_if_idle(self) -> None:
        if not self._lock.locked() and self._process is not None:
            _log.info("%s: its process is idle and ends", self._name)
            self._process.kill()

    async def close(self) -> None:
        """See ``models.generation.TextGenerator``."""
        if self._idle is not None:
            self._idle.cancel()
        process = self._process
        if process is None:
            return
        process.kill()
        if self._ending is not None:
            await asyncio.wait({self._ending})
        await self._thread.join(CANCEL_GRACE_S)
        await asyncio.to_thread(process.end)


def _environment() -> dict[str, str]:
    """No keys and tokens of the server's; modules from where this process found its own."""
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    path = os.pathsep.join(filter(None, sys.path))
    return {**kept, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


def _call_soon(
    loop: asyncio.AbstractEventLoop, context: Context, function: OnPiece, piece: str | None
) -> None:
    with suppress(RuntimeError):  # the loop is closed: nobody waits
        loop.call_soon_threadsafe(function, piece, context=context)
