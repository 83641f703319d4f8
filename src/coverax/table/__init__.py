"""What a row of the score table means: regions, transforms, definition, columns.

NumPy alone; only `parquet` knows how a table lies on disk.
"""

from coverax.engine.results import ComponentEvents as ComponentEvents
from coverax.exports import exported
from coverax.table.columns import FOLD as FOLD
from coverax.table.columns import VISIT as VISIT
from coverax.table.columns import Column as Column
from coverax.table.columns import Curves as Curves
from coverax.table.columns import columns_of as columns_of
from coverax.table.definition import DEFAULT_BINS as DEFAULT_BINS
from coverax.table.definition import MapKind as MapKind
from coverax.table.definition import ScoreDefinition as ScoreDefinition
from coverax.table.definition import sorted_tolerances as sorted_tolerances
from coverax.table.missed import fnr_scores as fnr_scores
from coverax.table.read import read_table as read_table
from coverax.table.region import FOREGROUND as FOREGROUND
from coverax.table.region import Region as Region
from coverax.table.region import parse_region as parse_region
from coverax.table.region import parse_regions as parse_regions
from coverax.table.table import ScoreTable as ScoreTable
from coverax.table.transforms import KINDS as KINDS
from coverax.table.transforms import SIDES as SIDES
from coverax.table.transforms import Transform as Transform
from coverax.table.transforms import parse_transform as parse_transform
from coverax.table.transforms import parse_transforms as parse_transforms
from coverax.table.transforms import side_cut as side_cut
from coverax.table.transforms import side_transforms as side_transforms

__all__, __dir__ = exported(globals())
