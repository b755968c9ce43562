"""What all places on a Ray have in common: Ray Train, Ray tasks and Ray Tune."""

from __future__ import annotations

import logging
import os
import shutil
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
import ray.train
import ray.train.torch
from ray.exceptions import RayError, RayTaskError
from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback

from aigc.errors import FactoryError, first_line
from aigc.training.world import World
from cluster.errors import JobFailed, WorkerLost
from cluster.failures import GiveUp, decide
from cluster.places import Worker, device
from cluster.process import ENVIRONMENT, settle
from cluster.resources import Resources
from cluster.signals import undisturbed
from cluster.tasks import Input, Output, Task, dealt
from cluster.tuning import Value

if TYPE_CHECKING:
    from cluster.search import Search, TrialFunction

RESIZE_SECONDS = 5.0
"""Between two looks whether there is room for more workers of an elastic training."""

_QUIET_TUNE = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
}
"""Without them Ray Tune prints tables, writes files of its own, and answers Ctrl-C by going on."""

log = logging.getLogger(__name__)


def connect(**where: Any) -> None:
    """Start a Ray or join one, quietly, by the words of ray.init."""
    with undisturbed():
        ray.init(
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": ENVIRONMENT},
            **where,
        )


class OnRay:
    """Runs jobs on the Ray that this process is connected to.

    `scratch` is for Ray Train's own files, a folder that all nodes see.
    """

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch

    def needs(self, resources: Resources) -> Resources:
        """All of them."""
        return resources

    def slot(self, waiting: Callable[[], None]) -> AbstractContextManager[None]:
        """A Ray of one's own has none."""
        return nullcontext()

    def train(self, worker: Worker, resources: Resources) -> None:
        """Ray Train V2, one attempt after the other as `cluster.failures` decides."""
        failures = 0
        while True:
            try:
                self._attempt(worker, resources)
                return
            except TrainingFailedError as error:
                reasons = getattr(error, "worker_failures", {})
                decision = decide(reasons, error, failures, resources.max_failures)
                if isinstance(decision, GiveUp):
                    raise decision.error from error
                log.warning("a worker was lost; going on from the last checkpoint")
                failures = decision.failures
                time.sleep(decision.pause_seconds)
            except RayError as error:
                raise WorkerLost(
                    f"the cluster was lost: {first_line(error)}",
                    "Submit the same spec again to go on from the last checkpoint",
                ) from error
            except SystemExit as error:
                # Ray Train answers Ctrl-C with sys.exit(0), which would look like success.
                raise KeyboardInterrupt from error

    def _attempt(self, worker: Worker, resources: Resources) -> None:
        # A name of its own for each: Ray Train takes a finished name for finished work.
        name = f"attempt-{uuid.uuid4().hex[:12]}"
        try:
            _trainer(worker, resources, self._scratch, name).fit()
        finally:
            shutil.rmtree(self._scratch / name, ignore_errors=True)

    def map(
        self, task: Task[Input, Output], inputs: Sequence[Input], resources: Resources
    ) -> Iterator[Output]:
        """Ray tasks, each of several inputs."""

        def run(some: Sequence[Input]) -> Iterator[Output]:
            settle(resources)
            # Not `yield from`: Ray sends to the generator what no other iterator can be sent.
            for result in task(iter(some)):  # noqa: UP028
                yield result

        remote = ray.remote(
            num_cpus=resources.cpus_per_worker,
            num_gpus=resources.gpus_per_worker,
            # Ray would do anew what has a result already.
            max_retries=0,
            num_returns="streaming",
        )(run)

        def start(numbers: Sequence[int]) -> Any:
            return remote.remote([inputs[number] for number in numbers])

        return _answers(start, len(inputs), resources)

    def search(self, trial: TrialFunction, search: Search, resources: Resources) -> None:
        """Ray Tune: a trial is an actor with the resources of a worker."""
        # Seconds of imports that only a search needs.
        from ray import tune

        from cluster.search import RESULT

        def run(values: Mapping[str, Value]) -> dict[str, Any]:
            settle(resources)
            return {RESULT: trial(values)}

        name = f"search-{uuid.uuid4().hex[:12]}"
        os.environ.update(_QUIET_TUNE)
        wanted = {each.lower(): amount for each, amount in _of_a_worker(resources).items()}
        try:
            tune.Tuner(
                tune.with_resources(run, wanted),
                tune_config=tune.TuneConfig(
                    search_alg=search, num_samples=-1, max_concurrent_trials=resources.most
                ),
                run_config=tune.RunConfig(
                    name=name,
                    storage_path=str(self._scratch),
                    failure_config=tune.FailureConfig(max_failures=resources.max_failures),
                    verbose=0,
                ),
            ).fit()
        finally:
            shutil.rmtree(self._scratch / name, ignore_errors=True)


