#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""What docs/coverage.md names is there, and no section is left out."""

import glob
import os
import re
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))

# The sections that have a row: those below these that are no headings alone.
SECTIONS = (
    ['2.2.%d' % n for n in (1, 2, 3, 5, 6)]
    + ['2.2.4.%d' % n for n in range(1, 41)]
    + ['2.2.4.17.%d' % n for n in range(1, 5)] + ['2.2.4.17.1.1']
    + ['3.2.1.%d' % n for n in range(1, 5)]
    + ['3.2.%d' % n for n in (2, 3, 4, 6, 7)]
    + ['3.2.5.%d' % n for n in range(1, 10)]
    + ['3.2.5.5.%d' % n for n in range(1, 16)]
    + ['3.2.5.5.7.%d' % n for n in range(1, 7)])


def words():
    """All identifiers, and names of files, of code and tests."""
    found = set()
    for pattern in ('source3/**/*', 'modules/**/*', 'tests/**/*'):
        for path in glob.glob(os.path.join(TOP, pattern), recursive=True):
            if os.path.isdir(path) or path == os.path.abspath(__file__):
                continue
            found.add(os.path.basename(path))
            with open(path, errors='replace') as text:
                found.update(re.findall(r'\w+', text.read()))
    return found


def rows(text):
    """Sections that have a row, of MS-RSVD."""
    text = text[:text.index('## MS-VHDX')]
    return re.findall(r'^\| (\d[\d.]*)', text, re.MULTILINE)


def main():
    with open(os.path.join(TOP, 'docs/coverage.md')) as text:
        coverage = text.read()

    known = words()
    missing = [name for name in re.findall(r'`([\w.]+)`', coverage)
               if name not in known]
    for name in missing:
        print('# no %s' % name)
    print('%s 1 - every function and test that coverage.md names exists'
          % ('not ok' if missing else 'ok'))

    found = rows(coverage)
    left = sorted(set(SECTIONS) ^ set(found))
    left += [section for section in set(found) if found.count(section) > 1]
    for section in left:
        print('# %s' % section)
    print('%s 2 - every section of MS-RSVD 2.2 and 3.2 has one row'
          % ('not ok' if left else 'ok'))
    print('1..2')
    return 1 if missing or left else 0


if __name__ == '__main__':
    sys.exit(main())
