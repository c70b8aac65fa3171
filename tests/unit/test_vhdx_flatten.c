/*
 * vfs_rsvd: a child that needs its parents no more
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include <setjmp.h>
#include <cmocka.h>
#include "lib/util/debug.h"
#include "librpc/ndr/libndr.h"
#include "tests/unit/vhdx_folder.h"

/* Where vhdx_create() puts things */
#define METADATA (2 * MIB)
#define ITEMS (METADATA + 64 * KIB)
#define BAT (3 * MIB)
#define BLOCKS (4 * MIB)

static struct vhdx_flatten_report flatten(struct folder *folder,
					  const char *name)
{
	struct vhdx_memory *m = folder_file(folder, name);
	struct vhdx_parents parents = {
		.path = name, .open = folder_open, .private_data = folder,
	};
	struct vhdx_flatten_report report;
	char *reason = NULL;
	NTSTATUS status;

	status = vhdx_flatten(folder, vhdx_memory_storage(m), &parents, NULL,
			      NULL, &report, &reason);
	if (!NT_STATUS_IS_OK(status)) {
		fail_msg("%s: %s", nt_errstr(status), reason);
	}
	return report;
}

/* Nobody helps it to find a parent. */
static struct vhdx *open_alone(struct vhdx_memory *m)
{
	struct vhdx *image = NULL;
	char *reason = NULL;

	if (!NT_STATUS_IS_OK(vhdx_open(m, vhdx_memory_storage(m), NULL,
				       VHDX_OPEN_READ_ONLY, &image,
				       &reason))) {
		fail_msg("%s", reason);
	}
	return image;
}

static void assert_is_flat(struct vhdx_memory *m)
{
	struct vhdx *image = open_alone(m);

	assert_false(vhdx_geometry(image)->has_parent);
	assert_full_child(image);
	assert_ok(vhdx_close(&image));
}

static void assert_reads_full(struct folder *folder, const char *name)
{
	struct vhdx *image = open_image(folder, name, VHDX_OPEN_READ_ONLY);

	assert_full_child(image);
	assert_ok(vhdx_close(&image));
}

static void flattened_image_reads_the_same_without_its_parents(void **state)
{
	struct folder *folder = folder_with_full_child(state);
	struct vhdx_memory *m = folder_file(folder, "child.vhdx");
	struct vhdx_memory *parent = folder_file(folder, "parent.vhdx");
	uint64_t changes = vhdx_memory_num_changes(parent);
	struct vhdx_flatten_report report;

	report = flatten(folder, "child.vhdx");
	/* 0, 1, 3, 6 and 7; 10 was there, the others are zeros. */
	assert_int_equal(report.num_copied, 5);
	assert_is_flat(m);
	assert_check_finds_no_error(m);
	assert_int_equal(vhdx_memory_num_changes(parent), changes);
}

static void flattened_image_is_a_dynamic_one_by_the_format(void **state)
{
	struct folder *folder = folder_with_full_child(state);
	struct vhdx_memory *m = folder_file(folder, "child.vhdx");
	static const uint8_t zeros[32];
	uint8_t buf[32];
	size_t i;

	/* LeaveBlocksAllocated, which a differencing image may have */
	poke(m, ITEMS + 4, 3, 4);
	/* Behind the last block there is no rule for a child. */
	poke(m, BAT + 100 * 8, 2, 8);
	flatten(folder, "child.vhdx");

	/* MS-VHDX 2.6.2.1: neither that nor HasParent */
	vhdx_memory_read(m, buf, 8, ITEMS);
	assert_int_equal(PULL_LE_U32(buf, 0), MIB);
	assert_int_equal(PULL_LE_U32(buf, 4), 0);
	/* 2.6.1: five items, and nothing where the sixth was */
	vhdx_memory_read(m, buf, 2, METADATA + 10);
	assert_int_equal(PULL_LE_U16(buf, 0), 5);
	for (i = 0; i < 5; i++) {
		vhdx_memory_read(m, buf, 32, METADATA + 32 + i * 32);
		assert_int_not_equal(PULL_LE_U32(buf, 0), 0xA8D35F2D);
	}
	vhdx_memory_read(m, buf, 32, METADATA + 32 + 5 * 32);
	assert_memory_equal(buf, zeros, 32);
	/* 2.5.1.2: no sector bitmap */
	vhdx_memory_read(m, buf, 8, BAT + 4096 * 8);
	assert_memory_equal(buf, zeros, 8);
	vhdx_memory_read(m, buf, 8, BAT + 100 * 8);
	assert_memory_equal(buf, zeros, 8);
	/* What is all zeros has no place. */
	for (i = 0; i < 16; i++) {
		bool is_there = i == 0 || i == 1 || i == 3 || i == 6 ||
				i == 7 || i == 10;

		vhdx_memory_read(m, buf, 8, BAT + i * 8);
		assert_int_equal((PULL_LE_U64(buf, 0) & 7) == 6, is_there);
	}
}

