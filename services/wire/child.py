"""A process of ours that talks to its parent in JSON lines over a Unix socket.

    {"Close":{"folder":"...","round":"..."}}

One line is one message: the name of its type, and its canonical document. Either side names the
types that it accepts; anything else is refused. Nothing is pickled. The socket is also the leash:
when either side ends, however it ends, the other reads an end of file. A child that is not at its
line then, because it loads or computes, is pulled out of that, and ends by force where that fails:
`Line.hold`. The child stands in a session of its own, so a Ctrl-C in the terminal reaches the
parent alone; a SIGTERM for all of a service's processes changes nothing here: the parent decides.
"""

import asyncio
import contextlib
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any, Final

from common import canonical
from common.errors import CrosscloudError, MalformedDocumentError, ToldToEndError
from services.process import ending
from services.process.exit_status import Exit
from services.process.own_modules import own_command, own_path

ORDERLY_S: Final = 1.0
"""How long a child may take to see for itself that its parent is gone."""

FORCED_S: Final = 4.0
"""How long it may take, from then on, to undo what it was pulled out of."""

MAX_LINE_BYTES: Final = canonical.MAX_DOCUMENT_BYTES + 256


class ChildEndedError(CrosscloudError):
    """A process that we started ended while it was still needed; the message says how."""


def encode_line(message: object) -> bytes:
    """Return a message, a dataclass instance, as one line."""
    return b'{"%s":%s}\n' % (type(message).__name__.encode(), canonical.encode(message))


def decode_line(line: bytes, kinds: Sequence[type[Any]]) -> object:
    """Return the message of one line.

    Args:
        line: as `encode_line` writes it.
        kinds: the types that are expected.

    Raises:
        MalformedDocumentError: not a message of one of them.
    """
    head, _, rest = line.partition(b'":')
    for kind in kinds:
        if head == b'{"%s' % kind.__name__.encode() and rest.endswith(b"}\n"):
            return canonical.decode(rest[:-2], kind)
    raise MalformedDocumentError(
        f"not a line that is expected here: {line[:60]!r};"
        f" expected {', '.join(k.__name__ for k in kinds)}"
    )


class Line:
    """The child's end: blocking, one thread.

    Args:
        fd: the inherited socket.
        kinds: types of the messages that may come.
    """

    def __init__(self, fd: int, kinds: Sequence[type[Any]]) -> None:
        self._socket = socket.socket(fileno=fd)
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        self._kinds = kinds
        self._rest = b""

    def send(self, message: object) -> None:
        """Send one message.

        Raises:
            EOFError: the parent ended.
        """
        try:
            self._socket.sendall(encode_line(message))
        except (BrokenPipeError, ConnectionResetError):
            raise EOFError from None

    def receive(self, timeout_s: float | None = None) -> object | None:
        """Return the next message; None after `timeout_s` without one. No time-out waits for ever.

        Raises:
            EOFError: the parent ended.
            MalformedDocumentError: not a message that is expected.
        """
        while b"\n" not in self._rest:
            if not self._poll.poll(None if timeout_s is None else 1000 * timeout_s):
                return None
            try:
                more = self._socket.recv(2**16)
            except ConnectionResetError:
                more = b""
            if not more:
                raise EOFError
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        return decode_line(line + b"\n", self._kinds)

    def hold(self) -> None:
        """End this process with its parent, from now on and whatever it is at by then.

        The main thread calls it, first of all. Where it does not come to `receive` or `send` within
        `ORDERLY_S`, it is interrupted by a `ToldToEndError`; `FORCED_S` later the process is over.
        Before the parent is gone the signals that end it are the parent's affair. A process that is
        forked from this one, by a learner say, hears them as any other.
        """
        gone = threading.Event()

        def signalled(number: int, frame: FrameType | None) -> None:
            if gone.is_set():
                ending.finish()  # another one must not tear the undoing
                raise ToldToEndError

        ending.handle(signalled)
        os.register_at_fork(
            before=ending.hold_back, after_in_parent=ending.let_go, after_in_child=ending.default
        )
        main = threading.main_thread().ident
        assert main is not None
        watch = threading.Thread(target=self._end_with_parent, args=(gone, main), daemon=True)
        watch.start()

    def _end_with_parent(self, gone: threading.Event, main: int) -> None:
        ends = select.poll()
        ends.register(self._socket, 0)  # of nothing but its end
        while not ends.poll():
            pass
        time.sleep(ORDERLY_S)
        gone.set()
        signal.pthread_kill(main, signal.SIGTERM)
        time.sleep(FORCED_S)
        os._exit(Exit.TOLD)

    def close(self) -> None:
        """Close the socket: the parent reads an end of file."""
        self._socket.close()


class Child:
    """The parent's end, for asyncio. Made by `spawn`."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        module: str,
        kinds: Sequence[type[Any]],
    ) -> None:
        self._process, self._reader, self._writer = process, reader, writer
        self._module, self._kinds = module, kinds

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    async def send(self, message: object) -> None:
        """Send one message.

        Raises:
            ChildEndedError: the child ended.
        """
        self._writer.write(encode_line(message))
        try:
            await self._writer.drain()
        except ConnectionError:
            raise await self._ended() from None

    async def receive(self) -> object:
        """Return the next message; one reader at a time.

        Raises:
            ChildEndedError: the child ended.
            MalformedDocumentError: not a message that is expected.
        """
        try:
            line = await self._reader.readline()
        except ConnectionError:
            line = b""
        if not line.endswith(b"\n"):
            raise await self._ended()
        return decode_line(line, self._kinds)

    async def _ended(self) -> ChildEndedError:
        code = await self.wait()
        how = (
            f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        )
        return ChildEndedError(
            f"{self._module} (process {self.pid}) {how}; its own messages say why"
        )

    async def wait(self) -> int:
        """Return the exit code once the child ended; negative: the signal that killed it."""
        return await self._process.wait()

    async def end(self, grace_s: float = 10.0) -> int:
        """Close the line, wait `grace_s`, then kill.

        Returns:
            The exit code. Calling it again is fine.
        """
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()
        try:
            return await asyncio.wait_for(self._process.wait(), grace_s)
        except TimeoutError:
            _kill(self._process)
        return await self._process.wait()


async def spawn(
    module: str,
    args: Sequence[str] = (),
    *,
    receives: Sequence[type[Any]],
    environment: Mapping[str, str] | None = None,
) -> Child:
    """Start `python -m module --fd N args...` and return our end of its line.

    Whoever is cancelled here leaves no child.

    Args:
        module: has to take `--fd N` and to read the socket N with `Line`.
        args: further arguments.
        receives: types of the messages that the child may send.
        environment: added to ours.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with contextlib.ExitStack() as undo, theirs:
        undo.callback(ours.close)
        process = await asyncio.create_subprocess_exec(
            *own_command(module, "--fd", str(theirs.fileno()), *args),
            pass_fds=(theirs.fileno(),),
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, **own_path(), **(environment or {})},
        )
        undo.callback(_kill, process)
        reader, writer = await asyncio.open_connection(sock=ours, limit=MAX_LINE_BYTES)
        undo.pop_all()
        return Child(process, reader, writer, module, receives)


def _kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
