"""Uploading an image: the one command that has to be fast, and must not mind a bad line.

What makes it fast: the largest frames the device takes; chunks that are whole flash words (32 bytes suits every port);
and *line credit*: while the device works on a message, as many lines of the next one are sent as its receive buffers
hold, and the rest after the answer. MCUboot's recovery keeps filling its line buffers while it writes flash (8 lines in
the Zephyr port, the 128-byte FIFO of the UART in the native Espressif port). A line with flow control takes several
whole messages.

What makes it safe: the device says which offset it wants next, in every answer, and ignores what does not fit. After a
silence, a question that cannot write anything (an offset out of range) asks for that offset, and the upload goes on
from there: go-back-N. The loop allocates nothing: it reuses the link's buffers and a few views of them.
"""

from .cbor import BYTES, MAP, TEXT, UINT, put_head
from .client import BODY_AT
from .console import LINE
from .errors import MalformedError, NonsenseError, UploadError
from .fields import code, number, opening, put_text
from .header import IMAGE, IMAGE_UPLOAD, SIZE, WRITE
from .pace import WHOLE, Pace

NOWHERE = 0x7FFFFFFF  #: an offset that no device expects: it answers with the one it does
ALIGN = 32
REST_OVERHEAD = 26  #: header, map, "off", "data" and their heads, at their largest
DATA_OVERHEAD = 8  #: "data" and its head
REPLY_COST = 64  #: bytes of line time that a round costs besides its message
PATIENCE_MS = 12000
FIRST_PATIENCE_MS = 40000  #: the first answer may have to wait for the erase of a whole slot
QUESTIONS = 2  #: unanswered ones that a busy device's receive FIFO may hold
WINDOW = 3  #: whole messages under way on a line with flow control: what a terminal's buffer holds of 1024 bytes each
STUCK = 16
RESTARTS = 2

_NO_OFFSET = -1


