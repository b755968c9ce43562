"""A process that joins the Ray of its node."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from ray_head import RayHead

PROGRAM = """
import signal, sys
from pathlib import Path
from cluster.joined import JoinedRay

signal.signal(signal.SIGTERM, signal.default_int_handler)
try:
    with JoinedRay(Path(sys.argv[1])) as place:
        print(place.capacity())
        signal.raise_signal(signal.SIGTERM)
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.ray
def test_sigterm_goes_on_to_interrupt_it(ray_cluster: RayHead, tmp_path: Path) -> None:
    """It is what `aigc job cancel` sends: Ray's own answer left a job STOPPED, not CANCELLED."""
    root = Path(__file__).parents[2]
    environment = ray_cluster.environment | {
        "RAY_ADDRESS": ray_cluster.gcs,
        "PYTHONPATH": str(root),
    }
    said = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert said.stdout.splitlines()[-1:] == ["interrupted"], said.stderr[-2000:]
    assert said.returncode == 0
