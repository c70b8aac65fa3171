/*
 * vfs_rsvd: an image that breaks a rule is refused, with the rule, untouched
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

/*
 * Where vhdx_create() puts things. The disk has 64 blocks of 1 MiB, the first
 * two are in the file at 4 and 5 MiB.
 */
#define HEADER1 (64 * KIB)
#define HEADER2 (128 * KIB)
#define REGION1 (192 * KIB)
#define REGION2 (256 * KIB)
#define REGION_BAT (16 + 0 * 32)
#define REGION_METADATA (16 + 1 * 32)
#define REGION_THIRD (16 + 2 * 32)
#define METADATA (2 * MIB)
#define METADATA_ENTRY(i) (METADATA + 32 + (i) * 32)
#define ITEMS (METADATA + 64 * KIB)
#define BAT (3 * MIB)

static void poke(struct vhdx_memory *m, uint64_t offset, uint64_t value,
		 size_t length)
{
	uint8_t buf[8];

	PUSH_LE_U64(buf, 0, value);
	vhdx_memory_write(m, buf, length, offset);
}

static void checksum(struct vhdx_memory *m, uint64_t offset, size_t length)
{
	uint8_t *buf = talloc_array(m, uint8_t, length);

	vhdx_memory_read(m, buf, length, offset);
	poke(m, offset + 4, vhdx_checksum(buf, length, 4), 4);
	TALLOC_FREE(buf);
}

/* In both headers, or both region tables, with the right checksum again */
static void poke_headers(struct vhdx_memory *m, uint64_t offset,
			 uint64_t value, size_t length)
{
	poke(m, HEADER1 + offset, value, length);
	poke(m, HEADER2 + offset, value, length);
	checksum(m, HEADER1, 4 * KIB);
	checksum(m, HEADER2, 4 * KIB);
}

static void poke_regions(struct vhdx_memory *m, uint64_t offset,
			 uint64_t value, size_t length)
{
	poke(m, REGION1 + offset, value, length);
	poke(m, REGION2 + offset, value, length);
	checksum(m, REGION1, 64 * KIB);
	checksum(m, REGION2, 64 * KIB);
}

/* The image, made once: making it is not what is tested here. */
static struct vhdx_memory *good_image(TALLOC_CTX *mem_ctx)
{
	struct vhdx_create_params params = {
		.virtual_size = 64 * MIB,
		.block_size = MIB,
	};
	struct vhdx_memory *m = vhdx_memory_new(mem_ctx);
	struct vhdx *image = NULL;
	uint8_t buf[8192] = { 0x5a };
	NTSTATUS status;

	status = vhdx_create(vhdx_memory_storage(m), &params);
	assert_true(NT_STATUS_IS_OK(status));
	status = vhdx_open(m, vhdx_memory_storage(m), NULL, 0, &image, NULL);
	assert_true(NT_STATUS_IS_OK(status));
	status = vhdx_write(image, buf, sizeof(buf), MIB - 4096);
	assert_true(NT_STATUS_IS_OK(status));
	status = vhdx_close(&image);
	assert_true(NT_STATUS_IS_OK(status));
	return m;
}

static void bad_file_signature(struct vhdx_memory *m)
{
	poke(m, 0, 'V', 1);
}

static void empty_file(struct vhdx_memory *m)
{
	vhdx_memory_resize(m, 0);
}

static void file_ends_in_the_headers(struct vhdx_memory *m)
{
	vhdx_memory_resize(m, 100 * KIB);
}

static void no_header_has_the_signature(struct vhdx_memory *m)
{
	poke(m, HEADER1, 'H', 1);
	poke(m, HEADER2, 'H', 1);
}

static void no_header_has_the_checksum(struct vhdx_memory *m)
{
	poke(m, HEADER1 + 200, 1, 1);
	poke(m, HEADER2 + 200, 1, 1);
}

static void headers_differ_with_one_sequence_number(struct vhdx_memory *m)
{
	poke(m, HEADER2 + 16, 0xAB, 1);
	poke_headers(m, 8, 7, 8);
}

static void version_2(struct vhdx_memory *m)
{
	poke_headers(m, 66, 2, 2);
}

static void log_version_1_with_a_log(struct vhdx_memory *m)
{
	poke_headers(m, 48, 1, 8);
	poke_headers(m, 64, 1, 2);
}

