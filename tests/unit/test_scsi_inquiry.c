/*
 * vfs_rsvd: what the disk tells about itself: INQUIRY, REPORT LUNS, port
 * groups, mode pages, operation codes
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "tests/unit/scsi_test.h"

static void standard_inquiry_data_is_that_of_a_disk(void **state)
{
	struct scsi_test *t = *state;
	uint8_t expected[96] = {
		0x00, 0x00, 0x06, 0x02, 0x5b, 0x18, 0x10, 0x02,
		[58] = 0x00, 0xa0, 0x04, 0x60, 0x04, 0xc0,
	};

	memcpy(expected + 8, "SAMBA   Shared VHDX     0001", 28);
	scsi_send(t, &t->a, 0x12, 0, 0, 0x01, 0x00, 0);
	assert_good(t);
	assert_int_equal(t->task.data_in_length, sizeof(expected));
	assert_memory_equal(t->in, expected, sizeof(expected));
}

static void inquiry_data_is_truncated_to_the_allocation_length(void **state)
{
	struct scsi_test *t = *state;
	unsigned length;

	for (length = 0; length < 100; length++) {
		scsi_send(t, &t->a, 0x12, 0, 0, 0, length, 0);
		assert_good(t);
		assert_int_equal(t->task.data_in_length, MIN(length, 96));
		/* Nothing behind it is touched. */
		assert_int_equal(t->in[MIN(length, 96)], 0xee);
	}
}

static void inquiry_refuses_a_page_without_evpd(void **state)
{
	struct scsi_test *t = *state;

	scsi_send(t, &t->a, 0x12, 0, 0x80, 0, 36, 0);
	assert_invalid_cdb(t, 0xc0, 2);
	/* An unknown page, and CMDDT, which is gone since SPC-3 */
	scsi_send(t, &t->a, 0x12, 1, 0x84, 0, 36, 0);
	assert_invalid_cdb(t, 0xc0, 2);
	scsi_send(t, &t->a, 0x12, 2, 0, 0, 36, 0);
	assert_invalid_cdb(t, 0xc9, 1);
}

static void vpd(struct scsi_test *t, uint8_t page)
{
	scsi_send(t, &t->a, 0x12, 1, page, 0x01, 0x00, 0);
}

static void vpd_page_00_lists_the_pages_in_order(void **state)
{
	struct scsi_test *t = *state;
	uint8_t pages[8];
	size_t i;

	vpd(t, 0x00);
	assert_data(t, 0x00, 0x00, 0x00, 0x08, 0x00, 0x80, 0x83, 0x86, 0x8f,
		    0xb0, 0xb1, 0xb2);
	memcpy(pages, t->in + 4, sizeof(pages));
	for (i = 0; i < sizeof(pages); i++) {
		vpd(t, pages[i]);
		assert_good(t);
		assert_int_equal(t->in[1], pages[i]);
		assert_int_equal(t->task.data_in_length,
				 4 + (t->in[2] << 8 | t->in[3]));
	}
}

static void vpd_page_80_is_the_virtual_disk_id(void **state)
{
	struct scsi_test *t = *state;

	vpd(t, 0x80);
	assert_good(t);
	assert_int_equal(t->task.data_in_length, 36);
	assert_memory_equal(t->in, "\x00\x80\x00\x20"
			    "0102030405064708890a0b0c0d0e0f10", 36);
}

static void vpd_page_83_has_designators_of_disk_and_port(void **state)
{
	struct scsi_test *t = *state;
	/* 01^89 and NAA 3, 02^0a, 03^0b, 04^0c, 05^0d, 06^0e, 47^0f, 08^10 */
	const uint8_t expected[] =
		"\x00\x83\x00\x48"
		"\x01\x03\x00\x08" "\x38\x08\x08\x08\x08\x08\x48\x18"
		"\x02\x01\x00\x28" "SAMBA   "
		"0102030405064708890a0b0c0d0e0f10"
		"\x01\x14\x00\x04" "\x00\x00\x00\x01"
		"\x01\x15\x00\x04" "\x00\x00\x00\x01";

	vpd(t, 0x83);
	assert_good(t);
	assert_int_equal(t->task.data_in_length, sizeof(expected) - 1);
	assert_memory_equal(t->in, expected, sizeof(expected) - 1);
}

