"""Enclaves on Keystone: a thread for each, which runs it and answers its edge calls.

The security monitor is the machine's firmware. The host measures the files that it loads, so that it can say
what clients will see in evidence; the evidence itself is the monitor's, and passes the host encrypted.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import threading
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from schannel.endings import CloseReason
from schannel.keystone_files import missing_layers
from schannel.whole_files import LARGEST_TEXT, read_whole

from .edge_calls import EdgeCalls, Ended
from .keystone_device import (
    DEVICE,
    Driver,
    Image,
    KeystoneEnclave,
    LinuxDriver,
    NoNumbers,
    open_device,
)
from .keystone_files import measure, read_image
from .limits import START_LIMIT, ServerLimits
from .logs import log_event
from .monitor import (
    FAILED,
    Device,
    Enclave,
    EnclaveFiles,
    End,
    Identity,
    MonitorError,
    NoRoom,
    Stop,
    end_with,
)
from .simulated import allow_descriptors

_T = TypeVar("_T")

_DESCRIPTORS, _DESCRIPTORS_EACH = 32, 5
"""Beside what limits say: of this process, and for each enclave's device, buffer, streams and event."""

_FULL_FOR = 60.0
"""Seconds for which no more are tried than there was room for: a try can cost numbers of the driver's."""

_HANGS = "Keystone's driver does not give an enclave back: it hangs"
_LIKELY_CAUSES = (
    "are loader, runtime and application of one build, and is there enough memory for it (--free-memory)?"
)
_DRIVER_VERSION = Path("/sys/module/keystone_driver/version")


class _Run:
    """One enclave and its thread."""

    def __init__(self, number: int, driver: Driver, image: Image, settings: bytes) -> None:
        self.number = number
        self._driver = driver
        self._image = image
        self._loop = asyncio.get_running_loop()
        self.begun: asyncio.Future[None] = self._loop.create_future()
        """Done when its application has begun."""

        self.ended: asyncio.Future[End] = self._loop.create_future()
        self.streams, theirs = zip(socket.socketpair(), socket.socketpair(), strict=True)
        self.calls = EdgeCalls(*theirs, settings, self._begin, self._log)
        self.size = 0
        self.beside = 0
        """How many others there were when it was to start."""

        self.measured = False
        """Whether the security monitor has measured it."""

        self.last_line = ""
        """What its application wrote last into the host's log."""

        self.error: MonitorError | None = None
        """Why it could not be started, or did not go on, once it has ended."""

    def start(self) -> None:
        """Begin with it, in its thread; MonitorError where there can be no more of them."""
        try:
            threading.Thread(target=self._main, name=f"enclave {self.number}", daemon=True).start()
        except RuntimeError as error:
            self.calls.close()
            lacking = MonitorError(f"no thread can be started for another enclave: {error}")
            _resolve(self.ended, End(FAILED, str(lacking)))
            raise lacking from error

    def hang_up(self) -> None:
        """Close the host's ends of its streams."""
        for stream in self.streams:
            stream.close()

    def _main(self) -> None:
        end = End(FAILED, "the host failed")
        try:
            end = self._run()
        except MonitorError as error:
            end = End(FAILED, str(error))
            self.error = error
        finally:
            # Whatever it was, nobody is to wait for it.
            self.calls.close()
            shown = f"the enclave ended before its application began ({end.shown}): {_LIKELY_CAUSES}"
            # That there is no room is known before somebody else asks.
            self._tell(self.ended, end)
            self._tell(self.begun, self.error or MonitorError(shown))

    def _run(self) -> End:
        enclave = KeystoneEnclave(self._driver, self._image)
        try:
            self.size = enclave.size
            value = None
            loaded = enclave.load(lambda: self.calls.going_on)
            self.measured = True
            if loaded:
                value = enclave.run(lambda: self.calls.serve(enclave.shared), lambda: self.calls.going_on)
        except Ended:
            value = None
        finally:
            enclave.destroy()
        return End(FAILED, "the host ended the enclave") if value is None else end_with(_signed(value))

    def _begin(self) -> None:
        self._tell(self.begun, None)

    def _log(self, text: str) -> None:
        self.last_line = text
        log_event(logging.INFO, "enclave_log", f"enclave {self.number}: {text}", enclave=self.number)

    def _tell(self, future: asyncio.Future[_T], what: _T | MonitorError) -> None:
        # The loop may be gone when the process ends.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(_resolve, future, what)


