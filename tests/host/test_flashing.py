import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootwright.chips.chip import load_chip
from bootwright.chips.efuses import Efuses
from bootwright.errors import FormatError, RefusedError
from bootwright.finding import Finding, Verdict
from bootwright.flash import NorFlash, drive
from bootwright.formats.esp_image import make_bootloader_image
from bootwright.formats.esp_secure_boot import sign_v2
from bootwright.formats.esp_signature_block import key_digest_v2
from bootwright.formats.keys import KeyType, generate_key
from bootwright.host.flash_checks import erase_finding, judge
from bootwright.host.flashing import FlashPlan, Form, Piece, Role, Target, flash_program, host_cipher, plan_pieces
from bootwright.sim.encrypted_flash import EncryptedFlash, cipher_of

C3 = load_chip("esp32c3")
KEY = bytes(range(32))
SIGNER = generate_key(KeyType.RSA_3072)
BOOTLOADER = make_bootloader_image(C3.chip_id, size=0x6000)
APP = b"\x3d\xb8\xf3\x96" + bytes(range(256)) * 40


def with_key(**more: int | bytes) -> Efuses:
    fields = {"BLOCK_KEY0": KEY[::-1], "KEY_PURPOSE_0": 4, **more}
    return Efuses.blank(C3).burn_fields(fields).latched()


def target(efuses: Efuses) -> Target:
    return Target(name="dev1", chip=efuses.chip, efuses=efuses, flash_size=4 << 20, cipher=cipher_of(efuses))


def planned(known: Target, *pieces: Piece, form: Form = Form.AS_IS, allow: str = "") -> FlashPlan:
    cipher = host_cipher(known.chip, KEY) if form is Form.ENCRYPTED_HERE else None
    return judge(plan_pieces(known, pieces, form, cipher), allowed=frozenset(allow.split()))


def refusal(plan: FlashPlan) -> Finding:
    assert len(plan.refusals) == 1, plan.findings
    return plan.refusals[0]


def bootloader(data: bytes = BOOTLOADER) -> Piece:
    return Piece(address=C3.bootloader_offset, data=data, name="bootloader.bin", role=Role.BOOTLOADER)


def app(data: bytes = APP, address: int = 0x20000) -> Piece:
    return Piece(address=address, data=data, name="app.bin", role=Role.APP)


ON = with_key(SPI_BOOT_CRYPT_CNT=1)


def test_plaintext_for_a_chip_that_decrypts_is_refused_unless_someone_insists() -> None:
    plan = planned(target(ON), app())
    assert refusal(plan).code == "flash.plaintext"
    assert "--encrypt" in refusal(plan).next
    assert not planned(target(ON), app(), allow="plaintext").refusals
    assert not planned(target(ON), app(), form=Form.ENCRYPTED_BY_CHIP).refusals
    assert not planned(target(Efuses.blank(C3)), app()).refusals


def test_one_cause_is_one_refusal_and_one_word_overrides_it() -> None:
    assert refusal(planned(target(ON), bootloader())).code == "flash.plaintext"
    assert not planned(target(ON), bootloader(), allow="plaintext").refusals
    foreign = bootloader(host_cipher(C3, bytes(32)).encrypt(BOOTLOADER, 0))
    assert refusal(planned(target(ON), foreign)).code == "flash.foreign_ciphertext"


def test_what_is_never_encrypted_is_written_as_it_is() -> None:
    nvs = Piece(address=0x9000, data=APP, name="nvs.bin", role=Role.PLAIN_DATA)
    plan = planned(target(ON), nvs, form=Form.ENCRYPTED_BY_CHIP)
    assert not plan.refusals
    assert plan.writes[0].form is Form.AS_IS


def test_ciphertext_is_not_encrypted_again() -> None:
    ciphertext = cipher_of(ON).encrypt(APP[:4096], 0x20000)
    assert refusal(planned(target(ON), app(ciphertext), form=Form.ENCRYPTED_BY_CHIP)).code == "flash.encrypted_twice"
    assert not planned(target(ON), app(ciphertext)).refusals


