"""Keys behind a command: it reads what is to be signed on its standard input and writes the signature."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bootwright.errors import FormatError, TrustError, WireError
from bootwright.formats.keys import KeyType, NeedsMessageError, PublicKey, load_public_key
from bootwright.host.files import read_bytes

TIMEOUT_S = 120
LARGEST_ANSWER = 64 << 10


@dataclass(frozen=True, slots=True)
class ExecSigner:
    """Signs by running a command. Its answer counts only if the public key accepts it."""

    public: PublicKey
    command: tuple[str, ...]
    whole_message: bool = False  #: give the command the message instead of its hash

    @property
    def key_type(self) -> KeyType:
        """The kind of key."""
        return self.public.key_type

    def sign(self, message: bytes | memoryview, *, digest: bytes | None = None) -> bytes:
        """See `Signer.sign`.

        Raises:
            WireError: the command fails or does not answer.
            TrustError: its answer is no signature of this key.
        """
        if self.key_type is KeyType.ED25519 or self.whole_message:
            digest = digest or hashlib.new(self.key_type.hash_name, message).digest()
            return self._ask(bytes(message), digest if self.key_type is not KeyType.ED25519 else bytes(message))
        return self.sign_digest(digest or hashlib.new(self.key_type.hash_name, message).digest())

    def sign_digest(self, digest: bytes) -> bytes:
        """See `Signer.sign_digest`.

        Raises:
            NeedsMessageError: the command wants the whole message.
            WireError, TrustError: as `sign`.
        """
        if self.whole_message and self.key_type is not KeyType.ED25519:
            raise NeedsMessageError(
                "the command: found input=message, expected one that signs a hash", "this signature is over a hash"
            )
        return self._ask(digest, digest)

    def _ask(self, question: bytes, digest: bytes) -> bytes:
        answer = run(self.command, question, self._environment())
        for candidate in _candidates(answer, self.key_type):
            if self.public.verify_digest(candidate, digest):
                return candidate
        raise TrustError(
            f"`{self.command[0]}` answered {len(answer)} bytes, which are no signature of its {self.key_type} key "
            f"{self.public.key_hash().hex()[:16]}… over the {len(question)} bytes given",
            "the command reads what to sign on stdin (a hash unless input=message) and writes the signature to stdout, "
            "raw or in base64",
        )

    def _environment(self) -> dict[str, str]:
        kind = "message" if self.whole_message or self.key_type is KeyType.ED25519 else "digest"
        return {
            "BOOTWRIGHT_KEY_TYPE": self.key_type.value,
            "BOOTWRIGHT_INPUT": kind,
            "BOOTWRIGHT_HASH": self.key_type.hash_name,
        }


def open_exec(text: str) -> ExecSigner:
    """Read `[public=FILE,][input=digest|message,]COMMAND`.

    With `public=` the command is run as it stands. Without, it is run with one more word: `public-key`, to write its
    public key, or `sign`.

    Raises:
        FormatError: no command, an option that is not known, or no public key.
        WireError: the command fails.
    """
    options, command = _options(text)
    if not command:
        raise FormatError("exec: found no command, expected one that signs", "for example exec:public=kms.pem,sign.sh")
    whole_message = options.get("input", "digest") == "message"
    if "public" in options:
        path = Path(options["public"])
        public = load_public_key(read_bytes(path, what="public key file", limit=LARGEST_ANSWER), where=str(path))
        return ExecSigner(public, command, whole_message)
    answer = run((*command, "public-key"), b"", {})
    public = load_public_key(answer, where=f"the answer of `{command[0]} public-key`")
    return ExecSigner(public, (*command, "sign"), whole_message)


def run(command: tuple[str, ...], question: bytes, environment: dict[str, str]) -> bytes:
    """What a command answers.

    Raises:
        WireError: it is not there, fails, says nothing or takes too long.
    """
    try:
        done = subprocess.run(
            command,
            input=question,
            capture_output=True,
            timeout=TIMEOUT_S,
            env={**os.environ, **environment},
            check=False,
        )
    except OSError as error:
        raise WireError(
            f"`{command[0]}`: {(error.strerror or 'cannot be run').lower()}, expected a command that signs",
            "check its path and that it may be executed",
        ) from None
    except subprocess.TimeoutExpired:
        raise WireError(f"`{command[0]}` gave no answer within {TIMEOUT_S} s", "does it wait for a prompt?") from None
    if done.returncode or not done.stdout or len(done.stdout) > LARGEST_ANSWER:
        said = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        why = f": {said[0][:200]}" if said else ""
        raise WireError(
            f"`{command[0]}` ended with code {done.returncode} and {len(done.stdout)} bytes of answer{why}",
            "run it by hand: it reads what to sign on stdin and writes the signature to stdout",
        )
    return done.stdout


def _options(text: str) -> tuple[dict[str, str], tuple[str, ...]]:
    options: dict[str, str] = {}
    while True:
        word, comma, rest = text.partition(",")
        name, equals, value = word.partition("=")
        if not (comma and equals and name in ("public", "input")):
            break
        options[name], text = value, rest
    if options.get("input", "digest") not in ("digest", "message"):
        raise FormatError(f"exec: found input={options['input']}, expected input=digest or input=message")
    try:
        return options, tuple(shlex.split(text))
    except ValueError as error:
        raise FormatError(f"exec: found {text!r}, expected a command ({str(error).lower()})") from None


def _candidates(answer: bytes, key_type: KeyType) -> Iterator[bytes]:
    """The answer as it is, from base64 or hex; for ECDSA also from the two numbers side by side."""
    for form in (_as_is, _from_base64, _from_hex):
        signature = form(answer)
        yield signature
        if key_type.is_ecdsa and signature and len(signature) % 2 == 0:
            half = len(signature) // 2
            from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

            yield encode_dss_signature(int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big"))


def _as_is(answer: bytes) -> bytes:
    return answer


def _from_base64(answer: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(answer.split()), validate=True)
    except binascii.Error:
        return b""


def _from_hex(answer: bytes) -> bytes:
    try:
        return bytes.fromhex(answer.decode("ascii", "replace"))
    except ValueError:
        return b""
