SMP: tuple[str, ...]
GROUPS: dict[int, tuple[str, ...]]

def explain(group: int, rc: int) -> str: ...
