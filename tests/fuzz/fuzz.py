#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""
./waf fuzz: let libFuzzer look for what crashes us.

Each target begins with the inputs of tests/fuzz/corpus/TARGET.txt, one a
line, in hex; '#' starts a comment. What it finds on the way stays in
build/fuzz/corpus/TARGET for the next time. An input that fails is left in
build/fuzz/found, and how to run it again is told.
"""

import argparse
import glob
import os
import re
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
FUZZ = os.path.join(TOP, 'build/fuzz')
SOURCES = os.path.join(TOP, 'tests/fuzz')
# Of one input: seconds, MiB, bytes
LIMITS = ['-timeout=20', '-rss_limit_mb=3072', '-max_len=2048']


def targets():
    """The programs, by name; none where there is no libFuzzer."""
    found = {}
    for source in sorted(glob.glob(SOURCES + '/fuzz_*.c')):
        name = os.path.splitext(os.path.basename(source))[0]
        program = os.path.join(FUZZ, 'tests/fuzz', name)
        if os.access(program, os.X_OK):
            found[name] = program
    return found


def read_inputs(name):
    with open('%s/corpus/%s.txt' % (SOURCES, name)) as lines:
        for line in lines:
            text = line.partition('#')[0].strip()
            if text:
                yield bytes.fromhex(text)


def unpack(name, directory):
    os.makedirs(directory, exist_ok=True)
    for number, data in enumerate(read_inputs(name)):
        with open('%s/seed-%03d' % (directory, number), 'wb') as out:
            out.write(data)


def fuzz(name, program, seconds, corpus, out):
    """Run a target; how many inputs it tried, or None when it failed."""
    found = os.path.join(FUZZ, 'found')
    os.makedirs(found, exist_ok=True)
    unpack(name, corpus)
    # What was forgotten at exit is of no interest, the rest is looked at
    # after each input.
    environment = dict(os.environ, UBSAN_OPTIONS='print_stacktrace=1')
    child = subprocess.Popen(
        [program, '-max_total_time=%d' % seconds, '-print_final_stats=1',
         '-artifact_prefix=%s/%s-' % (found, name)] + LIMITS + [corpus],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors='replace', env=environment)
    tried = 0
    for line in child.stdout:
        count = re.match(r'stat::number_of_executed_units:\s*(\d+)', line)
        if count:
            tried = int(count.group(1))
        out.write(line)
        out.flush()
    return tried if child.wait() == 0 else None


def main(arguments):
    parser = argparse.ArgumentParser(
        prog='./waf fuzz', description=__doc__.split('\n\n', 1)[1],
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('targets', nargs='*', metavar='TARGET',
                        help='some of those in tests/fuzz (default: all)')
    parser.add_argument('--seconds', type=int, default=60,
                        help='how long each (default: 60)')
    options = parser.parse_args(arguments)

    known = targets()
    if not known:
        sys.exit('./waf fuzz: clang has no libFuzzer here')
    failed = []
    for name in options.targets or known:
        if name not in known:
            sys.exit('./waf fuzz: no target "%s", there are: %s'
                     % (name, ', '.join(known)))
        print('== ' + name, flush=True)
        corpus = os.path.join(FUZZ, 'corpus', name)
        if fuzz(name, known[name], options.seconds, corpus,
                sys.stdout) is None:
            failed.append(name)
    if failed:
        sys.exit('./waf fuzz: found something: ' + ', '.join(failed))


if __name__ == '__main__':
    main(sys.argv[1:])
