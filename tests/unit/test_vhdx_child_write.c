/*
 * vfs_rsvd: what a write to a differencing image leaves in the file, and in
 * which order
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include <setjmp.h>
#include <cmocka.h>
#include "lib/dbwrap/dbwrap.h"
#include "lib/dbwrap/dbwrap_rbt.h"
#include "lib/util/tevent_ntstatus.h"
#include "librpc/ndr/libndr.h"
#include "modules/vhdx/vhdx_private.h"
#include "tests/unit/vhdx_folder.h"

/* Where vhdx_create() puts things */
#define BAT (3 * MIB)
/* 2.5: 4096 blocks of 1 MiB to a bitmap of 512 byte sectors, and then its own */
#define BITMAP_ENTRY (BAT + 4096 * 8)
/* 2.4: of block 1, bits 2048 to 4095 */
#define BLOCK_1_BITS 256

/* 2.5.1.1 and 2.5.1.2 */
#define NOT_PRESENT 0
#define PRESENT 6
#define PARTIALLY_PRESENT 7

static uint64_t bat_entry(struct vhdx_memory *m, uint64_t offset)
{
	uint8_t buf[8];

	vhdx_memory_read(m, buf, sizeof(buf), offset);
	return PULL_LE_U64(buf, 0);
}

static uint64_t entry_place(uint64_t entry)
{
	return entry & ~(MIB - 1);
}

static void assert_file_bytes(struct vhdx_memory *m, uint64_t offset,
			      size_t length, uint8_t byte)
{
	size_t i;

	for (i = 0; i < length; i++) {
		uint8_t found;

		vhdx_memory_read(m, &found, 1, offset + i);
		assert_int_equal(found, byte);
	}
}

static void put_bytes(struct vhdx *image, uint64_t offset, size_t length,
		      uint8_t byte)
{
	uint8_t *buf = talloc_size(NULL, length);

	memset(buf, byte, length);
	assert_ok(vhdx_write(image, buf, length, offset));
	TALLOC_FREE(buf);
}

static void write_sets_the_bits_of_its_sectors_and_copies_nothing(
	void **state)
{
	struct folder *folder = folder_with_child(state);
	struct vhdx_memory *m = folder_file(folder, "child.vhdx");
	struct vhdx *image = open_image(folder, "child.vhdx", 0);
	uint64_t entry;
	uint64_t bitmap;

	put(image, MIB + UNIT, 'c');
	assert_bytes(image, MIB, UNIT, 'p');
	assert_bytes(image, MIB + UNIT, UNIT, 'c');
	assert_bytes(image, MIB + 2 * UNIT, MIB - 2 * UNIT, 0);
	assert_ok(vhdx_close(&image));

	entry = bat_entry(m, BAT + 8);
	bitmap = bat_entry(m, BITMAP_ENTRY);
	assert_int_equal(entry & 7, PARTIALLY_PRESENT);
	assert_int_equal(bitmap & 7, PRESENT);
	bitmap = entry_place(bitmap) + BLOCK_1_BITS;
	assert_file_bytes(m, bitmap, 1, 0);
	assert_file_bytes(m, bitmap + 1, 1, 0xFF);
	assert_file_bytes(m, bitmap + 2, 254, 0);
	assert_file_bytes(m, entry_place(entry), UNIT, 0);
	assert_file_bytes(m, entry_place(entry) + UNIT, UNIT, 'c');
	assert_check_finds_nothing(m);
}

static void write_of_a_whole_block_needs_no_bitmap(void **state)
{
	struct folder *folder = folder_with_child(state);
	struct vhdx_memory *m = folder_file(folder, "child.vhdx");
	struct vhdx *image = open_image(folder, "child.vhdx", 0);

	put_bytes(image, MIB, MIB, 'c');
	assert_bytes(image, MIB, MIB, 'c');
	assert_ok(vhdx_close(&image));
	assert_int_equal(bat_entry(m, BAT + 8) & 7, PRESENT);
	assert_int_equal(bat_entry(m, BITMAP_ENTRY), NOT_PRESENT);
	assert_check_finds_nothing(m);
}

