/*
 * vfs_rsvd: trimmed blocks, and who gets their places
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "system/filesys.h"
#include <setjmp.h>
#include <cmocka.h>
#include "lib/dbwrap/dbwrap.h"
#include "lib/dbwrap/dbwrap_rbt.h"
#include "lib/util/tevent_ntstatus.h"
#include "modules/vhdx/vhdx_private.h"
#include "tests/unit/vhdx_memory.h"

#define MIB ((uint64_t)1 << 20)
#define DISK_SIZE (600 * MIB)

/* Where vhdx_create() puts the BAT, and the first block goes */
#define BAT (3 * MIB)
#define FIRST 4		/* MiB */

/* MS-VHDX 2.5: State in the first three bits, FileOffsetMB from bit 20 on */
#define ENTRY_ZERO UINT64_C(2)
#define ENTRY_AT(mib) (((uint64_t)(mib) << 20) | 6)

#define assert_ok(status) \
	assert_int_equal(NT_STATUS_V(status), NT_STATUS_V(NT_STATUS_OK))

struct disk {
	struct vhdx_memory *m;
	struct vhdx_storage *storage;
	struct db_context *db;
	uint64_t last_pid;
	uint64_t dead;		/* the process that is */
	uint64_t asked;		/* the last process that was asked */
	unsigned num_asked;
};

static bool is_alive(const struct server_id *id, void *private_data)
{
	struct disk *d = private_data;

	return id->pid != d->dead;
}

static void ask(const struct server_id *id, void *private_data)
{
	struct disk *d = private_data;

	d->asked = id->pid;
	d->num_asked += 1;
}

static struct disk *disk_new(void **state, uint64_t size, bool fixed)
{
	struct disk *d = talloc_zero(*state, struct disk);
	struct vhdx_create_params params = {
		.virtual_size = size, .block_size = MIB, .fixed = fixed,
	};

	d->m = vhdx_memory_new(d);
	d->storage = vhdx_memory_storage(d->m);
	d->db = db_open_rbt(d);
	assert_ok(vhdx_create(d->storage, &params));
	return d;
}

/* One of several processes, numbered from 1 on */
static struct vhdx *user_open(struct disk *d, uint32_t flags)
{
	TDB_DATA key = { .dptr = discard_const_p(uint8_t, "k"), .dsize = 1 };
	struct server_id self = { .pid = d->last_pid + 1 };
	struct vhdx *image = NULL;
	struct vhdx_shared *shared = NULL;

	d->last_pid += 1;
	shared = vhdx_shared_init(d, d->db, key, self, is_alive, d);
	vhdx_shared_set_ask(shared, ask, d);
	assert_ok(vhdx_open(d, d->storage, shared, flags, &image, NULL));
	return image;
}

static void put(struct vhdx *image, uint64_t block, uint8_t value)
{
	uint8_t buf[512];

	memset(buf, value, sizeof(buf));
	assert_ok(vhdx_write(image, buf, sizeof(buf), block * MIB));
}

static uint8_t get(struct vhdx *image, uint64_t block)
{
	uint8_t buf[512];

	assert_ok(vhdx_read(image, buf, sizeof(buf), block * MIB));
	return buf[0];
}

static void trim(struct vhdx *image, uint64_t block, uint64_t num)
{
	assert_ok(vhdx_zero(image, block * MIB, num * MIB));
}

static uint64_t entry(struct disk *d, uint64_t block)
{
	uint8_t buf[8];

	vhdx_memory_read(d->m, buf, sizeof(buf), BAT + 8 * block);
	return PULL_LE_U64(buf, 0);
}

static void assert_no_errors(struct disk *d)
{
	struct vhdx_check_report *report = NULL;
	size_t i;

	assert_ok(vhdx_check(d, d->storage, NULL, NULL, &report));
	for (i = 0; i < report->num_findings; i++) {
		if (report->findings[i].is_error) {
			fail_msg("%s: %s", report->findings[i].field,
				 report->findings[i].rule);
		}
	}
}