def _resolve(future: asyncio.Future[_T], what: _T | MonitorError) -> None:
    if future.done():
        return
    if isinstance(what, MonitorError):
        future.set_exception(what)
        # Whoever waits gets it; when nobody does, it is not worth a warning.
        future.exception()
    else:
        future.set_result(what)


def _signed(value: int) -> int:
    """An exit value as the application gave it."""
    return value - (1 << 64) if value >> 63 else value


@dataclass(frozen=True, slots=True)
class _Full:
    """There was no room beside `most` enclaves, which is taken to be so until the loop's time is `until`."""

    most: int
    until: float
    why: str


class KeystoneMonitor:
    """The enclaves of this machine's Keystone, made of `image`.

    Each has `patience` seconds to begin, and to end. `settings` is a JSON object, the operator's part
    of their configuration.
    """

    device = Device.KEYSTONE

    def __init__(
        self, image: Image, settings: bytes, patience: float = START_LIMIT, driver: Driver | None = None
    ) -> None:
        self._image = image
        self._settings = settings
        self._patience = patience
        self._driver = driver or LinuxDriver()
        self._runs: dict[int, _Run] = {}
        self._last_number = 0
        self._ailment = ""
        self._full: _Full | None = None
        self._spent = ""
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def ailment(self) -> str:
        """Why the latest enclave could not be started, unless there was just no room for it."""
        return self._spent or self._ailment

    async def ready(self) -> Identity:
        """Start an enclave for nobody, which has to end by itself, and measure the files.

        Raises:
            MonitorError: it does not start, or fails, or the files cannot be measured.
        """
        run = await self._start_run()
        run.hang_up()
        # Only when it has begun, its application looks at its settings.
        await asyncio.wait([run.ended], timeout=self._patience)
        if not run.ended.done():
            raise MonitorError(
                f"the enclave did not end in {self._patience:g} seconds when its client had left: "
                "on a slow machine, let it have more time (--max-start)"
            )
        end = run.ended.result()
        if end.how == FAILED:
            raise MonitorError(f"the first enclave failed: {run.last_line or end.shown}")
        measurement = await asyncio.to_thread(measure, self._image, self._patience)
        return Identity(policy_text(measurement), missing=missing_layers(self._image.application))

    async def start_enclave(self) -> Enclave:
        """Have an enclave started; raises what `Monitor.start_enclave` says, and NoRoom."""
        run = await self._start_run()
        place = f"{run.size >> 20} MiB of Keystone's"
        return Enclave(run.number, place, *run.streams, lambda: run.size, run.ended)

    async def _start_run(self) -> _Run:
        self._check_room()
        self._last_number += 1
        run = _Run(self._last_number, self._driver, self._image, self._settings)
        run.beside = len(self._runs)
        self._runs[run.number] = run
        run.ended.add_done_callback(lambda _: self._forget(run))
        try:
            run.start()
            async with asyncio.timeout(self._patience):
                await run.begun
        except BaseException as error:
            self._end(run)
            run.hang_up()
            if isinstance(error, TimeoutError):
                error = MonitorError(self._too_slow(run))
            self._ailment = str(error) if _is_lasting(error) else ""
            raise error from None
        self._ailment = ""
        return run

    def _too_slow(self, run: _Run) -> str:
        """Why an enclave is not waited for any longer."""
        more = "on a slow machine, let it have more time (--max-start)"
        if not run.measured:
            return f"the enclave has not been measured in {self._patience:g} seconds: {more}"
        return (
            f"the enclave's application did not begin in {self._patience:g} seconds: "
            f"{_LIKELY_CAUSES} {more[0].upper()}{more[1:]}"
        )

    def _check_room(self) -> None:
        """Raise at once what another try would end with."""
        if self._spent:
            raise NoNumbers(self._spent)
        full, now = self._full, asyncio.get_running_loop().time()
        if full is not None and len(self._runs) >= full.most and now < full.until:
            raise NoRoom(full.why)

    def _forget(self, run: _Run) -> None:
        self._runs.pop(run.number, None)
        if isinstance(run.error, NoRoom):
            # One of those beside it may have ended since; it did have room.
            most, now = max(run.beside, len(self._runs)), asyncio.get_running_loop().time()
            if self._full is not None and now < self._full.until:
                most = min(most, self._full.most)
            self._full = _Full(most, now + _FULL_FOR, str(run.error))
        elif isinstance(run.error, NoNumbers):
            self._spent = str(run.error)

    def stop_enclave(self, enclave: Enclave, why: Stop) -> None:
        """Ask an enclave to close its session, telling its client why, and to end."""
        if run := self._runs.get(enclave.number):
            run.calls.stop(CloseReason[why.name])

    def kill_enclave(self, enclave: Enclave) -> None:
        """Destroy an enclave that did not end when asked.

        Where the driver does not give it back in time, that is the monitor's end, as nobody else can free it.
        """
        if run := self._runs.get(enclave.number):
            self._end(run)

    def _end(self, run: _Run) -> None:
        run.calls.end()
        asyncio.get_running_loop().call_later(self._patience, self._give_up, run)

    def _give_up(self, run: _Run) -> None:
        if run.ended.done():
            return
        if not run.measured:
            # However long the monitor takes: it serves others meanwhile, and nobody waits for this one.
            asyncio.get_running_loop().call_later(self._patience, self._give_up, run)
        else:
            _resolve(self.failed, MonitorError(_HANGS))
            _resolve(run.ended, End(FAILED, _HANGS))

    async def close(self) -> None:
        """Destroy every enclave, and wait for that."""
        ends = [run.ended for run in self._runs.values()]
        for run in self._runs.values():
            run.calls.end()
        if ends:
            await asyncio.wait(ends, timeout=self._patience)
        self.failed.cancel()


