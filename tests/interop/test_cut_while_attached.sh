#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
#
# An image copied while an initiator has it attached is what a power cut would
# leave: its log has to be replayed, by us and by others.

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
target=//$SERVER_IP/$SHARE/disk.vhdx
login="$CONFIGURATION -p $SERVER_PORT -U $USERNAME%$PASSWORD"

rsvdctl create --size=64M --block-size=1M "$image"
head -c 8M /dev/urandom >"$work/data"

# The disk stays attached as long as our end of the pipe is open.
mkfifo "$work/pipe"
rsvdctl write $login "$target" <"$work/pipe" &
exec 3>"$work/pipe"
cat "$work/data" >&3

# Another initiator sees when all of it has arrived.
truncate -s 64M "$work/data"
until rsvdctl read $login --initiator-id=random -o "$work/seen" "$target" &&
	cmp -s "$work/seen" "$work/data"
do
	kill -0 $! || exit 1
done
cp "$image" "$work/cut.vhdx"
exec 3>&-
wait $!

# 3 would be space that is leaked, which a cut may leave.
has_no_errors() {
	rsvdctl check "$1"
	test $? = 0 -o $? = 3
}

has_the_data() {
	rsvdctl read -o "$work/read" "$1" && cmp "$work/read" "$work/data"
}

qemu_replays() {
	cp "$work/cut.vhdx" "$work/qemu.vhdx"
	qemu-img check -r all -f vhdx "$work/qemu.vhdx"
}

check 'the copy has a log' \
	sh -c 'rsvdctl check "$1" | grep -i "log"' sh "$work/cut.vhdx"
check 'the copy has no errors' has_no_errors "$work/cut.vhdx"
check 'the copy has the data' has_the_data "$work/cut.vhdx"
check 'qemu replays the log' qemu_replays
check 'qemu then sees the data' \
	qemu-img compare -f vhdx -F raw "$work/qemu.vhdx" "$work/data"
check 'the copy that qemu replayed has no errors' \
	has_no_errors "$work/qemu.vhdx"
check 'libvhdi then sees the data' tests/interop/vhdi_compare.py \
	"$work/qemu.vhdx" "$work/data"
check 'the image itself was left in order' rsvdctl check "$image"
echo "1..$count"
exit $failed
