from .health import unavailable_reason as unavailable_reason
from .location import mlflow_uri as mlflow_uri
from .postgres import advisory_lock as advisory_lock
from .postgres import retry_until_available as retry_until_available
from .sqlite import close_databases as close_databases
