#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
#
# rsvdctl on local images and on a server; the example of librsvd.

export rsvdctl="$BUILD/bin/rsvdctl"
tmp=$(mktemp -d "$LOCAL_PATH/rsvdctl.XXXXXX") || exit 1
image="$LOCAL_PATH/disk.vhdx"
number=0
failed=0

check()
{
	name=$1
	shift
	number=$((number + 1))
	if "$@" >"$tmp/log" 2>&1; then
		echo "ok $number - $name"
	else
		echo "not ok $number - $name"
		sed 's/^/# /' "$tmp/log"
		failed=1
	fi
}

# rsvdctl COMMAND on the disk of the share
remote()
{
	command=$1
	shift
	# CONFIGURATION is two words.
	"$rsvdctl" "$command" $CONFIGURATION -p "$SERVER_PORT" \
		-U "$USERNAME%$PASSWORD" \
		"//$SERVER_IP/$SHARE/${remote_disk:-disk.vhdx}" "$@"
}

# exits_with STATUS COMMAND...
exits_with()
{
	expected=$1
	shift
	"$@"
	status=$?
	test $status -eq "$expected" || {
		echo "status $status, not $expected"
		return 1
	}
}

# says TEXT COMMAND...: fails, and names what is wrong on stderr
says()
{
	text=$1
	shift
	if "$@" 2>"$tmp/stderr"; then
		echo "did not fail"
		return 1
	fi
	cat "$tmp/stderr"
	grep -qF -- "$text" "$tmp/stderr"
}

what_takes_a_file_says_so_of_a_server()
{
	for command in "create --size=1M" check compact; do
		says "this takes a local file" "$rsvdctl" $command \
			"//$SERVER_IP/$SHARE/disk.vhdx" || return 1
	done
}

created_image_is_clean()
{
	"$rsvdctl" create --size=64M --block-size=1M "$image" &&
		"$rsvdctl" check "$image" &&
		qemu-img check -f vhdx "$image"
}

create_never_overwrites()
{
	says "File exists" "$rsvdctl" create --size=1M "$image"
}

create_sets_space_aside()
{
	"$rsvdctl" create --size=16M --type=fixed --preallocate \
		"$tmp/aside.vhdx" &&
		test "$(du -k "$tmp/aside.vhdx" | cut -f1)" -ge 16384 &&
		"$rsvdctl" check "$tmp/aside.vhdx" || return 1
	rm "$tmp/aside.vhdx"
	# A full file system
	says "No space left" strace -f -o "$tmp/calls" -e trace=fallocate \
		-e inject=fallocate:error=ENOSPC "$rsvdctl" create --size=16M \
		--type=fixed --preallocate "$tmp/aside.vhdx" &&
		! test -e "$tmp/aside.vhdx" &&
		says "needs --type=fixed" "$rsvdctl" create --size=16M \
			--preallocate "$tmp/aside.vhdx" &&
		! test -e "$tmp/aside.vhdx"
}

sizes_that_no_vhdx_has_are_refused()
{
	says "cannot have these sizes" "$rsvdctl" create --size=1000 \
		"$tmp/x.vhdx" && ! test -e "$tmp/x.vhdx" &&
	says "not a size" "$rsvdctl" create --size=ten "$tmp/x.vhdx"
}

info_of_a_file_has_its_geometry()
{
	"$rsvdctl" info --json "$image" >"$tmp/json" &&
		grep -q '"virtual-size": 67108864' "$tmp/json" &&
		grep -q '"block-size": 1048576' "$tmp/json" &&
		grep -q '"type": "dynamic"' "$tmp/json" &&
		grep -q '"allocated-blocks": 0' "$tmp/json"
}

# reads_less_than BYTES COMMAND...
reads_less_than()
{
	bytes=$1
	shift
	strace -f -e trace=pread64 -o "$tmp/calls" "$@" >"$tmp/out" || return 1
	set -- "$(sed -n 's/.*= //p' "$tmp/calls" |
		awk '{ n += $1 } END { print n }')"
	test "$1" -lt "$bytes" || {
		echo "$1 bytes read"
		return 1
	}
}

# Its table has 64 million entries, 512 MiB; not even a hundredth is read.
info_does_not_look_at_each_block_of_the_largest_disk()
{
	"$rsvdctl" create --size=64T --block-size=1M "$tmp/large.vhdx" &&
		reads_less_than 5000000 \
			"$rsvdctl" info --json "$tmp/large.vhdx" &&
		rm "$tmp/large.vhdx" &&
		grep -q '"blocks": 67108864' "$tmp/out" &&
		grep -q '"allocated-blocks": null' "$tmp/out"
}

info_of_a_disk_has_its_geometry()
{
	remote info --json >"$tmp/json" &&
		grep -q '"virtual-size": 67108864' "$tmp/json" &&
		grep -q '"handle-state": "shared"' "$tmp/json" &&
		grep -q '"dialect": "3.1.1"' "$tmp/json"
}

info_tells_the_same_of_both_versions()
{
	remote info --protocol-version=1 >"$tmp/v1" &&
		remote info --protocol-version=2 >"$tmp/v2" &&
		grep -v initiator: "$tmp/v1" >"$tmp/v1.rest" &&
		grep -v initiator: "$tmp/v2" | cmp - "$tmp/v1.rest"
}

what_was_written_is_read()
{
	head -c 10485760 /dev/urandom >"$tmp/data" &&
		remote write --offset=1536K --input="$tmp/data" &&
		remote read --offset=1536K --length=10M --output="$tmp/back" &&
		cmp "$tmp/data" "$tmp/back"
}

write_takes_a_pipe()
{
	(head -c 512 "$tmp/data"; tail -c 512 "$tmp/data") |
		remote write --offset=32M &&
		remote read --offset=32M --length=512 |
		cmp -n 512 - "$tmp/data"
}

read_takes_any_range()
{
	remote read --offset=1572865 --length=1000 >"$tmp/back" &&
		tail -c +2 "$tmp/data" | head -c 1000 | cmp - "$tmp/back"
}

