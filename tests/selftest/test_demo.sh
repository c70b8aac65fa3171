#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
#
# What a user runs first.

echo 1..2

if output=$(tests/demo.sh 2>&1); then
	echo 'ok 1 - the demo ends with what it promises'
else
	echo "$output" | sed 's/^/# /'
	echo 'not ok 1 - the demo ends with what it promises'
fi

# The processes that smbstatus shows while both are attached.
if [ "$(echo "$output" | sed -n '/^Each has/,/^$/s/^  \([0-9]*\) .*/\1/p' |
	sort -u | wc -l)" = 2 ]; then
	echo 'ok 2 - two smbd serve the two initiators'
else
	echo 'not ok 2 - two smbd serve the two initiators'
fi