/* The last item goes to where the locator was, if that is not the last. */
static void items_of_others_are_kept(void **state)
{
	struct folder *folder = folder_with_full_child(state);
	struct vhdx_memory *m = folder_file(folder, "child.vhdx");
	uint8_t item[32] = { 'u', 's', 'e', 'r' };
	uint8_t buf[32];

	/* MS-VHDX 2.6.1.2: ItemId, Offset, Length, IsUser */
	PUSH_LE_U32(item, 16, 64 * KIB + 32 * KIB);
	PUSH_LE_U32(item, 20, 4);
	PUSH_LE_U32(item, 24, 1);
	vhdx_memory_write(m, item, sizeof(item), METADATA + 32 + 6 * 32);
	poke(m, METADATA + 10, 7, 2);
	poke(m, METADATA + 96 * KIB, 0x6D657469, 4);

	flatten(folder, "child.vhdx");
	vhdx_memory_read(m, buf, sizeof(buf), METADATA + 32 + 5 * 32);
	assert_memory_equal(buf, item, sizeof(buf));
	vhdx_memory_read(m, buf, 4, METADATA + 96 * KIB);
	assert_memory_equal(buf, "item", 4);
	vhdx_memory_read(m, buf, 2, METADATA + 10);
	assert_int_equal(PULL_LE_U16(buf, 0), 6);
	assert_is_flat(m);
}

static void zeros_of_the_parent_take_no_space(void **state)
{
	struct folder *folder = folder_new(state);
	struct vhdx *image = open_image(folder, "parent.vhdx", 0);
	struct vhdx_memory *m = NULL;
	unsigned i;

	for (i = 0; i < 7; i++) {
		put(image, i * MIB, 0);
	}
	assert_ok(vhdx_close(&image));
	m = add_child(folder, "child.vhdx", "parent.vhdx", "parent.vhdx",
		      MIB);
	assert_int_equal(flatten(folder, "child.vhdx").num_copied, 1);
	assert_int_equal(vhdx_memory_size(m), BLOCKS + MIB);
	assert_check_finds_nothing(m);
}

static void children_of_a_flattened_image_stay_its_children(void **state)
{
	struct folder *folder = folder_with_full_child(state);

	add_child(folder, "grandchild.vhdx", "child.vhdx", "child.vhdx",
		  2 * MIB);
	flatten(folder, "child.vhdx");
	assert_reads_full(folder, "grandchild.vhdx");
	flatten(folder, "grandchild.vhdx");
	assert_is_flat(folder_file(folder, "grandchild.vhdx"));
}

static void all_parents_of_a_chain_go_into_the_image(void **state)
{
	static const uint32_t sizes[] = { MIB, 4 * MIB, 8 * MIB };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct folder *folder = folder_with_full_child(state);
		struct vhdx *image = NULL;

		add_child(folder, "middle.vhdx", "child.vhdx", "child.vhdx",
			  2 * MIB);
		image = open_image(folder, "middle.vhdx", 0);
		put(image, 7 * MIB, 'm');
		assert_ok(vhdx_close(&image));
		add_child(folder, "top.vhdx", "middle.vhdx", "middle.vhdx",
			  sizes[i]);
		image = open_image(folder, "top.vhdx", 0);
		put(image, 7 * MIB, 'p');
		assert_ok(vhdx_close(&image));
		flatten(folder, "top.vhdx");
		assert_is_flat(folder_file(folder, "top.vhdx"));
		assert_check_finds_nothing(folder_file(folder, "top.vhdx"));
		TALLOC_FREE(folder);
	}
}

/* MS-VHDX 2.6.2.2: the second item */
static void child_of_another_size_keeps_it(void **state)
{
	static const uint64_t sizes[] = { 6 * MIB + 512, 20 * MIB };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct folder *folder = folder_with_child(state);
		struct vhdx_memory *m = folder_file(folder, "child.vhdx");
		struct vhdx *image = NULL;

		poke(m, ITEMS + 8, sizes[i], 8);
		flatten(folder, "child.vhdx");
		image = open_alone(m);
		assert_int_equal(vhdx_geometry(image)->virtual_size,
				 sizes[i]);
		assert_bytes(image, 5 * MIB, UNIT, 'p');
		assert_bytes(image, 6 * MIB, 512, 'p');
		if (sizes[i] > DISK_SIZE) {
			assert_bytes(image, 8 * MIB, 12 * MIB, 0);
		}
		assert_ok(vhdx_close(&image));
		assert_check_finds_nothing(m);
		TALLOC_FREE(folder);
	}
}

