#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
#
# ./waf demo: two initiators share one dynamic VHDX, and other programs read
# what they wrote. Runs in the environment of ./waf selftest.

set -e

say() {
	printf '\n%s\n' "$*"
}

# Show a command and what it prints, set off from the text.
run() {
	printf '  $ %s\n' "$*"
	"$@" >"$work/out" 2>&1 && status=0 || status=$?
	sed 's/^/  /' "$work/out"
	return $status
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$LOCAL_PATH"
PATH=$TOP/tests/interop:$PATH
if [ "$(id -u)" != 0 ]; then
	# It insists on being root, as smbd here believes to be.
	SMBSTATUS='env LD_PRELOAD=libuid_wrapper.so UID_WRAPPER=1
		UID_WRAPPER_ROOT=1 smbstatus'
	export SMBSTATUS
fi

smbd --version | sed 's/^/The smbd of this system: /'
printf 'It serves this directory, with "vfs objects = rsvd"\n'
say 'A disk'
run rsvdctl create --type=dynamic --size=64M --block-size=1M disk.vhdx
run rsvdctl info disk.vhdx

"$BUILD/tests/demo" disk.vhdx expected.raw

say 'The image, in the eyes of other programs'
run rsvdctl check disk.vhdx
run qemu-img check -f vhdx disk.vhdx
say 'Does it hold what the initiators wrote?'
run qemu-img compare -f vhdx -F raw disk.vhdx expected.raw
run vhdi_compare.py disk.vhdx expected.raw
say 'All as it should be.'
