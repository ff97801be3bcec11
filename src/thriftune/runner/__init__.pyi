from .final_evaluation import evaluate_study as evaluate_study
from .preflight import check_configuration as check_configuration
from .run import run_search as run_search
