from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.chip_scene import LAYOUT
from tests.support.smp_served import Served, board_key, served, signed, signed_build

from bootwright.errors import FormatError, TrustError, WireError
from bootwright.finding import Finding, Verdict, overall
from bootwright.formats.mcuboot_image import Image, ImageVersion
from bootwright.formats.mcuboot_sign import SignOptions, sign_image
from bootwright.host.smp import Session
from bootwright.host.smp_info import gather
from bootwright.host.smp_recover import catch, recover
from bootwright.host.smp_upload import (
    Journal,
    Payload,
    SlotRules,
    judge,
    rules_of_conf,
    send,
    told_rules,
    warn_of_overwriting,
)
from bootwright.smp.messages import echo, image_list


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def payload(version: str = "2.0.0", *, trusted: bool = True) -> Payload:
    found, _ = judge("two.bin", signed(version, trusted=trusted), SlotRules())
    return found


@pytest.fixture
def recovery() -> Iterator[Served]:
    with served(pin=True) as ports:
        yield ports


def test_a_session_asks_on_every_kind_of_port() -> None:
    with served(primary=signed("1.0.0")) as ports:
        for address in (ports.pty, ports.tcp, ports.udp):
            with Session.open(address) as session:
                assert session.run(echo(session.link, "hi")) == "hi"
                assert session.negotiate()


def test_silence_is_an_error_of_the_wire() -> None:
    with served() as ports, Session.open(ports.pty) as session:
        with pytest.raises(WireError, match=r"/dev/pts/.*: no answer to group 0 command 1") as caught:
            session.contact()
        assert "terminal hold the port" in caught.value.hint


def test_console_text_is_heard(recovery: Served) -> None:
    heard: list[bytes] = []
    with Session.open(recovery.pty, on_text=heard.append) as session:
        recovery.board._said = b"hello from the log\r\n"
        session.contact()
        session.listen(0.1)
    assert heard == [b"hello from the log"]


def test_an_application_and_a_recovery_tell_what_they_are(recovery: Served) -> None:
    with Session.open(recovery.pty) as session:
        found = gather(session)
    assert (found["server"], found["buf_size"], found["system"]) == ("MCUboot serial recovery", 1024, None)
    with served(signed_build(profile="espressif"), pin=True) as ports, Session.open(ports.pty) as session:
        found = gather(session)
    assert (found["largest_message"], found["largest_message_is"]) == (508, "found by trying")
    with served(primary=signed("1.0.0")) as ports, Session.open(ports.udp) as session:
        found = gather(session)
    assert (found["server"], found["bootloader"], found["mode"]) == ("application", "MCUboot", "swap without scratch")


def test_a_recovery_takes_an_image_and_validates_it(recovery: Served) -> None:
    with Session.open(recovery.pty) as session:
        session.negotiate()
        sent = send(session, payload(), recovery=True)
    assert overall(sent.findings) is Verdict.PASS
    assert sent.findings[0].code == "smp.upload.arrived"
    assert sent.as_dict()["server"] == "mcuboot"
    assert sent.rate > 0


def test_an_image_that_the_bootloader_does_not_trust_is_not_called_good(recovery: Served) -> None:
    with Session.open(recovery.pty) as session:
        session.negotiate()
        sent = send(session, payload(trusted=False), recovery=True)
    assert sent.findings[0].code == "smp.upload.invalid"
    assert sent.findings[0].verdict is Verdict.FAIL


def test_overwriting_a_primary_slot_that_boots_is_warned_of() -> None:
    with served(primary=signed("1.0.0"), pin=True) as ports, Session.open(ports.pty) as session:
        recovery, warnings = warn_of_overwriting(session, 0)
        assert recovery
        assert "holds version 1.0.0 and boots" in warnings[0].because
    with served(primary=signed("1.0.0")) as ports, Session.open(ports.pty) as session:
        assert warn_of_overwriting(session, 0) == (False, ())
        nothing = SlotRules()
        told = told_rules(session, 0, nothing)
        assert told.slot_size == 208 << 10
        assert (told.max_size or 0) in range(200 << 10, 208 << 10)
        assert told_rules(session, 3, nothing) is nothing
        said = SlotRules(slot_size=1)
        assert told_rules(session, 0, said) is said


class BrokenError(Exception):
    """The test pulls the plug."""