def test_ciphertext_for_another_address_is_refused_and_its_address_is_found() -> None:
    ciphertext = cipher_of(ON).encrypt(APP[:4096], 0x110000)
    plan = planned(target(ON), app(ciphertext))
    assert refusal(plan).code == "flash.foreign_ciphertext"
    assert "0x110000" in refusal(plan).because


def test_ciphertext_with_another_key_is_refused() -> None:
    ciphertext = host_cipher(C3, bytes(32)).encrypt(APP[:4096], 0x20000)
    assert "another chip" in refusal(planned(target(ON), app(ciphertext))).because


def test_encrypting_here_with_another_key_than_the_chips_is_refused() -> None:
    other = host_cipher(C3, bytes(32))
    for efuses in (ON, with_key()):
        plan = judge(plan_pieces(target(efuses), (app(),), Form.ENCRYPTED_HERE, other))
        assert refusal(plan).code == "flash.foreign_ciphertext"
        assert not planned(target(efuses), app(), form=Form.ENCRYPTED_HERE).refusals
    assert not judge(plan_pieces(target(Efuses.blank(C3)), (app(),), Form.ENCRYPTED_HERE, other)).refusals


def test_ciphertext_ahead_of_the_counter_is_possible_and_said() -> None:
    for form in (Form.ENCRYPTED_HERE, Form.ENCRYPTED_BY_CHIP):
        plan = planned(target(with_key()), app(), form=form)
        assert not plan.refusals
        assert "flash.encryption_off" in [finding.code for finding in plan.findings]


@pytest.mark.parametrize(("length", "chip"), [(64, "esp32c3"), (16, "esp32s3"), (64, "esp32c2")])
def test_a_key_of_a_length_that_the_chip_has_not_is_refused(length: int, chip: str) -> None:
    with pytest.raises(RefusedError, match=rf"the key has {length} bytes, keys of the ESP32-.. have"):
        host_cipher(load_chip(chip), bytes(length))


def test_an_image_for_another_chip_or_for_newer_silicon_is_refused() -> None:
    for data in (make_bootloader_image(9, size=0x6000), BOOTLOADER[:15] + b"\x39\x30" + BOOTLOADER[17:]):
        plan = planned(target(Efuses.blank(C3)), bootloader(data), allow="rejected-bootloader rewritten-header")
        assert refusal(plan).code == "flash.other_chip"
        assert "--allow other-chip" in refusal(plan).next
    foreign = app(make_bootloader_image(9, size=0x6000))
    assert refusal(planned(target(ON), foreign, form=Form.ENCRYPTED_BY_CHIP)).code == "flash.other_chip"
    whole = Piece(address=0, data=b"\xff" * 0x1000 + BOOTLOADER, name="flash.bin")
    esp32 = target(Efuses.blank(load_chip("esp32")))
    assert refusal(planned(esp32, whole)).code == "flash.other_chip"


def test_a_bootloader_that_the_rom_rejects_is_refused_with_the_roms_reason() -> None:
    damaged = BOOTLOADER[:0x100] + b"\0\1" + BOOTLOADER[0x102:]
    plan = planned(target(Efuses.blank(C3)), bootloader(damaged))
    assert refusal(plan).code == "flash.bootloader_rejected"
    assert not planned(target(Efuses.blank(C3)), bootloader()).refusals


def test_under_secure_boot_only_a_bootloader_signed_by_a_trusted_key_is_written() -> None:
    digest = key_digest_v2(SIGNER.public)
    secured = Efuses.blank(C3).burn_fields({"BLOCK_KEY1": digest, "KEY_PURPOSE_1": 9, "SECURE_BOOT_EN": 1}).latched()
    assert not planned(target(secured), bootloader(sign_v2(BOOTLOADER, [SIGNER]))).refusals
    assert refusal(planned(target(secured), bootloader())).code == "flash.bootloader_rejected"
    assert not planned(target(secured), bootloader(), allow="rejected-bootloader").refusals