static void a_trimmed_block_is_zero_and_names_no_place(void **state)
{
	struct disk *d = disk_new(state, DISK_SIZE, false);
	struct vhdx *a = user_open(d, 0);
	struct vhdx *b = user_open(d, 0);

	put(a, 0, 1);
	put(a, 1, 2);
	put(a, 2, 3);
	assert_int_equal(get(b, 1), 2);
	trim(a, 1, 1);
	assert_int_equal(entry(d, 0), ENTRY_AT(FIRST));
	assert_int_equal(entry(d, 1), ENTRY_ZERO);
	assert_int_equal(entry(d, 2), ENTRY_AT(FIRST + 2));
	/* At once, for everybody */
	assert_int_equal(get(b, 1), 0);
	assert_int_equal(get(a, 1), 0);
	assert_int_equal(get(b, 2), 3);
	assert_ok(vhdx_close(&a));
	assert_ok(vhdx_close(&b));
	assert_no_errors(d);
}

static void a_part_of_a_block_keeps_its_place(void **state)
{
	struct disk *d = disk_new(state, DISK_SIZE, false);
	struct vhdx *a = user_open(d, 0);

	put(a, 0, 1);
	put(a, 1, 2);
	/* All of the first, half of the second */
	assert_ok(vhdx_zero(a, 0, MIB + MIB / 2));
	assert_int_equal(entry(d, 0), ENTRY_ZERO);
	assert_int_equal(entry(d, 1), ENTRY_AT(FIRST + 1));
	assert_int_equal(get(a, 1), 0);
	assert_ok(vhdx_close(&a));
}

static void the_last_block_can_be_shorter_than_others(void **state)
{
	struct disk *d = disk_new(state, 3 * MIB + 4096, false);
	struct vhdx *a = user_open(d, 0);

	put(a, 3, 1);
	assert_ok(vhdx_zero(a, 3 * MIB, 4096));
	assert_int_equal(entry(d, 3), ENTRY_ZERO);
	assert_ok(vhdx_close(&a));
}

static void space_of_a_trimmed_block_is_used_before_the_file_grows(
	void **state)
{
	struct disk *d = disk_new(state, DISK_SIZE, false);
	struct vhdx *a = user_open(d, 0);
	uint64_t size;
	uint64_t i;

	for (i = 0; i < 8; i++) {
		put(a, i, 1 + i);
	}
	assert_ok(vhdx_close(&a));
	size = vhdx_memory_size(d->m);

	a = user_open(d, 0);
	trim(a, 2, 3);
	assert_ok(vhdx_flush(a));
	for (i = 0; i < 3; i++) {
		put(a, 100 + i, 101 + i);
		assert_int_equal(entry(d, 100 + i), ENTRY_AT(FIRST + 2 + i));
	}
	assert_int_equal(get(a, 3), 0);
	assert_int_equal(get(a, 101), 102);
	assert_ok(vhdx_close(&a));
	assert_int_equal(vhdx_memory_size(d->m), size);
	assert_no_errors(d);
}

static void a_place_waits_for_a_flush(void **state)
{
	struct disk *d = disk_new(state, DISK_SIZE, false);
	struct vhdx *a = user_open(d, 0);

	put(a, 0, 1);
	put(a, 1, 2);
	trim(a, 0, 1);
	put(a, 2, 3);
	assert_int_equal(entry(d, 2), ENTRY_AT(FIRST + 2));
	/* One that covers the BAT, but not the place, is not enough. */
	assert_ok(vhdx_sync(a, VHDX_SYNC_METADATA));
	put(a, 20, 5);
	assert_int_equal(entry(d, 20), ENTRY_AT(FIRST + 3));
	assert_ok(vhdx_flush(a));
	put(a, 3, 4);
	assert_int_equal(entry(d, 3), ENTRY_AT(FIRST));
	assert_ok(vhdx_close(&a));
}