/* A flush each time that there is much more: not one for each write */
static void block_that_has_all_sectors_is_a_whole_one(void **state)
{
	struct folder *folder = folder_with_child(state);
	struct vhdx_memory *m = folder_file(folder, "child.vhdx");
	struct vhdx *image = open_image(folder, "child.vhdx", 0);
	uint64_t flushes;
	unsigned i;

	put(image, 0, 'c');
	flushes = vhdx_memory_num_flushes(m);
	for (i = 0; i < MIB / UNIT; i++) {
		assert_bytes(image, MIB + i * UNIT, UNIT, i == 0 ? 'p' : 0);
		put(image, MIB + i * UNIT, 'c');
		assert_bytes(image, MIB, i * UNIT, 'c');
	}
	assert_in_range(vhdx_memory_num_flushes(m) - flushes, 1, 8);
	assert_ok(vhdx_close(&image));
	assert_int_equal(bat_entry(m, BAT + 8) & 7, PRESENT);
	assert_check_finds_nothing(m);
}

/* What is copied grows with what there is of the block. */
static void few_writes_copy_little_and_many_take_few_flushes(void **state)
{
	struct folder *folder = folder_with_child(state);
	struct vhdx_memory *m = folder_file(folder, "child.vhdx");
	struct vhdx *image = open_image(folder, "child.vhdx", 0);
	uint64_t flushes;
	uint64_t bitmap;
	unsigned num = 0;
	unsigned i;

	for (i = 0; i < 2; i++) {
		put(image, MIB + i * 64 * UNIT, 'c');
	}
	assert_ok(vhdx_close(&image));
	bitmap = entry_place(bat_entry(m, BITMAP_ENTRY)) + BLOCK_1_BITS;
	for (i = 0; i < 256; i++) {
		uint8_t byte;

		/* One of these is a unit of 8 sectors. */
		vhdx_memory_read(m, &byte, 1, bitmap + i);
		assert_true(byte == 0 || byte == 0xFF);
		num += byte == 0xFF ? 1 : 0;
	}
	assert_in_range(num, 2, 5);

	image = open_image(folder, "child.vhdx", 0);
	put(image, 0, 'c');
	flushes = vhdx_memory_num_flushes(m);
	for (i = 0; i < 128; i++) {
		put(image, MIB + i * 2 * UNIT, 'd');
	}
	assert_in_range(vhdx_memory_num_flushes(m) - flushes, 1, 8);
	for (i = 0; i < 128; i++) {
		assert_bytes(image, MIB + i * 2 * UNIT, UNIT, 'd');
		assert_bytes(image, MIB + (i * 2 + 1) * UNIT, UNIT, 0);
	}
	assert_ok(vhdx_close(&image));
}

static void partially_present_block_of_another_is_gone_on_with(void **state)
{
	struct folder *folder = folder_with_child(state);
	struct vhdx_memory *m = folder_file(folder, "child.vhdx");
	uint64_t entry;
	struct vhdx *image = NULL;

	make_partial(m);
	entry = bat_entry(m, BAT + 8);
	image = open_image(folder, "child.vhdx", 0);
	put(image, MIB + UNIT, 'n');	/* is there */
	put(image, MIB + 2 * UNIT, 'm');	/* is not, 'x' in its place */
	assert_bytes(image, MIB, UNIT, 'p');
	assert_bytes(image, MIB + UNIT, UNIT, 'n');
	assert_bytes(image, MIB + 2 * UNIT, UNIT, 'm');
	assert_bytes(image, MIB + 3 * UNIT, UNIT, 'c');
	assert_bytes(image, MIB + 4 * UNIT, MIB - 4 * UNIT, 0);
	assert_ok(vhdx_close(&image));
	assert_int_equal(bat_entry(m, BAT + 8), entry);
	assert_check_finds_nothing(m);
}

