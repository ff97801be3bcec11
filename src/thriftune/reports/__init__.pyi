from .content import write_page as write_page
from .summary import summarise as summarise
from .terminal import print_list as print_list
from .terminal import print_study as print_study
