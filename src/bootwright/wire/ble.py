"""SMP over Bluetooth Low Energy, by bleak (`pip install bootwright[ble]`). Never tried with a radio.

A message is cut into what one write without response takes; answers come as notifications and are put together by their
headers (Zephyr, subsys/mgmt/mcumgr/transport/src/smp_bt.c).
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from bootwright.errors import WireError

T = TypeVar("T")

CHARACTERISTIC = "da2e7828-fbce-4e01-ae9e-261174997c48"
CONNECT_TIMEOUT_S = 20.0
ATT_OVERHEAD = 3


class BleTransport:
    """A connection to one peripheral; bleak's event loop runs in a thread of its own."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._heard: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._rest = b""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        try:
            self._client = self._wait(self._connect(address.removeprefix("ble://")))
        except WireError:
            self._stop()
            raise

    async def _connect(self, device: str) -> Any:
        try:
            from bleak import BleakClient
        except ImportError:
            raise WireError("Bluetooth needs the package bleak", "pip install 'bootwright[ble]'") from None
        client = BleakClient(device)
        await client.connect()
        await client.start_notify(CHARACTERISTIC, lambda _, data: self._heard.put(bytes(data)))
        return client

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop).result(CONNECT_TIMEOUT_S)
        except WireError:
            raise
        except Exception as error:  # bleak has an error type for each platform; a timeout has no words
            raise WireError(
                f"the connection to {self.address} failed: {str(error) or type(error).__name__}",
                "is the device advertising, near, and not connected to something else?",
            ) from None

    def send(self, data: bytes | memoryview) -> None:
        """Send a message in as many writes as it takes."""
        self._wait(self._write(bytes(data)))

    async def _write(self, data: bytes) -> None:
        size = max(self._client.mtu_size - ATT_OVERHEAD, 20)
        for at in range(0, len(data), size):
            await self._client.write_gatt_char(CHARACTERISTIC, data[at : at + size], response=False)

    def receive(self, timeout_s: float, limit: int = 4096) -> bytes:
        """The next notification, or what is left of the last one."""
        if not self._rest:
            try:
                self._rest = self._heard.get(timeout=timeout_s) if timeout_s > 0 else self._heard.get_nowait()
            except queue.Empty:
                return b""
        data, self._rest = self._rest[:limit], self._rest[limit:]
        return data

    def close(self) -> None:
        """Disconnect."""
        try:
            self._wait(self._client.disconnect())
        finally:
            self._stop()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def open_ble(address: str, baud: int) -> BleTransport:
    """Connect to `ble://ADDRESS`."""
    return BleTransport(address)
