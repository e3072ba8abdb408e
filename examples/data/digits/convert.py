"""Converts scikit-learn's copy of the digits data set into the two IDX files beside this script.

    pip download scikit-learn --no-deps
    unzip -j scikit_learn-*.whl sklearn/datasets/data/digits.csv.gz
    python3 convert.py digits.csv.gz

Each line of the input is one image: 64 pixels from 0 to 16, row by row, then its digit. The same
input always gives the same bytes. Only the Python standard library is needed.
"""

import csv
import gzip
import struct
import sys
from pathlib import Path

SIDE = 8
WHITEST = 16
UNSIGNED_BYTE = 0x08  # the IDX code of the element type


def read(path):
    """Returns the pixels of all images in a row, and the labels."""
    pixels, labels = bytearray(), bytearray()
    with gzip.open(path, "rt", newline="") as file:
        for number, row in enumerate(csv.reader(file), start=1):
            *image, label = [int(float(cell)) for cell in row]
            if len(image) != SIDE * SIDE or max(image) > WHITEST or not 0 <= label <= 9:
                sys.exit(f"{path}, line {number}: not an image of {SIDE}x{SIDE} and its digit")
            pixels.extend(image)
            labels.append(label)
    return pixels, labels


def write(path, shape, values):
    """Writes an IDX file: element type and rank, big-endian extents, elements."""
    header = struct.pack(f">BBBB{len(shape)}I", 0, 0, UNSIGNED_BYTE, len(shape), *shape)
    # No name and no time in the gzip header: they would differ from run to run.
    with path.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as file:
        file.write(header + values)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(__file__).resolve().parent
    pixels, labels = read(sys.argv[1])
    write(folder / "images.idx.gz", (len(labels), SIDE, SIDE), pixels)
    write(folder / "labels.idx.gz", (len(labels),), labels)


main()
