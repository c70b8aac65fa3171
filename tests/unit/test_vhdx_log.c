/*
 * vfs_rsvd: logs, of others and our own, are replayed as MS-VHDX 2.3.3 says
 *
 * Entries are put together here byte by byte, not by the code under test.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include <setjmp.h>
#include <cmocka.h>
#include "modules/vhdx/vhdx_private.h"
#include "tests/unit/vhdx_memory.h"

#define KIB ((uint64_t)1024)
#define MIB (1024 * KIB)

#define HEADER1 (64 * KIB)
#define HEADER2 (128 * KIB)
#define LOG MIB
#define METADATA (2 * MIB)
#define BAT (3 * MIB)
#define SECTOR 4096

/* Where no structure is, in the metadata region: free for the tests */
#define FREE_SECTOR(i) (METADATA + 512 * KIB + (i) * SECTOR)

static const uint8_t log_guid[16] = "the log's GUID!";
static const uint8_t other_guid[16] = "no log's GUID!!";

static void poke(struct vhdx_memory *m, uint64_t offset, uint64_t value,
		 size_t length)
{
	uint8_t buf[8];

	PUSH_LE_U64(buf, 0, value);
	vhdx_memory_write(m, buf, length, offset);
}

/* The macro computes what it pushes more than once. */
static void sum(uint8_t *buf, size_t length)
{
	uint32_t crc;

	PUSH_LE_U32(buf, 4, 0);
	crc = vhdx_crc32c(0, buf, length);
	PUSH_LE_U32(buf, 4, crc);
}

static void name_log(struct vhdx_memory *m, const uint8_t guid[16])
{
	uint64_t headers[2] = { HEADER1, HEADER2 };
	uint8_t buf[4096];
	size_t i;

	for (i = 0; i < 2; i++) {
		vhdx_memory_read(m, buf, sizeof(buf), headers[i]);
		memcpy(buf + 48, guid, 16);
		sum(buf, sizeof(buf));
		vhdx_memory_write(m, buf, sizeof(buf), headers[i]);
	}
}

/* A disk of 64 blocks of 1 MiB, none in the file, which has 4 MiB */
static struct vhdx_memory *image_with_log(void **state)
{
	struct vhdx_create_params params = {
		.virtual_size = 64 * MIB,
		.block_size = MIB,
	};
	struct vhdx_memory *m = vhdx_memory_new(*state);
	NTSTATUS status;
	uint32_t i;

	status = vhdx_create(vhdx_memory_storage(m), &params);
	assert_true(NT_STATUS_IS_OK(status));
	name_log(m, log_guid);
	/* A log that was used: what is not overwritten is garbage. */
	for (i = 0; i < MIB; i += SECTOR) {
		poke(m, LOG + i, i * 2654435761u, 4);
	}
	return m;
}

/* An entry being built */
struct entry {
	uint8_t bytes[80 * SECTOR];
	uint32_t num_descriptors;
	uint32_t num_data;
	uint32_t descriptor_sectors;
	uint64_t sequence;
};

static void entry_begin(struct entry *e, uint64_t sequence, uint32_t tail,
			uint32_t descriptor_sectors)
{
	memset(e, 0, sizeof(*e));
	e->sequence = sequence;
	e->descriptor_sectors = descriptor_sectors;
	memcpy(e->bytes, "loge", 4);
	PUSH_LE_U32(e->bytes, 12, tail);
	PUSH_LE_U64(e->bytes, 16, sequence);
	memcpy(e->bytes + 32, log_guid, 16);
	PUSH_LE_U64(e->bytes, 48, 4 * MIB);
	PUSH_LE_U64(e->bytes, 56, 4 * MIB);
}

static uint8_t *entry_descriptor(struct entry *e)
{
	uint8_t *d = e->bytes + 64 + 32 * (size_t)e->num_descriptors;

	e->num_descriptors += 1;
	PUSH_LE_U64(d, 24, e->sequence);
	return d;
}

/* A sector that is full of one byte */
static void entry_add_data(struct entry *e, uint64_t file_offset, uint8_t c)
{
	uint8_t *d = entry_descriptor(e);
	uint8_t *sector = e->bytes + SECTOR * (size_t)(e->descriptor_sectors +
						       e->num_data);

	e->num_data += 1;
	memcpy(d, "desc", 4);
	memset(d + 4, c, 4);
	memset(d + 8, c, 8);
	PUSH_LE_U64(d, 16, file_offset);
	memset(sector, c, SECTOR);
	memcpy(sector, "data", 4);
	PUSH_LE_U32(sector, 4, e->sequence >> 32);
	PUSH_LE_U32(sector, 4092, e->sequence & 0xFFFFFFFF);
}