def best_chunk(wire_size, largest, overhead):
    """The multiple of 32 that moves the most data in a given time, of those that fit `largest`.

    Where there is no room for 32 bytes, the multiple of 4 that fits.
    """
    room = largest - overhead
    if room < ALIGN:
        return max(room // 4 * 4, 4)
    best = ALIGN
    best_cost = wire_size(overhead + ALIGN) + REPLY_COST
    chunk = 2 * ALIGN
    while chunk <= room:
        cost = wire_size(overhead + chunk) + REPLY_COST
        if cost * best < best_cost * chunk:
            best = chunk
            best_cost = cost
        chunk += ALIGN
    return best


class Upload:
    """One upload over a link; `run` is the program.

    `read_into(offset, view)` fills a view with image bytes. `sha` is the SHA-256 of the whole file,
    by which applications (not MCUboot) recognise an upload that they have begun. `resume` goes on where the device says
    that it stands, which is only right if its last upload was of this very file. `arrived`, if given, makes a program
    that asks whether the whole image is there, for the case that an application's very last answer is lost.
    """

    def __init__(
        self, link, read_into, size, image=0, sha=None, upgrade=False, resume=False, progress=None, arrived=None
    ):
        self.link = link
        self.read_into = read_into
        self.size = size
        self.resume = resume
        self.progress = progress
        self.arrived = arrived
        self.pace = Pace(link.rtt_ms, min(1, link.credit_cap), link.credit_cap)
        self.acknowledged = 0
        self.resumed_at = 0
        self.losses = 0
        self.chunk = best_chunk(link.wire_size, link.largest, REST_OVERHEAD)
        self._opening = opening(size, image, sha, upgrade)
        if link.largest - SIZE - len(self._opening) - DATA_OVERHEAD < ALIGN:
            self._opening = opening(size, image, None, False)
        room = link.largest - SIZE - len(self._opening) - DATA_OVERHEAD
        self._first_chunk = min(self.chunk, room // ALIGN * ALIGN if room >= ALIGN else max(room // 4 * 4, 4))
        self._frame = memoryview(link.outgoing.frame)
        self._end = 0
        self._data = self._frame[0:0]
        self._data_at = 0
        places = len(link.view) // LINE + 1
        self._starts = [None] * places  #: views of what goes ahead, by how many lines it has
        self._rests = [None] * places
        self._before = _NO_OFFSET
        self._stuck = 0
        self._restarts = 0
        self._best = 0  #: the furthest offset acknowledged
        self._sent = 0  #: the furthest offset sent
        self._rc = 0
        self._rc_group = -1
        self._match = True

    def run(self):
        """Program: send everything; returns the size. Raises `UploadError` with the last good offset."""
        if self.size <= 0:
            raise UploadError("the image is empty", "name a file with an image in it")
        link = self.link
        clock = link.clock
        outgoing = link.outgoing
        pace = self.pace
        size = self.size
        off = yield from self._begin()
        fresh = True
        total = sent = 0
        while off < size:
            if fresh:
                total = self._build(off)
                sent = 0
            if pace.ahead == WHOLE and sent < total:
                off = yield from self._stream(off, sent, total)
                fresh = True
                continue
            end = self._end
            sequence = link.sequence
            start = clock.now()
            if sent < total:
                yield self._rest_of(sent, total)
            following = ahead = 0
            if end < size:
                following = self._build(end)
                ahead = 0 if pace.ahead == WHOLE else outgoing.lines(pace.ahead, following)
                if ahead:
                    yield self._start_of(ahead)
            self._sent = max(self._sent, self._end if following and ahead == following else end)
            timeout = pace.timeout_ms
            wants = _NO_OFFSET
            while not link.answered(sequence, WRITE, IMAGE, IMAGE_UPLOAD):
                left = timeout - clock.since(start)
                if left <= 0:
                    wants = yield from self._ask(sequence, off, end)
                    fresh = True
                    break
                link.heard((yield left))
            else:
                wants = self._answer(off)
                fresh = wants != end
                if not fresh:
                    pace.went_well(clock.since(start), total - sent)
            if wants != end:
                off = yield from self._elsewhere(off, end, wants)
                continue
            off = end
            self._advance(end)
            if not fresh:
                total = following
                sent = ahead
        if not self._match:
            raise UploadError(
                "the device has all %d bytes and says that their checksum is wrong" % size,
                "send the image again; if that does not help, check the file",
                size,
            )
        return size

    def _stream(self, off, sent, total):
        """Program: keep several whole messages under way as long as that goes well; returns where to go on.

        The message for `off` is in the buffers, `sent` of its `total` bytes have gone already.
        """
        link = self.link
        clock = link.clock
        pace = self.pace
        size = self.size
        first = link.sequence
        ahead = self._end
        waiting = 1
        yield self._rest_of(sent, total)
        while waiting or (off < size and pace.ahead == WHOLE):
            while waiting < WINDOW and ahead < size and pace.ahead == WHOLE:
                total = self._build(ahead)
                ahead = self._end
                waiting += 1
                yield self._rest_of(0, total)
            self._sent = max(self._sent, ahead)
            end = off + min(self._count(off), size - off)
            start = clock.now()
            wants = end
            while not link.answered(first, WRITE, IMAGE, IMAGE_UPLOAD):
                left = pace.timeout_ms - clock.since(start)
                if left <= 0:
                    wants = yield from self._ask(first, off, end)
                    waiting = 0
                    break
                link.heard((yield left))
            else:
                wants = self._answer(off)
                pace.went_well(clock.since(start))
                waiting -= 1
                first = (first + 1) & 0xFF
            if wants != end:
                return (yield from self._elsewhere(off, end, wants))
            off = end
            self._advance(end)
        return off

    def where(self):
        """Program: the offset that the device would go on from, -1 if it does not tell. Writes nothing."""
        link = self.link
        size = self._build_question()
        sequence = link.sequence
        wait = max(300, 4 * link.rtt_ms)
        for _ in range(2):
            start = link.clock.now()
            yield link.view[:size]
            while not link.answered(sequence, WRITE, IMAGE, IMAGE_UPLOAD):
                left = wait - link.clock.since(start)
                if left <= 0:
                    break
                link.heard((yield left))
            else:
                wants = self._told()
                return wants if not self._rc and wants <= self.size else _NO_OFFSET
        return _NO_OFFSET

    def _begin(self):
        """Program: where to start, 0 or the device's offset."""
        self._before = yield from self.where()
        if self.resume and self._before > 0:
            self.resumed_at = self._best = self.acknowledged = self._before
        if self.progress:
            self.progress(self.acknowledged)
        return self.acknowledged

    def _advance(self, end):
        self.acknowledged = end
        if end > self._best:
            self._best = end
            self._stuck = 0
        if self.progress:
            self.progress(end)

    def _ask(self, sequence, off, end):
        """Program: after a silence, ask what the device wants; the late answer itself is welcome, too.

        The question is one short line: a device that is only busy (erasing a slot, say) keeps it in its buffer.
        """
        link = self.link
        clock = link.clock
        self.losses += 1
        self.pace.went_wrong()
        began = clock.now()
        patience = PATIENCE_MS if off else FIRST_PATIENCE_MS
        wait = self.pace.timeout_ms
        asked = 0
        question = -1
        while clock.since(began) < patience:
            if asked < QUESTIONS or off:
                size = self._build_question()
                question = link.sequence
                asked += 1
                yield link.view[:size]
            start = clock.now()
            while not link.answered(sequence, WRITE, IMAGE, IMAGE_UPLOAD, question):
                left = wait - clock.since(start)
                if left <= 0:
                    break
                link.heard((yield left))
            else:
                if link.replied_to() == sequence:
                    return self._answer(off)
                wants = self._told()
                if self._rc or (off == 0 and (wants != end or self._before == end)):
                    return off
                return wants
            wait = min(2 * wait, 4000)
        raise UploadError(
            "the device fell silent at offset %d of %d" % (self.acknowledged, self.size),
            "check cable and power; if it was not reset since, uploading the same file again resumes there",
            self.acknowledged,
        )

    def _elsewhere(self, off, end, wants):
        """Program: decide where to go on when the device wants another offset than the one that was due."""
        self.pace.went_wrong()
        self._stuck += 1
        if wants == 0 and off > 0:
            if end == self.size and self.arrived is not None and (yield from self.arrived()):
                self._advance(end)
                return end
            self._restarts += 1
            self._best = 0
        if self._stuck > STUCK or self._restarts > RESTARTS:
            raise UploadError(
                "the upload does not get past offset %d of %d: the device asks for offset %d again and again"
                % (self.acknowledged, self.size, wants),
                "is another program talking to the device, or does it reset by itself?",
                self.acknowledged,
            )
        if off < wants < end or (off == 0 and wants > end):
            self._advance(wants)
        elif wants > max(self._best, self._sent):
            raise UploadError(
                "the device wants to go on at offset %d, and only %d bytes were sent" % (wants, self._sent),
                "start over: its slot holds something else",
                self.acknowledged,
            )
        self.acknowledged = wants
        return wants

    def _build(self, off):
        """Put the message for `off` into the link's buffers; returns its size on the wire, `_end` is where it ends."""
        link = self.link
        frame = link.outgoing.frame
        count = self._count(off)
        if off:
            frame[BODY_AT] = MAP << 5 | 2
            at = put_text(frame, BODY_AT + 1, b"off")
            at = put_head(frame, at, UINT, off)
        else:
            at = BODY_AT + len(self._opening)
            frame[BODY_AT:at] = self._opening
        at = put_text(frame, at, b"data")
        count = min(count, self.size - off)
        at = put_head(frame, at, BYTES, count)
        if at != self._data_at or count != len(self._data):
            self._data = self._frame[at : at + count]
            self._data_at = at
        self.read_into(off, self._data)
        self._end = off + count
        return link.outgoing.close(link.begin(WRITE, IMAGE, IMAGE_UPLOAD, at + count - BODY_AT))

    def _count(self, off):
        """How many bytes the message for `off` carries, if there are so many left."""
        if not off:
            return self._first_chunk
        return self.chunk - off % ALIGN if self.chunk > ALIGN else self.chunk

    def _build_question(self):
        link = self.link
        frame = link.outgoing.frame
        frame[BODY_AT] = MAP << 5 | 2
        at = put_text(frame, BODY_AT + 1, b"off")
        at = put_head(frame, at, UINT, NOWHERE)
        at = put_text(frame, at, b"data")
        at = put_head(frame, at, BYTES, 0)
        return link.outgoing.close(link.begin(WRITE, IMAGE, IMAGE_UPLOAD, at - BODY_AT))

    def _rest_of(self, sent, total):
        view = self._rests[sent // LINE]
        if view is None or len(view) != total - sent:
            view = self._rests[sent // LINE] = self.link.view[sent:total]
        return view

    def _start_of(self, ahead):
        view = self._starts[ahead // LINE]
        if view is None or len(view) != ahead:
            view = self._starts[ahead // LINE] = self.link.view[:ahead]
        return view

    def _answer(self, off):
        """The offset in the answer in hand; an error code in it ends the upload."""
        wants = self._told()
        if self._rc:
            from .codes import explain

            why = explain(self._rc_group, self._rc)
            raise UploadError(
                "the device refused the upload at offset %d: rc %d, %s" % (off, self._rc, why),
                "start over" if off else "does the image fit the slot, and is there an image of that number?",
                self.acknowledged,
            )
        if wants < 0 or wants > self.size:
            raise UploadError(
                "the device answered the upload at offset %d with %s"
                % (off, "no offset" if wants < 0 else "offset %d of %d" % (wants, self.size)),
                "check the device's firmware",
                self.acknowledged,
            )
        return wants

    def _told(self):
        """Read the answer in hand without building anything: the offset or -1; `_rc` and `_match` are set."""
        self._rc = 0
        self._rc_group = -1
        wants = _NO_OFFSET
        try:
            reader = self.link.body()
            reader.head()
            left = reader.argument
            if reader.major != MAP:
                raise MalformedError("CBOR that is no map")
            while left:
                if left < 0:
                    if reader.at_break():
                        break
                else:
                    left -= 1
                reader.head()
                if reader.major != TEXT or reader.argument < 0:
                    raise MalformedError("CBOR key that is no text")
                length = reader.argument
                at = reader.take(length)
                first = reader.data[at] if length else 0
                if length == 3 and first == 111:  # off
                    wants = number(reader)
                elif length == 2 and first == 114:  # rc
                    self._rc = number(reader)
                elif length == 3 and first == 101:  # err
                    self._group_error(reader)
                elif length == 5 and first == 109:  # match
                    self._match = reader.value() is not False
                else:
                    reader.skip()
        except (MalformedError, NonsenseError) as error:
            raise UploadError(
                "the device answered the upload with nonsense: %s" % error.message,
                "check the device's firmware",
                self.acknowledged,
            ) from None
        return wants

    def _group_error(self, reader):
        error = reader.value()
        if isinstance(error, dict):
            self._rc_group = code(error.get("group"))
            self._rc = code(error.get("rc"))