an_image_is_not_read_into_itself()
{
	cp "$image" "$tmp/same.vhdx" && ln -s same.vhdx "$tmp/link.vhdx" &&
		says "are the same file" "$rsvdctl" read \
			--output="$tmp/link.vhdx" "$tmp/same.vhdx" &&
		cmp "$image" "$tmp/same.vhdx"
}

file_and_disk_have_the_same_data()
{
	remote read >"$tmp/remote" &&
		"$rsvdctl" read "$image" | cmp - "$tmp/remote" &&
		qemu-img convert -f vhdx -O raw "$image" "$tmp/raw" &&
		cmp "$tmp/raw" "$tmp/remote"
}

write_refuses_half_a_sector()
{
	head -c 700 "$tmp/data" >"$tmp/half"
	says "whole number of sectors" remote write --input="$tmp/half" &&
	says "multiple of the sector size" remote write --offset=100
}

an_input_that_ends_too_early_is_an_error()
{
	head -c 1M "$tmp/data" >"$tmp/short" &&
	says "the input ended after 1048576 bytes" remote write --offset=40M \
		--length=2M --input="$tmp/short" &&
	cat "$tmp/short" | says "the input ended after 1048576 bytes" \
		remote write --offset=40M --length=2M &&
	remote write --offset=40M --length=1M --input="$tmp/data"
}

write_refuses_what_is_too_long()
{
	says "longer than what is left" remote write --offset=60M \
		--input="$tmp/data"
}

scsi_prints_status_and_data()
{
	remote scsi 25 00000000 00 0000 00 00 --data-in-length=8 \
		>"$tmp/out" &&
		grep -q "status: GOOD" "$tmp/out" &&
		grep -q "00 01 ff ff 00 00 02 00" "$tmp/out"
}

scsi_ends_with_2_and_tells_the_sense()
{
	exits_with 2 remote scsi ff0000000000 >"$tmp/out" &&
		grep -q "invalid command operation code (05/20/00)" "$tmp/out"
}

scsi_sends_and_gets_files()
{
	head -c 512 "$tmp/data" >"$tmp/sector" &&
		remote scsi 2a00000000ff00000100 \
			--data-out-file="$tmp/sector" &&
		remote scsi 2800000000ff00000100 --data-in-length=512 \
			--output="$tmp/back" &&
		cmp "$tmp/sector" "$tmp/back"
}

errors_name_what_failed_and_why()
{
	says "cannot open //$SERVER_IP/$SHARE/none.vhdx: NT_STATUS_OBJECT_NAME_NOT_FOUND" \
		"$rsvdctl" info $CONFIGURATION -p "$SERVER_PORT" \
		-U "$USERNAME%$PASSWORD" "//$SERVER_IP/$SHARE/none.vhdx" &&
	says "cannot connect to //$SERVER_IP/$SHARE: NT_STATUS_LOGON_FAILURE" \
		"$rsvdctl" info $CONFIGURATION -p "$SERVER_PORT" \
		-U "$USERNAME%wrong" "//$SERVER_IP/$SHARE/disk.vhdx" &&
	says "cannot connect to //no..host/a: NT_STATUS_BAD_NETWORK_PATH" \
		"$rsvdctl" info $CONFIGURATION -N //no..host/a/disk.vhdx &&
	says "cannot connect to //$SERVER_IP/a: NT_STATUS_BAD_NETWORK_NAME" \
		"$rsvdctl" info $CONFIGURATION -p "$SERVER_PORT" \
		-U "$USERNAME%$PASSWORD" "//$SERVER_IP/a/disk.vhdx" &&
	says "CHECK CONDITION, NO SENSE" \
		remote read --initiator-id=none --length=512 &&
	says "not of the form //server/share/path" "$rsvdctl" info \
		$CONFIGURATION "//$SERVER_IP/$SHARE"
}

encryption_is_an_option_of_samba()
{
	remote info --client-protection=encrypt
}

check_ends_as_qemu_img_does()
{
	cp "$image" "$tmp/broken.vhdx" &&
	exits_with 0 "$rsvdctl" check "$tmp/broken.vhdx" &&
	# Both headers, MS-VHDX 2.2.2: the checksum no longer matches.
	printf '\377' | dd of="$tmp/broken.vhdx" bs=1 seek=65600 conv=notrunc &&
	printf '\377' | dd of="$tmp/broken.vhdx" bs=1 seek=131136 \
		conv=notrunc &&
	exits_with 2 "$rsvdctl" check "$tmp/broken.vhdx" &&
	exits_with 1 "$rsvdctl" check "$tmp/none.vhdx"
}

repair_says_what_it_did()
{
	cp "$image" "$tmp/repair.vhdx" &&
	# One header, and a MiB that nothing says is used
	printf '\377' | dd of="$tmp/repair.vhdx" bs=1 seek=65600 \
		conv=notrunc &&
	truncate -s +1M "$tmp/repair.vhdx" &&
	exits_with 3 "$rsvdctl" check "$tmp/repair.vhdx" &&
	exits_with 0 "$rsvdctl" check --repair "$tmp/repair.vhdx" \
		>"$tmp/fixed" &&
	grep 'fixed: headers: copies: header 1 written' "$tmp/fixed" &&
	grep 'fixed: file: size: 1048576 bytes' "$tmp/fixed" &&
	exits_with 0 "$rsvdctl" check --repair --json "$tmp/repair.vhdx" \
		>"$tmp/fixed" &&
	grep '"fixed": \[\]' "$tmp/fixed"
}

# virtual_size COMMAND...
virtual_size()
{
	"$@" | /usr/bin/python3 -c 'import json, sys
print(json.load(sys.stdin)["virtual-size"])'
}

