/*
 * vfs_rsvd: a disk of another size, while others use it
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include <setjmp.h>
#include <cmocka.h>
#include "lib/dbwrap/dbwrap.h"
#include "lib/dbwrap/dbwrap_rbt.h"
#include "lib/util/debug.h"
#include "lib/util/samba_util.h"
#include "modules/vhdx/vhdx_private.h"
#include "tests/unit/vhdx_memory.h"

#define KIB ((uint64_t)1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

/* Where vhdx_create() puts things. */
#define REGION1 (192 * KIB)
#define REGION2 (256 * KIB)
#define REGION_BAT (16 + 0 * 32)
#define SIZE_ITEM (2 * MIB + 64 * KIB + 8)
#define BAT (3 * MIB)

#define assert_ok(status) assert_int_equal(NT_STATUS_V(status), 0)
#define assert_status(status, expected) \
	assert_int_equal(NT_STATUS_V(status), NT_STATUS_V(expected))

static bool always_alive(const struct server_id *id, void *private_data)
{
	return true;
}

struct disk {
	struct vhdx_memory *m;
	struct db_context *db;
	uint64_t num_users;
};

static struct disk *disk_new(void **state, uint64_t size, bool fixed)
{
	struct disk *d = talloc_zero(*state, struct disk);
	struct vhdx_create_params params = {
		.virtual_size = size, .block_size = MIB, .fixed = fixed,
	};

	d->m = vhdx_memory_new(d);
	d->db = db_open_rbt(d);
	assert_ok(vhdx_create(vhdx_memory_storage(d->m), &params));
	return d;
}

/* One of several who use it at the same time */
static struct vhdx *user_open(struct disk *d, uint32_t flags)
{
	TDB_DATA key = { .dptr = discard_const_p(uint8_t, "k"), .dsize = 1 };
	struct server_id self = { .pid = 1 + d->num_users };
	struct vhdx *image = NULL;
	struct vhdx_shared *shared = NULL;

	d->num_users += 1;
	shared = vhdx_shared_init(d, d->db, key, self, always_alive, NULL);
	assert_ok(vhdx_open(d, vhdx_memory_storage(d->m), shared, flags,
			    &image, NULL));
	return image;
}

static void put(struct vhdx *image, uint64_t offset, uint8_t value)
{
	uint8_t buf[512];

	memset(buf, value, sizeof(buf));
	assert_ok(vhdx_write(image, buf, sizeof(buf), offset));
}

static uint8_t get(struct vhdx *image, uint64_t offset)
{
	uint8_t buf[512];

	assert_ok(vhdx_read(image, buf, sizeof(buf), offset));
	return buf[0];
}

static NTSTATUS resize(struct vhdx *image, uint64_t new_size, uint32_t flags)
{
	return vhdx_resize(image, new_size, flags, NULL, NULL);
}

static uint64_t size_of(struct vhdx *image)
{
	return vhdx_geometry(image)->virtual_size;
}

static uint64_t peek(struct disk *d, uint64_t offset)
{
	uint8_t buf[8];

	vhdx_memory_read(d->m, buf, sizeof(buf), offset);
	return PULL_LE_U64(buf, 0);
}

static void assert_no_errors(struct disk *d)
{
	struct vhdx_check_report *report = NULL;
	size_t i;

	assert_ok(vhdx_check(d, vhdx_memory_storage(d->m), NULL, NULL,
			     &report));
	for (i = 0; i < report->num_findings; i++) {
		if (report->findings[i].is_error) {
			fail_msg("%s: %s: %s", report->findings[i].structure,
				 report->findings[i].field,
				 report->findings[i].rule);
		}
	}
}

static void larger_disk_is_seen_by_everybody_at_once(void **state)
{
	struct disk *d = disk_new(state, 64 * MIB, false);
	struct vhdx *a = user_open(d, 0);
	struct vhdx *b = user_open(d, 0);
	struct vhdx *reader = user_open(d, VHDX_OPEN_READ_ONLY);

	put(a, 63 * MIB, 1);
	assert_int_equal(get(b, 63 * MIB), 1);
	assert_ok(resize(a, 100 * MIB, 0));
	assert_int_equal(size_of(a), 100 * MIB);
	assert_int_equal(get(b, 99 * MIB), 0);
	assert_int_equal(size_of(b), 100 * MIB);
	put(b, 99 * MIB, 2);
	assert_int_equal(get(reader, 99 * MIB), 2);
	assert_int_equal(size_of(reader), 100 * MIB);
	/* MS-VHDX 2.6.2.2 */
	assert_int_equal(peek(d, SIZE_ITEM), 100 * MIB);

	assert_ok(vhdx_close(&reader));
	assert_ok(vhdx_close(&a));
	assert_ok(vhdx_close(&b));
	assert_no_errors(d);
	a = user_open(d, 0);
	assert_int_equal(size_of(a), 100 * MIB);
	assert_int_equal(get(a, 63 * MIB), 1);
	assert_int_equal(get(a, 99 * MIB), 2);
}

