/*
 * vfs_rsvd: dispatch, sense data and unit attentions of the device server
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "tests/unit/scsi_test.h"

static void test_unit_ready_succeeds_without_data(void **state)
{
	struct scsi_test *t = *state;

	scsi_send(t, &t->a, 0x00, 0, 0, 0, 0, 0);
	assert_good(t);
	assert_int_equal(t->task.data_in_length, 0);
}

static void an_unknown_opcode_is_refused(void **state)
{
	struct scsi_test *t = *state;
	const uint8_t sense[18] = {
		0x70, 0, 0x05, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x20, 0x00
	};

	scsi_send(t, &t->a, 0x04, 0, 0, 0, 0, 0);
	assert_int_equal(t->task.status, 0x02);
	assert_int_equal(t->task.sense_length, 18);
	assert_memory_equal(t->task.sense, sense, 18);
}

static void an_unknown_service_action_is_a_field_of_the_cdb(void **state)
{
	struct scsi_test *t = *state;

	/* PERSISTENT RESERVE IN, 0x1f */
	scsi_send(t, &t->a, 0x5e, 0x1f, 0, 0, 0, 0, 0, 0, 8, 0);
	assert_invalid_cdb(t, 0xcc, 1);
}

static void a_reserved_bit_is_pointed_at(void **state)
{
	struct scsi_test *t = *state;

	scsi_send(t, &t->a, 0x00, 0, 0, 0x20, 0, 0);
	assert_invalid_cdb(t, 0xcd, 3);
	/* NACA */
	scsi_send(t, &t->a, 0x00, 0, 0, 0, 0, 0x04);
	assert_invalid_cdb(t, 0xca, 5);
}

static void a_short_cdb_is_refused(void **state)
{
	struct scsi_test *t = *state;

	scsi_send(t, &t->a, 0x28, 0, 0, 0, 0, 0);
	assert_invalid_cdb(t, 0xc0, 6);
	scsi_send(t, &t->a, 0x5e);
	assert_invalid_cdb(t, 0xc0, 1);
}

static void an_empty_cdb_is_refused(void **state)
{
	struct scsi_test *t = *state;

	t->task = (struct scsi_task) { .cdb = (const uint8_t *)"" };
	scsi_execute(&t->disk->scsi, &t->a, &t->task);
	assert_sense(t, 0x5, 0x2000);
}

static void a_longer_cdb_than_needed_is_fine(void **state)
{
	struct scsi_test *t = *state;

	/* RSVD sends all CDBs in 16 bytes. */
	scsi_send(t, &t->a, 0x00, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9,
		  10);
	assert_good(t);
}

static void set_descriptor_sense(struct scsi_test *t)
{
	t->disk->state->mode |= SCSI_MODE_D_SENSE;
}

static void d_sense_gives_a_descriptor_with_the_field_pointer(void **state)
{
	struct scsi_test *t = *state;
	const uint8_t sense[16] = {
		0x72, 0x05, 0x24, 0x00, 0, 0, 0, 8,
		0x02, 0x06, 0, 0, 0xcd, 0, 3, 0
	};

	set_descriptor_sense(t);
	scsi_send(t, &t->a, 0x00, 0, 0, 0x20, 0, 0);
	assert_int_equal(t->task.status, 0x02);
	assert_int_equal(t->task.sense_length, sizeof(sense));
	assert_memory_equal(t->task.sense, sense, sizeof(sense));
}

static void d_sense_gives_a_descriptor_with_the_information(void **state)
{
	struct scsi_test *t = *state;
	const uint8_t sense[20] = {
		0x72, 0x0e, 0x1d, 0x00, 0, 0, 0, 12,
		0x00, 0x0a, 0x80, 0, 0, 0, 0, 0, 0, 0, 0x01, 0x05
	};

	set_descriptor_sense(t);
	memset(t->out, 0, 1024);
	t->out[0x105] = 1;
	/* COMPARE AND WRITE of one block */
	scsi_send_data(t, &t->a, t->out, 1024, 0x89, 0, 0, 0, 0, 0, 0, 0, 0,
		       0, 0, 0, 0, 1, 0, 0);
	assert_int_equal(t->task.status, 0x02);
	assert_int_equal(t->task.sense_length, sizeof(sense));
	assert_memory_equal(t->task.sense, sense, sizeof(sense));
}