resized_file_keeps_its_data()
{
	"$rsvdctl" create --size=64M --block-size=1M "$tmp/size.vhdx" &&
	head -c 1M /dev/urandom >"$tmp/data" &&
	"$rsvdctl" write --input="$tmp/data" --offset=10M "$tmp/size.vhdx" &&
	"$rsvdctl" resize "$tmp/size.vhdx" 199G &&
	# The place that the BAT has moved from is a hole by now.
	exits_with 0 "$rsvdctl" check "$tmp/size.vhdx" &&
	"$rsvdctl" resize "$tmp/size.vhdx" +1G &&
	says "cannot have that size" "$rsvdctl" resize "$tmp/size.vhdx" +64T &&
	test "$(virtual_size qemu-img info --output=json \
		"$tmp/size.vhdx")" = 214748364800 &&
	says "takes --shrink" "$rsvdctl" resize "$tmp/size.vhdx" 100M &&
	"$rsvdctl" resize --shrink "$tmp/size.vhdx" 100M &&
	says "has data" "$rsvdctl" resize --shrink "$tmp/size.vhdx" 10M &&
	"$rsvdctl" resize --minimum "$tmp/size.vhdx" &&
	test "$(virtual_size "$rsvdctl" info --json \
		"$tmp/size.vhdx")" = 11534336 &&
	qemu-img check -f vhdx "$tmp/size.vhdx" &&
	"$rsvdctl" read --offset=10M --length=1M "$tmp/size.vhdx" |
		cmp - "$tmp/data" &&
	exits_with 0 "$rsvdctl" check "$tmp/size.vhdx"
}

what_is_discarded_leaves_the_file()
{
	"$rsvdctl" create --size=64M --block-size=1M "$tmp/less.vhdx" &&
	size=$(stat -c %s "$tmp/less.vhdx") &&
	"$rsvdctl" write --input="$tmp/data" --offset=10M "$tmp/less.vhdx" &&
	test "$(stat -c %s "$tmp/less.vhdx")" -gt "$size" &&
	"$rsvdctl" resize --discard "$tmp/less.vhdx" 5M &&
	test "$(stat -c %s "$tmp/less.vhdx")" -eq "$size" &&
	exits_with 0 "$rsvdctl" check "$tmp/less.vhdx"
}

# 1 TiB, of which a file system has nothing
holes_are_not_read()
{
	"$rsvdctl" create --size=1T --type=fixed "$tmp/holes.vhdx" &&
		reads_less_than 50000000 \
			"$rsvdctl" resize --minimum "$tmp/holes.vhdx" &&
		exits_with 0 "$rsvdctl" check "$tmp/holes.vhdx"
	set -- $?
	rm "$tmp/holes.vhdx"
	return "$1"
}

disk_that_is_attached_is_resized()
{
	"$rsvdctl" create --size=64M --block-size=1M \
		"$LOCAL_PATH/resized.vhdx" &&
	remote_disk=resized.vhdx &&
	remote write --input="$tmp/data" --offset=10M &&
	remote resize +64M &&
	test "$(virtual_size remote info --json)" = 134217728 &&
	says "takes --shrink" remote resize 64M &&
	says "has data" remote resize --shrink 10M &&
	remote resize --minimum &&
	test "$(virtual_size remote info --json)" = 11534336 &&
	remote read --offset=10M --length=1M | cmp - "$tmp/data"
	status=$?
	remote_disk=
	test $status -eq 0 && "$rsvdctl" check "$LOCAL_PATH/resized.vhdx"
}

compacted_file_is_smaller_and_has_the_same_data()
{
	"$rsvdctl" create --size=64M --block-size=1M "$tmp/compact.vhdx" &&
	head -c 3M /dev/zero >"$tmp/zeros" &&
	"$rsvdctl" write --input="$tmp/data" --offset=20M \
		"$tmp/compact.vhdx" &&
	"$rsvdctl" write --input="$tmp/zeros" --offset=30M \
		"$tmp/compact.vhdx" &&
	"$rsvdctl" write --input="$tmp/data" --offset=10M \
		"$tmp/compact.vhdx" &&
	size=$(stat -c %s "$tmp/compact.vhdx") &&
	"$rsvdctl" compact "$tmp/compact.vhdx" >"$tmp/text" &&
	grep ': 3 blocks dropped, 1 moved, ' "$tmp/text" &&
	test "$(stat -c %s "$tmp/compact.vhdx")" -eq $((size - 3145728)) &&
	exits_with 0 "$rsvdctl" check "$tmp/compact.vhdx" &&
	qemu-img check -f vhdx "$tmp/compact.vhdx" &&
	"$rsvdctl" read --offset=10M --length=1M "$tmp/compact.vhdx" |
		cmp - "$tmp/data" &&
	"$rsvdctl" read --offset=20M --length=1M "$tmp/compact.vhdx" |
		cmp - "$tmp/data"
}

image_in_use_is_not_written_to()
{
	cp "$image" "$tmp/used.vhdx" &&
	says "is in use" "$rsvdctl" check --repair "$tmp/used.vhdx" \
		3<"$tmp/used.vhdx" &&
	head -c 4096 /dev/zero >"$tmp/zeros" &&
	says "is in use" "$rsvdctl" write --input="$tmp/zeros" \
		"$tmp/used.vhdx" 3<"$tmp/used.vhdx"
}

output_that_cannot_be_written_is_an_error()
{
	for command in info check map "map --json" "info --json"; do
		says "cannot write" "$rsvdctl" $command "$image" >/dev/full ||
			return 1
	done
	says "cannot write" remote info >/dev/full &&
		says "cannot write" remote reservations >/dev/full &&
		says "cannot write" "$rsvdctl" status $CONFIGURATION >/dev/full
}

is_json()
{
	"$@" >"$tmp/json" && /usr/bin/python3 -m json.tool "$tmp/json" ||
		{
			echo "no JSON: $*"
			return 1
		}
}

