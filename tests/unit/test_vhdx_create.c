/*
 * vfs_rsvd: a new image has the bytes that MS-VHDX wants
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
#define TIB (1024 * 1024 * MIB)

static struct vhdx_memory *create(void **state,
				  const struct vhdx_create_params *params)
{
	struct vhdx_memory *memory = vhdx_memory_new(*state);
	NTSTATUS status;

	status = vhdx_create(vhdx_memory_storage(memory), params);
	assert_true(NT_STATUS_IS_OK(status));
	return memory;
}

/* A dynamic disk of 10 GiB with 32 MiB blocks: 320 BAT entries, 1 MiB */
static struct vhdx_memory *create_usual(void **state)
{
	struct vhdx_create_params params = {
		.virtual_size = 10240 * MIB,
		.virtual_disk_id = {
			0x00112233, 0x4455, 0x6677, { 0x88, 0x99 },
			{ 0xAA, 0xBB, 0xCC, 0xDD, 0xEE, 0xFF },
		},
	};

	return create(state, &params);
}

static void assert_bytes(struct vhdx_memory *memory, uint64_t offset,
			 const void *expected, size_t length)
{
	uint8_t *buf = talloc_array(memory, uint8_t, length);

	vhdx_memory_read(memory, buf, length, offset);
	assert_memory_equal(buf, expected, length);
	TALLOC_FREE(buf);
}

static void assert_zeros(struct vhdx_memory *memory, uint64_t offset,
			 size_t length)
{
	uint8_t *zeros = talloc_zero_array(memory, uint8_t, length);

	assert_bytes(memory, offset, zeros, length);
	TALLOC_FREE(zeros);
}

static uint32_t u32(struct vhdx_memory *memory, uint64_t offset)
{
	uint8_t buf[4];

	vhdx_memory_read(memory, buf, 4, offset);
	return PULL_LE_U32(buf, 0);
}

/* 2.2.1 */
static void file_begins_with_vhdxfile_and_the_creator(void **state)
{
	struct vhdx_memory *memory = create_usual(state);

	assert_bytes(memory, 0,
		     "vhdxfile"
		     "v\0f\0s\0_\0r\0s\0v\0d\0", 24);
	assert_zeros(memory, 24, 64 * KIB - 24);
}

/* The CRC-32C of the bytes, bit by bit, to have another one than the code */
static uint32_t crc32c_by_definition(const uint8_t *buf, size_t length)
{
	uint32_t crc = 0xFFFFFFFF;
	size_t i;
	int bit;

	for (i = 0; i < length; i++) {
		crc ^= buf[i];
		for (bit = 0; bit < 8; bit++) {
			crc = (crc >> 1) ^ ((crc & 1) ? 0x82F63B78 : 0);
		}
	}
	return ~crc;
}

static void crc32c_of_123456789_is_e3069283(void **state)
{
	assert_int_equal(vhdx_crc32c(0, "123456789", 9), 0xE3069283);
	assert_int_equal(crc32c_by_definition((const uint8_t *)"123456789",
					      9), 0xE3069283);
}

static void crc32c_goes_on_where_it_stopped(void **state)
{
	uint32_t crc = vhdx_crc32c(0, "1234", 4);

	assert_int_equal(vhdx_crc32c(crc, "56789", 5), 0xE3069283);
	assert_int_equal(vhdx_crc32c(crc, "", 0), crc);
}

static void assert_checksum(struct vhdx_memory *memory, uint64_t offset,
			    size_t length)
{
	uint8_t *buf = talloc_array(memory, uint8_t, length);
	uint32_t checksum;

	vhdx_memory_read(memory, buf, length, offset);
	checksum = PULL_LE_U32(buf, 4);
	PUSH_LE_U32(buf, 4, 0);
	assert_int_equal(crc32c_by_definition(buf, length), checksum);
	TALLOC_FREE(buf);
}

