#!/usr/bin/env python3
"""Writes the 8x8 digits of scikit-learn as PNG files, a folder for each digit, dealt out to the data folders of sites.

Usage: digits.py [--source digits.csv.gz] [--most N] FOLDER...

Without --source the file of Debian's package python3-sklearn is taken, where it is installed or where deploy/install-deps.sh --tests has
unpacked it. --most: so many images in all (default: all 1,797). Standard library only.
"""

import argparse
import gzip
import pathlib
import struct
import sys
import zlib

_IN_PACKAGE = "usr/lib/python3/dist-packages/sklearn/datasets/data/digits.csv.gz"
_SIDE = 8
_BRIGHTEST = 16


def default_source():
    """The path, or None."""
    root = pathlib.Path(__file__).resolve().parents[2]
    return next((path for path in (pathlib.Path("/", _IN_PACKAGE), root / "build/tools" / _IN_PACKAGE) if path.exists()), None)


def read_digits(source):
    """Pairs of a digit and its 64 pixels, from 0 to 255."""
    with gzip.open(source, "rt", encoding="ascii") as lines:
        for line in lines:
            *pixels, digit = (int(float(field)) for field in line.split(","))
            yield digit, bytes(pixel * 255 // _BRIGHTEST for pixel in pixels)


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(pixels):
    """Of one byte each, 8x8, in grey."""
    rows = b"".join(b"\0" + pixels[at:at + _SIDE] for at in range(0, len(pixels), _SIDE))
    header = struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def write_digits(source, folders, most=None):
    """Returns how many were written."""
    count = 0
    for digit, pixels in read_digits(source):
        if count == most:
            break
        folder = pathlib.Path(folders[count % len(folders)], str(digit))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{count:04}.png").write_bytes(png(pixels))
        count += 1
    return count


def main():
    parser = argparse.ArgumentParser(description="Write scikit-learn's digits as PNG files into the data folders of sites.")
    parser.add_argument("--source", help="digits.csv.gz of scikit-learn")
    parser.add_argument("--most", type=int, help="so many images in all")
    parser.add_argument("folders", nargs="+", metavar="FOLDER")
    arguments = parser.parse_args()
    source = arguments.source or default_source()
    if source is None:
        sys.exit("digits.py: no digits.csv.gz here: install Debian's python3-sklearn, or name the file with --source")
    print(f"{write_digits(source, arguments.folders, arguments.most)} images")


if __name__ == "__main__":
    main()
