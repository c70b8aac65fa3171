#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""
What others find in an image after a power cut.

test_power_cut leaves some of its files, as the power cut left them and after
our engine has had them open. qemu replays the log of the first and has to
come to the same disk as we do, where it replays logs as MS-VHDX has it; qemu
and libvhdi have to read the same in what we leave.

time-limit: 240
"""

import glob
import os
import struct
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
BUILD = os.environ.get('BUILD', os.path.join(TOP, 'build/default'))
VHDI = os.path.join(TOP, 'tests/interop/vhdi_compare.py')
# --seed and --seeds: of all kinds of disks, and some that are trimmed
SEEDS = [(0, 9), (15, 2)]


class NotSupported(Exception):
    pass


def failed(command):
    """What a command says when it fails, or None."""
    child = subprocess.run(command, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True)
    if child.returncode == 0:
        return None
    return '%s: status %d: %s' % (' '.join(command), child.returncode,
                                  child.stdout.strip())


CRC_TABLE = []
for crc in range(256):
    for _ in range(8):
        crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    CRC_TABLE.append(crc)


def checksum_is_right(data):
    """CRC-32C in the second four bytes, computed with these as zero"""
    crc = 0xFFFFFFFF
    for byte in data[:4] + bytes(4) + data[8:]:
        crc = crc >> 8 ^ CRC_TABLE[(crc ^ byte) & 255]
    return struct.unpack_from('<I', data, 4)[0] == crc ^ 0xFFFFFFFF


def valid_entries(path):
    """Of the log: offset -> (length, tail, sequence number); and the log"""
    with open(path, 'rb') as image:
        headers = []
        for offset in (64 << 10, 128 << 10):
            image.seek(offset)
            header = image.read(4096)
            if checksum_is_right(header):
                headers.append((struct.unpack_from('<Q', header, 8), header))
        header = max(headers)[1]
        size, offset = struct.unpack_from('<IQ', header, 68)
        image.seek(offset)
        log = image.read(size)
    entries = {}
    for offset in range(0, size, 4096):
        signature, _, length, tail, number = struct.unpack_from(
            '<4sIIIQ', log, offset)
        if (signature == b'loge' and 0 < length <= size and length % 4096 == 0
                and log[offset + 32:offset + 48] == header[48:64]
                and checksum_is_right((log + log)[offset:offset + length])):
            entries[offset] = length, tail, number
    return entries, log


def sectors_of(log, entry):
    """What an entry of our engine writes: offset in the file -> 4 KiB"""
    entry = (log + log)[entry:]
    sectors = {}
    for i in range(struct.unpack_from('<I', entry, 24)[0]):
        signature, trailing, leading, offset = struct.unpack_from(
            '<4s4s8sQ', entry, 64 + 32 * i)
        data = entry[4096 * (i + 1):4096 * (i + 2)]
        assert signature == b'desc' and data[:4] == b'data'
        sectors[offset] = leading + data[8:-4] + trailing
    return sectors


def qemu_replays(path):
    """
    Whether qemu (7.2 and later) gets through the log of an image, and to the
    sequence that MS-VHDX 2.3.2 has it replay. It takes the run of entries
    that begins with the highest number, and does not ask whether the tail of
    the newest one is in there. And a run that goes over the end of the log
    and past its own place there has it begin again, for ever. And it replays
    all of the run, also what is before the tail: where the power cut left
    something in its place that is newer, it takes that back. Nobody flushed
    it, or it would be in the log.
    """
    entries, log = valid_entries(path)
    size = len(log)
    best = None
    begin = 0
    while begin < size:
        if begin not in entries:
            begin += 4096
            continue
        end, run, number = begin, [], entries[begin][2]
        while end % size in entries and entries[end % size][2] == number:
            run.append(end % size)
            end += entries[end % size][0]
            number += 1
        if end > size:
            return False
        if best is None or entries[run[0]][2] > entries[best[0]][2]:
            best = run
        begin = end
    if best is None:
        return True
    tail = entries[best[-1]][1]
    if tail not in best:
        return False
    before = {}
    for entry in best[:best.index(tail)]:
        before.update(sectors_of(log, entry))
    for entry in best[best.index(tail):]:
        for offset in sectors_of(log, entry):
            before.pop(offset, None)
    with open(path, 'rb') as image:
        return all(os.pread(image.fileno(), 4096, offset) == sector
                   for offset, sector in before.items())


def compare(cut, recovered, raw):
    """The reason why somebody disagrees, or None."""
    for image in (cut, recovered) if cut else (recovered,):
        repaired = subprocess.run(
            ['qemu-img', 'check', '-q', '-f', 'vhdx', '-r', 'all', image],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        # 3: space leaked, which a crash may do
        if 'Operation not supported' in repaired.stdout:
            raise NotSupported('qemu knows no sectors of 4 KiB')
        if repaired.returncode not in (0, 3):
            return 'qemu-img check %s: %s' % (image, repaired.stdout)
    return ((cut and failed(['qemu-img', 'compare', '-q', '-f', 'vhdx',
                             '-F', 'vhdx', cut, recovered]))
            or failed(['qemu-img', 'convert', '-f', 'vhdx', '-O', 'raw',
                       recovered, raw])
            or failed([sys.executable, '-B', VHDI, recovered, raw]))


def main():
    with tempfile.TemporaryDirectory() as directory:
        problem = None
        for first, number in SEEDS:
            problem = problem or failed(
                [os.path.join(BUILD, 'tests/crash/test_power_cut'),
                 '--seed=%d' % first, '--seeds=%d' % number,
                 '--export=' + directory])
        if problem:
            print('1..1\nnot ok 1 - ' + problem.replace('\n', ' '))
            return 1
        cuts = sorted(glob.glob(directory + '/*.cut.vhdx'))
        print('1..%d' % (len(cuts) + 1))
        problems = replayed = 0
        for number, cut in enumerate(cuts, 1):
            recovered = cut.replace('.cut.', '.recovered.')
            raw = os.path.join(directory, 'raw')
            name = os.path.basename(cut).replace('.cut.vhdx', '')
            if qemu_replays(cut):
                replayed += 1
            else:
                cut = None
                name += ', once recovered'
            try:
                problem = compare(cut, recovered, raw)
            except NotSupported as why:
                print('ok %d - cut %s # SKIP %s' % (number, name, why))
                continue
            if problem:
                problems += 1
                print('# ' + problem.replace('\n', '\n# '))
            print('%sok %d - qemu and libvhdi agree about cut %s'
                  % ('not ' if problem else '', number, name), flush=True)
        enough = replayed > len(cuts) / 2
        print('%sok %d - qemu replays %d of the logs'
              % ('' if enough else 'not ', len(cuts) + 1, replayed))
        return 1 if problems or not enough else 0


if __name__ == '__main__':
    sys.exit(main())
