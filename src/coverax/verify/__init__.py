"""Whether files are as coverax wrote them, and what they belong to."""

from coverax.exports import exported
from coverax.verify.check import Verdict as Verdict
from coverax.verify.check import kind_of as kind_of
from coverax.verify.check import verify_files as verify_files

__all__, __dir__ = exported(globals())
