"""The Markdown of the man pages, made of ``--help`` and of docs/configuration.md; lowdown(1) makes the rest.

``python packaging/manual.py vpnagent.8 | lowdown -s -Tman``, likewise ``vpnagent.yaml.5``. Needs the project
installed. Tables become lists of terms: no terminal is wide enough for four columns.
"""

import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from vpnagent import __version__
from vpnagent.cli import MODULES, commands

HERE = Path(__file__).parent
CONFIGURATION = HERE.parent / "docs" / "configuration.md"
COMMANDS = "<!-- commands -->"
DOCUMENTS = "/usr/share/doc/vpnagent/"  #: where the package has docs/


def main(page: str) -> None:
    """Print a page."""
    pages = {"vpnagent.8": vpnagent_8, "vpnagent.yaml.5": vpnagent_yaml_5}
    sys.stdout.write(pages[page]())


def vpnagent_8() -> str:
    """Return the page of the command: the text beside this file, with every command's help in it."""
    text = (HERE / "vpnagent.8.md").read_text(encoding="utf-8")
    return _head("vpnagent", "8") + text.replace(COMMANDS, "\n".join(_commands()).replace("docs/", DOCUMENTS))


def vpnagent_yaml_5() -> str:
    """Return the page of the configuration file."""
    text = CONFIGURATION.read_text(encoding="utf-8")
    body = "\n".join(definitions(text.splitlines()[1:]))
    body = re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", body)  # a terminal follows no link
    name = "# NAME\n\nvpnagent.yaml - configuration of vpnagent(8)\n\n# DESCRIPTION\n"
    return _head("vpnagent.yaml", "5") + name + body + "\n\n# SEE ALSO\n\n**vpnagent**(8)\n"


def definitions(lines: Iterable[str]) -> Iterator[str]:
    """Turn each row of a table into a term and what is said of it; other lines stay."""
    header: list[str] = []
    for line in lines:
        if not line.startswith("|"):
            header = []
            yield line
            continue
        cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not header:
            header = cells
        elif not set("".join(cells)) <= set("-:"):
            yield from _definition(header, cells)


def _definition(header: list[str], cells: list[str]) -> Iterator[str]:
    term, *rest = cells
    if header == ["key", "type", "default", "meaning"]:
        kind, default, meaning = rest
        rest = [f"*{kind}*, {'required' if default == 'required' else f'default {default}'}. {meaning}"]
    yield ""
    yield term
    yield f": {'; '.join(cell for cell in rest if cell)}"
    yield ""


def _head(title: str, section: str) -> str:
    return f"title: {title}\nsection: {section}\nsource: vpnagent {__version__}\n\n"


def _commands() -> Iterator[str]:
    for name in sorted(MODULES):
        command = commands.get_command(click.Context(commands), name)
        if command is None:
            raise SystemExit(f"{name}: no such command")
        context = click.Context(command, info_name=name)
        usage = " ".join(command.collect_usage_pieces(context))
        yield f"## {name}\n\n    vpnagent {name} {usage}\n"
        yield from _help(inspect.cleandoc(command.help or ""))
        for parameter in command.get_params(context):
            term, said = parameter.get_help_record(context) or ("", "")
            if said and term != "--help":
                yield f"\n`{term}`\n: {said}\n"


def _help(text: str) -> Iterator[str]:
    """Yield a help text: paragraphs, and what must not be filled as it stands."""
    for paragraph in text.split("\n\n"):
        verbatim = paragraph.startswith("\b\n")
        for line in paragraph.removeprefix("\b\n").splitlines():
            if verbatim and line == "Example:":
                yield "Example:\n"
            elif verbatim and line.startswith("  "):
                yield f"    {line.strip()}"
            else:
                yield f"\n{line}" if verbatim else line
                verbatim = False
        yield ""


if __name__ == "__main__":
    main(sys.argv[1])