static void request_sense_chooses_its_format_itself(void **state)
{
	struct scsi_test *t = *state;

	scsi_send(t, &t->a, 0x03, 0, 0, 0, 252, 0);
	assert_data(t, 0x70, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		    0);
	scsi_send(t, &t->a, 0x03, 1, 0, 0, 252, 0);
	assert_data(t, 0x72, 0, 0, 0, 0, 0, 0, 0);
}

static void attention(struct scsi_test *t, uint32_t ua)
{
	scsi_state_establish_ua(t->disk->state, &t->b.initiator_id, ua);
}

static void a_unit_attention_is_reported_once(void **state)
{
	struct scsi_test *t = *state;

	attention(t, SCSI_UA_CAPACITY_DATA_CHANGED);

	scsi_send(t, &t->a, 0x00, 0, 0, 0, 0, 0);
	assert_sense(t, 0x6, 0x2a09);
	scsi_send(t, &t->a, 0x00, 0, 0, 0, 0, 0);
	assert_good(t);
}

static void a_unit_attention_is_not_for_its_cause(void **state)
{
	struct scsi_test *t = *state;

	attention(t, SCSI_UA_CAPACITY_DATA_CHANGED);

	scsi_send(t, &t->b, 0x00, 0, 0, 0, 0, 0);
	assert_good(t);
	scsi_send(t, &t->c, 0x00, 0, 0, 0, 0, 0);
	assert_sense(t, 0x6, 0x2a09);
}

static void unit_attentions_are_reported_one_by_one(void **state)
{
	struct scsi_test *t = *state;
	const uint16_t asc[] = {
		0x2a05, 0x2a03, 0x2a04, 0x2f00, 0x2a09, 0x2a01, 0x3f02,
		0x3f03
	};
	size_t i;

	attention(t, 0xff);
	attention(t, 0xff);

	for (i = 0; i < ARRAY_SIZE(asc); i++) {
		scsi_send(t, &t->a, 0x00, 0, 0, 0, 0, 0);
		assert_sense(t, 0x6, asc[i]);
	}
	scsi_send(t, &t->a, 0x00, 0, 0, 0, 0, 0);
	assert_good(t);
}

static void inquiry_and_report_luns_leave_a_unit_attention(void **state)
{
	struct scsi_test *t = *state;

	attention(t, SCSI_UA_CAPACITY_DATA_CHANGED);

	scsi_send(t, &t->a, 0x12, 0, 0, 0, 36, 0);
	assert_good(t);
	scsi_send(t, &t->a, 0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0);
	assert_good(t);
	scsi_send(t, &t->a, 0x00, 0, 0, 0, 0, 0);
	assert_sense(t, 0x6, 0x2a09);
}

static void request_sense_takes_a_unit_attention_as_data(void **state)
{
	struct scsi_test *t = *state;

	attention(t, SCSI_UA_CAPACITY_DATA_CHANGED);

	scsi_send(t, &t->a, 0x03, 0, 0, 0, 252, 0);
	assert_data(t, 0x70, 0, 0x06, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x2a, 0x09,
		    0, 0, 0, 0);
	scsi_send(t, &t->a, 0x00, 0, 0, 0, 0, 0);
	assert_good(t);
}

static void nothing_is_written_instead_of_a_unit_attention(void **state)
{
	struct scsi_test *t = *state;

	attention(t, SCSI_UA_CAPACITY_DATA_CHANGED);

	memset(t->out, 0xa5, TEST_BLOCK);
	scsi_send_data(t, &t->a, t->out, TEST_BLOCK, 0x2a, 0, 0, 0, 0, 0, 0,
		       0, 1, 0);
	assert_sense(t, 0x6, 0x2a09);
	assert_int_equal(t->disk->num_writes, 0);
	assert_int_equal(t->disk->data[0], 0);
}

