/*
 * vfs_rsvd: an image gives back what it does not need
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include <setjmp.h>
#include <cmocka.h>
#include "lib/util/debug.h"
#include "modules/vhdx/vhdx_private.h"
#include "tests/unit/vhdx_memory.h"

#define KIB ((uint64_t)1024)
#define MIB (1024 * KIB)

/* Where vhdx_create() puts things: the blocks begin at 4 MiB. */
#define BAT (3 * MIB)
#define BLOCKS (4 * MIB)

#define NUM_BLOCKS 40

#define assert_ok(status) assert_int_equal(NT_STATUS_V(status), 0)

static struct vhdx_memory *image_new(void **state, uint32_t block_size,
				     bool fixed)
{
	struct vhdx_create_params params = {
		.virtual_size = NUM_BLOCKS * (uint64_t)block_size,
		.block_size = block_size,
		.fixed = fixed,
	};
	struct vhdx_memory *m = vhdx_memory_new(*state);

	assert_ok(vhdx_create(vhdx_memory_storage(m), &params));
	return m;
}

static struct vhdx *image_open(struct vhdx_memory *m)
{
	struct vhdx *image = NULL;

	assert_ok(vhdx_open(m, vhdx_memory_storage(m), NULL, 0, &image,
			    NULL));
	return image;
}

/* Something at the start and the end of a block, or zeros */
static void block_put(struct vhdx *image, uint64_t block, uint8_t value)
{
	uint64_t size = vhdx_geometry(image)->block_size;
	uint8_t buf[4096];

	memset(buf, value, sizeof(buf));
	assert_ok(vhdx_write(image, buf, sizeof(buf), block * size));
	assert_ok(vhdx_write(image, buf, sizeof(buf),
			     (block + 1) * size - sizeof(buf)));
}

static void assert_block_has(struct vhdx *image, uint64_t block,
			     uint8_t value)
{
	uint64_t size = vhdx_geometry(image)->block_size;
	uint8_t expected[4096];
	uint8_t buf[4096];

	memset(expected, value, sizeof(expected));
	assert_ok(vhdx_read(image, buf, sizeof(buf), block * size));
	assert_memory_equal(buf, expected, sizeof(buf));
	assert_ok(vhdx_read(image, buf, sizeof(buf),
			    (block + 1) * size - sizeof(buf)));
	assert_memory_equal(buf, expected, sizeof(buf));
	memset(expected, 0, sizeof(expected));
	assert_ok(vhdx_read(image, buf, sizeof(buf),
			    block * size + size / 2));
	assert_memory_equal(buf, expected, sizeof(buf));
}

/* In every block its number; every third one has zeros instead. */
static void blocks_fill(struct vhdx_memory *m)
{
	struct vhdx *image = image_open(m);
	uint64_t i;

	for (i = 0; i < NUM_BLOCKS; i++) {
		block_put(image, i, i + 1);
	}
	for (i = 0; i < NUM_BLOCKS; i += 3) {
		block_put(image, i, 0);
	}
	assert_ok(vhdx_close(&image));
}

static void assert_blocks_are_as_filled(struct vhdx_memory *m)
{
	struct vhdx *image = image_open(m);
	uint64_t i;

	for (i = 0; i < NUM_BLOCKS; i++) {
		assert_block_has(image, i, i % 3 == 0 ? 0 : i + 1);
	}
	assert_ok(vhdx_close(&image));
}

static void assert_is_clean(struct vhdx_memory *m)
{
	struct vhdx_check_report *report = NULL;

	assert_ok(vhdx_check(m, vhdx_memory_storage(m), NULL, NULL, &report));
	assert_int_equal(report->num_findings, 0);
}

static struct vhdx_compact_report compact(struct vhdx_memory *m)
{
	struct vhdx_compact_report report;

	assert_ok(vhdx_compact(m, vhdx_memory_storage(m), NULL, NULL, &report,
			       NULL));
	return report;
}