static void entry_add_zero(struct entry *e, uint64_t file_offset,
			   uint64_t length)
{
	uint8_t *d = entry_descriptor(e);

	memcpy(d, "zero", 4);
	PUSH_LE_U64(d, 8, length);
	PUSH_LE_U64(d, 16, file_offset);
}

static uint32_t entry_length(const struct entry *e)
{
	return (e->descriptor_sectors + e->num_data) * SECTOR;
}

static void entry_sum(struct entry *e, uint32_t length)
{
	sum(e->bytes, length);
}

static void entry_finish(struct entry *e)
{
	PUSH_LE_U32(e->bytes, 8, entry_length(e));
	PUSH_LE_U32(e->bytes, 24, e->num_descriptors);
	entry_sum(e, entry_length(e));
}

/* Into the log, around its end; the offset of the next */
static uint32_t entry_put(struct vhdx_memory *m, const struct entry *e,
			  uint32_t offset)
{
	uint32_t length = entry_length(e);
	uint32_t first = MIN(length, MIB - offset);

	vhdx_memory_write(m, e->bytes, first, LOG + offset);
	if (first < length) {
		vhdx_memory_write(m, e->bytes + first, length - first, LOG);
	}
	return (offset + length) % MIB;
}

/* One entry with one sector, its own tail */
static void put_simple(struct vhdx_memory *m, uint32_t offset,
		       uint64_t sequence, uint32_t tail, uint64_t file_offset,
		       uint8_t c)
{
	struct entry e;

	entry_begin(&e, sequence, tail, 1);
	entry_add_data(&e, file_offset, c);
	entry_finish(&e);
	entry_put(m, &e, offset);
}

static NTSTATUS try_open(struct vhdx_memory *m, uint32_t flags,
			 struct vhdx **image, char **reason)
{
	return vhdx_open(m, vhdx_memory_storage(m), NULL, flags, image,
			 reason);
}

/* Open for writing, which replays, and close. */
static void replay(struct vhdx_memory *m)
{
	struct vhdx *image = NULL;
	char *reason = NULL;
	NTSTATUS status;

	status = try_open(m, 0, &image, &reason);
	if (!NT_STATUS_IS_OK(status)) {
		fail_msg("%s", reason);
	}
	status = vhdx_close(&image);
	assert_true(NT_STATUS_IS_OK(status));
}

static void assert_refused(struct vhdx_memory *m, const char *wanted)
{
	uint64_t changes = vhdx_memory_num_changes(m);
	struct vhdx *image = NULL;
	char *reason = NULL;
	NTSTATUS status;

	status = try_open(m, 0, &image, &reason);
	assert_int_equal(NT_STATUS_V(status),
			 NT_STATUS_V(NT_STATUS_FILE_CORRUPT_ERROR));
	if (strncmp(reason, wanted, strlen(wanted)) != 0) {
		fail_msg("wanted \"%s\", got \"%s\"", wanted, reason);
	}
	assert_int_equal(vhdx_memory_num_changes(m), changes);
}

static void assert_filled(struct vhdx_memory *m, uint64_t offset, uint8_t c)
{
	uint8_t expected[SECTOR];
	uint8_t buf[SECTOR];

	memset(expected, c, sizeof(expected));
	vhdx_memory_read(m, buf, sizeof(buf), offset);
	assert_memory_equal(buf, expected, sizeof(buf));
}

static void assert_log_is_empty(struct vhdx_memory *m)
{
	static const uint8_t zeros[16];
	uint8_t guid[16];

	vhdx_memory_read(m, guid, 16, HEADER1 + 48);
	assert_memory_equal(guid, zeros, 16);
	vhdx_memory_read(m, guid, 16, HEADER2 + 48);
	assert_memory_equal(guid, zeros, 16);
}

static void data_descriptor_is_written_with_first_and_last_bytes(
	void **state)
{
	struct vhdx_memory *m = image_with_log(state);

	put_simple(m, 0, 1, 0, FREE_SECTOR(0), 0x11);
	replay(m);
	assert_filled(m, FREE_SECTOR(0), 0x11);
	assert_log_is_empty(m);
}

