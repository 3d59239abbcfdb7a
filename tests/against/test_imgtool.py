"""Our images and imgtool's: the same bytes where nothing is random, each verified by the other where something is."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.dropin import run_here
from tests.support.keys import SIGNING_TYPES, key_of
from tests.support.peers import Ran, run_peer

from bootwright.cli.dropin.imgtool import answer
from bootwright.finding import Verdict, overall
from bootwright.formats.keys import KeyType
from bootwright.formats.mcuboot_image import Image, Tlv
from bootwright.formats.mcuboot_sign import SIGNATURE_TLVS
from bootwright.formats.mcuboot_verify import BootRules, verify_image

few = settings(max_examples=8)
BASE = ("-H", "0x20", "-S", "0x20000")


@contextmanager
def place() -> Iterator[Path]:
    """A directory with a key of each type, an input, and a signature that belongs to nothing."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for key_type in (*SIGNING_TYPES, KeyType.X25519):
            (folder / f"{key_type}.pem").write_bytes(key_of(key_type).pem())
            (folder / f"{key_type}.pub").write_bytes(key_of(key_type).public.pem)
        (folder / "in.bin").write_bytes(bytes(range(256)) * 8)
        yield folder


def both(folder: Path, *arguments: str, out: str = "out.bin") -> tuple[Ran, bytes, Ran, bytes]:
    """Run imgtool and ours with the same words in the same place; what each said, and each one's output file."""
    words = [str(folder / word[1:]) if word.startswith("@") else word for word in arguments]
    file = folder / out
    file.unlink(missing_ok=True)
    theirs = run_peer("imgtool", *words)
    their_file = file.read_bytes() if file.exists() else b""
    file.unlink(missing_ok=True)
    ours = run_here(answer, *words)
    return theirs, their_file, ours, file.read_bytes() if file.exists() else b""


def assert_same(folder: Path, *arguments: str, out: str = "out.bin") -> bytes:
    """Both end alike, say the same on stdout and write the same bytes."""
    theirs, their_file, ours, our_file = both(folder, *arguments, out=out)
    assert (ours.code, ours.out) == (theirs.code, theirs.out), theirs.err
    assert our_file == their_file
    return our_file


versions = st.builds(
    lambda a, b, c, d: f"{a}.{b}.{c}+{d}",
    st.integers(0, 255),
    st.integers(0, 255),
    st.integers(0, 65535),
    st.integers(0, 2**32 - 1),
)
optional_words = st.lists(
    st.sampled_from(
        [
            ("-s", "7"),
            ("-s", "auto"),
            ("-d", "(1, 1.2.3+4)(2,5.6)"),
            ("--boot-record", "CoFM"),
            ("--vid", "example.com", "--cid", "gadget"),
            ("--cid", "12345678123456781234567812345678"),
            ("--custom-tlv", "0xa0", "0x0102"),
            ("--custom-tlv", "0x12a0", "text"),
            ("--custom-tlv-file", "0xa1", "@in.bin"),
            ("-e", "big"),
            ("-R", "0"),
            ("-L", "0x40000000"),
            ("--non-bootable",),
            ("--overwrite-only",),
            ("--align", "32"),
            ("--align", "4", "-M", "512"),
            ("--max-align", "16"),
            ("--pad",),
            ("--confirm",),
            ("--test",),
            ("--public-key-format", "full"),
            ("--sha", "512"),
            ("--pure",),
        ]
    ),
    unique=True,
    max_size=6,
).map(lambda groups: [word for group in groups for word in group])


@few
@given(st.binary(max_size=3000), versions, optional_words)
def test_with_ed25519_every_option_gives_imgtools_bytes(payload: bytes, version: str, words: list[str]) -> None:
    with place() as folder:
        (folder / "in.bin").write_bytes(payload)
        arguments = ["sign", "-k", "@ed25519.pem", "-v", version, *BASE, "--pad-header", *words]
        assert_same(folder, *arguments, "@in.bin", "@out.bin")


