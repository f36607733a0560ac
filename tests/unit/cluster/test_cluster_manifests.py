"""What else lies in cluster/: Ray's autoscaler files, the runtime environment, DeepSpeed, Prometheus, Grafana."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

CLUSTER = Path(__file__).resolve().parents[3] / "cluster"
RAYS_OWN = re.compile(r"^ray_(node|cluster|component)_")


def autoscaler(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((CLUSTER / "autoscaler" / f"{name}.yaml").read_text())
    return loaded


@pytest.mark.parametrize("name", ["aws", "gcp"])
def test_autoscaler_manifest_is_one_that_ray_up_takes(name: str) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(autoscaler(name))
    validate_config(config)
    nodes = config["available_node_types"]
    assert nodes["head"]["resources"]["CPU"] == 0
    assert nodes["label_spot"]["min_workers"] == 0 and nodes["label_spot"]["max_workers"] == 64
    assert nodes["label_spot"]["resources"]["label"] == nodes["train"]["resources"]["train"] == 1
    assert "RAY_JOB_STOP_WAIT_TIME_S=540" in " ".join(config["head_start_ray_commands"])
    broken = {**autoscaler(name), "available_node_type": {}}
    with pytest.raises(Exception, match="available_node_type"):
        validate_config(broken)


def test_autoscaler_manifest_of_aws_has_nodes_that_ec2_can_run() -> None:
    from botocore.session import get_session
    from botocore.validate import ParamValidator

    shape = get_session().get_service_model("ec2").operation_model("RunInstances").input_shape
    nodes = autoscaler("aws")["available_node_types"]
    for name, node in nodes.items():
        asked = {"MinCount": 1, "MaxCount": 1, **node["node_config"]}
        assert not ParamValidator().validate(asked, shape).has_errors(), name
        assert set(asked) <= set(shape.members), name
    assert nodes["label_spot"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert "InstanceMarketOptions" not in nodes["train"]["node_config"]


def test_autoscaler_manifest_of_gcp_labels_on_spot_machines_alone() -> None:
    nodes = autoscaler("gcp")["available_node_types"]
    for name, node in nodes.items():
        config = node["node_config"]
        assert set(config) <= {"machineType", "disks", "serviceAccounts", "scheduling"}
        (scheduling,) = config.get("scheduling", [{}])
        assert (scheduling.get("provisioningModel") == "SPOT") == (name == "label_spot")
        if node["resources"].get("GPU"):
            assert scheduling["onHostMaintenance"] == "TERMINATE"  # a GPU machine cannot be moved


def test_runtime_env_manifest_is_one_that_ray_takes() -> None:
    from ray.runtime_env import RuntimeEnv

    content = yaml.safe_load((CLUSTER / "runtime_env.yaml").read_text())
    assert RuntimeEnv(**content).env_vars()["OMP_WAIT_POLICY"] == "PASSIVE"
    assert not [name for name in content["env_vars"] if re.search("KEY|SECRET|TOKEN$|PASSWORD", name)]


def test_deepspeed_manifests_are_what_the_trainer_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(CLUSTER)
    import write_deepspeed

    assert write_deepspeed.stale() == [] and write_deepspeed.main(["--check"]) == 0
    written = {name: json.loads(text) for name, text in write_deepspeed.contents().items()}
    stages = [written[f"zero{stage}.json"]["zero_optimization"]["stage"] for stage in range(4)]
    assert stages == [0, 1, 2, 3]
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig

    for config in written.values():
        DeepSpeedZeroConfig(**config["zero_optimization"])


@pytest.mark.parametrize("name", ["prometheus", "prometheus-kubernetes"])
def test_prometheus_manifest(name: str) -> None:
    path = CLUSTER / "monitoring" / f"{name}.yaml"
    content = yaml.safe_load(path.read_text())
    assert set(content) == {"global", "scrape_configs"}
    for job in content["scrape_configs"]:
        assert set(job) <= {
            *("job_name", "metrics_path", "static_configs", "file_sd_configs", "kubernetes_sd_configs"),
            "relabel_configs",
        }
        for rule in job.get("relabel_configs", []):
            assert set(rule) <= {"source_labels", "action", "regex", "target_label"}
            re.compile(rule.get("regex", ""))
    promtool = shutil.which("promtool")
    if promtool and name == "prometheus":  # Debian's has no Kubernetes in it
        checked = subprocess.run([promtool, "check", "config", str(path)], capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout + checked.stderr


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((CLUSTER / "monitoring" / "grafana.json").read_text())
    return loaded


def known_metrics() -> set[str]:
    """Every metric that this project or Ray's nodes register, as Prometheus sees it."""
    from ray.dashboard.modules.reporter.reporter_agent import METRICS_GAUGES

    from inranker.jobs.graph import gauge_names
    from inranker.labeling.job import LABEL
    from inranker.serving.metrics import MEASURES, PREFIX
    from inranker.synthesis.job import SYNTHESIZE
    from inranker.training.gauges import GAUGES

    suffixes = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}
    ours = {*gauge_names(LABEL).values(), *gauge_names(SYNTHESIZE).values(), *GAUGES.values()}
    ours |= {f"{PREFIX}{name}{end}" for name, measure in MEASURES.items() for end in suffixes[measure.kind]}
    return {f"ray_{name}" for name in ours | METRICS_GAUGES.keys()}


def selectors(node: Any) -> set[str]:
    """Names of the metrics in a parsed PromQL expression."""
    return set(re.findall(r"\b(ray_[a-z0-9_]+|inranker_[a-z0-9_]+)(?=\{|\[|$|\s|\))", node.prettify()))


def test_grafana_manifest_asks_for_metrics_that_exist() -> None:
    import promql_parser

    known, asked = known_metrics(), set()
    panels = [panel for panel in dashboard()["panels"] if panel["type"] != "row"]
    for panel in panels:
        for target in panel["targets"]:
            expression = target["expr"].replace("$__rate_interval", "5m").replace("$output", ".*")
            names = selectors(promql_parser.parse(expression))
            assert names and names <= known, (panel["title"], names - known)
            asked |= names
    assert "ray_inranker_label_pairs_done" in asked and "ray_inranker_train_loss" in asked
    jobs = {name for name in known if re.match("ray_inranker_(label|synthesize|train)_", name)}
    unused = jobs - asked - {"ray_inranker_train_pairs"}
    assert not unused, "job metrics without a panel"
    with pytest.raises(ValueError):
        promql_parser.parse("sum by (output (x)")


def test_grafana_manifest_is_a_dashboard() -> None:
    content = dashboard()
    panels = content["panels"]
    assert {"title", "uid", "schemaVersion", "templating", "time", "panels"} <= content.keys()
    assert len({panel["id"] for panel in panels}) == len(panels)
    variables = {variable["name"] for variable in content["templating"]["list"]}
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        columns = range(place["x"], place["x"] + place["w"])
        cells = {(x, y) for x in columns for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
        for target in panel.get("targets", []):
            used = set(re.findall(r"\$\{?([a-z_]+)\}?", json.dumps(target)))
            assert used <= variables | {"__rate_interval"}
    assert {panel["type"] for panel in panels} == {"row", "stat", "gauge", "timeseries"}
