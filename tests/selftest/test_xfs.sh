#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
#
# time-limit: 300
# Disks on XFS, which takes writes that must not wait, as ext4 does not.

skip()
{
	echo "1..0 # SKIP $1"
	exit 0
}

# With the mount namespace the mount ends, and with that the loop device.
if [ "$1" != --inside ]; then
	command -v mkfs.xfs >/dev/null || skip 'there is no mkfs.xfs'
	directory=$(mktemp -d)
	truncate -s 2G "$directory/image" &&
		mkfs.xfs -q "$directory/image" || exit 1
	unshare --mount "$0" --inside "$directory"
	status=$?
	rm -rf "$directory"
	exit $status
fi

directory=$2
mkdir "$directory/xfs"
chmod 755 "$directory"
mount -o loop "$directory/image" "$directory/xfs" 2>/dev/null || skip 'cannot mount XFS'

selftest="/usr/bin/python3 -B $TOP/tests/harness/selftest.py --directory=$directory/xfs"
number=0
failed=0

check()
{
	sentence=$1
	shift
	number=$((number + 1))
	if "$@" >"$directory/log" 2>&1; then
		echo "ok $number - $sentence"
	else
		sed 's/^/# /' "$directory/log"
		echo "not ok $number - $sentence"
		failed=1
	fi
}

data_path()
{
	$selftest --share='[behind]\npath = %LOCAL_PATH%\nread only = no\nvfs objects = rsvd time_audit' \
		-- "$TOP/tests/selftest/test_data_path.py" >"$directory/data_path"
	status=$?
	cat "$directory/data_path"
	[ $status = 0 ] && ! grep -q 'this file system cannot' "$directory/data_path"
}

check 'reads and writes need no thread' data_path
check 'what two processes wrote is there' $selftest -- \
	"$TOP/tests/selftest/test_two_writers.sh"
echo "1..$number"
exit $failed
