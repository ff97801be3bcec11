"""What a person sees of a run: log lines on the terminal and in a file, and progress.

All text passes the sanitiser, which masks secrets: tokens, passwords, what the user's own patterns match.

    from thriftune.observe import Sanitiser, log_context, set_up_logs

    set_up_logs(Path("logs"), Sanitiser(["hunter2"]))    # to stderr, and to a JSON-lines file below logs
    with log_context(study="sample"):
        logging.getLogger("mine").info("started")       # the line in the file says which study
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