static void log_length_not_in_mib(struct vhdx_memory *m)
{
	poke_headers(m, 68, MIB - 4096, 4);
}

static void log_length_zero(struct vhdx_memory *m)
{
	poke_headers(m, 68, 0, 4);
}

static void log_offset_not_in_mib(struct vhdx_memory *m)
{
	poke_headers(m, 72, MIB + 4096, 8);
}

static void log_in_the_header_section(struct vhdx_memory *m)
{
	poke_headers(m, 72, 0, 8);
}

static void log_outside_the_file(struct vhdx_memory *m)
{
	poke_headers(m, 72, 1024 * MIB, 8);
}

static void log_offset_that_overflows(struct vhdx_memory *m)
{
	poke_headers(m, 72, UINT64_MAX - MIB + 1, 8);
}

static void log_over_the_metadata(struct vhdx_memory *m)
{
	poke_headers(m, 72, METADATA, 8);
}

static void log_over_a_block(struct vhdx_memory *m)
{
	poke_headers(m, 72, 4 * MIB, 8);
}

static void log_guid_without_a_log(struct vhdx_memory *m)
{
	uint8_t *zeros = talloc_zero_array(m, uint8_t, MIB);

	poke_headers(m, 48, 1, 8);
	vhdx_memory_write(m, zeros, MIB, MIB);
	TALLOC_FREE(zeros);
}

static void no_region_table_has_the_signature(struct vhdx_memory *m)
{
	poke(m, REGION1, 'R', 1);
	poke(m, REGION2, 'R', 1);
}

static void no_region_table_has_the_checksum(struct vhdx_memory *m)
{
	poke(m, REGION1 + 60000, 1, 1);
	poke(m, REGION2 + 60000, 1, 1);
}

static void too_many_regions(struct vhdx_memory *m)
{
	poke_regions(m, 8, 2048, 4);
}

static void no_bat_region(struct vhdx_memory *m)
{
	poke_regions(m, REGION_BAT, 0x123456789, 8);
	poke_regions(m, REGION_BAT + 28, 0, 4);
}

static void no_metadata_region(struct vhdx_memory *m)
{
	poke_regions(m, 8, 1, 4);
}

static void region_guid_twice(struct vhdx_memory *m)
{
	uint8_t guid[16];
	size_t i;

	vhdx_memory_read(m, guid, 16, REGION1 + REGION_BAT);
	for (i = 0; i < 16; i++) {
		poke_regions(m, REGION_METADATA + i, guid[i], 1);
	}
}

static void add_region(struct vhdx_memory *m, uint64_t offset,
		       uint32_t length, uint32_t required)
{
	poke_regions(m, 8, 3, 4);
	poke_regions(m, REGION_THIRD, 0xABCDEF, 8);
	poke_regions(m, REGION_THIRD + 16, offset, 8);
	poke_regions(m, REGION_THIRD + 24, length, 4);
	poke_regions(m, REGION_THIRD + 28, required, 4);
}

static void unknown_required_region(struct vhdx_memory *m)
{
	vhdx_memory_resize(m, 7 * MIB);
	add_region(m, 6 * MIB, MIB, 1);
}

static void region_not_in_mib(struct vhdx_memory *m)
{
	vhdx_memory_resize(m, 8 * MIB);
	add_region(m, 6 * MIB + 4096, MIB, 0);
}

static void region_in_the_header_section(struct vhdx_memory *m)
{
	add_region(m, 0, MIB, 0);
}

static void region_length_not_in_mib(struct vhdx_memory *m)
{
	vhdx_memory_resize(m, 8 * MIB);
	add_region(m, 6 * MIB, MIB + 4096, 0);
}

static void region_outside_the_file(struct vhdx_memory *m)
{
	add_region(m, 6 * MIB, MIB, 0);
}

static void region_offset_that_overflows(struct vhdx_memory *m)
{
	add_region(m, UINT64_MAX - MIB + 1, 2 * MIB, 0);
}

static void region_over_another(struct vhdx_memory *m)
{
	add_region(m, METADATA, MIB, 0);
}

static void region_over_the_log(struct vhdx_memory *m)
{
	add_region(m, MIB, MIB, 0);
}

static void region_over_a_block(struct vhdx_memory *m)
{
	add_region(m, 5 * MIB, MIB, 0);
}

