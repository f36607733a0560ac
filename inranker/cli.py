"""What every stage script shares: parsing, `--json`, modes such as `--plan`, and errors as one sentence."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from inranker.config import make_parser, parse_config
from inranker.errors import UserError
from inranker.manifest import to_json

Config = TypeVar("Config")
Stage = Callable[[Config], dict[str, Any]]

USER_ERROR = 2
SHORT_NAMES = "A field of `identity` or `execution` may be named without its group: --depth for --identity.depth."


def main(
    config_class: type[Config],
    stage: Stage[Config],
    description: str,
    modes: Mapping[str, tuple[Stage[Config], str]] | None = None,
    argv: Sequence[str] | None = None,
    prog: str | None = None,
) -> None:
    """Run a stage script and exit: 0 when done, 1 when the work failed, 2 when the user can put it right.

    Args:
        config_class: the stage's config.
        stage: config -> summary.
        description: the script's docstring, shown by `--help`.
        modes: other things to do with the same config: flag -> (function, help); `{"verify": (verify, "…")}`.
        argv: words of the command line; those of the process when None.
        prog: what `--help` calls the program; the script's name when None.

    A summary is not printed when it says `on_stdout`: the stage's result went there.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        sys.exit(_run(config_class, stage, description, modes or {}, words, prog or Path(sys.argv[0]).name))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(USER_ERROR)


def _run(
    config_class: type[Config],
    stage: Stage[Config],
    description: str,
    modes: Mapping[str, tuple[Stage[Config], str]],
    words: list[str],
    prog: str,
) -> int:
    parser = make_parser(config_class, prog, f"{description.strip()}\n\n{SHORT_NAMES}")
    parser.add_argument("--json", type=str | None, default=None, help="write the summary to this file as JSON")
    for flag, (_, explanation) in modes.items():
        parser.add_argument(f"--{flag}", action="store_true", help=explanation)
    config, options = parse_config(config_class, words, parser)
    chosen = [flag for flag in modes if options[flag]]
    if len(chosen) > 1:
        raise UserError(f"--{chosen[0]} and --{chosen[1]} exclude each other; give one")
    summary = (modes[chosen[0]][0] if chosen else stage)(config)
    text = json.dumps(json.loads(to_json(summary)), indent=2, ensure_ascii=False)
    if options["json"]:
        write_json(options["json"], summary)
    # The table, where there is one, is what a person reads; the JSON is for pipes.
    if not summary.get("on_stdout"):
        print(summary.get("table") or text)
    return int(bool(summary.get("failed")))


def write_json(path: str, summary: dict[str, Any]) -> None:
    """A summary as a JSON file; directories are made.

    Raises:
        UserError: the file cannot be written.
    """
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(to_json(summary))
    except OSError as error:
        raise UserError(f"cannot write --json {path}: {error.strerror}") from error