def test_an_upload_that_broke_resumes_and_one_of_another_file_does_not(recovery: Served, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.json")

    def pull(offset: int) -> None:
        if offset > 15_000:
            raise BrokenError

    with Session.open(recovery.pty) as session:
        session.negotiate()
        with pytest.raises(BrokenError):
            send(session, payload(), recovery=True, journal=journal, progress=pull)
    with Session.open(recovery.pty) as session:
        session.negotiate()
        other = send(session, payload("3.0.0"), recovery=True, journal=journal)
        assert other.resumed_at == 0
        with pytest.raises(BrokenError):
            send(session, payload(), recovery=True, journal=journal, progress=pull)
    with Session.open(recovery.pty) as session:
        session.negotiate()
        sent = send(session, payload(), recovery=True, journal=journal)
    assert 15_000 < sent.resumed_at < 19_000
    assert overall(sent.findings) is Verdict.PASS
    assert not journal.knows(recovery.pty, payload(), 0)


def test_a_resumed_upload_over_another_tools_leavings_is_sent_again(recovery: Served, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.json")

    def pull(offset: int) -> None:
        if offset > 15_000:
            raise BrokenError

    with Session.open(recovery.pty) as session:
        session.negotiate()
        for wanted, note in ((payload(), journal), (payload("3.0.0"), Journal(tmp_path / "other.json"))):
            with pytest.raises(BrokenError):
                send(session, wanted, recovery=True, journal=note, progress=pull)
        sent = send(session, payload(), recovery=True, journal=journal)
        assert sent.resumed_at == 0
        assert overall(sent.findings) is Verdict.PASS
        assert session.run(image_list(session.link))[0].version == "2.0.0"


def test_a_line_that_breaks_says_how_far_it_got() -> None:
    with served(pin=True) as ports, Session.open(ports.tcp) as session:
        session.negotiate()

        def pull(offset: int) -> None:
            if offset > 15_000:
                session.transport.close()

        with pytest.raises(WireError, match=r"bytes had arrived|bad file|closed"):
            send(session, payload(), recovery=True, progress=pull)


def test_a_refused_upload_is_an_error_of_the_wire(recovery: Served) -> None:
    with Session.open(recovery.pty) as session:
        session.negotiate()
        with pytest.raises(WireError, match="refused the upload at offset 0: rc 3"):
            send(session, payload(), image=5, recovery=True)


def test_a_damaged_or_unwritable_journal_is_as_if_there_were_none(tmp_path: Path) -> None:
    path = tmp_path / "journal.json"
    for text in ("{", "[]", '{"p": 3}'):
        path.write_text(text)
        assert not Journal(path).knows("p", payload(), 0)
    (tmp_path / "file").write_text("")
    Journal(tmp_path / "file" / "journal.json").begin("p", payload(), 0)
    Journal(tmp_path / "new" / "journal.json").begin("p", payload(), 0)
    assert Journal(tmp_path / "new" / "journal.json").knows("p", payload(), 0)
    assert not Journal(tmp_path / "new" / "journal.json").knows("p", payload(), 1)


# --- judging before the first byte ---


def test_a_good_image_is_judged_with_its_key() -> None:
    found, findings = judge("a.bin", signed("1.2.3"), SlotRules(keys=(board_key().public,), slot_size=208 << 10))
    assert found.version == "1.2.3"
    assert found.image_hash == Image.parse(signed("1.2.3")).tlvs[0].data or found.image_hash is not None
    assert overall(findings) is Verdict.PASS


def padded(**changes: object) -> bytes:
    known: dict[str, object] = {
        "version": ImageVersion.from_text("1.0.0+7"),
        "pad_header": True,
        "slot_size": 64 << 10,
        "pad": True,
        **changes,
    }
    options = SignOptions(**known)  # type: ignore[arg-type]  # names and types are the caller's
    return sign_image(b"x" * 5000, options, board_key())


@pytest.mark.parametrize(
    ("data", "rules", "error", "why"),
    [
        (b"no image", SlotRules(), FormatError, "found 8 bytes"),
        (signed(trusted=False), SlotRules(keys=(board_key().public,)), TrustError, "the bootloader would refuse"),
        (signed()[:600] + b"?" + signed()[601:], SlotRules(), TrustError, "the bootloader would refuse"),
        (signed(), SlotRules(max_size=20_000), TrustError, "the bootloader would refuse"),
        (padded(), SlotRules(slot_size=32 << 10), FormatError, "has 65536 bytes, the slot 32768"),
        (padded(), SlotRules(slot_size=128 << 10), FormatError, "its trailer would lie elsewhere"),
        (padded(), SlotRules(slot_size=64 << 10, max_align=32), FormatError, "was padded for --max-align 8"),
    ],
)
def test_an_image_that_the_bootloader_would_reject_is_refused(
    data: bytes, rules: SlotRules, error: type[Exception], why: str
) -> None:
    with pytest.raises(error, match=why):
        judge("bad.bin", data, rules)


def test_a_padded_image_for_this_build_is_fine() -> None:
    found, _ = judge("pad.bin", padded(), SlotRules(slot_size=64 << 10, max_align=8))
    assert found.version == "1.0.0.7"


def test_the_rules_come_from_a_bootloader_conf(tmp_path: Path) -> None:
    conf = tmp_path / "bootloader.conf"
    conf.write_text("\n".join(f"{name}={value}" for name, value in LAYOUT.items()))
    rules = rules_of_conf(conf, ())
    assert (rules.slot_size, rules.max_align) == (0x1C0000, 8)
    assert rules.max_size is not None
    assert 0x1B0000 < rules.max_size < 0x1C0000


# --- a whole recovery ---


def recovered(ports: Served, *, wait_s: float = 5.0, watch_s: float = 2.0) -> tuple[list[str], tuple[Finding, ...]]:
    said: list[str] = []
    session, _ = catch(lambda: Session.open(ports.pty), wait_s=wait_s, say=said.append)
    with session:
        session.negotiate()
        done = recover(session, payload(), watch_s=watch_s, console=[], say=said.append)
    return said, done.findings


def test_a_recovery_ends_with_the_application_answering() -> None:
    with served(primary=signed("1.0.0"), pin=True) as ports:
        ports.board.recovery_pin = False
        said, findings = recovered(ports)
    assert findings[-1].code == "smp.recover.booted"
    assert any("holds version 1.0.0" in text for text in said)


def test_an_application_that_can_is_sent_into_its_bootloader() -> None:
    with served(primary=signed("1.0.0")) as ports:
        said, findings = recovered(ports)
    assert said[0] == "an application answers; asking it to restart into the bootloader"
    assert findings[-1].code == "smp.recover.booted"


def test_a_pin_that_is_still_held_is_noticed(recovery: Served) -> None:
    _, findings = recovered(recovery)
    assert findings[-1].code == "smp.recover.still_there"


def test_an_application_without_a_server_is_not_called_running() -> None:
    with served(signed_build(server=False), pin=True) as ports:
        ports.board.recovery_pin = False
        _, findings = recovered(ports, watch_s=0.3)
    assert findings[-1].code == "smp.recover.unseen"


def test_the_boot_window_is_caught() -> None:
    with served(signed_build(window=True), primary=signed("1.0.0")) as ports:
        ports.board.power_off()

        def power_soon() -> None:
            time.sleep(0.4)
            ports.board.power_on()

        thread = threading.Thread(target=power_soon)
        thread.start()
        session, waited = catch(lambda: Session.open(ports.pty), wait_s=5, say=lambda _: None)
        thread.join()
        session.close()
        assert 0.3 < waited < 2


def test_nobody_to_catch_is_said() -> None:
    with served() as ports, pytest.raises(WireError, match="no bootloader answered within 0 s"):
        catch(lambda: Session.open(ports.pty), wait_s=0.3, say=lambda _: None)


def test_a_port_that_never_comes_is_said() -> None:
    with pytest.raises(WireError, match="there is no port"):
        catch(lambda: Session.open("/dev/ttyNOPE"), wait_s=0.3, say=lambda _: None)


def test_an_application_that_forgets_a_complete_upload_is_asked_for_its_list() -> None:
    with served(primary=signed("1.0.0")) as ports, Session.open(ports.udp) as session:
        session.negotiate()
        answer = ports.board.datagram
        last_offset = b"off\x19" + len(payload().data).to_bytes(2, "big")
        lost: list[bytes] = []

        def lose_the_last(data: bytes) -> bytes:
            said = answer(data)
            if lost or last_offset not in said:
                return said
            lost.append(said)
            return b""

        ports.board.datagram = lose_the_last  # type: ignore[method-assign]  # a bad moment
        sent = send(session, payload())
    assert sent.losses == 1
    assert sent.findings[0].code == "smp.upload.arrived"
