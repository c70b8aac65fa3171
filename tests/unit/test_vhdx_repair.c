/*
 * vfs_rsvd: what is put right in an image, and what is left alone
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include <setjmp.h>
#include <cmocka.h>
#include "modules/vhdx/vhdx_private.h"
#include "lib/util/debug.h"
#include "tests/unit/vhdx_memory.h"

#define KIB ((uint64_t)1024)
#define MIB (1024 * KIB)

/*
 * Where vhdx_create() puts things. The disk has 8192 blocks of 1 MiB in two
 * chunks; the first two are in the file at 4 and 5 MiB.
 */
#define HEADER1 (64 * KIB)
#define HEADER2 (128 * KIB)
#define REGION1 (192 * KIB)
#define REGION2 (256 * KIB)
#define BAT (3 * MIB)
#define BITMAP_ENTRY (BAT + 4096 * 8)
#define FILE_SIZE (6 * MIB)

#define assert_ok(status) assert_int_equal(NT_STATUS_V(status), 0)

static void poke(struct vhdx_memory *m, uint64_t offset, uint64_t value)
{
	uint8_t buf[8];

	PUSH_LE_U64(buf, 0, value);
	vhdx_memory_write(m, buf, sizeof(buf), offset);
}

static uint64_t peek(struct vhdx_memory *m, uint64_t offset)
{
	uint8_t buf[8];

	vhdx_memory_read(m, buf, sizeof(buf), offset);
	return PULL_LE_U64(buf, 0);
}

static struct vhdx *open_image(struct vhdx_memory *m)
{
	struct vhdx *image = NULL;

	assert_ok(vhdx_open(m, vhdx_memory_storage(m), NULL, 0, &image,
			    NULL));
	return image;
}

static void write_blocks(struct vhdx *image)
{
	uint8_t buf[8192];

	memset(buf, 0x5a, sizeof(buf));
	assert_ok(vhdx_write(image, buf, sizeof(buf), MIB - 4096));
}

static struct vhdx_memory *good_image(void **state)
{
	struct vhdx_create_params params = {
		.virtual_size = 8192 * MIB,
		.block_size = MIB,
	};
	struct vhdx_memory *m = vhdx_memory_new(*state);
	struct vhdx *image = NULL;

	assert_ok(vhdx_create(vhdx_memory_storage(m), &params));
	image = open_image(m);
	write_blocks(image);
	assert_ok(vhdx_close(&image));
	assert_int_equal(vhdx_memory_size(m), FILE_SIZE);
	return m;
}

static struct vhdx_repair_report *repair(struct vhdx_memory *m)
{
	struct vhdx_repair_report *report = NULL;

	assert_ok(vhdx_repair(m, vhdx_memory_storage(m), NULL, NULL, NULL,
			      &report));
	return report;
}

/* The image is without a fault, and has its data. */
static void assert_is_good(struct vhdx_memory *m)
{
	struct vhdx_check_report *report = NULL;
	struct vhdx *image = NULL;
	uint8_t buf[8192];

	assert_ok(vhdx_check(m, vhdx_memory_storage(m), NULL, NULL, &report));
	assert_int_equal(report->num_findings, 0);
	image = open_image(m);
	assert_ok(vhdx_read(image, buf, sizeof(buf), MIB - 4096));
	assert_int_equal(buf[0], 0x5a);
	assert_int_equal(buf[8191], 0x5a);
	assert_ok(vhdx_close(&image));
}

/* One thing was wrong, and is not any more. */
static void assert_fixes(struct vhdx_memory *m, const char *structure)
{
	struct vhdx_repair_report *report = repair(m);
	uint64_t changes;

	assert_int_equal(report->num_fixed, 1);
	assert_string_equal(report->fixed[0].structure, structure);
	assert_int_equal(report->left->num_findings, 0);
	assert_is_good(m);

	changes = vhdx_memory_num_changes(m);
	report = repair(m);
	assert_int_equal(report->num_fixed, 0);
	assert_int_equal(vhdx_memory_num_changes(m), changes);
}

/* Somebody has to look at it; nothing may be lost for them. */
static void assert_leaves_alone(struct vhdx_memory *m)
{
	uint64_t changes = vhdx_memory_num_changes(m);
	struct vhdx_repair_report *report = repair(m);
	size_t num_errors = 0;
	size_t i;

	assert_int_equal(report->num_fixed, 0);
	for (i = 0; i < report->left->num_findings; i++) {
		num_errors += report->left->findings[i].is_error ? 1 : 0;
	}
	assert_true(num_errors > 0);
	assert_int_equal(vhdx_memory_num_changes(m), changes);
}

