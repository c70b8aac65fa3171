/*
 * vfs_rsvd: commands on ranges of blocks
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "tests/unit/scsi_test.h"

/* Fill a block of the disk, without a command. */
static void fill(struct scsi_test *t, uint64_t lba, uint8_t byte)
{
	memset(t->disk->data + lba * TEST_BLOCK, byte, TEST_BLOCK);
	t->disk->mapped[lba] = true;
}

static void assert_block(struct scsi_test *t, uint64_t lba, uint8_t byte)
{
	uint8_t expected[TEST_BLOCK];

	memset(expected, byte, sizeof(expected));
	assert_memory_equal(t->disk->data + lba * TEST_BLOCK, expected,
			    sizeof(expected));
}

/* A command on one block at LBA 0x0203 by each length of CDB */
struct variant {
	uint8_t cdb[16];
};

static const struct variant reads[] = {
	{ { 0x08, 0, 0x02, 0x03, 1 } },
	{ { 0x28, 0, 0, 0, 0x02, 0x03, 0, 0, 1 } },
	{ { 0xa8, 0, 0, 0, 0x02, 0x03, 0, 0, 0, 1 } },
	{ { 0x88, 0, 0, 0, 0, 0, 0, 0, 0x02, 0x03, 0, 0, 0, 1 } },
};

static const struct variant writes[] = {
	{ { 0x0a, 0, 0x02, 0x03, 1 } },
	{ { 0x2a, 0, 0, 0, 0x02, 0x03, 0, 0, 1 } },
	{ { 0xaa, 0, 0, 0, 0x02, 0x03, 0, 0, 0, 1 } },
	{ { 0x8a, 0, 0, 0, 0, 0, 0, 0, 0x02, 0x03, 0, 0, 0, 1 } },
	{ { 0x2e, 0, 0, 0, 0x02, 0x03, 0, 0, 1 } },
	{ { 0xae, 0, 0, 0, 0x02, 0x03, 0, 0, 0, 1 } },
	{ { 0x8e, 0, 0, 0, 0, 0, 0, 0, 0x02, 0x03, 0, 0, 0, 1 } },
	{ { 0x9c, 0, 0, 0, 0, 0, 0, 0, 0x02, 0x03, 0, 0, 0, 1 } },
	{ { 0x8b, 0, 0, 0, 0, 0, 0, 0, 0x02, 0x03, 0, 0, 0, 1 } },
};

static const struct variant verifies[] = {
	{ { 0x2f, 0, 0, 0, 0x02, 0x03, 0, 0, 1 } },
	{ { 0xaf, 0, 0, 0, 0x02, 0x03, 0, 0, 0, 1 } },
	{ { 0x8f, 0, 0, 0, 0, 0, 0, 0, 0x02, 0x03, 0, 0, 0, 1 } },
};

static void every_read_reads_its_block(void **state)
{
	struct scsi_test *t = *state;
	uint8_t expected[TEST_BLOCK];
	size_t i;

	memset(expected, 0x77, sizeof(expected));
	fill(t, 0x203, 0x77);
	for (i = 0; i < ARRAY_SIZE(reads); i++) {
		scsi_test_out(t, &t->a, reads[i].cdb, 16, NULL, 0);
		assert_good(t);
		assert_int_equal(t->task.data_in_length, TEST_BLOCK);
		assert_memory_equal(t->in, expected, TEST_BLOCK);
		assert_int_equal(t->in[TEST_BLOCK], 0xee);
	}
}

static void every_write_writes_its_block(void **state)
{
	struct scsi_test *t = *state;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(writes); i++) {
		fill(t, 0x202, 0);
		fill(t, 0x203, 0);
		fill(t, 0x204, 0);
		memset(t->out, 0x40 + i, TEST_BLOCK);
		scsi_test_out(t, &t->a, writes[i].cdb, 16, t->out,
			      TEST_BLOCK);
		assert_good(t);
		assert_int_equal(t->task.data_in_length, 0);
		assert_block(t, 0x202, 0);
		assert_block(t, 0x203, 0x40 + i);
		assert_block(t, 0x204, 0);
	}
}

static void zero_blocks_are_256_in_six_byte_commands_only(void **state)
{
	struct scsi_test *t = *state;

	scsi_send(t, &t->a, 0x08, 0, 0, 0, 0, 0);
	assert_good(t);
	assert_int_equal(t->task.data_in_length, 256 * TEST_BLOCK);
	scsi_send(t, &t->a, 0x28, 0, 0, 0, 0, 0, 0, 0, 0, 0);
	assert_good(t);
	assert_int_equal(t->task.data_in_length, 0);
	assert_int_equal(t->disk->num_reads, 1);
}

/* The LBA where it stands, and the length, in each of the four forms */
static void set_lba(uint8_t *cdb, uint32_t lba, uint32_t num_blocks)
{
	uint8_t *lba_field = cdb + 2, *length_field = cdb + 6;
	size_t lba_size = 4, length_size = 4;

	switch (cdb[0] >> 5) {
	case 0:
		lba_field = cdb + 1;
		lba_size = 3;
		length_field = cdb + 4;
		length_size = 1;
		break;
	case 1:
	case 2:
		length_field = cdb + 7;
		length_size = 2;
		break;
	case 4:
		lba_field = cdb + 6;
		length_field = cdb + 10;
		break;
	}
	while (lba_size-- > 0) {
		lba_field[lba_size] = lba & 0xff;
		lba >>= 8;
	}
	while (length_size-- > 0) {
		length_field[length_size] = num_blocks & 0xff;
		num_blocks >>= 8;
	}
}

static void check_ends(struct scsi_test *t, const struct variant *variants,
		       size_t num, bool data)
{
	size_t i;

	for (i = 0; i < num; i++) {
		uint8_t cdb[16];
		size_t length = data ? 2 * TEST_BLOCK : 0;

		memcpy(cdb, variants[i].cdb, 16);
		set_lba(cdb, 4095, 1);
		scsi_test_out(t, &t->a, cdb, 16, t->out, length);
		assert_good(t);
		set_lba(cdb, 4095, 2);
		scsi_test_out(t, &t->a, cdb, 16, t->out, length);
		assert_sense(t, 0x5, 0x2100);
		set_lba(cdb, 4096, 1);
		scsi_test_out(t, &t->a, cdb, 16, t->out, length);
		assert_sense(t, 0x5, 0x2100);
		if (cdb[0] >> 5 == 0) {
			continue;
		}
		set_lba(cdb, 4097, 0);
		scsi_test_out(t, &t->a, cdb, 16, t->out, length);
		assert_sense(t, 0x5, 0x2100);
		set_lba(cdb, 0xffffffff, 1);
		scsi_test_out(t, &t->a, cdb, 16, t->out, length);
		assert_sense(t, 0x5, 0x2100);
		if (cdb[0] >> 5 != 4) {
			continue;
		}
		memset(cdb + 2, 0xff, 8);
		scsi_test_out(t, &t->a, cdb, 16, t->out, length);
		assert_sense(t, 0x5, 0x2100);
	}
}

