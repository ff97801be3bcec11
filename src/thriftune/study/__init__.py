"""A study on disk: its record, its identity, its folders, and which process owns it.

`study.json` states everything that can change a result. A study is continued with the same settings or
refused, with each difference; two processes never own the same study, or the same trial of a shared one. The
locks are files on one machine, and advisory locks of a PostgreSQL server on several. Kedro, MLflow and Optuna
are not needed.

    study = StudyHandle.from_parameters(parameters, "mine")
    record = study.record()  # None where there is no such study
    if record is not None:
        with study.ownership():  # StudyError where another process works on it
            print(record.trials, record.identity.threads)
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
