"""Any command line of espsecure, drawn at random, good or bad: same exit code, same fatal words, same files."""

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.against.test_espsecure_dropin import fatal_words
from tests.support.espsecure_lines import both, make_inputs

DATA = [
    "image",
    "cut",
    "data",
    "odd",
    "empty",
    "rsa.signed",
    "p256.signed",
    "p384.signed",
    "p192.signed",
    "broken",
    "v1.signed",
    "missing",
    "dir",
]
FLASH_KEYS = ["k16", "k17", "k24", "k32", "k32", "k32", "k64", "twins", "empty", "missing", "dir"]
PEM = [
    "rsa.pem",
    "p192.pem",
    "p256.pem",
    "p384.pem",
    "rsa.pem",
    "p192.pem",
    "p256.pem",
    "p384.pem",
    "small.pem",
    "ed.pem",
    "rsa.pub",
    "p256.pub",
    "p384.pub",
    "p256.raw",
    "p256.der",
    "rsa.locked",
    "p521.pem",
    "image",
    "missing",
    "dir",
]
OUTPUTS = ["out", "out", "out", "out", "out", "nowhere/out", "dir", "image", "data", "k32", "rsa.pem", "./image"]
ADDRESSES = [
    "0",
    "0x1000",
    "16",
    "0x10010",
    "0x1008",
    "-16",
    "0xfffff0",
    "0x1234560",
    "0xfffffff0",
    "0x100000000",
    "0b10000",
    "010",
    "zero",
]
CRYPT_CONFIGS = [*map(str, range(16)), "0x10", "0xff", "-1", "x"]


def options(*pairs: tuple[str, st.SearchStrategy[str]]) -> st.SearchStrategy[list[str]]:
    """Some of the options, each spelled in one of its ways, in any order."""
    spelled = [
        st.tuples(st.sampled_from(names.split("|")), value).map(lambda pair: " ".join(pair).strip())
        for names, value in pairs
    ]
    # Nearly always there: an option that is missing ends most lines before anything else is looked at.
    present = [st.one_of(*[one] * 9, st.just("")) for one in spelled]
    return st.tuples(*present).flatmap(lambda words: st.permutations([word for word in words if word]))


def line(command: str, *pairs: tuple[str, st.SearchStrategy[str]]) -> st.SearchStrategy[str]:
    """A command line; the command with dashes or with underscores."""
    name = st.sampled_from([command, command.replace("-", "_")])
    return st.tuples(name, options(*pairs)).map(lambda parts: " ".join([parts[0], *parts[1]]))


one = st.sampled_from
nothing = st.just("")
flag = st.sampled_from(["", "", "yes"])
several = st.lists(one(PEM), min_size=1, max_size=4).map(" ".join)
crypt = (
    ("-k|--keyfile", one(FLASH_KEYS)),
    ("-o|--output", one(OUTPUTS)),
    ("-a|--address", one(ADDRESSES)),
    ("--flash-crypt-conf|--flash_crypt_conf", one(CRYPT_CONFIGS)),
)
LINES = st.one_of(
    line("encrypt-flash-data", *crypt, ("", one(DATA))),
    line("decrypt-flash-data", *crypt, ("", one(DATA))),
    line("encrypt-flash-data", *crypt, ("-x|--aes-xts|--aes_xts", nothing), ("", one(DATA))),
    line("decrypt-flash-data", *crypt, ("-x|--aes-xts|--aes_xts", nothing), ("", one(DATA))),
    line(
        "sign-data", ("-v|--version", one("1222")), ("-k|--keyfile", several), ("-o", one(OUTPUTS)), ("--", one(DATA))
    ),
    line(
        "sign-data",
        ("-v", st.just("2")),
        ("-a|--append-signatures|--append_signatures|--skip-padding", nothing),
        ("", one(DATA)),
        ("-k", several),
        ("-o", one(OUTPUTS)),
    ),
    line(
        "sign-data",
        ("-v", one("12")),
        ("--pub-key", one(["rsa.pub", "p256.pub", "p384.pub", "p256.pub rsa.pub", "missing"])),
        ("--signature", one(["rsa.sig", "p256.sig", "p384.sig", "p256.sig rsa.sig", "v1.sig", "odd"])),
        ("-o", one(OUTPUTS)),
        ("--", one(DATA)),
    ),
    line("verify-signature", ("-v|--version", one("1222")), ("-k|--keyfile", one(PEM)), ("", one(DATA))),
    line("verify-signature", ("-v", st.just("2")), ("-k", one(PEM)), ("--skip-padding", nothing), ("", one(DATA))),
    line("signature-info-v2", ("", one(DATA))),
    line("extract-public-key", ("-v|--version", one("12")), ("-k|--keyfile", one(PEM)), ("", one(OUTPUTS))),
    line("digest-sbv2-public-key", ("-k|--keyfile", one(PEM)), ("-o|--output", one(OUTPUTS))),
    line("digest-private-key", ("-k", one(PEM)), ("-l|--keylen", one(["192", "256", "128", "x"])), ("", one(OUTPUTS))),
    line(
        "generate-flash-encryption-key",
        ("-l", one(["128", "192", "256", "512", "7", "0", "-8", "x"])),
        ("", one(OUTPUTS)),
    ),
    line(
        "digest-secure-bootloader",
        ("-k|--keyfile", one(FLASH_KEYS)),
        ("--iv", one(["iv", "short-iv", "missing"])),
        ("-o|--output", one(OUTPUTS)),
        ("", one(["image", "image", "image", "cut", "cut-hash", "odd", "empty"])),
    ),
)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys, images and signatures that all command lines start from."""
    place = tmp_path_factory.mktemp("inputs")
    make_inputs(place)
    return place


@given(words=LINES)
@example(words="sign_data -v 2 -k p192.pem p256.pem -o out --skip-padding odd")
@example(words="digest-secure-bootloader -k k32 -o out image")
@settings(max_examples=40, suppress_health_check=list(HealthCheck))
def test_any_line_ends_alike(words: str, inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    (ours, our_place), (theirs, their_place) = both(inputs, tmp_path_factory.mktemp("line"), words)
    if 'input "None" and output "None"' in theirs.err:
        return  # espsecure refuses to draw an IV where it is to name the file itself; we do what its help says
    assert ours.code == theirs.code, (words, ours, theirs)
    assert "Traceback" not in ours.err
    assert (ours.code == 0) or ours.err
    if "Traceback" not in theirs.err:
        assert fatal_words(ours.err) == fatal_words(theirs.err), words
    changed, theirs_changed = (_changed(place, inputs) for place in (our_place, their_place))
    if ours.code:
        assert not changed, words
        return
    assert ours.out == theirs.out
    # Nothing to write is no file to espsecure, not even where an older one would be taken for the outcome.
    assert {name: len(data) for name, data in changed.items() if data} == {
        name: len(data) for name, data in theirs_changed.items() if data
    }
    if (
        not re.match(r"sign.data .*-v(ersion)?\b.*2|generate|digest.secure(?!.*--iv)", words)
        and "random" not in theirs.out
    ):
        assert {name: data for name, data in changed.items() if data} == theirs_changed


def _changed(place: Path, before: Path) -> dict[str, bytes]:
    return {
        path.name: data
        for path in place.iterdir()
        if path.is_file()
        for data in [path.read_bytes()]
        if not (before / path.name).exists() or (before / path.name).read_bytes() != data
    }
