/*
 * vfs_rsvd: what is written to the disk is what is read from it
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include <setjmp.h>
#include <cmocka.h>
#include "lib/util/tevent_ntstatus.h"
#include "modules/vhdx/vhdx_private.h"
#include "tests/unit/vhdx_memory.h"

#define KIB ((uint64_t)1024)
#define MIB (1024 * KIB)
#define TIB (1024 * 1024 * MIB)

#define HEADER1 (64 * KIB)
#define HEADER2 (128 * KIB)

#define assert_ok(status) \
	assert_int_equal(NT_STATUS_V(status), NT_STATUS_V(NT_STATUS_OK))
#define assert_status(status, wanted) \
	assert_int_equal(NT_STATUS_V(status), NT_STATUS_V(wanted))

static struct vhdx_memory *disk(void **state, uint64_t size,
				uint32_t block_size, bool fixed)
{
	struct vhdx_create_params params = {
		.virtual_size = size,
		.block_size = block_size,
		.fixed = fixed,
	};
	struct vhdx_memory *m = vhdx_memory_new(*state);

	assert_ok(vhdx_create(vhdx_memory_storage(m), &params));
	return m;
}

static struct vhdx *open_disk(struct vhdx_memory *m, uint32_t flags)
{
	struct vhdx *image = NULL;

	assert_ok(vhdx_open(m, vhdx_memory_storage(m), NULL, flags, &image,
			    NULL));
	return image;
}

static void current_header(struct vhdx_memory *m, uint8_t header[4096])
{
	uint8_t other[4096];

	vhdx_memory_read(m, header, 4096, HEADER1);
	vhdx_memory_read(m, other, 4096, HEADER2);
	if (PULL_LE_U64(other, 8) > PULL_LE_U64(header, 8)) {
		memcpy(header, other, 4096);
	}
}

static void unwritten_disk_reads_as_zeros(void **state)
{
	struct vhdx_memory *m = disk(state, 64 * MIB, MIB, false);
	struct vhdx *image = open_disk(m, 0);
	uint8_t buf[4096];
	size_t i;

	memset(buf, 1, sizeof(buf));
	assert_ok(vhdx_read(image, buf, sizeof(buf), 3 * MIB - 2048));
	for (i = 0; i < sizeof(buf); i++) {
		assert_int_equal(buf[i], 0);
	}
}

static void random_writes_of_any_alignment_read_back(void **state)
{
	struct vhdx_memory *m = disk(state, 16 * MIB, MIB, false);
	struct vhdx *image = open_disk(m, 0);
	uint8_t *expected = talloc_zero_array(m, uint8_t, 16 * MIB);
	uint8_t *buf = talloc_array(m, uint8_t, 3 * MIB);
	uint32_t seed = 4711;
	size_t i;

	for (i = 0; i < 300; i++) {
		size_t length = 1 + vhdx_memory_random(&seed) % (i % 10 == 0 ?
							3 * MIB : 9000);
		uint64_t offset = vhdx_memory_random(&seed) %
				  (16 * MIB - length);

		memset(buf, i + 1, length);
		memcpy(expected + offset, buf, length);
		assert_ok(vhdx_write(image, buf, length, offset));
	}
	for (i = 0; i < 16; i += 3) {
		size_t length = MIN(3 * MIB, (16 - i) * MIB);

		assert_ok(vhdx_read(image, buf, length, i * MIB));
		assert_memory_equal(buf, expected + i * MIB, length);
	}
	assert_ok(vhdx_close(&image));
	image = open_disk(m, VHDX_OPEN_READ_ONLY);
	for (i = 0; i < 16; i++) {
		assert_ok(vhdx_read(image, buf, MIB, i * MIB));
		assert_memory_equal(buf, expected + i * MIB, MIB);
	}
}

static void last_block_may_be_partly_on_the_disk(void **state)
{
	struct vhdx_memory *m = disk(state, 5 * MIB + 512, 2 * MIB, false);
	struct vhdx *image = open_disk(m, 0);
	uint8_t buf[1024];

	memset(buf, 7, sizeof(buf));
	assert_ok(vhdx_write(image, buf, 512, 5 * MIB));
	assert_status(vhdx_write(image, buf, 1024, 5 * MIB),
		      NT_STATUS_INVALID_PARAMETER);
	assert_status(vhdx_read(image, buf, 1, 5 * MIB + 512),
		      NT_STATUS_INVALID_PARAMETER);
	assert_status(vhdx_read(image, buf, 1, UINT64_MAX),
		      NT_STATUS_INVALID_PARAMETER);
	memset(buf, 0, sizeof(buf));
	assert_ok(vhdx_read(image, buf, 512, 5 * MIB));
	assert_int_equal(buf[511], 7);
}

static void block_behind_the_first_chunk_is_found(void **state)
{
	/* 512-byte sectors and 1 MiB blocks: 4096 blocks in a chunk */
	struct vhdx_memory *m = disk(state, 10000 * MIB, MIB, false);
	struct vhdx *image = open_disk(m, 0);
	uint64_t blocks[] = { 0, 4095, 4096, 8191, 8192, 9999 };
	uint8_t buf[512];
	uint8_t entry[8];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(blocks); i++) {
		memset(buf, i + 1, sizeof(buf));
		assert_ok(vhdx_write(image, buf, sizeof(buf),
				     blocks[i] * MIB));
	}
	for (i = 0; i < ARRAY_SIZE(blocks); i++) {
		assert_ok(vhdx_read(image, buf, sizeof(buf),
				    blocks[i] * MIB));
		assert_int_equal(buf[0], i + 1);
	}
	/* Entry 4096 is a bitmap's, block 4096 has the one behind it. */
	vhdx_memory_read(m, entry, 8, 3 * MIB + 4096 * 8);
	assert_int_equal(PULL_LE_U64(entry, 0), 0);
	vhdx_memory_read(m, entry, 8, 3 * MIB + 4097 * 8);
	assert_int_equal(PULL_LE_U64(entry, 0) & 7, 6);
}