/* 2.2.2 */
static void both_headers_are_valid_and_name_the_log(void **state)
{
	struct vhdx_memory *memory = create_usual(state);
	uint64_t headers[2] = { 64 * KIB, 128 * KIB };
	size_t i;

	for (i = 0; i < 2; i++) {
		uint64_t h = headers[i];
		uint8_t guids[32];

		assert_bytes(memory, h, "head", 4);
		assert_checksum(memory, h, 4096);
		/* SequenceNumber: the second is the newer one */
		assert_int_equal(u32(memory, h + 8), i + 1);
		assert_int_equal(u32(memory, h + 12), 0);
		/* FileWriteGuid, DataWriteGuid: something */
		vhdx_memory_read(memory, guids, sizeof(guids), h + 16);
		assert_memory_not_equal(guids, guids + 16, 16);
		/* LogGuid: no log; LogVersion 0, Version 1 */
		assert_zeros(memory, h + 48, 16);
		assert_bytes(memory, h + 64, "\0\0\1\0", 4);
		/* LogLength 1 MiB, LogOffset 1 MiB */
		assert_bytes(memory, h + 68, "\0\0\x10\0", 4);
		assert_bytes(memory, h + 72, "\0\0\x10\0\0\0\0\0", 8);
		assert_zeros(memory, h + 80, 64 * KIB - 80);
	}
}

/* 2.2.3 */
static void both_region_tables_name_bat_and_metadata(void **state)
{
	struct vhdx_memory *memory = create_usual(state);
	uint64_t tables[2] = { 192 * KIB, 256 * KIB };
	static const uint8_t expected[] = {
		/* EntryCount, Reserved */
		2, 0, 0, 0, 0, 0, 0, 0,
		/* BAT at 3 MiB, 1 MiB, required */
		0x66, 0x77, 0xC2, 0x2D, 0x23, 0xF6, 0x00, 0x42,
		0x9D, 0x64, 0x11, 0x5E, 0x9B, 0xFD, 0x4A, 0x08,
		0x00, 0x00, 0x30, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x10, 0x00, 0x01, 0x00, 0x00, 0x00,
		/* metadata at 2 MiB, 1 MiB, required */
		0x06, 0xA2, 0x7C, 0x8B, 0x90, 0x47, 0x9A, 0x4B,
		0xB8, 0xFE, 0x57, 0x5F, 0x05, 0x0F, 0x88, 0x6E,
		0x00, 0x00, 0x20, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x10, 0x00, 0x01, 0x00, 0x00, 0x00,
	};
	size_t i;

	for (i = 0; i < 2; i++) {
		uint64_t t = tables[i];

		assert_bytes(memory, t, "regi", 4);
		assert_checksum(memory, t, 64 * KIB);
		assert_bytes(memory, t + 8, expected, sizeof(expected));
		assert_zeros(memory, t + 8 + sizeof(expected),
			     64 * KIB - 8 - sizeof(expected));
	}
}

/* 2.6 */
static void metadata_has_the_five_items(void **state)
{
	struct vhdx_memory *memory = create_usual(state);
	uint64_t m = 2 * MIB;
	static const uint8_t table[] = {
		'm', 'e', 't', 'a', 'd', 'a', 't', 'a',
		0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		/* file parameters: 8 bytes at 64 KiB, required */
		0x37, 0x67, 0xA1, 0xCA, 0x36, 0xFA, 0x43, 0x4D,
		0xB3, 0xB6, 0x33, 0xF0, 0xAA, 0x44, 0xE7, 0x6B,
		0, 0, 1, 0, 8, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0,
		/* virtual disk size: 8 bytes, of the disk, required */
		0x24, 0x42, 0xA5, 0x2F, 0x1B, 0xCD, 0x76, 0x48,
		0xB2, 0x11, 0x5D, 0xBE, 0xD8, 0x3B, 0xF4, 0xB8,
		8, 0, 1, 0, 8, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0,
		/* virtual disk ID: 16 bytes */
		0xAB, 0x12, 0xCA, 0xBE, 0xE6, 0xB2, 0x23, 0x45,
		0x93, 0xEF, 0xC3, 0x09, 0xE0, 0x00, 0xC7, 0x46,
		16, 0, 1, 0, 16, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0,
		/* logical sector size: 4 bytes */
		0x1D, 0xBF, 0x41, 0x81, 0x6F, 0xA9, 0x09, 0x47,
		0xBA, 0x47, 0xF2, 0x33, 0xA8, 0xFA, 0xAB, 0x5F,
		32, 0, 1, 0, 4, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0,
		/* physical sector size: 4 bytes */
		0xC7, 0x48, 0xA3, 0xCD, 0x5D, 0x44, 0x71, 0x44,
		0x9C, 0xC9, 0xE9, 0x88, 0x52, 0x51, 0xC5, 0x56,
		36, 0, 1, 0, 4, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0,
	};
	static const uint8_t items[] = {
		/* BlockSize 32 MiB, no flags */
		0x00, 0x00, 0x00, 0x02, 0, 0, 0, 0,
		/* 10 GiB */
		0x00, 0x00, 0x00, 0x80, 0x02, 0, 0, 0,
		0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66,
		0x88, 0x99, 0xAA, 0xBB, 0xCC, 0xDD, 0xEE, 0xFF,
		0x00, 0x02, 0, 0,	/* 512 */
		0x00, 0x10, 0, 0,	/* 4096 */
	};

	assert_bytes(memory, m, table, sizeof(table));
	assert_zeros(memory, m + sizeof(table), 64 * KIB - sizeof(table));
	assert_bytes(memory, m + 64 * KIB, items, sizeof(items));
}

