/*
 * vfs_rsvd: the commands of preloaded libraries, on attached disks
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "includes.h"
#include "lib/tsocket/tsocket.h"
#include "lib/util/tevent_unix.h"
#include "source3/rsvd_sg/rsvd_sg.h"
#include "source3/rsvd_sg/rsvd_sg_serve.h"
#include "source3/rsvd_sg/rsvd_sg_wire.h"

/* SAM-5 5.3.1 */
#define STATUS_BUSY 0x08
#define STATUS_TASK_SET_FULL 0x28

/*
 * A disk that fences somebody's I/O is busy for as long as that takes, at
 * most 30 seconds with vfs_rsvd.
 */
#define BUSY_RETRY_MSEC 20
#define BUSY_GIVE_UP_SEC 60

struct rsvd_sg_serve_state {
	struct tevent_context *ev;
	const struct rsvd_sg_path *paths;
	size_t num_paths;
	struct tstream_context *stream;
	struct timeval give_up;
	struct rsvd_sg_request request;
	uint8_t *data_out;
	struct rsvd_sg_response response;
	struct librsvd_scsi_result result;
	struct iovec iov[2];
};

static void rsvd_sg_serve_got_request(struct tevent_req *subreq);
static void rsvd_sg_serve_got_data(struct tevent_req *subreq);
static void rsvd_sg_serve_execute(struct tevent_req *req);
static void rsvd_sg_serve_executed(struct tevent_req *subreq);
static void rsvd_sg_serve_again(struct tevent_req *subreq);
static void rsvd_sg_serve_answer(struct tevent_req *req);
static void rsvd_sg_serve_answered(struct tevent_req *subreq);

struct tevent_req *rsvd_sg_serve_send(TALLOC_CTX *mem_ctx,
				      struct tevent_context *ev,
				      const struct rsvd_sg_path *paths,
				      size_t num_paths, int fd)
{
	struct tevent_req *req = NULL, *subreq = NULL;
	struct rsvd_sg_serve_state *state = NULL;

	req = tevent_req_create(mem_ctx, &state, struct rsvd_sg_serve_state);
	if (req == NULL) {
		close(fd);
		return NULL;
	}
	*state = (struct rsvd_sg_serve_state) {
		.ev = ev,
		.paths = paths,
		.num_paths = num_paths,
		.give_up = timeval_current_ofs(BUSY_GIVE_UP_SEC, 0),
	};
	if (tstream_bsd_existing_socket(state, fd, &state->stream) != 0) {
		int err = errno;

		close(fd);
		tevent_req_error(req, err);
		return tevent_req_post(req, ev);
	}

	state->iov[0] = (struct iovec) {
		.iov_base = &state->request,
		.iov_len = sizeof(state->request),
	};
	subreq = tstream_readv_send(state, ev, state->stream, state->iov, 1);
	if (tevent_req_nomem(subreq, req)) {
		return tevent_req_post(req, ev);
	}
	tevent_req_set_callback(subreq, rsvd_sg_serve_got_request, req);
	return req;
}

static void rsvd_sg_serve_fail(struct tevent_req *req, int err)
{
	struct rsvd_sg_serve_state *state =
		tevent_req_data(req, struct rsvd_sg_serve_state);

	state->response.error = err;
	rsvd_sg_serve_answer(req);
}

static void rsvd_sg_serve_got_request(struct tevent_req *subreq)
{
	struct tevent_req *req =
		tevent_req_callback_data(subreq, struct tevent_req);
	struct rsvd_sg_serve_state *state =
		tevent_req_data(req, struct rsvd_sg_serve_state);
	const struct rsvd_sg_request *request = &state->request;
	int ret, err;

	ret = tstream_readv_recv(subreq, &err);
	TALLOC_FREE(subreq);
	if (ret == -1) {
		tevent_req_error(req, err);
		return;
	}

	if (request->path >= state->num_paths) {
		rsvd_sg_serve_fail(req, ENODEV);
		return;
	}
	if (request->cdb_length == 0) {
		rsvd_sg_serve_answer(req);
		return;
	}
	if (request->cdb_length > sizeof(request->cdb) ||
	    request->data_length > RSVD_SG_MAX_TRANSFER) {
		rsvd_sg_serve_fail(req, EINVAL);
		return;
	}
	if (!request->is_write || request->data_length == 0) {
		rsvd_sg_serve_execute(req);
		return;
	}

	state->data_out = talloc_array(state, uint8_t, request->data_length);
	if (tevent_req_nomem(state->data_out, req)) {
		return;
	}
	state->iov[0] = (struct iovec) {
		.iov_base = state->data_out,
		.iov_len = request->data_length,
	};
	subreq = tstream_readv_send(state, state->ev, state->stream,
				    state->iov, 1);
	if (tevent_req_nomem(subreq, req)) {
		return;
	}
	tevent_req_set_callback(subreq, rsvd_sg_serve_got_data, req);
}

