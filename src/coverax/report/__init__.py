"""Figures and reports; needs the extra `report`."""

from coverax.report.capital import draw_capital as draw_capital
from coverax.report.figures import check_figures as check_figures
from coverax.report.figures import draw_sets as draw_sets
from coverax.report.figures import find_scans as find_scans
from coverax.report.figures import plot_sets as plot_sets
from coverax.report.write import write_report as write_report
