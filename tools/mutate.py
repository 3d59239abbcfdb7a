"""Change the boot model in small ways and say which changes no trace notices.

    python tools/mutate.py swap_type swap_scratch            # the modules of bootwright.boot to change
    python tools/mutate.py --line 120 swap_move               # only what is on that line
    python tools/mutate.py --every 3 swap_move                # a sample: each third mutant
    python tools/mutate.py --also fe-active swap_move         # survivors are tried on these traces too
    python tools/mutate.py --hunt 300 swap_move               # and each is tried on random small scenes

The changes are those of cosmic-ray's operators and three more that suit decision tables: another member of the same
enumeration, a row left out, a statement left out. Every mutant runs in a forked process that plays traces until one
differs, the trace that killed most so far first. A strategy plays only the traces of its modes, and of scenarios that
were recorded with several signature types one is enough. A random scene that tells a mutant from the model is
printed: it belongs into `CHOSEN` of tools/make_boot_traces.py.
"""

from __future__ import annotations

import argparse
import ast
import copy
import hashlib
import importlib
import importlib.abc
import importlib.machinery
import json
import os
import resource
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BOOT = ROOT / "src" / "bootwright" / "boot"
#: processor time of the traces of one mutant, of one trace and of one scene: the slowest needs a fifth of that
CPU_SECONDS = 30
TRACE_SECONDS = 3
SCENE_SECONDS = 1
#: prefixes of traces that take long and that other traces stand in for
SLOW = (
    "fe-active-sweep",
    "serial-",
    "multi-sweep",
    "slot",
    "esp32c3",
    "size-limit-2",
    "size-limit-4",
    "sweep-torn-test",
)
MODES = {
    "swap_scratch": ("scratch",),
    "swap_move": ("move",),
    "swap_offset": ("offset",),
    "overwrite": ("overwrite", "overwrite-fast"),
    "dependencies": ("scratch", "overwrite"),
}

#: modes whose random scenes tell the tables' survivors apart
SCENES = ("scratch", "move", "offset", "overwrite", "overwrite-fast")

BINARY: dict[type[ast.operator], tuple[type[ast.operator], ...]] = {
    ast.Add: (ast.Sub, ast.Mult),
    ast.Sub: (ast.Add, ast.Mod),
    ast.Mult: (ast.Add, ast.FloorDiv),
    ast.FloorDiv: (ast.Mult, ast.Mod),
    ast.Mod: (ast.FloorDiv, ast.Add),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd, ast.Add),
    ast.LShift: (ast.RShift,),
    ast.RShift: (ast.LShift,),
}
ORDER: tuple[type[ast.cmpop], ...] = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)
COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    **{op: tuple(other for other in ORDER if other is not op) for op in ORDER},
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
MEMBERS = {
    "Magic": ("GOOD", "BAD", "UNSET"),
    "Flag": ("SET", "BAD", "UNSET"),
    "SwapType": ("NONE", "TEST", "PERM", "REVERT", "FAIL"),
    "Source": ("NONE", "SCRATCH", "PRIMARY_SLOT"),
}
UNIT_TESTS = [
    str(ROOT / "tests" / "boot" / f"test_{name}.py")
    for name in (
        "tables",
        "status_bytes",
        "headers_in_a_swap",
        "dependencies",
        "odd_layouts",
        "image_limits",
        "choose",
        "encrypted",
    )
]
#: calls whose arguments are for people: what they say changes nothing in the flash
FOR_PEOPLE = {"log", "look", "describe", "failed", "halted", "mark", "refused", "_refused", "hold"}


#: comparisons that mean the same: slots are 0 and 1, a status counts from 1, its operations are 1 and 2
SAME: dict[tuple[str, type[ast.cmpop]], type[ast.cmpop]] = {
    ("slot PRIMARY", ast.Eq): ast.LtE,
    ("slot SECONDARY", ast.Eq): ast.GtE,
    ("status.idx 1", ast.Eq): ast.LtE,
    ("status.idx 1", ast.NotEq): ast.Gt,
    ("status.state 1", ast.Eq): ast.LtE,
    ("status.op MOVE", ast.Eq): ast.LtE,
    ("status.op MOVE", ast.NotEq): ast.Gt,
    ("status.op SWAP", ast.Eq): ast.GtE,
}


