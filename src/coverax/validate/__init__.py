"""Checks of a guarantee on one's own data: all splits, random splits, order."""

from coverax.exports import exported
from coverax.validate.capital import compliance_capital as compliance_capital
from coverax.validate.capital import map_capital as map_capital
from coverax.validate.capital import risk_capital as risk_capital
from coverax.validate.exact import AllSplits as AllSplits
from coverax.validate.exact import all_splits as all_splits
from coverax.validate.exact import make_pool as make_pool
from coverax.validate.exact import splits_of as splits_of
from coverax.validate.exact import threshold_law as threshold_law
from coverax.validate.exchangeability import conformal_p_value as conformal_p_value
from coverax.validate.exchangeability import order_test as order_test
from coverax.validate.memory import Memory as Memory
from coverax.validate.memory import read_memory as read_memory
from coverax.validate.monitor import monitor_folder as monitor_folder
from coverax.validate.plan import Plan as Plan
from coverax.validate.read import read_validation as read_validation
from coverax.validate.report import validate_table as validate_table
from coverax.validate.results import Capital as Capital
from coverax.validate.results import DriftLook as DriftLook
from coverax.validate.results import LeftOutSite as LeftOutSite
from coverax.validate.results import ScoresResult as ScoresResult
from coverax.validate.results import SitesValidation as SitesValidation
from coverax.validate.results import SplitsResult as SplitsResult
from coverax.validate.results import Validation as Validation
from coverax.validate.results import WatchedLook as WatchedLook
from coverax.validate.sites import leave_site_out as leave_site_out
from coverax.validate.splits import random_splits as random_splits
from coverax.validate.units import all_unit_splits as all_unit_splits
from coverax.validate.watch import watch_folder as watch_folder
from coverax.validate.watch import watched as watched
from coverax.validate.watch import watched_capitals as watched_capitals

__all__, __dir__ = exported(globals())