static void zero_descriptor_zeros_its_range_and_no_more(void **state)
{
	struct vhdx_memory *m = image_with_log(state);
	struct entry e;
	size_t i;

	for (i = 0; i < 5; i++) {
		poke(m, FREE_SECTOR(i), 0x5555, 8);
		poke(m, FREE_SECTOR(i) + 4088, 0x5555, 8);
	}
	entry_begin(&e, 9, 0, 1);
	entry_add_zero(&e, FREE_SECTOR(1), 3 * SECTOR);
	entry_finish(&e);
	entry_put(m, &e, 0);
	replay(m);
	for (i = 1; i < 4; i++) {
		assert_filled(m, FREE_SECTOR(i), 0);
	}
	for (i = 0; i < 5; i += 4) {
		uint8_t buf[SECTOR];

		vhdx_memory_read(m, buf, sizeof(buf), FREE_SECTOR(i));
		assert_int_equal(buf[0], 0x55);
		assert_int_equal(buf[4088], 0x55);
	}
}

static void later_entry_wins(void **state)
{
	struct vhdx_memory *m = image_with_log(state);
	struct entry e;

	put_simple(m, 0, 5, 0, FREE_SECTOR(0), 0x11);
	put_simple(m, 2 * SECTOR, 6, 0, FREE_SECTOR(0), 0x22);
	entry_begin(&e, 7, 0, 1);
	entry_add_data(&e, FREE_SECTOR(1), 0x33);
	entry_add_zero(&e, FREE_SECTOR(1), SECTOR);
	entry_add_data(&e, FREE_SECTOR(2), 0x44);
	entry_finish(&e);
	entry_put(m, &e, 4 * SECTOR);
	replay(m);
	assert_filled(m, FREE_SECTOR(0), 0x22);
	assert_filled(m, FREE_SECTOR(1), 0x00);
	assert_filled(m, FREE_SECTOR(2), 0x44);
}

/* 126 descriptors fit behind the header, 128 in each sector more. */
static void entry_with_several_descriptor_sectors_is_replayed(void **state)
{
	struct vhdx_memory *m = image_with_log(state);
	struct entry e;
	size_t i;

	entry_begin(&e, 1, 0, 2);
	for (i = 0; i < 120; i++) {
		entry_add_zero(&e, FREE_SECTOR(i), SECTOR);
	}
	for (i = 0; i < 40; i++) {
		entry_add_data(&e, FREE_SECTOR(i), i + 1);
	}
	entry_finish(&e);
	entry_put(m, &e, 0);
	replay(m);
	for (i = 0; i < 40; i++) {
		assert_filled(m, FREE_SECTOR(i), i + 1);
	}
}

static void sequence_and_entry_may_wrap_around_the_end(void **state)
{
	struct vhdx_memory *m = image_with_log(state);
	uint32_t tail = MIB - 5 * SECTOR;
	struct entry e;

	put_simple(m, tail, 100, tail, FREE_SECTOR(0), 0x11);
	put_simple(m, tail + 2 * SECTOR, 101, tail, FREE_SECTOR(1), 0x22);
	/* One sector before the end, three after it */
	entry_begin(&e, 102, tail, 1);
	entry_add_data(&e, FREE_SECTOR(0), 0x33);
	entry_add_data(&e, FREE_SECTOR(2), 0x44);
	entry_add_data(&e, FREE_SECTOR(3), 0x55);
	entry_finish(&e);
	assert_int_equal(entry_put(m, &e, MIB - SECTOR), 3 * SECTOR);
	put_simple(m, 3 * SECTOR, 103, tail, FREE_SECTOR(4), 0x66);
	replay(m);
	assert_filled(m, FREE_SECTOR(0), 0x33);
	assert_filled(m, FREE_SECTOR(1), 0x22);
	assert_filled(m, FREE_SECTOR(2), 0x44);
	assert_filled(m, FREE_SECTOR(3), 0x55);
	assert_filled(m, FREE_SECTOR(4), 0x66);
}

/* Entries before the tail of the newest are in place since long. */
static void replay_begins_at_the_tail_of_the_newest_entry(void **state)
{
	struct vhdx_memory *m = image_with_log(state);

	put_simple(m, 0, 1, 0, FREE_SECTOR(0), 0x11);
	put_simple(m, 2 * SECTOR, 2, 2 * SECTOR, FREE_SECTOR(1), 0x22);
	put_simple(m, 4 * SECTOR, 3, 2 * SECTOR, FREE_SECTOR(2), 0x33);
	replay(m);
	assert_filled(m, FREE_SECTOR(0), 0x00);
	assert_filled(m, FREE_SECTOR(1), 0x22);
	assert_filled(m, FREE_SECTOR(2), 0x33);
}

