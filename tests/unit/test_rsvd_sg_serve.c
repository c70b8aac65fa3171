/*
 * vfs_rsvd: what rsvd-sg makes of the commands of preloaded libraries
 *
 * librsvd is one of ours here, that answers what the test wants.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#define librsvd_scsi_send fake_scsi_send
#define librsvd_scsi_recv fake_scsi_recv
#define librsvd_status_string fake_status_string
#include "source3/rsvd_sg/rsvd_sg_serve.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "lib/util/tevent_ntstatus.h"

/* The disk */
static struct {
	struct tevent_context *ev;
	uint8_t statuses[4];	/* of the commands, one after the other */
	unsigned int num_commands;
	NTSTATUS status;	/* of the request */
	uint8_t cdb[16];
	uint8_t data_out[8];
	uint32_t data_out_length;
	uint32_t data_in_length;
} fake;

struct fake_scsi_state {
	uint8_t status;
};

struct tevent_req *fake_scsi_send(TALLOC_CTX *mem_ctx,
				  struct librsvd_disk *disk,
				  const struct librsvd_scsi_command *command)
{
	struct fake_scsi_state *state = NULL;
	struct tevent_req *req = NULL;

	req = tevent_req_create(mem_ctx, &state, struct fake_scsi_state);
	assert_non_null(req);
	assert_true(fake.num_commands < ARRAY_SIZE(fake.statuses));
	state->status = fake.statuses[fake.num_commands++];
	memcpy(fake.cdb, command->cdb, command->cdb_length);
	fake.data_in_length = command->data_in_length;
	fake.data_out_length = command->data_out_length;
	if (command->data_out_length != 0) {
		memcpy(fake.data_out, command->data_out,
		       command->data_out_length);
	}
	if (!tevent_req_nterror(req, fake.status)) {
		tevent_req_done(req);
	}
	return tevent_req_post(req, fake.ev);
}

NTSTATUS fake_scsi_recv(struct tevent_req *req, TALLOC_CTX *mem_ctx,
			struct librsvd_scsi_result *result)
{
	struct fake_scsi_state *state =
		tevent_req_data(req, struct fake_scsi_state);
	NTSTATUS status;

	if (tevent_req_is_nterror(req, &status)) {
		return status;
	}
	*result = (struct librsvd_scsi_result) {
		.sense.scsi_status = state->status,
	};
	if (state->status == 0x02) {
		result->sense.length = 3;
		result->sense.data[2] = 0x05;
	}
	if (state->status == 0 && fake.data_in_length != 0) {
		result->data_in = talloc_memdup(mem_ctx, "abc", 3);
		result->data_in_length = 3;
	}
	return NT_STATUS_OK;
}

char *fake_status_string(TALLOC_CTX *mem_ctx, NTSTATUS status)
{
	return talloc_strdup(mem_ctx, "the one of the test");
}

/*
 * The program
 */

static const struct rsvd_sg_path paths[] = {
	{ .name = "first" },
	{ .name = "second" },
};

static void served(struct tevent_req *req)
{
	bool *done = tevent_req_callback_data_void(req);

	rsvd_sg_serve_recv(req);
	*done = true;
	talloc_free(req);
}

/* Send a command, and return how many bytes of data came with the answer. */
static ssize_t call(const struct rsvd_sg_request *request, const void *data,
		    struct rsvd_sg_response *response, uint8_t data_in[8])
{
	struct iovec iov[] = {
		{ response, sizeof(*response) },
		{ data_in, 8 },
	};
	struct tevent_req *req = NULL;
	bool done = false;
	ssize_t n;
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	assert_int_equal(write(fds[0], request, sizeof(*request)),
			 sizeof(*request));
	if (data != NULL) {
		assert_int_equal(write(fds[0], data, request->data_length),
				 request->data_length);
	}

	fake.num_commands = 0;
	req = rsvd_sg_serve_send(fake.ev, fake.ev, paths, ARRAY_SIZE(paths),
				 fds[1]);
	assert_non_null(req);
	tevent_req_set_callback(req, served, &done);
	while (!done) {
		assert_int_equal(tevent_loop_once(fake.ev), 0);
	}
	n = readv(fds[0], iov, 2);
	assert_true(n >= (ssize_t)sizeof(*response));
	close(fds[0]);
	return n - sizeof(*response);
}

