from .file_locks import Ownership as Ownership
from .handle import StudyHandle as StudyHandle
from .handle import find_studies as find_studies
from .record import open_or_create as open_or_create
from .record import read_record as read_record
