"""The files for Kubernetes, shipped and rendered: valid, restricted, and of one cluster."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import ValidationError
from kubernetes_files import (
    DEPLOY,
    FILES,
    PART_OF,
    ROOT,
    SUBMISSION,
    both,
    documents,
    every_pod,
    rendered,
    shipped,
    tick_pod,
)
from schemas import pods, require_valid

from aigc import __version__
from aigc.data.files import digest_of
from aigc.data.manifest import NAME
from cluster.kuberay import SPEC_ANNOTATION, cluster_document, job_name, ray_job
from cluster.resources import Resources
from jobs.commands.schedule import schedule

LABEL = r"[a-z]([-a-z0-9]*[a-z0-9])?"
"""RFC 1035, which KubeRay holds names to."""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_file_is_what_kubernetes_and_kuberay_publish(path: Path) -> None:
    found = documents(path)

    assert found
    for document in found:
        require_valid(document)
        assert document["metadata"]["labels"] == PART_OF


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["spec", "entrypointt"], "x"),
        (["spec", "backoffLimit"], "0"),
        (["spec", "rayClusterSpec", "authOptions", "mode"], "tokens"),
        (["spec", "rayClusterSpec", "workerGroupSpecs", 0, "replica"], 2),
        (["spec", "rayClusterSpec", "headGroupSpec", "template", "spec", "hostNetwerk"], True),
        (["spec", "rayClusterSpec", "workerGroupSpecs", 0, "template", "spec", "containers"], {}),
    ],
)
def test_a_mistake_in_a_rendered_job_would_be_seen(path: list[Any], value: object) -> None:
    document = copy.deepcopy(rendered())
    require_valid(document)
    inner: Any = document
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value

    with pytest.raises(ValidationError):
        require_valid(document)


@pytest.mark.parametrize(
    ("resources", "pods_wanted", "amounts"),
    [
        (Resources(), (1, 1), {"cpu": "1"}),
        (Resources(workers=3, cpus_per_worker=4), (3, 3), {"cpu": "4"}),
        (Resources(workers="2..4"), (2, 4), {"cpu": "1"}),
        (
            Resources(workers=8, cpus_per_worker=12, gpus_per_worker=2),
            (8, 8),
            {"cpu": "12", "nvidia.com/gpu": "2"},
        ),
    ],
)
def test_there_is_a_pod_for_each_worker(
    resources: Resources, pods_wanted: tuple[int, int], amounts: dict[str, str]
) -> None:
    job = rendered(resources)
    require_valid(job)
    (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    _, worker = pods(job)
    (container,) = worker["spec"]["containers"]

    assert (group["minReplicas"], group["maxReplicas"]) == pods_wanted
    assert group["replicas"] == group["maxReplicas"]
    wanted = {"memory": "8Gi", **amounts}
    assert container["resources"] == {"requests": wanted, "limits": wanted}


def test_gpus_of_the_pattern_do_not_stay_where_none_is_asked_for() -> None:
    cluster = cluster_document()
    (group,) = cluster["spec"]["workerGroupSpecs"]
    group["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] = "1"
    _, worker = pods(ray_job(cluster, SUBMISSION, "", Resources(), {}))

    assert "nvidia.com/gpu" not in worker["spec"]["containers"][0]["resources"]["limits"]


def test_the_pattern_is_not_changed_by_rendering() -> None:
    cluster = cluster_document()
    job = ray_job(cluster, SUBMISSION, "kind: train\n", Resources(workers=5), {"NAME": "value"})

    assert cluster == cluster_document()
    assert {**job["spec"]["rayClusterSpec"], "headGroupSpec": 0, "workerGroupSpecs": 0} == {
        **cluster["spec"],
        "headGroupSpec": 0,
        "workerGroupSpecs": 0,
    }


def test_a_job_is_sent_once_cleaned_up_and_not_begun_again() -> None:
    spec = rendered()["spec"]

    assert spec["submissionMode"] == "HTTPMode"
    assert spec["jobId"] == SUBMISSION
    assert spec["backoffLimit"] == 0
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["ttlSecondsAfterFinished"] == 600


def test_a_job_in_a_queue_of_kueue_is_suspended_until_kueue_lets_it_begin() -> None:
    queued = ray_job(cluster_document(), SUBMISSION, "", Resources(), {}, "night")
    require_valid(queued)

    assert queued["metadata"]["labels"] == {**PART_OF, "kueue.x-k8s.io/queue-name": "night"}
    assert queued["spec"]["suspend"] is True
    # Kueue takes no job that would leave its cluster behind, or that names another one.
    assert queued["spec"]["shutdownAfterJobFinishes"] is True
    assert "clusterSelector" not in queued["spec"]
    assert rendered()["metadata"]["labels"] == PART_OF
    assert "suspend" not in rendered()["spec"]


def test_the_head_finds_the_spec_where_the_entrypoint_looks_for_it() -> None:
    text = "kind: train\nname: 'a \"quoted\" $NAME'\n"
    job = rendered(spec=text)
    head, worker = pods(job)
    (container,) = head["spec"]["containers"]
    (volume,) = [each for each in head["spec"]["volumes"] if each["name"] == "spec"]
    (mount,) = [each for each in container["volumeMounts"] if each["name"] == "spec"]
    (file,) = volume["downwardAPI"]["items"]

    assert head["metadata"]["annotations"] == {SPEC_ANNOTATION: text}
    assert file["fieldRef"] == {"fieldPath": f"metadata.annotations['{SPEC_ANNOTATION}']"}
    words = job["spec"]["entrypoint"].split()
    assert f"{mount['mountPath']}/{file['path']}" in words
    assert words[words.index("--workspace") + 1] in {
        each["mountPath"] for each in container["volumeMounts"]
    }
    assert "annotations" not in worker["metadata"]


def test_every_pod_is_restricted() -> None:
    (uid,) = re.findall(r"^USER (\d+):\d+$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    for pod in every_pod():
        spec, (container,) = pod["spec"], pod["spec"]["containers"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == int(uid)
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert not [volume for volume in spec["volumes"] if "hostPath" in volume]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }
        for kind in ("requests", "limits"):
            assert {"cpu", "memory"} <= container["resources"][kind].keys()


def test_all_pods_run_one_image_of_this_version_on_one_workspace() -> None:
    (ray,) = re.findall(r"^ray==(.*)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    (claim,) = shipped("PersistentVolumeClaim")
    containers = [pod["spec"]["containers"][0] for pod in every_pod()]
    claims = {
        volume["persistentVolumeClaim"]["claimName"]
        for pod in every_pod()
        for volume in pod["spec"]["volumes"]
        if volume["name"] == "workspace"
    }

    assert {each["image"] for each in containers} == {f"aigc-factory:{__version__}"}
    assert cluster_document()["spec"]["rayVersion"] == ray
    assert claims == {claim["metadata"]["name"]}
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


def test_every_pod_has_the_volumes_that_it_mounts() -> None:
    for pod in every_pod():
        mounted = {mount["name"] for mount in pod["spec"]["containers"][0]["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["spec"]["volumes"]}
        assert "workspace" in mounted


def test_the_token_is_asked_for_and_no_secret_is_anything_but_a_name() -> None:
    readme = (ROOT / "cluster" / "README.md").read_text()
    for document in both():
        cluster = document["spec"].get("rayClusterSpec", document["spec"])
        assert cluster["authOptions"] == {"mode": "token", "secretName": "aigc-ray-token"}
    named = {"aigc-ray-token"}
    for pod in every_pod():
        for each in pod["spec"]["containers"][0]["env"]:
            if each["name"] not in ("AIGC_WORKSPACE", "AIGC_CODE", "RAY_AUTH_MODE"):
                assert each.keys() == {"name", "valueFrom"}
                named.add(each["valueFrom"]["secretKeyRef"]["name"])

    assert named == {"aigc-ray-token", "aigc-mlflow", "aigc-store"}
    assert all(f"create secret generic {name} " in readme for name in named)


def test_the_pods_account_has_no_token_and_no_right() -> None:
    (account,) = shipped("ServiceAccount")
    (binding,) = shipped("RoleBinding")
    (role,) = shipped("Role")

    assert account["automountServiceAccountToken"] is False
    assert {pod["spec"]["serviceAccountName"] for pod in every_pod()} == {
        account["metadata"]["name"]
    }
    assert [each["kind"] for each in binding["subjects"]] == ["Group"]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert [(rule["apiGroups"], rule["resources"]) for rule in role["rules"]] == [
        (["ray.io"], ["rayjobs"])
    ]
    assert "*" not in role["rules"][0]["verbs"]


def test_the_schedule_is_looked_after_every_minute_whatever_was_missed() -> None:
    (cron,) = shipped("CronJob")
    program, group, command, *words = tick_pod()["spec"]["containers"][0]["command"]
    tick = schedule.get_command(click.Context(schedule), command)

    assert cron["spec"]["schedule"] == "* * * * *"
    assert cron["spec"]["concurrencyPolicy"] == "Allow"
    assert cron["spec"]["startingDeadlineSeconds"] > 60
    assert (program, group) == ("aigc", "schedule")
    assert tick is not None
    asked = tick.make_context("tick", words).params
    assert asked["place"] == f"http://{cluster_document()['metadata']['name']}-head-svc:8265"
    assert asked["insecure"], "a head's Service speaks no TLS"


@given(names=st.lists(st.from_regex(NAME, fullmatch=True), min_size=2, unique=True))
def test_each_submission_has_a_name_of_its_own_that_kuberay_takes(names: list[str]) -> None:
    made = [job_name(f"{name}-{digest_of([name])[:10]}") for name in names]

    assert len({*made}) == len(names)
    for name, given_name in zip(made, names, strict=True):
        assert len(name) <= 47
        assert re.fullmatch(LABEL, name)
        assert name.endswith(digest_of([given_name])[:10])


@pytest.mark.parametrize(
    ("submission", "name"),
    [
        (SUBMISSION, SUBMISSION),
        (f"{'a' * 36}-0123456789", f"{'a' * 36}-0123456789"),
        (f"{'a' * 40}-0123456789", f"{'a' * 36}-0123456789"),
        (f"{'a' * 35}-bcd-0123456789", f"{'a' * 35}-0123456789"),
        ("3d-0123456789", "job-3d-0123456789"),
        (f"{'3' * 40}-0123456789", f"job-{'3' * 32}-0123456789"),
    ],
)
def test_a_long_name_is_cut_before_its_hash(submission: str, name: str) -> None:
    assert job_name(submission) == name
    assert len(name) <= 47