/* A power cut, or another program, has left them. */
static void bits_of_a_block_that_is_not_present_mean_nothing(void **state)
{
	struct folder *folder = folder_with_child(state);
	struct vhdx_memory *m = folder_file(folder, "child.vhdx");
	struct vhdx *image = NULL;

	make_partial(m);
	poke(m, BAT + 8, 0, 8);
	image = open_image(folder, "child.vhdx", 0);
	assert_bytes(image, MIB + UNIT, UNIT, 0);
	put(image, MIB + 2 * UNIT, 'n');
	assert_bytes(image, MIB, UNIT, 'p');
	assert_bytes(image, MIB + UNIT, UNIT, 0);
	assert_bytes(image, MIB + 2 * UNIT, UNIT, 'n');
	assert_bytes(image, MIB + 3 * UNIT, UNIT, 0);
	assert_ok(vhdx_close(&image));
}

/* Their bits are in 16 sectors, more than a log entry of ours has. */
static void bits_of_the_largest_block_are_cleared_too(void **state)
{
	struct folder *folder = folder_new(state);
	struct vhdx *parent = open_image(folder, "parent.vhdx",
					 VHDX_OPEN_READ_ONLY);
	struct vhdx_create_params params = {
		.virtual_size = 256 * MIB,
		.block_size = 256 * MIB,
		.parent = parent,
		.parent_path = "parent.vhdx",
	};
	struct vhdx_memory *m = folder_add(folder, "large.vhdx");
	struct vhdx *image = NULL;
	uint64_t bitmap;
	unsigned i;

	assert_ok(vhdx_create(vhdx_memory_storage(m), &params));
	assert_ok(vhdx_close(&parent));
	bitmap = vhdx_memory_size(m);
	/* 2^23 * 512 / 256 MiB = 16 blocks to a bitmap */
	vhdx_memory_resize(m, bitmap + MIB);
	for (i = 0; i < 64 * KIB; i += 8) {
		poke(m, bitmap + i, UINT64_MAX, 8);
	}
	poke(m, BAT + 16 * 8, bitmap | PRESENT, 8);
	image = open_image(folder, "large.vhdx", 0);
	put(image, UNIT, 'c');
	assert_bytes(image, 0, UNIT, 'p');
	assert_bytes(image, UNIT, UNIT, 'c');
	assert_bytes(image, 7 * MIB, UNIT, 'p');
	assert_ok(vhdx_close(&image));
	assert_int_equal(bat_entry(m, BAT) & 7, PARTIALLY_PRESENT);
	assert_file_bytes(m, bitmap, 1, 0);
	assert_file_bytes(m, bitmap + 1, 1, 0xFF);
	assert_file_bytes(m, bitmap + 2, 64 * KIB - 2, 0);
	assert_check_finds_nothing(m);
}

static void rest_of_a_sector_is_what_the_parent_has(void **state)
{
	struct folder *folder = folder_with_child(state);
	struct vhdx *image = open_image(folder, "child.vhdx", 0);

	put_bytes(image, MIB + 1000, 100, 'c');
	assert_bytes(image, MIB, 1000, 'p');
	assert_bytes(image, MIB + 1000, 100, 'c');
	assert_bytes(image, MIB + 1100, UNIT - 1100, 'p');
	put_bytes(image, MIB + UNIT - 1, 2, 'd');
	assert_bytes(image, MIB + 1100, UNIT - 1101, 'p');
	assert_bytes(image, MIB + UNIT - 1, 2, 'd');
	assert_bytes(image, MIB + UNIT + 1, UNIT, 0);
	assert_ok(vhdx_close(&image));
}

static void write_ended(struct tevent_req *req)
{
	unsigned *left = tevent_req_callback_data_void(req);

	assert_ok(vhdx_write_recv(req));
	*left -= 1;
}

