#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""
Each fuzzing target for a short time, under ASan and UBSan. ./waf fuzz does
it for longer.

time-limit: 300
"""

import concurrent.futures
import io
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import fuzz  # noqa: E402

SECONDS = 60
AT_A_TIME = 2


def run(name, program):
    out = io.StringIO()
    corpus = os.path.join(os.environ['TMPDIR'], name)
    return fuzz.fuzz(name, program, SECONDS, corpus, out), out.getvalue()


def main():
    targets = fuzz.targets()
    if not targets:
        print('1..0 # SKIP clang has no libFuzzer here')
        return 0
    print('1..%d' % len(targets))
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(AT_A_TIME) as pool:
        results = pool.map(run, targets, targets.values())
        for number, (name, (tried, output)) in enumerate(
                zip(targets, results), 1):
            if tried is None:
                failed += 1
                for line in output.splitlines()[-60:]:
                    print('# ' + line)
                print('not ok %d - %s finds nothing' % (number, name))
            else:
                print('ok %d - %s finds nothing in %d inputs'
                      % (number, name, tried))
            sys.stdout.flush()
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
