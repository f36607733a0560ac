"""The KubeRay manifests: their schema, what Ray's autoscaler reads in them, and that they run commands that exist."""

import copy
import json
import os
import shlex
from collections.abc import Iterator
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from inranker.config import build_config, make_parser, parse_config
from inranker.distill import DistillConfig, prepare
from inranker.labeling.config import LabelConfig
from inranker.training.config import TrainConfig

CLUSTER = Path(__file__).resolve().parents[3] / "cluster"
FOLDER = CLUSTER / "kuberay"
KUBERNETES = "v1.37.0"
ONE_OF_EACH = {"label": ["cpu", "label-spot"], "train": ["train"], "distill": ["cpu", "label-spot", "train"]}


def documents() -> dict[str, dict[str, Any]]:
    """Every Kubernetes object, by file name and kind."""
    return {
        f"{path.stem}-{document['kind']}": document
        for path in sorted(FOLDER.glob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text())
    }


DOCUMENTS = documents()
RAY = {name: document for name, document in DOCUMENTS.items() if document["apiVersion"] == "ray.io/v1"}


@cache
def registry() -> tuple[dict[str, Any], Registry]:
    """KubeRay's fields, and Kubernetes's own strict schema, to which they refer."""
    kuberay = json.loads((Path(__file__).parent / "kuberay.schema.json").read_text())
    kubernetes = resources.files("kubernetes_validate") / f"kubernetes-json-schema/{KUBERNETES}-local-strict"
    definitions = Resource.from_contents(json.loads((kubernetes / "_definitions.json").read_text()))
    return kuberay, definitions @ Registry()


def problems(document: dict[str, Any]) -> list[str]:
    """What the schemas say against a RayJob or a RayCluster."""
    kuberay, known = registry()
    schema = {**kuberay, "$ref": f"#/definitions/{document['kind']}"}
    found = Draft202012Validator(schema, registry=known).iter_errors(document)
    return [f"{error.json_path}: {error.message[:200]}" for error in found]


def spec_of_cluster(document: dict[str, Any]) -> dict[str, Any]:
    spec = document["spec"]
    return spec["rayClusterSpec"] if document["kind"] == "RayJob" else spec