static void good_image_is_not_written_to(void **state)
{
	struct vhdx_memory *m = good_image(state);
	uint64_t changes = vhdx_memory_num_changes(m);
	struct vhdx_repair_report *report = repair(m);

	assert_int_equal(report->num_fixed, 0);
	assert_int_equal(report->left->num_findings, 0);
	assert_int_equal(vhdx_memory_num_changes(m), changes);
}

static void bad_header_is_written_again(void **state)
{
	uint64_t headers[2] = { HEADER1, HEADER2 };
	size_t i;

	for (i = 0; i < 2; i++) {
		struct vhdx_memory *m = good_image(state);

		poke(m, headers[i] + 100, 1);
		assert_fixes(m, "headers");
	}
}

static void bad_region_table_is_written_again(void **state)
{
	uint64_t tables[2] = { REGION1, REGION2 };
	size_t i;

	for (i = 0; i < 2; i++) {
		struct vhdx_memory *m = good_image(state);

		poke(m, tables[i] + 16, 0xABAD);
		assert_fixes(m, "region tables");
		assert_int_equal(peek(m, REGION1 + 16), peek(m, REGION2 + 16));
	}
}

static void log_is_replayed(void **state)
{
	struct vhdx_memory *m = good_image(state);
	struct vhdx *image = open_image(m);
	uint8_t buf[512] = { 7 };
	struct vhdx_repair_report *report = NULL;

	assert_ok(vhdx_write(image, buf, sizeof(buf), 100 * MIB));
	assert_ok(vhdx_flush(image));
	TALLOC_FREE(image);
	/* The entry of block 100 did not get where it belongs. */
	assert_true(peek(m, BAT + 100 * 8) != 0);
	poke(m, BAT + 100 * 8, 0);

	report = repair(m);
	assert_true(report->num_fixed >= 1);
	assert_string_equal(report->fixed[0].structure, "log");
	assert_true(peek(m, BAT + 100 * 8) != 0);
	assert_is_good(m);
	image = open_image(m);
	assert_ok(vhdx_read(image, buf, sizeof(buf), 100 * MIB));
	assert_int_equal(buf[0], 7);
	assert_ok(vhdx_close(&image));
}

static void reserved_bits_of_the_bat_are_cleared(void **state)
{
	struct vhdx_memory *m = good_image(state);
	uint64_t entry = peek(m, BAT);

	poke(m, BAT, entry | 0x8);
	poke(m, BAT + 7 * 8, 0x80000);
	assert_fixes(m, "BAT");
	assert_int_equal(peek(m, BAT), entry);
	assert_int_equal(peek(m, BAT + 7 * 8), 0);
}

static void sector_bitmap_without_parent_is_dropped(void **state)
{
	struct vhdx_memory *m = good_image(state);

	poke(m, BITMAP_ENTRY, (100 * MIB) | 6);
	assert_fixes(m, "BAT");
	assert_int_equal(peek(m, BITMAP_ENTRY), 0);
}

static void leaked_end_is_cut_off(void **state)
{
	struct vhdx_memory *m = good_image(state);

	vhdx_memory_resize(m, FILE_SIZE + 64 * MIB);
	assert_fixes(m, "file");
	assert_int_equal(vhdx_memory_size(m), FILE_SIZE);
}

static void leak_inside_the_file_becomes_a_hole(void **state)
{
	struct vhdx_memory *m = good_image(state);
	struct vhdx_repair_report *report = NULL;
	uint64_t last = peek(m, BAT + 8);

	/* The data of block 1 move up, and leave a copy. */
	vhdx_memory_resize(m, FILE_SIZE + MIB);
	poke(m, FILE_SIZE, peek(m, last & ~(MIB - 1)));
	poke(m, BAT + 8, FILE_SIZE | 6);
	report = repair(m);
	assert_int_equal(report->num_fixed, 1);
	assert_string_equal(report->fixed[0].field, "space");
	assert_int_equal(report->left->num_findings, 0);
	assert_int_equal(vhdx_memory_size(m), FILE_SIZE + MIB);
	assert_int_equal(peek(m, last & ~(MIB - 1)), 0);
	assert_int_equal(peek(m, FILE_SIZE), 0x5a5a5a5a5a5a5a5a);
	assert_int_equal(repair(m)->num_fixed, 0);
}

static void space_of_an_unmapped_block_is_not_cut_off(void **state)
{
	struct vhdx_memory *m = good_image(state);

	/* 2.5.1.1: it may have been there before it was unmapped. */
	vhdx_memory_resize(m, FILE_SIZE + 64 * MIB);
	poke(m, BAT + 9 * 8, (FILE_SIZE + 2 * MIB) | 3);
	repair(m);
	assert_int_equal(vhdx_memory_size(m), FILE_SIZE + 3 * MIB);
}