static void writes_to_one_sector_at_a_time_keep_each_other(void **state)
{
	struct folder *folder = folder_with_child(state);
	struct tevent_context *ev = tevent_context_init(folder);
	struct vhdx *image = open_image(folder, "child.vhdx", 0);
	uint8_t bytes[8][64];
	unsigned left = 8;
	unsigned i;

	for (i = 0; i < 8; i++) {
		struct tevent_req *req = NULL;

		memset(bytes[i], 'a' + i, sizeof(bytes[i]));
		req = vhdx_write_send(folder, ev, image, bytes[i],
				      sizeof(bytes[i]), MIB + i * 64);
		tevent_req_set_callback(req, write_ended, &left);
		if (i == 3) {
			/* The others come while these are under way. */
			assert_int_equal(tevent_loop_once(ev), 0);
			assert_int_equal(tevent_loop_once(ev), 0);
		}
	}
	while (left > 0) {
		assert_int_equal(tevent_loop_once(ev), 0);
	}
	for (i = 0; i < 8; i++) {
		assert_bytes(image, MIB + i * 64, 64, 'a' + i);
	}
	assert_bytes(image, MIB + 512, UNIT - 512, 'p');
	assert_ok(vhdx_close(&image));
}

static void zeros_in_a_block_are_sectors_like_others(void **state)
{
	struct folder *folder = folder_with_child(state);
	struct vhdx_memory *m = folder_file(folder, "child.vhdx");
	struct vhdx *image = open_image(folder, "child.vhdx", 0);

	/* 512 bytes each */
	assert_ok(vhdx_zero(image, MIB + 512, 512));
	assert_bytes(image, MIB, 512, 'p');
	assert_bytes(image, MIB + 512, 512, 0);
	assert_bytes(image, MIB + 1024, UNIT - 1024, 'p');
	put(image, MIB + UNIT, 'c');
	assert_ok(vhdx_zero(image, MIB + 1024, UNIT));
	assert_bytes(image, MIB, 512, 'p');
	assert_bytes(image, MIB + 512, UNIT + 512, 0);
	assert_bytes(image, MIB + UNIT + 1024, UNIT - 1024, 'c');
	/* A whole one has no place; what it had goes to nobody. */
	assert_ok(vhdx_zero(image, MIB, MIB));
	assert_bytes(image, MIB, MIB, 0);
	assert_ok(vhdx_close(&image));
	assert_int_equal(bat_entry(m, BAT + 8), 2);
	assert_check_finds_nothing(m);
}

static void write_that_fails_leaves_the_rest_as_it_was(void **state)
{
	bool failed = true;
	unsigned after;

	for (after = 0; failed; after++) {
		struct folder *folder = folder_with_child(state);
		struct vhdx_memory *m = folder_file(folder, "child.vhdx");
		struct vhdx *image = open_image(folder, "child.vhdx", 0);
		uint8_t unit[UNIT];
		NTSTATUS status;

		put(image, 0, 'c');
		memset(unit, 'd', sizeof(unit));
		vhdx_memory_fail(m, ENOSPC, after);
		status = vhdx_write(image, unit, sizeof(unit), MIB + UNIT);
		vhdx_memory_fail(m, 0, 0);
		failed = !NT_STATUS_IS_OK(status);
		assert_bytes(image, MIB, UNIT, 'p');
		assert_bytes(image, MIB + 2 * UNIT, UNIT, 0);
		if (!failed) {
			assert_bytes(image, MIB + UNIT, UNIT, 'd');
		}
		put(image, MIB + 2 * UNIT, 'e');
		assert_bytes(image, MIB, UNIT, 'p');
		assert_bytes(image, MIB + 2 * UNIT, UNIT, 'e');
		assert_ok(vhdx_close(&image));
		assert_check_finds_no_error(m);
		TALLOC_FREE(folder);
	}
	assert_true(after > 3);
}

/* Two processes and what they share */

static bool alive(const struct server_id *id, void *private_data)
{
	return true;
}