@few
@given(st.binary(min_size=40, max_size=600), versions, optional_words)
def test_unsigned_images_have_imgtools_bytes_with_and_without_room_for_the_header(
    payload: bytes, version: str, words: list[str]
) -> None:
    with place() as folder:
        (folder / "in.bin").write_bytes(bytes(32) + payload)
        assert_same(folder, "sign", "-v", version, *BASE, *words, "@in.bin", "@out.bin")


@pytest.mark.parametrize("key_type", SIGNING_TYPES)
@pytest.mark.parametrize("extra", [(), ("--pad-sig", "--confirm"), ("--public-key-format", "full")])
def test_each_verifies_what_the_other_signed(key_type: KeyType, extra: tuple[str, ...]) -> None:
    words = ["sign", "-k", f"@{key_type}.pem", "-v", "1.2.3", *BASE, "--pad-header", "-s", "9", *extra]
    with place() as folder:
        theirs, their_file, ours, our_file = both(folder, *words, "@in.bin", "@out.bin")
        assert (ours.code, ours.out) == (theirs.code, theirs.out) == (0, theirs.out)
        assert without_signature(our_file) == without_signature(their_file)
        for data in (their_file, our_file):
            rules = BootRules(hardware_key="full" in extra)
            assert overall(verify_image(data, [key_of(key_type).public], rules=rules)) is Verdict.PASS
            (folder / "out.bin").write_bytes(data)
            verdict = run_peer("imgtool", "verify", "-k", folder / f"{key_type}.pub", folder / "out.bin")
            assert verdict.code == 0, verdict.out
            assert run_here(answer, "verify", "-k", folder / f"{key_type}.pub", folder / "out.bin") == verdict


def without_signature(data: bytes) -> tuple[bytes, tuple[Tlv, ...]]:
    image = Image.parse(data)
    kept = tuple(tlv for tlv in image.tlvs if tlv.type not in SIGNATURE_TLVS.values())
    return data[: image.header.hashed_size], kept


@few
@given(st.data())
def test_verify_and_dumpinfo_answer_as_imgtool_does_on_damaged_images(data: st.DataObject) -> None:
    key_type = data.draw(st.sampled_from([KeyType.ED25519, KeyType.ECDSA_P256]))
    words = data.draw(st.sampled_from([["--pad"], ["--confirm", "--align", "32"], ["-s", "1"], ["--pure"]]))
    if key_type is KeyType.ECDSA_P256 and words == ["--pure"]:
        words = []
    with place() as folder:
        made = run_here(
            answer,
            "sign",
            "-k",
            folder / f"{key_type}.pem",
            "-v",
            "1.2.3",
            *BASE,
            "--pad-header",
            *words,
            folder / "in.bin",
            folder / "out.bin",
        )
        assert made.code == 0
        image = bytearray((folder / "out.bin").read_bytes())
        end = len(image) - len(Image.parse(bytes(image)).rest)
        if data.draw(st.booleans()):
            at = data.draw(st.sampled_from([*range(32), *range(end - 180, end), len(image) - 1, len(image) - 24]))
            image[at] ^= data.draw(st.sampled_from([1, 0x80, 0xFF]))
        (folder / "out.bin").write_bytes(image)
        asked = data.draw(st.sampled_from([key_type, KeyType.ED25519, KeyType.RSA_2048, KeyType.ECDSA_P384]))
        for command in (
            ["verify", "@out.bin"],
            ["verify", "-k", f"@{asked}.pub", "@out.bin"],
            ["dumpinfo", "-f", data.draw(st.sampled_from(["human", "json", "yaml"])), "@out.bin"],
        ):
            theirs, _, ours, _ = both_keeping(folder, *command)
            assert (ours.code, ours.out) == (theirs.code, theirs.out if "Traceback" not in theirs.err else ours.out)


