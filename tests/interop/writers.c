/*
 * Two initiators write one disk at the same time, allocating as they go.
 *
 * Each is a process with a connection of its own, and has several writes in
 * flight. What the disk has to contain at the end is kept in a file.
 *
 * usage: writers DISK EXPECTED NUM_WRITES
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "includes.h"
#include <sys/mman.h>
#include <sys/wait.h>
#include "source3/librsvd/librsvd.h"
#include "tests/harness/connect.h"

#define NUM_PROCESSES 2
#define NUM_SLOTS 8
#define NUM_OWNERS (NUM_PROCESSES * NUM_SLOTS)

#define UNIT 4096
#define MAX_UNITS 256	/* 1 MiB, the largest write */
#define PIECE (UNIT * MAX_UNITS)

/*
 * One place of the queue. It owns every NUM_OWNERS-th piece of the disk, so
 * that no two writes in flight overlap, while all are in the same blocks.
 */
struct slot {
	struct writer *writer;
	uint64_t owner;
	uint8_t data[PIECE];
	size_t length;
	uint64_t offset;
};

struct writer {
	struct tevent_context *ev;
	struct librsvd_disk *disk;
	uint64_t num_pieces;
	uint8_t *expected;
	uint64_t left;
	size_t in_flight;
	struct slot slots[NUM_SLOTS];
};

static void die(NTSTATUS status, const char *what)
{
	fprintf(stderr, "writers: %s: %s\n", what,
		librsvd_status_string(talloc_tos(), status));
	exit(1);
}

static void writer_done(struct tevent_req *req);

static void writer_next(struct slot *slot)
{
	struct writer *writer = slot->writer;
	struct tevent_req *req = NULL;
	uint64_t piece, units, first;

	if (writer->left == 0) {
		return;
	}
	writer->left -= 1;

	piece = slot->owner +
		NUM_OWNERS * (random() % (writer->num_pieces / NUM_OWNERS));
	/* As often between 4 and 8 KiB as between 512 KiB and 1 MiB. */
	units = 1 << (random() % 9);
	units -= random() % ((units + 1) / 2);
	first = random() % (MAX_UNITS - units + 1);

	slot->length = units * UNIT;
	slot->offset = piece * PIECE + first * UNIT;
	generate_random_buffer(slot->data, slot->length);

	req = librsvd_write_send(writer, writer->disk, slot->data,
				 slot->length, slot->offset, 0);
	if (req == NULL) {
		die(NT_STATUS_NO_MEMORY, "write");
	}
	writer->in_flight += 1;
	tevent_req_set_callback(req, writer_done, slot);
}

static void writer_done(struct tevent_req *req)
{
	/* Inside of another talloc chunk. */
	struct slot *slot = tevent_req_callback_data_void(req);
	struct writer *writer = slot->writer;
	NTSTATUS status;

	status = librsvd_write_recv(req);
	TALLOC_FREE(req);
	if (!NT_STATUS_IS_OK(status)) {
		die(status, "write");
	}
	memcpy(writer->expected + slot->offset, slot->data, slot->length);
	writer->in_flight -= 1;
	writer_next(slot);
}

static struct librsvd_disk *attach(TALLOC_CTX *mem_ctx,
				   struct tevent_context *ev,
				   const char *path)
{
	struct librsvd_connect_params params = harness_connect_params();
	struct librsvd_guid initiator = librsvd_guid_random();
	struct librsvd_open_params open_params = {
		.path = path,
		.initiator_id = &initiator,
	};
	struct librsvd_conn *conn = NULL;
	struct librsvd_disk *disk = NULL;
	NTSTATUS status;

	status = librsvd_connect(mem_ctx, ev, &params, &conn);
	if (!NT_STATUS_IS_OK(status)) {
		die(status, "connect");
	}
	status = librsvd_open(mem_ctx, conn, &open_params, &disk);
	if (!NT_STATUS_IS_OK(status)) {
		die(status, path);
	}
	return disk;
}

static void writer_run(unsigned int number, const char *path,
		       int expected_fd, uint64_t num_writes)
{
	TALLOC_CTX *frame = talloc_stackframe();
	struct writer *writer = talloc_zero(frame, struct writer);
	struct librsvd_initial_info info;
	NTSTATUS status;
	size_t i;

	srandom(number + 1);
	writer->ev = samba_tevent_context_init(writer);
	writer->disk = attach(writer, writer->ev, path);
	status = librsvd_initial_info(writer->disk, &info);
	if (!NT_STATUS_IS_OK(status)) {
		die(status, "initial info");
	}
	writer->num_pieces = info.virtual_size / PIECE;
	writer->left = num_writes;
	writer->expected = mmap(NULL, info.virtual_size,
				PROT_READ | PROT_WRITE, MAP_SHARED,
				expected_fd, 0);
	if (writer->expected == MAP_FAILED ||
	    ftruncate(expected_fd, info.virtual_size) != 0) {
		die(map_nt_error_from_unix(errno), "expected");
	}

	for (i = 0; i < NUM_SLOTS; i++) {
		writer->slots[i].writer = writer;
		writer->slots[i].owner = number * NUM_SLOTS + i;
		writer_next(&writer->slots[i]);
	}
	while (writer->in_flight > 0) {
		tevent_loop_once(writer->ev);
	}
	status = librsvd_close(writer->disk);
	if (!NT_STATUS_IS_OK(status)) {
		die(status, "close");
	}
	TALLOC_FREE(frame);
}

int main(int argc, char *argv[])
{
	unsigned int i;
	int fd, status, failed = 0;

	if (argc != 4) {
		fprintf(stderr, "usage: writers DISK EXPECTED NUM_WRITES\n");
		return 1;
	}
	fd = open(argv[2], O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (fd == -1) {
		perror(argv[2]);
		return 1;
	}
	for (i = 0; i < NUM_PROCESSES; i++) {
		pid_t pid = fork();

		if (pid == -1) {
			perror("fork");
			return 1;
		}
		if (pid == 0) {
			writer_run(i, argv[1], fd, strtoull(argv[3], NULL, 0));
			return 0;
		}
	}
	while (wait(&status) != -1) {
		if (status != 0) {
			failed = 1;
		}
	}
	return failed;
}
