from collections.abc import Callable

from .client import Link, Talk
from .pace import Pace

NOWHERE: int
ALIGN: int
REST_OVERHEAD: int

def best_chunk(wire_size: Callable[[int], int], largest: int, overhead: int) -> int: ...

class Upload:
    link: Link
    size: int
    resume: bool
    pace: Pace
    acknowledged: int
    resumed_at: int
    losses: int
    chunk: int
    def __init__(
        self,
        link: Link,
        read_into: Callable[[int, memoryview], object],
        size: int,
        image: int = 0,
        sha: bytes | None = None,
        upgrade: bool = False,
        resume: bool = False,
        progress: Callable[[int], object] | None = None,
        arrived: Callable[[], Talk[bool]] | None = None,
    ) -> None: ...
    def run(self) -> Talk[int]: ...
    progress: Callable[[int], object] | None
    def where(self) -> Talk[int]: ...