static void the_disk_ends_for_every_command_at_the_same_block(void **state)
{
	struct scsi_test *t = *state;

	check_ends(t, reads, ARRAY_SIZE(reads), false);
	check_ends(t, writes, ARRAY_SIZE(writes), true);
	check_ends(t, verifies, ARRAY_SIZE(verifies), false);
}

static void more_than_a_message_carries_is_refused(void **state)
{
	struct scsi_test *t = *state;

	/* 2048 blocks are 1 MiB. */
	scsi_send(t, &t->a, 0x28, 0, 0, 0, 0, 0, 0, 0x08, 0x00, 0);
	assert_good(t);
	assert_int_equal(t->task.data_in_length, 1048576);
	scsi_send(t, &t->a, 0x28, 0, 0, 0, 0, 0, 0, 0x08, 0x01, 0);
	assert_invalid_cdb(t, 0xc0, 7);
	scsi_send(t, &t->a, 0xa8, 0, 0, 0, 0, 0, 0, 0, 0x08, 0x01, 0, 0);
	assert_invalid_cdb(t, 0xc0, 6);
	scsi_send(t, &t->a, 0x8a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x08,
		  0x01, 0, 0);
	assert_invalid_cdb(t, 0xc0, 10);
}

static void data_that_did_not_come_is_not_written(void **state)
{
	struct scsi_test *t = *state;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(writes); i++) {
		scsi_test_out(t, &t->a, writes[i].cdb, 16, t->out,
			      TEST_BLOCK - 1);
		assert_int_equal(t->task.status, SCSI_STATUS_CHECK_CONDITION);
		assert_int_equal(t->task.sense[2], 0x5);
	}
	assert_int_equal(t->disk->num_writes, 0);
}

static void a_read_stops_at_the_room_of_the_transport(void **state)
{
	struct scsi_test *t = *state;
	const uint8_t cdb[10] = { 0x28, [8] = 2 };

	fill(t, 0, 0x11);
	fill(t, 1, 0x22);
	t->task = (struct scsi_task) {
		.cdb = cdb,
		.cdb_length = sizeof(cdb),
		.data_in = t->in,
		.data_in_size = 600,
	};
	memset(t->in, 0xee, 1024);
	scsi_execute(&t->disk->scsi, &t->a, &t->task);
	assert_good(t);
	assert_int_equal(t->task.data_in_length, 600);
	assert_true(t->task.data_in_overrun);
	assert_int_equal(t->in[599], 0x22);
	assert_int_equal(t->in[600], 0xee);
}

static void protection_fields_are_refused(void **state)
{
	struct scsi_test *t = *state;
	uint8_t cdb[16];
	size_t i;
	unsigned protect;

	for (protect = 1; protect < 8; protect++) {
		for (i = 1; i < ARRAY_SIZE(reads); i++) {
			memcpy(cdb, reads[i].cdb, 16);
			cdb[1] |= protect << 5;
			scsi_test_out(t, &t->a, cdb, 16, NULL, 0);
			assert_sense(t, 0x5, 0x2400);
		}
		for (i = 1; i < ARRAY_SIZE(writes); i++) {
			memcpy(cdb, writes[i].cdb, 16);
			cdb[1] |= protect << 5;
			scsi_test_out(t, &t->a, cdb, 16, t->out, 512);
			assert_sense(t, 0x5, 0x2400);
		}
		for (i = 0; i < ARRAY_SIZE(verifies); i++) {
			memcpy(cdb, verifies[i].cdb, 16);
			cdb[1] |= protect << 5;
			scsi_test_out(t, &t->a, cdb, 16, NULL, 0);
			assert_sense(t, 0x5, 0x2400);
		}
	}
	assert_int_equal(t->disk->num_writes, 0);
}

static void fua_writes_through_and_dpo_does_not(void **state)
{
	struct scsi_test *t = *state;

	scsi_send_data(t, &t->a, t->out, 512, 0x2a, 0x10, 0, 0, 0, 0, 0, 0,
		       1, 0);
	assert_good(t);
	assert_int_equal(t->disk->num_flushes, 0);
	/* FUA, FUA_NV */
	scsi_send_data(t, &t->a, t->out, 512, 0x2a, 0x08, 0, 0, 0, 0, 0, 0,
		       1, 0);
	assert_good(t);
	assert_int_equal(t->disk->num_flushes, 1);
	scsi_send_data(t, &t->a, t->out, 512, 0x8a, 0x02, 0, 0, 0, 0, 0, 0,
		       0, 0, 0, 0, 0, 1, 0, 0);
	assert_good(t);
	assert_int_equal(t->disk->num_flushes, 2);
	scsi_send(t, &t->a, 0x28, 0x08, 0, 0, 0, 0, 0, 0, 1, 0);
	assert_good(t);
	assert_int_equal(t->disk->num_flushes, 3);
	/* The bits of the LBA in WRITE(6) are none of these. */
	scsi_send_data(t, &t->a, t->out, 512, 0x0a, 0x0a, 0, 0, 1, 0);
	assert_sense(t, 0x5, 0x2100);
	scsi_send(t, &t->a, 0x08, 0, 0x0a, 0, 1, 0);
	assert_good(t);
	assert_int_equal(t->disk->num_flushes, 3);
}

static void synchronize_cache_flushes(void **state)
{
	struct scsi_test *t = *state;

	scsi_send(t, &t->a, 0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0);
	assert_good(t);
	/* IMMED */
	scsi_send(t, &t->a, 0x91, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0,
		  0, 0);
	assert_good(t);
	assert_int_equal(t->disk->num_flushes, 2);
	scsi_send(t, &t->a, 0x35, 0, 0, 0, 0x10, 0, 0, 0, 1, 0);
	assert_sense(t, 0x5, 0x2100);
	assert_int_equal(t->disk->num_flushes, 2);
}