/* 2.5 */
static void dynamic_image_has_an_empty_bat_and_ends_behind_it(void **state)
{
	struct vhdx_memory *memory = create_usual(state);

	assert_zeros(memory, 3 * MIB, MIB);
	assert_int_equal(vhdx_memory_size(memory), 4 * MIB);
}

/*
 * 4096-byte sectors: 2^23 of them in a chunk, so with blocks of 256 MiB the
 * chunk ratio is 128 and entry 128 is a sector bitmap's.
 */
static void fixed_image_has_every_block_in_order(void **state)
{
	struct vhdx_create_params params = {
		.virtual_size = 130 * 256 * MIB,
		.block_size = 256 * MIB,
		.logical_sector_size = 4096,
		.fixed = true,
	};
	struct vhdx_memory *memory = create(state, &params);
	uint64_t bat = 3 * MIB;

	/* FULLY_PRESENT at 4 MiB, 260 MiB, ... */
	assert_bytes(memory, bat, "\x06\x00\x40\x00\0\0\0\0", 8);
	assert_bytes(memory, bat + 8, "\x06\x00\x40\x10\0\0\0\0", 8);
	assert_bytes(memory, bat + 127 * 8, "\x06\x00\x40\xF0\x07\0\0\0", 8);
	assert_zeros(memory, bat + 128 * 8, 8);
	assert_bytes(memory, bat + 129 * 8, "\x06\x00\x40\x00\x08\0\0\0", 8);
	assert_bytes(memory, bat + 130 * 8, "\x06\x00\x40\x10\x08\0\0\0", 8);
	assert_zeros(memory, bat + 131 * 8, MIB - 131 * 8);
	assert_int_equal(vhdx_memory_size(memory),
			 4 * MIB + 130 * 256 * MIB);
	/* LeaveBlocksAllocated */
	assert_int_equal(u32(memory, 2 * MIB + 64 * KIB + 4), 1);
	assert_int_equal(u32(memory, 2 * MIB + 64 * KIB + 32), 4096);
}

static void largest_disk_has_room_in_its_bat(void **state)
{
	struct vhdx_create_params params = {
		.virtual_size = 64 * TIB,
		.block_size = MIB,
	};
	struct vhdx_memory *memory = create(state, &params);

	/*
	 * 2^26 blocks, a bitmap entry behind every 4096 but the last:
	 * 67108864 + 16383 entries of 8 bytes, in MiB 512.12, so 513
	 */
	assert_int_equal(u32(memory, 192 * KIB + 16 + 24), 513 * MIB);
	assert_int_equal(vhdx_memory_size(memory), 3 * MIB + 513 * MIB);
}

