# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests with libiscsi's suite and sg3_utils have in common."""

import collections
import os
import re
import shutil

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))

SUITE = ['iscsi-test-cu', '-d', '-t', 'ALL']
DEVICES = ['/dev/rsvd0', '/dev/rsvd1']

# Tests that SANITIZE, which the suite leaves out unless it is told to. One by
# one: of the others one crashes without an iSCSI connection.
SANITIZE = ['BlockErase', 'ExitFailureMode', 'InvalidServiceAction',
            'Overwrite']

Result = collections.namedtuple('Result', 'name passed skipped said')


def sanitize(test):
    return ['iscsi-test-cu', '-d', '-S', '-t', 'SCSI.Sanitize.' + test]


def suite_results(output):
    """The tests of libiscsi's suite, and what it printed about each."""
    suite = ''
    for match in re.finditer(
            r'^Suite: (\S+)|^  Test: (\S+) \.\.\.(.*?)(?=^Suite:|^  Test:|'
            r'^Run Summary:)', output, re.MULTILINE | re.DOTALL):
        if match.group(1):
            suite = match.group(1)
            continue
        said = match.group(3)
        skipped = re.search(r'SKIPPED\](.*)', said)
        yield Result('%s.%s' % (suite, match.group(2)),
                     # It prints [FAILED] where a refusal may be right, too.
                     bool(re.search(r'^passed\b', said, re.MULTILINE)),
                     skipped.group(1).strip() if skipped else '', said)


def suite_summary(output):
    """How many tests there are, have run, passed, and failed."""
    found = re.search(r'tests +(\d+) +(\d+) +(\d+) +(\d+)', output)
    return tuple(int(n) for n in found.groups()) if found else None


def documented_skips():
    """What docs/scsi.md says that the suite skips: {its words: how many}."""
    with open(os.path.join(TOP, 'docs/scsi.md')) as docs:
        text = docs.read()
    text = text[text.index('| Tests | The suite says |'):]
    text = text[:text.index('\n\n')]
    return {words: int(number) for number, words in
            re.findall(r'^\| (\d+) \| `([^`]+)` \|', text, re.MULTILINE)}


def skips(results):
    """The same, of a run."""
    counts = collections.Counter()
    documented = sorted(documented_skips(), key=len, reverse=True)
    for result in results:
        if result.skipped:
            counts[next((words for words in documented
                         if words in result.skipped), result.skipped)] += 1
    return dict(counts)


def tap(results):
    """Print (sentence, passed, why it was skipped, details)."""
    number = 0
    for number, (name, passed, skipped, details) in enumerate(results, 1):
        print('%s %d - %s%s' % ('ok' if passed else 'not ok', number,
                                name.replace('#', ''),
                                ' # SKIP ' + skipped if passed and skipped
                                else ''))
        if not passed:
            print(''.join('# %s\n' % line for line in details.splitlines()),
                  end='')
    print('1..%d' % number, flush=True)


def missing(command):
    return '' if shutil.which(command) else command + ' is not installed'