static void map_tells_where_the_bytes_are(void **state)
{
	struct vhdx_memory *m = disk(state, 16 * MIB, MIB, false);
	struct vhdx *image = open_disk(m, 0);
	struct vhdx_extent extent;
	uint8_t buf[512] = { 1 };

	/* Blocks 3 and 4 one behind the other, 5 elsewhere */
	assert_ok(vhdx_write(image, buf, sizeof(buf), 3 * MIB));
	assert_ok(vhdx_write(image, buf, sizeof(buf), 4 * MIB));
	assert_ok(vhdx_write(image, buf, sizeof(buf), 9 * MIB));
	assert_ok(vhdx_write(image, buf, sizeof(buf), 5 * MIB));

	assert_ok(vhdx_map(image, 100, 16 * MIB - 100, &extent));
	assert_int_equal(extent.kind, VHDX_EXTENT_ZERO);
	assert_int_equal(extent.length, 3 * MIB - 100);

	assert_ok(vhdx_map(image, 3 * MIB + 100, 16 * MIB - 3 * MIB - 100,
			   &extent));
	assert_int_equal(extent.kind, VHDX_EXTENT_FILE);
	assert_int_equal(extent.file_offset, 4 * MIB + 100);
	assert_int_equal(extent.length, 2 * MIB - 100);

	assert_ok(vhdx_map(image, 3 * MIB, 512, &extent));
	assert_int_equal(extent.length, 512);
	assert_ok(vhdx_map(image, 5 * MIB, MIB, &extent));
	assert_int_equal(extent.file_offset, 7 * MIB);
	assert_ok(vhdx_map(image, 6 * MIB, 10 * MIB, &extent));
	assert_int_equal(extent.kind, VHDX_EXTENT_ZERO);
	assert_int_equal(extent.length, 3 * MIB);

	assert_status(vhdx_map(image, 0, 0, &extent),
		      NT_STATUS_INVALID_PARAMETER);
	assert_status(vhdx_map(image, 16 * MIB, 1, &extent),
		      NT_STATUS_INVALID_PARAMETER);
}

static void fixed_disk_is_one_run(void **state)
{
	struct vhdx_memory *m = disk(state, 200 * MIB, 32 * MIB, true);
	struct vhdx *image = open_disk(m, 0);
	struct vhdx_extent extent;

	assert_ok(vhdx_map(image, 0, 200 * MIB, &extent));
	assert_int_equal(extent.kind, VHDX_EXTENT_FILE);
	assert_int_equal(extent.file_offset, 4 * MIB);
	assert_int_equal(extent.length, 200 * MIB);
}

static void read_only_image_is_not_written(void **state)
{
	struct vhdx_memory *m = disk(state, 16 * MIB, MIB, false);
	uint64_t changes = vhdx_memory_num_changes(m);
	struct vhdx *image = open_disk(m, VHDX_OPEN_READ_ONLY);
	struct vhdx_extent extent;
	uint8_t buf[512] = { 1 };

	assert_status(vhdx_write(image, buf, sizeof(buf), 0),
		      NT_STATUS_MEDIA_WRITE_PROTECTED);
	assert_status(vhdx_zero(image, 0, 512),
		      NT_STATUS_MEDIA_WRITE_PROTECTED);
	assert_status(vhdx_map_write(image, 0, 512, &extent),
		      NT_STATUS_MEDIA_WRITE_PROTECTED);
	assert_ok(vhdx_close(&image));
	assert_int_equal(vhdx_memory_num_changes(m), changes);
}

