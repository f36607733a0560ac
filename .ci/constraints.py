"""Print constraints.txt: the version of everything that the installed project and its extras brought here.

    python .ci/constraints.py              # in an environment in which they are installed
    python .ci/constraints.py --extras     # the extras to install, for pip: test,serve,…

`make constraints` does both in a fresh environment.
"""

import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

HEADER = """\
# Versions that were tested together on Python 3.11; refreshed by `make constraints`.
# torch is pinned because an unpinned one may bring a CUDA build of several GB.
"""
LEFT_OUT = {"vllm"}  # wants a torch of its own and an accelerator; installed where it runs


def extras() -> list[str]:
    """The extras whose packages are pinned together."""
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
    return sorted(project["optional-dependencies"].keys() - LEFT_OUT)


def installed(name: str, wanted: set[str], found: dict[str, str], seen: dict[str, set[str]]) -> None:
    """Add a distribution and, through its requirements, all that it needs; what is not installed is passed over."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    key = canonicalize_name(name)
    try:
        package = distribution(name)
    except PackageNotFoundError:
        return
    new = {"", *wanted} - seen.setdefault(key, set())
    if not new:
        return
    seen[key] |= new
    found[key] = package.version.partition("+")[0]  # a build's name, such as +cpu, is no index's business
    for line in package.requires or []:
        requirement = Requirement(line)
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in new):
            installed(requirement.name, set(requirement.extras), found, seen)


def main() -> None:
    """See the module's docstring."""
    if "--extras" in sys.argv[1:]:
        print(",".join(extras()))
        return
    found: dict[str, str] = {}
    installed("inranker", set(extras()), found, {})
    if "inranker" not in found:
        sys.exit("inranker is not installed here; run `make constraints`")
    del found["inranker"]
    print(HEADER + "".join(f"{name}=={version}\n" for name, version in sorted(found.items())), end="")


if __name__ == "__main__":
    main()
