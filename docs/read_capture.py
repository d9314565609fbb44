#!/usr/bin/env python3
"""Read a Kindling capture without Kindling: rows per table, and the header.

A capture is a ZIP archive of Parquet files (docs/FORMAT.md). This needs pyarrow and the standard
library. It prints one line per table: its name, members, rows and compressed bytes.

    python3 docs/read_capture.py web.kndl
    python3 docs/read_capture.py web.kndl syscalls      # and the first rows of a table

Exit code 1 if it is not a capture or its CRCs do not hold.
"""

import io
import json
import sys
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq


def members(archive):
    """The table members in the order of the file: segment, table, archive entry."""
    for entry in archive.infolist():
        segment, _, file = entry.filename.partition("/")
        if segment.isdigit() and file.endswith(".parquet"):
            yield int(segment), file.removesuffix(".parquet"), entry


def read_table(archive, name):
    """All rows of a table. Older members may lack columns: they read as null."""
    parts = [
        pq.read_table(io.BytesIO(archive.read(entry)))
        for _, table, entry in members(archive)
        if table == name
    ]
    return pa.concat_tables(parts, promote_options="default") if parts else pa.table({})


def main(path, table=None):
    try:
        archive = zipfile.ZipFile(path)
        header = json.loads(archive.read("kindling.json"))
    except (zipfile.BadZipFile, KeyError) as error:
        sys.exit(f"{path} is no finished Kindling capture: {error}")
    if header["format"]["major"] != 1:
        sys.exit(f"{path} has format {header['format']}, this script reads major version 1")
    damaged = archive.testzip()
    if damaged:
        sys.exit(f"{path}: {damaged} fails its CRC")
    totals = {}
    for _, name, entry in members(archive):
        metadata = pq.read_metadata(io.BytesIO(archive.read(entry)))
        count, rows, size = totals.get(name, (0, 0, 0))
        totals[name] = (count + 1, rows + metadata.num_rows, size + entry.file_size)
    for name, (count, rows, size) in totals.items():
        print(f"{name} {count} {rows} {size}")
    if table:
        print(read_table(archive, table).slice(0, 10).to_string(preview_cols=10))


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(*sys.argv[1:])