static void table_without_room_moves_to_the_end(void **state)
{
	/* 1 MiB of BAT has room for 127 GiB in blocks of 1 MiB. */
	struct disk *d = disk_new(state, 100 * GIB, false);
	struct vhdx *a = user_open(d, 0);
	struct vhdx *b = user_open(d, 0);
	uint64_t place;

	put(a, 0, 1);
	put(b, 99 * GIB, 2);
	assert_ok(resize(a, 1000 * GIB, 0));
	put(a, 999 * GIB, 3);
	/* b has to look into the new one. */
	assert_int_equal(get(b, 999 * GIB), 3);
	put(b, 500 * GIB, 4);
	assert_int_equal(get(a, 500 * GIB), 4);
	assert_int_equal(get(a, 0), 1);
	assert_int_equal(get(b, 99 * GIB), 2);

	place = peek(d, REGION1 + REGION_BAT + 16);
	assert_true(place != BAT);
	assert_int_equal(peek(d, REGION2 + REGION_BAT + 16), place);
	/* 1024000 blocks and 249 bitmaps: 8 MiB; required */
	assert_int_equal(peek(d, REGION1 + REGION_BAT + 24),
			 8 * MIB | (uint64_t)1 << 32);

	assert_ok(vhdx_close(&a));
	assert_ok(vhdx_close(&b));
	assert_no_errors(d);
	a = user_open(d, 0);
	assert_int_equal(get(a, 999 * GIB), 3);
	assert_int_equal(get(a, 500 * GIB), 4);
	assert_int_equal(get(a, 99 * GIB), 2);
}

static void disk_shrinks_down_to_the_last_block_with_data(void **state)
{
	struct disk *d = disk_new(state, 64 * MIB, false);
	struct vhdx *a = user_open(d, 0);
	struct vhdx *b = user_open(d, 0);
	uint64_t size = 0;

	put(a, 10 * MIB, 1);
	assert_ok(vhdx_safe_size(a, 0, NULL, NULL, &size));
	assert_int_equal(size, 11 * MIB);
	assert_status(resize(a, 11 * MIB - 512, VHDX_RESIZE_SHRINK),
		      NT_STATUS_VHD_RESIZE_WOULD_TRUNCATE_DATA);
	assert_status(resize(a, 11 * MIB, 0),
		      NT_STATUS_INVALID_PARAMETER);
	assert_int_equal(size_of(b), 64 * MIB);
	assert_ok(resize(a, 11 * MIB, VHDX_RESIZE_SHRINK));
	assert_int_equal(size_of(b), 11 * MIB);
	assert_int_equal(get(b, 10 * MIB), 1);
	assert_ok(vhdx_close(&a));
	assert_ok(vhdx_close(&b));
	assert_no_errors(d);
}

static void empty_disk_keeps_a_block(void **state)
{
	struct disk *d = disk_new(state, 64 * MIB, false);
	struct vhdx *a = user_open(d, 0);
	uint64_t size = 0;

	assert_ok(vhdx_safe_size(a, 0, NULL, NULL, &size));
	assert_int_equal(size, MIB);
}

static void io_behind_the_new_end_is_refused(void **state)
{
	struct disk *d = disk_new(state, 64 * MIB, false);
	struct vhdx *a = user_open(d, 0);
	struct vhdx *b = user_open(d, 0);
	struct vhdx_extent extent;
	uint8_t buf[512] = { 1 };

	put(b, 40 * MIB, 1);
	assert_ok(resize(a, 20 * MIB,
			 VHDX_RESIZE_SHRINK | VHDX_RESIZE_DISCARD));
	assert_status(vhdx_write(b, buf, sizeof(buf), 40 * MIB),
		      NT_STATUS_INVALID_PARAMETER);
	assert_status(vhdx_read(b, buf, sizeof(buf), 20 * MIB),
		      NT_STATUS_INVALID_PARAMETER);
	assert_status(vhdx_map_write(b, 40 * MIB, 512, &extent),
		      NT_STATUS_INVALID_PARAMETER);
	assert_status(vhdx_zero(b, 19 * MIB, 2 * MIB),
		      NT_STATUS_INVALID_PARAMETER);
}

