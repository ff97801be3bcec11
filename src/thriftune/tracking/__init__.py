"""The way of a metric: journal, sender, MLflow. The only room that imports mlflow."""