static void bad_metadata_signature(struct vhdx_memory *m)
{
	poke(m, METADATA, 'M', 1);
}

static void metadata_reserved_not_zero(struct vhdx_memory *m)
{
	poke(m, METADATA + 8, 1, 2);
}

static void metadata_reserved2_not_zero(struct vhdx_memory *m)
{
	poke(m, METADATA + 31, 1, 1);
}

static void too_many_items(struct vhdx_memory *m)
{
	poke(m, METADATA + 10, 2048, 2);
}

static void add_item(struct vhdx_memory *m, size_t i, uint64_t id,
		     uint32_t offset, uint32_t length, uint32_t flags)
{
	poke(m, METADATA + 10, i + 1, 2);
	poke(m, METADATA_ENTRY(i), id, 8);
	poke(m, METADATA_ENTRY(i) + 16, offset, 4);
	poke(m, METADATA_ENTRY(i) + 20, length, 4);
	poke(m, METADATA_ENTRY(i) + 24, flags, 4);
}

static void unknown_required_item(struct vhdx_memory *m)
{
	add_item(m, 5, 1, 0x20000, 16, 4);
}

static void unknown_required_user_item(struct vhdx_memory *m)
{
	add_item(m, 5, 1, 0x20000, 16, 5);
}

static void item_twice(struct vhdx_memory *m)
{
	add_item(m, 5, 1, 0x20000, 16, 0);
	add_item(m, 6, 1, 0x21000, 16, 0);
}

static void item_in_the_table(struct vhdx_memory *m)
{
	add_item(m, 5, 1, 0x8000, 16, 0);
}

static void empty_item_with_an_offset(struct vhdx_memory *m)
{
	add_item(m, 5, 1, 0x20000, 0, 0);
}

static void item_of_more_than_a_mib(struct vhdx_memory *m)
{
	add_item(m, 5, 1, 0x20000, MIB + 1, 0);
}

static void item_outside_the_region(struct vhdx_memory *m)
{
	add_item(m, 5, 1, MIB - 8, 16, 0);
}

static void item_over_another(struct vhdx_memory *m)
{
	add_item(m, 5, 1, 0x1000A, 16, 0);
}

static void item_with_reserved_flags(struct vhdx_memory *m)
{
	add_item(m, 5, 1, 0x20000, 16, 8);
}

static void item_with_reserved2(struct vhdx_memory *m)
{
	add_item(m, 5, 1, 0x20000, 16, 0);
	poke(m, METADATA_ENTRY(5) + 28, 1, 4);
}

static void too_many_user_items(struct vhdx_memory *m)
{
	size_t i;

	for (i = 0; i < 1025; i++) {
		add_item(m, 5 + i, i, 0, 0, 1);
	}
}

static void file_parameters_missing(struct vhdx_memory *m)
{
	poke(m, METADATA_ENTRY(0), 1, 8);
	poke(m, METADATA_ENTRY(0) + 24, 0, 4);
}

static void disk_size_missing(struct vhdx_memory *m)
{
	poke(m, METADATA_ENTRY(1), 1, 8);
	poke(m, METADATA_ENTRY(1) + 24, 0, 4);
}

static void disk_id_missing(struct vhdx_memory *m)
{
	poke(m, METADATA_ENTRY(2), 1, 8);
	poke(m, METADATA_ENTRY(2) + 24, 0, 4);
}

static void logical_sector_size_missing(struct vhdx_memory *m)
{
	poke(m, METADATA_ENTRY(3), 1, 8);
	poke(m, METADATA_ENTRY(3) + 24, 0, 4);
}

static void physical_sector_size_missing(struct vhdx_memory *m)
{
	poke(m, METADATA + 10, 4, 2);
}

static void file_parameters_too_short(struct vhdx_memory *m)
{
	poke(m, METADATA_ENTRY(0) + 20, 4, 4);
}

static void block_size_too_small(struct vhdx_memory *m)
{
	poke(m, ITEMS, 512 * KIB, 4);
}

static void block_size_too_large(struct vhdx_memory *m)
{
	poke(m, ITEMS, 512 * MIB, 4);
}

static void block_size_no_power_of_two(struct vhdx_memory *m)
{
	poke(m, ITEMS, 3 * MIB, 4);
}

