/*
 * vfs_rsvd: two initiators write random pieces of one new dynamic disk
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Usage: two_writers WRITES [SEED]
 *
 * Each of two connections, which are two smbd processes, writes WRITES pieces
 * of 4 KiB to 1 MiB at random places, many at a time, allocating as it goes.
 * No two writes that are in flight touch the same sector, so what has to be on
 * the disk in the end is known. It is then read through both, and left as
 * expected.raw beside the image, disk.vhdx, for others to compare.
 */

#include <tevent.h>
#include "attach.h"

#define DISK_SIZE (512ULL * MIB)
#define SECTOR 4096
#define NUM_SECTORS (DISK_SIZE / SECTOR)
#define QUEUE_DEPTH 16

struct writers {
	struct tevent_context *ev;
	struct librsvd_disk *disk[2];
	unsigned long left[2];
	unsigned int in_flight;
	uint8_t *expected;
	bool *busy;		/* a sector is being written */
	unsigned long errors;
};

struct piece {
	struct writers *writers;
	unsigned int writer;
	size_t sector, num_sectors;
	uint8_t *data;
};

static void piece_done(struct tevent_req *req);

/* Mostly small, some up to 1 MiB. */
static size_t random_length(void)
{
	return 1 + random() % (random() % 8 == 0 ? 256 : 4);
}

static void piece_choose(struct piece *piece)
{
	bool *busy = piece->writers->busy;
	size_t i;

	do {
		piece->num_sectors = random_length();
		piece->sector = random() % (NUM_SECTORS - piece->num_sectors);
		for (i = 0; i < piece->num_sectors; i++) {
			if (busy[piece->sector + i]) {
				break;
			}
		}
	} while (i < piece->num_sectors);
	memset(busy + piece->sector, true, piece->num_sectors);
}

/* xorshift64: random() would take most of the time of the test. */
static void fill_random(uint8_t *data, size_t length)
{
	uint64_t x = ((uint64_t)random() << 32) | random() | 1;
	size_t i;

	for (i = 0; i < length; i += sizeof(x)) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memcpy(data + i, &x, sizeof(x));
	}
}

static void piece_start(struct writers *writers, unsigned int writer)
{
	struct piece *piece = NULL;
	struct tevent_req *req = NULL;

	if (writers->left[writer] == 0) {
		return;
	}
	writers->left[writer] -= 1;

	piece = talloc_zero(writers, struct piece);
	piece->writers = writers;
	piece->writer = writer;
	piece_choose(piece);
	piece->data = talloc_array(piece, uint8_t,
				   piece->num_sectors * SECTOR);
	fill_random(piece->data, piece->num_sectors * SECTOR);
	memcpy(writers->expected + piece->sector * SECTOR, piece->data,
	       piece->num_sectors * SECTOR);

	req = librsvd_write_send(piece, writers->disk[writer], piece->data,
				 piece->num_sectors * SECTOR,
				 piece->sector * SECTOR, 0);
	tevent_req_set_callback(req, piece_done, piece);
	writers->in_flight += 1;
}

static void complain(struct writers *writers, const char *what,
		     unsigned long long offset, NTSTATUS status)
{
	char *text = librsvd_status_string(NULL, status);

	writers->errors += 1;
	if (writers->errors < 10) {
		printf("# %s at %llu: %s\n", what, offset, text);
	}
	talloc_free(text);
}

static void piece_done(struct tevent_req *req)
{
	struct piece *piece = tevent_req_callback_data(req, struct piece);
	struct writers *writers = piece->writers;
	unsigned int writer = piece->writer;
	NTSTATUS status;

	status = librsvd_write_recv(req);
	if (!NT_STATUS_IS_OK(status)) {
		complain(writers, "write", piece->sector * SECTOR, status);
	}
	memset(writers->busy + piece->sector, false, piece->num_sectors);
	talloc_free(piece);
	writers->in_flight -= 1;
	piece_start(writers, writer);
}

static void compare(struct writers *writers, unsigned int reader)
{
	uint8_t *data = talloc_array(writers, uint8_t, MIB);
	uint64_t offset;

	for (offset = 0; offset < DISK_SIZE; offset += MIB) {
		NTSTATUS status = librsvd_read(writers->disk[reader], data,
					       MIB, offset, NULL);

		if (!NT_STATUS_IS_OK(status)) {
			complain(writers, "read", offset, status);
		} else if (memcmp(data, writers->expected + offset, MIB) != 0) {
			complain(writers, "wrong data", offset, status);
		}
	}
	talloc_free(data);
}

static void save_expected(struct writers *writers)
{
	char *path = attach_path(writers, "expected.raw");
	FILE *file = fopen(path, "w");

	if (file == NULL ||
	    fwrite(writers->expected, DISK_SIZE, 1, file) != 1 ||
	    fclose(file) != 0)
	{
		perror(path);
		exit(1);
	}
}

static unsigned long num_writes;

static void both_processes_read_exactly_what_was_written(void **state)
{
	struct writers *writers = talloc_zero(NULL, struct writers);
	unsigned int i, depth;

	writers->ev = tevent_context_init(writers);
	/* talloc has a limit of 256 MiB. */
	writers->expected = calloc(1, DISK_SIZE);
	assert_non_null(writers->expected);
	writers->busy = talloc_zero_array(writers, bool, NUM_SECTORS);
	attach_image("disk.vhdx", DISK_SIZE);
	for (i = 0; i < 2; i++) {
		writers->left[i] = num_writes;
		assert_ok(attach_open(writers,
				      attach_connect(writers, writers->ev),
				      "disk.vhdx", 0, &writers->disk[i]));
	}

	for (depth = 0; depth < QUEUE_DEPTH; depth++) {
		piece_start(writers, 0);
		piece_start(writers, 1);
	}
	while (writers->in_flight > 0) {
		assert_int_equal(tevent_loop_once(writers->ev), 0);
	}

	compare(writers, 0);
	compare(writers, 1);
	assert_ok(librsvd_close(writers->disk[0]));
	assert_ok(librsvd_close(writers->disk[1]));
	save_expected(writers);
	assert_int_equal(writers->errors, 0);
	free(writers->expected);
	talloc_free(writers);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_processes_read_exactly_what_was_written),
	};

	if (argc < 2) {
		fprintf(stderr, "Usage: two_writers WRITES [SEED]\n");
		return 2;
	}
	num_writes = strtoul(argv[1], NULL, 10);
	srandom(argc > 2 ? atoi(argv[2]) : 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
