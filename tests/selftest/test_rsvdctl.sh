#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
#
# rsvdctl on local images and on a server; the example of librsvd.

rsvdctl="$BUILD/bin/rsvdctl"
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
		-U "$USERNAME%$PASSWORD" "//$SERVER_IP/$SHARE/disk.vhdx" "$@"
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
		grep -q '"type": "dynamic"' "$tmp/json"
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

only_librsvds_own_symbols_are_seen()
{
	nm -D --defined-only "$BUILD/lib/librsvd.so" |
		awk '$2 != "A" { print $3 }' >"$tmp/symbols" &&
		grep -q '^librsvd_connect@@LIBRSVD_1.0$' "$tmp/symbols" &&
		! grep -v '^librsvd_' "$tmp/symbols"
}

check "a created image is clean" created_image_is_clean
check "create never overwrites" create_never_overwrites
check "sizes that no VHDX has are refused" sizes_that_no_vhdx_has_are_refused
check "info of a file has its geometry" info_of_a_file_has_its_geometry
check "info of a disk has its geometry" info_of_a_disk_has_its_geometry
check "info tells the same of both versions" \
	info_tells_the_same_of_both_versions
check "what was written is read" what_was_written_is_read
check "write takes a pipe" write_takes_a_pipe
check "read takes any range" read_takes_any_range
check "file and disk have the same data" file_and_disk_have_the_same_data
check "write refuses half a sector" write_refuses_half_a_sector
check "write refuses what is too long" write_refuses_what_is_too_long
check "scsi prints status and data" scsi_prints_status_and_data
check "scsi ends with 2 and tells the sense" \
	scsi_ends_with_2_and_tells_the_sense
check "scsi sends and gets files" scsi_sends_and_gets_files
check "errors name what failed and why" errors_name_what_failed_and_why
check "encryption is an option of Samba" encryption_is_an_option_of_samba
check "check ends as qemu-img does" check_ends_as_qemu_img_does
check "the example of librsvd reads the disk" \
	example_of_librsvd_reads_the_disk
check "only librsvd's own symbols are seen" only_librsvds_own_symbols_are_seen

rm -r "$tmp"
echo "1..$number"
exit $failed