def both_keeping(folder: Path, *arguments: str) -> tuple[Ran, bytes, Ran, bytes]:
    words = [str(folder / word[1:]) if word.startswith("@") else word for word in arguments]
    return run_peer("imgtool", *words), b"", run_here(answer, *words), b""


@pytest.mark.parametrize("key_type", [KeyType.RSA_2048, KeyType.ECDSA_P256, KeyType.X25519])
@pytest.mark.parametrize("bits", ["128", "256"])
@pytest.mark.parametrize("by_imgtool", [True, False])
def test_encrypted_images_open_with_the_key_whoever_made_them(key_type: KeyType, bits: str, by_imgtool: bool) -> None:
    from bootwright.formats.mcuboot_encrypt import decrypt_image

    with place() as folder:
        signer = KeyType.ED25519
        words = ["sign", "-k", f"@{signer}.pem", "-E", f"@{key_type}.pub", "--encrypt-keylen", bits]
        words += ["-v", "1.2.3", *BASE, "--pad-header", "@in.bin", "@out.bin"]
        _, their_file, _, our_file = both(folder, *words)
        encrypted = Image.parse(their_file if by_imgtool else our_file)
        plain = decrypt_image(encrypted, key_of(key_type))
        assert plain.payload == (folder / "in.bin").read_bytes()
        assert plain.payload not in encrypted.pack()
        rules = BootRules(encrypted=True)
        assert overall(verify_image(plain.pack(), [key_of(signer).public], rules=rules)) is Verdict.PASS
        assert len(their_file) == len(our_file)


@pytest.mark.parametrize("hmac_sha", ["256", "512"])
def test_clear_images_carry_the_key_and_verify_with_imgtool(hmac_sha: str) -> None:
    from bootwright.formats.mcuboot_encrypt import image_key

    with place() as folder:
        words = ["sign", "-k", "@ed25519.pem", "-E", "@x25519.pub", "--clear", "--hmac-sha", hmac_sha, "--save-enctlv"]
        words += ["-v", "1.2.3", *BASE, "--pad-header", "@in.bin", "@out.bin"]
        _, their_file, _, our_file = both(folder, *words)
        for data in (their_file, our_file):
            (folder / "out.bin").write_bytes(data)
            assert run_peer("imgtool", "verify", "-k", folder / "ed25519.pub", folder / "out.bin").code == 0
            assert len(image_key(Image.parse(data), key_of(KeyType.X25519))) == 16


@pytest.mark.parametrize("kind", ["lzma2", "lzma2armthumb"])
@pytest.mark.parametrize("extra", [(), ("-s", "4", "--confirm"), ("--vector-to-sign", "digest")])
@pytest.mark.parametrize("payload", [b"\x00\xf0\x01\xf8abcd" * 400, bytes(range(256)) * 3, b"incompressible"])
def test_compressed_images_have_imgtools_bytes(kind: str, extra: tuple[str, ...], payload: bytes) -> None:
    from bootwright.formats.mcuboot_compress import decompress_payload
    from bootwright.formats.mcuboot_image import COMPRESSED

    with place() as folder:
        (folder / "in.bin").write_bytes(payload)
        words = ["sign", "-k", "@ed25519.pem", "--compression", kind, "-v", "1.2.3", *BASE, "--pad-header", *extra]
        made = assert_same(folder, *words, "@in.bin", "@out.bin")
        if "--vector-to-sign" not in extra and Image.parse(made).header.flags & COMPRESSED:
            assert decompress_payload(Image.parse(made)) == payload


