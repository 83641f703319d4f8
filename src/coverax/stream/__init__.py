"""Cases in, outcomes out; knows no statistics."""

from coverax.exports import exported
from coverax.stream.folder import count_finished as count_finished
from coverax.stream.folder import fill_folder as fill_folder
from coverax.stream.gather import check_failures as check_failures
from coverax.stream.gather import gather as gather
from coverax.stream.inputs import file_facts as file_facts
from coverax.stream.journal import Journal as Journal
from coverax.stream.journal import journal_lines as journal_lines
from coverax.stream.places import EachCase as EachCase
from coverax.stream.places import map_cases as map_cases
from coverax.stream.places import map_stream as map_stream
from coverax.stream.shards import Shard as Shard
from coverax.stream.shards import own_cases as own_cases
from coverax.stream.shards import parse_shard as parse_shard
from coverax.stream.shards import shard_of_name as shard_of_name
from coverax.stream.threads import CASE_ERRORS as CASE_ERRORS
from coverax.stream.threads import Outcome as Outcome
from coverax.stream.threads import RunError as RunError
from coverax.stream.threads import default_threads as default_threads
from coverax.stream.where import HERE as HERE
from coverax.stream.where import Where as Where

__all__, __dir__ = exported(globals())
