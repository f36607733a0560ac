"""What can be said of the Ray engine without a Ray: its config file, and refusals."""

import os
from pathlib import Path

import pytest
import yaml

from inranker.errors import UserError
from inranker.serving.config import Limits, Scaling, ServeConfig


def test_the_config_file_is_one_that_ray_serve_takes(repository: Path) -> None:
    from ray.serve.schema import ServeDeploySchema

    from inranker.serving.cluster import build

    content = yaml.safe_load((repository / "cluster/serve.yaml").read_text())
    (application,) = ServeDeploySchema.model_validate(content).applications
    assert application.import_path == f"{build.__module__}:{build.__name__}"
    deployment = build(application.args)._bound_deployment  # type: ignore[arg-type]
    autoscaling = deployment._deployment_config.autoscaling_config
    assert (autoscaling.min_replicas, autoscaling.max_replicas) == (1, 8)
    assert deployment.ray_actor_options["num_gpus"] == 0.5
    with pytest.raises(UserError, match="unknown key modle"):
        build({"modle": "x"})


def test_the_images_callback_exists(repository: Path) -> None:
    from inranker.serving import cluster, protocol

    assert f"{protocol.__name__}.{protocol.proxy_callback.__name__}" == cluster.CALLBACK_PATH
    assert f"{cluster.CALLBACK}={cluster.CALLBACK_PATH}" in (repository / "cluster/Dockerfile").read_text()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"port": 70000}, "port 70000"),
        ({"batch_tokens": 0}, "batch_tokens 0"),
        ({"limits": Limits(documents=0)}, "limits.documents 0"),
        ({"scaling": Scaling(min_replicas=3, max_replicas=2)}, "max_replicas 2"),
    ],
)
def test_a_config_that_cannot_be_is_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        ServeConfig("model", **change)  # type: ignore[arg-type]


def test_a_required_token_that_is_missing_stops_the_start(teacher: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from inranker.serving.app import build_app
    from inranker.serving.service import Service

    monkeypatch.delenv("INRANKER_SERVE_TOKEN", raising=False)
    assert "INRANKER_SERVE_TOKEN" not in os.environ
    service = Service(ServeConfig(str(teacher), require_token=True, threads=1))
    try:
        with pytest.raises(UserError, match="INRANKER_SERVE_TOKEN is empty"):
            build_app(service)
    finally:
        service.close()


def test_a_taken_port_is_said(teacher: Path) -> None:
    from inranker.serving.local import listen, serve_local

    with listen("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"cannot listen at 127.0.0.1:{port}"):
            serve_local(ServeConfig(str(teacher), engine="local", port=port))