static struct vhdx *open_shared(struct folder *folder, struct db_context *db,
				uint64_t pid)
{
	struct server_id self = { .pid = pid };
	TDB_DATA key = { .dptr = discard_const_p(uint8_t, "k"), .dsize = 1 };
	struct vhdx *image = NULL;

	assert_ok(try_open(folder, "child.vhdx",
			   vhdx_shared_init(folder, db, key, self, alive,
					    NULL), 0, &image, NULL));
	return image;
}

static void other_zeroes(struct vhdx *image)
{
	assert_ok(vhdx_zero(image, MIB, MIB));
}

/*
 * So many turns of the event loop into a write of the first process, the
 * second one does all of *other*.
 */
static bool overtaken(void **state, unsigned turns,
		      void (*other)(struct vhdx *image), uint8_t first,
		      uint8_t second)
{
	struct folder *folder = folder_with_child(state);
	struct db_context *db = db_open_rbt(folder);
	struct tevent_context *ev = tevent_context_init(folder);
	struct vhdx *image = open_shared(folder, db, 1);
	struct vhdx *image2 = open_shared(folder, db, 2);
	struct tevent_req *req = NULL;
	uint8_t buf[UNIT];
	unsigned left = 1;
	bool was_early;

	memset(buf, 'a', sizeof(buf));
	req = vhdx_write_send(folder, ev, image, buf, sizeof(buf),
			      MIB + 2 * UNIT);
	tevent_req_set_callback(req, write_ended, &left);
	for (; turns > 0 && left > 0; turns--) {
		assert_int_equal(tevent_loop_once(ev), 0);
	}
	was_early = left > 0;
	other(image2);
	while (left > 0) {
		assert_int_equal(tevent_loop_once(ev), 0);
	}
	if (was_early) {
		/* Neither did what the other had not seen. */
		assert_bytes(image, MIB, UNIT, first);
		assert_bytes(image2, MIB, UNIT, first);
		assert_bytes(image, MIB + UNIT, UNIT, second);
		assert_bytes(image2, MIB + UNIT, UNIT, second);
		/* Of a write and zeros at a time, either comes last. */
		assert_ok(vhdx_read(image, buf, 1, MIB + 2 * UNIT));
		assert_true(buf[0] == 'a' || other == other_zeroes);
		assert_true(buf[0] == 'a' || buf[0] == 0);
		assert_bytes(image, MIB + 2 * UNIT, UNIT, buf[0]);
		assert_bytes(image2, MIB + 2 * UNIT, UNIT, buf[0]);
	}
	assert_ok(vhdx_close(&image));
	assert_ok(vhdx_close(&image2));
	TALLOC_FREE(folder);
	return was_early;
}

static void other_writes(struct vhdx *image)
{
	put(image, MIB + UNIT, 'b');
}

static void who_fills_beside_another_takes_nothing_from_it(void **state)
{
	unsigned turns = 0;

	while (overtaken(state, turns, other_writes, 'p', 'b')) {
		turns += 1;
	}
	assert_true(turns > 5);
}

static void write_to_a_block_zeroed_meanwhile_is_not_lost(void **state)
{
	unsigned turns = 0;

	while (overtaken(state, turns, other_zeroes, 0, 0)) {
		turns += 1;
	}
	assert_true(turns > 5);
}

/* Of two, one is last, and then it is for everybody. */
static void other_writes_the_same(struct vhdx *image)
{
	put_bytes(image, MIB + 2 * UNIT, UNIT / 2, 'b');
}