/* With space reserved it would be the next there; it has to wait for that. */
static void a_file_that_would_have_to_grow_waits_for_the_flush(void **state)
{
	struct disk *d = disk_new(state, 2 * MIB, false);
	struct vhdx *a = user_open(d, 0);
	uint64_t size;

	/* What is reserved is never more than the disk. */
	put(a, 0, 1);
	put(a, 1, 2);
	size = vhdx_memory_size(d->m);
	trim(a, 0, 1);
	put(a, 0, 3);
	assert_int_equal(entry(d, 0), ENTRY_AT(FIRST));
	assert_int_equal(get(a, 0), 3);
	assert_int_equal(vhdx_memory_size(d->m), size);
	assert_ok(vhdx_close(&a));
}

/* A and B, and a place that B has I/O under way to when A trims it */
static void place_under_io(struct disk *d, struct vhdx *a, struct vhdx *b,
			   struct vhdx_epoch **epoch)
{
	struct vhdx_extent extent;

	put(a, 0, 1);
	put(a, 1, 2);
	*epoch = vhdx_io_begin(b);
	assert_ok(vhdx_map(b, 0, 4096, &extent));
	assert_int_equal(extent.file_offset, FIRST * MIB);
	trim(a, 0, 1);
	assert_ok(vhdx_flush(a));
	put(a, 20, 3);
	assert_ok(vhdx_flush(a));
	put(a, 30, 4);
	assert_int_equal(entry(d, 20), ENTRY_AT(FIRST + 2));
	assert_int_equal(entry(d, 30), ENTRY_AT(FIRST + 3));
}

static void assert_place_is_free(struct disk *d, struct vhdx *a)
{
	trim(a, 1, 1);
	assert_ok(vhdx_flush(a));
	/* The lowest one comes first. */
	put(a, 200, 10);
	assert_int_equal(entry(d, 200), ENTRY_AT(FIRST));
}

static void a_place_is_nobodys_while_others_have_io_to_it(void **state)
{
	struct disk *d = disk_new(state, DISK_SIZE, false);
	struct vhdx *a = user_open(d, 0);
	struct vhdx *b = user_open(d, 0);
	struct vhdx_epoch *epoch = NULL;

	place_under_io(d, a, b, &epoch);
	/* B has seen that there is something new, and goes on. */
	assert_int_equal(get(b, 1), 2);
	put(b, 40, 5);
	assert_ok(vhdx_flush(a));
	put(a, 50, 6);
	assert_int_equal(entry(d, 50), ENTRY_AT(FIRST + 5));
	vhdx_io_end(epoch);
	put(b, 60, 7);
	assert_place_is_free(d, a);
	assert_ok(vhdx_close(&a));
	assert_ok(vhdx_close(&b));
	assert_no_errors(d);
}

static void who_always_has_io_under_way_holds_nothing_up(void **state)
{
	struct disk *d = disk_new(state, DISK_SIZE, false);
	struct vhdx *a = user_open(d, 0);
	struct vhdx *b = user_open(d, 0);
	struct vhdx_epoch *first = NULL;
	struct vhdx_epoch *second = NULL;

	place_under_io(d, a, b, &first);
	vhdx_catch_up(b);
	second = vhdx_io_begin(b);
	vhdx_io_end(first);
	assert_place_is_free(d, a);
	vhdx_io_end(second);
	assert_ok(vhdx_close(&a));
	assert_ok(vhdx_close(&b));
}

static void an_idle_process_is_asked_once(void **state)
{
	struct disk *d = disk_new(state, DISK_SIZE, false);
	struct vhdx *a = user_open(d, 0);
	struct vhdx *b = user_open(d, 0);

	put(a, 0, 1);
	put(a, 1, 2);
	assert_int_equal(d->num_asked, 0);
	trim(a, 0, 1);
	assert_int_equal(d->num_asked, 1);
	assert_int_equal(d->asked, 2);
	put(a, 2, 3);
	assert_ok(vhdx_flush(a));
	put(a, 3, 4);
	assert_int_equal(d->num_asked, 1);
	assert_int_equal(entry(d, 3), ENTRY_AT(FIRST + 3));

	vhdx_catch_up(b);
	assert_place_is_free(d, a);
	assert_ok(vhdx_close(&a));
	assert_ok(vhdx_close(&b));
}

