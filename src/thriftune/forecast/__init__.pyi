from .corpus_size import CorpusSize as CorpusSize
from .estimate import forecast_row as forecast_row
from .estimate import surroundings as surroundings
