"""The way of a metric: journal, sender, MLflow. The only room that imports mlflow."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
