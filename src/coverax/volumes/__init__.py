"""Files: NIfTI volumes, grids, cases and cohorts. Nothing else reads a format."""

from coverax.volumes.case import Case as Case
from coverax.volumes.case import Cohort as Cohort
from coverax.volumes.case import cohort_regions as cohort_regions
from coverax.volumes.case import match_folders as match_folders
from coverax.volumes.case import nifti_files as nifti_files
from coverax.volumes.case import read_cohort as read_cohort
from coverax.volumes.case import read_groups as read_groups
from coverax.volumes.grid import Grid as Grid
from coverax.volumes.grid import GridMismatchError as GridMismatchError
from coverax.volumes.grid import check_same_grid as check_same_grid
from coverax.volumes.maps import ProbMap as ProbMap
from coverax.volumes.maps import check_labels as check_labels
from coverax.volumes.maps import read_labels as read_labels
from coverax.volumes.maps import read_probs as read_probs
from coverax.volumes.maps import read_valid as read_valid
from coverax.volumes.nifti import Buffer as Buffer
from coverax.volumes.nifti import NiftiFile as NiftiFile
from coverax.volumes.nifti import file_stem as file_stem
from coverax.volumes.nifti import read_header as read_header
from coverax.volumes.nifti import read_voxels as read_voxels
from coverax.volumes.nifti import write_mask as write_mask
from coverax.volumes.nifti import write_volume as write_volume
from coverax.volumes.region import FOREGROUND as FOREGROUND
from coverax.volumes.region import Region as Region
from coverax.volumes.region import parse_region as parse_region
from coverax.volumes.region import parse_regions as parse_regions