static void block_size_zero(struct vhdx_memory *m)
{
	poke(m, ITEMS, 0, 4);
}

static void file_parameters_reserved(struct vhdx_memory *m)
{
	poke(m, ITEMS + 4, 4, 4);
}

static void parent_without_a_locator(struct vhdx_memory *m)
{
	poke(m, ITEMS + 4, 2, 4);
}

static void disk_size_zero(struct vhdx_memory *m)
{
	poke(m, ITEMS + 8, 0, 8);
}

static void disk_size_over_64_tib(struct vhdx_memory *m)
{
	poke(m, ITEMS + 8, ((uint64_t)64 << 40) + 512, 8);
}

static void disk_size_no_multiple_of_the_sector(struct vhdx_memory *m)
{
	poke(m, ITEMS + 8, 64 * MIB - 100, 8);
}

static void logical_sector_size_1024(struct vhdx_memory *m)
{
	poke(m, ITEMS + 32, 1024, 4);
}

static void physical_sector_size_0(struct vhdx_memory *m)
{
	poke(m, ITEMS + 36, 0, 4);
}

static void bat_too_small(struct vhdx_memory *m)
{
	/* 262144 blocks of 1 MiB are 2 MiB of table */
	poke(m, ITEMS + 8, 262144 * MIB, 8);
}

static void block_with_reserved_bits(struct vhdx_memory *m)
{
	poke(m, BAT + 8 * 9, 4 * MIB + 6 + 8, 8);
}

static void block_in_state_4(struct vhdx_memory *m)
{
	poke(m, BAT + 8 * 9, 6 * MIB + 4, 8);
}

static void block_in_state_5(struct vhdx_memory *m)
{
	poke(m, BAT + 8 * 9, 6 * MIB + 5, 8);
}

static void block_partially_present(struct vhdx_memory *m)
{
	poke(m, BAT + 8 * 9, 6 * MIB + 7, 8);
}

static void block_outside_the_file(struct vhdx_memory *m)
{
	poke(m, BAT + 8 * 9, 6 * MIB + 6, 8);
}

static void block_at_the_end_of_all_numbers(struct vhdx_memory *m)
{
	poke(m, BAT + 8 * 9, ~(MIB - 1) + 6, 8);
}

static void block_in_the_header_section(struct vhdx_memory *m)
{
	poke(m, BAT + 8 * 9, 6, 8);
}

static void block_in_the_log(struct vhdx_memory *m)
{
	poke(m, BAT + 8 * 9, MIB + 6, 8);
}

static void block_in_the_metadata(struct vhdx_memory *m)
{
	poke(m, BAT + 8 * 9, METADATA + 6, 8);
}

static void block_in_the_bat(struct vhdx_memory *m)
{
	poke(m, BAT + 8 * 9, BAT + 6, 8);
}

static void block_over_another(struct vhdx_memory *m)
{
	poke(m, BAT + 8 * 9, 5 * MIB + 6, 8);
}

static void bitmap_present(struct vhdx_memory *m)
{
	/* 4096 blocks in a chunk: a disk that has its bitmap's entry */
	poke(m, ITEMS + 8, 4097 * MIB, 8);
	poke(m, BAT + 8 * 4096, 6 * MIB + 6, 8);
}

struct mutation {
	void (*mutate)(struct vhdx_memory *m);
	const char *reason;	/* how it begins */
};

