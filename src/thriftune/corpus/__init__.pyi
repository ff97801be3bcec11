from .ingestion import ingest as ingest
from .ingestion import ingested as ingested
from .rows import TokenisedRows as TokenisedRows
from .store import Corpus as Corpus
from .store import CorpusStore as CorpusStore
from .tokens import TokenisedStore as TokenisedStore
from .types import Evidence as Evidence
from .types import Post as Post
