"""What can go wrong between an SMP client and its device.

The room's own exceptions, because it imports nothing of Bootwright's; `bootwright.host.smp` translates them.
"""


class SmpError(Exception):
    """Base of this package's errors: one sentence, and `hint`, what to do about it."""

    def __init__(self, message, hint=""):
        super().__init__(message)
        self.hint = hint

    @property
    def message(self):
        """The sentence."""
        return self.args[0]


class MalformedError(SmpError):
    """Bytes that are no CBOR or no SMP message."""


class SilenceError(SmpError):
    """The device did not answer in time, and not after the retries either."""


class NonsenseError(SmpError):
    """The device answered, but not what the protocol lets it answer."""


class RefusedByDeviceError(SmpError):
    """The device said no: `group` is -1 for an SMP-wide code, else the group whose table `rc` belongs to."""

    def __init__(self, what, group=-1, rc=1):
        super().__init__(what)
        self.what = what
        self.group = group
        self.rc = rc
        self.hint = "the device's firmware was built without this command" if group < 0 and rc == 8 else ""

    @property
    def message(self):
        """The code in words; a board that only wants the code need not load them."""
        from .codes import explain

        return "the device refused %s: rc %d, %s" % (self.what, self.rc, explain(self.group, self.rc))

    def __str__(self):
        return self.message


class UploadError(SmpError):
    """An upload stopped before its end; `offset` is the last offset that the device acknowledged."""

    def __init__(self, message, hint="", offset=0):
        super().__init__(message, hint)
        self.offset = offset