static const struct mutation mutations[] = {
	{ bad_file_signature, "file identifier: Signature: " },
	{ empty_file, "file identifier: Signature: " },
	{ file_ends_in_the_headers, "header 2: Signature: the file ends" },
	{ no_header_has_the_signature, "header 1: Signature: " },
	{ no_header_has_the_checksum, "header 1: Checksum: " },
	{ headers_differ_with_one_sequence_number,
	  "headers: SequenceNumber: " },
	{ version_2, "header 2: Version: must be 1, is 2" },
	{ log_version_1_with_a_log, "header 2: LogVersion: " },
	{ log_length_not_in_mib, "header 2: LogLength: " },
	{ log_length_zero, "header 2: LogLength: " },
	{ log_offset_not_in_mib, "header 2: LogOffset: must be a multiple" },
	{ log_in_the_header_section, "header 2: LogOffset: must be behind" },
	{ log_outside_the_file, "header 2: LogOffset: the log must be in" },
	{ log_offset_that_overflows,
	  "header 2: LogOffset: the log must be in" },
	{ log_over_the_metadata,
	  "region table 1: entry[1]: the region must not overlap the log" },
	{ log_over_a_block, "BAT: payload[0]: FileOffsetMB must not "
	  "overlap the log" },
	{ log_guid_without_a_log, "log: entries: there must be a valid" },
	{ no_region_table_has_the_signature, "region table 1: Signature: " },
	{ no_region_table_has_the_checksum, "region table 1: Checksum: " },
	{ too_many_regions, "region table 1: EntryCount: must be at most "
	  "2047, is 2048" },
	{ no_bat_region, "region table 1: entries: there must be a BAT" },
	{ no_metadata_region,
	  "region table 1: entries: there must be a metadata" },
	{ region_guid_twice, "region table 1: entry[1]: Guid must be unique" },
	{ unknown_required_region, "region table 1: entry[2]: Required "
	  "region 00abcdef-0000-0000-0000-000000000000 is not known" },
	{ region_not_in_mib, "region table 1: entry[2]: FileOffset " },
	{ region_in_the_header_section,
	  "region table 1: entry[2]: FileOffset " },
	{ region_length_not_in_mib, "region table 1: entry[2]: Length " },
	{ region_outside_the_file,
	  "region table 1: entry[2]: the region must be inside" },
	{ region_offset_that_overflows,
	  "region table 1: entry[2]: the region must be inside" },
	{ region_over_another, "region table 1: entry[2]: the region must "
	  "not overlap the metadata" },
	{ region_over_the_log, "region table 1: entry[2]: the region must "
	  "not overlap the log" },
	{ region_over_a_block, "BAT: payload[1]: FileOffsetMB must not "
	  "overlap the unknown region" },
	{ bad_metadata_signature, "metadata table: Signature: " },
	{ metadata_reserved_not_zero, "metadata table: Reserved: " },
	{ metadata_reserved2_not_zero, "metadata table: Reserved2: " },
	{ too_many_items, "metadata table: EntryCount: " },
	{ unknown_required_item, "metadata table: entry[5]: IsRequired item "
	  "00000001-0000-0000-0000-000000000000 is not known" },
	{ unknown_required_user_item,
	  "metadata table: entry[5]: IsRequired item " },
	{ item_twice, "metadata table: entry[" },
	{ item_in_the_table, "metadata table: entry[5]: Offset must be at" },
	{ empty_item_with_an_offset,
	  "metadata table: entry[5]: Offset must be 0" },
	{ item_of_more_than_a_mib, "metadata table: entry[5]: Length must" },
	{ item_outside_the_region,
	  "metadata table: entry[5]: the item must be inside" },
	{ item_over_another,
	  "metadata table: entry[5]: the item must not overlap" },
	{ item_with_reserved_flags, "metadata table: entry[5]: Reserved " },
	{ item_with_reserved2, "metadata table: entry[5]: Reserved " },
	{ too_many_user_items, "metadata table: entries: there must be at "
	  "most 1024 user items, are 1025" },
	{ file_parameters_missing,
	  "metadata table: entries: there must be a file parameters" },
	{ disk_size_missing,
	  "metadata table: entries: there must be a virtual disk size" },
	{ disk_id_missing,
	  "metadata table: entries: there must be a virtual disk ID" },
	{ logical_sector_size_missing,
	  "metadata table: entries: there must be a logical sector size" },
	{ physical_sector_size_missing,
	  "metadata table: entries: there must be a physical sector size" },
	{ file_parameters_too_short, "metadata table: entry[0]: Length of a "
	  "file parameters must be 8, is 4" },
	{ block_size_too_small, "file parameters: BlockSize: " },
	{ block_size_too_large, "file parameters: BlockSize: " },
	{ block_size_no_power_of_two, "file parameters: BlockSize: " },
	{ block_size_zero, "file parameters: BlockSize: " },
	{ file_parameters_reserved, "file parameters: Reserved: " },
	{ parent_without_a_locator,
	  "metadata table: entries: there must be a parent locator" },
	{ disk_size_zero, "virtual disk size: VirtualDiskSize: must be from" },
	{ disk_size_over_64_tib,
	  "virtual disk size: VirtualDiskSize: must be from" },
	{ disk_size_no_multiple_of_the_sector,
	  "virtual disk size: VirtualDiskSize: must be a multiple" },
	{ logical_sector_size_1024,
	  "logical sector size: LogicalSectorSize: " },
	{ physical_sector_size_0,
	  "physical sector size: PhysicalSectorSize: " },
	{ bat_too_small, "BAT: Length: must have room for 262207 entries" },
	{ block_with_reserved_bits, "BAT: payload[9]: Reserved " },
	{ block_in_state_4, "BAT: payload[9]: State must not be 4" },
	{ block_in_state_5, "BAT: payload[9]: State must not be 5" },
	{ block_partially_present,
	  "BAT: payload[9]: State PARTIALLY_PRESENT needs a parent" },
	{ block_outside_the_file,
	  "BAT: payload[9]: FileOffsetMB must be inside the file" },
	{ block_at_the_end_of_all_numbers,
	  "BAT: payload[9]: FileOffsetMB must be inside the file" },
	{ block_in_the_header_section, "BAT: payload[9]: FileOffsetMB must "
	  "not overlap the header section" },
	{ block_in_the_log,
	  "BAT: payload[9]: FileOffsetMB must not overlap the log" },
	{ block_in_the_metadata,
	  "BAT: payload[9]: FileOffsetMB must not overlap the metadata" },
	{ block_in_the_bat,
	  "BAT: payload[9]: FileOffsetMB must not overlap the BAT" },
	{ block_over_another,
	  "BAT: payload[9]: FileOffsetMB must not overlap another block" },
	{ bitmap_present, "BAT: sector bitmap[0]: State " },
};

