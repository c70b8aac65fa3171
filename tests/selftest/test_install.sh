#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# time-limit: 300
#
# What "./waf install" leaves is complete: a program is built against the
# library with what pkg-config says, and the tools run from there.

tmp=$(mktemp -d) || exit 1
root=$tmp/root
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

install_puts_everything_below_destdir()
{
	"$TOP/waf" install --destdir="$root" || return 1
	libdir=$(dirname "$(find "$root" -name librsvd.so)")
	test -n "$libdir" &&
		test -f "$libdir/librsvd.so.1" &&
		test -f "$libdir/pkgconfig/librsvd.pc" &&
		test -f "$root/usr/include/librsvd.h" &&
		test -x "$root/usr/bin/rsvdctl" &&
		test -f "$root/usr/share/bash-completion/completions/rsvdctl" &&
		find "$root" -path '*/samba/vfs/rsvd.so' | grep -q .
}

# The installed one. Below DESTDIR the dynamic linker does not find its library.
rsvdctl()
{
	LD_LIBRARY_PATH=$libdir "$root/usr/bin/rsvdctl" "$@"
}

# rsvd_config CFLAG...: pkg-config as if the root was /
rsvd_config()
{
	# Only ours is there; PKG_CONFIG_SYSROOT_DIR would move all others.
	mkdir -p "$tmp/pkgconfig" &&
		sed "s,=/usr,=$root/usr," "$libdir/pkgconfig/librsvd.pc" \
			>"$tmp/pkgconfig/librsvd.pc" &&
		PKG_CONFIG_PATH=$tmp/pkgconfig pkg-config "$@" librsvd
}

pkg_config_is_all_a_program_needs()
{
	${CC:-cc} -Wall -Wextra -Werror -o "$tmp/example" \
		"$TOP/docs/examples/librsvd-read.c" \
		$(rsvd_config --cflags --libs) &&
	test "$(rsvd_config --modversion)" = \
		"$(rsvdctl --version | sed 's/rsvdctl \([^,]*\),.*/\1/')"
}

# Nothing is included before it.
program='#include <librsvd.h>
int main() { return librsvd_guid_random().bytes[0] == 0; }'

the_header_needs_no_other()
{
	echo "$program" >"$tmp/x.c" &&
	${CC:-cc} -std=c99 -Wall -Wextra -Werror -o "$tmp/x" "$tmp/x.c" \
		$(rsvd_config --cflags --libs)
}

a_c_plus_plus_program_may_include_the_header()
{
	echo "$program" >"$tmp/x.cc" &&
	${CXX:-c++} -Wall -Wextra -Werror -o "$tmp/x" "$tmp/x.cc" \
		$(rsvd_config --cflags --libs)
}

the_example_reads_a_disk_with_the_installed_library()
{
	rsvdctl create --size=16M --block-size=1M \
		"$LOCAL_PATH/install.vhdx" &&
	head -c 1048576 /dev/urandom >"$tmp/data" &&
	rsvdctl write --input="$tmp/data" \
		"$LOCAL_PATH/install.vhdx" &&
	ldd "$tmp/example" | grep librsvd &&
	LD_LIBRARY_PATH=$libdir "$tmp/example" "$SERVER_IP" "$SHARE" \
		install.vhdx "$USERNAME" "$PASSWORD" "$SERVER_PORT" \
		>"$tmp/back" &&
	cmp "$tmp/data" "$tmp/back"
}

# The functions that the header declares, no more and no less.
the_library_exports_what_the_header_declares()
{
	${CC:-cc} -E $(rsvd_config --cflags) "$root/usr/include/librsvd.h" |
		sed -n '/^# .*librsvd.h"/,/^# .*\/usr\/include\/[^l]/p' |
		grep -o 'librsvd_[a-z0-9_]*(' | tr -d '(' | sort -u \
		>"$tmp/declared" &&
	nm -D --defined-only "$libdir/librsvd.so.1" |
		awk '$2 == "T" { sub("@.*", "", $3); print $3 }' | sort -u \
		>"$tmp/exported" &&
	grep -q librsvd_connect "$tmp/declared" &&
	diff "$tmp/declared" "$tmp/exported"
}

# The name that a program is linked with, and the version of each symbol
the_soname_and_the_symbols_have_versions()
{
	objdump -p "$libdir/librsvd.so.1" | grep -q 'SONAME *librsvd.so.1$' &&
	nm -D --defined-only "$libdir/librsvd.so.1" |
		grep ' T ' >"$tmp/symbols" && test -s "$tmp/symbols" &&
	! grep -v '@@LIBRSVD_1\.[0-9]$' "$tmp/symbols"
}

rsvd_sg_finds_what_it_preloads()
{
	rsvdctl create --size=16M "$LOCAL_PATH/sg.vhdx" &&
		chmod 666 "$LOCAL_PATH/sg.vhdx" &&
		PASSWD=$PASSWORD LD_LIBRARY_PATH=$libdir \
			"$root/usr/bin/rsvd-sg" $CONFIGURATION \
			-p "$SERVER_PORT" -U "$USERNAME" \
			"//$SERVER_IP/$SHARE/sg.vhdx" -- \
			sh -c 'echo "$LD_PRELOAD"; test -c /dev/rsvd0' |
		grep -x "$root/.*/rsvd/rsvd_sg.so"
}

every_command_is_in_the_man_page()
{
	page=$(find "$root" -name rsvdctl.1) && test -n "$page" || return 1
	rsvdctl --help | sed -n 's/^  \([a-z]\+\) .*/\1/p' \
		>"$tmp/commands" && test -s "$tmp/commands" || return 1
	while read -r command; do
		grep -q "rsvdctl $command" "$page" || {
			echo "$command is missing"
			return 1
		}
	done <"$tmp/commands"
}

nbdkit_finds_the_plugin()
{
	plugin=$(find "$root" -name nbdkit-rsvd-plugin.so)
	LD_LIBRARY_PATH=$libdir nbdkit "$plugin" --dump-plugin |
		grep -x "thread_model=parallel"
}

check "install puts everything below DESTDIR" \
	install_puts_everything_below_destdir
check "pkg-config is all a program needs" pkg_config_is_all_a_program_needs
check "the header needs no other" the_header_needs_no_other
if command -v "${CXX:-c++}" >/dev/null; then
	check "a C++ program may include the header" \
		a_c_plus_plus_program_may_include_the_header
else
	number=$((number + 1))
	echo "ok $number - a C++ program may include the header # SKIP no c++"
fi
check "the example reads a disk with the installed library" \
	the_example_reads_a_disk_with_the_installed_library
check "the library exports what the header declares" \
	the_library_exports_what_the_header_declares
check "the soname and the symbols have versions" \
	the_soname_and_the_symbols_have_versions
check "rsvd-sg finds what it preloads" rsvd_sg_finds_what_it_preloads
check "every command is in the man page" every_command_is_in_the_man_page
if command -v nbdkit >/dev/null; then
	check "nbdkit finds the plugin" nbdkit_finds_the_plugin
else
	number=$((number + 1))
	echo "ok $number - nbdkit finds the plugin # SKIP no nbdkit"
fi

rm -r "$tmp"
echo "1..$number"
exit $failed