static void newest_of_several_sequences_is_replayed_and_no_other(void **state)
{
	struct vhdx_memory *m = image_with_log(state);

	put_simple(m, 0, 50, 0, FREE_SECTOR(0), 0x11);
	put_simple(m, 10 * SECTOR, 90, 10 * SECTOR, FREE_SECTOR(1), 0x22);
	put_simple(m, 20 * SECTOR, 70, 20 * SECTOR, FREE_SECTOR(2), 0x33);
	replay(m);
	assert_filled(m, FREE_SECTOR(0), 0x00);
	assert_filled(m, FREE_SECTOR(1), 0x22);
	assert_filled(m, FREE_SECTOR(2), 0x00);
}

/* What a power cut during the third write leaves */
static void torn_entry_ends_the_sequence_before_it(void **state)
{
	struct vhdx_memory *m = image_with_log(state);

	put_simple(m, 0, 1, 0, FREE_SECTOR(0), 0x11);
	put_simple(m, 2 * SECTOR, 2, 0, FREE_SECTOR(1), 0x22);
	put_simple(m, 4 * SECTOR, 3, 0, FREE_SECTOR(2), 0x33);
	poke(m, LOG + 5 * SECTOR + 1000, 0, 4);
	replay(m);
	assert_filled(m, FREE_SECTOR(0), 0x11);
	assert_filled(m, FREE_SECTOR(1), 0x22);
	assert_filled(m, FREE_SECTOR(2), 0x00);
}

/* The last one names a tail that is overwritten: the one before is used. */
static void sequence_without_its_tail_is_not_valid(void **state)
{
	struct vhdx_memory *m = image_with_log(state);

	put_simple(m, 0, 1, 100 * SECTOR, FREE_SECTOR(0), 0x11);
	put_simple(m, 50 * SECTOR, 3, 40 * SECTOR, FREE_SECTOR(1), 0x22);
	assert_refused(m, "log: entries: there must be a valid sequence");
	put_simple(m, 60 * SECTOR, 2, 60 * SECTOR, FREE_SECTOR(2), 0x33);
	replay(m);
	assert_filled(m, FREE_SECTOR(0), 0x00);
	assert_filled(m, FREE_SECTOR(1), 0x00);
	assert_filled(m, FREE_SECTOR(2), 0x33);
}

static void gap_in_the_sequence_numbers_ends_a_sequence(void **state)
{
	struct vhdx_memory *m = image_with_log(state);

	put_simple(m, 0, 1, 0, FREE_SECTOR(0), 0x11);
	put_simple(m, 2 * SECTOR, 3, 0, FREE_SECTOR(1), 0x22);
	replay(m);
	assert_filled(m, FREE_SECTOR(0), 0x11);
	assert_filled(m, FREE_SECTOR(1), 0x00);
}

static void sequence_number_has_64_bits(void **state)
{
	struct vhdx_memory *m = image_with_log(state);
	uint64_t sequence = 0xFFFFFFFF;

	put_simple(m, 0, sequence, 0, FREE_SECTOR(0), 0x11);
	put_simple(m, 2 * SECTOR, sequence + 1, 0, FREE_SECTOR(1), 0x22);
	replay(m);
	assert_filled(m, FREE_SECTOR(0), 0x11);
	assert_filled(m, FREE_SECTOR(1), 0x22);
}

/* One thing wrong with the only entry: there is no log then. */
struct fault {
	void (*change)(struct entry *e);
};

static void fault_signature(struct entry *e)
{
	e->bytes[0] = 'L';
}

static void fault_length_zero(struct entry *e)
{
	PUSH_LE_U32(e->bytes, 8, 0);
}

static void fault_length_not_in_sectors(struct entry *e)
{
	PUSH_LE_U32(e->bytes, 8, entry_length(e) + 512);
}

static void fault_length_over_the_log(struct entry *e)
{
	PUSH_LE_U32(e->bytes, 8, 2 * MIB);
}

static void fault_length_too_short_for_the_data(struct entry *e)
{
	PUSH_LE_U32(e->bytes, 8, SECTOR);
	entry_sum(e, SECTOR);
}

static void fault_length_too_long_for_the_data(struct entry *e)
{
	PUSH_LE_U32(e->bytes, 8, 3 * SECTOR);
	entry_sum(e, 3 * SECTOR);
}

static void fault_tail_not_in_sectors(struct entry *e)
{
	PUSH_LE_U32(e->bytes, 12, 512);
	entry_sum(e, entry_length(e));
}

static void fault_tail_behind_the_log(struct entry *e)
{
	PUSH_LE_U32(e->bytes, 12, MIB);
	entry_sum(e, entry_length(e));
}