static void write_that_waits_for_its_block_sees_the_new_end(void **state)
{
	struct disk *d = disk_new(state, 64 * MIB, false);
	struct tevent_context *ev = tevent_context_init(d);
	struct vhdx *a = user_open(d, 0);
	struct vhdx *b = user_open(d, 0);
	struct tevent_req *off = NULL;
	struct tevent_req *on = NULL;
	uint8_t buf[512] = { 1 };

	off = vhdx_write_send(d, ev, b, buf, sizeof(buf), 40 * MIB);
	on = vhdx_write_send(d, ev, b, buf, sizeof(buf), 4 * MIB);
	assert_ok(resize(a, 20 * MIB, VHDX_RESIZE_SHRINK));
	while (tevent_req_is_in_progress(off) ||
	       tevent_req_is_in_progress(on)) {
		tevent_loop_once(ev);
	}
	assert_status(vhdx_write_recv(off), NT_STATUS_INVALID_PARAMETER);
	assert_ok(vhdx_write_recv(on));
	assert_int_equal(get(a, 4 * MIB), 1);
	/* Nothing was left where a larger disk would find it. */
	assert_int_equal(peek(d, BAT + 40 * 8), 0);
}

static void what_was_dropped_does_not_come_back(void **state)
{
	struct disk *d = disk_new(state, 64 * MIB, false);
	struct vhdx *a = user_open(d, 0);

	put(a, 20 * MIB + 512, 1);
	put(a, 40 * MIB, 2);
	/* Within a block, too */
	assert_ok(resize(a, 20 * MIB + 512,
			 VHDX_RESIZE_SHRINK | VHDX_RESIZE_DISCARD));
	assert_int_equal(peek(d, BAT + 40 * 8), 0);
	assert_ok(resize(a, 64 * MIB, 0));
	assert_int_equal(get(a, 20 * MIB + 512), 0);
	assert_int_equal(get(a, 40 * MIB), 0);
}

static void all_of_a_large_table_is_cleared_behind_the_end(void **state)
{
	struct disk *d = disk_new(state, 100 * GIB, true);
	struct vhdx *a = user_open(d, 0);
	uint64_t i;

	/* 200 sectors of it, and a log entry of this log has up to 16 */
	assert_int_not_equal(peek(d, BAT + 102399 * 8), 0);
	assert_ok(resize(a, 600 * MIB,
			 VHDX_RESIZE_SHRINK | VHDX_RESIZE_DISCARD));
	assert_int_not_equal(peek(d, BAT + 599 * 8), 0);
	for (i = 600; i < 102400; i++) {
		assert_int_equal(peek(d, BAT + i * 8), 0);
	}
	assert_int_equal(get(a, 600 * MIB - 512), 0);
}

static void what_others_left_behind_the_end_is_not_seen(void **state)
{
	struct disk *d = disk_new(state, 64 * MIB, false);
	struct vhdx *a = NULL;
	uint8_t entry[8];

	/* A block of the log's space, as another program may leave it */
	PUSH_LE_U64(entry, 0, MIB | 6);
	vhdx_memory_write(d->m, entry, sizeof(entry), BAT + 80 * 8);
	a = user_open(d, 0);
	assert_ok(resize(a, 100 * MIB, 0));
	assert_int_equal(get(a, 80 * MIB), 0);
	assert_ok(vhdx_close(&a));
	assert_no_errors(d);
}

static void blocks_of_zeros_are_no_data_for_who_is_alone(void **state)
{
	struct disk *d = disk_new(state, 64 * MIB, true);
	struct vhdx *a = user_open(d, 0);
	uint64_t size = 0;

	put(a, 30 * MIB - 512, 1);
	assert_ok(vhdx_safe_size(a, 0, NULL, NULL, &size));
	assert_int_equal(size, 64 * MIB);
	assert_ok(vhdx_safe_size(a, VHDX_RESIZE_ALONE, NULL, NULL, &size));
	assert_int_equal(size, 30 * MIB);
	assert_ok(resize(a, 30 * MIB,
			 VHDX_RESIZE_SHRINK | VHDX_RESIZE_ALONE));
	assert_int_equal(get(a, 30 * MIB - 512), 1);
}

