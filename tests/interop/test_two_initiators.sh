#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
#
# time-limit: 400
# Two initiators write one new dynamic image through two smbd at the same
# time, 20,000 writes of 4 KiB to 1 MiB each.

count=0
failed=0

check() {
	count=$((count + 1))
	sentence=$1
	shift
	if "$@" >"$work/out" 2>&1; then
		echo "ok $count - $sentence"
	else
		sed 's/^/# /' "$work/out"
		echo "not ok $count - $sentence"
		failed=1
	fi
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
image=$LOCAL_PATH/disk.vhdx
expected=$LOCAL_PATH/expected.raw

check 'an image is made' \
	rsvdctl create --type=dynamic --size=2G --block-size=8M "$image"
check 'two initiators write 20000 times each' \
	"$BUILD/tests/interop/writers" disk.vhdx "$expected" 20000
check 'the image has no errors, says rsvdctl' rsvdctl check "$image"
check 'the image has no errors, says qemu-img' \
	qemu-img check -f vhdx "$image"
check 'all is there, says qemu-img' \
	qemu-img compare -f vhdx -F raw "$image" "$expected"
check 'all is there, says libvhdi' \
	tests/interop/vhdi_compare.py "$image" "$expected"
echo "1..$count"
exit $failed
