"""What kernels take: batched volumes that lie on the host or on a device."""

import numpy as np
from jaxtyping import Array, Bool, Float, Num

Map = Float[Array, "batch *spatial"] | Float[np.ndarray, "batch *spatial"]
Mask = Bool[Array, "batch *spatial"] | Bool[np.ndarray, "batch *spatial"]
Labels = Num[Array, "batch *spatial"] | Num[np.ndarray, "batch *spatial"] | Mask
Valid = Mask | None
