"""NIfTI files with every header field as the test wants it."""

import struct

import nibabel as nib
import numpy as np

AFFINE = np.array(
    [
        [-0.7, 0.0, 0.35, 12.0],
        [0.0, 0.8, 0.0, -7.5],
        [0.1, 0.0, 2.45, 3.0],
        [0, 0, 0, 1],
    ]
)


def save(path, array, *, affine=AFFINE, order="<", image=nib.Nifti1Image, **header):
    """Write stored values as they are, in a byte order, through nibabel."""
    endian = "big" if order == ">" else "little"
    empty = image.header_class(endianness=endian)
    empty.set_data_dtype(array.dtype.newbyteorder(order))
    made = image(array.astype(array.dtype.newbyteorder(order)), affine, empty)
    for key, value in header.items():
        made.header[key] = value
    nib.save(made, path)
    return path


def with_scale(path, slope, intercept):
    """Set slope and intercept in the bytes of an uncompressed NIfTI-1 file."""
    data = bytearray(path.read_bytes())
    data[112:120] = struct.pack("<ff", slope, intercept)
    path.write_bytes(data)
    return path
