#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ./waf test counts, and what it does not believe."""

import os
import signal
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                '../harness'))

import runner  # noqa: E402

CASES = [
    ('tests that passed, failed and were skipped are counted apart',
     '1..4\nok 1 - a\nnot ok 2 - b\nok 3 - c # SKIP no d\nok 4 - e\n', 1,
     (2, 1, 1)),
    ('the skipped tests of cmocka are not failures',
     '1..1\nnot ok 1 # SKIP a\n', 0, (0, 0, 1)),
    ('a plan may come last',
     'ok 1 - a\n1..1\n', 0, (1, 0, 0)),
    ('each group of a cmocka program has its plan',
     '1..1\nok 1 - a\n1..2\nok 1 - b\nok 2 - c\n', 0, (3, 0, 0)),
    ('a program that skips everything is one skipped test',
     '1..0 # SKIP qemu-img is not installed\n', 0, (0, 0, 1)),
    ('a program that runs fewer tests than planned has failed',
     '1..2\nok 1 - a\n', 0, (1, 1, 0)),
    ('a program without a plan has failed',
     'ok 1 - a\n', 0, (1, 1, 0)),
    ('a program that prints nothing has failed',
     '', 0, (0, 1, 0)),
    ('a program that ends with an error after its tests has failed',
     '1..1\nok 1 - a\n', 99, (1, 1, 0)),
    ('a program that crashes has failed',
     '1..1\nok 1 - a\n', -signal.SIGSEGV, (1, 1, 0)),
    ('a failed test is not counted again for the exit status',
     '1..1\nnot ok 1 - a\n', 1, (0, 1, 0)),
    ('a program that bails out has failed',
     '1..1\nok 1 - a\nBail out! no disk\n', 0, (1, 1, 0)),
]

print('1..%d' % len(CASES))
failures = 0
for number, (name, output, status, expected) in enumerate(CASES, 1):
    count, problems = runner.count_tap(output, status)
    if tuple(count) != expected:
        print('# %s, expected %s; %s' % (tuple(count), expected, problems))
        failures += 1
    print('%sok %d - %s' % ('' if tuple(count) == expected else 'not ',
                            number, name))
sys.exit(1 if failures else 0)
