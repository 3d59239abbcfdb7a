"""The fields of an upload's messages, written and read without building anything."""

from .cbor import TEXT, UINT, encode


def number(reader):
    """Read an unsigned number; whatever else it is, is skipped and -1."""
    at = reader.at
    reader.head()
    if reader.major == UINT:
        return reader.argument
    reader.at = at
    reader.skip()
    return -1


def code(value):
    """A return code; -1 for what is no number."""
    return value if isinstance(value, int) else -1


def opening(size, image, sha, upgrade):
    """The first message's map up to its data: "len" and "off" and what else goes there only."""
    fields = {"len": size, "off": 0}
    if image:
        fields["image"] = image
    if sha is not None:
        fields["sha"] = sha
    if upgrade:
        fields["upgrade"] = True
    body = bytearray(encode(fields))
    body[0] += 1
    return bytes(body)


def put_text(frame, at, text):
    """Write a short text, head and all, into `frame` at `at`; returns where it ends."""
    length = len(text)
    frame[at] = TEXT << 5 | length
    at += 1
    for i in range(length):
        frame[at + i] = text[i]
    return at + length
