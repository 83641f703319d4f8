"""Training and inference: from images to probability volumes (extra `train`)."""
