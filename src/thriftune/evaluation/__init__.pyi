from .metrics import flatten as flatten
from .predictions import Predictions as Predictions
from .report import read_evaluation as read_evaluation
from .thresholds import best_threshold as best_threshold
