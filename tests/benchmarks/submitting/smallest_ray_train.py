"""The smallest script that trains a network data-parallel on a Ray of its own: WORKERS FILE.

It takes one step of random data, and writes down when that was done.
"""

import sys
import tempfile
import time
from pathlib import Path

import ray
import torch
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer, prepare_model


def worker(asked):
    model = prepare_model(torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Linear(64, 64)))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.rand(16, 64)).square().mean().backward()
    optimizer.step()
    if ray.train.get_context().get_world_rank() == 0:
        Path(asked["said"]).write_text(str(time.time()))


if __name__ == "__main__":
    workers, said = sys.argv[1:]
    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    with tempfile.TemporaryDirectory() as folder:
        TorchTrainer(
            worker,
            train_loop_config={"said": said},
            scaling_config=ScalingConfig(num_workers=int(workers)),
            run_config=RunConfig(storage_path=folder),
        ).fit()
