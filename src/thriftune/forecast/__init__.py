"""What a study will hold on disk, write and take, before it starts.

The retention plan that the store executes is simulated: the most bytes at once, the smallest budget that
would do, bytes and hours in total. `forecast` needs no project, no GPU and none of torch, Kedro, MLflow and
Optuna; `forecast_study` takes a configured study.

    from thriftune.checkpoints import RetentionPolicy
    from thriftune.forecast import Workload, forecast
    work = Workload(trials=1000, saves_per_trial=10, model_bytes=10 * 10**9, resumable_bytes=30 * 10**9)
    found = forecast(work, RetentionPolicy(keep_last=1, keep_best=1), budget_bytes=100 * 10**9)
    print(found.fits, found.most_bytes, found.least_budget_bytes, found.written_bytes, found.hours)
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
