#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
#
# time-limit: 60
# The private smbd of the tests: what it offers, and that nothing is left.

selftest="/usr/bin/python3 -B $TOP/tests/harness/selftest.py"
number=0
failed=0

check()
{
	name=$1
	shift
	number=$((number + 1))
	if "$@"; then
		echo "ok $number - $name"
	else
		echo "not ok $number - $name"
		failed=1
	fi
}

client()
{
	user=$1
	share=$2
	shift 2
	# CONFIGURATION is two words.
	smbclient $CONFIGURATION -p "$SERVER_PORT" -U "$user%$PASSWORD" \
		"//$SERVER_IP/$share" -c "$*"
}

file_through_share_is_in_local_path()
{
	client "$USERNAME" "$1" "put /etc/hostname file.$1" &&
		cmp /etc/hostname "$LOCAL_PATH/file.$1"
}

reader_cannot_write()
{
	client "$READER_USERNAME" "$SHARE" ls || return 1
	client "$READER_USERNAME" "$SHARE" "mkdir directory"
	! test -e "$LOCAL_PATH/directory"
}

other_user_can_write()
{
	client "$OTHER_USERNAME" "$SHARE" "mkdir other" &&
		test -d "$LOCAL_PATH/other"
}

exit_status_is_the_commands()
{
	$selftest -- sh -c 'exit 7' 2>/dev/null
	test $? -eq 7
}

# $1 is the signal. The command leaves a child behind that ignores it.
nothing_is_left_after()
{
	fifo=$SELFTEST_PREFIX/fifo.$1
	mkfifo "$fifo" || return 1
	$selftest -- sh -c '
		trap "" TERM HUP
		sleep 1000 &
		echo $SMBD_PID $! $SELFTEST_PREFIX >"$0"
		wait' "$fifo" 2>/dev/null &
	harness=$!
	read -r smbd child prefix <"$fifo"
	kill -s "$1" $harness
	wait $harness
	! kill -0 "$smbd" 2>/dev/null && ! kill -0 "$child" 2>/dev/null &&
		! test -e "$prefix"
}

crash_of_smbd_is_a_failure()
{
	! $selftest -- sh -c '
		kill -s SEGV $SMBD_PID
		until grep -q PANIC $SMBD_LOG; do
			:
		done' 2>/dev/null
}

check "a file written through the share is in LOCAL_PATH" \
	file_through_share_is_in_local_path "$SHARE"
check "a file written through the plain share is in LOCAL_PATH" \
	file_through_share_is_in_local_path "$SHARE_PLAIN"
check "READER_USERNAME cannot write" reader_cannot_write
check "OTHER_USERNAME can write" other_user_can_write
check "the exit status is that of the command" exit_status_is_the_commands
check "nothing is left after SIGTERM" nothing_is_left_after TERM
check "nothing is left after SIGHUP" nothing_is_left_after HUP
check "a crash of smbd is a failure" crash_of_smbd_is_a_failure
echo "1..$number"
exit $failed
