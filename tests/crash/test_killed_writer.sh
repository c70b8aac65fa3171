#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
#
# time-limit: 240
# An initiator goes on while the server processes of others are killed in the
# middle of their allocations, again and again.

writer="$BUILD/tests/crash/region_writer"
image="$LOCAL_PATH/disk.vhdx"
rounds=12
number=0
failed=0

report()
{
	number=$((number + 1))
	if [ "$1" = 0 ]; then
		echo "ok $number - $2"
	else
		echo "not ok $number - $2"
		failed=1
	fi
}

smbd_processes()
{
	cat /proc/"$SMBD_PID"/task/*/children
}

# Kill the smbd that serves the last connection made.
kill_last()
{
	for pid in $(smbd_processes); do
		case " $before " in
		*" $pid "*) ;;
		*) kill -9 "$pid" ;;
		esac
	done
}

echo 1..4
qemu-img create -q -f vhdx -o block_size=1M "$image" 1G
chmod 666 "$image"

exec 3< <("$writer" 0 128 15000)
read -r line <&3
[ "$line" = attached ]
report $? 'the first initiator attaches the disk'

before=$(echo $(smbd_processes))
for round in $(seq $rounds); do
	exec 4< <("$writer" $((96 + round * 32)) 32 1000000)
	# Kill it after a few hundred acknowledged writes, or none.
	for reads in $(seq $((1 + RANDOM % 6))); do
		read -r line <&4
	done
	kill_last
	cat <&4 >/dev/null
	exec 4<&-
done

line=$(tail -n 1 <&3)
[ "$line" = same ] || echo "# $line"
[ "$line" = same ]
report $? 'it finds what it wrote, after others were killed'

line=$("$writer" 128 200 200 | tail -n 1)
[ "$line" = same ] || echo "# $line"
[ "$line" = same ]
report $? 'what the killed had allocated can be used'

qemu-img check -q "$image"
report $? 'qemu-img check finds nothing'
exit $failed
