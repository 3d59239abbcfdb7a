FLOOR_MS: int
CEILING_MS: int
QUICK_BYTES_MS: int
WHOLE: int

class Pace:
    cap: int
    credit: int
    ahead: int
    timeout_ms: int
    quick_ms: int
    def __init__(self, rtt_ms: int, credit: int, cap: int, quick_ms: int = -1) -> None: ...
    def went_well(self, rtt_ms: int) -> None: ...
    def went_wrong(self) -> None: ...
