from .inputs import build_agent as build_agent
from .inputs import encoder_for as encoder_for
from .interrupt import StopFlag as StopFlag
from .interrupt import stop_on_signal as stop_on_signal
from .loop import Trainer as Trainer
from .loop import train as train
from .state import Resume as Resume
from .state import TrainingState as TrainingState