static bool begins_with(const char *string, const char *start)
{
	return string != NULL && strncmp(string, start, strlen(start)) == 0;
}

static void assert_refused(struct vhdx_memory *m, uint32_t flags,
			   const struct mutation *mutation)
{
	uint64_t changes = vhdx_memory_num_changes(m);
	struct vhdx *image = NULL;
	char *reason = NULL;
	NTSTATUS status;

	status = vhdx_open(m, vhdx_memory_storage(m), NULL, flags, &image,
			   &reason);
	if (NT_STATUS_V(status) != NT_STATUS_V(NT_STATUS_FILE_CORRUPT_ERROR) ||
	    !begins_with(reason, mutation->reason)) {
		fail_msg("wanted \"%s...\", status 0x%08x, reason \"%s\"",
			 mutation->reason, NT_STATUS_V(status),
			 reason != NULL ? reason : "");
	}
	assert_int_equal(vhdx_memory_num_changes(m), changes);
}

static void every_broken_rule_is_refused_and_nothing_written(void **state)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(mutations); i++) {
		struct vhdx_memory *m = good_image(*state);

		mutations[i].mutate(m);
		assert_refused(m, 0, &mutations[i]);
		assert_refused(m, VHDX_OPEN_READ_ONLY, &mutations[i]);
		TALLOC_FREE(m);
	}
}

/* Not only the first of them: what comes after it can be looked at too. */
static void check_finds_what_open_refuses(void **state)
{
	size_t i;
	size_t j;

	for (i = 0; i < ARRAY_SIZE(mutations); i++) {
		struct vhdx_memory *m = good_image(*state);
		struct vhdx_check_report *report = NULL;
		uint64_t changes;
		bool found = false;
		NTSTATUS status;

		mutations[i].mutate(m);
		changes = vhdx_memory_num_changes(m);
		status = vhdx_check(m, vhdx_memory_storage(m), NULL, NULL,
				    &report);
		assert_true(NT_STATUS_IS_OK(status));
		for (j = 0; j < report->num_findings; j++) {
			struct vhdx_check_finding *f = &report->findings[j];
			char *text = talloc_asprintf(m, "%s: %s: %s",
						     f->structure, f->field,
						     f->rule);

			found |= f->is_error &&
				 begins_with(text, mutations[i].reason);
		}
		if (!found) {
			fail_msg("check does not find \"%s\"",
				 mutations[i].reason);
		}
		assert_int_equal(vhdx_memory_num_changes(m), changes);
		TALLOC_FREE(m);
	}
}

