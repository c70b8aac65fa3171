#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
# time-limit: 300
"""
The engine, qemu and libvhdi read the same disk from the same image, whoever
wrote it. What has to be on the disk is kept in a raw file that none of them
touches.
"""

import hashlib
import os
import random
import subprocess
import sys
import tempfile

BUILD = os.environ.get('BUILD', 'build/default')
TOOL = os.environ.get('VHDX_TOOL', BUILD + '/tests/interop/vhdx_tool')
KIB = 1 << 10
MIB = 1 << 20
SIZE = 100 * MIB + 512 * 8

def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


class Skip(Exception):
    pass


def run(*command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, **options)
    if done.returncode != 0:
        raise AssertionError('%s: %s%s' % (' '.join(command), done.stdout,
                                           done.stderr))
    return done.stdout


class Disk:
    """An image, and beside it in a raw file what is to be in it."""

    def __init__(self, directory):
        self.image = directory + '/disk.vhdx'
        self.raw = directory + '/disk.raw'
        self.out = directory + '/out.raw'
        with open(self.raw, 'wb') as raw:
            raw.truncate(SIZE)
        self.random = random.Random(4711)
        self.byte = 0

    def create(self, block_size=MIB, sector=512, kind='dynamic'):
        run(TOOL, 'create', self.image, str(SIZE), str(block_size),
            str(sector), kind)

    def create_by_qemu(self, block_size=MIB, kind='dynamic'):
        run('qemu-img', 'create', '-q', '-f', 'vhdx', '-o',
            'block_size=%d,subformat=%s,log_size=1M' % (block_size, kind),
            self.image, str(SIZE))

    def ranges(self, count):
        """Random ranges with a byte each, already in the raw file."""
        with open(self.raw, 'r+b') as raw:
            for _ in range(count):
                length = 512 << self.random.randrange(12)
                offset = self.random.randrange(SIZE - length) // 512 * 512
                self.byte = self.byte % 255 + 1
                raw.seek(offset)
                raw.write(bytes([self.byte]) * length)
                yield offset, length, self.byte

    def write(self, count, end=''):
        run(TOOL, 'run', self.image, input=''.join(
            'write %d %d %d\n' % r for r in self.ranges(count)) + end)

    def write_by_qemu(self, count, end=()):
        command = ['qemu-io', '-t', 'unsafe', '-f', 'vhdx']
        for offset, length, byte in self.ranges(count):
            command += ['-c', 'write -q -P %d %d %d' % (byte, offset, length)]
        for e in end:
            command += ['-c', e]
        return subprocess.run(command + [self.image],
                              stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)

    @staticmethod
    def checksum(path):
        with open(path, 'rb') as f:
            return hashlib.file_digest(f, 'sha256').hexdigest()

    def expect(self, reader):
        wanted = self.checksum(self.raw)
        got = self.checksum(self.out)
        assert got == wanted, '%s reads something else' % reader

    def compare(self):
        with open(self.out, 'wb') as out:
            subprocess.run([TOOL, 'read', self.image], stdout=out, check=True)
        self.expect('the engine')

    def compare_by_qemu(self):
        run('qemu-img', 'convert', '-t', 'unsafe', '-f', 'vhdx', '-O', 'raw',
            self.image, self.out)
        with open(self.out, 'r+b') as out:
            out.truncate(SIZE)
        self.expect('qemu')

    def compare_by_libvhdi(self):
        run(os.path.dirname(os.path.abspath(__file__)) + '/vhdi_compare.py',
            self.image, self.raw)

    def check(self):
        run(TOOL, 'check', self.image)
        run('qemu-img', 'check', '-f', 'vhdx', self.image)

    def has_log(self):
        """Does the current header name a log?"""
        with open(self.image, 'rb') as f:
            headers = []
            for offset in (64 * KIB, 128 * KIB):
                f.seek(offset)
                headers.append(f.read(4096))
        newest = max(headers,
                     key=lambda h: int.from_bytes(h[8:16], 'little'))
        return newest[48:64] != bytes(16)

    def poke(self, offset, data):
        with open(self.image, 'r+b') as f:
            f.seek(offset)
            f.write(data)

    def name_log(self):
        """
        qemu empties the log after each write, so there is no time at which
        it can be killed for sure with something in it. Make the headers name
        its last entry again, as they did when it was written.
        """
        with open(self.image, 'rb') as f:
            f.seek(64 * KIB)
            header = f.read(4096)
            f.seek(int.from_bytes(header[72:80], 'little'))
            log = f.read(int.from_bytes(header[68:72], 'little'))
        entries = [log[i:i + 64] for i in range(0, len(log), 4096)
                   if log[i:i + 4] == b'loge']
        newest = max(entries,
                     key=lambda e: int.from_bytes(e[16:24], 'little'))
        for offset in (64 * KIB, 128 * KIB):
            with open(self.image, 'rb') as f:
                f.seek(offset)
                header = bytearray(f.read(4096))
            header[48:64] = newest[32:48]
            header[4:8] = bytes(4)
            header[4:8] = crc32c(header).to_bytes(4, 'little')
            self.poke(offset, header)

    def bat_offset(self):
        with open(self.image, 'rb') as f:
            f.seek(192 * KIB)
            table = f.read(64 * KIB)
        bat = bytes.fromhex('6677c22d23f600429d64115e9bfd4a08')
        entry = table.index(bat)
        return int.from_bytes(table[entry + 16:entry + 24], 'little')


def ours_is_read_by_all(disk, **options):
    disk.create(**options)
    disk.write(300)
    disk.compare()
    disk.compare_by_qemu()
    disk.compare_by_libvhdi()
    disk.check()


