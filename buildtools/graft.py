#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""
./waf graft DIR: put the module into a Samba source tree.

It is then built there as any other: "waf build --targets=vfs_rsvd", before or
after "waf configure". Doing it again brings the tree up to date.
"""

import glob
import os
import re
import shutil
import sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# What is copied, and whose wscript_build is added to one of Samba's.
FILES = ['modules/*/*.[ch]', 'modules/wscript_build',
         'source3/librpc/idl/*.idl', 'source3/modules/vfs_rsvd*.[ch]']
FRAGMENTS = ['source3/librpc/idl', 'source3/librpc', 'source3/modules']

BEGIN, END = '# vfs_rsvd {\n', '# } vfs_rsvd\n'


def check_idl():
    """Samba's build wants them named, for its own are beside them."""
    with open(os.path.join(TOP, 'source3/librpc/idl/wscript_build')) as names:
        named = re.findall(r'\w+\.idl', names.read())
    for path in glob.glob(os.path.join(TOP, 'source3/librpc/idl/*.idl')):
        if os.path.basename(path) not in named:
            sys.exit('./waf graft: source3/librpc/idl/wscript_build does not '
                     'name ' + os.path.basename(path))


def copy_files(tree):
    for pattern in FILES:
        for source in sorted(glob.glob(os.path.join(TOP, pattern))):
            target = os.path.join(tree, os.path.relpath(source, TOP))
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copy2(source, target)


def add_fragment(tree, directory):
    with open(os.path.join(TOP, directory, 'wscript_build')) as ours:
        # Less its head: what is in there is said by the markers.
        fragment = re.sub(r'\A(#.*\n)*\n*', '', ours.read())
    path = os.path.join(tree, directory, 'wscript_build')
    with open(path) as theirs:
        text = theirs.read()
    text = re.sub(r'\n*%s.*?%s' % (re.escape(BEGIN), re.escape(END)), '\n',
                  text, flags=re.DOTALL)
    with open(path, 'w') as theirs:
        theirs.write('%s\n\n%s%s%s' % (text.rstrip('\n'), BEGIN, fragment,
                                       END))


def graft(tree):
    if not os.path.exists(os.path.join(tree, 'source3/modules/vfs_default.c')):
        sys.exit('./waf graft: %s is not a Samba source tree' % tree)
    check_idl()
    copy_files(tree)
    for directory in FRAGMENTS:
        add_fragment(tree, directory)
    print('Now, in %s: waf build --targets=vfs_rsvd (libisal-dev is needed)'
          % tree)