def _is_lasting(error: BaseException) -> bool:
    return isinstance(error, MonitorError) and not isinstance(error, NoRoom)


def start(files: EnclaveFiles, free: int, limits: ServerLimits) -> KeystoneMonitor:
    """A monitor for enclaves that are made of these files, with `free` bytes beside them.

    Raises:
        MonitorError: a file is missing, or not what Keystone loads; or too few files may be open.
    """
    image = read_image(files, free)
    allow_descriptors(_DESCRIPTORS + limits.descriptors + _DESCRIPTORS_EACH * (limits.enclaves + limits.pool))
    return KeystoneMonitor(image, _settings(files.configuration), limits.start)


def describe(files: EnclaveFiles, patience: float) -> Identity:
    """What `KeystoneMonitor.ready` says of these files, without a device. MonitorError as for `start`."""
    image = read_image(files, 0)
    return Identity(policy_text(measure(image, patience)), missing=missing_layers(image.application))


def policy_text(measurement: str) -> str:
    """The part of a client's policy, in TOML, that the host knows of its enclaves."""
    return f"""\
# The device's key and the monitor's measurement are for the device's maker to tell: put them in.
[enclave]
measurements = ["{measurement}"]

[monitor]
measurements = ["<128 hexadecimal digits>"]

[devices]
real = ["<64 hexadecimal digits>"]
"""


def check() -> Iterator[str]:
    """What there is of Keystone on this machine, in lines; the last one is empty where nothing is missing."""
    try:
        driver = LinuxDriver()
        driver.close(open_device(driver))
        yield f"  {DEVICE}  offered"
        missing = ""
    except MonitorError as error:
        yield f"  {DEVICE}  MISSING: {error}"
        missing = "no enclave runs on Keystone here"
    with contextlib.suppress(OSError):
        yield f"  driver  version {_DRIVER_VERSION.read_text().strip()}"
    with contextlib.suppress(OSError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        yield from (f"  {' '.join(line.split())}" for line in lines if line.startswith("Cma"))
    yield missing


def _settings(path: Path | None) -> bytes:
    """The operator's settings as the application takes them: it checks them itself."""
    if path is None:
        return b"{}"
    try:
        return json.dumps(tomllib.loads(read_whole(path, LARGEST_TEXT).decode())).encode()
    except (OSError, ValueError, RecursionError, TypeError) as error:
        raise MonitorError(f"the configuration {path} cannot be used: {error}") from error
