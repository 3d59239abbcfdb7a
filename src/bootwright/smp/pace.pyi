FLOOR_MS: int
CEILING_MS: int
QUICK_BYTES_MS: int
WHOLE: int

class Pace:
    cap: int
    credit: int
    ahead: int
    timeout_ms: int
    fast: bool
    def __init__(self, rtt_ms: int, credit: int, cap: int) -> None: ...
    def went_well(self, rtt_ms: int, sent: int = 0) -> None: ...
    def went_wrong(self) -> None: ...
