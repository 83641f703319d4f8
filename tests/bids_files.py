"""BIDS derivatives, small, as pipelines and raters leave them."""

import json

import numpy as np

from tests.nnunet_files import softmax
from tests.synthetic import write_nifti

SHAPE = (7, 6, 5)
NAMES = ["Background", "organ", "lesion"]


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def describe(root):
    about = {"Name": "made", "BIDSVersion": "1.10.0", "DatasetType": "derivative"}
    write_json(root / "dataset_description.json", about)


def image_of(subject, session=None):
    return f"sub-{subject:02d}" + (f"_ses-{session}" if session else "")


def place(root, image, ending):
    """The path of a file of an image: `sub-XX/[ses-Y/]anat/`."""
    return root.joinpath(*image.split("_"), "anat", image + ending)


def write_maps(root, images, ending="_desc-net_probseg.nii.gz", names=NAMES):
    """Softmaxes, and at the root what their channels are called."""
    describe(root)
    for seed, image in enumerate(images):
        write_nifti(place(root, image, ending), np.moveaxis(softmax(seed), 0, -1))
    if names:
        write_json(root / "desc-net_probseg.json", {"LabelMap": names})


def write_references(root, images, ending="_desc-manual_dseg.nii.gz", table=True):
    """Label maps near the softmaxes, and a table of labels that swaps them."""
    describe(root)
    for seed, image in enumerate(images):
        labels = (softmax(100 + seed) + softmax(seed)).argmax(0).astype(np.uint8)
        if "mask" in ending:
            labels = (labels == 2).astype(np.uint8)
        elif table:
            labels = np.array([0, 2, 1], np.uint8)[labels]
        write_nifti(place(root, image, ending), labels)
    if table:
        rows = (
            "index\tname\tabbreviation\n0\tBackground\tBG\n1\tlesion\tL\n2\torgan\tO\n"
        )
        (root / "dseg.tsv").write_text(rows, encoding="utf-8")