static void prefetch_checks_its_range(void **state)
{
	struct scsi_test *t = *state;

	scsi_send(t, &t->a, 0x34, 0x02, 0, 0, 0, 0, 0, 0x10, 0x00, 0);
	assert_good(t);
	scsi_send(t, &t->a, 0x34, 0x02, 0, 0, 0, 0, 0, 0x10, 0x01, 0);
	assert_sense(t, 0x5, 0x2100);
	scsi_send(t, &t->a, 0x90, 0, 0, 0, 0, 0, 0, 0, 0x10, 0x01, 0, 0, 0,
		  0, 0, 0);
	assert_sense(t, 0x5, 0x2100);
}

static void verify_compares_with_the_data_if_it_is_to(void **state)
{
	struct scsi_test *t = *state;
	uint8_t cdb[16];
	size_t i;

	fill(t, 0x203, 0x77);
	fill(t, 0x204, 0x77);
	for (i = 0; i < ARRAY_SIZE(verifies); i++) {
		memcpy(cdb, verifies[i].cdb, 16);

		/* BYTCHK 0: whatever the data */
		memset(t->out, 0x66, 1024);
		scsi_test_out(t, &t->a, cdb, 16, t->out, 512);
		assert_good(t);
		/* BYTCHK 1: byte for byte */
		cdb[1] = 0x02;
		scsi_test_out(t, &t->a, cdb, 16, t->out, 512);
		assert_sense(t, 0xe, 0x1d00);
		memset(t->out, 0x77, 1024);
		scsi_test_out(t, &t->a, cdb, 16, t->out, 512);
		assert_good(t);
		scsi_test_out(t, &t->a, cdb, 16, t->out, 511);
		assert_sense(t, 0x5, 0x2400);
		t->out[511] = 0x76;
		scsi_test_out(t, &t->a, cdb, 16, t->out, 512);
		assert_sense(t, 0xe, 0x1d00);
		/* BYTCHK 2 */
		cdb[1] = 0x04;
		scsi_test_out(t, &t->a, cdb, 16, t->out, 512);
		assert_invalid_cdb(t, 0xca, 1);
		/* BYTCHK 3: one block for all */
		t->out[511] = 0x77;
		cdb[1] = 0x06;
		set_lba(cdb, 0x203, 2);
		scsi_test_out(t, &t->a, cdb, 16, t->out, 512);
		assert_good(t);
		set_lba(cdb, 0x203, 3);
		scsi_test_out(t, &t->a, cdb, 16, t->out, 512);
		assert_sense(t, 0xe, 0x1d00);
	}
}

static void verify_finds_what_cannot_be_read(void **state)
{
	struct scsi_test *t = *state;

	t->disk->read_status = NT_STATUS_IO_DEVICE_ERROR;
	scsi_send(t, &t->a, 0x2f, 0, 0, 0, 0, 0, 0, 0, 1, 0);
	assert_sense(t, 0x3, 0x1100);
}

static const struct scsi_disk_ops *memory_disk_ops;

/* Block 5 cannot be read. */
static NTSTATUS read_but_block_5(void *private_data, void *buf, size_t length,
				 uint64_t offset)
{
	if (offset < 6 * TEST_BLOCK && offset + length > 5 * TEST_BLOCK) {
		return NT_STATUS_IO_DEVICE_ERROR;
	}
	return memory_disk_ops->read(private_data, buf, length, offset);
}

static void a_medium_error_tells_the_block(void **state)
{
	struct scsi_test *t = *state;
	struct scsi_disk_ops ops = *t->disk->scsi.ops;
	const uint8_t sense[18] = {
		0xf0, 0, 0x03, 0, 0, 0, 0x05, 10, 0, 0, 0, 0, 0x11, 0x00
	};

	memory_disk_ops = t->disk->scsi.ops;
	ops.read = read_but_block_5;
	t->disk->scsi.ops = &ops;

	/* READ(10) and VERIFY(10) of blocks 2 to 9 */
	scsi_send(t, &t->a, 0x28, 0, 0, 0, 0, 2, 0, 0, 8, 0);
	assert_sense(t, 0x3, 0x1100);
	assert_memory_equal(t->task.sense, sense, sizeof(sense));
	scsi_send(t, &t->a, 0x2f, 0, 0, 0, 0, 2, 0, 0, 8, 0);
	assert_sense(t, 0x3, 0x1100);
	assert_memory_equal(t->task.sense, sense, sizeof(sense));
	scsi_send(t, &t->a, 0x28, 0, 0, 0, 0, 6, 0, 0, 8, 0);
	assert_good(t);
	t->disk->scsi.ops = memory_disk_ops;
}

static void write_and_verify_is_on_stable_storage(void **state)
{
	struct scsi_test *t = *state;

	memset(t->out, 0x55, 512);
	scsi_send_data(t, &t->a, t->out, 512, 0x2e, 0x02, 0, 0, 0, 0, 0, 0,
		       1, 0);
	assert_good(t);
	assert_int_equal(t->disk->num_flushes, 1);
	assert_int_equal(t->disk->num_reads, 1);
	assert_block(t, 0, 0x55);
	/* BYTCHK 3 is not for writing. */
	scsi_send_data(t, &t->a, t->out, 512, 0x2e, 0x06, 0, 0, 0, 0, 0, 0,
		       1, 0);
	assert_invalid_cdb(t, 0xca, 1);
}

static void compare_and_write(struct scsi_test *t, uint8_t lba,
			      uint8_t num_blocks, size_t length)
{
	scsi_send_data(t, &t->a, t->out, length, 0x89, 0, 0, 0, 0, 0, 0, 0, 0,
		       lba, 0, 0, 0, num_blocks, 0, 0);
}

static void compare_and_write_writes_what_matches(void **state)
{
	struct scsi_test *t = *state;

	fill(t, 5, 0x11);
	fill(t, 6, 0x22);
	memset(t->out, 0x11, 512);
	memset(t->out + 512, 0x22, 512);
	memset(t->out + 1024, 0x33, 512);
	memset(t->out + 1536, 0x44, 512);
	compare_and_write(t, 5, 2, 2048);
	assert_good(t);
	assert_block(t, 5, 0x33);
	assert_block(t, 6, 0x44);
	assert_int_equal(t->disk->num_exclusive, 1);
	assert_int_equal(t->disk->num_flushes, 0);
}