static void fixed_disk_is_allocated_as_it_grows(void **state)
{
	struct disk *d = disk_new(state, 16 * MIB, true);
	struct vhdx *a = user_open(d, 0);
	struct vhdx_check_report *report = NULL;

	assert_ok(resize(a, 40 * MIB, 0));
	assert_ok(vhdx_close(&a));
	assert_ok(vhdx_check(d, vhdx_memory_storage(d->m), NULL, NULL,
			     &report));
	assert_int_equal(report->num_allocated_blocks, 40);
	assert_int_equal(report->num_findings, 0);
}

static void file_that_ends_with_the_disk_gets_a_whole_block(void **state)
{
	struct disk *d = disk_new(state, 10 * MIB + 4096, false);
	struct vhdx *a = user_open(d, 0);
	uint64_t place;

	put(a, 10 * MIB, 1);
	assert_ok(vhdx_close(&a));
	place = peek(d, BAT + 10 * 8) & ~(MIB - 1);
	vhdx_memory_resize(d->m, place + 4096);

	/* Another block may not begin in the missing part of that one. */
	a = user_open(d, 0);
	put(a, 3 * MIB, 2);
	assert_ok(resize(a, 20 * MIB, 0));
	assert_int_equal(get(a, 11 * MIB - 512), 0);
	put(a, 11 * MIB - 512, 3);
	assert_int_equal(get(a, 10 * MIB), 1);
	assert_int_equal(get(a, 3 * MIB), 2);
	assert_ok(vhdx_close(&a));
	assert_no_errors(d);
}

static void no_block_begins_in_what_the_file_lacks_of_the_last(void **state)
{
	struct disk *d = talloc_zero(*state, struct disk);
	struct vhdx_create_params params = {
		.virtual_size = 40 * MIB, .block_size = 32 * MIB,
	};
	struct vhdx *a = NULL;
	uint64_t place;

	d->m = vhdx_memory_new(d);
	d->db = db_open_rbt(d);
	assert_ok(vhdx_create(vhdx_memory_storage(d->m), &params));
	a = user_open(d, 0);
	put(a, 32 * MIB, 1);
	assert_ok(vhdx_close(&a));
	place = peek(d, BAT + 1 * 8) & ~(MIB - 1);
	vhdx_memory_resize(d->m, place + 8 * MIB);

	a = user_open(d, 0);
	put(a, 0, 2);
	assert_ok(vhdx_close(&a));
	assert_true(peek(d, BAT) >= place + 32 * MIB);
	assert_no_errors(d);
}

static void sizes_that_no_disk_has_are_refused(void **state)
{
	struct disk *d = disk_new(state, 64 * MIB, false);
	struct vhdx *a = user_open(d, 0);
	struct vhdx *reader = user_open(d, VHDX_OPEN_READ_ONLY);
	uint64_t tib64 = (uint64_t)64 << 40;
	uint32_t flags = VHDX_RESIZE_SHRINK | VHDX_RESIZE_DISCARD;

	assert_status(resize(a, 0, flags), NT_STATUS_INVALID_PARAMETER);
	assert_status(resize(a, 100, flags),
		      NT_STATUS_INVALID_PARAMETER);
	assert_status(resize(a, tib64 + 512, flags),
		      NT_STATUS_INVALID_PARAMETER);
	assert_status(resize(reader, 100 * MIB, 0),
		      NT_STATUS_MEDIA_WRITE_PROTECTED);
	assert_int_equal(size_of(a), 64 * MIB);
	assert_ok(resize(a, tib64, flags));
	put(a, tib64 - 512, 1);
	assert_int_equal(get(a, tib64 - 512), 1);
	assert_ok(vhdx_close(&a));
	assert_no_errors(d);
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
		TEST(larger_disk_is_seen_by_everybody_at_once),
		TEST(table_without_room_moves_to_the_end),
		TEST(disk_shrinks_down_to_the_last_block_with_data),
		TEST(empty_disk_keeps_a_block),
		TEST(io_behind_the_new_end_is_refused),
		TEST(write_that_waits_for_its_block_sees_the_new_end),
		TEST(what_was_dropped_does_not_come_back),
		TEST(all_of_a_large_table_is_cleared_behind_the_end),
		TEST(what_others_left_behind_the_end_is_not_seen),
		TEST(blocks_of_zeros_are_no_data_for_who_is_alone),
		TEST(fixed_disk_is_allocated_as_it_grows),
		TEST(file_that_ends_with_the_disk_gets_a_whole_block),
		TEST(no_block_begins_in_what_the_file_lacks_of_the_last),
		TEST(sizes_that_no_disk_has_are_refused),
	};

	setup_logging("test_vhdx_resize", DEBUG_STDERR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
