from .file_locks import Ownership as Ownership
from .handle import StudyHandle as StudyHandle
from .handle import as_single_trial as as_single_trial
from .handle import find_studies as find_studies
from .opening import open_or_create as open_or_create
from .record import StudyRecord as StudyRecord
from .record import read_record as read_record