static void assert_opens(struct vhdx_memory *m)
{
	struct vhdx *image = NULL;
	char *reason = NULL;
	uint8_t buf[4096];
	NTSTATUS status;

	status = vhdx_open(m, vhdx_memory_storage(m), NULL, 0, &image,
			   &reason);
	if (!NT_STATUS_IS_OK(status)) {
		fail_msg("%s", reason);
	}
	status = vhdx_read(image, buf, sizeof(buf), MIB - 4096);
	assert_true(NT_STATUS_IS_OK(status));
	assert_int_equal(buf[0], 0x5a);
	/* And it can be allocated from. */
	status = vhdx_write(image, buf, sizeof(buf), 30 * MIB);
	assert_true(NT_STATUS_IS_OK(status));
	status = vhdx_close(&image);
	assert_true(NT_STATUS_IS_OK(status));
}

static void one_bad_header_is_what_there_are_two_for(void **state)
{
	uint64_t headers[2] = { HEADER1, HEADER2 };
	size_t i;

	for (i = 0; i < 2; i++) {
		struct vhdx_memory *m = good_image(*state);

		poke(m, headers[i] + 100, 1, 1);
		assert_opens(m);
		/* Both are good again. */
		poke(m, headers[1 - i] + 100, 1, 1);
		assert_opens(m);
		TALLOC_FREE(m);
	}
}

static void same_header_twice_is_accepted(void **state)
{
	struct vhdx_memory *m = good_image(*state);
	uint8_t header[4096];

	vhdx_memory_read(m, header, sizeof(header), HEADER1);
	vhdx_memory_write(m, header, sizeof(header), HEADER2);
	assert_opens(m);
}

static void one_bad_region_table_is_what_there_are_two_for(void **state)
{
	uint64_t tables[2] = { REGION1, REGION2 };
	size_t i;

	for (i = 0; i < 2; i++) {
		struct vhdx_memory *m = good_image(*state);

		poke(m, tables[i] + 100, 1, 1);
		assert_opens(m);
		TALLOC_FREE(m);
	}
}

static void log_version_without_a_log_does_not_matter(void **state)
{
	struct vhdx_memory *m = good_image(*state);

	poke_headers(m, 64, 1, 2);
	/* Not what is tested here, but it would be refused for that. */
	poke_headers(m, 8, 7, 8);
	poke(m, HEADER2 + 8, 8, 8);
	checksum(m, HEADER2, 4 * KIB);
	assert_opens(m);
}

static void unknown_optional_region_is_kept(void **state)
{
	struct vhdx_memory *m = good_image(*state);
	uint8_t data[] = "somebody else's";
	uint8_t table[64 * KIB];
	uint8_t buf[sizeof(data)];

	vhdx_memory_resize(m, 7 * MIB);
	vhdx_memory_write(m, data, sizeof(data), 6 * MIB);
	add_region(m, 6 * MIB, MIB, 0);
	assert_opens(m);
	vhdx_memory_read(m, buf, sizeof(buf), 6 * MIB);
	assert_memory_equal(buf, data, sizeof(data));
	vhdx_memory_read(m, table, sizeof(table), REGION1);
	assert_int_equal(PULL_LE_U32(table, 8), 3);
}

static void unknown_optional_items_are_kept(void **state)
{
	struct vhdx_memory *m = good_image(*state);
	uint8_t before[4096];
	uint8_t after[4096];

	add_item(m, 5, 1, 0x20000, 16, 0);
	add_item(m, 6, 2, 0x20010, 16, 1);
	/* The same id as the one above, but the user's */
	add_item(m, 7, 1, 0x20020, 16, 1);
	add_item(m, 8, 3, 0, 0, 2);
	vhdx_memory_read(m, before, sizeof(before), METADATA);
	assert_opens(m);
	vhdx_memory_read(m, after, sizeof(after), METADATA);
	assert_memory_equal(before, after, sizeof(before));
}

/* The rules for those leave the rest of the entry undefined. */
static void blocks_not_in_the_file_read_as_zeros(void **state)
{
	static const unsigned states[] = { 0, 1, 2, 3 };
	struct vhdx_memory *m = good_image(*state);
	struct vhdx *image = NULL;
	uint8_t buf[4096];
	NTSTATUS status;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(states); i++) {
		poke(m, BAT + 8 * (10 + i), 5 * MIB + states[i], 8);
	}
	status = vhdx_open(m, vhdx_memory_storage(m), NULL, 0, &image, NULL);
	assert_true(NT_STATUS_IS_OK(status));
	for (i = 0; i < ARRAY_SIZE(states); i++) {
		memset(buf, 1, sizeof(buf));
		status = vhdx_read(image, buf, sizeof(buf), (10 + i) * MIB);
		assert_true(NT_STATUS_IS_OK(status));
		assert_int_equal(buf[0], 0);
		assert_memory_equal(buf, buf + 1, sizeof(buf) - 1);
	}
}