/* 2.2.2: both GUIDs change before the first change, and only then. */
static void opening_and_reading_leaves_the_file_as_it_is(void **state)
{
	struct vhdx_memory *m = disk(state, 16 * MIB, MIB, true);
	uint64_t changes = vhdx_memory_num_changes(m);
	struct vhdx *image = open_disk(m, 0);
	uint8_t buf[512];

	assert_ok(vhdx_read(image, buf, sizeof(buf), 0));
	assert_ok(vhdx_close(&image));
	assert_int_equal(vhdx_memory_num_changes(m), changes);
}

static void first_write_changes_both_guids_before_the_data(void **state)
{
	struct vhdx_memory *m = disk(state, 16 * MIB, MIB, true);
	struct vhdx *image = open_disk(m, 0);
	struct vhdx_memory *after = NULL;
	struct vhdx_extent extent;
	uint8_t before[4096];
	uint8_t header[4096];
	uint8_t buf[512] = { 1 };
	uint32_t seed = 1;

	current_header(m, before);
	assert_ok(vhdx_map_write(image, 0, 512, &extent));
	assert_int_equal(extent.kind, VHDX_EXTENT_ZERO);
	assert_ok(vhdx_write(image, buf, sizeof(buf), 0));
	/* Even if the data is all that is lost */
	after = vhdx_memory_cut(m, m, 0, &seed);
	current_header(after, header);
	assert_memory_not_equal(header + 16, before + 16, 16);
	assert_memory_not_equal(header + 32, before + 32, 16);

	assert_ok(vhdx_map_write(image, 0, 512, &extent));
	assert_int_equal(extent.kind, VHDX_EXTENT_FILE);
	current_header(m, before);
	assert_ok(vhdx_write(image, buf, sizeof(buf), 0));
	current_header(m, header);
	assert_memory_equal(header, before, 4096);
}

static void writing_a_mapped_block_changes_nothing_else(void **state)
{
	struct vhdx_memory *m = disk(state, 16 * MIB, MIB, false);
	struct vhdx *image = open_disk(m, 0);
	uint8_t buf[512] = { 1 };
	uint64_t changes;
	uint64_t flushes;

	assert_ok(vhdx_write(image, buf, sizeof(buf), 0));
	changes = vhdx_memory_num_changes(m);
	flushes = vhdx_memory_num_flushes(m);
	assert_ok(vhdx_write(image, buf, sizeof(buf), 4096));
	assert_int_equal(vhdx_memory_num_changes(m), changes + 1);
	assert_int_equal(vhdx_memory_num_flushes(m), flushes);
}

static void new_block_costs_no_flush_while_space_is_reserved(void **state)
{
	struct vhdx_memory *m = disk(state, 1024 * MIB, MIB, false);
	struct vhdx *image = open_disk(m, 0);
	uint8_t buf[512] = { 1 };
	uint64_t flushes;
	uint64_t i;

	assert_ok(vhdx_write(image, buf, sizeof(buf), 0));
	flushes = vhdx_memory_num_flushes(m);
	for (i = 1; i < 30; i++) {
		assert_ok(vhdx_write(image, buf, sizeof(buf), i * MIB));
	}
	assert_int_equal(vhdx_memory_num_flushes(m), flushes);
}

static void room_for_new_blocks_needs_no_flush_of_other_blocks(void **state)
{
	struct vhdx_memory *m = disk(state, 64 * 1024 * MIB, MIB, false);
	struct vhdx *image = open_disk(m, 0);
	struct vhdx_memory *cut = NULL;
	struct vhdx_check_report *report = NULL;
	uint8_t buf[512] = { 1 };
	uint64_t flushes;
	uint32_t seed = 1;
	uint64_t i;

	assert_ok(vhdx_write(image, buf, sizeof(buf), 0));
	flushes = vhdx_memory_num_flushes(m);
	/* More than the log has room for, and than the file grows by */
	for (i = 1; i < 5000; i++) {
		assert_ok(vhdx_write(image, buf, sizeof(buf), i * MIB));
	}
	assert_true(vhdx_memory_num_flushes(m) > flushes);

	cut = vhdx_memory_cut(m, m, 0, &seed);
	image = open_disk(cut, 0);
	assert_ok(vhdx_read(image, buf, sizeof(buf), 0));
	assert_int_equal(buf[0], 0);
	assert_ok(vhdx_close(&image));
	assert_ok(vhdx_check(cut, vhdx_memory_storage(cut), NULL, NULL,
			     &report));
	assert_int_equal(report->num_findings, 0);
}

