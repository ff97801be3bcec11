from .health import trouble as trouble
from .location import mlflow_uri as mlflow_uri
from .sqlite import close_databases as close_databases