static void fault_sequence_zero(struct entry *e)
{
	PUSH_LE_U64(e->bytes, 16, 0);
	entry_sum(e, entry_length(e));
}

static void fault_too_many_descriptors(struct entry *e)
{
	PUSH_LE_U32(e->bytes, 24, 0xFFFFFFFF);
	entry_sum(e, entry_length(e));
}

static void fault_reserved(struct entry *e)
{
	PUSH_LE_U32(e->bytes, 28, 1);
	entry_sum(e, entry_length(e));
}

static void fault_guid(struct entry *e)
{
	memcpy(e->bytes + 32, other_guid, 16);
	entry_sum(e, entry_length(e));
}

static void fault_flushed_file_offset_not_in_mib(struct entry *e)
{
	PUSH_LE_U64(e->bytes, 48, 4 * MIB - 4096);
	entry_sum(e, entry_length(e));
}

static void fault_last_file_offset_not_in_mib(struct entry *e)
{
	PUSH_LE_U64(e->bytes, 56, 4 * MIB - 4096);
	entry_sum(e, entry_length(e));
}

static void fault_descriptor_signature(struct entry *e)
{
	e->bytes[64] = 'D';
	entry_sum(e, entry_length(e));
}

static void fault_descriptor_sequence(struct entry *e)
{
	PUSH_LE_U64(e->bytes, 64 + 24, 2);
	entry_sum(e, entry_length(e));
}

static void fault_descriptor_offset_not_in_sectors(struct entry *e)
{
	PUSH_LE_U64(e->bytes, 64 + 16, FREE_SECTOR(0) + 512);
	entry_sum(e, entry_length(e));
}

static void fault_zero_descriptor_reserved(struct entry *e)
{
	entry_begin(e, 1, 0, 1);
	entry_add_zero(e, FREE_SECTOR(0), SECTOR);
	PUSH_LE_U32(e->bytes, 64 + 4, 1);
	entry_finish(e);
}

static void fault_zero_length_not_in_sectors(struct entry *e)
{
	entry_begin(e, 1, 0, 1);
	entry_add_zero(e, FREE_SECTOR(0), 512);
	entry_finish(e);
}

static void fault_data_signature(struct entry *e)
{
	e->bytes[SECTOR] = 'D';
	entry_sum(e, entry_length(e));
}

static void fault_data_sequence_high(struct entry *e)
{
	e->bytes[SECTOR + 4] = 1;
	entry_sum(e, entry_length(e));
}

static void fault_data_sequence_low(struct entry *e)
{
	e->bytes[SECTOR + 4092] = 2;
	entry_sum(e, entry_length(e));
}

static void fault_checksum(struct entry *e)
{
	e->bytes[4] ^= 1;
}

static void entry_with_any_fault_is_none(void **state)
{
	static void (*const faults[])(struct entry *e) = {
		fault_signature,
		fault_length_zero,
		fault_length_not_in_sectors,
		fault_length_over_the_log,
		fault_length_too_short_for_the_data,
		fault_length_too_long_for_the_data,
		fault_tail_not_in_sectors,
		fault_tail_behind_the_log,
		fault_sequence_zero,
		fault_too_many_descriptors,
		fault_reserved,
		fault_guid,
		fault_flushed_file_offset_not_in_mib,
		fault_last_file_offset_not_in_mib,
		fault_descriptor_signature,
		fault_descriptor_sequence,
		fault_descriptor_offset_not_in_sectors,
		fault_zero_descriptor_reserved,
		fault_zero_length_not_in_sectors,
		fault_data_signature,
		fault_data_sequence_high,
		fault_data_sequence_low,
		fault_checksum,
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(faults); i++) {
		struct vhdx_memory *m = image_with_log(state);
		struct entry e;

		entry_begin(&e, 1, 0, 1);
		entry_add_data(&e, FREE_SECTOR(0), 0x11);
		entry_finish(&e);
		faults[i](&e);
		/* All of it is written, also what it says it has too much. */
		vhdx_memory_write(m, e.bytes, 4 * SECTOR, LOG);
		print_message("fault %zu\n", i);
		assert_refused(m,
			       "log: entries: there must be a valid sequence");
		TALLOC_FREE(m);
	}
}