static void zeros_leave_the_file_and_the_rest_moves_up(void **state)
{
	struct vhdx_memory *m = image_new(state, 2 * MIB, false);
	struct vhdx_compact_report report;

	blocks_fill(m);
	assert_int_equal(vhdx_memory_size(m), BLOCKS + 80 * MIB);
	report = compact(m);
	/* 0, 3, 6, ... 39 */
	assert_int_equal(report.num_dropped, 14);
	assert_int_equal(report.old_size, BLOCKS + 80 * MIB);
	assert_int_equal(report.new_size, BLOCKS + 26 * 2 * MIB);
	assert_int_equal(vhdx_memory_size(m), report.new_size);
	assert_is_clean(m);
	assert_blocks_are_as_filled(m);

	report = compact(m);
	assert_int_equal(report.num_dropped, 0);
	assert_int_equal(report.num_moved, 0);
}

static void new_blocks_of_a_compacted_image_are_zeros(void **state)
{
	struct vhdx_memory *m = image_new(state, MIB, false);
	struct vhdx *image = NULL;

	blocks_fill(m);
	compact(m);
	image = image_open(m);
	block_put(image, 0, 0x77);
	block_put(image, 39, 0x78);
	assert_block_has(image, 0, 0x77);
	assert_block_has(image, 39, 0x78);
	assert_ok(vhdx_close(&image));
	assert_is_clean(m);
}

/* More than the 256 MiB that talloc gives in one piece */
static void bat_may_be_larger_than_a_piece_of_memory(void **state)
{
	const uint64_t num_blocks = 34 * MIB;
	struct vhdx_create_params params = {
		.virtual_size = num_blocks * MIB,
		.block_size = MIB,
	};
	struct vhdx_memory *m = vhdx_memory_new(*state);
	struct vhdx_compact_report report;
	struct vhdx *image = NULL;

	assert_ok(vhdx_create(vhdx_memory_storage(m), &params));
	image = image_open(m);
	block_put(image, 0, 0x11);
	block_put(image, 0, 0);
	block_put(image, num_blocks - 1, 0x12);
	assert_ok(vhdx_close(&image));

	report = compact(m);
	assert_int_equal(report.num_dropped, 1);
	assert_int_equal(report.num_moved, 1);
	assert_int_equal(report.new_size, report.old_size - MIB);
	image = image_open(m);
	assert_block_has(image, 0, 0);
	assert_block_has(image, num_blocks - 1, 0x12);
	assert_ok(vhdx_close(&image));
}

static void fixed_disk_keeps_its_blocks(void **state)
{
	struct vhdx_memory *m = image_new(state, MIB, true);
	struct vhdx_compact_report report;

	blocks_fill(m);
	report = compact(m);
	assert_int_equal(report.num_dropped, 0);
	assert_int_equal(report.new_size, BLOCKS + 40 * MIB);
	assert_blocks_are_as_filled(m);
}

static void children_still_know_their_parent(void **state)
{
	struct vhdx_memory *m = image_new(state, MIB, false);
	uint8_t before[16];
	uint8_t after[16];
	size_t i;

	blocks_fill(m);
	/* MS-VHDX 2.2.2: DataWriteGuid, in both headers */
	vhdx_memory_read(m, before, sizeof(before), 64 * KIB + 32);
	compact(m);
	for (i = 1; i <= 2; i++) {
		vhdx_memory_read(m, after, sizeof(after), i * 64 * KIB + 32);
		assert_memory_equal(after, before, sizeof(after));
	}
}

static void image_with_an_error_is_left_alone(void **state)
{
	struct vhdx_memory *m = image_new(state, MIB, false);
	struct vhdx_compact_report report;
	uint8_t entry[8];
	uint64_t changes;
	char *reason = NULL;
	NTSTATUS status;

	blocks_fill(m);
	/* Two blocks at one place */
	vhdx_memory_read(m, entry, sizeof(entry), BAT);
	vhdx_memory_write(m, entry, sizeof(entry), BAT + 8);
	changes = vhdx_memory_num_changes(m);
	status = vhdx_compact(m, vhdx_memory_storage(m), NULL, NULL, &report,
			      &reason);
	assert_int_equal(NT_STATUS_V(status),
			 NT_STATUS_V(NT_STATUS_FILE_CORRUPT_ERROR));
	assert_non_null(reason);
	assert_int_equal(vhdx_memory_num_changes(m), changes);
}

