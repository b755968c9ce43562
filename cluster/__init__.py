"""Where it runs: Ray, MLflow, storage."""
