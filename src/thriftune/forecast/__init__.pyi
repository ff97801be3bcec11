from .corpus_size import CorpusSize as CorpusSize
from .estimate import configured as configured
from .estimate import forecast_line as forecast_line
from .estimate import forecast_row as forecast_row
from .estimate import forecast_words as forecast_words
from .estimate import surroundings as surroundings
