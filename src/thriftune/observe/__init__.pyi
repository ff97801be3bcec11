from .logs import log_context as log_context
from .logs import log_place as log_place
from .logs import set_up_logs as set_up_logs
from .progress import counted as counted
from .progress import eta_seconds as eta_seconds
from .sanitiser import Sanitiser as Sanitiser
from .stopwatch import Stopwatch as Stopwatch
