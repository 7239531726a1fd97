"""An independent reader of journals, from docs/reference/journal_format.md alone.

Checks the document's worked row, and the checksum of every row of the journals in format_*.sql.
"""

import pathlib
import re
import sqlite3
import struct
import sys

HERE = pathlib.Path(__file__).resolve().parent
DOCUMENT = HERE.parents[2] / "docs" / "reference" / "journal_format.md"
WORKED_ROW = ("format_3.sql", "events", 2)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def counted(value):
    """The bytes that stand for a field in a row's checksum."""
    if isinstance(value, int):
        return struct.pack("<q", value)
    if isinstance(value, float):
        return struct.pack("<d", value)
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<QQ", len(data), crc32c(data))


def fields(table, row):
    """The fields that a row's checksum counts, in their order."""
    found = [table]
    for name in row.keys():
        if name == "crc" or (table, name) in (("updates", "number"), ("commits", "record")):
            continue
        if (table, name) == ("commits", "record_crc"):
            found.append(len(row["record"]))
        found.append(row[name])
    return found


def load(file):
    database = sqlite3.connect(":memory:")
    database.row_factory = sqlite3.Row
    # Not every Python has an SQLite that knows STRICT tables.
    database.executescript((HERE / file).read_text().replace(") STRICT;", ");"))
    return database


def main():
    rows = 0
    for file in sorted(path.name for path in HERE.glob("format_*.sql")):
        database = load(file)
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for row in database.execute(f"SELECT * FROM {table} ORDER BY rowid"):
                rows += 1
                crc = crc32c(b"".join(counted(field) for field in fields(table, row)))
                if crc != row["crc"]:
                    sys.exit(f"{file}: {table}: {tuple(row)}: the checksum is {crc}")
                if table == "commits" and crc32c(row["record"]) != row["record_crc"]:
                    sys.exit(f"{file}: commit {row['round']}: the record's checksum is {crc32c(row['record'])}")
    file, table, number = WORKED_ROW
    row = load(file).execute(f"SELECT * FROM {table} WHERE number = ?", (number,)).fetchone()
    document = re.sub(r"\s+", " ", DOCUMENT.read_text())
    expected = [counted(field).hex(" ", 8) for field in fields(table, row)] + [f"`{row['crc']}`", f"`{row['crc']:08x}`"]
    for text in expected:
        if text not in document:
            sys.exit(f"{DOCUMENT.name} does not say {text}, of {tuple(row)}")
    print(f"{rows} rows and the worked one")


if __name__ == "__main__":
    main()