static void blocks_of_one_write_share_a_log_entry(void **state)
{
	struct vhdx_memory *m = disk(state, 1024 * MIB, MIB, false);
	struct vhdx *image = open_disk(m, 0);
	uint8_t *buf = talloc_zero_array(m, uint8_t, 20 * MIB);
	uint8_t entry[64];

	assert_ok(vhdx_write(image, buf, 512, 100 * MIB));
	assert_ok(vhdx_write(image, buf, 20 * MIB, 0));
	/* At 0 the empty one, then one with the first block, then one more */
	vhdx_memory_read(m, entry, sizeof(entry), MIB + 3 * 4096);
	assert_memory_equal(entry, "loge", 4);
	assert_int_equal(PULL_LE_U64(entry, 16), 3);
	assert_int_equal(PULL_LE_U32(entry, 24), 1);
	vhdx_memory_read(m, entry, sizeof(entry), MIB + 5 * 4096);
	assert_memory_not_equal(entry, "loge", 4);
}

static void last_close_empties_the_log_and_gives_space_back(void **state)
{
	struct vhdx_memory *m = disk(state, 1024 * MIB, MIB, false);
	struct vhdx *image = open_disk(m, 0);
	static const uint8_t zeros[16];
	uint8_t header[4096];
	uint8_t buf[512] = { 1 };

	assert_ok(vhdx_write(image, buf, sizeof(buf), 0));
	assert_ok(vhdx_write(image, buf, sizeof(buf), 9 * MIB));
	current_header(m, header);
	assert_memory_not_equal(header + 48, zeros, 16);
	assert_true(vhdx_memory_size(m) > 6 * MIB);
	assert_ok(vhdx_close(&image));
	assert_null(image);
	current_header(m, header);
	assert_memory_equal(header + 48, zeros, 16);
	assert_int_equal(vhdx_memory_size(m), 6 * MIB);
}

static void zeroed_range_reads_as_zeros_and_the_rest_stays(void **state)
{
	bool fixed;

	for (fixed = false;; fixed = true) {
		struct vhdx_memory *m = disk(state, 16 * MIB, MIB, fixed);
		struct vhdx *image = open_disk(m, 0);
		uint8_t *buf = talloc_array(m, uint8_t, 4 * MIB);
		size_t i;

		memset(buf, 0xee, 4 * MIB);
		assert_ok(vhdx_write(image, buf, 4 * MIB, 2 * MIB));
		/* From no block through whole ones into a part of one */
		assert_ok(vhdx_zero(image, 700, 5 * MIB));
		assert_ok(vhdx_read(image, buf, 4 * MIB, 2 * MIB));
		for (i = 0; i < 4 * MIB; i++) {
			uint8_t expected = i < 3 * MIB + 700 ? 0 : 0xee;

			if (buf[i] != expected) {
				fail_msg("byte %zu is %u", i, buf[i]);
			}
		}
		TALLOC_FREE(m);
		if (fixed) {
			break;
		}
	}
}

static void zeroing_what_is_not_there_allocates_nothing(void **state)
{
	struct vhdx_memory *m = disk(state, 16 * MIB, MIB, false);
	struct vhdx *image = open_disk(m, 0);

	assert_ok(vhdx_zero(image, 0, 16 * MIB));
	assert_ok(vhdx_close(&image));
	assert_int_equal(vhdx_memory_size(m), 4 * MIB);
}

/* What fails is told, and the image goes on being one. */
static void failing_storage_fails_the_write_and_loses_nothing(void **state)
{
	uint64_t after;

	for (after = 0; after < 12; after++) {
		struct vhdx_memory *m = disk(state, 1024 * MIB, MIB, false);
		struct vhdx *image = open_disk(m, 0);
		struct vhdx_check_report *report = NULL;
		uint8_t buf[512] = { 1 };
		uint8_t zeros[512] = { 0 };
		NTSTATUS status;
		size_t i;

		vhdx_memory_fail(m, ENOSPC, after);
		for (i = 0; i < 3; i++) {
			status = vhdx_write(image, buf, sizeof(buf),
					    (10 + i) * MIB);
			if (!NT_STATUS_IS_OK(status)) {
				assert_status(status, NT_STATUS_DISK_FULL);
				break;
			}
		}
		vhdx_memory_fail(m, 0, 0);
		assert_ok(vhdx_write(image, buf, sizeof(buf), 20 * MIB));
		assert_ok(vhdx_write(image, buf, sizeof(buf), 21 * MIB));
		for (i = 0; i < 3; i++) {
			uint8_t got[512];

			assert_ok(vhdx_read(image, got, sizeof(got),
					    (10 + i) * MIB));
			if (memcmp(got, buf, sizeof(got)) != 0) {
				assert_memory_equal(got, zeros, sizeof(got));
			}
		}
		assert_ok(vhdx_close(&image));
		assert_ok(vhdx_check(m, vhdx_memory_storage(m), NULL, NULL,
				     &report));
		assert_int_equal(report->num_findings, 0);
		TALLOC_FREE(m);
	}
}

