"""The codes of findings, as the sources tell them."""

import ast
import pathlib
import re
from collections.abc import Iterable, Iterator
from typing import Final

PACKAGE: Final = pathlib.Path(__file__).parents[1] / "agent" / "vpnagent"
CODE: Final = re.compile(r"[A-Z][a-z0-9]+([A-Z][a-z0-9]+)+|Weak3des|Slow3des")


def codes(paths: Iterable[pathlib.Path]) -> set[str]:
    """Return every code that a ``Finding`` of these sources may have."""
    return {code for path in paths for code in _codes(ast.parse(path.read_text()))}


def _codes(tree: ast.Module) -> Iterator[str]:
    """Yield what stands as ``code=`` and, where that is computed, every text that is written like a code."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    given = [
        keyword.value
        for call in calls
        if _name(call) == "Finding"
        for keyword in call.keywords
        if keyword.arg == "code"
    ]
    yield from _texts(given)
    if len(given) > len(list(_texts(given))):
        yield from (text for text in _texts(ast.walk(tree)) if CODE.fullmatch(text))
        yield from _texts(call.args[0] for call in calls if _name(call) == "_finding" and call.args)


def _name(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _texts(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