static void who_was_asked_answers_when_its_io_has_ended(void **state)
{
	struct disk *d = disk_new(state, DISK_SIZE, false);
	struct vhdx *a = user_open(d, 0);
	struct vhdx *b = user_open(d, 0);
	struct vhdx_epoch *epoch = NULL;

	place_under_io(d, a, b, &epoch);
	vhdx_catch_up(b);
	assert_ok(vhdx_flush(a));
	put(a, 40, 5);
	assert_int_equal(entry(d, 40), ENTRY_AT(FIRST + 4));
	vhdx_io_end(epoch);
	assert_place_is_free(d, a);
	assert_ok(vhdx_close(&a));
	assert_ok(vhdx_close(&b));
}

static void who_only_reads_is_waited_for_too(void **state)
{
	struct disk *d = disk_new(state, DISK_SIZE, false);
	struct vhdx *a = user_open(d, 0);
	struct vhdx *b = user_open(d, VHDX_OPEN_READ_ONLY);
	struct vhdx_epoch *epoch = NULL;

	place_under_io(d, a, b, &epoch);
	assert_int_equal(get(b, 0), 0);
	vhdx_catch_up(b);
	assert_ok(vhdx_flush(a));
	put(a, 40, 5);
	assert_int_equal(entry(d, 40), ENTRY_AT(FIRST + 4));
	vhdx_io_end(epoch);
	assert_place_is_free(d, a);
	assert_ok(vhdx_close(&a));
	assert_ok(vhdx_close(&b));
}

static void the_dead_are_not_waited_for(void **state)
{
	struct disk *d = disk_new(state, DISK_SIZE, false);
	struct vhdx *a = user_open(d, 0);
	struct vhdx *b = user_open(d, 0);
	struct vhdx_epoch *epoch = NULL;

	place_under_io(d, a, b, &epoch);
	d->dead = 2;
	assert_place_is_free(d, a);
	assert_ok(vhdx_close(&a));

	/* What a process had goes with it. */
	TALLOC_FREE(b);
	vhdx_io_end(epoch);
}

/* smbd gives up the I/O of a client that is gone, and then exits. */
static void io_that_goes_on_after_a_close_is_waited_for(void **state)
{
	struct disk *d = disk_new(state, DISK_SIZE, false);
	struct vhdx *a = user_open(d, 0);
	struct vhdx *b = user_open(d, 0);
	struct vhdx_epoch *epoch = NULL;

	place_under_io(d, a, b, &epoch);
	assert_ok(vhdx_close(&b));
	assert_ok(vhdx_flush(a));
	put(a, 40, 5);
	assert_int_equal(entry(d, 40), ENTRY_AT(FIRST + 4));
	/* Also in the next session */
	assert_ok(vhdx_close(&a));
	a = user_open(d, 0);
	put(a, 50, 6);
	assert_int_equal(entry(d, 50), ENTRY_AT(FIRST + 5));
	vhdx_io_end(epoch);
	d->dead = 2;
	assert_ok(vhdx_flush(a));
	put(a, 60, 7);
	assert_ok(vhdx_flush(a));
	put(a, 70, 8);
	assert_int_equal(entry(d, 70), ENTRY_AT(FIRST));
	assert_ok(vhdx_close(&a));
}

