"""What each trial tries: the search space, the sampler, and the trials that Optuna has on record.

Proposal n is a function of the search section, the study's seed and the history alone, so that a search that
is killed and resumed proposes what it would have proposed. No other room but `reports` imports Optuna.

    search = SearchConfig(space={"rate": FloatRange(type="float", low=1e-5, high=1e-2, log=True)})
    history = []
    for number in range(20):
        trial = propose(search, seed=7, history=history)
        history.append(complete(trial, value=objective(trial.params)))
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