static void flattened_image_is_resized_as_any_other(void **state)
{
	struct folder *folder = folder_with_full_child(state);
	struct vhdx_memory *m = folder_file(folder, "child.vhdx");
	struct vhdx *image = NULL;

	flatten(folder, "child.vhdx");
	image = open_image(folder, "child.vhdx", 0);
	/* More than a chunk: where the bitmap's entry was, one has to be. */
	assert_ok(vhdx_resize(image, 5000 * MIB, 0, NULL, NULL));
	put(image, 4096 * MIB, 'n');
	assert_ok(vhdx_close(&image));
	image = open_alone(m);
	assert_bytes(image, 4095 * MIB, MIB, 0);
	assert_bytes(image, 4096 * MIB, UNIT, 'n');
	assert_full_child(image);
	assert_ok(vhdx_close(&image));
	assert_check_finds_no_error(m);
}

static void image_without_a_parent_is_left_alone(void **state)
{
	struct folder *folder = folder_new(state);
	struct vhdx_memory *m = folder_file(folder, "parent.vhdx");
	uint64_t changes = vhdx_memory_num_changes(m);

	assert_int_equal(flatten(folder, "parent.vhdx").num_copied, 0);
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

static void flatten_can_be_stopped_at_any_time(void **state)
{
	uint64_t calls;
	bool stopped = true;

	for (calls = 0; stopped; calls++) {
		struct folder *folder = folder_with_full_child(state);
		struct vhdx_memory *m = folder_file(folder, "child.vhdx");
		struct vhdx_parents parents = {
			.path = "child.vhdx", .open = folder_open,
			.private_data = folder,
		};
		struct vhdx_flatten_report report;
		uint64_t left = calls;

		assert_ok(vhdx_flatten(folder, vhdx_memory_storage(m),
				       &parents, stop_after, &left, &report,
				       NULL));
		stopped = report.stopped;
		assert_reads_full(folder, "child.vhdx");
		flatten(folder, "child.vhdx");
		assert_is_flat(m);
		TALLOC_FREE(folder);
	}
	assert_true(calls > 10);
}

static void error_at_any_point_leaves_an_image_that_reads_the_same(
	void **state)
{
	NTSTATUS status = NT_STATUS_DISK_FULL;
	uint64_t after;

	for (after = 0; !NT_STATUS_IS_OK(status); after++) {
		struct folder *folder = folder_with_full_child(state);
		struct vhdx_memory *m = folder_file(folder, "child.vhdx");
		struct vhdx_parents parents = {
			.path = "child.vhdx", .open = folder_open,
			.private_data = folder,
		};
		struct vhdx_flatten_report report;

		vhdx_memory_fail(m, ENOSPC, after);
		status = vhdx_flatten(folder, vhdx_memory_storage(m),
				      &parents, NULL, NULL, &report, NULL);
		vhdx_memory_fail(m, 0, 0);
		assert_reads_full(folder, "child.vhdx");
		flatten(folder, "child.vhdx");
		assert_is_flat(m);
		TALLOC_FREE(folder);
	}
	assert_true(after > 10);
}

/* A power cut after each change, with any part of what is not flushed lost */

struct cut_state {
	struct folder *folder;
	void (*assert_reads)(struct vhdx *image);
	uint64_t num_cuts;
	uint64_t num_flat;
};

static void cut_here(void *private_data)
{
	static const unsigned keeps[] = {
		0, 256, 128, 128, 128, 128, 64, 192, 40, 220,
	};
	struct cut_state *cut = private_data;
	uint32_t seed = 2654435761U * (cut->num_cuts + 1);
	size_t i;

	for (i = 0; i < ARRAY_SIZE(keeps); i++) {
		struct folder *after = folder_cut(cut->folder, keeps[i], 256,
						  &seed);
		struct vhdx_memory *m = folder_file(after, "child.vhdx");
		struct vhdx *image = NULL;

		assert_check_finds_no_error(m);
		image = open_image(after, "child.vhdx", VHDX_OPEN_READ_ONLY);
		cut->assert_reads(image);
		assert_ok(vhdx_close(&image));
		/* To be written to, so that the log is replayed in the file */
		image = open_image(after, "child.vhdx", 0);
		cut->assert_reads(image);
		if (!vhdx_geometry(image)->has_parent) {
			cut->num_flat += 1;
		}
		assert_ok(vhdx_close(&image));
		flatten(after, "child.vhdx");
		image = open_alone(m);
		cut->assert_reads(image);
		assert_ok(vhdx_close(&image));
		TALLOC_FREE(after);
		cut->num_cuts += 1;
	}
}

static void power_cut_at_any_point_leaves_an_image_that_reads_the_same(
	void **state)
{
	struct folder *folder = folder_with_full_child(state);
	struct cut_state cut = {
		.folder = folder, .assert_reads = assert_full_child,
	};

	folder_watch(folder, cut_here, &cut);
	flatten(folder, "child.vhdx");
	folder_watch(folder, NULL, NULL);
	assert_true(cut.num_cuts > 100);
	assert_true(cut.num_flat > 5);
}

/* What make_partial() makes, and zeros */
static void assert_one_block(struct vhdx *image)
{
	assert_bytes(image, 0, MIB, 0);
	assert_bytes(image, MIB, UNIT, 'p');
	assert_bytes(image, MIB + UNIT, UNIT, 'c');
	assert_bytes(image, MIB + 2 * UNIT, UNIT, 0);
	assert_bytes(image, MIB + 3 * UNIT, UNIT, 'c');
	assert_bytes(image, 2 * MIB, MIB, 0);
}

/* No other copy comes after it, which would flush. */
static void power_cut_finds_no_partial_block_without_its_bitmap(
	void **state)
{
	struct folder *folder = folder_with_child(state);
	struct cut_state cut = {
		.folder = folder, .assert_reads = assert_one_block,
	};
	struct vhdx *image = open_image(folder, "child.vhdx", 0);

	assert_ok(vhdx_zero(image, 0, MIB));
	assert_ok(vhdx_zero(image, 2 * MIB, 14 * MIB));
	assert_ok(vhdx_close(&image));
	make_partial(folder_file(folder, "child.vhdx"));

	folder_watch(folder, cut_here, &cut);
	flatten(folder, "child.vhdx");
	folder_watch(folder, NULL, NULL);
	assert_true(cut.num_cuts > 50);
}

/* Where a child has something to be damaged, and how long that is */
static const struct {
	uint64_t offset;
	uint64_t length;
} damaged_places[] = {
	{ METADATA, 32 + 6 * 32 },
	{ ITEMS, 40 },
	{ BAT, 16 * 8 },
	{ BAT + 4096 * 8, 8 },
	{ 7 * MIB, 512 },	/* the sector bitmap */
};

static void damaged_child_is_refused_or_flattened(void **state)
{
	static const uint8_t bytes[] = { 0, 1, 2, 3, 6, 7, 0x7F, 0x80, 0xFF };
	uint32_t seed = 4711;
	unsigned num_flat = 0;
	unsigned i;

	for (i = 0; i < 400; i++) {
		struct folder *folder = folder_with_full_child(state);
		struct vhdx_memory *m = folder_file(folder, "child.vhdx");
		struct vhdx_parents parents = {
			.path = "child.vhdx", .open = folder_open,
			.private_data = folder,
		};
		unsigned num = 1 + vhdx_memory_random(&seed) % 3;
		struct vhdx_flatten_report report;
		NTSTATUS status;

		for (; num > 0; num--) {
			size_t place = vhdx_memory_random(&seed) %
				       ARRAY_SIZE(damaged_places);
			uint64_t offset = vhdx_memory_random(&seed) %
					  damaged_places[place].length;
			size_t byte = vhdx_memory_random(&seed) %
				      ARRAY_SIZE(bytes);

			poke(m, damaged_places[place].offset + offset,
			     bytes[byte], 1);
		}
		status = vhdx_flatten(folder, vhdx_memory_storage(m),
				      &parents, NULL, NULL, &report, NULL);
		if (NT_STATUS_IS_OK(status)) {
			struct vhdx *image = open_alone(m);

			assert_ok(vhdx_close(&image));
			assert_check_finds_no_error(m);
			num_flat += 1;
		}
		TALLOC_FREE(folder);
	}
	assert_true(num_flat > 40 && num_flat < 360);
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
		TEST(flattened_image_reads_the_same_without_its_parents),
		TEST(flattened_image_is_a_dynamic_one_by_the_format),
		TEST(items_of_others_are_kept),
		TEST(zeros_of_the_parent_take_no_space),
		TEST(children_of_a_flattened_image_stay_its_children),
		TEST(all_parents_of_a_chain_go_into_the_image),
		TEST(child_of_another_size_keeps_it),
		TEST(flattened_image_is_resized_as_any_other),
		TEST(image_without_a_parent_is_left_alone),
		TEST(damaged_child_is_refused_or_flattened),
		TEST(flatten_can_be_stopped_at_any_time),
		TEST(error_at_any_point_leaves_an_image_that_reads_the_same),
		TEST(power_cut_at_any_point_leaves_an_image_that_reads_the_same),
		TEST(power_cut_finds_no_partial_block_without_its_bitmap),
	};

	setup_logging("test_vhdx_flatten", DEBUG_STDERR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
