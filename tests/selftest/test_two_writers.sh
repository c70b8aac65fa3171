#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
#
# selftest-options: --share-option='vfs objects = rsvd'
# time-limit: 300
# Two smbd processes allocate and write in one dynamic disk, the module alone.

. "$TOP/tests/selftest/two_writers.sh"
two_writers 20000