static const struct rsvd_sg_request test_unit_ready = { .cdb_length = 6 };

static int setup(void **state)
{
	ZERO_STRUCT(fake);
	fake.status = NT_STATUS_OK;
	fake.ev = tevent_context_init(NULL);
	return fake.ev == NULL ? -1 : 0;
}

static int teardown(void **state)
{
	TALLOC_FREE(fake.ev);
	return 0;
}

static void a_busy_disk_is_tried_again(void **state)
{
	struct rsvd_sg_response response;
	uint8_t data[8];

	fake.statuses[0] = 0x08;	/* BUSY */
	fake.statuses[1] = 0x28;	/* TASK SET FULL */
	fake.statuses[2] = 0x02;	/* CHECK CONDITION */
	call(&test_unit_ready, NULL, &response, data);
	assert_int_equal(fake.num_commands, 3);
	assert_int_equal(response.error, 0);
	assert_int_equal(response.status, 0x02);
	assert_int_equal(response.sense_length, 3);
	assert_int_equal(response.sense[2], 0x05);
}

static void a_reservation_conflict_is_the_programs(void **state)
{
	struct rsvd_sg_response response;
	uint8_t data[8];

	fake.statuses[0] = 0x18;
	call(&test_unit_ready, NULL, &response, data);
	assert_int_equal(fake.num_commands, 1);
	assert_int_equal(response.status, 0x18);
}

static void data_goes_to_the_disk(void **state)
{
	struct rsvd_sg_request request = {
		.path = 1,
		.is_write = 1,
		.cdb_length = 10,
		.cdb = { 0x2A, [9] = 0x77 },
		.data_length = 5,
	};
	struct rsvd_sg_response response;
	uint8_t data[8];

	call(&request, "12345", &response, data);
	assert_memory_equal(fake.cdb, request.cdb, 10);
	assert_int_equal(fake.data_out_length, 5);
	assert_memory_equal(fake.data_out, "12345", 5);
	assert_int_equal(fake.data_in_length, 0);
	assert_int_equal(response.transferred, 5);
}

static void data_comes_from_the_disk(void **state)
{
	struct rsvd_sg_request request = {
		.is_read = 1,
		.cdb_length = 6,
		.cdb = { 0x12 },
		.data_length = 8,
	};
	struct rsvd_sg_response response;
	uint8_t data[8];

	assert_int_equal(call(&request, NULL, &response, data), 3);
	assert_int_equal(fake.data_in_length, 8);
	assert_int_equal(response.transferred, 3);
	assert_memory_equal(data, "abc", 3);
}

static void no_answer_of_the_server_is_an_io_error(void **state)
{
	struct rsvd_sg_response response;
	uint8_t data[8];

	fake.status = NT_STATUS_CONNECTION_RESET;
	call(&test_unit_ready, NULL, &response, data);
	assert_int_equal(response.error, EIO);
}

static void a_path_that_is_not_there_is_no_device(void **state)
{
	struct rsvd_sg_request request = { .path = 2 };
	struct rsvd_sg_response response;
	uint8_t data[8];

	call(&request, NULL, &response, data);
	assert_int_equal(response.error, ENODEV);
	request.path = 1;
	call(&request, NULL, &response, data);
	assert_int_equal(response.error, 0);
	assert_int_equal(fake.num_commands, 0);
}

static void what_rsvd_cannot_carry_is_invalid(void **state)
{
	struct rsvd_sg_request request = { .cdb_length = 17 };
	struct rsvd_sg_response response;
	uint8_t data[8];

	call(&request, NULL, &response, data);
	assert_int_equal(response.error, EINVAL);
	request.cdb_length = 10;
	request.is_read = 1;
	request.data_length = 16 * 1024 * 1024 + 1;
	call(&request, NULL, &response, data);
	assert_int_equal(response.error, EINVAL);
	assert_int_equal(fake.num_commands, 0);
}

#define serve_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		serve_test(a_busy_disk_is_tried_again),
		serve_test(a_reservation_conflict_is_the_programs),
		serve_test(data_goes_to_the_disk),
		serve_test(data_comes_from_the_disk),
		serve_test(no_answer_of_the_server_is_an_io_error),
		serve_test(a_path_that_is_not_there_is_no_device),
		serve_test(what_rsvd_cannot_carry_is_invalid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
