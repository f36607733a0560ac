"""The `inranker` command: ranking for people and pipes, and every stage by its name.

inranker rank "how do reefs form" notes.md papers/
inranker rank --model out/student/student < candidates.jsonl > ranked.jsonl
inranker rank --model out/student/student --input bm25.trec --collection beir:path/to/scifact > student.trec
inranker mine --collection python-docs --split train --output out/pairs
"""

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from inranker.commands import COMMANDS

USER_ERROR, INTERRUPTED, BROKEN_PIPE = 2, 130, 141


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command and exit as stage scripts do: 0 when done, 1 when the work failed, 2 when the user can mend it."""
    words = sys.argv[1:] if argv is None else list(argv)
    if not words or words[0] in ("-h", "--help"):
        print(usage())
    elif words[0] == "--version":
        from inranker import __version__

        print(__version__)
    elif words[0] in COMMANDS:
        run(words[0], words[1:], prog=f"inranker {words[0]}")
    else:
        print(f"error: {words[0]!r} is no command of inranker; it has {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(USER_ERROR)


def run(name: str, words: Sequence[str], description: str | None = None, prog: str | None = None) -> None:
    """Run one command and exit; see `inranker.cli.main`.

    Args:
        name: key of `COMMANDS`.
        words: what follows it on the command line.
        description: what `--help` says first; the docstring of the stage's module when None.
        prog: what `--help` calls the program; the script's name when None.
    """
    from inranker import cli

    command = COMMANDS[name]
    stage = found(command.stage)
    description = description or sys.modules[stage.__module__].__doc__ or command.help
    modes = {flag: _mode(place) for flag, place in command.modes.items()}
    words = positional(words) if name == "rank" else list(words)
    try:
        cli.main(found(command.config), stage, description, modes, words, prog)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader has seen enough; what Python still holds for it must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(BROKEN_PIPE)


def positional(words: Sequence[str]) -> list[str]:
    """`rank`'s short form: QUERY [FILE …] before the options, as options."""
    bare: list[str] = []
    for word in words:
        if word.startswith("--") or (not bare and word.endswith((".yaml", ".yml"))):
            break
        bare.append(word)
    rest = list(words[len(bare) :])
    return [*(["--query", bare[0]] if bare else []), *(["--files", *bare[1:]] if bare[1:] else []), *rest]


def found(place: str) -> Any:
    """What `module:name` names."""
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def usage() -> str:
    """What `inranker --help` prints."""
    width = max(map(len, COMMANDS))
    rows = [f"  {name:<{width}}  {command.help}" for name, command in COMMANDS.items()]
    return "\n".join([(__doc__ or "").strip(), "", "commands:", *rows, "", "inranker COMMAND --help explains each."])


def _mode(place: str) -> tuple[Callable[..., dict[str, Any]], str]:
    function = found(place)
    return function, (function.__doc__ or "").strip().splitlines()[0]


if __name__ == "__main__":
    main()
