"""Everything that a person looks at: report.html, figures for Kedro-Viz, summaries on the terminal.

What is shown is gathered first, as typed values, and drawn second, without reading any file.

    from thriftune import reports
    found = reports.summarise(study)                 # a StudyHandle
    print(found["best"], found["importances"], found["bytes"])
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
