#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of the system's package sources ./waf setup takes, and how."""

import os
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                '../../buildtools'))

import samba_tree  # noqa: E402

CASES = [
    ('a line is taken for binary and for source packages',
     'sources.list',
     'deb http://mirror.example.org/debian bookworm main contrib\n',
     'deb http://mirror.example.org/debian bookworm main contrib\n'
     'deb-src http://mirror.example.org/debian bookworm main contrib\n'),
    ('the options of a line are kept',
     'sources.list.d/debian.list',
     'deb [signed-by=/k.gpg arch=amd64] mirror+file:/m bookworm-updates main\n',
     'deb [signed-by=/k.gpg arch=amd64] mirror+file:/m bookworm-updates main\n'
     'deb-src [signed-by=/k.gpg arch=amd64] mirror+file:/m '
     'bookworm-updates main\n'),
    ('lines that are comments or have sources are passed over',
     'sources.list',
     '# deb http://a bookworm main\n'
     'deb-src http://a bookworm main\n', None),
    ('the lines of others are passed over',
     'sources.list.d/cloud.list',
     'deb https://packages.example.com/apt cloud-sdk-bookworm main\n', None),
    ('a stanza is taken for binary and for source packages',
     'sources.list.d/debian.sources',
     'Types: deb\n'
     '# a comment\n'
     'URIs: http://mirror.example.org/debian\n'
     'Suites: bookworm bookworm-updates\n'
     'Components: main\n'
     'Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n',
     'Types: deb deb-src\n'
     'URIs: http://mirror.example.org/debian\n'
     'Suites: bookworm bookworm-updates\n'
     'Components: main\n'
     'Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n'),
    ('a key within a stanza is kept',
     'sources.list.d/debian.sources',
     'Types: deb deb-src\nURIs: http://a\nSuites: bookworm\n'
     'Components: main\nSigned-By:\n -----BEGIN\n .\n key\n',
     'Types: deb deb-src\nURIs: http://a\nSuites: bookworm\n'
     'Components: main\nSigned-By:\n -----BEGIN\n .\n key\n'),
    ('of several stanzas, only the distribution\'s are taken',
     'sources.list.d/mixed.sources',
     'Types: deb\nURIs: http://a\nSuites: nodistro\nComponents: main\n\n'
     'Types: deb\nURIs: http://b\nSuites: bookworm\nComponents: main\n'
     'Enabled: no\n\n'
     'Types: deb\nURIs: http://c\nSuites: bookworm\nComponents: main\n',
     'Types: deb deb-src\nURIs: http://c\nSuites: bookworm\n'
     'Components: main\n'),
]

print('1..%d' % len(CASES))
failures = 0
for number, (name, path, text, expected) in enumerate(CASES, 1):
    with tempfile.TemporaryDirectory() as etc:
        os.mkdir(os.path.join(etc, 'sources.list.d'))
        with open(os.path.join(etc, path), 'w') as source:
            source.write(text)
        taken = [text for _, text in
                 samba_tree.distribution_stanzas('bookworm', etc)]
    if taken != ([expected] if expected else []):
        print('# took: %r' % taken)
        failures += 1
        print('not ', end='')
    print('ok %d - %s' % (number, name))
sys.exit(1 if failures else 0)
