"""The manifests of Kubernetes, against KubeRay's published schema and against each other."""

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from commands import REPOSITORY, commands_in, require_known

FOLDER = REPOSITORY / "docs" / "recipes" / "kuberay"
SCHEMA = json.loads(Path(__file__).with_name("kuberay-1.7.0.json").read_text())
CHECKER = jsonschema.Draft202012Validator(SCHEMA)

Manifest = dict[str, Any]


def manifest(name: str) -> Manifest:
    (found,) = yaml.safe_load_all((FOLDER / f"{name}.yaml").read_text())
    assert isinstance(found, dict)
    return found


def cluster_of(found: Manifest) -> Manifest:
    return found["spec"].get("rayClusterSpec", found["spec"])


each = pytest.mark.parametrize("name", ["raycluster", "rayjob"])


@each
def test_the_schema_takes_it(name: str) -> None:
    assert [error.message for error in CHECKER.iter_errors(manifest(name))] == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("rayVersion", 2.6),
        ("workerGroupSpec", []),
        ("headGroupSpec.rayStartParams.num-cpus", 0),
        ("headGroupSpec.template.spec.tolerations", [{"keys": "nvidia.com/gpu"}]),
        ("headGroupSpec.template.spec.containers", [{"name": "head", "images": "x"}]),
        ("workerGroupSpecs.0.minReplicas", "0"),
        ("autoscalerOptions.version", "v3"),
    ],
)
@each
def test_the_schema_refuses_mistakes(name: str, path: str, value: object) -> None:
    changed = copy.deepcopy(manifest(name))
    *above, last = path.split(".")
    place: Any = cluster_of(changed)
    for key in above:
        place = place[int(key) if key.isdigit() else key]
    place[last] = value
    assert not CHECKER.is_valid(changed)


@each
def test_gpu_machines_come_up_from_zero_and_may_be_taken(name: str) -> None:
    cluster = cluster_of(manifest(name))
    assert cluster["enableInTreeAutoscaling"] is True
    (workers,) = cluster["workerGroupSpecs"]
    assert (workers["replicas"], workers["minReplicas"]) == (0, 0)
    pod = workers["template"]["spec"]
    (container,) = pod["containers"]
    gpus = container["resources"]["limits"]["nvidia.com/gpu"]
    assert container["resources"]["requests"]["nvidia.com/gpu"] == gpus
    assert workers["rayStartParams"]["num-gpus"] == gpus
    spot = next(iter(pod["nodeSelector"]))
    assert {each["key"] for each in pod["tolerations"]} == {spot, "nvidia.com/gpu"}
    # The head holds the search: it trains nothing and stays.
    head = cluster["headGroupSpec"]
    assert head["rayStartParams"]["num-cpus"] == "0"
    assert "nodeSelector" not in head["template"]["spec"]


@each
def test_head_and_workers_are_alike_and_run_the_tested_ray(name: str) -> None:
    cluster = cluster_of(manifest(name))
    constraints = (REPOSITORY / "constraints.txt").read_text()
    assert f"\nray=={cluster['rayVersion']}\n" in constraints
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    pods = [group["template"]["spec"] for group in groups]
    assert len({pod["serviceAccountName"] for pod in pods}) == 1
    containers = [pod["containers"][0] for pod in pods]
    assert len({container["image"] for container in containers}) == 1
    assert all(container["env"] == containers[0]["env"] for container in containers)
    for pod, container in zip(pods, containers, strict=True):
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_mlflow_is_where_the_searches_look_for_it() -> None:
    found = list(yaml.safe_load_all((FOLDER / "mlflow.yaml").read_text()))
    by_kind = {each["kind"]: each for each in found}
    service, pod = by_kind["Service"], by_kind["Deployment"]["spec"]["template"]
    assert service["spec"]["selector"] == pod["metadata"]["labels"]
    address = f"http://{service['metadata']['name']}:{service['spec']['ports'][0]['port']}"
    (server,) = pod["spec"]["containers"]
    assert f"--port={service['spec']['ports'][0]['port']}" in server["args"]
    for name in ("raycluster", "rayjob"):
        environment = cluster_of(manifest(name))["headGroupSpec"]["template"]["spec"]["containers"]
        values = {each["name"]: each.get("value") for each in environment[0]["env"]}
        assert values["MLFLOW_TRACKING_URI"] == address


def test_the_job_goes_on_with_its_search_where_it_was() -> None:
    job = manifest("rayjob")
    resume, start = commands_in(job["spec"]["entrypoint"])
    require_known(resume)
    require_known(start)
    name = job["metadata"]["name"]
    assert resume[resume.index("--resume") + 1] == start[start.index("--name") + 1] == name
    assert resume[resume.index("--storage") + 1] == start[start.index("--storage") + 1]