static void two_who_write_to_the_same_sectors_both_end(void **state)
{
	unsigned turns = 0;
	bool was_early = true;

	for (turns = 0; was_early; turns++) {
		struct folder *folder = folder_with_child(state);
		struct db_context *db = db_open_rbt(folder);
		struct tevent_context *ev = tevent_context_init(folder);
		struct vhdx *image = open_shared(folder, db, 1);
		struct vhdx *image2 = open_shared(folder, db, 2);
		struct tevent_req *req = NULL;
		uint8_t buf[UNIT];
		unsigned left = 1;
		unsigned i;

		memset(buf, 'a', sizeof(buf));
		req = vhdx_write_send(folder, ev, image, buf, sizeof(buf),
				      MIB + 2 * UNIT);
		tevent_req_set_callback(req, write_ended, &left);
		for (i = 0; i < turns && left > 0; i++) {
			assert_int_equal(tevent_loop_once(ev), 0);
		}
		was_early = left > 0;
		other_writes_the_same(image2);
		while (left > 0) {
			assert_int_equal(tevent_loop_once(ev), 0);
		}
		assert_ok(vhdx_read(image, buf, UNIT, MIB + 2 * UNIT));
		assert_true(buf[0] == 'a' || buf[0] == 'b');
		assert_bytes(image2, MIB + 2 * UNIT, UNIT / 2, buf[0]);
		assert_bytes(image2, MIB + 2 * UNIT + UNIT / 2, UNIT / 2, 'a');
		assert_bytes(image2, MIB + 3 * UNIT, UNIT, 0);
		assert_ok(vhdx_close(&image));
		assert_ok(vhdx_close(&image2));
		TALLOC_FREE(folder);
	}
	assert_true(turns > 5);
}

/*
 * Who is fenced off, or dies, may have got as far as the file; then others go
 * on with the sectors around.
 */
static void what_a_request_left_that_was_given_up_is_never_seen(void **state)
{
	unsigned turns;
	bool was_early = true;

	for (turns = 0; was_early; turns++) {
		struct folder *folder = folder_with_child(state);
		struct db_context *db = db_open_rbt(folder);
		struct tevent_context *ev = tevent_context_init(folder);
		struct vhdx *image = open_shared(folder, db, 1);
		struct vhdx *image2 = open_shared(folder, db, 2);
		struct tevent_req *req = NULL;
		uint8_t buf[UNIT];
		unsigned left = 1;
		unsigned i;

		/* So much is filled around what follows */
		put_bytes(image2, MIB + 16 * UNIT, 16 * UNIT, 'o');
		memset(buf, 'a', sizeof(buf));
		req = vhdx_write_send(folder, ev, image, buf, sizeof(buf), MIB);
		tevent_req_set_callback(req, write_ended, &left);
		for (i = 0; i < turns && left > 0; i++) {
			assert_int_equal(tevent_loop_once(ev), 0);
		}
		was_early = left > 0;
		if (was_early) {
			TALLOC_FREE(req);
		}
		assert_ok(vhdx_read(image2, buf, UNIT, MIB));
		assert_true(buf[0] == 'p' || buf[0] == 'a');
		put(image2, MIB + UNIT, 'b');
		put(image2, MIB + 4 * UNIT, 'b');
		assert_bytes(image2, MIB, UNIT, buf[0]);
		assert_bytes(image, MIB, UNIT, buf[0]);
		assert_ok(vhdx_close(&image));
		put(image2, MIB + 2 * UNIT, 'b');
		assert_ok(vhdx_flush(image2));
		assert_bytes(image2, MIB, UNIT, buf[0]);
		assert_ok(vhdx_close(&image2));
		image = open_image(folder, "child.vhdx", 0);
		assert_bytes(image, MIB, UNIT, buf[0]);
		assert_ok(vhdx_close(&image));
		/* A flush that nobody waits for any more */
		assert_int_equal(tevent_loop_wait(ev), 0);
		TALLOC_FREE(folder);
	}
	assert_true(turns > 5);
}

static bool turn(struct tevent_context *ev, unsigned turns,
		 const unsigned *left)
{
	for (; turns > 0 && *left > 0; turns--) {
		assert_int_equal(tevent_loop_once(ev), 0);
	}
	return *left > 0;
}

/*
 * A write at *offset* is given up, so many turns of the event loop into it,
 * when one to the second unit is as far. What is there in the end, or 0 when
 * one of them was faster.
 */
