# ruff: noqa: UP031 - MicroPython formats with % in less memory
"""Updating an MCUboot neighbour over its serial recovery: the same code on an ESP32 (MicroPython) and on a PC.

The image never lies whole in this board's memory: it is read piece by piece, once to judge it and once to send it.
Whatever loses power at whatever moment, calling `update` again finishes the job.
"""

import hashlib
import json
import struct

from smp.client import write
from smp.errors import SilenceError, SmpError, UploadError
from smp.messages import image_list, reset
from smp.negotiate import negotiate
from smp.upload import Upload

from smp import header

IMAGE_MAGIC = 0x96F3B83D
TLV_INFO, TLV_PROTECTED_INFO = 0x6907, 0x6908
TLV_KEYHASH, TLV_SHA256 = 0x01, 0x10
TLV_SIGNATURES = (0x20, 0x22, 0x23, 0x24)
ATTEMPTS = 5
KNOCK_MS = 200


class BadImage(Exception):  # noqa: N818 - an answer to show, not an error of the program
    """The image must not be sent: one sentence."""


class Updater:
    """`run` runs a program over `link`; `pins` has `recovery(held)` and `reset()`; `say` takes a line of progress."""

    def __init__(self, link, run, pins, journal, say, key_hash=None):
        self.link = link
        self.run = run
        self.pins = pins
        self.journal = journal
        self.say = say
        self.key_hash = key_hash

    def update(self, source):
        """Bring the neighbour to the image of `source`; returns its version."""
        source.begin()
        version = self.judge(source)
        self.say("image %s, %d bytes, judged good" % (version, source.size))
        continuing = self.journal.load() == source.sha256
        self.journal.save(source.sha256)
        self.pins.recovery(True)
        for attempt in range(ATTEMPTS):
            try:
                if self.send(source, continuing and attempt == 0) and self.holds(version):
                    break
                self.say("the neighbour does not accept what it has; sending it again")
            except (UploadError, SilenceError) as error:
                self.say("attempt %d: %s" % (attempt + 1, error.message))
        else:
            raise BadImage("the neighbour was not updated in %d attempts" % ATTEMPTS)
        self.pins.recovery(False)
        self.run(reset(self.link))
        self.journal.clear()
        self.say(f"done: the neighbour runs {version}")
        return version

    def send(self, source, continuing):
        """Upload; go on where a power cut on our side stopped us, if the neighbour still waits there."""
        if not (continuing and self.knock(5)):
            continuing = False
            self.pins.reset()
            if not self.knock(300):
                raise SilenceError("the neighbour does not enter recovery")
        self.run(negotiate(self.link))
        shown = [-1]

        def progress(offset):
            tenth = 10 * offset // source.size
            if tenth != shown[0]:
                shown[0] = tenth
                self.say("%d %%" % (10 * tenth))

        upload = Upload(self.link, source.read_into, source.size, resume=continuing, progress=progress)
        self.run(upload.run())
        if upload.resumed_at:
            self.say("went on at offset %d" % upload.resumed_at)
        return True

    def knock(self, times):
        """Whether MCUboot answers; asked without pause, so that a short window after reset is enough."""
        for _ in range(times):
            try:
                program = write(self.link, header.OS, header.OS_CONSOLE_ECHO, {"echo": 0}, timeout_ms=KNOCK_MS, tries=1)
                self.run(program)
                return True
            except SilenceError:
                continue
            except SmpError:
                return False
        return False

    def holds(self, version):
        """Whether the neighbour's bootloader lists the image: it lists only what validates."""
        for entry in self.run(image_list(self.link)):
            if entry.image == 0 and entry.slot == 0 and entry.version == version:
                return True
        return False

    def judge(self, source):
        """Read the whole image once: file hash, image hash, header and TLVs. Returns the version."""
        piece = bytearray(1024)
        view = memoryview(piece)
        self.read(source, 0, view[:32])
        magic, _, hdr_size, protect_size, img_size, _, major, minor, revision, build = struct.unpack_from(
            "<IIHHIIBBHI", piece
        )
        if magic != IMAGE_MAGIC:
            raise BadImage(f"no MCUboot image: magic {magic:08x}")
        hashed = hdr_size + img_size + protect_size
        if hashed + 4 > source.size:
            raise BadImage("the header announces %d bytes, the file has %d" % (hashed, source.size))
        whole = hashlib.sha256()
        image = hashlib.sha256()
        at = 0
        while at < source.size:
            count = min(len(piece), source.size - at)
            part = view[:count]
            self.read(source, at, part)
            whole.update(part)
            if at < hashed:
                image.update(view[: min(count, hashed - at)])
            at += count
        if whole.digest() != source.sha256:
            raise BadImage("the file's SHA-256 is not the announced one")
        self.judge_tlvs(source, hashed, view, image.digest())
        version = "%d.%d.%d" % (major, minor, revision)
        return version + ".%d" % build if build else version

    def judge_tlvs(self, source, at, view, digest):
        """The TLVs behind the hashed part: the right hash, a signature, and the key that the neighbour trusts."""
        self.read(source, at, view[:4])
        magic, total = struct.unpack_from("<HH", view)
        if magic != TLV_INFO:
            raise BadImage("no TLVs behind the image")
        end = at + total
        at += 4
        hash_seen = signature_seen = False
        while at < end:
            self.read(source, at, view[:4])
            kind, length = struct.unpack_from("<HH", view)
            if length > len(view) or at + 4 + length > end:
                raise BadImage("a TLV leaves its area")
            self.read(source, at + 4, view[:length])
            data = bytes(view[:length])
            if kind == TLV_SHA256:
                hash_seen = data == digest
            elif kind == TLV_KEYHASH and self.key_hash is not None and data != self.key_hash:
                raise BadImage("signed with another key than the neighbour trusts")
            elif kind in TLV_SIGNATURES:
                signature_seen = True
            at += 4 + length
        if not hash_seen:
            raise BadImage("the image's own hash does not hold")
        if not signature_seen:
            raise BadImage("the image is not signed")

    def read(self, source, offset, view):
        """Read exactly, or say that it cannot be."""
        if offset + len(view) > source.size:
            raise BadImage("the image ends at %d, %d bytes more are needed" % (source.size, offset + len(view)))
        source.read_into(offset, view)


