"""What an exploration found, in findings and as JSON."""

from __future__ import annotations

from typing import Any

from bootwright.finding import Answer, Finding, failed, passed, warned
from bootwright.host.explore import Counterexample, Exploration, Remedy
from bootwright.host.explore_check import SENTENCES, Phase, Property, by_counter, operations_of
from bootwright.host.explore_graph import Node
from bootwright.host.explore_recovery import recovery


def answer(result: Exploration) -> Answer:
    """The exploration in findings."""
    findings: list[Finding] = [*result.question.scene.remarks, *result.notes]
    examples = {example.violation.kind: example for example in result.counterexamples}
    for kind in Property:
        if kind in examples:
            findings.append(_violated(examples[kind], result.remedies))
        elif kind is Property.RECOVERY:
            findings += recovery(result)
        else:
            stopped = any(phase.closure.stopped for phase in result.phases)
            say = warned if stopped else passed
            because = _not_asked(result, kind) or f"{_judged_by(result, kind)}{_held(result)}"
            findings.append(say(f"explore.{kind.value}", SENTENCES[kind], because))
    return Answer(command="explore", findings=tuple(findings), details=details(result))


def _not_asked(result: Exploration, kind: Property) -> str:
    """Why a property has nothing to hold here, or nothing."""
    scene = result.question.scene
    phases = {phase.wrong for phase in result.phases}
    if kind is Property.REVERTS and kind not in phases:
        if not scene.config.mode.swaps:
            return "not a property of overwrite-only, which keeps no image to return to"
        return "not asked: a permanent update is confirmed by its request"
    if kind is Property.STAYS and kind not in phases:
        return "not asked: no phase began with a confirmed image"
    if kind is Property.NOT_LOST and kind not in phases:
        return "not asked: with --action revert the update was done before"
    if kind is Property.NO_DOWNGRADE and not scene.config.downgrade_prevention:
        return "not promised by this build: CONFIG_ESP_DOWNGRADE_PREVENTION is not set"
    return ""


def _judged_by(result: Exploration, kind: Property) -> str:
    """What a downgrade is judged by, as the build compares."""
    if kind is not Property.NO_DOWNGRADE:
        return ""
    return f"by {'security counter' if by_counter(result.question.scene.config) else 'version'}, "


def _held(result: Exploration) -> str:
    bound = f" ({'; '.join(result.bounds)})" if result.bounds else ""
    return f"holds in all {result.states} states that {result.question.cuts.value} power cuts can reach{bound}"


def _violated(example: Counterexample, remedies: list[Remedy]) -> Finding:
    violation = example.violation
    cuts = sum(cut is not None for _, cut in violation.way)
    many = {0: "without any power cut", 1: "after one power cut"}.get(cuts, f"after {cuts} power cuts")
    total = len(violation.phase.closure.points)
    share = f"; {example.points} of {total} cuts of the {violation.phase.name} lead there" if example.points else ""
    because = f"{many}, {violation.because} ({example.states} states{share})"
    good = [remedy.name for remedy in remedies if not remedy.violated and not remedy.detail]
    advice = f"explored without a violation: {', '.join(good)}" if good else ""
    if remedies and not good:
        advice = "none of the layouts that were explored avoids it: keep serial recovery reachable"
    return failed(f"explore.{violation.kind.value}", SENTENCES[violation.kind], because, advice)


def details(result: Exploration) -> dict[str, Any]:
    """The JSON form beside the findings."""
    question = result.question
    return {
        "mode": question.reach.value,
        "cuts": question.cuts.value,
        "bounds": list(result.bounds),
        "strategy": question.scene.config.mode.value,
        "action": question.scene.action.value,
        "states": result.states,
        "phases": [_phase_details(phase, result) for phase in result.phases],
        "counterexamples": [
            {
                "property": example.violation.kind.value,
                "phase": example.violation.phase.name,
                "cuts": [cut._asdict() for _, cut in example.violation.way if cut is not None],
                "states": example.states,
                "points": example.points,
                "story": list(example.story.lines),
            }
            for example in result.counterexamples
        ],
        "remedies": [
            {
                "name": remedy.name,
                "states": remedy.states,
                "violated": [kind.value for kind in remedy.violated],
                "detail": remedy.detail,
            }
            for remedy in result.remedies
        ],
        "wear": None if result.wear is None else result.wear.as_dict(),
    }


def _phase_details(phase: Phase, result: Exploration) -> dict[str, Any]:
    bad: dict[int, Node] = {id(v.node): v.node for v in result.violations if v.phase is phase}
    deepest = max(node.level for node in phase.closure.nodes.values())
    return {
        "name": phase.name,
        "after": phase.before.value,
        "operations": len(operations_of(phase)),
        "runs": sorted(" and ".join(versions) if versions else "nothing" for versions in phase.expected),
        "states": len(phase.closure.nodes),
        "cut_points": len(phase.closure.points),
        "bad_states": len(bad),
        "bad_points": sum(id(node) in bad for _, node in phase.closure.points),
        "deepest": deepest,
        "ends": len(phase.ends),
    }
