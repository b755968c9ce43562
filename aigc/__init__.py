"""What is learned: models, data, training, metrics, sampling. Torch and PyArrow only."""

__version__ = "0.1.0"
