from bootwright.finding import Answer, Finding, Verdict, failed, overall, passed, warned


def test_one_failure_fails_and_a_warning_does_not() -> None:
    yes = passed("a.b", "x", "fine")
    assert overall([yes, warned("a.c", "x", "hm", "look")]) is Verdict.PASS
    gap = Finding(code="a.d", subject="x", verdict=Verdict.NOT_MODELLED, because="unknown")
    assert overall([yes, gap]) is Verdict.NOT_MODELLED
    assert overall([gap, failed("a.e", "x", "broken", "mend it")]) is Verdict.FAIL


def test_an_answer_has_the_common_json_form() -> None:
    answer = Answer(command="c", findings=(failed("a.e", "x", "broken", "mend it"),), details={"more": 1})
    assert answer.as_dict() == {
        "schema": 1,
        "command": "c",
        "verdict": "fail",
        "findings": [{"code": "a.e", "subject": "x", "verdict": "fail", "because": "broken", "next": "mend it"}],
        "more": 1,
    }
