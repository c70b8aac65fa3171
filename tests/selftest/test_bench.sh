#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
#
# time-limit: 300
# The bench in its short form: that it runs and measures, never what.

echo 1..7

saved=$(mktemp -d)
if output=$(tests/bench/bench.py --quick --security=neither,encrypted \
	--output="$saved" 2>&1); then
	echo 'ok 1 - the bench runs, encrypted too'
else
	echo "$output" | sed 's/^/# /'
	echo 'not ok 1 - the bench runs, encrypted too'
fi

if output=$(tests/bench/bench.py growth --quick --output="$saved" 2>&1); then
	echo 'ok 2 - it runs with more of everything'
else
	echo "$output" | sed 's/^/# /'
	echo 'not ok 2 - it runs with more of everything'
fi

sentence='it runs against others'
if ! (command -v fio && command -v nbdkit && command -v qemu-nbd) >/dev/null
then
	echo "ok 3 - $sentence # SKIP no fio, nbdkit or qemu-nbd"
elif ! [ -e "$BUILD/nbdkit/nbdkit-rsvd-plugin.so" ]; then
	echo "ok 3 - $sentence # SKIP no plugin with sanitizers"
elif output=$(tests/bench/bench.py peers --quick --output="$saved" 2>&1); then
	echo "ok 3 - $sentence"
else
	echo "$output" | sed 's/^/# /'
	echo "not ok 3 - $sentence"
fi

sentence='it runs SCSI commands'
if ! command -v tgtd >/dev/null; then
	echo "ok 4 - $sentence # SKIP no tgt"
elif output=$(tests/bench/bench.py scsi --quick --output="$saved" 2>&1); then
	echo "ok 4 - $sentence"
else
	echo "$output" | sed 's/^/# /'
	echo "not ok 4 - $sentence"
fi

sentence='it runs the image engine'
if ! command -v qemu-img >/dev/null; then
	echo "ok 5 - $sentence # SKIP no qemu-img"
elif output=$(tests/bench/bench.py --vhdx --quick --output="$saved" 2>&1)
then
	echo "ok 5 - $sentence"
else
	echo "$output" | sed 's/^/# /'
	echo "not ok 5 - $sentence"
fi

sentence='what was saved becomes tables and plots'
cp docs/performance.md "$saved"
if output=$(tests/bench/bench.py report --output="$saved" \
	--document="$saved/performance.md" 2>&1) &&
	grep -q '^| 4 KiB random read, depth 8 |' "$saved/performance.md" &&
	grep -q '^| dynamic, 4 KiB first write, depth 16 |' \
		"$saved/performance.md" &&
	grep -q '</svg>' "$saved/performance/datapath-neither.svg"; then
	echo "ok 6 - $sentence"
else
	echo "$output" | sed 's/^/# /'
	echo "not ok 6 - $sentence"
fi

rows=$(grep -c '"workload"' "$saved"/datapath-*.json)
rm -rf "$saved"
if [ "$rows" = 10 ]; then
	echo 'ok 7 - it saves a row for each workload'
else
	echo "# $rows rows"
	echo 'not ok 7 - it saves a row for each workload'
fi