def test_a_header_changed_after_signing_is_recognised() -> None:
    signed = bytearray(sign_v2(BOOTLOADER, [SIGNER]))
    original = bytes(signed[2:4])
    signed[3] ^= 0x20
    plan = planned(target(Efuses.blank(C3)), bootloader(bytes(signed)), allow="rejected-bootloader")
    assert refusal(plan).code == "flash.header_rewritten"
    assert original.hex(" ") in refusal(plan).because


@pytest.mark.parametrize(
    ("efuses", "code"),
    [
        (Efuses.blank(C3), "flash.encrypt.no_key"),
        (with_key(DIS_DOWNLOAD_MANUAL_ENCRYPT=1), "flash.encrypt.closed"),
        (Efuses.blank(load_chip("esp32")).burn_fields({"BLOCK1": KEY}).latched(), "flash.encrypt.config"),
    ],
)
def test_encryption_that_the_chip_cannot_do_is_refused(efuses: Efuses, code: str) -> None:
    plan = planned(target(efuses), app(), form=Form.ENCRYPTED_BY_CHIP)
    assert refusal(plan).code == code


def test_pieces_must_fit_and_must_not_share_a_sector() -> None:
    known = target(Efuses.blank(C3))
    with pytest.raises(RefusedError, match="the flash at 0x400000"):
        plan_pieces(known, (app(address=0x3FF000),), Form.AS_IS, None)
    with pytest.raises(RefusedError, match="shares a sector"):
        plan_pieces(known, (app(b"\xe9" * 5000, 0x10000), app(b"\xe9", 0x11F00)), Form.AS_IS, None)
    with pytest.raises(FormatError, match="empty"):
        plan_pieces(known, (app(b""),), Form.AS_IS, None)
    with pytest.raises(RefusedError, match="multiple of 16"):
        plan_pieces(known, (app(address=0x20008),), Form.ENCRYPTED_BY_CHIP, None)
    with pytest.raises(RefusedError, match="key"):
        plan_pieces(known, (app(),), Form.ENCRYPTED_HERE, None)


@given(st.binary(min_size=1, max_size=3000), st.integers(0, 200).map(lambda n: n * 16))
def test_encrypting_here_and_letting_the_chip_do_it_give_the_same_cells(data: bytes, at: int) -> None:
    cells = []
    for form in (Form.ENCRYPTED_BY_CHIP, Form.ENCRYPTED_HERE):
        flash = NorFlash(1 << 16)
        chip_flash = EncryptedFlash.at_reset(flash, ON)
        plan = plan_pieces(target(ON), (app(data, at),), form, host_cipher(C3, KEY))
        drive(flash_program(plan), chip_flash.apply)
        cells.append(flash.snapshot())
        assert chip_flash.read(at, len(data)) == data
    assert cells[0] == cells[1]


def test_a_chip_without_a_rom_loader_takes_nothing() -> None:
    closed = target(Efuses.blank(C3).burn_fields({"DIS_DOWNLOAD_MODE": 1}).latched())
    assert refusal(planned(closed, app())).code == "flash.loader_closed"
    assert erase_finding(closed, 0, 4096, insisted=True).code == "flash.loader_closed"
    secure = target(Efuses.blank(C3).burn_fields({"ENABLE_SECURITY_DOWNLOAD": 1}).latched())
    assert not planned(secure, app()).refusals


def test_erasing_a_secured_chip_needs_a_word() -> None:
    assert erase_finding(target(ON), 0, 4096, insisted=False).code == "flash.erase_secured"
    assert erase_finding(target(ON), 0, 4096, insisted=True).verdict is Verdict.PASS
    assert erase_finding(target(Efuses.blank(C3)), 0, 4 << 20, insisted=False).verdict is Verdict.PASS
    assert erase_finding(target(Efuses.blank(C3)), 8, 4096, insisted=True).code == "flash.erase.place"


def test_random_data_without_a_role_are_nobodys_ciphertext() -> None:
    piece = Piece(address=0x300000, data=random.Random(1).randbytes(4096), name="data.bin")
    assert not planned(target(ON), piece).refusals