/* Asynchronous */

/* What a test puts functions of its own in the place of */
static const struct vhdx_storage_ops *good_ops;

struct many {
	unsigned pending;
	NTSTATUS status;
};

static void write_done(struct tevent_req *req)
{
	struct many *many = tevent_req_callback_data_void(req);
	NTSTATUS status = vhdx_write_recv(req);

	TALLOC_FREE(req);
	many->pending -= 1;
	if (!NT_STATUS_IS_OK(status)) {
		many->status = status;
	}
}

static void many_wait(struct tevent_context *ev, struct many *many)
{
	while (many->pending > 0) {
		assert_int_equal(tevent_loop_once(ev), 0);
	}
}

static void writes_in_flight_to_one_new_block_all_arrive(void **state)
{
	struct vhdx_memory *m = disk(state, 1024 * MIB, 32 * MIB, false);
	struct vhdx *image = open_disk(m, 0);
	struct tevent_context *ev = tevent_context_init(m);
	struct many many = { .status = NT_STATUS_OK };
	struct vhdx_check_report *report = NULL;
	uint8_t *data = talloc_array(m, uint8_t, 64 * 4096);
	uint8_t *buf = talloc_array(m, uint8_t, 64 * 4096);
	size_t i;

	for (i = 0; i < 64; i++) {
		struct tevent_req *req = NULL;

		memset(data + i * 4096, i + 1, 4096);
		req = vhdx_write_send(m, ev, image, data + i * 4096, 4096,
				      32 * MIB + i * 4096);
		tevent_req_set_callback(req, write_done, &many);
		many.pending += 1;
	}
	many_wait(ev, &many);
	assert_ok(many.status);
	assert_ok(vhdx_read(image, buf, 64 * 4096, 32 * MIB));
	assert_memory_equal(buf, data, 64 * 4096);
	assert_ok(vhdx_close(&image));
	assert_ok(vhdx_check(m, vhdx_memory_storage(m), NULL, NULL, &report));
	assert_int_equal(report->num_allocated_blocks, 1);
	assert_int_equal(report->num_findings, 0);
}

static void requests_that_wait_share_log_entries_and_flushes(void **state)
{
	struct vhdx_memory *m = disk(state, 1024 * MIB, MIB, false);
	struct vhdx *image = open_disk(m, 0);
	struct tevent_context *ev = tevent_context_init(m);
	struct many many = { .status = NT_STATUS_OK };
	uint64_t flushes = vhdx_memory_num_flushes(m);
	uint8_t entry[64];
	uint8_t data[512] = { 3 };
	size_t i;

	for (i = 0; i < 30; i++) {
		struct tevent_req *req = NULL;

		req = vhdx_write_send(m, ev, image, data, sizeof(data),
				      i * MIB);
		tevent_req_set_callback(req, write_done, &many);
		many.pending += 1;
	}
	many_wait(ev, &many);
	assert_ok(many.status);
	/* Headers; the log's first entry; its name */
	assert_int_equal(vhdx_memory_num_flushes(m), flushes + 3);
	vhdx_memory_read(m, entry, sizeof(entry), MIB + 1 * 4096);
	assert_int_equal(PULL_LE_U64(entry, 16), 2);
	vhdx_memory_read(m, entry, sizeof(entry), MIB + 3 * 4096);
	assert_memory_not_equal(entry, "loge", 4);
}

/* A call does a part, as the kernel may; the fourth has to wait. */
static unsigned quick_calls;

static size_t quick_length(size_t length)
{
	quick_calls += 1;
	if (quick_calls == 4) {
		errno = EAGAIN;
		return 0;
	}
	return MIN(length, 100 * 1000);
}

static ssize_t some_pread(void *private_data, void *buf, size_t length,
			  off_t offset)
{
	length = quick_length(length);
	return (length == 0) ? -1 : good_ops->pread(private_data, buf, length,
						    offset);
}

static ssize_t some_pwrite(void *private_data, const void *buf,
			   size_t length, off_t offset)
{
	length = quick_length(length);
	return (length == 0) ? -1 : good_ops->pwrite(private_data, buf, length,
						     offset);
}