static void vpd_page_b0_tells_the_limits(void **state)
{
	struct scsi_test *t = *state;
	uint8_t expected[64] = {
		0x00, 0xb0, 0x00, 0x3c,
		0x00,			/* WSNZ */
		0xff,			/* compare and write: 255 */
		0x00, 0x08,		/* granularity: 4096 bytes */
		0x00, 0x00, 0x08, 0x00,	/* 1 MiB */
		0x00, 0x00, 0x08, 0x00,
		0x00, 0x00, 0x00, 0x00,	/* prefetch: no limit */
		0x00, 0x10, 0x00, 0x00,	/* unmap: 2^20 blocks, */
		0x00, 0x00, 0x01, 0x00,	/* 256 descriptors */
		0x00, 0x00, 0x00, 0x08,
		0x80, 0x00, 0x00, 0x00,	/* UGAVALID */
		0, 0, 0, 0, 0x00, 0x00, 0x80, 0x00, /* write same: 32768 */
		0x00, 0x00, 0x08, 0x00,	/* atomic */
	};

	vpd(t, 0xb0);
	assert_good(t);
	assert_int_equal(t->task.data_in_length, sizeof(expected));
	assert_memory_equal(t->in, expected, sizeof(expected));

	/* Nothing of unmap on a disk that isn't thin */
	memset(expected + 20, 0, 16);
	t->disk->scsi.thin = false;
	vpd(t, 0xb0);
	assert_memory_equal(t->in, expected, sizeof(expected));
}

static void vpd_page_b2_tells_thin_from_fixed(void **state)
{
	struct scsi_test *t = *state;

	vpd(t, 0xb2);
	assert_data(t, 0x00, 0xb2, 0x00, 0x04, 0x00, 0xc4, 0x02, 0x00);
	t->disk->scsi.thin = false;
	vpd(t, 0xb2);
	assert_data(t, 0x00, 0xb2, 0x00, 0x04, 0x00, 0x00, 0x00, 0x00);
}

