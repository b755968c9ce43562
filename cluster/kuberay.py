"""A RayJob for KubeRay: a submission, and the Ray cluster that is made for it alone.

The cluster is that of deploy/kuberay/cluster.yaml, with as many workers as the spec asks for. The
spec travels in an annotation of the head's pod, which the pod sees as a file, so that one document
is all there is to apply, and to delete.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cluster.resources import Capacity, Node, Resources

Document = dict[str, Any]
"""A resource of Kubernetes, as plain data."""

CLUSTER = Path(__file__).parent / "deploy" / "kuberay" / "cluster.yaml"

LONGEST_NAME = 47
"""Characters that KubeRay leaves for the name of a RayJob: it makes longer ones of it."""

MOST_SPEC_BYTES = 100_000
"""Annotations may have 262,144 bytes in all, and `kubectl apply` keeps a copy among them."""

MINUTES_KEPT = 10
"""How long the pods of a job stay after its end, for whoever wants to look at them."""

GPU = "nvidia.com/gpu"
SPEC_ANNOTATION = "aigc-factory/spec"
SUBMISSION_ANNOTATION = "aigc-factory/submission"

QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
QUEUE_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
"""A LocalQueue of Kueue: RFC 1123, and as long as the value of a label may be."""

_WORKSPACE, _SPEC_FOLDER, _SPEC_FILE = "/workspace", "/etc/aigc", "spec.yaml"
_SUBMIT = f"submit {_SPEC_FOLDER}/{_SPEC_FILE} --on cluster --yes"
_ENTRYPOINT = f"python -m jobs --workspace {_WORKSPACE} {_SUBMIT}"


@dataclass(frozen=True)
class OwnCluster:
    """The cluster that a RayJob brings with it, for planning: as large as the job asks for."""

    resources: Resources
    name = "a cluster of its own"
    patience = 0.0

    def capacity(self) -> Capacity:
        """A node for each worker; whether Kubernetes has room for them, nobody asks."""
        cpus, gpus = self.resources.cpus_per_worker, self.resources.gpus_per_worker
        return Capacity((Node(cpus, gpus, cpus, gpus),) * self.resources.most)

    def needs(self, resources: Resources) -> Resources:
        """All of them."""
        return resources


def cluster_document() -> Document:
    """The RayCluster of deploy/kuberay/cluster.yaml."""
    document: Document = yaml.safe_load(CLUSTER.read_text())
    return document


def ray_job(
    cluster: Document,
    submission: str,
    spec: str,
    resources: Resources,
    environment: Mapping[str, str],
    queue: str | None = None,
) -> Document:
    """The RayJob that runs the submission of that id on a cluster of its own.

    `cluster` is the RayCluster from which the job's own takes its images, volumes, secrets and
    memory; `spec` is the resolved spec, YAML. There is one pod for each of the most workers, whose
    GPUs must be whole. `environment` is what the head has beside what the cluster gives it. With a
    `queue` of Kueue the job is suspended until Kueue lets it begin.
    """
    pattern = cluster["spec"]
    queued = {QUEUE_LABEL: queue} if queue else {}
    (workers,) = pattern["workerGroupSpecs"]
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {
            "name": job_name(submission),
            "labels": cluster["metadata"]["labels"] | queued,
            "annotations": {SUBMISSION_ANNOTATION: submission},
        },
        "spec": {
            **({"suspend": True} if queue else {}),
            "jobId": submission,
            "entrypoint": _ENTRYPOINT,
            # The operator itself hands the job over: no pod that it would make for that, and
            # that would be less restricted than ours.
            "submissionMode": "HTTPMode",
            # What a retry can help with is retried by the job, which goes on where it was.
            "backoffLimit": 0,
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": 60 * MINUTES_KEPT,
            "rayClusterSpec": pattern
            | {
                "headGroupSpec": _asked(pattern["headGroupSpec"], spec, environment),
                "workerGroupSpecs": [_sized(workers, resources)],
            },
        },
    }


def job_name(submission: str) -> str:
    """The name of a submission's RayJob: its id, cut before the hash that ends it.

    Kubernetes wants a letter at the beginning, where an id may have a digit.
    """
    name, _, identity = submission.rpartition("-")
    beginning = name if name[0].isalpha() else f"job-{name}"
    return f"{beginning[: LONGEST_NAME - 1 - len(identity)].rstrip('-')}-{identity}"


def _asked(head: Document, spec: str, environment: Mapping[str, str]) -> Document:
    """The head, with the spec as a file, and more variables."""
    template = head["template"]
    pod, metadata = template["spec"], template["metadata"]
    ray, *others = pod["containers"]
    mount = {"name": "spec", "mountPath": _SPEC_FOLDER, "readOnly": True}
    field = {"fieldPath": f"metadata.annotations['{SPEC_ANNOTATION}']"}
    volume = {
        "name": "spec",
        "downwardAPI": {"items": [{"path": _SPEC_FILE, "fieldRef": field}]},
    }
    variables = [{"name": name, "value": value} for name, value in environment.items()]
    asked = ray | {
        "env": [*ray["env"], *variables],
        "volumeMounts": [*ray["volumeMounts"], mount],
    }
    return head | {
        "template": {
            "metadata": metadata | {"annotations": {SPEC_ANNOTATION: spec}},
            "spec": pod | {"containers": [asked, *others], "volumes": [*pod["volumes"], volume]},
        }
    }


def _sized(workers: Document, resources: Resources) -> Document:
    """The group, with a pod for each worker and in it what a worker needs."""
    template = workers["template"]
    pod = template["spec"]
    ray, *others = pod["containers"]
    amounts = {kind: _amounts(ray["resources"][kind], resources) for kind in ("requests", "limits")}
    sized = ray | {"resources": amounts}
    return workers | {
        "replicas": resources.most,
        "minReplicas": resources.fewest,
        "maxReplicas": resources.most,
        "template": template | {"spec": pod | {"containers": [sized, *others]}},
    }


def _amounts(given: Document, resources: Resources) -> Document:
    """What one worker has: processors and GPUs as asked for, memory and the rest as given."""
    cpus, gpus = resources.cpus_per_worker, int(resources.gpus_per_worker)
    rest = {name: amount for name, amount in given.items() if name != GPU}
    return rest | {"cpu": str(cpus)} | ({GPU: str(gpus)} if gpus else {})
