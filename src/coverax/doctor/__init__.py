"""Whether the device engine is right and fast on this machine."""

from coverax.doctor.compare import Compared as Compared
from coverax.doctor.compare import compare_kernels as compare_kernels
from coverax.doctor.examine import Device as Device
from coverax.doctor.examine import Examination as Examination
from coverax.doctor.examine import examine_device as examine_device
from coverax.doctor.speed import Speed as Speed
from coverax.doctor.speed import measure_speed as measure_speed
from coverax.exports import exported

__all__, __dir__ = exported(globals())