static void there_is_one_logical_unit(void **state)
{
	struct scsi_test *t = *state;

	scsi_send(t, &t->a, 0xa0, 0, 0x00, 0, 0, 0, 0, 0, 1, 0, 0, 0);
	assert_data(t, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
	/* Well known ones: none */
	scsi_send(t, &t->a, 0xa0, 0, 0x01, 0, 0, 0, 0, 0, 1, 0, 0, 0);
	assert_data(t, 0, 0, 0, 0, 0, 0, 0, 0);
	scsi_send(t, &t->a, 0xa0, 0, 0x77, 0, 0, 0, 0, 0, 1, 0, 0, 0);
	assert_invalid_cdb(t, 0xc0, 2);
	scsi_send(t, &t->a, 0xa0, 0, 0x00, 0, 0, 0, 0, 0, 0, 15, 0, 0);
	assert_invalid_cdb(t, 0xc0, 6);
}

static void the_port_group_is_active(void **state)
{
	struct scsi_test *t = *state;

	scsi_send(t, &t->a, 0xa3, 0x0a, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0);
	assert_data(t, 0, 0, 0, 12, 0x00, 0x01, 0, 1, 0, 0, 0, 1,
		    0, 0, 0, 1);
	/* Extended header */
	scsi_send(t, &t->a, 0xa3, 0x2a, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0);
	assert_data(t, 0, 0, 0, 16, 0x10, 0, 0, 0, 0x00, 0x01, 0, 1,
		    0, 0, 0, 1, 0, 0, 0, 1);
	scsi_send(t, &t->a, 0xa3, 0x4a, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0);
	assert_invalid_cdb(t, 0xcf, 1);
}

static void no_task_management_function_is_supported(void **state)
{
	struct scsi_test *t = *state;

	scsi_send(t, &t->a, 0xa3, 0x0d, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0);
	assert_data(t, 0, 0, 0, 0);
	/* REPD */
	scsi_send(t, &t->a, 0xa3, 0x0d, 0x80, 0, 0, 0, 0, 0, 1, 0, 0, 0);
	assert_data(t, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
}

static void opcodes(struct scsi_test *t, uint8_t options, uint8_t opcode,
		    uint8_t service_action)
{
	scsi_send(t, &t->a, 0xa3, 0x0c, options, opcode, 0, service_action,
		  0, 1, 0, 0, 0, 0);
}

static void one_command_is_described_by_its_usage_data(void **state)
{
	struct scsi_test *t = *state;

	/* READ(10): DPO, FUA, FUA_NV, LBA, group, length */
	opcodes(t, 1, 0x28, 0);
	assert_data(t, 0, 0x03, 0, 10, 0x28, 0x1a, 0xff, 0xff, 0xff, 0xff,
		    0x1f, 0xff, 0xff, 0);
	/* READ CAPACITY(16) */
	opcodes(t, 2, 0x9e, 0x10);
	assert_data(t, 0, 0x03, 0, 16, 0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0,
		    0xff, 0xff, 0xff, 0xff, 0, 0);
	/* With timeouts */
	opcodes(t, 0x81, 0x00, 0);
	assert_data(t, 0, 0x83, 0, 6, 0, 0, 0, 0, 0, 0,
		    0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
}

static void a_command_there_is_not_is_said_to_be_unsupported(void **state)
{
	struct scsi_test *t = *state;

	opcodes(t, 1, 0x04, 0);
	assert_data(t, 0, 0x01, 0, 0);
	opcodes(t, 2, 0x9e, 0x11);
	assert_data(t, 0, 0x01, 0, 0);
	/* CRYPTO ERASE */
	opcodes(t, 2, 0x48, 0x03);
	assert_data(t, 0, 0x01, 0, 0);
	/* UNMAP is for thin disks. */
	t->disk->scsi.thin = false;
	opcodes(t, 1, 0x42, 0);
	assert_data(t, 0, 0x01, 0, 0);
}

static void options_must_fit_the_service_actions_of_a_command(void **state)
{
	struct scsi_test *t = *state;

	opcodes(t, 1, 0x5e, 0);
	assert_invalid_cdb(t, 0xca, 2);
	opcodes(t, 2, 0x28, 0);
	assert_invalid_cdb(t, 0xca, 2);
	opcodes(t, 4, 0x28, 0);
	assert_invalid_cdb(t, 0xca, 2);
	/* Option 3 takes both. */
	opcodes(t, 3, 0x28, 0);
	assert_int_equal(t->in[1], 0x03);
	opcodes(t, 3, 0x28, 1);
	assert_int_equal(t->in[1], 0x01);
	opcodes(t, 3, 0x5e, 3);
	assert_int_equal(t->in[1], 0x03);
}

/* The commands that are to be there, each with its CDB length */
static void all_commands_are_listed(void **state)
{
	struct scsi_test *t = *state;
	const struct {
		uint8_t opcode;
		uint8_t service_action;	/* 0xff: has none */
		uint8_t cdb_length;
	} commands[] = {
		{ 0x00, 0xff, 6 }, { 0x03, 0xff, 6 }, { 0x08, 0xff, 6 },
		{ 0x0a, 0xff, 6 }, { 0x12, 0xff, 6 }, { 0x15, 0xff, 6 },
		{ 0x16, 0xff, 6 }, { 0x17, 0xff, 6 }, { 0x1a, 0xff, 6 },
		{ 0x1b, 0xff, 6 }, { 0x1d, 0xff, 6 }, { 0x1e, 0xff, 6 },
		{ 0x25, 0xff, 10 },
		{ 0x28, 0xff, 10 }, { 0x2a, 0xff, 10 }, { 0x2e, 0xff, 10 },
		{ 0x2f, 0xff, 10 }, { 0x34, 0xff, 10 }, { 0x35, 0xff, 10 },
		{ 0x37, 0xff, 10 }, { 0x41, 0xff, 10 }, { 0x42, 0xff, 10 },
		{ 0x48, 0x01, 10 }, { 0x48, 0x02, 10 }, { 0x48, 0x1f, 10 },
		{ 0x4d, 0xff, 10 }, { 0x55, 0xff, 10 }, { 0x56, 0xff, 10 },
		{ 0x57, 0xff, 10 }, { 0x5a, 0xff, 10 }, { 0x5e, 0x00, 10 },
		{ 0x5e, 0x01, 10 }, { 0x5e, 0x02, 10 }, { 0x5e, 0x03, 10 },
		{ 0x5f, 0x00, 10 }, { 0x5f, 0x01, 10 }, { 0x5f, 0x02, 10 },
		{ 0x5f, 0x03, 10 }, { 0x5f, 0x04, 10 }, { 0x5f, 0x05, 10 },
		{ 0x5f, 0x06, 10 }, { 0x5f, 0x07, 10 }, { 0x83, 0x00, 16 },
		{ 0x84, 0x00, 16 }, { 0x84, 0x03, 16 }, { 0x84, 0x04, 16 },
		{ 0x88, 0xff, 16 }, { 0x89, 0xff, 16 }, { 0x8a, 0xff, 16 },
		{ 0x8b, 0xff, 16 }, { 0x8e, 0xff, 16 }, { 0x8f, 0xff, 16 },
		{ 0x90, 0xff, 16 }, { 0x91, 0xff, 16 }, { 0x93, 0xff, 16 },
		{ 0x9c, 0xff, 16 }, { 0x9e, 0x10, 16 }, { 0x9e, 0x12, 16 },
		{ 0xa0, 0xff, 12 }, { 0xa3, 0x0a, 12 }, { 0xa3, 0x0c, 12 },
		{ 0xa3, 0x0d, 12 }, { 0xa8, 0xff, 12 }, { 0xaa, 0xff, 12 },
		{ 0xae, 0xff, 12 }, { 0xaf, 0xff, 12 }, { 0xb7, 0xff, 12 },
	};
	size_t i;

	opcodes(t, 0, 0, 0);
	assert_good(t);
	assert_int_equal(t->task.data_in_length,
			 4 + 8 * ARRAY_SIZE(commands));
	assert_int_equal(t->in[2] << 8 | t->in[3], 8 * ARRAY_SIZE(commands));
	for (i = 0; i < ARRAY_SIZE(commands); i++) {
		const uint8_t *d = t->in + 4 + 8 * i;
		bool has_sa = commands[i].service_action != 0xff;

		assert_int_equal(d[0], commands[i].opcode);
		assert_int_equal(d[3],
				 has_sa ? commands[i].service_action : 0);
		assert_int_equal(d[5], has_sa ? 0x01 : 0x00);
		assert_int_equal(d[7], commands[i].cdb_length);
	}

	/* With timeouts, CTDP */
	opcodes(t, 0x80, 0, 0);
	assert_int_equal(t->task.data_in_length,
			 4 + 20 * ARRAY_SIZE(commands));
	assert_int_equal(t->in[4 + 5], 0x02);
	assert_int_equal(t->in[4 + 9], 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		scsi_unit_test(standard_inquiry_data_is_that_of_a_disk),
		scsi_unit_test(
			inquiry_data_is_truncated_to_the_allocation_length),
		scsi_unit_test(inquiry_refuses_a_page_without_evpd),
		scsi_unit_test(vpd_page_00_lists_the_pages_in_order),
		scsi_unit_test(vpd_page_80_is_the_virtual_disk_id),
		scsi_unit_test(vpd_page_83_has_designators_of_disk_and_port),
		scsi_unit_test(vpd_page_b0_tells_the_limits),
		scsi_unit_test(vpd_page_b2_tells_thin_from_fixed),
		scsi_unit_test(there_is_one_logical_unit),
		scsi_unit_test(the_port_group_is_active),
		scsi_unit_test(no_task_management_function_is_supported),
		scsi_unit_test(one_command_is_described_by_its_usage_data),
		scsi_unit_test(
			a_command_there_is_not_is_said_to_be_unsupported),
		scsi_unit_test(
			options_must_fit_the_service_actions_of_a_command),
		scsi_unit_test(all_commands_are_listed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
