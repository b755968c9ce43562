"""Who reaches the pods on Kubernetes, and whom these reach."""

from __future__ import annotations

from egress import Pod, chooses, lets_out
from kubernetes_files import PART_OF, every_pod, ray_pods, shipped, tick_pod

SERVICE = {"aigc-factory/service": "true"}
REACHED = (
    (Pod(PART_OF), "TCP", (6379, 8265, 31_000)),
    (Pod(namespace="kube-system"), "UDP", (53,)),
    (Pod(namespace="kube-system"), "TCP", (53,)),
    (Pod(SERVICE), "TCP", (5000, 5432, 9000)),
    (Pod(SERVICE, "elsewhere"), "TCP", (5000, 5432, 9000)),
    ("203.0.113.7", "TCP", (443, 5432, 465, 587)),
    ("2001:db8::7", "TCP", (443, 5432, 465, 587)),
)
SHUT = (
    (Pod(), "TCP", (443, 5000, 8265)),
    (Pod({"aigc-factory/client": "true"}), "TCP", (443, 8265)),
    (Pod(PART_OF, "elsewhere"), "TCP", (6379, 8265)),
    (Pod(namespace="kube-system"), "TCP", (443, 6443)),
    (Pod(namespace="elsewhere"), "UDP", (53,)),
    ("203.0.113.7", "TCP", (22, 25, 53, 80, 444, 6443, 8265, 65_535)),
    ("203.0.113.7", "UDP", (53, 443)),
    ("169.254.169.254", "TCP", (80, 443)),
    ("169.254.170.2", "TCP", (80, 443)),
    ("fd00:ec2::254", "TCP", (80, 443)),
    ("fe80::a9fe:a9fe", "TCP", (443,)),
)


def test_only_the_pods_themselves_and_labelled_clients_reach_the_head() -> None:
    among, head, _, schedules = shipped("NetworkPolicy")
    own, clients = {"podSelector": {"matchLabels": PART_OF}}, {"aigc-factory/client": "true"}

    assert among["spec"]["podSelector"] == own["podSelector"]
    assert among["spec"]["ingress"] == [{"from": [own]}]
    assert head["spec"]["podSelector"]["matchLabels"] == {**PART_OF, "ray.io/node-type": "head"}
    (rule,) = head["spec"]["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 8265}]
    assert {"podSelector": {"matchLabels": clients}} in rule["from"]
    assert all(each["podSelector"]["matchLabels"] for each in rule["from"])
    for policy in (among, head, schedules):
        assert policy["spec"]["policyTypes"] == ["Ingress"]
    assert "ingress" not in schedules["spec"]
    selected = schedules["spec"]["podSelector"]["matchLabels"]
    assert tick_pod()["metadata"]["labels"].items() >= selected.items()
    for pod in ray_pods():
        # Not the name: KubeRay's Service finds the head by its own.
        assert pod["metadata"]["labels"] == PART_OF
    assert tick_pod()["metadata"]["labels"].items() >= clients.items()
    assert not tick_pod()["metadata"]["labels"].items() >= PART_OF.items()


def test_every_pod_reaches_what_it_needs_and_nothing_else() -> None:
    *_, out, _ = shipped("NetworkPolicy")
    for pod in every_pod():
        assert chooses(out["spec"]["podSelector"], pod["metadata"]["labels"])
    for is_open, connections in ((True, REACHED), (False, SHUT)):
        for to, protocol, ports in connections:
            for port in ports:
                assert lets_out(out, to, protocol, port) == is_open, (to, protocol, port)