what_is_said_to_be_json_is()
{
	# No UTF-8, which a name of a file need not be, but JSON has to
	odd="$tmp/$(printf 'odd\377.vhdx')"
	cp "$image" "$odd" &&
	for file in "$image" "$odd"; do
		is_json "$rsvdctl" info --json "$file" &&
		is_json "$rsvdctl" check --json "$file" &&
		is_json "$rsvdctl" check --json --repair "$file" &&
		is_json "$rsvdctl" map --json "$file" &&
		is_json "$rsvdctl" compact --json "$file" || return 1
	done
	for command in info map reservations "bench --seconds=1" \
		"scsi 12000000ff00 --data-in-length=255"; do
		is_json remote $command --json || return 1
	done
	is_json "$rsvdctl" status --json $CONFIGURATION
}

a_share_without_the_module_is_named_as_the_reason()
{
	says "vfs objects = rsvd" "$rsvdctl" info $CONFIGURATION \
		-p "$SERVER_PORT" -U "$USERNAME%$PASSWORD" \
		"//$SERVER_IP/$SHARE_PLAIN/disk.vhdx"
}

the_maximum_protocol_is_kept_to()
{
	remote info -m SMB3_02 | grep -q "dialect: *3.0.2" &&
		says "RSVD takes SMB 3.0.2" remote info -m SMB3_00
}

kerberos_can_be_asked_for()
{
	says "Kerberos" remote info --use-kerberos=required &&
		says "Kerberos" remote info -k
}

who_wants_an_image_that_is_written_gets_it()
{
	"$rsvdctl" create --size=64M --block-size=1M "$tmp/wanted.vhdx" &&
		mkfifo "$tmp/wanted" || return 1
	"$rsvdctl" write --input="$tmp/wanted" "$tmp/wanted.vhdx" \
		2>"$tmp/writer" &
	writer=$!
	exec 9>"$tmp/wanted"
	# Of the first 8 MiB all is written when the second arrive.
	head -c 9M /dev/urandom >"$tmp/data9" && cat "$tmp/data9" >&9
	# The writer waits for more, and has the file for itself: fcntl(2).
	inode=$(stat -c %i "$tmp/wanted.vhdx")
	until grep -q "LEASE.*:$inode " /proc/locks; do
		kill -0 "$writer" || return 1
	done
	# This open waits until the writer has closed the image in order.
	cat "$tmp/wanted.vhdx" >"$tmp/opened.vhdx"
	exec 9>&-
	wait "$writer"
	set -- $?
	cat "$tmp/writer"
	test "$1" -eq 1 &&
		grep -q "is wanted by others: stopped after 8388608 bytes" \
			"$tmp/writer" &&
		"$rsvdctl" check "$tmp/opened.vhdx" &&
		"$rsvdctl" read --length=8M "$tmp/opened.vhdx" |
			cmp -n 8388608 - "$tmp/data9"
}

# As another initiator than this machine.
other=2e5e0c2c-0000-4000-8000-00000000000b

reservations_are_shown_with_who_holds_them()
{
	remote reservations register --key=a1 &&
		remote reservations reserve --type=wero &&
		remote reservations register --key=b2 --initiator-id="$other" &&
		remote reservations --json >"$tmp/json" &&
		grep -q '"type": "write-exclusive-registrants-only"' \
			"$tmp/json" &&
		grep -q '"key": "0x00000000000000a1"' "$tmp/json" &&
		grep -q '"key": "0x00000000000000b2"' "$tmp/json" &&
		grep -q "\"initiator-id\": \"$other\"" "$tmp/json" &&
		remote reservations show >"$tmp/text" &&
		grep -q "0x00000000000000a1 holder" "$tmp/text" &&
		grep -q "0x00000000000000b2 - .*$other" "$tmp/text"
}

# A key of 0 or one that is not the present one must not register.
register_takes_the_old_key_into_account()
{
	exits_with 4 remote reservations register --key=c3 --old-key=5 \
		--initiator-id="$other" &&
	remote reservations register --key=c3 --old-key=b2 \
		--initiator-id="$other" &&
	remote reservations | grep -q "0x00000000000000c3" &&
	says "0 is no key" remote reservations register --key=0
}

conflicts_end_with_4()
{
	head -c 512 "$tmp/data" >"$tmp/sector" &&
	says "rsvdctl reservations" remote write --initiator-id=random \
		--input="$tmp/sector" &&
	exits_with 4 remote write --initiator-id=random \
		--input="$tmp/sector" &&
	exits_with 4 remote reservations reserve --type=ea \
		--initiator-id="$other" &&
	# WRITE(10) of one block
	exits_with 4 remote scsi --initiator-id=random \
		--data-out-file="$tmp/sector" 2a000000000000000100 &&
	says "nobody has that key" remote reservations preempt --victim=999
}

preempt_takes_the_reservation_over()
{
	remote reservations preempt --victim=a1 --abort \
		--initiator-id="$other" &&
	remote reservations --initiator-id="$other" >"$tmp/text" &&
	grep -q "0x00000000000000c3 holder" "$tmp/text" &&
	! grep -q "00a1" "$tmp/text"
}

# Keep the disk attached for writing, until attached_end: a writer that waits
# for its input.
attached_begin()
{
	mkfifo "$tmp/fifo" || return 1
	remote write --input="$tmp/fifo" "$@" >"$tmp/writer" 2>&1 &
	writer=$!
	exec 9>"$tmp/fifo"
	until status --json | grep -q '"access": "rw"'; do
		kill -0 "$writer" || return 1
	done
}

attached_end()
{
	exec 9>&-
	wait "$writer"
	set -- $?
	rm "$tmp/fifo"
	return "$1"
}

status()
{
	"$rsvdctl" status $CONFIGURATION "$@"
}

forget()
{
	"$rsvdctl" forget $CONFIGURATION "$image" "$@"
}

the_preempted_is_told_once()
{
	remote reservations register --key=a1 &&
		attached_begin || return 1
	remote reservations preempt --victim=a1 --initiator-id="$other" &&
		remote reservations 2>"$tmp/first" >/dev/null &&
		remote reservations 2>"$tmp/second" >/dev/null
	set -- $?
	attached_end
	cat "$tmp/first" "$tmp/second"
	test "$1" -eq 0 &&
		grep -q "registrations preempted" "$tmp/first" &&
		! test -s "$tmp/second"
}