static void what_is_not_done_at_once_is_done_later(void **state)
{
	struct vhdx_memory *m = disk(state, 1024 * MIB, MIB, false);
	struct vhdx_storage *storage = vhdx_memory_storage(m);
	struct vhdx_storage_ops ops = *storage->ops;
	struct vhdx *image = open_disk(m, 0);
	struct tevent_context *ev = tevent_context_init(m);
	uint8_t *data = talloc_array(m, uint8_t, 3 * MIB);
	uint8_t *buf = talloc_zero_array(m, uint8_t, 3 * MIB);
	struct tevent_req *req = NULL;
	uint32_t seed = 1;
	size_t i;

	for (i = 0; i < 3 * MIB; i++) {
		data[i] = vhdx_memory_random(&seed);
	}
	good_ops = storage->ops;
	ops.pread_quick = some_pread;
	ops.pwrite_quick = some_pwrite;
	storage->ops = &ops;
	req = vhdx_write_send(m, ev, image, data, 3 * MIB, 5 * MIB + 512);
	assert_true(tevent_req_poll(req, ev));
	assert_ok(vhdx_write_recv(req));
	assert_int_equal(quick_calls, 4);
	quick_calls = 0;
	req = vhdx_read_send(m, ev, image, buf, 3 * MIB, 5 * MIB + 512);
	assert_true(tevent_req_poll(req, ev));
	assert_ok(vhdx_read_recv(req));
	assert_int_equal(quick_calls, 4);
	assert_memory_equal(buf, data, 3 * MIB);
}

static void write_that_is_given_up_hurts_no_other(void **state)
{
	struct vhdx_memory *m = disk(state, 1024 * MIB, MIB, false);
	struct vhdx *image = open_disk(m, 0);
	struct tevent_context *ev = tevent_context_init(m);
	struct many many = { .status = NT_STATUS_OK };
	struct tevent_req *reqs[3];
	uint8_t data[512] = { 3 };
	uint8_t buf[512];
	size_t i;

	for (i = 0; i < 3; i++) {
		reqs[i] = vhdx_write_send(m, ev, image, data, sizeof(data),
					  i * MIB);
		tevent_req_set_callback(reqs[i], write_done, &many);
	}
	TALLOC_FREE(reqs[0]);
	TALLOC_FREE(reqs[1]);
	many.pending = 1;
	many_wait(ev, &many);
	assert_ok(many.status);
	assert_ok(vhdx_read(image, buf, sizeof(buf), 2 * MIB));
	assert_memory_equal(buf, data, sizeof(buf));
}

static void requests_that_wait_are_told_of_the_close(void **state)
{
	struct vhdx_memory *m = disk(state, 1024 * MIB, MIB, false);
	struct vhdx *image = open_disk(m, 0);
	struct tevent_context *ev = tevent_context_init(m);
	struct many many = { .pending = 2 };
	uint8_t data[512] = { 3 };
	struct tevent_req *req = NULL;
	size_t i;

	for (i = 0; i < 2; i++) {
		req = vhdx_write_send(m, ev, image, data, sizeof(data),
				      i * MIB);
		tevent_req_set_callback(req, write_done, &many);
	}
	assert_ok(vhdx_close(&image));
	many_wait(ev, &many);
	assert_status(many.status, NT_STATUS_FILE_CLOSED);
}

static void read_done(struct tevent_req *req)
{
	struct many *many = tevent_req_callback_data_void(req);

	many->status = vhdx_read_recv(req);
	TALLOC_FREE(req);
	many->pending -= 1;
}

static void asynchronous_read_crosses_blocks_and_holes(void **state)
{
	struct vhdx_memory *m = disk(state, 16 * MIB, MIB, false);
	struct vhdx *image = open_disk(m, 0);
	struct tevent_context *ev = tevent_context_init(m);
	struct many many = { .pending = 1 };
	uint8_t *data = talloc_array(m, uint8_t, 4 * MIB);
	uint8_t *buf = talloc_array(m, uint8_t, 4 * MIB);
	struct tevent_req *req = NULL;

	memset(buf, 9, 4 * MIB);
	memset(data, 0, 4 * MIB);
	memset(data, 1, MIB);
	memset(data + 3 * MIB, 2, MIB);
	assert_ok(vhdx_write(image, data + 3 * MIB, MIB, 4 * MIB));
	assert_ok(vhdx_write(image, data, MIB, MIB));
	req = vhdx_read_send(m, ev, image, buf, 4 * MIB, MIB);
	tevent_req_set_callback(req, read_done, &many);
	many_wait(ev, &many);
	assert_ok(many.status);
	assert_memory_equal(buf, data, 4 * MIB);
}