static void smb2_io_takes_a_unit_attention_too(void **state)
{
	struct scsi_test *t = *state;
	const struct GUID *id = &t->a.initiator_id;
	uint8_t sense[SCSI_SENSE_SIZE];
	const uint8_t expected[SCSI_SENSE_SIZE] = {
		0x70, 0, 0x06, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x2a, 0x09
	};
	uint32_t ua = 0;

	attention(t, SCSI_UA_CAPACITY_DATA_CHANGED);

	assert_int_equal(scsi_check_io(t->disk->state, id, false),
			 SCSI_IO_UNIT_ATTENTION);
	assert_true(NT_STATUS_IS_OK(scsi_take_unit_attention(
		&t->disk->scsi, id, &ua, sense)));
	assert_int_equal(ua, SCSI_UA_CAPACITY_DATA_CHANGED);
	assert_memory_equal(sense, expected, sizeof(sense));
	assert_int_equal(scsi_check_io(t->disk->state, id, false),
			 SCSI_IO_ALLOWED);

	assert_true(NT_STATUS_IS_OK(scsi_take_unit_attention(
		&t->disk->scsi, id, &ua, NULL)));
	assert_int_equal(ua, 0);
}

static void d_sense_is_for_smb2_io_too(void **state)
{
	struct scsi_test *t = *state;
	uint8_t sense[SCSI_SENSE_SIZE];
	const uint8_t capacity[SCSI_SENSE_SIZE] = { 0x72, 0x06, 0x2a, 0x09 };
	const uint8_t protected[SCSI_SENSE_SIZE] = { 0x72, 0x07, 0x27, 0x02 };
	const uint8_t medium[SCSI_SENSE_SIZE] = { 0x72, 0x03, 0x11, 0x00 };
	uint32_t ua = 0;

	set_descriptor_sense(t);
	attention(t, SCSI_UA_CAPACITY_DATA_CHANGED);

	scsi_take_unit_attention(&t->disk->scsi, &t->a.initiator_id, &ua,
				 sense);
	assert_memory_equal(sense, capacity, sizeof(sense));
	assert_int_equal(scsi_sense_write_protected(t->disk->state, sense),
			 8);
	assert_memory_equal(sense, protected, sizeof(sense));
	assert_int_equal(scsi_sense_io_error(t->disk->state,
					     NT_STATUS_IO_DEVICE_ERROR, false,
					     sense), 8);
	assert_memory_equal(sense, medium, sizeof(sense));

	/* Who can be told nothing else gets the format that all know. */
	assert_int_equal(scsi_sense_write_protected(NULL, sense), 18);
	assert_int_equal(sense[0], 0x70);
}

static void a_new_nexus_owes_no_unit_attention(void **state)
{
	struct scsi_test *t = *state;

	scsi_memory_disk_close(t->disk, &t->a);
	attention(t, SCSI_UA_CAPACITY_DATA_CHANGED);
	scsi_memory_disk_open(t->disk, &t->a);

	scsi_send(t, &t->a, 0x00, 0, 0, 0, 0, 0);
	assert_good(t);
}

static void a_nexus_lives_as_long_as_its_last_open(void **state)
{
	struct scsi_test *t = *state;

	scsi_memory_disk_open(t->disk, &t->a);
	scsi_memory_disk_close(t->disk, &t->a);
	attention(t, SCSI_UA_CAPACITY_DATA_CHANGED);
	scsi_send(t, &t->a, 0x00, 0, 0, 0, 0, 0);
	assert_sense(t, 0x6, 0x2a09);

	assert_int_equal(t->disk->state->num_nexuses, 3);
	scsi_memory_disk_close(t->disk, &t->a);
	assert_int_equal(t->disk->state->num_nexuses, 2);
}

