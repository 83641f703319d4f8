"""Cases in, outcomes out; knows no statistics."""

from coverax.stream.folder import count_finished as count_finished
from coverax.stream.folder import fill_folder as fill_folder
from coverax.stream.gather import check_failures as check_failures
from coverax.stream.gather import gather as gather
from coverax.stream.inputs import file_facts as file_facts
from coverax.stream.journal import Journal as Journal
from coverax.stream.journal import journal_lines as journal_lines
from coverax.stream.threads import CASE_ERRORS as CASE_ERRORS
from coverax.stream.threads import Outcome as Outcome
from coverax.stream.threads import RunError as RunError
from coverax.stream.threads import default_threads as default_threads
from coverax.stream.threads import map_cases as map_cases