static void asynchronous_errors_are_those_of_the_blocking_calls(void **state)
{
	struct vhdx_memory *m = disk(state, 16 * MIB, MIB, false);
	struct vhdx *image = open_disk(m, 0);
	struct tevent_context *ev = tevent_context_init(m);
	struct many many = { .status = NT_STATUS_OK };
	struct tevent_req *req = NULL;
	uint8_t buf[512] = { 0 };

	req = vhdx_write_send(m, ev, image, buf, sizeof(buf), 16 * MIB);
	tevent_req_set_callback(req, write_done, &many);
	many.pending = 1;
	many_wait(ev, &many);
	assert_status(many.status, NT_STATUS_INVALID_PARAMETER);

	vhdx_memory_fail(m, ENOSPC, 0);
	req = vhdx_write_send(m, ev, image, buf, sizeof(buf), 0);
	tevent_req_set_callback(req, write_done, &many);
	many.pending = 1;
	many_wait(ev, &many);
	assert_status(many.status, NT_STATUS_DISK_FULL);
	vhdx_memory_fail(m, 0, 0);

	assert_ok(vhdx_close(&image));
	image = open_disk(m, VHDX_OPEN_READ_ONLY);
	req = vhdx_write_send(m, ev, image, buf, sizeof(buf), 0);
	tevent_req_set_callback(req, write_done, &many);
	many.pending = 1;
	many_wait(ev, &many);
	assert_status(many.status, NT_STATUS_MEDIA_WRITE_PROTECTED);
}

static void largest_disk_opens_with_little_memory(void **state)
{
	struct vhdx_memory *m = disk(state, 64 * TIB, MIB, false);
	size_t before = talloc_total_size(m);
	struct vhdx *image = open_disk(m, 0);
	uint8_t buf[512] = { 1 };

	assert_true(talloc_total_size(m) - before < 8 * MIB);
	assert_ok(vhdx_write(image, buf, sizeof(buf), 64 * TIB - 512));
	memset(buf, 0, sizeof(buf));
	assert_ok(vhdx_read(image, buf, sizeof(buf), 64 * TIB - 512));
	assert_int_equal(buf[0], 1);
	assert_ok(vhdx_close(&image));
}

/* More sectors of the BAT than are kept */
static void cached_bat_is_bounded(void **state)
{
	struct vhdx_memory *m = disk(state, 4 * TIB, MIB, true);
	struct vhdx *image = open_disk(m, VHDX_OPEN_READ_ONLY);
	struct vhdx_extent extent;
	uint32_t seed = 5;
	size_t before = talloc_total_size(m);
	size_t i;

	for (i = 0; i < 20000; i++) {
		uint64_t block = vhdx_memory_random(&seed) % (4 << 20);
		/* 4 * 2^20 + 1023 entries in 33 MiB */
		uint64_t wanted = 3 * MIB + 33 * MIB + block * MIB;

		assert_ok(vhdx_map(image, block * MIB, 512, &extent));
		assert_int_equal(extent.file_offset, wanted);
	}
	assert_true(talloc_total_size(m) - before < 16 * MIB);
}

/* A flush that somebody is at until the test says otherwise */
struct slow_flush {
	bool under_way;
};

static struct tevent_req *slow_flush_req;

static int slow_flush_destructor(struct slow_flush *flush)
{
	assert_false(flush->under_way);
	return 0;
}

static struct tevent_req *slow_fsync_send(TALLOC_CTX *mem_ctx,
					  struct tevent_context *ev,
					  void *private_data)
{
	struct slow_flush *flush = NULL;

	slow_flush_req = tevent_req_create(mem_ctx, &flush,
					   struct slow_flush);
	flush->under_way = true;
	talloc_set_destructor(flush, slow_flush_destructor);
	return slow_flush_req;
}

static int slow_fsync_recv(struct tevent_req *req, int *err)
{
	slow_flush_req = NULL;
	*err = 0;
	return 0;
}

static void a_flush_under_way_outlives_the_image(void **state)
{
	struct vhdx_memory *m = disk(state, 64 * MIB, MIB, false);
	struct vhdx_storage *storage = vhdx_memory_storage(m);
	struct vhdx_storage_ops ops = *storage->ops;
	struct tevent_context *ev = tevent_context_init(*state);
	struct tevent_req *req = NULL;
	struct slow_flush *flush = NULL;
	struct vhdx *image = NULL;

	ops.fsync_send = slow_fsync_send;
	ops.fsync_recv = slow_fsync_recv;
	storage->ops = &ops;
	image = open_disk(m, 0);
	req = vhdx_flush_send(m, ev, image);
	assert_non_null(slow_flush_req);
	assert_ok(vhdx_close(&image));
	assert_true(tevent_req_poll(req, ev));
	assert_status(vhdx_flush_recv(req), NT_STATUS_FILE_CLOSED);

	flush = tevent_req_data(slow_flush_req, struct slow_flush);
	flush->under_way = false;
	tevent_req_done(slow_flush_req);
	assert_null(slow_flush_req);
}