class HttpSource:
    """An image on a web server, read in pieces over one connection (HTTP/1.1, ranges); `connect` opens it.

    `path` names a JSON file: {"image": path, "size": bytes, "sha256": hex}.
    """

    def __init__(self, connect, host, path, piece=4096):
        self.connect = connect
        self.host = host
        self.path = path
        self.piece = bytearray(piece)
        self.view = memoryview(self.piece)
        self.start = self.end = 0
        self.stream = None
        self.image = ""
        self.size = 0
        self.sha256 = b""

    def begin(self):
        """Read the manifest."""
        length = self.get(self.path, "")
        if length > len(self.piece):
            raise BadImage("the manifest is too large")
        self.fill(length)
        manifest = json.loads(bytes(self.view[:length]))
        self.image = manifest["image"]
        self.size = manifest["size"]
        self.sha256 = bytes.fromhex(manifest["sha256"])
        self.start = self.end = 0

    def read_into(self, offset, view):
        """Fill `view` with the image's bytes from `offset`."""
        done = 0
        count = len(view)
        while done < count:
            at = offset + done
            if not self.start <= at < self.end:
                self.fetch(at)
            part = min(count - done, self.end - at)
            view[done : done + part] = self.view[at - self.start : at - self.start + part]
            done += part

    def fetch(self, offset):
        """Read the piece from `offset`; a connection that broke is opened again."""
        last = min(offset + len(self.piece), self.size) - 1
        for attempt in range(3):
            try:
                length = self.get(self.image, "Range: bytes=%d-%d\r\n" % (offset, last))
                if length != last - offset + 1:
                    raise BadImage("the server does not serve ranges")
                self.fill(length)
                self.start = offset
                self.end = offset + length
                return
            except OSError:
                self.stream = None
                if attempt == 2:
                    raise

    def get(self, path, extra):
        """Ask for `path`; returns the length of the body that follows."""
        if self.stream is None:
            self.stream = self.connect()
        request = b"GET %s HTTP/1.1\r\nHost: %s\r\n%s\r\n" % (path.encode(), self.host.encode(), extra.encode())
        self.stream.write(request)
        status = self.line()
        length = -1
        while True:
            line = self.line()
            if not line:
                break
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        if status.split()[1] not in (b"200", b"206") or length < 0:
            raise BadImage(f"the server answered {path} with {status!r}")
        return length

    def line(self):
        """A line of the answer's head."""
        found = bytearray()
        one = bytearray(1)
        while not found.endswith(b"\n"):
            if not self.stream.readinto(one):
                raise OSError("the server hung up")
            found.extend(one)
        return bytes(found).strip()

    def fill(self, length):
        """Read the body into the piece."""
        at = 0
        while at < length:
            count = self.stream.readinto(self.view[at:length])
            if not count:
                raise OSError("the server hung up")
            at += count


class FileJournal:
    """Remembers in a file which image is being sent, so that a power cut of ours does not start it over."""

    def __init__(self, path="update.journal"):
        self.path = path

    def load(self):
        """The SHA-256 of the image, or nothing."""
        try:
            with open(self.path, "rb") as file:
                return file.read()
        except OSError:
            return b""

    def save(self, sha256):
        """An update begins."""
        with open(self.path, "wb") as file:
            file.write(sha256)

    def clear(self):
        """It is complete."""
        self.save(b"")
