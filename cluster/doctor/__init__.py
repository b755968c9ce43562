"""What would stand in the way of jobs on this machine: looked for, and nothing changed.

CHECKS is a plain table. A check yields findings, and measures apart from what it judges. To add
one, write a module with a `look` and a line here. The first one imports what the others share.
"""

from __future__ import annotations

from cluster.doctor import (
    cluster_head,
    credentials,
    databases,
    folder,
    gpus,
    leftovers,
    machine,
    ray_start,
    room,
    server,
    software,
)
from cluster.doctor.contract import Check

CHECKS: tuple[Check, ...] = (
    Check("software", software.look, seconds=60),
    Check("workspace", folder.look),
    Check("mlflow", databases.look_at_tracking),
    Check("mlflow", server.look),
    Check("decisions", databases.look_at_decisions),
    Check("submissions", leftovers.look),
    Check("credentials", credentials.look),
    Check("machine", machine.look),
    Check("ray", ray_start.look),
    Check("gpus", gpus.look, seconds=60),
    Check("room", room.look),
    Check("cluster", cluster_head.look),
)
