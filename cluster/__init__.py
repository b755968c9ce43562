"""Where it runs: Ray, MLflow, storage.

Ray and MLflow read these variables when they are imported, so the package sets what the user has
left open before any of its modules can import them.
"""

import os
import warnings

_DEFAULTS = {
    # Neither phones home.
    "RAY_USAGE_STATS_ENABLED": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Ray reads it once. Where it is unset, a Ray that is started makes a world-readable token file
    # in the home folder.
    "RAY_AUTH_MODE": "token",
    # Progress comes from our journal; copies of the workers' output would tear it apart.
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    # Data on stdout is ours.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # What is fetched is small, and its bars would stand between our lines.
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # A server that is down is noticed in seconds; MLflow's own defaults wait for four minutes. It
    # is the drainer that tries again: it looks first whether a lost reply had been a success.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
for _name, _value in _DEFAULTS.items():
    os.environ.setdefault(_name, _value)

# MLflow warns of a type hint of its own when its pyfunc is imported.
warnings.filterwarnings("ignore", ".*Any type hint is inferred as AnyType", UserWarning)