static void a_read_only_handle_reads_and_asks(void **state)
{
	struct scsi_test *t = *state;

	t->a.may_write = false;
	scsi_send(t, &t->a, 0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0);
	assert_good(t);
	/* PERSISTENT RESERVE IN, READ KEYS */
	scsi_send(t, &t->a, 0x5e, 0, 0, 0, 0, 0, 0, 0, 8, 0);
	assert_good(t);
	/* SYNCHRONIZE CACHE(10) */
	scsi_send(t, &t->a, 0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0);
	assert_good(t);
}

static void a_write_to_a_protected_disk_is_that_above_all(void **state)
{
	struct scsi_test *t = *state;

	t->a.may_write = false;
	/* WRITE SAME(10) with UNMAP, which is a reserved bit here */
	scsi_send_data(t, &t->a, t->out, 512, 0x41, 0x08, 0, 0, 0, 0, 0, 0, 1,
		       0);
	assert_sense(t, 0x7, 0x2700);
}

static void a_read_only_handle_changes_nothing(void **state)
{
	struct scsi_test *t = *state;
	const struct {
		uint8_t cdb[16];
		size_t data_length;
	} commands[] = {
		{ { 0x0a, 0, 0, 0, 1, 0 }, 512 },
		{ { 0x15, 0x10, 0, 0, 4, 0 }, 4 },
		{ { 0x16 }, 0 },
		{ { 0x17 }, 0 },
		{ { 0x2a, 0, 0, 0, 0, 0, 0, 0, 1 }, 512 },
		{ { 0x2e, 0, 0, 0, 0, 0, 0, 0, 1 }, 512 },
		{ { 0x41, 0, 0, 0, 0, 0, 0, 0, 1 }, 512 },
		{ { 0x42 }, 0 },
		{ { 0x48, 0x02 }, 0 },
		{ { 0x55, 0x10, 0, 0, 0, 0, 0, 0, 8 }, 8 },
		{ { 0x56 }, 0 },
		{ { 0x57 }, 0 },
		{ { 0x5f, 0x00, 0, 0, 0, 0, 0, 0, 24 }, 24 },
		{ { 0x5f, 0x06, 0, 0, 0, 0, 0, 0, 24 }, 24 },
		{ { 0x83 }, 0 },
		{ { 0x89, [13] = 1 }, 1024 },
		{ { 0x8a, [13] = 1 }, 512 },
		{ { 0x8b, [13] = 1 }, 512 },
		{ { 0x8e, [13] = 1 }, 512 },
		{ { 0x93, [13] = 1 }, 512 },
		{ { 0x9c, [13] = 1 }, 512 },
		{ { 0xaa, [9] = 1 }, 512 },
		{ { 0xae, [9] = 1 }, 512 },
	};
	size_t i;

	t->a.may_write = false;
	for (i = 0; i < ARRAY_SIZE(commands); i++) {
		scsi_test_out(t, &t->a, commands[i].cdb, 16, t->out,
			      commands[i].data_length);
		assert_sense(t, 0x7, 0x2700);
	}
	assert_int_equal(t->disk->num_writes, 0);
	assert_int_equal(t->disk->num_state_changes, 0);
}

static void no_cdb_of_any_content_gets_out_of_bounds(void **state)
{
	struct scsi_test *t = *state;
	/* A linear congruential generator: the same commands each time */
	uint32_t seed = 1;
	unsigned i;

	for (i = 0; i < 200000; i++) {
		uint8_t cdb[16];
		uint8_t out[96];
		size_t j;

		for (j = 0; j < sizeof(cdb) + sizeof(out); j++) {
			uint8_t byte;

			seed = seed * 1103515245 + 12345;
			byte = seed >> 16;
			/* Mostly zeros, so that some come far */
			if ((seed >> 28) > 3) {
				byte = 0;
			}
			if (j < sizeof(cdb)) {
				cdb[j] = byte;
			} else {
				out[j - sizeof(cdb)] = byte;
			}
		}
		cdb[0] = seed >> 8;
		/* The whole disk twice a time takes too long. */
		if (cdb[0] == 0x48) {
			continue;
		}

		t->task = (struct scsi_task) {
			.cdb = cdb,
			.cdb_length = seed % 17,
			.data_out = out,
			.data_out_length = (seed >> 12) % sizeof(out),
			.data_in = t->in,
			.data_in_size = (seed >> 4) % 4096,
		};
		scsi_execute(&t->disk->scsi, &t->a, &t->task);
		assert_true(t->task.data_in_length <= t->task.data_in_size);
		assert_true(t->task.sense_length <= SCSI_SENSE_SIZE);
		assert_true(t->task.status == SCSI_STATUS_GOOD ||
			    t->task.data_in_length == 0);
	}
}

