"""How long to wait for an answer and how far to send ahead: learned from the answers, in integers."""

FLOOR_MS = 80
CEILING_MS = 2000
QUICK_BYTES_MS = 300  #: 3 Mbaud: faster than recovery on any UART, so the line has flow control (a pty, TCP, USB)
WHOLE = 1000  #: lines: more than a message has
CAUTION = 8  #: rounds without a whole message ahead, after the first time that this went wrong


class Pace:
    """Round trips and line credit of one upload.

    The timeout is the longest round trip of late (every few messages a sector is erased) and a quarter more. Credit
    grows by a line a round up to `cap`, and drops to nothing after a loss; if the loss met lines sent ahead, growing
    takes longer each time. `ahead` is the credit to use now. One answer that came faster than a UART could have carried
    the question shows a line that holds back what the device cannot take: from then on whole messages go ahead.
    """

    def __init__(self, rtt_ms, credit, cap):
        self.cap = cap
        self.credit = self.ahead = min(credit, cap)
        self.timeout_ms = max(500, 4 * rtt_ms + 400)
        self.fast = False
        self._peak32 = 0
        self._streak = 0
        self._step = 1
        self._caution = 0
        self._careful = 0

    def went_well(self, rtt_ms, sent=0):
        """An answer came after this time, in which so many bytes had to be sent."""
        self._peak32 = max(rtt_ms << 5, self._peak32 - (self._peak32 >> 5))
        peak = self._peak32 >> 5
        self.timeout_ms = min(max(peak + (peak >> 2) + 20, FLOOR_MS), CEILING_MS)
        if self.credit < self.cap:
            self._streak += 1
            if self._streak >= self._step:
                self._streak = 0
                self.credit += 1
        self.ahead = self.credit
        if self.cap and rtt_ms <= sent // QUICK_BYTES_MS and sent >= QUICK_BYTES_MS:
            self.fast = True
        if self.fast:
            if self._careful:
                self._careful -= 1
                self.ahead = 0
            else:
                self.ahead = WHOLE

    def went_wrong(self):
        """An answer did not come, or not the one that was due."""
        if self.ahead == WHOLE:
            self._caution = min(2 * self._caution + CAUTION, 512)
            self._careful = self._caution
        if self.credit:
            self._step = min(2 * self._step, 64)
        self.credit = self.ahead = 0
        self._streak = 0
