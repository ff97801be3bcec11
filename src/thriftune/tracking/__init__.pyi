from .delivery import deliver_evaluation as deliver_evaluation
from .delivery import undelivered as undelivered
from .journal import Journal as Journal
from .mlflow_store import MlflowSink as MlflowSink
from .records import MetricRow as MetricRow
from .records import read_rows as read_rows
from .sender import Sender as Sender
