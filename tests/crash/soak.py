#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""
./waf soak: the crash tests for as long as one likes.

Takes turns, until the time is over or something fails: many writers that are
killed, for a minute with a new image and a new seed, and power cuts with
seeds that were not used before. Each says how to do it again.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))


def run(build, name, *arguments):
    command = [os.path.join(build, 'tests/crash', name)] + list(arguments)
    print('%s %s' % (time.strftime('%H:%M:%S'), ' '.join(
        [os.path.relpath(command[0], TOP)] + command[1:])), flush=True)
    started = time.monotonic()
    status = subprocess.call(command)
    if status != 0:
        sys.exit('soak: failed after %d s' % (time.monotonic() - started))


def main(arguments):
    parser = argparse.ArgumentParser(
        prog='./waf soak', description=__doc__.split('\n\n', 1)[1],
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--minutes', type=float, default=60,
                        help='how long (default: 60)')
    parser.add_argument('--directory', metavar='DIR',
                        help='for the images, on the file system to try')
    parser.add_argument('--seed', type=int, default=int(time.time()),
                        help='of the first power cuts')
    parser.add_argument('--sanitize', action='store_true',
                        help='with ASan and UBSan')
    options = parser.parse_args(arguments)

    build = os.path.join(TOP, 'build',
                         'sanitize' if options.sanitize else 'default')
    end = time.monotonic() + options.minutes * 60
    seed = options.seed
    rounds = 0
    with tempfile.TemporaryDirectory(prefix='soak.',
                                     dir=options.directory) as directory:
        while time.monotonic() < end:
            left = end - time.monotonic()
            run(build, 'test_many_writers', '--directory=' + directory,
                '--seconds=%d' % max(1, min(60, left)))
            run(build, 'test_power_cut', '--seed=%d' % seed, '--cuts=10000')
            # Enough for what one round can use
            seed += 1000
            rounds += 1
    print('rounds: %d, nothing found' % rounds)


if __name__ == '__main__':
    main(sys.argv[1:])