class _Trainer(ray.train.torch.TorchTrainer):
    """Ray Train without two of its helpers, each a process beside the workers.

    One deals out Ray Datasets, and we have none. The other asks the cluster once a second whether
    the controller lives, to free what it held: three hundredths of the speed of two workers on two
    cores. Ours end with the driver, which ends with the controller.
    """

    def _create_default_callbacks(self) -> list[Any]:
        callbacks = super()._create_default_callbacks()  # type: ignore[misc]  # V2's
        spared = (DatasetsCallback, PlacementGroupCleanerCallback)
        return [callback for callback in callbacks if not isinstance(callback, spared)]


def _trainer(worker: Worker, resources: Resources, scratch: Path, name: str) -> Any:
    def run() -> None:
        settle(resources)
        context = ray.train.get_context()
        rank, size = context.get_world_rank(), context.get_world_size()
        target = ray.train.torch.get_device() if resources.use_gpu else device(resources)
        worker(World(rank, size, target))

    return _Trainer(
        run,
        torch_config=ray.train.torch.TorchConfig(backend=_backend(resources)),
        scaling_config=ScalingConfig(
            num_workers=_wanted(resources),
            elastic_resize_monitor_interval_s=RESIZE_SECONDS,  # type: ignore[call-arg]  # V2's
            use_gpu=resources.use_gpu,
            resources_per_worker=_of_a_worker(resources),
        ),
        run_config=RunConfig(
            name=name,
            storage_path=str(scratch),
            failure_config=FailureConfig(max_failures=0),
            logging_config=LoggingConfig(log_level="ERROR"),  # type: ignore[call-arg]  # V2's
        ),
    )


def _backend(resources: Resources) -> str:
    """NCCL between whole GPUs. It refuses two workers of one GPU; gloo serves them, too."""
    return "nccl" if resources.gpus_per_worker >= 1 else "gloo"


def _wanted(resources: Resources) -> Any:
    elastic = resources.fewest < resources.most
    return (resources.fewest, resources.most) if elastic else resources.fewest


def _of_a_worker(resources: Resources) -> dict[str, float]:
    wanted = {"CPU": float(resources.cpus_per_worker), "GPU": resources.gpus_per_worker}
    return {name: amount for name, amount in wanted.items() if amount}


def _answers(
    start: Callable[[Sequence[int]], Any], count: int, resources: Resources
) -> Iterator[Any]:
    """What the tasks answer that `start` begins, `resources.most` at once, for so many inputs.

    What a lost one has not answered for is given to others, one by one; the first of it counts as
    what it was lost at.
    """
    waiting, losses = deque(dealt(count, resources.most)), Counter[int]()
    running = dict[Any, deque[int]]()
    try:
        while waiting or running:
            while waiting and len(running) < resources.most:
                numbers = deque(waiting.popleft())
                running[start(numbers)] = numbers
            ready, _ = ray.wait(list(running), num_returns=1)
            task: Any = ready[0]
            try:
                answer = _result(next(task))
            except StopIteration:
                if running.pop(task):
                    raise JobFailed(
                        "a worker has answered for less than it was given",
                        "See the run's logs, and submit the same spec again",
                    ) from None
            except WorkerLost:
                if left := running.pop(task):
                    losses[left[0]] += 1
                    if losses[left[0]] > resources.max_failures:
                        raise
                    log.warning("a worker was lost; others go on with what it had to do")
                    waiting.extendleft([number] for number in reversed(left))
            else:
                running[task].popleft()
                yield answer
    finally:
        _cancel(task for task, left in running.items() if left)


def _cancel(tasks: Iterable[Any]) -> None:
    """Tell tasks to end whose answers nobody waits for; a Ray that is gone has ended them."""
    for task in tasks:
        # Ray starts anew to cancel something where it is not there. And of a Ray that is lost, or
        # of one before this one, it raises many things, in the place of what went wrong.
        if ray.is_initialized():
            with suppress(Exception):
                ray.cancel(task)


def _result(reference: Any) -> Any:
    try:
        return ray.get(reference)
    except RayTaskError as error:
        cause = error.cause if isinstance(error.cause, FactoryError) else None
        if cause is not None:
            raise cause from error
        raise JobFailed(f"a worker failed: {error.cause!r}", "See the run's logs") from error
    except RayError as error:
        raise WorkerLost(
            f"a worker was lost: {(str(error) or type(error).__name__).splitlines()[0]}",
            "Submit the same spec again",
        ) from error
