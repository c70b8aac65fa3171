/*
 * vfs_rsvd: what one initiator trims, and another one uses
 *
 * Each has a connection, and so a process of smbd of its own.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "tests/selftest/attach.h"

#define NUM_INITIATORS 3
#define UNIT (64 * 1024)
#define SECTORS_A_BLOCK 2048

struct fixture {
	struct tevent_context *ev;
	char *path;
	struct librsvd_conn *conns[NUM_INITIATORS];
	struct librsvd_disk *disks[NUM_INITIATORS];
};

static int connected(void **state)
{
	struct fixture *fixture = talloc_zero(NULL, struct fixture);
	size_t i;

	fixture->ev = tevent_context_init(fixture);
	for (i = 0; i < NUM_INITIATORS; i++) {
		fixture->conns[i] = attach_connect(fixture, fixture->ev);
	}
	fixture->path = attach_path(fixture, "disk.vhdx");
	attach_image("disk.vhdx", 64 * MIB);
	*state = fixture;
	return 0;
}

static int disconnected(void **state)
{
	struct fixture *fixture = *state;

	unlink(fixture->path);
	talloc_free(fixture);
	return 0;
}

/* The last one may only read. */
static void attach_all(struct fixture *fixture)
{
	size_t i;

	for (i = 0; i < NUM_INITIATORS; i++) {
		struct librsvd_guid initiator = librsvd_guid_random();
		struct librsvd_open_params params = {
			.path = "disk.vhdx",
			.initiator_id = &initiator,
			.share_access = 0x7,
		};

		if (i == NUM_INITIATORS - 1) {
			params.access_mask = 0x00120089; /* generic read */
		}
		assert_ok(librsvd_open(fixture, fixture->conns[i], &params,
				       &fixture->disks[i]));
	}
}

static void detach_all(struct fixture *fixture)
{
	size_t i;

	for (i = 0; i < NUM_INITIATORS; i++) {
		assert_ok(librsvd_close(fixture->disks[i]));
	}
}

static void put(struct librsvd_disk *disk, unsigned block, uint8_t value)
{
	uint8_t buf[UNIT];

	memset(buf, value, sizeof(buf));
	assert_ok(librsvd_write(disk, buf, sizeof(buf),
				(uint64_t)block * MIB, 0));
}

static void assert_has(struct librsvd_disk *disk, unsigned block,
		       uint8_t value)
{
	uint8_t wanted[UNIT];
	uint8_t buf[UNIT];
	size_t nread;

	memset(wanted, value, sizeof(wanted));
	assert_ok(librsvd_read(disk, buf, sizeof(buf), (uint64_t)block * MIB,
			       &nread));
	assert_int_equal(nread, sizeof(buf));
	assert_memory_equal(buf, wanted, sizeof(buf));
}

/* SBC-3, UNMAP: one descriptor */
static void unmap(struct librsvd_disk *disk, unsigned block, unsigned num)
{
	const uint8_t cdb[] = { 0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0 };
	uint32_t lba = block * SECTORS_A_BLOCK;
	uint32_t length = num * SECTORS_A_BLOCK;
	uint8_t list[24] = {
		0, 22, 0, 16, 0, 0, 0, 0,
		0, 0, 0, 0, lba >> 24, lba >> 16, lba >> 8, lba,
		length >> 24, length >> 16, length >> 8, length,
	};
	struct librsvd_scsi_command command = {
		.cdb = cdb,
		.cdb_length = sizeof(cdb),
		.data_out = list,
		.data_out_length = sizeof(list),
	};
	struct librsvd_scsi_result result;

	assert_ok(librsvd_scsi(disk, disk, &command, &result));
	assert_int_equal(result.sense.scsi_status, 0);
}

static off_t file_size(const struct fixture *fixture)
{
	struct stat st;

	assert_int_equal(stat(fixture->path, &st), 0);
	return st.st_size;
}

static void what_one_unmaps_is_zeros_for_all_at_once(void **state)
{
	struct fixture *fixture = *state;
	unsigned round;

	attach_all(fixture);
	for (round = 0; round < 20; round++) {
		struct librsvd_disk *one = fixture->disks[round % 2];
		struct librsvd_disk *other = fixture->disks[1 - round % 2];

		put(one, 5, 1 + round);
		put(one, 6, 101 + round);
		assert_has(other, 5, 1 + round);
		assert_has(fixture->disks[2], 5, 1 + round);
		unmap(other, 5, 1);
		assert_has(one, 5, 0);
		assert_has(fixture->disks[2], 5, 0);
		assert_has(one, 6, 101 + round);
		/* And what is written after it is there. */
		put(one, 5, 201);
		assert_has(other, 5, 201);
	}
	detach_all(fixture);
}

static void space_of_what_is_unmapped_is_used_before_the_file_grows(
	void **state)
{
	struct fixture *fixture = *state;
	unsigned round;
	off_t size;

	attach_all(fixture);
	put(fixture->disks[0], 10, 1);
	put(fixture->disks[1], 20, 2);
	put(fixture->disks[0], 30, 3);
	detach_all(fixture);
	size = file_size(fixture);

	attach_all(fixture);
	put(fixture->disks[0], 10, 4);
	for (round = 0; round < 10; round++) {
		unsigned from = (round % 2 == 0) ? 20 : 40;
		unsigned to = 60 - from;
		size_t i;

		assert_has(fixture->disks[1], from, 2);
		unmap(fixture->disks[0], from, 1);
		/*
		 * The others were asked before UNMAP was answered, and have
		 * looked into their mail by the time that they have answered
		 * several requests. One of them is idle otherwise.
		 */
		for (i = 0; i < 8; i++) {
			assert_has(fixture->disks[1], from, 0);
			assert_has(fixture->disks[2], from, 0);
			assert_ok(librsvd_flush(fixture->disks[1]));
		}
		assert_ok(librsvd_flush(fixture->disks[0]));
		put(fixture->disks[0], to, 2);
	}
	assert_has(fixture->disks[1], 10, 4);
	assert_has(fixture->disks[1], 30, 3);
	detach_all(fixture);
	assert_int_equal(file_size(fixture), size);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, connected, disconnected)
	const struct CMUnitTest tests[] = {
		TEST(what_one_unmaps_is_zeros_for_all_at_once),
		TEST(space_of_what_is_unmapped_is_used_before_the_file_grows),
	};
#undef TEST

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