/* In a large table an entry is looked at when it is needed. */
static void bad_entry_of_a_large_bat_fails_only_its_block(void **state)
{
	struct vhdx_create_params params = {
		.virtual_size = (uint64_t)1 << 40,
		.block_size = MIB,
	};
	struct vhdx_memory *m = vhdx_memory_new(*state);
	struct vhdx *image = NULL;
	uint8_t buf[4096];
	NTSTATUS status;

	status = vhdx_create(vhdx_memory_storage(m), &params);
	assert_true(NT_STATUS_IS_OK(status));
	poke(m, BAT + 8 * 77, 5, 8);
	status = vhdx_open(m, vhdx_memory_storage(m), NULL, 0, &image, NULL);
	assert_true(NT_STATUS_IS_OK(status));
	status = vhdx_read(image, buf, sizeof(buf), 76 * MIB);
	assert_true(NT_STATUS_IS_OK(status));
	status = vhdx_read(image, buf, sizeof(buf), 77 * MIB);
	assert_int_equal(NT_STATUS_V(status),
			 NT_STATUS_V(NT_STATUS_FILE_CORRUPT_ERROR));
	status = vhdx_write(image, buf, sizeof(buf), 77 * MIB);
	assert_int_equal(NT_STATUS_V(status),
			 NT_STATUS_V(NT_STATUS_FILE_CORRUPT_ERROR));
	status = vhdx_write(image, buf, sizeof(buf), 78 * MIB);
	assert_true(NT_STATUS_IS_OK(status));
}

/* Whatever is in it: refused or opened, but not a crash. */
static void any_byte_may_be_anything(void **state)
{
	uint64_t places[] = {
		0, HEADER1, HEADER2, REGION1, REGION2, METADATA, ITEMS, BAT,
	};
	uint32_t seed = 20260722;
	size_t i;

	for (i = 0; i < 4000; i++) {
		struct vhdx_memory *m = good_image(*state);
		uint64_t place = places[i % ARRAY_SIZE(places)];
		struct vhdx_check_report *report = NULL;
		struct vhdx *image = NULL;
		uint8_t buf[4096];
		NTSTATUS status;
		unsigned n;

		for (n = 0; n < 1 + i % 3; n++) {
			poke(m, place + vhdx_memory_random(&seed) % 128,
			     vhdx_memory_random(&seed), 1);
		}
		checksum(m, HEADER1, 4 * KIB);
		checksum(m, HEADER2, 4 * KIB);
		checksum(m, REGION1, 64 * KIB);
		checksum(m, REGION2, 64 * KIB);
		status = vhdx_open(m, vhdx_memory_storage(m), NULL,
				   VHDX_OPEN_READ_ONLY, &image, NULL);
		if (NT_STATUS_IS_OK(status)) {
			vhdx_read(image, buf, sizeof(buf), 0);
			vhdx_read(image, buf, sizeof(buf), 10 * MIB);
			vhdx_close(&image);
		}
		vhdx_check(m, vhdx_memory_storage(m), NULL, NULL, &report);
		TALLOC_FREE(m);
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
		cmocka_unit_test(
			every_broken_rule_is_refused_and_nothing_written),
		cmocka_unit_test(check_finds_what_open_refuses),
		cmocka_unit_test(one_bad_header_is_what_there_are_two_for),
		cmocka_unit_test(same_header_twice_is_accepted),
		cmocka_unit_test(
			one_bad_region_table_is_what_there_are_two_for),
		cmocka_unit_test(log_version_without_a_log_does_not_matter),
		cmocka_unit_test(unknown_optional_region_is_kept),
		cmocka_unit_test(unknown_optional_items_are_kept),
		cmocka_unit_test(blocks_not_in_the_file_read_as_zeros),
		cmocka_unit_test(
			bad_entry_of_a_large_bat_fails_only_its_block),
		cmocka_unit_test(any_byte_may_be_anything),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