static int bad_fsync_range(void *private_data, off_t offset, off_t length)
{
	errno = EIO;
	return -1;
}

static int bad_fsync_recv(struct tevent_req *req, int *err)
{
	good_ops->fsync_recv(req, err);
	*err = EIO;
	return -1;
}

/* fsync(2) tells an error to whoever asks first, and then no more. */
static void the_user_is_told_of_errors_of_other_flushes(void **state)
{
	struct vhdx_memory *m = disk(state, 64 * MIB, MIB, false);
	struct vhdx_storage *storage = vhdx_memory_storage(m);
	struct vhdx_storage_ops ops = *storage->ops;
	struct tevent_context *ev = tevent_context_init(*state);
	struct vhdx *image = open_disk(m, 0);
	uint8_t buf[512] = { 1 };
	struct tevent_req *req = NULL;
	NTSTATUS error = vhdx_errno_status(EIO);

	good_ops = storage->ops;
	ops.fsync_range = bad_fsync_range;
	ops.fsync_recv = bad_fsync_recv;

	storage->ops = &ops;
	assert_status(vhdx_write(image, buf, sizeof(buf), 0), error);
	storage->ops = good_ops;
	assert_status(vhdx_flush(image), error);
	assert_ok(vhdx_flush(image));

	storage->ops = &ops;
	req = vhdx_write_send(m, ev, image, buf, sizeof(buf), 0);
	assert_true(tevent_req_poll(req, ev));
	assert_status(vhdx_write_recv(req), error);
	storage->ops = good_ops;
	req = vhdx_flush_send(m, ev, image);
	assert_true(tevent_req_poll(req, ev));
	assert_status(vhdx_flush_recv(req), error);
	req = vhdx_flush_send(m, ev, image);
	assert_true(tevent_req_poll(req, ev));
	assert_ok(vhdx_flush_recv(req));
	assert_ok(vhdx_close(&image));
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
		cmocka_unit_test(unwritten_disk_reads_as_zeros),
		cmocka_unit_test(random_writes_of_any_alignment_read_back),
		cmocka_unit_test(last_block_may_be_partly_on_the_disk),
		cmocka_unit_test(block_behind_the_first_chunk_is_found),
		cmocka_unit_test(map_tells_where_the_bytes_are),
		cmocka_unit_test(fixed_disk_is_one_run),
		cmocka_unit_test(read_only_image_is_not_written),
		cmocka_unit_test(opening_and_reading_leaves_the_file_as_it_is),
		cmocka_unit_test(
			first_write_changes_both_guids_before_the_data),
		cmocka_unit_test(writing_a_mapped_block_changes_nothing_else),
		cmocka_unit_test(
			new_block_costs_no_flush_while_space_is_reserved),
		cmocka_unit_test(
			room_for_new_blocks_needs_no_flush_of_other_blocks),
		cmocka_unit_test(blocks_of_one_write_share_a_log_entry),
		cmocka_unit_test(
			last_close_empties_the_log_and_gives_space_back),
		cmocka_unit_test(
			zeroed_range_reads_as_zeros_and_the_rest_stays),
		cmocka_unit_test(zeroing_what_is_not_there_allocates_nothing),
		cmocka_unit_test(
			failing_storage_fails_the_write_and_loses_nothing),
		cmocka_unit_test(writes_in_flight_to_one_new_block_all_arrive),
		cmocka_unit_test(
			requests_that_wait_share_log_entries_and_flushes),
		cmocka_unit_test(what_is_not_done_at_once_is_done_later),
		cmocka_unit_test(write_that_is_given_up_hurts_no_other),
		cmocka_unit_test(requests_that_wait_are_told_of_the_close),
		cmocka_unit_test(a_flush_under_way_outlives_the_image),
		cmocka_unit_test(the_user_is_told_of_errors_of_other_flushes),
		cmocka_unit_test(asynchronous_read_crosses_blocks_and_holes),
		cmocka_unit_test(
			asynchronous_errors_are_those_of_the_blocking_calls),
		cmocka_unit_test(largest_disk_opens_with_little_memory),
		cmocka_unit_test(cached_bat_is_bounded),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