static void image_with_a_large_log_has_it_in_front(void **state)
{
	struct vhdx_create_params params = {
		.virtual_size = 64 * MIB,
		.log_size = 16 * MIB,
	};
	struct vhdx_memory *memory = create(state, &params);

	assert_int_equal(u32(memory, 64 * KIB + 68), 16 * MIB);
	assert_bytes(memory, 17 * MIB, "metadata", 8);
}

static void values_that_the_format_does_not_allow_are_refused(void **state)
{
	static const struct vhdx_create_params bad[] = {
		{ .virtual_size = 0 },
		{ .virtual_size = 1000 },
		{ .virtual_size = 512, .logical_sector_size = 4096 },
		{ .virtual_size = 64 * TIB + 512 },
		{ .virtual_size = MIB, .block_size = 512 * KIB },
		{ .virtual_size = MIB, .block_size = 3 * MIB },
		{ .virtual_size = MIB, .block_size = 512 * MIB },
		{ .virtual_size = MIB, .logical_sector_size = 1024 },
		{ .virtual_size = MIB, .physical_sector_size = 8192 },
		{ .virtual_size = MIB, .log_size = MIB + 4096 },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		struct vhdx_memory *memory = vhdx_memory_new(*state);
		NTSTATUS status;

		status = vhdx_create(vhdx_memory_storage(memory), &bad[i]);
		assert_int_equal(NT_STATUS_V(status),
				 NT_STATUS_V(NT_STATUS_INVALID_PARAMETER));
		assert_int_equal(vhdx_memory_num_changes(memory), 0);
		TALLOC_FREE(memory);
	}
}

static void file_that_is_not_empty_is_left_alone(void **state)
{
	struct vhdx_create_params params = { .virtual_size = MIB };
	struct vhdx_memory *memory = vhdx_memory_new(*state);
	NTSTATUS status;

	vhdx_memory_write(memory, "data", 4, 0);
	status = vhdx_create(vhdx_memory_storage(memory), &params);
	assert_int_equal(NT_STATUS_V(status),
			 NT_STATUS_V(NT_STATUS_OBJECT_NAME_COLLISION));
	assert_int_equal(vhdx_memory_num_changes(memory), 1);
}

/* The identifier comes last, and not before the rest is safe. */
static void power_cut_leaves_no_image_or_a_whole_one(void **state)
{
	struct vhdx_create_params params = { .virtual_size = 64 * MIB };
	uint32_t seed = 4711;
	uint64_t i;

	for (i = 0; i < 400; i++) {
		struct vhdx_memory *memory = vhdx_memory_new(*state);
		struct vhdx_memory *after = NULL;
		struct vhdx *image = NULL;
		uint8_t signature[8];
		NTSTATUS status;

		vhdx_memory_fail(memory, EIO, i % 20);
		vhdx_create(vhdx_memory_storage(memory), &params);
		after = vhdx_memory_cut(memory, memory, 128, &seed);
		vhdx_memory_read(after, signature, 8, 0);
		status = vhdx_open(memory, vhdx_memory_storage(after), NULL,
				   0, &image, NULL);
		assert_int_equal(NT_STATUS_IS_OK(status),
				 memcmp(signature, "vhdxfile", 8) == 0);
		TALLOC_FREE(memory);
	}
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
		cmocka_unit_test(crc32c_of_123456789_is_e3069283),
		cmocka_unit_test(crc32c_goes_on_where_it_stopped),
		cmocka_unit_test(file_begins_with_vhdxfile_and_the_creator),
		cmocka_unit_test(both_headers_are_valid_and_name_the_log),
		cmocka_unit_test(both_region_tables_name_bat_and_metadata),
		cmocka_unit_test(metadata_has_the_five_items),
		cmocka_unit_test(
			dynamic_image_has_an_empty_bat_and_ends_behind_it),
		cmocka_unit_test(fixed_image_has_every_block_in_order),
		cmocka_unit_test(largest_disk_has_room_in_its_bat),
		cmocka_unit_test(image_with_a_large_log_has_it_in_front),
		cmocka_unit_test(
			values_that_the_format_does_not_allow_are_refused),
		cmocka_unit_test(file_that_is_not_empty_is_left_alone),
		cmocka_unit_test(power_cut_leaves_no_image_or_a_whole_one),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