static void rsvd_sg_serve_got_data(struct tevent_req *subreq)
{
	struct tevent_req *req =
		tevent_req_callback_data(subreq, struct tevent_req);
	int ret, err;

	ret = tstream_readv_recv(subreq, &err);
	TALLOC_FREE(subreq);
	if (ret == -1) {
		tevent_req_error(req, err);
		return;
	}
	rsvd_sg_serve_execute(req);
}

static void rsvd_sg_serve_execute(struct tevent_req *req)
{
	struct rsvd_sg_serve_state *state =
		tevent_req_data(req, struct rsvd_sg_serve_state);
	const struct rsvd_sg_request *request = &state->request;
	struct librsvd_scsi_command command = {
		.cdb = request->cdb,
		.cdb_length = request->cdb_length,
	};
	struct tevent_req *subreq = NULL;

	if (state->data_out != NULL) {
		command.data_out = state->data_out;
		command.data_out_length = request->data_length;
	}
	if (request->is_read) {
		command.data_in_length = request->data_length;
	}
	subreq = librsvd_scsi_send(state, state->paths[request->path].disk,
				   &command);
	if (tevent_req_nomem(subreq, req)) {
		return;
	}
	tevent_req_set_callback(subreq, rsvd_sg_serve_executed, req);
}

static int rsvd_sg_serve_errno(NTSTATUS status)
{
	if (NT_STATUS_EQUAL(status, NT_STATUS_INVALID_PARAMETER)) {
		return EINVAL;
	}
	if (NT_STATUS_EQUAL(status, NT_STATUS_NO_MEMORY)) {
		return ENOMEM;
	}
	if (NT_STATUS_EQUAL(status, NT_STATUS_IO_TIMEOUT)) {
		return ETIMEDOUT;
	}
	return EIO;
}

static void rsvd_sg_serve_executed(struct tevent_req *subreq)
{
	struct tevent_req *req =
		tevent_req_callback_data(subreq, struct tevent_req);
	struct rsvd_sg_serve_state *state =
		tevent_req_data(req, struct rsvd_sg_serve_state);
	struct rsvd_sg_response *response = &state->response;
	const struct librsvd_sense *sense = &state->result.sense;
	NTSTATUS status;

	status = librsvd_scsi_recv(subreq, state, &state->result);
	TALLOC_FREE(subreq);
	if (!NT_STATUS_IS_OK(status)) {
		fprintf(stderr, "rsvd-sg: %s: %s\n",
			state->paths[state->request.path].name,
			librsvd_status_string(state, status));
		rsvd_sg_serve_fail(req, rsvd_sg_serve_errno(status));
		return;
	}

	if ((sense->scsi_status == STATUS_BUSY ||
	     sense->scsi_status == STATUS_TASK_SET_FULL) &&
	    !timeval_expired(&state->give_up)) {
		subreq = tevent_wakeup_send(
			state, state->ev,
			timeval_current_ofs_msec(BUSY_RETRY_MSEC));
		if (tevent_req_nomem(subreq, req)) {
			return;
		}
		tevent_req_set_callback(subreq, rsvd_sg_serve_again, req);
		return;
	}

	response->status = sense->scsi_status;
	response->sense_length = MIN(sense->length, sizeof(response->sense));
	memcpy(response->sense, sense->data, response->sense_length);
	/* RSVD does not tell how much of what was sent the disk has taken. */
	response->transferred = state->request.is_read ?
		state->result.data_in_length : state->request.data_length;
	rsvd_sg_serve_answer(req);
}

static void rsvd_sg_serve_again(struct tevent_req *subreq)
{
	struct tevent_req *req =
		tevent_req_callback_data(subreq, struct tevent_req);

	if (!tevent_wakeup_recv(subreq)) {
		tevent_req_error(req, EIO);
		return;
	}
	TALLOC_FREE(subreq);
	rsvd_sg_serve_execute(req);
}

static void rsvd_sg_serve_answer(struct tevent_req *req)
{
	struct rsvd_sg_serve_state *state =
		tevent_req_data(req, struct rsvd_sg_serve_state);
	struct tevent_req *subreq = NULL;
	size_t num = 1;

	state->iov[0] = (struct iovec) {
		.iov_base = &state->response,
		.iov_len = sizeof(state->response),
	};
	if (state->result.data_in_length > 0) {
		state->iov[num++] = (struct iovec) {
			.iov_base = state->result.data_in,
			.iov_len = state->result.data_in_length,
		};
	}
	subreq = tstream_writev_send(state, state->ev, state->stream,
				     state->iov, num);
	if (tevent_req_nomem(subreq, req)) {
		return;
	}
	tevent_req_set_callback(subreq, rsvd_sg_serve_answered, req);
}

static void rsvd_sg_serve_answered(struct tevent_req *subreq)
{
	struct tevent_req *req =
		tevent_req_callback_data(subreq, struct tevent_req);
	int ret, err;

	ret = tstream_writev_recv(subreq, &err);
	TALLOC_FREE(subreq);
	if (ret == -1) {
		tevent_req_error(req, err);
		return;
	}
	tevent_req_done(req);
}

int rsvd_sg_serve_recv(struct tevent_req *req)
{
	return tevent_req_simple_recv_unix(req);
}