static void compare_and_write_tells_where_it_does_not_match(void **state)
{
	struct scsi_test *t = *state;
	const uint8_t sense[18] = {
		0xf0, 0, 0x0e, 0, 0, 0x03, 0x01, 10, 0, 0, 0, 0, 0x1d, 0x00
	};

	memset(t->out, 0, 2048);
	/* Byte 0x301 of the data, in the second block */
	t->disk->data[5 * 512 + 0x301] = 1;
	t->disk->data[5 * 512 + 0x3ff] = 1;
	compare_and_write(t, 5, 2, 2048);
	assert_int_equal(t->task.status, SCSI_STATUS_CHECK_CONDITION);
	assert_int_equal(t->task.sense_length, 18);
	assert_memory_equal(t->task.sense, sense, 18);
	assert_int_equal(t->disk->num_writes, 0);
}

static void compare_and_write_keeps_to_its_limits(void **state)
{
	struct scsi_test *t = *state;

	memset(t->out, 0, sizeof(t->out));
	compare_and_write(t, 0, 255, 255 * 1024);
	assert_good(t);
	compare_and_write(t, 0, 0, 0);
	assert_good(t);
	/* Not twice the blocks: a block more, a byte less */
	compare_and_write(t, 0, 1, 1536);
	assert_invalid_cdb(t, 0xc0, 13);
	compare_and_write(t, 0, 1, 1023);
	assert_invalid_cdb(t, 0xc0, 13);
	scsi_send_data(t, &t->a, t->out, 1024, 0x89, 0, 0, 0, 0, 0, 0, 0,
		       0x10, 0, 0, 0, 0, 1, 0, 0);
	assert_sense(t, 0x5, 0x2100);
}

static void orwrite_sets_bits(void **state)
{
	struct scsi_test *t = *state;

	fill(t, 5, 0x11);
	memset(t->out, 0x82, 512);
	scsi_send_data(t, &t->a, t->out, 512, 0x8b, 0, 0, 0, 0, 0, 0, 0, 0, 5,
		       0, 0, 0, 1, 0, 0);
	assert_good(t);
	assert_block(t, 5, 0x93);
	assert_int_equal(t->disk->num_exclusive, 1);
}

static void write_atomic_takes_no_boundary(void **state)
{
	struct scsi_test *t = *state;

	scsi_send_data(t, &t->a, t->out, 512, 0x9c, 0, 0, 0, 0, 0, 0, 0, 0, 5,
		       0, 1, 0, 1, 0, 0);
	assert_invalid_cdb(t, 0xc0, 10);
	scsi_send_data(t, &t->a, t->out, 512, 0x9c, 0, 0, 0, 0, 0, 0, 0, 0, 5,
		       0, 0, 0x08, 0x01, 0, 0);
	assert_invalid_cdb(t, 0xc0, 12);
	scsi_send_data(t, &t->a, t->out, 512, 0x9c, 0, 0, 0, 0, 0, 0, 0, 0, 5,
		       0, 0, 0, 1, 0, 0);
	assert_good(t);
	assert_int_equal(t->disk->num_exclusive, 1);
}