status_tells_who_has_what_attached()
{
	status | grep -q "No disk is attached" || return 1
	attached_begin --initiator-id="$other" \
		--initiator-host-name=node7 || return 1
	status --json >"$tmp/json"
	status >"$tmp/text"
	attached_end || return 1
	cat "$tmp/text"
	grep -q "\"path\": \"$image\"" "$tmp/json" &&
		grep -q "\"initiator-id\": \"$other\"" "$tmp/json" &&
		grep -q '"host-name": "node7"' "$tmp/json" &&
		grep -q '"client-address": "127.0.0.1"' "$tmp/json" &&
		grep -q '"key": "0x00000000000000c3"' "$tmp/json" &&
		grep -q "^$image$" "$tmp/text" &&
		grep -q "$other node7 .* 127.0.0.1 .* rw " "$tmp/text" &&
		grep -q "0x00000000000000c3 $other .*, holder" "$tmp/text" &&
		status | grep -q "No disk is attached"
}

# io_of ACCESS: the counters of the one open with that access
io_of()
{
	status --json | /usr/bin/python3 -c '
import json, sys
opens = [o for d in json.load(sys.stdin)["disks"] for o in d["opens"]
         if o["access"] == sys.argv[1]]
assert len(opens) == 1, opens
io = opens[0]["io"]
print(io["read-bytes"], io["written-bytes"], io["flushes"])' "$1"
}

status_tells_how_much_io_there_was()
{
	"$rsvdctl" create --size=64M --block-size=1M "$LOCAL_PATH/io.vhdx" &&
		mkfifo "$tmp/pipe" || return 1
	remote_disk=io.vhdx
	# Both do 8 MiB at a time, and then wait: the one for more to write,
	# the other for somebody who takes what it has read.
	attached_begin && head -c 8M /dev/zero >&9 || return 1
	remote read --output="$tmp/pipe" &
	reader=$!
	exec 8<"$tmp/pipe"
	until test "$(io_of rw)" = "0 8388608 0"; do
		kill -0 "$writer" || return 1
	done
	until test "$(io_of ro)" = "8388608 0 0"; do
		kill -0 "$reader" || return 1
	done
	status >"$tmp/text"
	exec 8<&-
	wait "$reader"
	attached_end
	set -- $?
	remote_disk=
	cat "$tmp/text"
	test "$1" -eq 0 &&
		grep -q ' reads of 8 MiB, 0 writes of 0 bytes, 0 flushes' \
			"$tmp/text" &&
		grep -q '^    0 reads of 0 bytes, .* writes of 8 MiB, ' \
			"$tmp/text"
}

status_asks_nobody_who_does_not_answer_for_long()
{
	attached_begin || return 1
	pid=$(status --json | sed -n 's/.*"process": "\([0-9]*\)".*/\1/p')
	kill -STOP "$pid" &&
		status --json >"$tmp/json" && status >"$tmp/text"
	set -- $?
	kill -CONT "$pid"
	attached_end && test "$1" -eq 0 &&
		grep -q '"io": null' "$tmp/json" &&
		grep -q 'does not tell how much I/O' "$tmp/text"
}

status_prints_no_control_characters()
{
	# Nobody whom other tests know
	third=2e5e0c2c-0000-4000-8000-00000000000c
	attached_begin --initiator-host-name="$(printf 'a\033[2Jb')" || return 1
	remote reservations register --key=e5 --initiator-id="$third" \
		--initiator-host-name="$(printf 'c\302\233d')" &&
	status >"$tmp/text"
	attached_end && remote reservations unregister \
		--initiator-id="$third" || return 1
	cat -v "$tmp/text"
	grep -q ' a?\[2Jb ' "$tmp/text" &&
		! LC_ALL=C grep -q "$(printf '[\033\233]')" "$tmp/text"
}

status_without_smbd_is_empty()
{
	mkdir "$tmp/none" &&
	for directory in lock state private cache pid; do
		echo "$directory directory = $tmp/none"
	done | sed '1i[global]' >"$tmp/none.conf" &&
	"$rsvdctl" status -s "$tmp/none.conf" >"$tmp/text" 2>&1 || return 1
	cat "$tmp/text"
	echo "No disk is attached." | cmp - "$tmp/text"
}

status_watches()
{
	mkfifo "$tmp/fifo" || return 1
	status --watch --interval=1 >"$tmp/fifo" &
	watcher=$!
	# Two of them, and then it is interrupted.
	head -n 2 "$tmp/fifo" >"$tmp/text"
	kill "$watcher"
	wait "$watcher"
	rm "$tmp/fifo"
	test "$(grep -c "No disk is attached" "$tmp/text")" -eq 2
}

the_living_are_not_forgotten()
{
	attached_begin --initiator-id="$other" || return 1
	says "alive" forget "$other"
	set -- $?
	attached_end && test "$1" -eq 0 &&
		remote reservations | grep -q "00c3 holder"
}

forget_removes_a_dead_registration()
{
	remote reservations register --key=1 &&
		forget "$other" &&
		remote reservations >"$tmp/text" || return 1
	cat "$tmp/text"
	grep -q "reservation: none" "$tmp/text" &&
		grep -q "registrants: 1" "$tmp/text" &&
		says "is not registered" forget "$other" &&
		remote reservations unregister
}

who_is_not_registered_is_told_what_to_do()
{
	says "register --key=KEY" remote reservations release
}

release_and_clear_leave_nothing()
{
	remote reservations register --key=c3 --initiator-id="$other" &&
		remote reservations reserve --initiator-id="$other" &&
		remote reservations release --initiator-id="$other" &&
		remote reservations | grep -q "reservation: none" &&
		remote reservations clear --initiator-id="$other" &&
		remote reservations | grep -q "registrants: 0" &&
		remote reservations register --key=1 &&
		remote reservations unregister &&
		remote reservations | grep -q "registrants: 0"
}

