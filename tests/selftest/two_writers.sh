# SPDX-License-Identifier: GPL-3.0-or-later
#
# Run two_writers and have others look at the image: for test_two_writers*.sh.

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

two_writers()
{
	number=0
	failed=0
	image="$LOCAL_PATH/disk.vhdx"
	echo 1..4

	log="$SELFTEST_PREFIX/two_writers.log"
	"$BUILD/tests/selftest/two_writers" "$1" >"$log" 2>&1
	status=$?
	if [ $status != 0 ]; then
		sed 's/^/# /' "$log"
	fi
	report $status "both processes read exactly what was written"

	qemu-img check -q "$image"
	report $? "qemu-img check finds nothing"

	qemu-img compare -q -f vhdx -F raw "$image" "$LOCAL_PATH/expected.raw"
	report $? "qemu-img reads exactly what was written"

	"$TOP/tests/interop/vhdi_compare.py" "$image" \
		"$LOCAL_PATH/expected.raw" >"$log" 2>&1
	report $? "libvhdi reads exactly what was written"

	exit $failed
}
