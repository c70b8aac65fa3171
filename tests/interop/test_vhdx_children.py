#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
# time-limit: 300
"""
The engine and libvhdi read the same disk from a chain of differencing images,
also where blocks are there in part, as other programs write them. qemu is not
asked: it has no differencing VHDX.
"""

import os
import random
import subprocess
import sys
import tempfile

BUILD = os.environ.get('BUILD', 'build/default')
TOOL = os.environ.get('VHDX_TOOL', BUILD + '/tests/interop/vhdx_tool')
COMPARE = os.path.dirname(os.path.abspath(__file__)) + '/vhdi_compare.py'
MIB = 1 << 20
SIZE = 40 * MIB + 512 * 8
BAT = 3 * MIB


def run(*command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, **options)
    if done.returncode != 0:
        raise AssertionError('%s: %s%s' % (
            ' '.join(command), done.stdout.decode(errors='replace'),
            done.stderr.decode(errors='replace')))
    return done.stdout


class Chain:
    def __init__(self, directory):
        self.directory = directory
        self.raw = directory + '/raw'
        self.disk = bytearray(SIZE)
        self.random = random.Random(4711)
        self.byte = 0
        self.images = []

    def create(self, block_size=MIB):
        self.images = [self.directory + '/0.vhdx']
        run(TOOL, 'create', self.images[0], str(SIZE), str(block_size),
            '512', 'dynamic')

    def child(self, block_size=MIB):
        name = '%s/%d.vhdx' % (self.directory, len(self.images))
        run(TOOL, 'child', name, self.images[-1], str(block_size))
        self.images.append(name)

    def change(self, count):
        commands = ''
        for _ in range(count):
            length = 512 << self.random.randrange(12)
            offset = self.random.randrange(SIZE - length) // 512 * 512
            if self.random.randrange(4) == 0:
                length *= 2
                length = min(length, SIZE - offset)
                self.disk[offset:offset + length] = bytes(length)
                commands += 'zero %d %d\n' % (offset, length)
            else:
                self.byte = self.byte % 255 + 1
                self.disk[offset:offset + length] = \
                    bytes([self.byte]) * length
                commands += 'write %d %d %d\n' % (offset, length, self.byte)
        run(TOOL, 'run', self.images[-1], input=commands.encode())

    def compare(self):
        assert run(TOOL, 'read', self.images[-1]) == self.disk, \
            'the engine reads something else'
        with open(self.raw, 'wb') as raw:
            raw.write(self.disk)
        run(COMPARE, self.images[-1], self.raw, *self.images[-2::-1])
        for image in self.images:
            run(TOOL, 'check', image)

    def make_partial(self, block, bits):
        """
        A block of the newest image, of 1 MiB, is there in part: the n-th
        64 KiB if bit n is set. The bitmap of the only chunk is its entry
        after the 4096 of the blocks.
        """
        with open(self.images[-1], 'r+b') as f:
            end = f.seek(0, os.SEEK_END)
            assert end % MIB == 0
            f.seek(BAT + 4096 * 8)
            bitmap = int.from_bytes(f.read(8), 'little')
            if bitmap == 0:
                bitmap = end | 6
                end += MIB
                f.seek(BAT + 4096 * 8)
                f.write(bitmap.to_bytes(8, 'little'))
            bitmap -= 6
            f.truncate(end + MIB)
            f.seek(BAT + block * 8)
            f.write((end | 7).to_bytes(8, 'little'))
            for n in range(16):
                if not bits >> n & 1:
                    # Not to be read
                    f.seek(end + n * 65536)
                    f.write(b'\xee' * 65536)
                    continue
                self.byte = self.byte % 255 + 1
                offset = block * MIB + n * 65536
                self.disk[offset:offset + 65536] = bytes([self.byte]) * 65536
                f.seek(end + n * 65536)
                f.write(bytes([self.byte]) * 65536)
                f.seek(bitmap + (block * MIB + n * 65536) // 512 // 8)
                f.write(b'\xff' * 16)


def child_is_read_with_its_parent(chain):
    chain.create()
    chain.change(40)
    chain.child()
    chain.compare()
    chain.change(40)
    chain.compare()


def chain_of_images_with_blocks_of_all_sizes(chain):
    chain.create(block_size=8 * MIB)
    for block_size in (MIB, 32 * MIB, 2 * MIB, 4 * MIB):
        chain.change(20)
        chain.child(block_size=block_size)
        chain.compare()
    chain.change(20)
    chain.compare()


def partially_present_blocks_are_read_by_their_bits(chain):
    chain.create()
    chain.change(40)
    chain.child()
    chain.make_partial(3, 0b0101010110000001)
    chain.make_partial(4, 0b0000111100001110)
    chain.make_partial(9, 0b1111111111111110)
    chain.compare()


def partially_present_blocks_are_written_on(chain):
    partially_present_blocks_are_read_by_their_bits(chain)
    chain.change(60)
    chain.compare()


def merge(chain):
    """The newest image goes into its parent, which is the newest then."""
    run(TOOL, 'merge', chain.images[-1])
    # The child is there, empty, and read as before.
    chain.compare()
    chain.images.pop()
    chain.compare()


def merged_parents_are_read_as_their_children_were(chain):
    chain_of_images_with_blocks_of_all_sizes(chain)
    while len(chain.images) > 1:
        merge(chain)
        chain.change(5)


def partially_present_blocks_are_merged_by_their_bits(chain):
    partially_present_blocks_are_read_by_their_bits(chain)
    merge(chain)


def flatten(chain):
    """The newest image needs the others no more, and has none."""
    run(TOOL, 'flatten', chain.images[-1])
    for image in chain.images[:-1]:
        os.unlink(image)
    chain.images = chain.images[-1:]
    chain.compare()


def flattened_image_is_read_without_its_parents(chain):
    chain_of_images_with_blocks_of_all_sizes(chain)
    flatten(chain)
    # It has children of its own, as any other.
    chain.child()
    chain.change(10)
    chain.compare()


def partially_present_blocks_are_flattened_by_their_bits(chain):
    partially_present_blocks_are_read_by_their_bits(chain)
    flatten(chain)


TESTS = [
    child_is_read_with_its_parent,
    chain_of_images_with_blocks_of_all_sizes,
    partially_present_blocks_are_read_by_their_bits,
    partially_present_blocks_are_written_on,
    merged_parents_are_read_as_their_children_were,
    partially_present_blocks_are_merged_by_their_bits,
    flattened_image_is_read_without_its_parents,
    partially_present_blocks_are_flattened_by_their_bits,
]


def main():
    failed = False
    print('1..%d' % len(TESTS))
    for number, test in enumerate(TESTS, 1):
        name = test.__name__.replace('_', ' ')
        with tempfile.TemporaryDirectory() as directory:
            try:
                test(Chain(directory))
                print('ok %d - %s' % (number, name))
            except AssertionError as why:
                print('not ok %d - %s' % (number, name))
                print('# ' + str(why).strip().replace('\n', '\n# '))
                failed = True
        sys.stdout.flush()
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
