#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of ./waf, each doing by itself what it needs of the others."""

import argparse
import os
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[0:0] = [os.path.join(TOP, 'buildtools'),
                 os.path.join(TOP, 'tests/harness')]
sys.dont_write_bytecode = True

import samba_tree  # noqa: E402

DESCRIPTION = """\
commands:
  setup             install packages; fetch, configure Samba's source in build/
  build             compile; --targets=NAME,... for a part of it, -v, -k, -jN
  install           into smbd's module directory and /usr; --destdir=DIR
  test [NAME...]    all tests, or those whose name contains NAME
  selftest [-- COMMAND...]
                    run COMMAND beside a private smbd; none: print how to
                    reach it and wait
  demo              two initiators share one disk, step by step
  bench             throughput through the module against a plain file
  graft DIR         put the module into a Samba source tree
  clean             remove what build made (Samba's tree stays)

options:
  --samba-source=DIR   a Samba source tree of the installed version
  --sanitize           with ASan and UBSan (build, test): all but the module
"""


def run_waf(arguments):
    """Samba's own copy of waf, on our wscript."""
    tree = samba_tree.current()
    code = ('import sys; sys.path.insert(0, %r); '
            'from waflib import Context, Scripting; '
            'Scripting.waf_entry_point(%r, Context.WAFVERSION, %r)')
    waf = os.path.join(tree, 'third_party/waf')
    environment = dict(os.environ, NOCLIMB='1')
    if not os.path.exists(os.path.join(TOP, 'build/c4che')):
        arguments = ['configure'] + arguments
    status = subprocess.call(
        [sys.executable, '-B', '-c', code % (waf, TOP, waf)] + arguments,
        cwd=TOP, env=environment)
    if status != 0:
        sys.exit(status)


def build(options):
    samba_tree.setup(options.samba_source)
    run_waf(['build'] + (['--sanitize'] if options.sanitize else []))


def main():
    parser = argparse.ArgumentParser(
        prog='./waf', usage='./waf COMMAND [options]', epilog=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('command', help=argparse.SUPPRESS)
    parser.add_argument('--samba-source', help=argparse.SUPPRESS)
    parser.add_argument('--sanitize', action='store_true',
                        help=argparse.SUPPRESS)
    options, rest = parser.parse_known_args()
    if options.sanitize:
        rest = ['--sanitize'] + rest

    samba_tree.setup(options.samba_source)
    run_waf([options.command] + rest)


main()