static void the_next_session_finds_the_space(void **state)
{
	struct disk *d = disk_new(state, DISK_SIZE, false);
	struct vhdx *a = user_open(d, 0);
	uint8_t junk[512];
	uint8_t buf[512];
	uint64_t size;
	uint64_t i;

	for (i = 0; i < 4; i++) {
		put(a, i, 1 + i);
	}
	trim(a, 1, 1);
	assert_ok(vhdx_close(&a));
	size = vhdx_memory_size(d->m);
	/* Whatever is there by then */
	memset(junk, 0xEE, sizeof(junk));
	vhdx_memory_write(d->m, junk, sizeof(junk), (FIRST + 1) * MIB + 4096);

	a = user_open(d, 0);
	put(a, 9, 9);
	assert_int_equal(entry(d, 9), ENTRY_AT(FIRST + 1));
	assert_ok(vhdx_read(a, buf, sizeof(buf), 9 * MIB + 4096));
	assert_int_equal(buf[0], 0);
	assert_ok(vhdx_close(&a));
	assert_int_equal(vhdx_memory_size(d->m), size);
	assert_no_errors(d);
}

/* MS-VHDX 2.2.2, FileWriteGuid */
static void who_writes_nothing_changes_nothing_that_is_free(void **state)
{
	struct disk *d = disk_new(state, DISK_SIZE, false);
	struct vhdx *a = user_open(d, 0);
	uint64_t changes;

	put(a, 0, 1);
	put(a, 1, 2);
	trim(a, 0, 1);
	assert_ok(vhdx_close(&a));
	changes = vhdx_memory_num_changes(d->m);
	a = user_open(d, 0);
	assert_int_equal(get(a, 1), 2);
	assert_ok(vhdx_flush(a));
	assert_ok(vhdx_close(&a));
	assert_int_equal(vhdx_memory_num_changes(d->m), changes);
}

static void the_session_after_a_crash_finds_the_space(void **state)
{
	struct disk *d = disk_new(state, DISK_SIZE, false);
	struct vhdx *a = user_open(d, 0);

	put(a, 0, 1);
	put(a, 1, 2);
	put(a, 2, 3);
	trim(a, 1, 1);
	d->dead = 1;
	TALLOC_FREE(a);

	a = user_open(d, 0);
	assert_int_equal(get(a, 1), 0);
	put(a, 9, 9);
	assert_int_equal(entry(d, 9), ENTRY_AT(FIRST + 1));
	assert_ok(vhdx_close(&a));
	assert_no_errors(d);
}

/*
 * MS-VHDX 2.5.1.1: a block that others have unmapped can still name the place
 * that has what it was.
 */
static void what_an_unmapped_block_still_names_is_not_free(void **state)
{
	struct disk *d = disk_new(state, DISK_SIZE, false);
	struct vhdx *a = user_open(d, 0);
	uint8_t unmapped[8];

	put(a, 0, 1);
	put(a, 1, 2);
	assert_ok(vhdx_close(&a));
	PUSH_LE_U64(unmapped, 0, ((uint64_t)FIRST << 20) | 3);
	vhdx_memory_write(d->m, unmapped, sizeof(unmapped), BAT);

	a = user_open(d, 0);
	put(a, 9, 9);
	assert_int_equal(entry(d, 9), ENTRY_AT(FIRST + 2));
	assert_ok(vhdx_close(&a));
}

static void trimmed_blocks_at_the_end_make_the_file_smaller(void **state)
{
	struct disk *d = disk_new(state, DISK_SIZE, false);
	struct vhdx *a = user_open(d, 0);
	uint64_t i;

	for (i = 0; i < 6; i++) {
		put(a, i, 1 + i);
	}
	/* And those that were given a place ahead */
	trim(a, 2, 100);
	assert_ok(vhdx_close(&a));
	assert_int_equal(vhdx_memory_size(d->m), (FIRST + 2) * MIB);
	assert_no_errors(d);
}

static void a_fixed_disk_keeps_its_places(void **state)
{
	struct disk *d = disk_new(state, 4 * MIB, true);
	struct vhdx *a = user_open(d, 0);

	put(a, 1, 1);
	trim(a, 0, 4);
	assert_int_equal(entry(d, 1), ENTRY_AT(FIRST + 1));
	assert_int_equal(get(a, 1), 0);
	assert_ok(vhdx_close(&a));
}

static int no_punch_hole(void *private_data, off_t offset, off_t length)
{
	errno = EOPNOTSUPP;
	return -1;
}