static void state_that_cannot_be_changed_is_a_hardware_error(void **state)
{
	struct scsi_test *t = *state;

	t->disk->state_status = NT_STATUS_INTERNAL_DB_CORRUPTION;
	scsi_test_pr_out(t, &t->a, 0x00, 0, 0, 1, 0);
	assert_sense(t, 0x4, 0x4400);

	t->disk->state_status = NT_STATUS_IO_TIMEOUT;
	scsi_test_pr_out(t, &t->a, 0x00, 0, 0, 1, 0);
	_scsi_assert_status(t, SCSI_STATUS_BUSY, __FILE__, __LINE__);
}

static void errors_of_the_image_become_sense_data(void **state)
{
	struct scsi_test *t = *state;

	t->disk->read_status = NT_STATUS_IO_DEVICE_ERROR;
	scsi_send(t, &t->a, 0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0);
	assert_sense(t, 0x3, 0x1100);
	/* A handle without read access */
	t->disk->read_status = NT_STATUS_ACCESS_DENIED;
	scsi_send(t, &t->a, 0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0);
	assert_sense(t, 0x5, 0x2002);

	t->disk->write_status = NT_STATUS_IO_DEVICE_ERROR;
	scsi_send_data(t, &t->a, t->out, 512, 0x2a, 0, 0, 0, 0, 0, 0, 0, 1,
		       0);
	assert_sense(t, 0x3, 0x0c00);

	t->disk->write_status = NT_STATUS_DISK_FULL;
	scsi_send_data(t, &t->a, t->out, 512, 0x2a, 0, 0, 0, 0, 0, 0, 0, 1,
		       0);
	assert_sense(t, 0x7, 0x2707);

	t->disk->flush_status = NT_STATUS_IO_DEVICE_ERROR;
	scsi_send(t, &t->a, 0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0);
	assert_sense(t, 0x3, 0x0c00);
}

static void prevent_allow_has_nothing_to_prevent(void **state)
{
	struct scsi_test *t = *state;

	scsi_send(t, &t->a, 0x1e, 0, 0, 0, 1, 0);
	assert_good(t);
	scsi_send(t, &t->a, 0x1e, 0, 0, 0, 0, 0);
	assert_good(t);
}

static void the_default_self_test_is_the_only_one(void **state)
{
	struct scsi_test *t = *state;

	/* SELFTEST; without it and without pages there is nothing to do */
	scsi_send(t, &t->a, 0x1d, 0x04, 0, 0, 0, 0);
	assert_good(t);
	scsi_send(t, &t->a, 0x1d, 0x10, 0, 0, 0, 0);
	assert_good(t);
	/* Background short self-test */
	scsi_send(t, &t->a, 0x1d, 0x20, 0, 0, 0, 0);
	assert_invalid_cdb(t, 0xcf, 1);
	scsi_send_data(t, &t->a, t->out, 4, 0x1d, 0x10, 0, 0, 4, 0);
	assert_invalid_cdb(t, 0xc0, 3);
}

