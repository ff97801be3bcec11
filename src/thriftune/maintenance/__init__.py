"""The commands of `thriftune` as functions: list, show, delete, clean, verify, export, rebuild and more.

Most take the project's parameters, and all return what the command prints. What deletes or overwrites only
says what it would do unless it is called with `really=True`, and refuses a study that another process is
working on.

    parameters = load_parameters(project_root())
    for row in list_studies(parameters):
        print(row)
    print(delete_study(parameters, "mine", tracking=False, really=False))
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