static void where_there_are_no_holes_blocks_keep_their_places(void **state)
{
	struct disk *d = disk_new(state, DISK_SIZE, false);
	struct vhdx_storage_ops ops = *d->storage->ops;
	struct vhdx *a = NULL;

	ops.punch_hole = no_punch_hole;
	d->storage->ops = &ops;
	a = user_open(d, 0);
	put(a, 0, 1);
	put(a, 1, 2);
	trim(a, 0, 1);
	assert_int_equal(get(a, 0), 0);
	assert_int_equal(entry(d, 0), ENTRY_AT(FIRST));
	assert_ok(vhdx_close(&a));
}

static void what_the_list_has_no_room_for_keeps_its_place(void **state)
{
	struct disk *d = disk_new(state, DISK_SIZE, false);
	struct vhdx *a = user_open(d, 0);
	uint64_t num = 2 * VHDX_MAX_RELEASED + 20;
	uint64_t i;

	for (i = 0; i < num; i++) {
		put(a, i, 1);
	}
	for (i = 0; i < num; i += 2) {
		trim(a, i, 1);
	}
	assert_int_equal(entry(d, 0), ENTRY_ZERO);
	assert_int_equal(entry(d, num - 2), ENTRY_AT(FIRST + num - 2));
	assert_int_equal(get(a, num - 2), 0);
	assert_int_equal(get(a, num - 1), 1);
	assert_ok(vhdx_close(&a));
	assert_no_errors(d);
}

static void many_blocks_share_a_log_entry(void **state)
{
	struct disk *d = disk_new(state, DISK_SIZE, false);
	struct vhdx *a = user_open(d, 0);
	uint64_t changes;
	uint64_t i;

	for (i = 0; i < 400; i++) {
		put(a, i, 1);
	}
	changes = vhdx_memory_num_changes(d->m);
	trim(a, 0, 400);
	/* A hole, the entry, the sector of the BAT, and the hole again */
	assert_true(vhdx_memory_num_changes(d->m) - changes <= 5);
	for (i = 0; i < 400; i++) {
		assert_int_equal(entry(d, i), ENTRY_ZERO);
	}
	assert_ok(vhdx_close(&a));
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_trimmed_block_is_zero_and_names_no_place),
		cmocka_unit_test(a_part_of_a_block_keeps_its_place),
		cmocka_unit_test(the_last_block_can_be_shorter_than_others),
		cmocka_unit_test(
			space_of_a_trimmed_block_is_used_before_the_file_grows),
		cmocka_unit_test(a_place_waits_for_a_flush),
		cmocka_unit_test(
			a_file_that_would_have_to_grow_waits_for_the_flush),
		cmocka_unit_test(
			a_place_is_nobodys_while_others_have_io_to_it),
		cmocka_unit_test(who_always_has_io_under_way_holds_nothing_up),
		cmocka_unit_test(an_idle_process_is_asked_once),
		cmocka_unit_test(who_was_asked_answers_when_its_io_has_ended),
		cmocka_unit_test(who_only_reads_is_waited_for_too),
		cmocka_unit_test(the_dead_are_not_waited_for),
		cmocka_unit_test(io_that_goes_on_after_a_close_is_waited_for),
		cmocka_unit_test(the_next_session_finds_the_space),
		cmocka_unit_test(
			who_writes_nothing_changes_nothing_that_is_free),
		cmocka_unit_test(the_session_after_a_crash_finds_the_space),
		cmocka_unit_test(
			what_an_unmapped_block_still_names_is_not_free),
		cmocka_unit_test(
			trimmed_blocks_at_the_end_make_the_file_smaller),
		cmocka_unit_test(a_fixed_disk_keeps_its_places),
		cmocka_unit_test(
			where_there_are_no_holes_blocks_keep_their_places),
		cmocka_unit_test(what_the_list_has_no_room_for_keeps_its_place),
		cmocka_unit_test(many_blocks_share_a_log_entry),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