static void file_shorter_than_flushed_was_truncated(void **state)
{
	struct vhdx_memory *m = image_with_log(state);
	struct entry e;

	entry_begin(&e, 1, 0, 1);
	PUSH_LE_U64(e.bytes, 48, 5 * MIB);
	PUSH_LE_U64(e.bytes, 56, 5 * MIB);
	entry_finish(&e);
	entry_put(m, &e, 0);
	assert_refused(m, "log: FlushedFileOffset: the file must have 5242880 "
			  "bytes, has 4194304: it was truncated");
}

static void file_grows_to_the_last_file_offset(void **state)
{
	struct vhdx_memory *m = image_with_log(state);
	struct entry e;

	entry_begin(&e, 1, 0, 1);
	PUSH_LE_U64(e.bytes, 56, 7 * MIB);
	entry_finish(&e);
	entry_put(m, &e, 0);
	replay(m);
	assert_int_equal(vhdx_memory_size(m), 7 * MIB);
}

/* Blocks 0 and 1 at 4 and 5 MiB, in a file that ends at 4 MiB */
static void put_blocks(struct vhdx_memory *m)
{
	struct entry e;
	uint8_t *sector;
	uint8_t *d;

	entry_begin(&e, 1, 0, 1);
	PUSH_LE_U64(e.bytes, 56, 6 * MIB);
	entry_add_data(&e, BAT, 0);
	d = e.bytes + 64;
	PUSH_LE_U64(d, 8, 4 * MIB + 6);
	sector = e.bytes + SECTOR;
	PUSH_LE_U64(sector, 8, 5 * MIB + 6);
	entry_finish(&e);
	entry_put(m, &e, 0);
}

static void updates_may_lie_behind_the_end_of_the_file(void **state)
{
	struct vhdx_memory *m = image_with_log(state);
	struct entry e;

	entry_begin(&e, 1, 0, 1);
	PUSH_LE_U64(e.bytes, 56, 8 * MIB);
	entry_add_data(&e, 6 * MIB, 0x77);
	entry_add_zero(&e, 7 * MIB, MIB);
	entry_finish(&e);
	entry_put(m, &e, 0);
	replay(m);
	assert_filled(m, 6 * MIB, 0x77);
	assert_filled(m, 7 * MIB, 0x00);
	assert_int_equal(vhdx_memory_size(m), 8 * MIB);
}

static void updates_of_the_headers_or_the_log_are_refused(void **state)
{
	static const uint64_t targets[] = {
		0, HEADER1, HEADER2, LOG, LOG + MIB - SECTOR,
		UINT64_MAX - SECTOR + 1, (uint64_t)1 << 63,
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(targets); i++) {
		struct vhdx_memory *m = image_with_log(state);

		put_simple(m, 0, 1, 0, targets[i], 0x11);
		assert_refused(m, "log: FileOffset: entry 1 must not write");
		TALLOC_FREE(m);
	}
}

static void zeroing_across_the_log_is_refused(void **state)
{
	struct vhdx_memory *m = image_with_log(state);
	struct entry e;

	entry_begin(&e, 1, 0, 1);
	entry_add_zero(&e, 512 * KIB, 2 * MIB);
	entry_finish(&e);
	entry_put(m, &e, 0);
	assert_refused(m, "log: FileOffset: entry 1 must not write");
}

/* The image is looked at as it would be; nothing is written before. */
static void log_that_would_spoil_the_image_is_not_replayed(void **state)
{
	struct vhdx_memory *m = image_with_log(state);

	put_simple(m, 0, 1, 0, METADATA, 0x11);
	assert_refused(m, "metadata table: Signature");
}

static void read_only_open_sees_the_log_and_writes_nothing(void **state)
{
	struct vhdx_memory *m = image_with_log(state);
	uint64_t changes;
	struct vhdx *image = NULL;
	struct vhdx_extent extent;
	uint8_t buf[2 * SECTOR];
	NTSTATUS status;

	put_blocks(m);
	/* Half of block 0 is in the file already. */
	vhdx_memory_resize(m, 4 * MIB + 512 * KIB);
	poke(m, 4 * MIB + 512 * KIB - 8, 0x4242424242424242, 8);
	changes = vhdx_memory_num_changes(m);

	status = try_open(m, VHDX_OPEN_READ_ONLY, &image, NULL);
	assert_true(NT_STATUS_IS_OK(status));
	status = vhdx_map(image, 0, 64 * MIB, &extent);
	assert_true(NT_STATUS_IS_OK(status));
	assert_int_equal(extent.kind, VHDX_EXTENT_FILE);
	assert_int_equal(extent.file_offset, 4 * MIB);
	assert_int_equal(extent.length, 512 * KIB);
	memset(buf, 1, sizeof(buf));
	status = vhdx_read(image, buf, sizeof(buf), 512 * KIB - SECTOR);
	assert_true(NT_STATUS_IS_OK(status));
	assert_int_equal(buf[SECTOR - 1], 0x42);
	assert_int_equal(buf[SECTOR], 0);
	assert_int_equal(buf[2 * SECTOR - 1], 0);
	status = vhdx_write(image, buf, SECTOR, 0);
	assert_int_equal(NT_STATUS_V(status),
			 NT_STATUS_V(NT_STATUS_MEDIA_WRITE_PROTECTED));
	status = vhdx_close(&image);
	assert_true(NT_STATUS_IS_OK(status));
	assert_int_equal(vhdx_memory_num_changes(m), changes);
}

