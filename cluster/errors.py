"""The errors of where it runs.

FactoryError (aigc.errors)
└── ClusterError
    ├── CanNeverFit             the job asks for more than the cluster has
    ├── CodeDiffers             a worker runs another version of the code
    ├── AlreadyRunning          another process holds the submission
    ├── Cancelled               the job was asked to end for good
    ├── CannotCancel            the job has ended, belongs to another one, or is out of reach
    ├── JobFailed               the job ran and ended in an error of its own
    ├── OutOfMemory             a worker wanted more memory than there is
    ├── WorkerLost              a worker or node died, and the retries are used up, or none starts
    ├── ModelNotFound           the registry has no such model or version
    │   └── NoChampion          the model is there, but nobody has promoted a version
    ├── GateRefused             the figures do not pass the gates
    ├── BucketRefused           an S3-compatible store does not let us publish exactly once
    ├── BucketDiffers           the bucket holds other content where ours belongs
    ├── HeadUnavailable         no head of a Ray cluster answers there
    │   └── HandoverUnsettled   nobody can say whether the head has taken the job
    ├── HeadRefused             the head refuses us, or it is not safe to talk to
    ├── HeadDiffers             the head runs another version of Ray
    ├── PackageTooLarge         the code is more than a head takes
    ├── LogLost                 nobody can say any more how a job goes on
    ├── WorkspaceNotFound       there is no workspace where one was named
    ├── SubmissionNotFound      the workspace has no such submission
    ├── LogNotFound             the submission has no such log
    ├── ScheduleNotFound        the workspace has no such schedule
    ├── ScheduleExists          there is a schedule of that name already
    ├── TicksMissed             not every tick of a schedule is accounted for
    ├── StoreUnavailable        the store of decisions does not answer
    ├── StoreNewer              a newer program has changed the store of decisions
    ├── TrackingRefused         MLflow answers, and will never take what it was given
    └── TrackingUnavailable     the MLflow store or server does not answer
        ├── CredentialsRefused  the server refuses the credentials, or they do not lie safely
        └── RunMissing          MLflow answers, and has not yet, or no more, the run that it takes
"""

from __future__ import annotations

from aigc.errors import FactoryError


class ClusterError(FactoryError):
    """Something about where a job runs."""


class CanNeverFit(ClusterError):
    """The job asks for more than the cluster has."""


class CodeDiffers(ClusterError):
    """A worker runs another version of the code than the driver."""


class AlreadyRunning(ClusterError):
    """Another process holds the submission."""


class Cancelled(ClusterError):
    """The job was asked to end for good."""


class CannotCancel(ClusterError):
    """The job has ended, belongs to another one, or is out of reach."""


class JobFailed(ClusterError):
    """The job ran and ended in an error of its own."""


class OutOfMemory(ClusterError):
    """A worker wanted more memory than there is: tried again, it would be so again."""


class WorkerLost(ClusterError):
    """A worker or node died, and the retries are used up, or none starts."""


class ModelNotFound(ClusterError):
    """The registry has no such model or version."""


class NoChampion(ModelNotFound):
    """The model is there, but nobody has promoted a version."""


class GateRefused(ClusterError):
    """The figures do not pass the gates."""


class BucketRefused(ClusterError):
    """An S3-compatible store refuses us, or does not keep what is there already."""


class BucketDiffers(ClusterError):
    """The bucket holds other content where ours belongs; it was left as it is."""


class HeadUnavailable(ClusterError):
    """No head of a Ray cluster answers there."""


class HandoverUnsettled(HeadUnavailable):
    """Nobody can say whether the head has taken the job: asking again settles it."""


class HeadRefused(ClusterError):
    """The head refuses us, or it is not safe to talk to."""


class HeadDiffers(ClusterError):
    """The head runs another version of Ray."""


class PackageTooLarge(ClusterError):
    """The code is more than a head takes."""


class LogLost(ClusterError):
    """Nobody can say any more how a job goes on: it may well do so."""


class WorkspaceNotFound(ClusterError):
    """There is no workspace where one was named."""


class SubmissionNotFound(ClusterError):
    """The workspace has no such submission."""


class LogNotFound(ClusterError):
    """The submission has no such log."""


class ScheduleNotFound(ClusterError):
    """The workspace has no such schedule."""


class ScheduleExists(ClusterError):
    """There is a schedule of that name already."""


class TicksMissed(ClusterError):
    """Not every tick of a schedule is accounted for, or one was missed."""


class StoreUnavailable(ClusterError):
    """The store of decisions does not answer."""


class StoreNewer(ClusterError):
    """A newer program has changed the store of decisions."""


class TrackingRefused(ClusterError):
    """MLflow answers, and will never take what it was given."""


class TrackingUnavailable(ClusterError):
    """The MLflow store or server does not answer."""


class CredentialsRefused(TrackingUnavailable):
    """The server refuses the credentials, or they lie where others can read them."""


class RunMissing(TrackingUnavailable):
    """MLflow answers, and has not yet, or no more, the run that something belongs to."""