@pytest.mark.parametrize("what", ["payload", "digest"])
@pytest.mark.parametrize("key_type", SIGNING_TYPES)
def test_the_external_signers_way_leads_to_imgtools_image(what: str, key_type: KeyType) -> None:
    with place() as folder:
        words = ["-v", "1.2.3", *BASE, "--pad-header", "-s", "auto", "@in.bin", "@out.bin"]
        sha = ["--sha", "384"] if key_type is KeyType.ECDSA_P384 else []
        vector = assert_same(folder, "sign", "--vector-to-sign", what, *sha, *words)
        key = key_of(key_type)
        direct = key_type is KeyType.ED25519
        if what == "payload":
            import hashlib

            signature = key.sign_digest(hashlib.sha256(vector).digest()) if direct else key.sign(vector)
        else:
            signature = key.sign_digest(vector)
        import base64

        (folder / "sig").write_bytes(base64.b64encode(signature))
        fixed = ["--fix-sig", "@sig", "--fix-sig-pubkey", f"@{key_type}.pub", "--sig-out", "@again"]
        assert_same(folder, "sign", *fixed, *words)
        assert (folder / "again").read_bytes() == (folder / "sig").read_bytes()
        assert run_peer("imgtool", "verify", "-k", folder / f"{key_type}.pub", folder / "out.bin").code == 0


@few
@given(st.data())
def test_intel_hex_goes_in_and_out_as_with_imgtool(data: st.DataObject) -> None:
    from bootwright.formats.hexfile import pack_hex

    pieces = data.draw(st.lists(st.tuples(st.integers(0, 0x300), st.binary(min_size=1, max_size=60)), max_size=4))
    base = data.draw(st.sampled_from([0, 0x1000, 0xFF80, 0x10020, 0x20000]))
    at, segments = base, []
    for gap, piece in pieces:
        segments.append((at + gap, piece))
        at += gap + len(piece)
    words = data.draw(
        st.sampled_from([[], ["--pad"], ["--confirm"], ["--test"], ["-x", "0x18000"], ["--test", "--align", "32"]])
    )
    with place() as folder:
        (folder / "in.hex").write_bytes(pack_hex(segments))
        sign = ["sign", "-k", "@ed25519.pem", "-v", "1.0.0", *BASE, "--pad-header", *words]
        if base:
            assert_same(folder, *sign, "@in.hex", "@out.hex", out="out.hex")
        assert_same(folder, *sign, "@in.hex", "@out.bin")
        assert_same(folder, *sign, "@in.bin", "@out.hex", out="out.hex")


@pytest.mark.parametrize("key_type", [*SIGNING_TYPES, KeyType.X25519])
def test_key_commands_say_what_imgtool_says(key_type: KeyType) -> None:
    with place() as folder:
        private, public = f"@{key_type}.pem", f"@{key_type}.pub"
        for words in (
            ["getpub", "-k", private],
            ["getpub", "-k", public, "-e", "lang-rust", "--name-suffix", "_2"],
            ["getpub", "-k", private, "-e", "pem"],
            ["getpubhash", "-k", public],
            ["keyinfo", "-k", private, "--require", "public"],
            ["getpriv", "-k", private],
            ["getpriv", "-k", private, "-f", "pkcs8"],
        ):
            theirs, _, ours, _ = both_keeping(folder, *words)
            assert (ours.code, ours.out) == (theirs.code, theirs.out), words
        assert_same(folder, "getpub", "-k", private, "-e", "raw", "-o", "@out.bin")


def test_key_commands_say_what_imgtool_says_in_every_spelling() -> None:
    with place() as folder:
        for line in (
            "getpub -k @ed25519.pub -l c",
            "getpub -k @ed25519.pub -l rust",
            "getpub -k @ed25519.pub -l c -e pem",
            "getpubhash -k @ed25519.pem --name-suffix X",
            "getpubhash -k @ed25519.pem -e raw",
            "keyinfo -k @ed25519.pub",
            "keyinfo -k @ed25519.pub --require public",
            "getpriv -k @rsa-2048.pub",
            "getpriv -k @ecdsa-p256.pem -f openssl",
        ):
            theirs, _, ours, _ = both_keeping(folder, *line.split())
            assert ours.code == theirs.code, line
            assert ours.raw == theirs.raw, line


