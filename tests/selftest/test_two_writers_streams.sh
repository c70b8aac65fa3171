#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
#
# selftest-options: --share-option='vfs objects = rsvd streams_xattr acl_xattr'
# time-limit: 120
# Two smbd processes allocate and write in one dynamic disk, the module with streams_xattr and acl_xattr behind it.

. "$TOP/tests/selftest/two_writers.sh"
two_writers 2000
