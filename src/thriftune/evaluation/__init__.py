"""Metrics, thresholds and intervals: numbers only, from arrays of probabilities and truths.

`evaluation.figures` defines every metric; those that scikit-learn has are equal to its own. Thresholds are
tuned on validation; test is only counted. NumPy is enough: torch is imported by `predict` alone, nothing here
knows checkpoints or draws a page.

    from thriftune.evaluation import compute, decide, intervals, tune_all
    criteria, evidence = tune_all(validation)             # Predictions of the validation split
    decisions = decide(test, criteria, evidence)          # Predictions of the test split
    print(compute(test, decisions)["criteria"]["f1_macro"])
    print(intervals(test, decisions, samples=1000, seed=0)["criteria.f1_macro"])
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
