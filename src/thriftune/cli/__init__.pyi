from .app import main as main
from .plugin import cli as cli
