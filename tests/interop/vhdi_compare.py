#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""
vhdi_compare.py IMAGE RAW: is the disk in IMAGE, as libvhdi reads it, byte for
byte what is in the file RAW?
"""

import os
import sys

import pyvhdi

CHUNK = 1 << 20


def main(image, raw):
    disk = pyvhdi.file()
    disk.open(image)
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
    if len(sys.argv) != 3:
        sys.exit(__doc__.strip())
    main(*sys.argv[1:])