static bool stop_after(uint64_t done, uint64_t total, void *private_data)
{
	uint64_t *left = private_data;

	assert_true(done <= total);
	if (*left == 0) {
		return false;
	}
	*left -= 1;
	return true;
}

static void it_can_be_stopped_at_any_time(void **state)
{
	uint64_t calls;
	bool stopped = true;

	for (calls = 0; stopped; calls++) {
		struct vhdx_memory *m = image_new(state, MIB, false);
		struct vhdx_compact_report report;
		uint64_t left = calls;

		blocks_fill(m);
		assert_ok(vhdx_compact(m, vhdx_memory_storage(m), stop_after,
				       &left, &report, NULL));
		stopped = report.stopped;
		assert_is_clean(m);
		assert_blocks_are_as_filled(m);
		compact(m);
		assert_int_equal(vhdx_memory_size(m), BLOCKS + 26 * MIB);
		assert_is_clean(m);
		assert_blocks_are_as_filled(m);
		TALLOC_FREE(m);
	}
	assert_true(calls > 40);
}

static void check_tells_how_far_it_is_and_can_be_stopped(void **state)
{
	struct vhdx_create_params params = {
		.virtual_size = 1024 * 1024 * MIB, .block_size = MIB,
	};
	struct vhdx_memory *m = vhdx_memory_new(*state);
	struct vhdx_check_report *report = NULL;
	uint64_t left = 100;

	/* 8 MiB of BAT: a call for each */
	assert_ok(vhdx_create(vhdx_memory_storage(m), &params));
	assert_ok(vhdx_check(m, vhdx_memory_storage(m), stop_after, &left,
			     &report));
	assert_false(report->stopped);
	assert_in_range(left, 91, 92);
	left = 3;
	assert_ok(vhdx_check(m, vhdx_memory_storage(m), stop_after, &left,
			     &report));
	assert_true(report->stopped);
	assert_int_equal(report->num_findings, 0);
}

/* A power cut after each change, with any part of what is not flushed lost */

struct cut_state {
	struct vhdx_memory *m;
	uint64_t num_cuts;
};

static void cut_here(void *private_data)
{
	struct cut_state *cut = private_data;
	uint32_t seed = cut->num_cuts;
	unsigned keep;

	for (keep = 0; keep <= 256; keep += 64) {
		struct vhdx_memory *after = vhdx_memory_cut(
			cut->m, cut->m, keep, &seed);
		struct vhdx_check_report *report = NULL;
		size_t i;

		assert_ok(vhdx_check(after, vhdx_memory_storage(after),
				     NULL, NULL, &report));
		for (i = 0; i < report->num_findings; i++) {
			assert_false(report->findings[i].is_error);
		}
		assert_blocks_are_as_filled(after);
		if (keep == 128) {
			compact(after);
			assert_blocks_are_as_filled(after);
			assert_is_clean(after);
			assert_int_equal(vhdx_memory_size(after),
					 BLOCKS + 26 * MIB);
		}
		TALLOC_FREE(after);
		cut->num_cuts += 1;
	}
}

static void power_cut_loses_nothing(void **state)
{
	struct vhdx_memory *m = image_new(state, MIB, false);
	struct cut_state cut = { .m = m };

	blocks_fill(m);
	vhdx_memory_watch(m, cut_here, &cut);
	compact(m);
	vhdx_memory_watch(m, NULL, NULL);
	assert_blocks_are_as_filled(m);
	assert_true(cut.num_cuts > 100);
}

static int setup(void **state)
{
	*state = talloc_new(NULL);
	return 0;
}

static int teardown(void **state)
{
	talloc_free(*state);
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(zeros_leave_the_file_and_the_rest_moves_up),
		TEST(new_blocks_of_a_compacted_image_are_zeros),
		TEST(bat_may_be_larger_than_a_piece_of_memory),
		TEST(fixed_disk_keeps_its_blocks),
		TEST(children_still_know_their_parent),
		TEST(image_with_an_error_is_left_alone),
		TEST(it_can_be_stopped_at_any_time),
		TEST(check_tells_how_far_it_is_and_can_be_stopped),
		TEST(power_cut_loses_nothing),
	};

	setup_logging("test_vhdx_compact", DEBUG_STDERR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
