#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""
vhdi_compare.py IMAGE RAW [PARENT...]: is the disk in IMAGE, as libvhdi reads
it, byte for byte what is in the file RAW? The parents of a differencing image
are given, the nearest one first: libvhdi does not look at relative paths.
"""

import os
import sys

import pyvhdi

CHUNK = 1 << 20


def open_chain(image, *parents):
    """All files of the chain: pyvhdi does not keep a parent itself."""
    disk = pyvhdi.file()
    disk.open(image)
    if not parents:
        return [disk]
    chain = open_chain(*parents)
    disk.set_parent(chain[0])
    return [disk] + chain


def main(image, raw, *parents):
    chain = open_chain(image, *parents)
    disk = chain[0]
    size = disk.get_media_size()
    if size != os.path.getsize(raw):
        sys.exit('libvhdi: the disk has %d bytes, not %d'
                 % (size, os.path.getsize(raw)))
    with open(raw, 'rb') as expected:
        for offset in range(0, size, CHUNK):
            length = min(CHUNK, size - offset)
            if disk.read_buffer_at_offset(length, offset) \
                    != expected.read(length):
                sys.exit('libvhdi: the disk differs between %d and %d'
                         % (offset, offset + length))
    disk.close()
    print('libvhdi: all %d bytes are the same' % size)


if __name__ == '__main__':
    if len(sys.argv) < 3:
        sys.exit(__doc__.strip())
    main(*sys.argv[1:])
