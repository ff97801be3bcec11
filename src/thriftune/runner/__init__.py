"""One process at work on one study: its trials one after the other, its limits, and the test evaluation.

A search that is killed at any instant and started again comes to the same trials, values and best checkpoint
as one that was not. A failed trial is recorded with its reason and does not end the search. The test split is
read once, for the study's best. Kedro is not needed: whoever iterates over a search saves what it yields.

    study = StudyHandle.from_parameters(parameters, parameters.study.name)
    store = open_store(study.folder, study.id, parameters.storage)
    for checkpoint in run_search(parameters, corpus, study, store):
        store.submit(checkpoint)
    evaluate_study(parameters, study, store, corpora, explicit=False)
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