bench_counts_what_it_did()
{
	remote bench --seconds=1 --queue-depth=4 --json >"$tmp/json" &&
		grep -q '"pattern": "randread"' "$tmp/json" &&
		grep -q '"writes": 0' "$tmp/json" &&
		! grep -q '"reads": 0' "$tmp/json"
}

bench_writes_only_when_told_so()
{
	"$rsvdctl" read "$image" >"$tmp/before" &&
	says "--overwrite" remote bench --seconds=1 --pattern=randwrite &&
	"$rsvdctl" read "$image" | cmp - "$tmp/before" &&
	remote bench --seconds=1 --pattern=randrw --overwrite --range=1M \
		>"$tmp/text" &&
	! "$rsvdctl" read "$image" | cmp -s - "$tmp/before"
}

map_tells_where_the_data_is()
{
	"$rsvdctl" map --json "$image" >"$tmp/map" &&
		qemu-img convert -f vhdx -O raw "$image" "$tmp/raw" || return 1
	/usr/bin/python3 - "$tmp/map" "$image" "$tmp/raw" <<-'END'
	import json, sys

	entries = json.load(open(sys.argv[1]))
	image = open(sys.argv[2], 'rb').read()
	disk = open(sys.argv[3], 'rb').read()
	end = 0
	for e in entries:
	    start, length = e['start'], e['length']
	    assert start == end, e
	    end += length
	    if e['data']:
	        data = image[e['offset']:e['offset'] + length]
	    else:
	        assert e['zero'], e
	        data = bytes(length)
	    assert disk[start:end] == data, e
	assert end == len(disk)
	assert {e['data'] for e in entries} == {True, False}
	END
}

# Those of Samba's library are on the man pages of Samba.
the_man_page_has_each_option_and_no_other()
{
	/usr/bin/python3 - "$rsvdctl" "$TOP/docs/man/rsvdctl.1.xml" <<-'END'
	import re, subprocess, sys

	rsvdctl, man = sys.argv[1:]
	with open(man) as page:
	    page = page.read()

	def elements(name):
	    return [re.sub('<[^>]*>', '', text) for text in
	            re.findall('<%s>(.*?)</%s>' % (name, name), page, re.S)]

	def told(text):
	    return set(re.findall(r'(?<![\w-])--?[a-zA-Z][a-z0-9-]*', text))

	def show(*command):
	    return subprocess.check_output((rsvdctl,) + command, text=True)

	synopses = {text.split()[1]: told(text)
	            for text in elements('cmdsynopsis')}
	documented = told(' '.join(elements('term')))
	commands = re.findall('^  ([a-z]+) ', show('--help'), re.M)
	assert set(commands) == set(synopses), set(commands) ^ set(synopses)
	known = set()
	for command in commands:
	    for section in re.split(r'\n(?=\S)', show(command, '--help')):
	        title = section.split('\n')[0]
	        if title not in ('Options:', 'Remote disk options:'):
	            continue
	        options = re.findall('^  (?:(-[a-zA-Z]), |    )(--[a-z-]+)',
	                             section, re.M)
	        known.update(o for pair in options for o in pair if o)
	        if title == 'Options:':
	            here = synopses[command]
	            for pair in options:
	                assert here & set(pair), (command, pair)
	            here -= {o for pair in options for o in pair}
	            assert not here, (command, here)
	assert known == documented, known ^ documented
	END
}

completion_offers_commands_and_options()
{
	# --norc, for it is what is here that is tested.
	bash --norc -c '
		. /usr/share/bash-completion/bash_completion &&
		. "$1/source3/utils/rsvdctl.bash-completion" || exit 1
		PATH=$2/bin:$PATH
		completes()
		{
			COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
			COMP_LINE="$*" COMP_POINT=${#COMP_LINE}
			_rsvdctl rsvdctl "${COMP_WORDS[COMP_CWORD]}" \
				"${COMP_WORDS[COMP_CWORD - 1]}" 2>/dev/null
			echo "$*: ${COMPREPLY[*]}"
		}
		completes rsvdctl rese
		completes rsvdctl create --bl
		completes rsvdctl reservations //a/b/c pre
		completes rsvdctl info --use-kerberos req
	' bash "$TOP" "$BUILD" >"$tmp/text"
	cat "$tmp/text"
	grep -qx "rsvdctl rese: reservations" "$tmp/text" &&
		grep -qx "rsvdctl create --bl: --block-size=" "$tmp/text" &&
		grep -qx "rsvdctl reservations //a/b/c pre: preempt" \
			"$tmp/text" &&
		grep -qx "rsvdctl info --use-kerberos req: required" "$tmp/text"
}

progress_is_shown_on_a_terminal_only()
{
	truncate -s 64M "$tmp/zeros"
	remote write --input="$tmp/zeros" 2>"$tmp/stderr" &&
		! test -s "$tmp/stderr" || return 1
	# What is slow is the input: it comes bit by bit until there is a bar.
	/usr/bin/python3 - "$rsvdctl" write $CONFIGURATION -p "$SERVER_PORT" \
		-U "$USERNAME%$PASSWORD" --length=64M \
		"//$SERVER_IP/$SHARE/disk.vhdx" <<-'END'
	import os, pty, select, subprocess, sys

	terminal, stderr = pty.openpty()
	child = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE,
	                         stderr=stderr, bufsize=0)
	os.close(stderr)
	shown = b''
	for _ in range(64):
	    child.stdin.write(bytes(1 << 20))
	    if select.select([terminal], [], [], 0.1)[0]:
	        shown += os.read(terminal, 1000)
	child.stdin.close()
	assert child.wait() == 0
	assert b'write [#' in shown and b'%' in shown, shown
	END
}

