from .ingestion import ingest as ingest
from .store import Corpus as Corpus
from .store import CorpusStore as CorpusStore
from .tokens import TokenisedStore as TokenisedStore