static void capacity_is_told_as_the_last_block(void **state)
{
	struct scsi_test *t = *state;

	scsi_send(t, &t->a, 0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0);
	assert_data(t, 0, 0, 0x0f, 0xff, 0, 0, 2, 0);
	/* Eight logical blocks in a physical one; LBPME, LBPRZ */
	scsi_send(t, &t->a, 0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32,
		  0, 0);
	assert_data(t, 0, 0, 0, 0, 0, 0, 0x0f, 0xff, 0, 0, 2, 0, 0, 0x03,
		    0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
	scsi_send(t, &t->a, 0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0,
		  0);
	assert_data(t, 0, 0, 0, 0, 0, 0, 0x0f, 0xff);
}

static void a_large_disk_sends_to_read_capacity_16(void **state)
{
	struct scsi_test *t = *state;

	t->disk->scsi.size = 0x200000000000;	/* 2^36 blocks */
	scsi_send(t, &t->a, 0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0);
	assert_data(t, 0xff, 0xff, 0xff, 0xff, 0, 0, 2, 0);
	scsi_send(t, &t->a, 0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12,
		  0, 0);
	assert_data(t, 0, 0, 0, 0x0f, 0xff, 0xff, 0xff, 0xff, 0, 0, 2, 0);
	t->disk->scsi.size = TEST_NUM_BLOCKS * TEST_BLOCK;
}

static void there_are_no_defects(void **state)
{
	struct scsi_test *t = *state;

	scsi_send(t, &t->a, 0x37, 0, 0x1d, 0, 0, 0, 0, 0, 255, 0);
	assert_data(t, 0, 0x1d, 0, 0);
	scsi_send(t, &t->a, 0xb7, 0x0d, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0);
	assert_data(t, 0, 0x0d, 0, 0, 0, 0, 0, 0);
}

static void write_same_repeats_a_block(void **state)
{
	struct scsi_test *t = *state;

	memset(t->out, 0x3c, 512);
	scsi_send_data(t, &t->a, t->out, 512, 0x41, 0, 0, 0, 0, 10, 0, 0, 100,
		       0);
	assert_good(t);
	assert_block(t, 9, 0);
	assert_block(t, 10, 0x3c);
	assert_block(t, 109, 0x3c);
	assert_block(t, 110, 0);
}

static void write_same(struct scsi_test *t, uint8_t flags, uint8_t lba,
		       uint32_t num_blocks, size_t length)
{
	scsi_send_data(t, &t->a, t->out, length, 0x93, flags, 0, 0, 0, 0, 0,
		       0, 0, lba, num_blocks >> 24, num_blocks >> 16,
		       num_blocks >> 8, num_blocks, 0, 0);
}

static void write_same_of_zeros_unmaps(void **state)
{
	struct scsi_test *t = *state;

	fill(t, 10, 0x11);
	fill(t, 11, 0x11);
	write_same(t, 0x08, 10, 1, 512);
	assert_good(t);
	assert_block(t, 10, 0);
	assert_false(t->disk->mapped[10]);
	assert_block(t, 11, 0x11);
	/* NDOB: without data */
	write_same(t, 0x09, 11, 1, 0);
	assert_good(t);
	/* UNMAP stands where FUA stands elsewhere. */
	assert_int_equal(t->disk->num_flushes, 0);
	assert_false(t->disk->mapped[11]);
}

static void write_same_with_unmap_still_writes_what_is_not_zero(void **state)
{
	struct scsi_test *t = *state;

	memset(t->out, 0, 512);
	t->out[511] = 1;
	write_same(t, 0x08, 10, 2, 512);
	assert_good(t);
	assert_int_equal(t->disk->data[11 * 512 + 511], 1);
	assert_true(t->disk->mapped[10]);
}

static void write_same_needs_exactly_one_block(void **state)
{
	struct scsi_test *t = *state;

	write_same(t, 0, 10, 2, 511);
	assert_sense(t, 0x5, 0x2400);
	write_same(t, 0, 10, 2, 1024);
	assert_sense(t, 0x5, 0x2400);
	/* NDOB, and data */
	write_same(t, 0x01, 10, 2, 512);
	assert_invalid_cdb(t, 0xc8, 1);
	/* ANCHOR */
	write_same(t, 0x18, 10, 2, 512);
	assert_invalid_cdb(t, 0xcc, 1);
	assert_int_equal(t->disk->num_writes, 0);
}

static void write_same_without_a_count_goes_to_the_end(void **state)
{
	struct scsi_test *t = *state;

	fill(t, 0, 0x11);
	fill(t, 4095, 0x11);
	write_same(t, 0, 1, 0, 512);
	assert_good(t);
	assert_block(t, 0, 0x11);
	assert_block(t, 4095, 0);
}

static void write_same_has_a_limit(void **state)
{
	struct scsi_test *t = *state;
	struct scsi_memory_disk *disk =
		scsi_memory_disk_init(t, 32769, 512, true);

	assert_non_null(disk);
	t->disk = disk;
	write_same(t, 0, 0, 32768, 512);
	assert_good(t);
	write_same(t, 0, 0, 32769, 512);
	assert_invalid_cdb(t, 0xc0, 10);
	write_same(t, 0, 0, 0, 512);
	assert_invalid_cdb(t, 0xc0, 10);
	write_same(t, 0, 1, 0, 512);
	assert_good(t);
}

static void a_fixed_disk_does_not_unmap(void **state)
{
	struct scsi_test *t = *state;

	t->disk->scsi.thin = false;
	write_same(t, 0x08, 10, 2, 512);
	assert_invalid_cdb(t, 0xcb, 1);
	scsi_send(t, &t->a, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0);
	assert_sense(t, 0x5, 0x2000);
}

/* An UNMAP parameter list of two descriptors */
static const uint8_t unmap_list[40] = {
	0x00, 0x26, 0x00, 0x20, 0, 0, 0, 0,
	0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 2, 0, 0, 0, 0,
	0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, 1, 0, 0, 0, 0,
};

static void unmap(struct scsi_test *t, const uint8_t *list, size_t length)
{
	scsi_send_data(t, &t->a, list, length, 0x42, 0, 0, 0, 0, 0, 0,
		       length >> 8, length & 0xff, 0);
}

static void unmap_gives_back_the_blocks_of_each_descriptor(void **state)
{
	struct scsi_test *t = *state;
	unsigned lba;

	for (lba = 0; lba < 30; lba++) {
		fill(t, lba, 0x11);
	}
	unmap(t, unmap_list, sizeof(unmap_list));
	assert_good(t);
	for (lba = 0; lba < 30; lba++) {
		bool unmapped = lba == 5 || lba == 6 || lba == 20;

		assert_int_equal(t->disk->mapped[lba], !unmapped);
		assert_block(t, lba, unmapped ? 0 : 0x11);
	}
}

static void unmap_does_nothing_if_one_descriptor_is_wrong(void **state)
{
	struct scsi_test *t = *state;
	uint8_t list[40];

	fill(t, 5, 0x11);
	/* Off the disk */
	memcpy(list, unmap_list, sizeof(list));
	list[30] = 0x10;
	unmap(t, list, sizeof(list));
	assert_sense(t, 0x5, 0x2100);
	/* More blocks than told in VPD page B0 */
	t->disk->scsi.size = 1ULL << 40;
	memcpy(list, unmap_list, sizeof(list));
	list[33] = 0x10;
	unmap(t, list, sizeof(list));
	assert_invalid_parameter(t, 0x80, 32);
	t->disk->scsi.size = TEST_NUM_BLOCKS * TEST_BLOCK;
	assert_block(t, 5, 0x11);
}

static void unmap_checks_its_lengths(void **state)
{
	struct scsi_test *t = *state;
	uint8_t list[40];

	/* Nothing to do */
	unmap(t, unmap_list, 0);
	assert_good(t);
	memset(list, 0, sizeof(list));
	unmap(t, list, 8);
	assert_good(t);

	unmap(t, unmap_list, 7);
	assert_sense(t, 0x5, 0x1a00);
	/* Descriptors beyond the list, a list beyond the data */
	unmap(t, unmap_list, 24);
	assert_sense(t, 0x5, 0x1a00);
	scsi_send_data(t, &t->a, unmap_list, 30, 0x42, 0, 0, 0, 0, 0, 0, 0,
		       40, 0);
	assert_sense(t, 0x5, 0x1a00);

	/* 257 descriptors */
	memset(t->out, 0, 8 + 257 * 16);
	t->out[2] = 257 * 16 / 256;
	t->out[3] = 257 * 16 % 256;
	unmap(t, t->out, 8 + 257 * 16);
	assert_invalid_parameter(t, 0x80, 2);
}

static void lba_status(struct scsi_test *t, uint16_t lba, uint8_t length)
{
	scsi_send(t, &t->a, 0x9e, 0x12, 0, 0, 0, 0, 0, 0, lba >> 8,
		  lba & 0xff, 0, 0, 0, length, 0, 0);
}

static void lba_status_lists_the_runs(void **state)
{
	struct scsi_test *t = *state;

	fill(t, 10, 0x11);
	fill(t, 11, 0x11);
	lba_status(t, 5, 255);
	assert_data(t, 0, 0, 0, 52, 0, 0, 0, 0,
		    0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 5, 1, 0, 0, 0,
		    0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 2, 0, 0, 0, 0,
		    0, 0, 0, 0, 0, 0, 0, 12, 0, 0, 0x0f, 0xf4, 1, 0, 0, 0);
	lba_status(t, 11, 24);
	assert_data(t, 0, 0, 0, 20, 0, 0, 0, 0,
		    0, 0, 0, 0, 0, 0, 0, 11, 0, 0, 0, 1, 0, 0, 0, 0);
	lba_status(t, 4096, 24);
	assert_sense(t, 0x5, 0x2100);
}

static const struct scsi_disk_ops *lba_status_ops;

static NTSTATUS one_block_a_run(void *private_data, uint64_t offset,
				uint64_t length, uint64_t *run_length,
				bool *mapped)
{
	return lba_status_ops->lba_status(private_data, offset, 512,
					  run_length, mapped);
}

static void lba_status_joins_runs_of_a_kind(void **state)
{
	struct scsi_test *t = *state;
	struct scsi_disk_ops ops = *t->disk->scsi.ops;

	fill(t, 10, 0x11);
	fill(t, 11, 0x11);
	lba_status_ops = t->disk->scsi.ops;
	ops.lba_status = one_block_a_run;
	t->disk->scsi.ops = &ops;
	lba_status(t, 5, 56);
	/* The last one is as long as the disk server has looked. */
	assert_data(t, 0, 0, 0, 52, 0, 0, 0, 0,
		    0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 5, 1, 0, 0, 0,
		    0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 2, 0, 0, 0, 0,
		    0, 0, 0, 0, 0, 0, 0, 12, 0, 0, 0, 249, 1, 0, 0, 0);
	lba_status(t, 5, 24);
	assert_data(t, 0, 0, 0, 20, 0, 0, 0, 0,
		    0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 5, 1, 0, 0, 0);
	t->disk->scsi.ops = lba_status_ops;
}

static void a_fixed_disk_is_mapped_all_over(void **state)
{
	struct scsi_test *t = *state;

	t->disk->scsi.thin = false;
	lba_status(t, 0, 255);
	assert_data(t, 0, 0, 0, 20, 0, 0, 0, 0,
		    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0);
}

static void an_extended_copy_moves_blocks_even_onto_themselves(void **state)
{
	struct scsi_test *t = *state;
	uint8_t list[16 + 32 + 28] = {
		[1] = 0x10, [3] = 32, [11] = 28,
		/* The disk by its NAA designator, 512 bytes */
		[16] = 0xe4, 0, 0, 0, 0x01, 0x03, 0x00, 0x08,
		0x38, 0x08, 0x08, 0x08, 0x08, 0x08, 0x48, 0x18,
		[16 + 30] = 0x02,
		/* 200 blocks from 0 to 1 */
		[48] = 0x02, 0, 0, 24, 0, 0, 0, 0, 0, 0, 0, 200,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1
	};
	unsigned i;

	for (i = 0; i < 200; i++) {
		fill(t, i, i);
	}
	scsi_send_data(t, &t->a, list, sizeof(list), 0x83, 0, 0, 0, 0, 0, 0,
		       0, 0, 0, 0, 0, 0, sizeof(list), 0, 0);
	assert_good(t);
	assert_block(t, 0, 0);
	for (i = 0; i < 200; i++) {
		assert_block(t, 1 + i, i);
	}

	/* And back, in the other direction */
	list[19 + 48] = 1;
	list[27 + 48] = 0;
	scsi_send_data(t, &t->a, list, sizeof(list), 0x83, 0, 0, 0, 0, 0, 0,
		       0, 0, 0, 0, 0, 0, sizeof(list), 0, 0);
	assert_good(t);
	for (i = 0; i < 200; i++) {
		assert_block(t, i, i);
	}
}

static void an_extended_copy_of_another_disk_is_not_reachable(void **state)
{
	struct scsi_test *t = *state;
	uint8_t list[16 + 32 + 32] = {
		[0] = 7, [3] = 32, [11] = 32,
		[16] = 0xe4, 0, 0, 0, 0x01, 0x03, 0x00, 0x08,
		0x38, 0x08, 0x08, 0x08, 0x08, 0x08, 0x48, 0x19,
		[16 + 30] = 0x02,
		/* 1024 bytes, with offsets */
		[48] = 0x0a, 0, 0, 28, 0, 0, 0, 0, 0, 0, 4, 0,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8
	};
	const uint8_t cdb[16] = { 0x83, [13] = sizeof(list) };
	const uint8_t copy_status[16] = { 0x84, 0, 7, [13] = 12 };

	scsi_test_out(t, &t->a, cdb, 16, list, sizeof(list));
	assert_sense(t, 0xa, 0x0d02);
	/* What was refused left nothing to ask for. */
	scsi_test_out(t, &t->a, copy_status, 16, NULL, 0);
	assert_invalid_cdb(t, 0xc0, 2);
	list[31] = 0x18;
	scsi_test_out(t, &t->a, cdb, 16, list, sizeof(list));
	assert_good(t);
	scsi_test_out(t, &t->a, copy_status, 16, NULL, 0);
	assert_data(t, 0, 0, 0, 8, 0x01, 0, 1, 0x00, 0, 0, 4, 0);
	scsi_test_out(t, &t->a, copy_status, 16, NULL, 0);
	assert_invalid_cdb(t, 0xc0, 2);

	/* Not whole blocks; beyond the end; another target */
	list[48 + 11] = 1;
	scsi_test_out(t, &t->a, cdb, 16, list, sizeof(list));
	assert_invalid_parameter(t, 0x80, 56);
	list[48 + 11] = 0;
	list[48 + 31] = 1;
	scsi_test_out(t, &t->a, cdb, 16, list, sizeof(list));
	assert_invalid_parameter(t, 0x80, 76);
	list[48 + 31] = 0;
	list[48 + 26] = 0x10;
	scsi_test_out(t, &t->a, cdb, 16, list, sizeof(list));
	assert_sense(t, 0xa, 0x0000);
	list[48 + 26] = 0;
	list[48 + 7] = 1;
	scsi_test_out(t, &t->a, cdb, 16, list, sizeof(list));
	assert_sense(t, 0xa, 0x0d02);
}

static void sanitize_overwrites_all_blocks_alike(void **state)
{
	struct scsi_test *t = *state;
	/* INVERT, twice; a pattern of three bytes */
	const uint8_t list[7] = { 0x82, 0, 0, 3, 0x01, 0x02, 0x03 };

	fill(t, 77, 0x11);
	scsi_send_data(t, &t->a, list, sizeof(list), 0x48, 0x01, 0, 0, 0, 0,
		       0, 0, sizeof(list), 0);
	assert_good(t);
	/* The second pass is inverted; each block starts it anew. */
	assert_memory_equal(t->disk->data + 77 * 512,
			    "\xfe\xfd\xfc\xfe\xfd\xfc", 6);
	assert_memory_equal(t->disk->data + 4095 * 512,
			    "\xfe\xfd\xfc\xfe\xfd\xfc", 6);
	assert_int_equal(t->disk->state->sanitize, SCSI_SANITIZE_NONE);
}

static void sanitize_block_erase_unmaps_all(void **state)
{
	struct scsi_test *t = *state;

	fill(t, 77, 0x11);
	scsi_send(t, &t->a, 0x48, 0x02, 0, 0, 0, 0, 0, 0, 0, 0);
	assert_good(t);
	assert_false(t->disk->mapped[77]);
	/* Parameters are for OVERWRITE. */
	scsi_send_data(t, &t->a, t->out, 8, 0x48, 0x02, 0, 0, 0, 0, 0, 0, 8,
		       0);
	assert_invalid_cdb(t, 0xc0, 7);
	/* CRYPTO ERASE */
	scsi_send(t, &t->a, 0x48, 0x03, 0, 0, 0, 0, 0, 0, 0, 0);
	assert_invalid_cdb(t, 0xcc, 1);
}

static void sanitize_checks_its_pattern(void **state)
{
	struct scsi_test *t = *state;
	uint8_t list[6] = { 0x00, 0, 0, 2, 0x01, 0x02 };

	scsi_send_data(t, &t->a, list, 6, 0x48, 0x01, 0, 0, 0, 0, 0, 0, 6, 0);
	assert_invalid_parameter(t, 0x8c, 0);
	list[0] = 1;
	list[3] = 0;
	scsi_send_data(t, &t->a, list, 6, 0x48, 0x01, 0, 0, 0, 0, 0, 0, 6, 0);
	assert_invalid_parameter(t, 0x80, 2);
	list[3] = 3;
	scsi_send_data(t, &t->a, list, 6, 0x48, 0x01, 0, 0, 0, 0, 0, 0, 6, 0);
	assert_invalid_parameter(t, 0x80, 2);
	scsi_send_data(t, &t->a, list, 6, 0x48, 0x01, 0, 0, 0, 0, 0, 0, 4, 0);
	assert_invalid_cdb(t, 0xc0, 7);
	scsi_send_data(t, &t->a, t->out, 517, 0x48, 0x01, 0, 0, 0, 0, 0,
		       517 >> 8, 517 & 0xff, 0);
	assert_invalid_cdb(t, 0xc0, 7);
	scsi_send_data(t, &t->a, list, 5, 0x48, 0x01, 0, 0, 0, 0, 0, 0, 6, 0);
	assert_sense(t, 0x5, 0x1a00);
	assert_int_equal(t->disk->num_writes, 0);
}

static void a_failed_sanitize_closes_the_medium(void **state)
{
	struct scsi_test *t = *state;

	t->disk->write_status = NT_STATUS_IO_DEVICE_ERROR;
	scsi_send(t, &t->a, 0x48, 0x02, 0, 0, 0, 0, 0, 0, 0, 0);
	assert_sense(t, 0x3, 0x0c00);
	t->disk->write_status = NT_STATUS_OK;

	/* For everybody, and without AUSE until another succeeds */
	scsi_send(t, &t->b, 0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0);
	assert_sense(t, 0x3, 0x3103);
	assert_int_equal(scsi_check_io(t->disk->state, &t->b.initiator_id,
				       false), SCSI_IO_SANITIZE);
	scsi_send(t, &t->b, 0x12, 0, 0, 0, 36, 0);
	assert_good(t);
	scsi_send(t, &t->b, 0x03, 0, 0, 0, 18, 0);
	assert_int_equal(t->in[2], 0x03);
	assert_int_equal(t->in[12], 0x31);
	assert_int_equal(t->in[13], 0x03);
	scsi_send(t, &t->a, 0x48, 0x1f, 0, 0, 0, 0, 0, 0, 0, 0);
	assert_invalid_cdb(t, 0xcc, 1);
	scsi_send(t, &t->a, 0x48, 0x02, 0, 0, 0, 0, 0, 0, 0, 0);
	assert_good(t);
	scsi_send(t, &t->b, 0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0);
	assert_good(t);
}

static struct scsi_test *sanitize_test;
static unsigned num_zeros;

/* In the middle of a SANITIZE of a, with AUSE, the others come. */
static NTSTATUS zero_while_others_come(void *private_data, uint64_t offset,
				       uint64_t length)
{
	struct scsi_test *t = sanitize_test;
	struct scsi_task task = t->task;

	num_zeros += 1;
	t->disk->scsi.ops = memory_disk_ops;

	scsi_send(t, &t->b, 0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0);
	assert_sense(t, 0x2, 0x041b);
	scsi_send(t, &t->b, 0x00, 0, 0, 0, 0, 0);
	assert_sense(t, 0x2, 0x041b);
	scsi_send(t, &t->b, 0x03, 0, 0, 0, 18, 0);
	assert_int_equal(t->in[2], 0x02);
	assert_int_equal(t->in[12], 0x04);
	assert_int_equal(t->in[13], 0x1b);
	assert_int_equal(scsi_check_io(t->disk->state, &t->b.initiator_id,
				       true), SCSI_IO_SANITIZE);
	/* EXIT FAILURE MODE, and another BLOCK ERASE */
	scsi_send(t, &t->b, 0x48, 0x1f, 0, 0, 0, 0, 0, 0, 0, 0);
	assert_sense(t, 0x2, 0x041b);
	scsi_send(t, &t->b, 0x48, 0x02, 0, 0, 0, 0, 0, 0, 0, 0);
	assert_sense(t, 0x2, 0x041b);
	scsi_send(t, &t->b, 0x12, 0, 0, 0, 36, 0);
	assert_good(t);

	t->task = task;
	return memory_disk_ops->zero(private_data, offset, length);
}

static void nobody_comes_into_a_sanitize(void **state)
{
	struct scsi_test *t = *state;
	struct scsi_disk_ops ops = *t->disk->scsi.ops;

	sanitize_test = t;
	num_zeros = 0;
	memory_disk_ops = t->disk->scsi.ops;
	ops.zero = zero_while_others_come;
	t->disk->scsi.ops = &ops;

	scsi_send(t, &t->a, 0x48, 0x22, 0, 0, 0, 0, 0, 0, 0, 0);
	assert_good(t);
	assert_int_equal(num_zeros, 1);
	scsi_send(t, &t->b, 0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0);
	assert_good(t);
}

static enum scsi_sanitize_state sanitize_found;

/* In the middle of a SANITIZE, something happens to its mark. */
static NTSTATUS write_and_be_marked(void *private_data, const void *buf,
				    size_t length, uint64_t offset)
{
	struct scsi_memory_disk *disk = private_data;

	if (offset == 0) {
		disk->state->sanitize = sanitize_found;
	} else {
		assert_int_equal(disk->state->sanitize,
				 SCSI_SANITIZE_RUNNING);
	}
	return memory_disk_ops->write(private_data, buf, length, offset);
}

static void sanitize_with_mark(struct scsi_test *t,
			       enum scsi_sanitize_state mark)
{
	/* Once, with 5a */
	const uint8_t list[5] = { 0x01, 0, 0, 1, 0x5a };
	struct scsi_disk_ops ops = *t->disk->scsi.ops;

	memory_disk_ops = t->disk->scsi.ops;
	ops.write = write_and_be_marked;
	t->disk->scsi.ops = &ops;
	sanitize_found = mark;
	scsi_send_data(t, &t->a, list, 5, 0x48, 0x21, 0, 0, 0, 0, 0, 0, 5, 0);
	t->disk->scsi.ops = memory_disk_ops;
}

static void sanitize_goes_on_when_another_process_dies(void **state)
{
	struct scsi_test *t = *state;

	sanitize_with_mark(t, SCSI_SANITIZE_FAILED);
	assert_good(t);
	assert_block(t, TEST_NUM_BLOCKS - 1, 0x5a);
	assert_int_equal(t->disk->state->sanitize, SCSI_SANITIZE_NONE);
}

static void sanitize_ends_when_another_has_given_it_up(void **state)
{
	struct scsi_test *t = *state;

	sanitize_with_mark(t, SCSI_SANITIZE_NONE);
	assert_sense(t, 0xb, 0x0000);
	assert_block(t, TEST_NUM_BLOCKS - 1, 0);
	assert_int_equal(t->disk->state->sanitize, SCSI_SANITIZE_NONE);
}

static void sanitize_waits_for_writes_on_their_way(void **state)
{
	struct scsi_test *t = *state;

	scsi_memory_disk_close(t->disk, &t->c);
	scsi_send(t, &t->a, 0x48, 0x02, 0, 0, 0, 0, 0, 0, 0, 0);
	assert_good(t);
	assert_int_equal(t->disk->num_fenced, 1);
	assert_memory_equal(&t->disk->fenced[0], &t->b.initiator_id,
			    sizeof(struct GUID));

	/* One that does not end */
	fill(t, 0, 0x11);
	t->disk->fence_status = NT_STATUS_IO_TIMEOUT;
	scsi_send(t, &t->a, 0x48, 0x02, 0, 0, 0, 0, 0, 0, 0, 0);
	_scsi_assert_status(t, SCSI_STATUS_BUSY, __FILE__, __LINE__);
	assert_block(t, 0, 0x11);
	scsi_send(t, &t->b, 0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0);
	assert_good(t);
}

static void ause_allows_to_give_up_on_sanitize(void **state)
{
	struct scsi_test *t = *state;

	t->disk->write_status = NT_STATUS_IO_DEVICE_ERROR;
	scsi_send(t, &t->a, 0x48, 0x22, 0, 0, 0, 0, 0, 0, 0, 0);
	assert_sense(t, 0x3, 0x0c00);
	scsi_send(t, &t->a, 0x48, 0x1f, 0, 0, 0, 0, 0, 0, 0, 0);
	assert_good(t);
	scsi_send(t, &t->a, 0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0);
	assert_good(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		scsi_unit_test(every_read_reads_its_block),
		scsi_unit_test(every_write_writes_its_block),
		scsi_unit_test(zero_blocks_are_256_in_six_byte_commands_only),
		scsi_unit_test(
			the_disk_ends_for_every_command_at_the_same_block),
		scsi_unit_test(more_than_a_message_carries_is_refused),
		scsi_unit_test(data_that_did_not_come_is_not_written),
		scsi_unit_test(a_read_stops_at_the_room_of_the_transport),
		scsi_unit_test(protection_fields_are_refused),
		scsi_unit_test(fua_writes_through_and_dpo_does_not),
		scsi_unit_test(synchronize_cache_flushes),
		scsi_unit_test(prefetch_checks_its_range),
		scsi_unit_test(verify_compares_with_the_data_if_it_is_to),
		scsi_unit_test(verify_finds_what_cannot_be_read),
		scsi_unit_test(a_medium_error_tells_the_block),
		scsi_unit_test(write_and_verify_is_on_stable_storage),
		scsi_unit_test(compare_and_write_writes_what_matches),
		scsi_unit_test(
			compare_and_write_tells_where_it_does_not_match),
		scsi_unit_test(compare_and_write_keeps_to_its_limits),
		scsi_unit_test(orwrite_sets_bits),
		scsi_unit_test(write_atomic_takes_no_boundary),
		scsi_unit_test(capacity_is_told_as_the_last_block),
		scsi_unit_test(a_large_disk_sends_to_read_capacity_16),
		scsi_unit_test(there_are_no_defects),
		scsi_unit_test(write_same_repeats_a_block),
		scsi_unit_test(write_same_of_zeros_unmaps),
		scsi_unit_test(
			write_same_with_unmap_still_writes_what_is_not_zero),
		scsi_unit_test(write_same_needs_exactly_one_block),
		scsi_unit_test(write_same_without_a_count_goes_to_the_end),
		scsi_unit_test(write_same_has_a_limit),
		scsi_unit_test(a_fixed_disk_does_not_unmap),
		scsi_unit_test(
			unmap_gives_back_the_blocks_of_each_descriptor),
		scsi_unit_test(unmap_does_nothing_if_one_descriptor_is_wrong),
		scsi_unit_test(unmap_checks_its_lengths),
		scsi_unit_test(lba_status_lists_the_runs),
		scsi_unit_test(lba_status_joins_runs_of_a_kind),
		scsi_unit_test(a_fixed_disk_is_mapped_all_over),
		scsi_unit_test(
			an_extended_copy_moves_blocks_even_onto_themselves),
		scsi_unit_test(
			an_extended_copy_of_another_disk_is_not_reachable),
		scsi_unit_test(sanitize_overwrites_all_blocks_alike),
		scsi_unit_test(sanitize_block_erase_unmaps_all),
		scsi_unit_test(sanitize_checks_its_pattern),
		scsi_unit_test(a_failed_sanitize_closes_the_medium),
		scsi_unit_test(nobody_comes_into_a_sanitize),
		scsi_unit_test(sanitize_goes_on_when_another_process_dies),
		scsi_unit_test(sanitize_ends_when_another_has_given_it_up),
		scsi_unit_test(sanitize_waits_for_writes_on_their_way),
		scsi_unit_test(ause_allows_to_give_up_on_sanitize),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
