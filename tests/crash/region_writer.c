/*
 * vfs_rsvd: an initiator that writes in its own part of a disk
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Usage: region_writer FIRST_MIB NUM_MIB WRITES
 *
 * Attaches disk.vhdx, reads its part, writes WRITES random pieces of it, many
 * at a time, and reads it again. Says "attached", then a number for each
 * hundred writes that were acknowledged, and "same" in the end.
 */

#include <tevent.h>
#include "tests/selftest/attach.h"

#define SECTOR 4096
#define QUEUE_DEPTH 16

struct region {
	struct tevent_context *ev;
	struct librsvd_disk *disk;
	uint64_t first;		/* bytes of the disk */
	size_t num_sectors;
	uint8_t *expected;
	bool *busy;
	unsigned long left, done, in_flight;
};

struct piece {
	struct region *region;
	size_t sector, num_sectors;
	uint8_t *data;
};

static void must(NTSTATUS status, const char *what)
{
	char *text = librsvd_status_string(NULL, status);

	if (!NT_STATUS_IS_OK(status)) {
		printf("%s: %s\n", what, text);
		exit(1);
	}
	talloc_free(text);
}

static void piece_done(struct tevent_req *req);

static void piece_start(struct region *region)
{
	struct piece *piece = NULL;
	struct tevent_req *req = NULL;
	size_t i;

	if (region->left == 0) {
		return;
	}
	region->left -= 1;

	piece = talloc_zero(region, struct piece);
	piece->region = region;
	do {
		piece->num_sectors = 1 + random() % 32;
		piece->sector = random() %
				(region->num_sectors - piece->num_sectors);
		for (i = 0; i < piece->num_sectors; i++) {
			if (region->busy[piece->sector + i]) {
				break;
			}
		}
	} while (i < piece->num_sectors);
	memset(region->busy + piece->sector, true, piece->num_sectors);

	piece->data = talloc_array(piece, uint8_t,
				   piece->num_sectors * SECTOR);
	memset(piece->data, random(), piece->num_sectors * SECTOR);
	memcpy(region->expected + piece->sector * SECTOR, piece->data,
	       piece->num_sectors * SECTOR);
	req = librsvd_write_send(piece, region->disk, piece->data,
				 piece->num_sectors * SECTOR,
				 region->first + piece->sector * SECTOR, 0);
	tevent_req_set_callback(req, piece_done, piece);
	region->in_flight += 1;
}

static void piece_done(struct tevent_req *req)
{
	struct piece *piece = tevent_req_callback_data(req, struct piece);
	struct region *region = piece->region;

	must(librsvd_write_recv(req), "write");
	memset(region->busy + piece->sector, false, piece->num_sectors);
	talloc_free(piece);
	region->in_flight -= 1;
	region->done += 1;
	if (region->done % 100 == 0) {
		printf("%lu\n", region->done);
	}
	piece_start(region);
}

int main(int argc, char **argv)
{
	struct librsvd_connect_params connect_params = {
		.server = attach_env("SERVER_IP"),
		.port = atoi(attach_env("SERVER_PORT")),
		.share = attach_env("SHARE"),
		.user = attach_env("USERNAME"),
		.password = attach_env("PASSWORD"),
		.config_file = strchr(attach_env("CONFIGURATION"), ' ') + 1,
	};
	struct region *region = talloc_zero(NULL, struct region);
	struct librsvd_conn *conn = NULL;
	uint8_t *data = NULL;
	size_t length;
	int i;

	if (argc != 4) {
		fprintf(stderr, "Usage: region_writer FIRST_MIB NUM_MIB "
				"WRITES\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	srandom(getpid());

	region->ev = tevent_context_init(region);
	region->first = strtoul(argv[1], NULL, 10) * MIB;
	length = strtoul(argv[2], NULL, 10) * MIB;
	region->left = strtoul(argv[3], NULL, 10);
	region->num_sectors = length / SECTOR;
	region->expected = talloc_array(region, uint8_t, length);
	region->busy = talloc_zero_array(region, bool, region->num_sectors);

	must(librsvd_connect(region, region->ev, &connect_params, &conn),
	     "connect");
	must(attach_open(region, conn, "disk.vhdx", 0, &region->disk), "open");
	must(librsvd_read(region->disk, region->expected, length,
			  region->first, NULL),
	     "read");
	printf("attached\n");

	for (i = 0; i < QUEUE_DEPTH; i++) {
		piece_start(region);
	}
	while (region->in_flight > 0) {
		if (tevent_loop_once(region->ev) != 0) {
			return 1;
		}
	}

	data = talloc_array(region, uint8_t, length);
	must(librsvd_read(region->disk, data, length, region->first, NULL),
	     "read");
	if (memcmp(data, region->expected, length) != 0) {
		printf("different\n");
		return 1;
	}
	must(librsvd_close(region->disk), "close");
	printf("same\n");
	talloc_free(region);
	return 0;
}
