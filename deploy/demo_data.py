"""The demo's data: the books of the King James text, dealt out to sites so that sites differ as institutions do."""

import collections
import math
import pathlib
import re
import subprocess

_VERSE = re.compile(r"^((?:[1-3] ?)?[A-Za-z]+?) ?(\d+):(\d+) (.*)$")
_BOOKS = 66


class DataError(Exception):
    """What is wrong with the text, and what to do."""


def read_books():
    """Returns [(book, text)] in the text's own order, from the program `bible` of Debian's package bible-kjv (public domain)."""
    try:
        output = subprocess.run(["bible", "-f", "gen1:1-rev22:21"], stdin=subprocess.DEVNULL, capture_output=True, check=True).stdout
    except FileNotFoundError:
        raise DataError("the program `bible` is not installed; run: bash deploy/install-deps.sh") from None
    except subprocess.CalledProcessError as error:
        raise DataError(f"`bible -f gen1:1-rev22:21` failed: {error.stderr.decode(errors='replace').strip()}") from None
    books = collections.OrderedDict()
    for number, line in enumerate(output.decode("utf-8").splitlines(), start=1):
        verse = _VERSE.match(line)
        if not verse:
            raise DataError(f"`bible`, line {number}: not a verse: {line[:60]!r}")
        books.setdefault(verse[1], []).append(verse[4])
    if len(books) != _BOOKS:
        raise DataError(f"`bible` printed {len(books)} books instead of {_BOOKS}; reinstall the package bible-kjv")
    return [(book, "\n".join(verses) + "\n") for book, verses in books.items()]


def deal(books, sites):
    """Splits the books into `sites` contiguous groups of about equal length, each with at least one book."""
    if not 1 <= sites <= len(books):
        raise DataError(f"{sites} sites: there are enough books for 1 to {len(books)}")
    remaining = sum(len(text) for _, text in books)
    groups = []
    start = 0
    for left in range(sites, 0, -1):
        share = remaining / left
        end, length = start + 1, len(books[start][1])
        # Take another book while that brings the group closer to its share and leaves one for every later site.
        while len(books) - end > left - 1 and (left == 1 or length + len(books[end][1]) / 2 <= share):
            length += len(books[end][1])
            end += 1
        if left == 1:
            end = len(books)
        groups.append(books[start:end])
        remaining -= sum(len(text) for _, text in books[start:end])
        start = end
    return groups


def write_sites(folder, sites):
    """Writes FOLDER/site-N/NN-BOOK.txt. Returns {site: [book, ...]}."""
    dealt = {}
    number = 0
    for index, group in enumerate(deal(read_books(), sites), start=1):
        site = f"site-{index}"
        site_folder = pathlib.Path(folder) / site
        site_folder.mkdir(parents=True, exist_ok=True)
        for book, text in group:
            number += 1
            (site_folder / f"{number:02d}-{book}.txt").write_text(text, encoding="utf-8")
        dealt[site] = [book for book, _ in group]
    return dealt


def unigram_loss(folder):
    """Loss in nats per byte of a model that knows only how often each byte occurs at all sites: what any context must beat.

    It is fitted on the same bytes it is measured on, which flatters it.
    """
    counts = collections.Counter()
    for path in sorted(pathlib.Path(folder).rglob("*.txt")):
        counts.update(path.read_bytes())
    total = sum(counts.values())
    return -sum(count / total * math.log(count / total) for count in counts.values())