map_shows_how_far_it_is()
{
	# A run for each second block, so that there is much to print
	/usr/bin/python3 - "$tmp/runs" <<-'END' &&
	import sys

	with open(sys.argv[1], 'wb') as raw:
	    raw.truncate(1 << 30)
	    for block in range(0, 1024, 2):
	        raw.seek(block << 20)
	        raw.write(b'x' * 512)
	END
	"$rsvdctl" convert --format=raw --block-size=1M "$tmp/runs" \
		"$tmp/runs.vhdx" || return 1
	# What is slow is who reads it: bit by bit until there is a bar.
	/usr/bin/python3 - "$rsvdctl" map --json "$tmp/runs.vhdx" <<-'END'
	import fcntl, os, pty, select, subprocess, sys

	terminal, stderr = pty.openpty()
	child = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE,
	                         stderr=stderr, bufsize=0)
	os.close(stderr)
	fcntl.fcntl(child.stdout, fcntl.F_SETPIPE_SZ, 4096)
	shown = b''
	while child.stdout.read(4096):
	    if select.select([terminal], [], [], 0.1)[0]:
	        try:
	            shown += os.read(terminal, 1000)
	        except OSError:
	            pass
	assert child.wait() == 0
	# A clean line at the end
	assert b'map [#' in shown and shown.endswith(b'\r\033[K'), shown
	END
	set -- $?
	rm "$tmp/runs" "$tmp/runs.vhdx"
	return "$1"
}

# shows_how_far_it_is NUMBER COMMAND...: with so many bars after one another.
# On a busy machine there may be one for what takes no time otherwise.
shows_how_far_it_is()
{
	/usr/bin/python3 - "$@" <<-'END'
	import os, pty, re, subprocess, sys

	terminal, stderr = pty.openpty()
	child = subprocess.Popen(sys.argv[2:], stderr=stderr)
	os.close(stderr)
	shown = b''
	try:
	    while True:
	        shown += os.read(terminal, 1000)
	except OSError:
	    pass
	assert child.wait() == 0, shown
	name = sys.argv[sys.argv.index(os.environ['rsvdctl']) + 1].encode()
	at = list(map(int, re.findall(rb'\r%b \[[#.]+\] +(\d+)%%' % name, shown)))
	# Those that were more than half of the way, and then began again
	ends = sum(now < before > 50 for before, now in zip(at, at[1:] + [0]))
	assert ends >= int(sys.argv[1]), (ends, shown)
	# A clean line at the end
	assert shown.endswith(b'\r\033[K'), shown
	END
}

# slow USECONDS CALL NUMBER COMMAND...: on a disk where CALL takes that long
slow()
{
	usec=$1
	call=$2
	bars=$3
	shift 3
	shows_how_far_it_is "$bars" strace -f -o "$tmp/calls" \
		-e trace="$call" -e inject="$call:delay_exit=$usec" "$@"
}

# A BAT of 128 MiB, which each of them reads in pieces of 1 MiB
check_and_repair_show_how_far_they_are()
{
	"$rsvdctl" create --size=16T --block-size=1M "$tmp/large.vhdx" &&
		slow 12000 pread64 1 "$rsvdctl" check "$tmp/large.vhdx" &&
		slow 12000 pread64 2 "$rsvdctl" check --repair \
			"$tmp/large.vhdx"
	set -- $?
	rm "$tmp/large.vhdx"
	return "$1"
}

# To look at it, for zeros, and again when the image has been closed
compact_shows_how_far_it_is()
{
	"$rsvdctl" create --size=16T --block-size=1M "$tmp/large.vhdx" &&
		slow 12000 pread64 4 "$rsvdctl" compact "$tmp/large.vhdx"
	set -- $?
	rm "$tmp/large.vhdx"
	return "$1"
}

# The end of the data is looked for, and again when nobody else can write.
resize_shows_how_far_it_is()
{
	"$rsvdctl" create --size=1G --type=fixed --block-size=1M \
		"$tmp/large.vhdx" &&
		slow 2000 lseek 2 "$rsvdctl" resize --minimum \
			"$tmp/large.vhdx" &&
		slow 1000 pwrite64 1 "$rsvdctl" resize "$tmp/large.vhdx" 1T
	set -- $?
	rm "$tmp/large.vhdx"
	return "$1"
}

bench_shows_how_far_it_is()
{
	shows_how_far_it_is 1 "$rsvdctl" bench $CONFIGURATION \
		-p "$SERVER_PORT" -U "$USERNAME%$PASSWORD" --seconds=2 \
		"//$SERVER_IP/$SHARE/disk.vhdx"
}

what_is_attached_is_not_written_as_a_file()
{
	attached_begin || return 1
	head -c 512 /dev/zero >"$tmp/sector"
	says "is in use" "$rsvdctl" write --input="$tmp/sector" "$image" &&
		says "is in use" "$rsvdctl" check --repair "$image"
	set -- $?
	attached_end && test "$1" -eq 0 &&
		"$rsvdctl" write --input="$tmp/sector" --offset=63M "$image"
}

map_of_a_disk_leaves_no_data_out()
{
	remote map --json >"$tmp/map" &&
		remote read >"$tmp/raw" || return 1
	/usr/bin/python3 - "$tmp/map" "$tmp/raw" <<-'END'
	import json, sys

	entries = json.load(open(sys.argv[1]))
	disk = open(sys.argv[2], 'rb').read()
	end = 0
	for e in entries:
	    assert e['start'] == end, e
	    end += e['length']
	    assert e['data'] or disk[e['start']:end] == bytes(e['length']), e
	assert end == len(disk)
	assert {e['data'] for e in entries} == {True, False}
	END
}

example_of_librsvd_reads_the_disk()
{
	# A user has librsvd.pc, and samba-dev for the headers below it.
	sanitize=
	case "$BUILD" in
	*/sanitize) sanitize=-fsanitize=address,undefined ;;
	esac
	${CC:-cc} -Wall -Wextra -Werror $sanitize -o "$tmp/example" \
		-I"$TOP/source3/librsvd" $(pkg-config --cflags samba-util) \
		"$TOP/docs/examples/librsvd-read.c" \
		-L"$BUILD/lib" -Wl,-rpath,"$BUILD/lib" \
		-lrsvd $(pkg-config --libs talloc tevent) || return 1
	"$tmp/example" "$SERVER_IP" "$SHARE" disk.vhdx "$USERNAME" \
		"$PASSWORD" "$SERVER_PORT" >"$tmp/back" || return 1
	test "$(stat -c %s "$tmp/back")" -eq 1048576 &&
		remote read --length=1M | cmp - "$tmp/back"
}

