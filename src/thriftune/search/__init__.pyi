from .optuna_study import FrozenTrial as FrozenTrial
from .optuna_study import OptunaStudy as OptunaStudy
from .optuna_study import TrialHandle as TrialHandle
from .restore import restore_missing as restore_missing
from .restore import restore_trials as restore_trials
from .space import distributions as distributions
from .space import sample as sample
