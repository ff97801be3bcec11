"""What this project registers with Kedro, and its parameters without a Kedro session.

from thriftune.project import load_parameters, project_root

parameters = load_parameters(project_root())    # conf/base and conf/local, as `kedro run` reads them
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
