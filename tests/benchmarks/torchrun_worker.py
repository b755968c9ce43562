"""A worker of bench_scale.py as torchrun starts it: WORKSPACE SUBMISSION TRAINING DEVICE."""

from __future__ import annotations

import sys

import torch
import torch.distributed as dist
from bench_loop import recipe
from bench_scale import DATASET, RECIPE

from aigc.training.config import TrainingConfig
from aigc.training.world import World
from cluster.process import settle
from cluster.resources import Resources
from cluster.training import TrainingRequest, train_worker
from cluster.workspace import Workspace

if __name__ == "__main__":
    settle(Resources())
    root, submission, training, device = sys.argv[1:]
    dist.init_process_group("gloo" if device == "cpu" else "nccl")
    workspace = Workspace.at(root)
    train_worker(
        TrainingRequest(
            workspace.datasets,
            DATASET,
            recipe(RECIPE).model,
            TrainingConfig.model_validate_json(training),
            workspace.run(submission),
        ),
        World(dist.get_rank(), dist.get_world_size(), torch.device(device)),
    )
    dist.barrier()
    dist.destroy_process_group()
