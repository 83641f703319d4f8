"""Figures and reports; needs the extra `report`."""

from coverax.exports import exported
from coverax.report.axes import plot_dataset_histogram as plot_dataset_histogram
from coverax.report.axes import plot_reliability as plot_reliability
from coverax.report.axes import plot_slice as plot_slice
from coverax.report.capital import draw_capital as draw_capital
from coverax.report.capital import plot_capital as plot_capital
from coverax.report.figures import check_figures as check_figures
from coverax.report.figures import plot_sets as plot_sets
from coverax.report.pictures import Pictured as Pictured
from coverax.report.pictures import find_backgrounds as find_backgrounds
from coverax.report.pictures import picture_folder as picture_folder
from coverax.report.pictures import read_masks as read_masks
from coverax.report.saved import save_figures as save_figures
from coverax.report.write import write_report as write_report

__all__, __dir__ = exported(globals())
