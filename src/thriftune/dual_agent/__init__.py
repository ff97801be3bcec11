"""The parts of the dual agent, from a text's windows to its predictions.

An export copies this folder as it is: it imports nothing else of this project, and only relatively. Beside an
exported model:

    from dual_agent import Predictor

    predictor = Predictor.load("my-export")
    for prediction in predictor(["I cannot sleep. Food has lost its taste."]):
        print(prediction["criteria"], prediction["evidence"])
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .predictor import Predictor

__all__ = ["Predictor"]


def __getattr__(name: str) -> Any:
    """Import the predictor, and torch with it, when it is asked for."""
    if name == "Predictor":
        from .predictor import Predictor

        return Predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