@pytest.mark.parametrize("key_type", [KeyType.RSA_2048, KeyType.RSA_3072, KeyType.ECDSA_P256, KeyType.X25519])
def test_minimal_private_keys_have_imgtools_bytes(key_type: KeyType) -> None:
    with place() as folder:
        for shape in ([], ["-f", "openssl"], ["-f", "pkcs8"]):
            theirs, _, ours, _ = both_keeping(folder, "getpriv", "--minimal", *shape, "-k", f"@{key_type}.pem")
            assert (ours.code, ours.out) == (theirs.code, theirs.out)


@pytest.mark.parametrize("key_type", [*SIGNING_TYPES, KeyType.X25519])
def test_each_reads_the_keys_that_the_other_makes(key_type: KeyType) -> None:
    with place() as folder:
        assert run_here(answer, "keygen", "-t", key_type, "-k", folder / "ours.pem").code == 0
        assert run_peer("imgtool", "keygen", "-t", key_type, "-k", folder / "theirs.pem").code == 0
        assert (folder / "ours.pem").stat().st_mode & 0o777 == 0o600
        for name in ("ours.pem", "theirs.pem"):
            theirs, _, ours, _ = both_keeping(folder, "getpub", "-k", f"@{name}")
            assert ours == theirs


REFUSED = [
    "sign",
    "sign -v 1.2.3 -H 32 -S 0x8000 @in.bin @out.bin",
    "sign -v 1.2.3 -H 16 -S 0x8000 @in.bin @out.bin",
    "sign -v 01.2 -H 32 -S 0x8000 @in.bin @out.bin",
    "sign -v 1.2.3 -H 32 -S banana @in.bin @out.bin",
    "sign -v 1.2.3 -H 32 -S 0x900 --pad-header @in.bin @out.bin",
    "sign -v 1.2.3 -H 32 -S 0x20000 --pad-header @missing.bin @out.bin",
    "sign -v 1.2.3 -H 32 -S 0x20000 --pad-header @in.bin @out.hex",
    "sign -v 1.2.3 -H 32 -S 0x20000 --pad-header -k @ed25519.pub @in.bin @out.bin",
    "sign -v 1.2.3 -H 32 -S 0x20000 --pad-header -k @missing.pem @in.bin @out.bin",
    "sign -v 1.2.3 -H 32 -S 0x20000 --pad-header -k @x25519.pem @in.bin @out.bin",
    "sign -v 1.2.3 -H 32 -S 0x20000 --pad-header -k @ecdsa-p256.pem -E @x25519.pub @in.bin @out.bin",
    "sign -v 1.2.3 -H 32 -S 0x20000 --pad-header -k @ed25519.pem --sha 384 @in.bin @out.bin",
    "sign -v 1.2.3 -H 32 -S 0x20000 --pad-header -k @ecdsa-p256.pem --pure @in.bin @out.bin",
    "sign -v 1.2.3 -H 32 -S 0x20000 --pad-header -k @ed25519.pem --pure --sha 512 @in.bin @out.bin",
    "sign -v 1.2.3 -H 32 -S 0x20000 --pad-header --custom-tlv 0x10 x @in.bin @out.bin",
    "sign -v 1.2.3 -H 32 -S 0x20000 --pad-header --custom-tlv 0x9f x @in.bin @out.bin",
    "sign -v 1.2.3 -H 32 -S 0x20000 --pad-header --custom-tlv 0xa0 0x123 @in.bin @out.bin",
    "sign -v 1.2.3 -H 32 -S 0x20000 --pad-header --custom-tlv 0xa0 0xzz @in.bin @out.bin",
    "sign -v 1.2.3 -H 32 -S 0x20000 --pad-header --custom-tlv 0xa0 x --custom-tlv 160 y @in.bin @out.bin",
    "sign -v 1.2.3 -H 32 -S 0x20000 --pad-header --boot-record thirteenchars @in.bin @out.bin",
    "sign -v 1.2.3 -H 32 -S 0x20000 --pad-header --cid gadget @in.bin @out.bin",
    "sign -v 1.2.3 -H 32 -S 0x20000 --pad-header -L 1 -F 2 @in.bin @out.bin",
    "sign -v 1.2.3 -H 32 -S 0x20000 --pad-header -s 0x100000000 @in.bin @out.bin",
    "sign -v 1.2.3 -H 32 -S 0x20000 --pad-header -s many @in.bin @out.bin",
    "sign -v 1.2.3 -H 32 -S 0x20000 --pad-header -d nonsense @in.bin @out.bin",
    "sign -v 1.2.3 -H 32 -S 0x20000 --pad-header -d (1,01.2) @in.bin @out.bin",
    "sign -v 256.0.0 -H 32 -S 0x20000 --pad-header @in.bin @out.bin",
    "sign -v 1.2.3 -H 32 -S 0x20000 --pad-header --fix-sig @in.bin @in.bin @out.bin",
    "sign -v 1.2.3 -H 32 -S 0x20000 --pad-header --hmac-sha 512 -E @ecdsa-p256.pub @in.bin @out.bin",
    "sign -v 1.2.3 -H 32 -S 0x20000 --pad-header --fix-sig @in.bin --fix-sig-pubkey @x25519.pub @in.bin @out.bin",
    "verify @missing.bin",
    "verify @in.bin",
    "verify -k @missing.pem @in.bin",
    "dumpinfo @missing.bin",
    "dumpinfo @in.bin",
    "getpub -k @missing.pem",
    "getpub -k @in.bin",
    "getpub -k @ed25519.pem --name-suffix a-b",
    "getpub -k @ed25519.pem -e raw --name-suffix b",
    "getpubhash -k @ed25519.pem -e raw --name-suffix b",
    "keygen -k @new.pem -t banana",
    "keyinfo -k @ed25519.pub --require private",
    "banana",
]


