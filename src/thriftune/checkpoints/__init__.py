"""Checkpoints that are whole or not there, verified when read, and never more bytes than the budget.

A retention policy says what is kept, a byte budget how much it may take. Saving overlaps with training; what
a dead process left is recovered at the next start. Kedro, MLflow, Optuna and transformers are not needed, and
torch is imported at the first tensor.

    store = CheckpointStore("runs/mine", RetentionPolicy(keep_last=1, keep_best=1), Budget("10GB"))
    with store.run("lr-3e-5") as run:
        start = run.newest()
        for checkpoint in my_loop(start):
            run.submit(checkpoint)
    best = store.best().load()
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