static uint8_t given_up(void **state, uint64_t offset, unsigned turns,
			unsigned other_turns)
{
	struct folder *folder = folder_with_child(state);
	struct db_context *db = db_open_rbt(folder);
	struct tevent_context *ev = tevent_context_init(folder);
	struct tevent_context *ev2 = tevent_context_init(folder);
	struct vhdx *image = open_shared(folder, db, 1);
	struct vhdx *image2 = open_shared(folder, db, 2);
	struct tevent_req *req = NULL;
	struct tevent_req *req2 = NULL;
	uint8_t a[UNIT];
	uint8_t b[UNIT];
	unsigned left = 1;
	unsigned left2 = 1;

	/* So much is filled around what follows */
	put_bytes(image, MIB + 16 * UNIT, 16 * UNIT, 'o');
	put_bytes(image2, MIB + 32 * UNIT, UNIT, 'o');
	memset(a, 'a', sizeof(a));
	memset(b, 'b', sizeof(b));
	req2 = vhdx_write_send(folder, ev2, image2, b, UNIT, MIB + UNIT);
	tevent_req_set_callback(req2, write_ended, &left2);
	req = vhdx_write_send(folder, ev, image, a, UNIT, MIB + offset);
	tevent_req_set_callback(req, write_ended, &left);
	if (!turn(ev2, other_turns, &left2) || !turn(ev, turns, &left)) {
		a[0] = 0;
	} else {
		TALLOC_FREE(req);
		left = 0;
		assert_ok(vhdx_read(image, a, UNIT, MIB + offset));
		turn(ev2, UINT_MAX, &left2);
		if (offset == UNIT && a[0] == 'a') {
			/* It was not given up before: either is last. */
			assert_ok(vhdx_read(image, b, UNIT, MIB + UNIT));
			assert_true(b[0] == 'a' || b[0] == 'b');
		} else {
			assert_bytes(image, MIB + UNIT, UNIT, 'b');
		}
		if (offset != UNIT) {
			assert_bytes(image, MIB + offset, UNIT, a[0]);
		}
	}
	turn(ev, UINT_MAX, &left);
	turn(ev2, UINT_MAX, &left2);
	assert_ok(vhdx_close(&image));
	assert_ok(vhdx_close(&image2));
	assert_int_equal(tevent_loop_wait(ev), 0);
	TALLOC_FREE(folder);
	return a[0];
}

static void fill_does_not_show_what_was_given_up_under_it(void **state)
{
	static const uint64_t offsets[] = { 0, UNIT, 2 * UNIT };
	unsigned num = 0;
	unsigned i, j, k;

	for (i = 0; i < ARRAY_SIZE(offsets); i++) {
		for (j = 0; j < 12; j++) {
			for (k = 0; k < 12; k++) {
				num += given_up(state, offsets[i], j, k) != 0;
			}
		}
	}
	assert_true(num > 20);
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

#define test(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(write_sets_the_bits_of_its_sectors_and_copies_nothing),
		test(write_of_a_whole_block_needs_no_bitmap),
		test(block_that_has_all_sectors_is_a_whole_one),
		test(few_writes_copy_little_and_many_take_few_flushes),
		test(partially_present_block_of_another_is_gone_on_with),
		test(bits_of_a_block_that_is_not_present_mean_nothing),
		test(bits_of_the_largest_block_are_cleared_too),
		test(rest_of_a_sector_is_what_the_parent_has),
		test(writes_to_one_sector_at_a_time_keep_each_other),
		test(zeros_in_a_block_are_sectors_like_others),
		test(write_that_fails_leaves_the_rest_as_it_was),
		test(who_fills_beside_another_takes_nothing_from_it),
		test(write_to_a_block_zeroed_meanwhile_is_not_lost),
		test(two_who_write_to_the_same_sectors_both_end),
		test(what_a_request_left_that_was_given_up_is_never_seen),
		test(fill_does_not_show_what_was_given_up_under_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
