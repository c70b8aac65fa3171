#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""
What others find in an image after a power cut.

test_power_cut leaves some of its files, as the power cut left them and after
our engine has had them open. qemu replays the log of the first and has to
come to the same disk as we do; qemu and libvhdi have to read the same in
what we leave.

time-limit: 240
"""

import glob
import os
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
BUILD = os.environ.get('BUILD', os.path.join(TOP, 'build/default'))
VHDI = os.path.join(TOP, 'tests/interop/vhdi_compare.py')
SEEDS = 9


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


def compare(cut, recovered, raw):
    """The reason why somebody disagrees, or None."""
    for image in (cut, recovered):
        repaired = subprocess.run(
            ['qemu-img', 'check', '-q', '-f', 'vhdx', '-r', 'all', image],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        # 3: space leaked, which a crash may do
        if 'Operation not supported' in repaired.stdout:
            raise NotSupported('qemu knows no sectors of 4 KiB')
        if repaired.returncode not in (0, 3):
            return 'qemu-img check %s: %s' % (image, repaired.stdout)
    return (failed(['qemu-img', 'compare', '-q', '-f', 'vhdx', '-F', 'vhdx',
                    cut, recovered])
            or failed(['qemu-img', 'convert', '-f', 'vhdx', '-O', 'raw',
                       recovered, raw])
            or failed([sys.executable, '-B', VHDI, recovered, raw]))


def main():
    with tempfile.TemporaryDirectory() as directory:
        problem = failed([os.path.join(BUILD, 'tests/crash/test_power_cut'),
                          '--seed=0', '--seeds=%d' % SEEDS,
                          '--export=' + directory])
        if problem:
            print('1..1\nnot ok 1 - ' + problem.replace('\n', ' '))
            return 1
        cuts = sorted(glob.glob(directory + '/*.cut.vhdx'))
        print('1..%d' % (len(cuts) or 1))
        if not cuts:
            print('not ok 1 - no file was left')
            return 1
        problems = 0
        for number, cut in enumerate(cuts, 1):
            recovered = cut.replace('.cut.', '.recovered.')
            raw = os.path.join(directory, 'raw')
            name = os.path.basename(cut).replace('.cut.vhdx', '')
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
        return 1 if problems else 0


if __name__ == '__main__':
    sys.exit(main())