static void replayed_blocks_can_be_written(void **state)
{
	struct vhdx_memory *m = image_with_log(state);
	struct vhdx *image = NULL;
	uint8_t buf[SECTOR];
	NTSTATUS status;

	put_blocks(m);
	status = try_open(m, 0, &image, NULL);
	assert_true(NT_STATUS_IS_OK(status));
	assert_int_equal(vhdx_memory_size(m), 6 * MIB);
	memset(buf, 0x99, sizeof(buf));
	status = vhdx_write(image, buf, sizeof(buf), MIB);
	assert_true(NT_STATUS_IS_OK(status));
	assert_filled(m, 5 * MIB, 0x99);
	/* A new block goes behind what the log says is taken. */
	status = vhdx_write(image, buf, sizeof(buf), 2 * MIB);
	assert_true(NT_STATUS_IS_OK(status));
	assert_filled(m, 6 * MIB, 0x99);
	status = vhdx_close(&image);
	assert_true(NT_STATUS_IS_OK(status));
}

static void guids(struct vhdx_memory *m, uint8_t write_guids[32])
{
	uint64_t sequence[2];
	uint8_t header[4096];

	vhdx_memory_read(m, header, sizeof(header), HEADER1);
	sequence[0] = PULL_LE_U64(header, 8);
	memcpy(write_guids, header + 16, 32);
	vhdx_memory_read(m, header, sizeof(header), HEADER2);
	sequence[1] = PULL_LE_U64(header, 8);
	if (sequence[1] > sequence[0]) {
		memcpy(write_guids, header + 16, 32);
	}
}

/* 2.2.2: DataWriteGuid is for what a user of the disk can see. */
static void replay_changes_file_write_guid_only(void **state)
{
	struct vhdx_memory *m = image_with_log(state);
	uint8_t before[32];
	uint8_t after[32];

	put_simple(m, 0, 1, 0, FREE_SECTOR(0), 0x11);
	guids(m, before);
	replay(m);
	guids(m, after);
	assert_memory_not_equal(before, after, 16);
	assert_memory_equal(before + 16, after + 16, 16);
}

struct cuts {
	struct vhdx_memory *m;
	uint32_t seed;
	unsigned num;
};

static void assert_replayed_after_cut(void *private_data)
{
	struct cuts *cuts = private_data;
	unsigned i;

	for (i = 0; i < 8; i++) {
		struct vhdx_memory *after = NULL;

		after = vhdx_memory_cut(cuts->m, cuts->m, 128, &cuts->seed);
		replay(after);
		assert_filled(after, FREE_SECTOR(0), 0x33);
		assert_filled(after, FREE_SECTOR(1), 0x22);
		TALLOC_FREE(after);
		cuts->num += 1;
	}
}

/* Any cut during the replay: it is done again. */
static void power_cut_during_replay_loses_nothing(void **state)
{
	struct cuts cuts = { .m = image_with_log(state), .seed = 77 };
	struct vhdx_memory *m = cuts.m;

	put_simple(m, 0, 1, 0, FREE_SECTOR(0), 0x11);
	put_simple(m, 2 * SECTOR, 2, 0, FREE_SECTOR(1), 0x22);
	put_simple(m, 4 * SECTOR, 3, 0, FREE_SECTOR(0), 0x33);
	vhdx_memory_watch(m, assert_replayed_after_cut, &cuts);
	replay(m);
	/* Two headers, three sectors, two headers, and flushes */
	assert_true(cuts.num >= 7 * 8);
}