the_header_has_what_the_library_has()
{
	grep -o '\blibrsvd_[a-z_]*(' "$TOP/source3/librsvd/librsvd.h" |
		tr -d '(' | sort -u >"$tmp/declared" &&
	nm -D --defined-only "$BUILD/lib/librsvd.so" |
		sed -n 's/.* T \(librsvd_[a-z_]*\)@.*/\1/p' |
		sort >"$tmp/defined" &&
	test -s "$tmp/defined" && diff "$tmp/declared" "$tmp/defined"
}

only_librsvds_own_symbols_are_seen()
{
	nm -D --defined-only "$BUILD/lib/librsvd.so" |
		awk '$2 != "A" { print $3 }' >"$tmp/symbols" &&
		grep -q '^librsvd_connect@@LIBRSVD_1.0$' "$tmp/symbols" &&
		! grep -v '^librsvd_' "$tmp/symbols"
}

check "a created image is clean" created_image_is_clean
check "what takes a file says so of a server" \
	what_takes_a_file_says_so_of_a_server
check "create never overwrites" create_never_overwrites
check "create sets space aside" create_sets_space_aside
check "sizes that no VHDX has are refused" sizes_that_no_vhdx_has_are_refused
check "info of a file has its geometry" info_of_a_file_has_its_geometry
check "info does not look at each block of the largest disk" \
	info_does_not_look_at_each_block_of_the_largest_disk
check "info of a disk has its geometry" info_of_a_disk_has_its_geometry
check "info tells the same of both versions" \
	info_tells_the_same_of_both_versions
check "what was written is read" what_was_written_is_read
check "write takes a pipe" write_takes_a_pipe
check "read takes any range" read_takes_any_range
check "an image is not read into itself" an_image_is_not_read_into_itself
check "file and disk have the same data" file_and_disk_have_the_same_data
check "write refuses half a sector" write_refuses_half_a_sector
check "an input that ends too early is an error" \
	an_input_that_ends_too_early_is_an_error
check "write refuses what is too long" write_refuses_what_is_too_long
check "scsi prints status and data" scsi_prints_status_and_data
check "scsi ends with 2 and tells the sense" \
	scsi_ends_with_2_and_tells_the_sense
check "scsi sends and gets files" scsi_sends_and_gets_files
check "output that cannot be written is an error" \
	output_that_cannot_be_written_is_an_error
check "what is said to be JSON is" what_is_said_to_be_json_is
check "a share without the module is named as the reason" \
	a_share_without_the_module_is_named_as_the_reason
check "the maximum protocol is kept to" the_maximum_protocol_is_kept_to
check "Kerberos can be asked for" kerberos_can_be_asked_for
check "errors name what failed and why" errors_name_what_failed_and_why
check "encryption is an option of Samba" encryption_is_an_option_of_samba
check "check ends as qemu-img does" check_ends_as_qemu_img_does
check "repair says what it did" repair_says_what_it_did
check "a resized file keeps its data" resized_file_keeps_its_data
check "what is discarded leaves the file" what_is_discarded_leaves_the_file
check "holes are not read" holes_are_not_read
check "a disk that is attached is resized" disk_that_is_attached_is_resized
check "a compacted file is smaller and has the same data" \
	compacted_file_is_smaller_and_has_the_same_data
check "an image in use is not written to" image_in_use_is_not_written_to
check "who wants an image that is written gets it" \
	who_wants_an_image_that_is_written_gets_it
check "map of a disk leaves no data out" map_of_a_disk_leaves_no_data_out
check "what is attached is not written as a file" \
	what_is_attached_is_not_written_as_a_file
check "reservations are shown with who holds them" \
	reservations_are_shown_with_who_holds_them
check "register takes the old key into account" \
	register_takes_the_old_key_into_account
check "conflicts end with 4" conflicts_end_with_4
check "preempt takes the reservation over" preempt_takes_the_reservation_over
check "who is not registered is told what to do" \
	who_is_not_registered_is_told_what_to_do
check "the preempted is told once" the_preempted_is_told_once
check "status tells who has what attached" status_tells_who_has_what_attached
check "status tells how much I/O there was" \
	status_tells_how_much_io_there_was
check "status asks nobody who does not answer for long" \
	status_asks_nobody_who_does_not_answer_for_long
check "status prints no control characters" \
	status_prints_no_control_characters
check "status without smbd is empty" status_without_smbd_is_empty
check "status watches" status_watches
check "the living are not forgotten" the_living_are_not_forgotten
check "forget removes a dead registration" forget_removes_a_dead_registration
check "release and clear leave nothing" release_and_clear_leave_nothing
check "bench counts what it did" bench_counts_what_it_did
check "bench writes only when told so" bench_writes_only_when_told_so
check "map tells where the data is" map_tells_where_the_data_is
check "the man page has each option and no other" \
	the_man_page_has_each_option_and_no_other
check "completion offers commands and options" \
	completion_offers_commands_and_options
check "progress is shown on a terminal only" \
	progress_is_shown_on_a_terminal_only
check "check and repair show how far they are" \
	check_and_repair_show_how_far_they_are
check "compact shows how far it is" compact_shows_how_far_it_is
check "resize shows how far it is" resize_shows_how_far_it_is
check "map shows how far it is" map_shows_how_far_it_is
check "bench shows how far it is" bench_shows_how_far_it_is
check "the example of librsvd reads the disk" \
	example_of_librsvd_reads_the_disk
check "the header has what the library has" \
	the_header_has_what_the_library_has
check "only librsvd's own symbols are seen" only_librsvds_own_symbols_are_seen

rm -r "$tmp"
echo "1..$number"
exit $failed
