"""Maps to other files: rounded to integers, or as NIfTI that any viewer takes."""

from coverax.convert.export import export_folder as export_folder
from coverax.convert.pack import pack_folder as pack_folder
from coverax.convert.pack import rounded as rounded
from coverax.exports import exported

__all__, __dir__ = exported(globals())