def mutations(node: ast.AST) -> Iterator[ast.AST]:
    """What a node can become."""
    if isinstance(node, ast.BinOp):
        for op in BINARY.get(type(node.op), ()):
            yield ast.BinOp(node.left, op(), node.right)
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        same = SAME.get((f"{ast.unparse(node.left)} {ast.unparse(node.comparators[0])}", type(node.ops[0])))
        for other in COMPARISONS[type(node.ops[0])]:
            if other is same:
                continue
            yield ast.Compare(node.left, [other()], node.comparators)
    elif isinstance(node, ast.Compare):
        for at, op_node in enumerate(node.ops):
            for other in COMPARISONS[type(op_node)]:
                yield ast.Compare(node.left, [*node.ops[:at], other(), *node.ops[at + 1 :]], node.comparators)
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
        for at in range(len(node.values)):
            rest = node.values[:at] + node.values[at + 1 :]
            yield rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)
    elif isinstance(node, ast.UnaryOp):
        yield node.operand
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, bool):
            yield ast.Constant(not node.value)
        elif isinstance(node.value, int):
            yield ast.Constant(node.value + 1)
            yield ast.Constant(node.value - 1)
        elif isinstance(node.value, bytes) and node.value:
            yield ast.Constant(bytes([node.value[0] ^ 1]) + node.value[1:])
    elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in MEMBERS:
        for name in MEMBERS[node.value.id]:
            if name != node.attr:
                yield ast.Attribute(node.value, name, ast.Load())
    elif isinstance(node, ast.If | ast.While | ast.IfExp):
        changed = copy.copy(node)
        changed.test = ast.UnaryOp(ast.Not(), node.test)
        yield changed
    elif isinstance(node, ast.For):
        changed_for = copy.copy(node)
        changed_for.iter = ast.List([], ast.Load())
        yield changed_for
    elif isinstance(node, ast.Tuple) and isinstance(node.ctx, ast.Load) and len(node.elts) > 2:
        for at, element in enumerate(node.elts):
            if isinstance(element, ast.Call | ast.Tuple):
                yield ast.Tuple(node.elts[:at] + node.elts[at + 1 :], ast.Load())
    elif isinstance(node, ast.Break):
        yield ast.Continue()
    elif isinstance(node, ast.Continue):
        yield ast.Break()
    if isinstance(node, ast.Assign | ast.AugAssign | ast.Raise) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.YieldFrom | ast.Yield | ast.Call)
    ):
        yield ast.Pass()
    if isinstance(node, ast.Return) and node.value is not None and not isinstance(node.value, ast.Constant):
        yield ast.Return(ast.Constant(None))


def sites(tree: ast.AST) -> Iterator[tuple[Any, str, int | None, ast.AST]]:
    """Every node that may change, with the place that holds it; annotations and words for people are left alone."""
    for name, value in ast.iter_fields(tree):
        if name in ("annotation", "returns", "decorator_list", "type_params"):
            continue
        members = list(enumerate(value)) if isinstance(value, list) else [(None, value)]
        for index, child in members:
            if not isinstance(child, ast.AST) or _is_docstring(child) or _is_for_people(child) or _is_name(child):
                continue
            yield tree, name, index, child
            yield from sites(child)


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_name(node: ast.AST) -> bool:
    """The numbers of an enumeration are names for each other, and what a module exports is a list of names."""
    if isinstance(node, ast.Assign):
        return ast.unparse(node.targets[0]) == "__all__"
    return isinstance(node, ast.ClassDef) and any("Enum" in ast.unparse(base) for base in node.bases)


