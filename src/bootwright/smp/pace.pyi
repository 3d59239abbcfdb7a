FLOOR_MS: int
CEILING_MS: int
QUICK_MS: int

class Pace:
    cap: int
    credit: int
    ahead: int
    timeout_ms: int
    def __init__(self, rtt_ms: int, credit: int, cap: int) -> None: ...
    def went_well(self, rtt_ms: int) -> None: ...
    def went_wrong(self) -> None: ...
