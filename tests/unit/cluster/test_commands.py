"""The commands of cluster/README.md and of the files' own headers name files and fields that exist."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from inranker.config import make_parser, parse_config
from inranker.labeling.config import LabelConfig
from inranker.mining import MineConfig
from inranker.training.config import TrainConfig

REPOSITORY = Path(__file__).resolve().parents[3]
CONFIGS: dict[str, Any] = {"mine": MineConfig, "label": LabelConfig, "train": TrainConfig}


def readme_commands() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", (REPOSITORY / "cluster/README.md").read_text(), re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line.partition(" #")[0].strip() for line in lines if line.strip()]


STAGES = [line[line.index("python pipelines/") :] for line in readme_commands() if "python pipelines/" in line]


@pytest.mark.parametrize("line", STAGES)
def test_readme_stage_command_is_understood(line: str) -> None:
    _, script, *words = shlex.split(line)
    chosen = CONFIGS[Path(script).stem]
    words = [word for word in words if word != "--plan"]
    config, _ = parse_config(chosen, words, make_parser(chosen, script, ""))
    assert config.output


def test_readme_names_files_that_exist() -> None:
    text = (REPOSITORY / "cluster/README.md").read_text()
    for name in re.findall(r"\]\(([^)#]+)\)", text):
        assert (REPOSITORY / "cluster" / name).exists(), name
    headers = [path.read_text() for path in (REPOSITORY / "cluster").rglob("*.yaml")]
    named = set(re.findall(r"\bcluster/[\w./-]+\.(?:yaml|py|json)", "\n".join([text, *headers])))
    assert {"cluster/kuberay/label.yaml", "cluster/autoscaler/aws.yaml", "cluster/runtime_env.yaml"} <= named
    for name in named:
        assert (REPOSITORY / name).exists(), name


def test_every_file_here_has_its_line_in_the_readme() -> None:
    text = (REPOSITORY / "cluster/README.md").read_text()
    for path in (REPOSITORY / "cluster").iterdir():
        if path.suffix in (".yaml", ".json", ".md") or path.name == "Dockerfile":
            assert path.name in text or path.name == "README.md", path.name