def pods(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Pod templates of a Ray cluster: the head's, then the groups'."""
    spec = spec_of_cluster(document)
    yield from (group["template"] for group in [spec["headGroupSpec"], *spec["workerGroupSpecs"]])


@pytest.mark.parametrize("name", RAY)
def test_manifest_follows_the_schema(name: str) -> None:
    assert problems(RAY[name]) == []


def test_other_manifests_follow_kubernetes_own_schema() -> None:
    import kubernetes_validate

    others = [document for name, document in DOCUMENTS.items() if name not in RAY]
    assert others
    for document in others:
        kubernetes_validate.validate(document, KUBERNETES.removeprefix("v"), strict=True)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "shutdownAfterJobFinished"), True),  # not a field's name
        (("spec", "backoffLimit"), "3"),
        (("spec", "submissionMode"), "K8sJob"),
        (("spec", "rayClusterSpec", "workerGroupSpecs", 0, "minReplica"), 1),
        (("spec", "rayClusterSpec", "workerGroupSpecs", 0, "rayStartParams", "num-cpus"), 4),  # must be text
        (("spec", "rayClusterSpec", "headGroupSpec", "template", "spec", "containers", 0, "imagePolicy"), "Always"),
        (("spec", "rayClusterSpec", "headGroupSpec", "template", "spec", "containers", 0, "env", 0, "value"), 540),
    ],
)
def test_a_wrong_manifest_is_found(path: tuple[Any, ...], value: Any) -> None:
    document = copy.deepcopy(RAY["label-RayJob"])
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert len(problems(document)) == 1


def test_manifests_against_the_operators_own_definitions() -> None:
    """The custom resource definitions themselves, where somebody has them: they are not the project's to carry."""
    folder = os.environ.get("INRANKER_KUBERAY_CRDS")
    if not folder:
        pytest.skip(
            "set INRANKER_KUBERAY_CRDS to a folder with KubeRay's CRDs (kubectl get crd rayjobs.ray.io -o yaml)"
        )
    definitions = [yaml.safe_load(path.read_text()) for path in Path(folder).glob("*.yaml")]
    for document in RAY.values():
        (definition,) = [each for each in definitions if each["spec"]["names"]["kind"] == document["kind"]]
        (version,) = [each for each in definition["spec"]["versions"] if each["name"] == "v1"]
        schema = version["schema"]["openAPIV3Schema"]
        assert [error.message for error in Draft202012Validator(schema).iter_errors(document)] == []


@pytest.mark.parametrize("name", RAY)
def test_manifest_is_read_by_rays_autoscaler(name: str) -> None:
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

    cluster = {"metadata": {"name": "inranker", "namespace": "default"}, "spec": spec_of_cluster(RAY[name])}
    assert cluster["spec"]["enableInTreeAutoscaling"]
    nodes = _derive_autoscaling_config_from_ray_cr(cluster)["available_node_types"]
    assert nodes["headgroup"]["resources"]["CPU"] == 0
    for group, node in nodes.items():
        resources, gpus = node["resources"], node["resources"].get("GPU", 0)
        assert resources.get("label", 0) == (group == "label-spot")
        assert resources.get("train", 0) == (group == "train")
        assert (gpus > 0) == (group in ("label-spot", "train"))
        if group == "label-spot":
            assert node["min_workers"] == 0 and node["max_workers"] >= 8


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_job_manifest_ends_and_tries_again(name: str) -> None:
    job = RAY[f"{name}-RayJob"]["spec"]
    assert job["shutdownAfterJobFinishes"] and job["ttlSecondsAfterFinished"] > 0
    assert job["backoffLimit"] > 0 and job["submissionMode"] == "K8sJobMode"
    groups = [group["groupName"] for group in job["rayClusterSpec"]["workerGroupSpecs"]]
    assert groups == ONE_OF_EACH[name]


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_job_manifest_has_the_groups_of_the_cluster_that_stays(name: str) -> None:
    """Written out again in each file, so that a file alone is enough; they must not drift apart."""
    stays = {group["groupName"]: group for group in RAY["raycluster-RayCluster"]["spec"]["workerGroupSpecs"]}
    for group in RAY[f"{name}-RayJob"]["spec"]["rayClusterSpec"]["workerGroupSpecs"]:
        sizes = ("replicas", "minReplicas", "maxReplicas")
        assert {key: value for key, value in group.items() if key not in sizes} == {
            key: value for key, value in stays[group["groupName"]].items() if key not in sizes
        }


@pytest.mark.parametrize("name", RAY)
def test_manifest_pods_are_probed_unprivileged_and_hold_no_secret(name: str) -> None:
    for pod in pods(RAY[name]):
        security, (container,) = pod["spec"]["securityContext"], pod["spec"]["containers"]
        assert security["runAsNonRoot"] and security["runAsUser"] == 10001
        assert not container["securityContext"]["allowPrivilegeEscalation"]
        assert all(probe in container for probe in ("startupProbe", "readinessProbe", "livenessProbe"))
        assert container["envFrom"] == [{"secretRef": {"name": "inranker-storage"}}]
        for variable in container["env"]:
            secret = any(word in variable["name"] for word in ("TOKEN", "KEY", "SECRET", "PASSWORD"))
            assert secret == ("valueFrom" in variable)
        assert {"name": "metrics", "containerPort": 8080} in container["ports"]
        assert {"name": "shared-memory", "mountPath": "/dev/shm"} in container["volumeMounts"]


@pytest.mark.parametrize("name", RAY)
def test_manifest_gives_drivers_time_to_save(name: str) -> None:
    head = next(pods(RAY[name]))["spec"]
    (wait,) = [each for each in head["containers"][0]["env"] if each["name"] == "RAY_JOB_STOP_WAIT_TIME_S"]
    assert 60 <= int(wait["value"]) < head["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_manifest_entrypoint_is_a_command_that_exists(name: str, repository: Path) -> None:
    python, script, *arguments = shlex.split(RAY[f"{name}-RayJob"]["spec"]["entrypoint"])
    assert python == "python" and script.startswith("/app/pipelines/")
    assert (repository / script.removeprefix("/app/")).exists()
    stops = RAY[f"{name}-RayJob"]["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    assert f"'^{python} /app/pipelines/'" in stops["lifecycle"]["preStop"]["exec"]["command"][-1]
    if name == "distill":
        recipe = yaml.safe_load(DOCUMENTS["distill-ConfigMap"]["data"]["recipe.yaml"])
        prepared = {call.name: config for call, config, _ in prepare(build_config(DistillConfig, recipe, "the recipe"))}
        assert prepared["labels"].execution.node_resource == "label"
        assert prepared["student"].execution.node_resource == "train"
        return
    chosen: Any = LabelConfig if name == "label" else TrainConfig
    config, _ = parse_config(chosen, arguments, make_parser(chosen, script, ""))
    assert config.execution.node_resource == name
    assert (config.execution.gpus_per_actor if name == "label" else config.execution.use_gpu) == 1