def _is_for_people(node: ast.AST) -> bool:
    if isinstance(node, ast.Expr):
        node = node.value
    if not isinstance(node, ast.Call):
        return False
    function = node.func
    return (function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")) in FOR_PEOPLE


def mutants(module: str) -> Iterator[tuple[int, str, CodeType]]:
    """Line, what changes, and the code of every mutant of a module."""
    path = BOOT / f"{module}.py"
    tree = ast.parse(path.read_text())
    for parent, name, index, node in sites(tree):
        for changed in mutations(node):
            ast.copy_location(changed, node)
            what = f"{ast.unparse(node)}  →  {ast.unparse(changed)}".replace("\n", " ⏎ ")
            _put(parent, name, index, changed)
            try:
                yield getattr(node, "lineno", 0), what, compile(ast.fix_missing_locations(tree), str(path), "exec")
            except (SyntaxError, ValueError, TypeError):
                pass
            finally:
                _put(parent, name, index, node)


def _put(parent: ast.AST, name: str, index: int | None, node: ast.AST) -> None:
    if index is None:
        setattr(parent, name, node)
    else:
        getattr(parent, name)[index] = node


def put_into(module: ModuleType, code: CodeType) -> None:
    """Let a loaded module do what the mutant does: only the code of functions that differ is replaced.

    Raises:
        RuntimeError: something else than a function differs; the modules must be imported anew.
    """
    mutant: dict[str, Any] = {"__name__": module.__name__, "__file__": module.__file__}
    exec(code, mutant)
    for name, ours in vars(module).items():
        if isinstance(ours, type) and ours.__module__ == module.__name__:
            for attribute, member in vars(ours).items():
                _put_function(member, vars(mutant[name]).get(attribute))
        elif getattr(ours, "__module__", None) == module.__name__ and callable(ours):
            _put_function(ours, mutant[name])
        elif not name.startswith("__") and repr(ours) != repr(mutant.get(name)):
            raise RuntimeError(f"{name} differs")


def _put_function(ours: Any, theirs: Any) -> None:
    ours = getattr(ours, "fget", None) or getattr(ours, "__wrapped__", ours)
    theirs = getattr(theirs, "fget", None) or getattr(theirs, "__wrapped__", theirs)
    if isinstance(ours, FunctionType) and isinstance(theirs, FunctionType):
        ours.__code__, ours.__defaults__, ours.__kwdefaults__ = (
            theirs.__code__,
            theirs.__defaults__,
            theirs.__kwdefaults__,
        )


def forget_answers() -> None:
    """Empty the caches that a mutant could have filled otherwise; signatures stay as they are."""
    for name, module in list(sys.modules.items()):
        if name.startswith("bootwright.boot") and not name.endswith("signature"):
            for value in vars(module).values():
                if hasattr(value, "cache_clear"):
                    value.cache_clear()


class Mutated(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from the code of a mutant."""

    def __init__(self, name: str, code: CodeType) -> None:
        self.name, self.code = name, code

    def find_spec(self, name: str, path: object = None, target: object = None) -> importlib.machinery.ModuleSpec | None:
        """Only for the one module."""
        return importlib.machinery.ModuleSpec(name, self) if name == self.name else None

    def exec_module(self, module: ModuleType) -> None:
        """Run the mutant."""
        exec(self.code, module.__dict__)


def install(module: str, code: CodeType) -> None:
    """Make the loaded model, or one that is imported anew, the mutant."""
    name = f"bootwright.boot.{module}"
    try:
        put_into(sys.modules[name], code)
        forget_answers()
    except RuntimeError:
        for loaded in [loaded for loaded in sys.modules if loaded.startswith("bootwright.boot")]:
            del sys.modules[loaded]
        sys.meta_path.insert(0, Mutated(name, code))


def failing_test(module: str, code: CodeType) -> str | None:
    """Whether one of the unit tests of the model fails, in a child process."""
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (2 * CPU_SECONDS, 2 * CPU_SECONDS))
        try:
            import pytest

            with open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), 1)
                os.dup2(nowhere.fileno(), 2)
                install(module, code)
                found = pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", *UNIT_TESTS])
            os._exit(1 if found else 0)
        except BaseException:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    return "the unit tests" if status else None


def first_failing(module: str, code: CodeType, steps: Iterator[bool]) -> int | None:
    """Number of the first step that a mutant fails, found in a child process, which alone runs them; None for none."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            install(module, code)
            for held in steps:
                if not held:
                    os._exit(1)
                os.write(writer, b"\x00")
            os._exit(0)
        except BaseException:
            os._exit(2)
    os.close(writer)
    passed = 0
    while data := os.read(reader, 4096):
        passed += len(data)
    os.close(reader)
    _, status = os.waitpid(child, 0)
    return passed if status else None


def plays(names: list[str], documents: dict[str, Any]) -> Iterator[bool]:
    """Whether the model, as it is loaded now, does what each trace has."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    from bootwright.boot.trace import parse_trace
    from bootwright.boot.trace_play import play

    for name in names:
        signal.setitimer(signal.ITIMER_VIRTUAL, TRACE_SECONDS)
        yield not play(parse_trace(documents[name]))


def first_difference(module: str, code: CodeType, names: list[str], documents: dict[str, Any]) -> str | None:
    """The first trace on which a mutant differs; None if none does."""
    at = first_failing(module, code, plays(names, documents))
    return None if at is None else names[at]


Scene = tuple[str, int]


def answers(scenes: list[Scene]) -> Iterator[tuple[Scene, str]]:
    """What the model, as it is loaded now, makes of random small scenes: mode and seed, and a hash of all steps."""
    sys.modules.pop("make_boot_traces", None)
    scenes_of = importlib.import_module("make_boot_traces")
    for mode, seed in scenes:
        signal.setitimer(signal.ITIMER_VIRTUAL, SCENE_SECONDS)
        document = scenes_of.small_scene(seed, scenes_of.Mode(mode)).document()
        for step in document["steps"]:
            step.pop("log", None)
        yield (mode, seed), hashlib.sha256(json.dumps(document["steps"]).encode()).hexdigest()
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def telling_scene(module: str, code: CodeType, expected: dict[Scene, str]) -> Scene | None:
    """The first small scene of which a mutant makes something else; None if there is none."""
    scenes = list(expected)
    at = first_failing(module, code, (digest == expected[scene] for scene, digest in answers(scenes)))
    return None if at is None else scenes[at]


class Tally:
    """Who was killed, and by what."""

    def __init__(self) -> None:
        self.killers: Counter[str] = Counter()
        self.killed = self.survived = 0
        self.expected: dict[Scene, str] = {}  #: the scenes to hunt with, those that told most apart first
        self.told: Counter[Scene] = Counter()

    def run(
        self, module: str, what: str, code: CodeType, names: list[str], documents: dict[str, Any], more: list[str]
    ) -> None:
        """Try one mutant on random scenes, on traces, on `more` of them, on the unit tests; print a survivor."""
        scene = self._scene(module, code)
        if scene is not None:
            self.told[scene] += 1
            self.killed += 1
            if self.told[scene] == 1:
                print(f"told by the scene {scene[0]} {scene[1]}: {what}", flush=True)
            return
        killer = None
        for some in (sorted(names, key=lambda name: -self.killers[name]), more):
            if killer is None and some:
                killer = first_difference(module, code, some, documents)
        if killer is None:
            killer = failing_test(module, code)
        if killer is None:
            self.survived += 1
            print(what, flush=True)
        else:
            self.killed += 1
            self.killers[killer] += 1

    def _scene(self, module: str, code: CodeType) -> Scene | None:
        order = sorted(self.expected, key=lambda scene: -self.told[scene])
        return telling_scene(module, code, {scene: self.expected[scene] for scene in order}) if order else None


def main() -> int:
    """Run all mutants of the modules named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="+")
    parser.add_argument("--line", type=int, help="only mutants on this line")
    parser.add_argument("--from-line", type=int, default=0, help="only mutants on this line and below")
    parser.add_argument("--every", type=int, default=1, help="take each Nth mutant")
    parser.add_argument("--skip", nargs="*", default=list(SLOW), help="traces left out, by prefix")
    parser.add_argument("--also", nargs="*", default=[], help="of those left out, what survivors are tried on")
    parser.add_argument("--hunt", type=int, default=0, help="random small scenes, per mode")
    arguments = parser.parse_args()
    sys.path[:0] = [str(ROOT), str(ROOT / "src"), str(ROOT / "tools")]
    from tests.support.traces import odd_document, odd_names, trace_document, trace_names

    odd = set(odd_names())
    names = [*trace_names(), *sorted(odd)]
    more = [name for name in names if any(name.startswith(prefix) for prefix in arguments.also)]
    names = [name for name in names if not any(name.startswith(prefix) for prefix in arguments.skip)]
    documents = {name: (odd_document if name in odd else trace_document)(name) for name in [*names, *more]}
    names = [name for name in names if documents[name]["config"]["sig"] in ("none", "ed25519")]
    import bootwright.boot.trace_play  # noqa: F401  every mutant has it loaded already

    signal.signal(signal.SIGINT, signal.default_int_handler)
    tally = Tally()
    try:
        for module in arguments.modules:
            wanted = MODES.get(module)
            played = [name for name in names if wanted is None or documents[name]["config"]["mode"] in wanted]
            if failing_test(module, compile((BOOT / f"{module}.py").read_text(), module, "exec")):
                print("the unit tests fail without any mutation")
                return 2
            tally.expected = dict(
                answers([(mode, seed) for mode in wanted or SCENES for seed in range(arguments.hunt)])
            )
            for number, (line, what, code) in enumerate(mutants(module)):
                if arguments.line in (None, line) and line >= arguments.from_line and number % arguments.every == 0:
                    tally.run(module, f"{module}:{line}: {what}", code, played, documents, more)
    except KeyboardInterrupt:
        print("interrupted")
    print(f"{tally.killed + tally.survived} mutants, {tally.killed} killed, {tally.survived} survived", flush=True)
    if arguments.hunt:
        scenes = ", ".join(f"{mode} {seed}" for mode, seed in sorted(tally.told))
        print(f"{tally.told.total()} of the killed are told by {len(tally.told)} scenes: {scenes}", flush=True)
    return 1 if tally.survived else 0


if __name__ == "__main__":
    sys.exit(main())