def ours_written_on_by_qemu_and_us_in_turn(disk):
    disk.create()
    for _ in range(3):
        disk.write(60)
        disk.write_by_qemu(60)
    disk.compare()
    disk.compare_by_qemu()
    disk.compare_by_libvhdi()
    disk.check()


def qemus_is_read_by_us(disk, **options):
    disk.create_by_qemu(**options)
    assert disk.write_by_qemu(300).returncode == 0
    disk.compare()
    disk.compare_by_libvhdi()
    disk.write(100)
    disk.compare()
    disk.compare_by_qemu()
    disk.compare_by_libvhdi()
    disk.check()


def zeroed_ranges_are_zeros_to_all(disk):
    disk.create()
    disk.write(200)
    commands = ''
    with open(disk.raw, 'r+b') as raw:
        for _ in range(40):
            length = disk.random.randrange(1, 8 * MIB // 512) * 512
            offset = disk.random.randrange(SIZE - length) // 512 * 512
            commands += 'zero %d %d\n' % (offset, length)
            raw.seek(offset)
            raw.write(bytes(length))
    run(TOOL, 'run', disk.image, input=commands)
    disk.compare()
    disk.compare_by_qemu()
    disk.compare_by_libvhdi()
    disk.check()
    # And when there is something again, where there was another block
    disk.write(60)
    disk.write_by_qemu(60)
    disk.compare()
    disk.compare_by_qemu()
    disk.compare_by_libvhdi()
    disk.check()


def log_of_a_killed_qemu_is_replayed(disk):
    disk.create_by_qemu()
    disk.write_by_qemu(50, end=['abort'])
    disk.name_log()
    assert disk.has_log()
    # qemu has put its last entry in place; take that back.
    with open(disk.image, 'rb') as f:
        f.seek(disk.bat_offset())
        bat = f.read(4096)
    disk.compare()
    disk.poke(disk.bat_offset(), bytes(4096))
    disk.compare()
    assert disk.has_log(), 'reading has written'
    disk.write(1)
    with open(disk.image, 'rb') as f:
        f.seek(disk.bat_offset())
        now = f.read(4096)
    for i in range(0, 4096, 8):
        assert bat[i:i + 8] in (bytes(8), now[i:i + 8]), 'not replayed'
    assert not disk.has_log()
    disk.compare()
    disk.compare_by_qemu()
    disk.compare_by_libvhdi()
    run('qemu-img', 'check', '-f', 'vhdx', disk.image)


def our_log_is_replayed_by_qemu(disk):
    disk.create()
    disk.write(50, end='crash\n')
    assert disk.has_log()
    disk.compare()
    disk.poke(disk.bat_offset(), bytes(4096))
    # Opened for writing, it replays.
    done = disk.write_by_qemu(1)
    assert done.returncode == 0, done.stdout
    assert not disk.has_log()
    disk.compare()
    disk.compare_by_qemu()
    disk.compare_by_libvhdi()
    run('qemu-img', 'check', '-f', 'vhdx', disk.image)


def ours_with_4096_byte_sectors(disk, peer):
    disk.create(sector=4096, block_size=2 * MIB)
    run(TOOL, 'run', disk.image, input='write 8192 40960 7\n')
    with open(disk.raw, 'r+b') as raw:
        raw.seek(8192)
        raw.write(b'\7' * 40960)
    disk.compare()
    if peer == 'qemu':
        done = subprocess.run(['qemu-img', 'info', disk.image],
                              stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            raise Skip('this qemu does not open disks with logical sectors '
                       'of 4096 bytes')
        disk.compare_by_qemu()
    else:
        disk.compare_by_libvhdi()


TESTS = [
    ('qemu and libvhdi read our dynamic image with %d MiB blocks' % n,
     lambda disk, n=n: ours_is_read_by_all(disk, block_size=n * MIB))
    for n in (1, 8, 32, 256)
] + [
    ('qemu and libvhdi read our fixed image',
     lambda disk: ours_is_read_by_all(disk, kind='fixed')),
    ('the engine and qemu write one image in turn',
     ours_written_on_by_qemu_and_us_in_turn),
    ('zeroed ranges are zeros to all', zeroed_ranges_are_zeros_to_all),
] + [
    ('the engine reads and writes on a dynamic image of qemu with %d MiB '
     'blocks' % n,
     lambda disk, n=n: qemus_is_read_by_us(disk, block_size=n * MIB))
    for n in (1, 16, 256)
] + [
    ('the engine reads and writes on a fixed image of qemu',
     lambda disk: qemus_is_read_by_us(disk, kind='fixed')),
    ('the log of a killed qemu is replayed',
     log_of_a_killed_qemu_is_replayed),
    ('our log is replayed by qemu', our_log_is_replayed_by_qemu),
    ('qemu reads our image with 4096-byte sectors',
     lambda disk: ours_with_4096_byte_sectors(disk, 'qemu')),
    ('libvhdi reads our image with 4096-byte sectors',
     lambda disk: ours_with_4096_byte_sectors(disk, 'libvhdi')),
]


def main():
    failed = False
    print('1..%d' % len(TESTS))
    for number, (name, test) in enumerate(TESTS, 1):
        with tempfile.TemporaryDirectory() as directory:
            try:
                test(Disk(directory))
                print('ok %d - %s' % (number, name))
            except Skip as why:
                print('ok %d - %s # SKIP %s' % (number, name, why))
            except (AssertionError, subprocess.CalledProcessError) as why:
                print('not ok %d - %s' % (number, name))
                print('# ' + str(why).strip().replace('\n', '\n# '))
                failed = True
        sys.stdout.flush()
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