static void space_of_an_unmapped_block_stays_as_it_is(void **state)
{
	struct vhdx_memory *m = good_image(state);

	/* 2.5.1.1, as above */
	vhdx_memory_resize(m, FILE_SIZE + 64 * MIB);
	poke(m, FILE_SIZE + 2 * MIB, 7);
	poke(m, FILE_SIZE + 3 * MIB, 8);
	poke(m, BAT + 9 * 8, (FILE_SIZE + 2 * MIB) | 3);
	poke(m, BAT + 10 * 8, (FILE_SIZE + 4 * MIB) | 3);
	repair(m);
	assert_int_equal(peek(m, FILE_SIZE + 2 * MIB), 7);
	assert_int_equal(peek(m, FILE_SIZE + 3 * MIB), 0);
}

static void overlapping_blocks_are_left_alone(void **state)
{
	struct vhdx_memory *m = good_image(state);

	/* Nor is anything else of the table, or the file's size. */
	vhdx_memory_resize(m, FILE_SIZE + 64 * MIB);
	poke(m, BAT + 9 * 8, peek(m, BAT) | 0x8);
	poke(m, BAT + 10 * 8, 0x8);
	assert_leaves_alone(m);
}

static void block_outside_the_file_is_left_alone(void **state)
{
	struct vhdx_memory *m = good_image(state);

	poke(m, BAT + 9 * 8, (1000 * MIB) | 6);
	assert_leaves_alone(m);
}

static void headers_of_which_none_is_good_are_left_alone(void **state)
{
	struct vhdx_memory *m = good_image(state);

	poke(m, HEADER1 + 100, 1);
	poke(m, HEADER2 + 100, 1);
	assert_leaves_alone(m);
}

static void region_tables_that_are_both_bad_are_left_alone(void **state)
{
	struct vhdx_memory *m = good_image(state);

	poke(m, REGION1 + 16, 1);
	poke(m, REGION2 + 16, 1);
	assert_leaves_alone(m);
}

static void log_without_a_valid_sequence_is_left_alone(void **state)
{
	struct vhdx_memory *m = good_image(state);
	struct vhdx *image = open_image(m);
	uint8_t buf[512] = { 7 };
	uint64_t i;

	assert_ok(vhdx_write(image, buf, sizeof(buf), 100 * MIB));
	TALLOC_FREE(image);
	for (i = 0; i < MIB; i += 4096) {
		poke(m, MIB + i, 0);
	}
	assert_leaves_alone(m);
}

/* Everything at once, and the power goes at each moment of the repair. */

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

		repair(after);
		assert_is_good(after);
		TALLOC_FREE(after);
		cut->num_cuts += 1;
	}
}

static void power_cut_in_a_repair_loses_nothing(void **state)
{
	struct vhdx_memory *m = good_image(state);
	struct cut_state cut = { .m = m };
	struct vhdx *image = open_image(m);
	struct vhdx_repair_report *report = NULL;
	uint8_t buf[512] = { 7 };

	assert_ok(vhdx_write(image, buf, sizeof(buf), 100 * MIB));
	assert_ok(vhdx_flush(image));
	TALLOC_FREE(image);
	poke(m, REGION1 + 16, 0xABAD);
	poke(m, BITMAP_ENTRY, (100 * MIB) | 6);

	vhdx_memory_watch(m, cut_here, &cut);
	report = repair(m);
	vhdx_memory_watch(m, NULL, NULL);
	assert_int_equal(report->num_fixed, 4);
	assert_is_good(m);
	assert_true(cut.num_cuts > 50);
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
		TEST(good_image_is_not_written_to),
		TEST(bad_header_is_written_again),
		TEST(bad_region_table_is_written_again),
		TEST(log_is_replayed),
		TEST(reserved_bits_of_the_bat_are_cleared),
		TEST(sector_bitmap_without_parent_is_dropped),
		TEST(leaked_end_is_cut_off),
		TEST(leak_inside_the_file_becomes_a_hole),
		TEST(space_of_an_unmapped_block_is_not_cut_off),
		TEST(space_of_an_unmapped_block_stays_as_it_is),
		TEST(overlapping_blocks_are_left_alone),
		TEST(block_outside_the_file_is_left_alone),
		TEST(headers_of_which_none_is_good_are_left_alone),
		TEST(region_tables_that_are_both_bad_are_left_alone),
		TEST(log_without_a_valid_sequence_is_left_alone),
		TEST(power_cut_in_a_repair_loses_nothing),
	};

	setup_logging("test_vhdx_repair", DEBUG_STDERR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