/* 63 entries and more, in a log of 1 MiB: our own go around many times. */
static void our_own_log_wraps_and_is_always_replayable(void **state)
{
	struct vhdx_create_params params = {
		.virtual_size = 3000 * MIB,
		.block_size = MIB,
	};
	struct vhdx_memory *m = vhdx_memory_new(*state);
	struct vhdx *image = NULL;
	uint8_t buf[512];
	NTSTATUS status;
	uint64_t block;
	uint32_t seed = 99;

	status = vhdx_create(vhdx_memory_storage(m), &params);
	assert_true(NT_STATUS_IS_OK(status));
	status = try_open(m, 0, &image, NULL);
	assert_true(NT_STATUS_IS_OK(status));
	for (block = 0; block < 1000; block++) {
		struct vhdx_memory *after = NULL;
		struct vhdx *copy = NULL;
		char *reason = NULL;
		uint64_t i;

		memset(buf, block & 0xff, sizeof(buf));
		/* From the other end, so that sectors of the BAT change */
		status = vhdx_write(image, buf, sizeof(buf),
				    (block * 7 % 3000) * MIB);
		assert_true(NT_STATUS_IS_OK(status));
		if (block % 100 == 50) {
			status = vhdx_flush(image);
			assert_true(NT_STATUS_IS_OK(status));
		}
		if (block % 10 != 0) {
			continue;
		}
		after = vhdx_memory_cut(*state, m, 128, &seed);
		status = try_open(after, 0, &copy, &reason);
		if (!NT_STATUS_IS_OK(status)) {
			fail_msg("block %ju: %s", (uintmax_t)block, reason);
		}
		for (i = 0; block > 50 && i <= (block - 50) / 100 * 100 + 50;
		     i += 17) {
			uint8_t expected[512];

			memset(expected, i & 0xff, sizeof(expected));
			status = vhdx_read(copy, buf, sizeof(buf),
					   (i * 7 % 3000) * MIB);
			assert_true(NT_STATUS_IS_OK(status));
			assert_memory_equal(buf, expected, sizeof(buf));
		}
		status = vhdx_close(&copy);
		assert_true(NT_STATUS_IS_OK(status));
		TALLOC_FREE(after);
	}
	status = vhdx_close(&image);
	assert_true(NT_STATUS_IS_OK(status));
}

static void check_tells_of_a_log(void **state)
{
	struct vhdx_memory *m = image_with_log(state);
	struct vhdx_check_report *report = NULL;
	NTSTATUS status;

	put_blocks(m);
	status = vhdx_check(m, vhdx_memory_storage(m), NULL, NULL, &report);
	assert_true(NT_STATUS_IS_OK(status));
	assert_int_equal(report->num_findings, 1);
	assert_false(report->findings[0].is_error);
	assert_string_equal(report->findings[0].structure, "log");
	assert_string_equal(report->findings[0].field, "LogGuid");
	/* As after the replay */
	assert_int_equal(report->num_allocated_blocks, 2);
	assert_int_equal(report->leaked_bytes, 0);
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
		cmocka_unit_test(
			data_descriptor_is_written_with_first_and_last_bytes),
		cmocka_unit_test(zero_descriptor_zeros_its_range_and_no_more),
		cmocka_unit_test(later_entry_wins),
		cmocka_unit_test(
			entry_with_several_descriptor_sectors_is_replayed),
		cmocka_unit_test(sequence_and_entry_may_wrap_around_the_end),
		cmocka_unit_test(
			replay_begins_at_the_tail_of_the_newest_entry),
		cmocka_unit_test(
			newest_of_several_sequences_is_replayed_and_no_other),
		cmocka_unit_test(torn_entry_ends_the_sequence_before_it),
		cmocka_unit_test(sequence_without_its_tail_is_not_valid),
		cmocka_unit_test(gap_in_the_sequence_numbers_ends_a_sequence),
		cmocka_unit_test(sequence_number_has_64_bits),
		cmocka_unit_test(entry_with_any_fault_is_none),
		cmocka_unit_test(file_shorter_than_flushed_was_truncated),
		cmocka_unit_test(file_grows_to_the_last_file_offset),
		cmocka_unit_test(updates_may_lie_behind_the_end_of_the_file),
		cmocka_unit_test(
			updates_of_the_headers_or_the_log_are_refused),
		cmocka_unit_test(zeroing_across_the_log_is_refused),
		cmocka_unit_test(
			log_that_would_spoil_the_image_is_not_replayed),
		cmocka_unit_test(
			read_only_open_sees_the_log_and_writes_nothing),
		cmocka_unit_test(replayed_blocks_can_be_written),
		cmocka_unit_test(replay_changes_file_write_guid_only),
		cmocka_unit_test(power_cut_during_replay_loses_nothing),
		cmocka_unit_test(our_own_log_wraps_and_is_always_replayable),
		cmocka_unit_test(check_tells_of_a_log),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