static void stopping_the_unit_flushes_it(void **state)
{
	struct scsi_test *t = *state;

	scsi_send(t, &t->a, 0x1b, 0, 0, 0, 0, 0);
	assert_good(t);
	assert_int_equal(t->disk->num_flushes, 1);
	/* NO_FLUSH */
	scsi_send(t, &t->a, 0x1b, 0, 0, 0, 0x04, 0);
	assert_good(t);
	assert_int_equal(t->disk->num_flushes, 1);
	scsi_send(t, &t->a, 0x1b, 0, 0, 0, 0x01, 0);
	assert_good(t);
	/* LOEJ */
	scsi_send(t, &t->a, 0x1b, 0, 0, 0, 0x02, 0);
	assert_invalid_cdb(t, 0xc9, 4);
	/* Power condition 4 is reserved. */
	scsi_send(t, &t->a, 0x1b, 0, 0, 0, 0x40, 0);
	assert_invalid_cdb(t, 0xcf, 4);
}

static void log_sense_lists_its_pages(void **state)
{
	struct scsi_test *t = *state;

	scsi_send(t, &t->a, 0x4d, 0, 0x40, 0, 0, 0, 0, 1, 0, 0);
	assert_data(t, 0x00, 0x00, 0x00, 0x02, 0x00, 0x2f);
	scsi_send(t, &t->a, 0x4d, 0, 0x40, 0xff, 0, 0, 0, 1, 0, 0);
	assert_data(t, 0x40, 0xff, 0x00, 0x06, 0x00, 0x00, 0x00, 0xff, 0x2f,
		    0x00);
	scsi_send(t, &t->a, 0x4d, 0, 0x6f, 0, 0, 0, 0, 1, 0, 0);
	assert_data(t, 0x2f, 0x00, 0x00, 0x08, 0x00, 0x00, 0x03, 0x04, 0x00,
		    0x00, 0xff, 0x00);
	scsi_send(t, &t->a, 0x4d, 0, 0x4d, 0, 0, 0, 0, 1, 0, 0);
	assert_invalid_cdb(t, 0xcd, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		scsi_unit_test(test_unit_ready_succeeds_without_data),
		scsi_unit_test(an_unknown_opcode_is_refused),
		scsi_unit_test(
			an_unknown_service_action_is_a_field_of_the_cdb),
		scsi_unit_test(a_reserved_bit_is_pointed_at),
		scsi_unit_test(a_short_cdb_is_refused),
		scsi_unit_test(an_empty_cdb_is_refused),
		scsi_unit_test(a_longer_cdb_than_needed_is_fine),
		scsi_unit_test(
			d_sense_gives_a_descriptor_with_the_field_pointer),
		scsi_unit_test(
			d_sense_gives_a_descriptor_with_the_information),
		scsi_unit_test(request_sense_chooses_its_format_itself),
		scsi_unit_test(a_unit_attention_is_reported_once),
		scsi_unit_test(a_unit_attention_is_not_for_its_cause),
		scsi_unit_test(unit_attentions_are_reported_one_by_one),
		scsi_unit_test(
			inquiry_and_report_luns_leave_a_unit_attention),
		scsi_unit_test(request_sense_takes_a_unit_attention_as_data),
		scsi_unit_test(
			nothing_is_written_instead_of_a_unit_attention),
		scsi_unit_test(smb2_io_takes_a_unit_attention_too),
		scsi_unit_test(d_sense_is_for_smb2_io_too),
		scsi_unit_test(a_new_nexus_owes_no_unit_attention),
		scsi_unit_test(a_nexus_lives_as_long_as_its_last_open),
		scsi_unit_test(a_read_only_handle_reads_and_asks),
		scsi_unit_test(a_read_only_handle_changes_nothing),
		scsi_unit_test(a_write_to_a_protected_disk_is_that_above_all),
		scsi_unit_test(no_cdb_of_any_content_gets_out_of_bounds),
		scsi_unit_test(
			state_that_cannot_be_changed_is_a_hardware_error),
		scsi_unit_test(errors_of_the_image_become_sense_data),
		scsi_unit_test(prevent_allow_has_nothing_to_prevent),
		scsi_unit_test(the_default_self_test_is_the_only_one),
		scsi_unit_test(stopping_the_unit_flushes_it),
		scsi_unit_test(log_sense_lists_its_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
