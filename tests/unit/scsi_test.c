/*
 * vfs_rsvd: what the tests of the SCSI device server have in common
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "tests/unit/scsi_test.h"

static void test_nexus(struct scsi_nexus *nexus, uint8_t n,
		       const char *host_name)
{
	*nexus = (struct scsi_nexus) {
		.initiator_id = {
			.time_low = 0x11111111 * n,
			.time_mid = 0x2222,
			.time_hi_and_version = 0x4333,
			.clock_seq = { 0x84, 0x44 },
			.node = { 0x55, 0x55, 0x55, 0x55, 0x55, n },
		},
		.host_name = host_name,
		.may_write = true,
	};
}

int scsi_test_setup(void **state)
{
	struct scsi_test *t = talloc_zero(NULL, struct scsi_test);

	assert_non_null(t);
	t->disk = scsi_memory_disk_init(t, TEST_NUM_BLOCKS, TEST_BLOCK, true);
	assert_non_null(t->disk);

	test_nexus(&t->a, 1, "Node-A");
	test_nexus(&t->b, 2, "node-b.example.com");
	test_nexus(&t->c, 3, "node_c");
	scsi_memory_disk_open(t->disk, &t->a);
	scsi_memory_disk_open(t->disk, &t->b);
	scsi_memory_disk_open(t->disk, &t->c);

	*state = t;
	return 0;
}

int scsi_test_teardown(void **state)
{
	struct scsi_test *t = *state;

	TALLOC_FREE(t);
	return 0;
}

void scsi_test_out(struct scsi_test *t, struct scsi_nexus *nexus,
		   const uint8_t *cdb, size_t cdb_length, const void *out,
		   size_t length)
{
	/*
	 * In memory of its exact size, so that a sanitizer sees it when too
	 * much is read; written to in advance, so that it is seen when too
	 * little is.
	 */
	uint8_t *data = length == 0 ? NULL : malloc(length);
	uint8_t *copy = malloc(cdb_length);

	assert_non_null(copy);
	memcpy(copy, cdb, cdb_length);
	if (length != 0) {
		assert_non_null(data);
		memcpy(data, out, length);
	}
	memset(t->in, 0xee, sizeof(t->in));

	t->task = (struct scsi_task) {
		.cdb = copy,
		.cdb_length = cdb_length,
		.data_out = data,
		.data_out_length = length,
		.data_in = t->in,
		.data_in_size = sizeof(t->in),
		.data_in_length = 0xeeeeeeee,
		.status = 0xee,
		.sense_length = 0xee,
	};
	scsi_execute(&t->disk->scsi, nexus, &t->task);

	t->task.cdb = NULL;
	t->task.data_out = NULL;
	free(copy);
	free(data);
}

void _scsi_assert_status(struct scsi_test *t, uint8_t status,
			 const char *file, int line)
{
	if (t->task.status != status) {
		print_error("status %02x, sense key %x, ASC/ASCQ %02x/%02x\n",
			    t->task.status, t->task.sense[2],
			    t->task.sense[12], t->task.sense[13]);
		_fail(file, line);
	}
	if (t->task.sense_length != 0) {
		print_error("sense data with status %02x\n", status);
		_fail(file, line);
	}
	if (status != SCSI_STATUS_GOOD && t->task.data_in_length != 0) {
		print_error("data with status %02x\n", status);
		_fail(file, line);
	}
}

void _scsi_assert_sense(struct scsi_test *t, uint8_t key, uint16_t asc,
			const char *file, int line)
{
	const uint8_t *sense = t->task.sense;

	if (t->task.status != SCSI_STATUS_CHECK_CONDITION ||
	    t->task.sense_length != 18 || (sense[0] & 0x7f) != 0x70 ||
	    sense[2] != key || sense[7] != 10 || sense[12] != asc >> 8 ||
	    sense[13] != (asc & 0xff) || t->task.data_in_length != 0) {
		print_error("status %02x, %u bytes of sense, key %x, "
			    "ASC/ASCQ %02x/%02x, %u bytes of data\n",
			    t->task.status, t->task.sense_length, sense[2],
			    sense[12], sense[13], t->task.data_in_length);
		_fail(file, line);
	}
}

void _scsi_assert_field(struct scsi_test *t, uint8_t flags, uint16_t byte,
			const char *file, int line)
{
	const uint8_t *sks = t->task.sense + 15;

	if (sks[0] != flags || sks[1] != byte >> 8 ||
	    sks[2] != (byte & 0xff)) {
		print_error("field pointer %02x %02x%02x\n", sks[0], sks[1],
			    sks[2]);
		_fail(file, line);
	}
}

void _scsi_assert_data(struct scsi_test *t, const uint8_t *data,
		       size_t length, const char *file, int line)
{
	_scsi_assert_status(t, SCSI_STATUS_GOOD, file, line);
	_assert_int_equal(t->task.data_in_length, length, file, line);
	_assert_memory_equal(t->in, data, length, file, line);
}

static void put_be64(uint8_t *p, uint64_t v)
{
	int i;

	for (i = 7; i >= 0; i--) {
		p[i] = v & 0xff;
		v >>= 8;
	}
}

void scsi_test_pr_out(struct scsi_test *t, struct scsi_nexus *nexus,
		      uint8_t service_action, uint8_t scope_type,
		      uint64_t key, uint64_t sa_key, uint8_t flags)
{
	uint8_t list[24] = {0};

	put_be64(list, key);
	put_be64(list + 8, sa_key);
	list[20] = flags;
	scsi_send_data(t, nexus, list, sizeof(list),
		       0x5f, service_action, scope_type, 0, 0, 0, 0, 0, 24,
		       0);
}

void scsi_test_register(struct scsi_test *t, struct scsi_nexus *nexus,
			uint64_t key)
{
	scsi_test_pr_out(t, nexus, 0x00, 0, 0, key, 0);
	assert_good(t);
}

void scsi_test_clear_ua(struct scsi_test *t, struct scsi_nexus *nexus)
{
	do {
		scsi_send(t, nexus, 0x00, 0, 0, 0, 0, 0);
	} while (t->task.status == SCSI_STATUS_CHECK_CONDITION &&
		 t->task.sense[2] == 0x06);
}