@pytest.mark.parametrize("line", REFUSED)
def test_what_imgtool_refuses_is_refused_with_its_exit_code_and_sentence(line: str) -> None:
    with place() as folder:
        theirs, their_file, ours, our_file = both(folder, *line.split())
        assert ours.code == theirs.code, (ours, theirs)
        assert our_file == their_file == b""
        assert "Traceback" not in ours.err
        if "Traceback" in theirs.err:
            assert ours.err.startswith("Error: ")
        elif line not in OWN_WORDS:
            assert [row for row in ours.err.splitlines() if row.startswith(("Error", "Usage"))] == [
                row for row in theirs.err.splitlines() if row.startswith(("Error", "Usage"))
            ]


#: refusals whose sentence in imgtool is unfinished ("{allowed}") or names a Python class
OWN_WORDS = {
    line
    for line in REFUSED
    if "--sha 384" in line or "ecdsa-p256.pem --pure" in line or "0x9f" in line or "-pubkey @x" in line
}


@pytest.mark.parametrize("key_type", SIGNING_TYPES)
def test_imgtool_accepts_what_the_native_command_signs(key_type: KeyType) -> None:
    import json

    from tests.support.dropin import run_cli

    with place() as folder:
        words = ["--slot-size", "128K", "--pad", "confirm", "--security-counter", "3", "--tlv", "0x12a0=0xbeef"]
        words += ["-v", "1.2.3+4", "-k", str(folder / f"{key_type}.pem")]
        assert run_cli("image", "sign", folder / "in.bin", folder / "out.bin", *words).code == 0
        verdict = run_peer("imgtool", "verify", "-k", folder / f"{key_type}.pub", folder / "out.bin")
        assert (verdict.code, "Image version: 1.2.3+4" in verdict.out) == (0, True)
        dump = json.loads(run_peer("imgtool", "dumpinfo", "-f", "json", folder / "out.bin").out)
        assert dump["trailer"]["image_ok"] == 1
        assert [row["type"] for row in dump["tlv_area"]["tlvs_prot"]] == [0x50, 0x12A0]
