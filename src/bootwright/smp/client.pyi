from collections.abc import Callable, Generator, Mapping
from typing import Any, Protocol, TypeAlias, TypeVar

from .cbor import Reader

T = TypeVar("T")
Talk: TypeAlias = Generator[memoryview | int, int | None, T]

BODY_AT: int
TIMEOUT_MS: int
TRIES: int

class Clock(Protocol):
    def now(self) -> int: ...
    def since(self, then: int) -> int: ...

class Outgoing(Protocol):
    capacity: int
    frame: bytearray
    def close(self, length: int) -> int: ...
    def lines(self, count: int, size: int) -> int: ...

class Incoming(Protocol):
    frame: bytearray
    ready: int
    def scan(self, buffer: bytearray, at: int, end: int) -> int: ...

class Link:
    outgoing: Outgoing
    reader: Incoming
    clock: Clock
    inbox: bytearray
    view: memoryview
    version: int
    sequence: int
    largest: int
    credit_cap: int
    rtt_ms: int
    wire_size: Callable[[int], int]
    in_lines: bool
    at: int
    fill: int
    def __init__(
        self,
        outgoing: Outgoing,
        reader: Incoming,
        clock: Clock,
        inbox: int = 512,
        version: int = 1,
        sequence: int = 0,
    ) -> None: ...
    def begin(self, op: int, group: int, command: int, length: int) -> int: ...
    def answered(self, sequence: int, op: int, group: int, command: int, other: int = -1) -> bool: ...
    def replied_to(self) -> int: ...
    def heard(self, count: int | None) -> None: ...
    def body(self) -> Reader: ...
    def request(
        self,
        op: int,
        group: int,
        command: int,
        body: Mapping[str, object] | None = None,
        timeout_ms: int = 1000,
        tries: int = 3,
    ) -> Talk[dict[str, Any]]: ...
    def result(self, group: int, command: int) -> dict[str, Any]: ...

def check(found: Mapping[Any, Any], what: str) -> None: ...
def refuse(what: str, group: int, rc: int) -> None: ...
def console_link(
    clock: Clock,
    capacity: int = 1024,
    replies: int = 4096,
    on_text: Callable[[bytes], None] | None = None,
    inbox: int = 512,
    version: int = 1,
    sequence: int = 0,
) -> Link: ...
def datagram_link(clock: Clock, capacity: int = 1472, version: int = 1, sequence: int = 0) -> Link: ...
def stream_link(clock: Clock, capacity: int = 1472, version: int = 1, sequence: int = 0) -> Link: ...
def read(
    link: Link,
    group: int,
    command: int,
    body: Mapping[str, object] | None = None,
    timeout_ms: int = 1000,
    tries: int = 3,
) -> Talk[dict[str, Any]]: ...
def write(
    link: Link,
    group: int,
    command: int,
    body: Mapping[str, object] | None = None,
    timeout_ms: int = 1000,
    tries: int = 3,
) -> Talk[dict[str, Any]]: ...
