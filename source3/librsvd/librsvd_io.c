/*
 * librsvd: reading, writing, flushing
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "source3/librsvd/librsvd_private.h"
#include "libcli/smb/smb2_constants.h"

/*
 * What a request may shrink to when credits are short. It keeps every piece
 * a multiple of the sector size, however large that is.
 */
#define LIBRSVD_MIN_IO 65536

struct librsvd_io_state;

/* One READ or WRITE on the wire. */
struct librsvd_io_piece {
	struct tevent_req *req;
	struct librsvd_ticket *ticket;
	size_t done;	/* where it starts in the buffer */
	uint32_t length;
};

struct librsvd_io_state {
	struct tevent_context *ev;
	struct librsvd_conn *conn;
	uint64_t fid_persistent;
	uint64_t fid_volatile;
	bool is_write;
	uint32_t write_flags;
	uint8_t *buf;
	size_t length;
	uint64_t offset;

	uint32_t max_io;
	size_t submitted;	/* bytes from the start */
	size_t num_pieces;
	bool submitting;	/* librsvd_io_next() is at work */
	size_t end;		/* a read found the end of the disk here */
	/*
	 * The first error. The request ends with it when the last piece is
	 * back: until then the server may use the buffer.
	 */
	NTSTATUS status;
};

static void librsvd_io_next(struct tevent_req *req);
static void librsvd_io_submit(void *private_data, NTSTATUS status,
			      uint32_t granted);
static void librsvd_io_not_sent(struct librsvd_io_piece *piece,
				NTSTATUS status);
static void librsvd_io_done(struct tevent_req *subreq);
static void librsvd_io_piece_done(struct librsvd_io_piece *piece,
				  NTSTATUS status, size_t moved);

static struct tevent_req *librsvd_io_send(TALLOC_CTX *mem_ctx,
					  struct librsvd_disk *disk,
					  bool is_write, uint32_t flags,
					  void *buf, size_t length,
					  uint64_t offset)
{
	struct tevent_req *req = NULL;
	struct librsvd_io_state *state = NULL;
	struct librsvd_conn *conn = disk->conn;

	if (conn == NULL) {
		return NULL;
	}

	req = tevent_req_create(mem_ctx, &state, struct librsvd_io_state);
	if (req == NULL) {
		return NULL;
	}
	*state = (struct librsvd_io_state) {
		.ev = conn->ev,
		.conn = conn,
		.fid_persistent = disk->fid_persistent,
		.fid_volatile = disk->fid_volatile,
		.is_write = is_write,
		.buf = buf,
		.length = length,
		.offset = offset,
		.end = length,
		.status = NT_STATUS_OK,
	};
	if (flags & LIBRSVD_WRITE_THROUGH) {
		state->write_flags = SMB2_WRITEFLAG_WRITE_THROUGH;
	}
	if (is_write) {
		state->max_io = smb2cli_conn_max_write_size(conn->cli->conn);
	} else {
		state->max_io = smb2cli_conn_max_read_size(conn->cli->conn);
	}
	if (state->max_io > LIBRSVD_MIN_IO) {
		state->max_io -= state->max_io % LIBRSVD_MIN_IO;
	}

	if (length == 0) {
		tevent_req_done(req);
		return tevent_req_post(req, conn->ev);
	}
	if (offset + length < offset || state->max_io == 0) {
		tevent_req_nterror(req, NT_STATUS_INVALID_PARAMETER);
		return tevent_req_post(req, conn->ev);
	}

	librsvd_io_next(req);
	if (!tevent_req_is_in_progress(req)) {
		return tevent_req_post(req, conn->ev);
	}
	return req;
}

/*
 * Ask for the credits of the next pieces, until one has to wait. There is one
 * such ticket at a time for a request, so a large one does not keep others
 * from their turn.
 */
static void librsvd_io_next(struct tevent_req *req)
{
	struct librsvd_io_state *state =
		tevent_req_data(req, struct librsvd_io_state);
	size_t before;

	if (state->submitting) {
		return;
	}
	state->submitting = true;

	do {
		struct librsvd_io_piece *piece = NULL;
		uint32_t length;

		before = state->submitted;
		length = MIN(state->length - before, state->max_io);

		piece = talloc_zero(state, struct librsvd_io_piece);
		if (piece == NULL) {
			state->status = NT_STATUS_NO_MEMORY;
			if (state->num_pieces == 0) {
				tevent_req_defer_callback(req, state->ev);
				tevent_req_oom(req);
			}
			break;
		}
		piece->req = req;
		piece->done = before;
		state->num_pieces += 1;

		if (!librsvd_ticket_take(piece, state->conn,
					 MIN(length, LIBRSVD_MIN_IO), length,
					 librsvd_io_submit, piece,
					 &piece->ticket)) {
			librsvd_io_not_sent(piece, NT_STATUS_NO_MEMORY);
			break;
		}
		/*
		 * When it was granted at once the piece may be gone by now,
		 * and what we see is that submitted has grown.
		 */
	} while (state->submitted > before &&
		 state->submitted < state->length &&
		 NT_STATUS_IS_OK(state->status));

	state->submitting = false;
}

/* A piece that was never sent. */
static void librsvd_io_not_sent(struct librsvd_io_piece *piece,
				NTSTATUS status)
{
	struct librsvd_io_state *state =
		tevent_req_data(piece->req, struct librsvd_io_state);

	tevent_req_defer_callback(piece->req, state->ev);
	librsvd_io_piece_done(piece, status, 0);
}

static void librsvd_io_submit(void *private_data, NTSTATUS status,
			      uint32_t granted)
{
	struct librsvd_io_piece *piece =
		talloc_get_type_abort(private_data, struct librsvd_io_piece);
	struct tevent_req *req = piece->req;
	struct librsvd_io_state *state =
		tevent_req_data(req, struct librsvd_io_state);
	struct tevent_req *subreq = NULL;
	uint64_t offset = state->offset + piece->done;

	if (!NT_STATUS_IS_OK(status) || !NT_STATUS_IS_OK(state->status)) {
		/* The latter: another piece failed while this one waited. */
		librsvd_io_not_sent(piece, status);
		return;
	}
	piece->length = granted;

	if (state->is_write) {
		subreq = smb2cli_write_send(
			piece, state->ev, LIBRSVD_SMB2(state->conn),
			piece->length, offset, state->fid_persistent,
			state->fid_volatile, 0, state->write_flags,
			state->buf + piece->done);
	} else {
		subreq = smb2cli_read_send(
			piece, state->ev, LIBRSVD_SMB2(state->conn),
			piece->length, offset, state->fid_persistent,
			state->fid_volatile, 0, 0);
	}
	if (subreq == NULL) {
		librsvd_io_not_sent(piece, NT_STATUS_NO_MEMORY);
		return;
	}
	tevent_req_set_callback(subreq, librsvd_io_done, piece);

	state->submitted = piece->done + piece->length;
	if (state->submitted < state->length) {
		librsvd_io_next(req);
	}
}

static void librsvd_io_done(struct tevent_req *subreq)
{
	struct librsvd_io_piece *piece =
		tevent_req_callback_data(subreq, struct librsvd_io_piece);
	struct librsvd_io_state *state =
		tevent_req_data(piece->req, struct librsvd_io_state);
	uint8_t *data = NULL;
	uint32_t moved = 0;
	NTSTATUS status;

	if (state->is_write) {
		status = smb2cli_write_recv(subreq, &moved);
		if (NT_STATUS_IS_OK(status) && moved != piece->length) {
			/* A disk takes all of a write or none of it. */
			status = NT_STATUS_INVALID_NETWORK_RESPONSE;
		}
	} else {
		status = smb2cli_read_recv(subreq, piece, &data, &moved);
		if (NT_STATUS_IS_OK(status) && moved > piece->length) {
			status = NT_STATUS_INVALID_NETWORK_RESPONSE;
		}
		if (NT_STATUS_IS_OK(status)) {
			memcpy(state->buf + piece->done, data, moved);
		}
	}
	TALLOC_FREE(subreq);
	librsvd_io_piece_done(piece, status, moved);
}

static void librsvd_io_piece_done(struct librsvd_io_piece *piece,
				  NTSTATUS status, size_t moved)
{
	struct tevent_req *req = piece->req;
	struct librsvd_io_state *state =
		tevent_req_data(req, struct librsvd_io_state);

	if (NT_STATUS_EQUAL(status, NT_STATUS_END_OF_FILE) &&
	    piece->done > 0) {
		/* An earlier piece was short, or ended at the end. */
		status = NT_STATUS_OK;
		moved = 0;
	}
	if (!NT_STATUS_IS_OK(status) && NT_STATUS_IS_OK(state->status)) {
		state->status = status;
	}
	if (!state->is_write && moved < piece->length) {
		state->end = MIN(state->end, piece->done + moved);
	}

	/*
	 * The piece first: its ticket lets others go on, and these may be
	 * more of ours.
	 */
	TALLOC_FREE(piece);
	state->num_pieces -= 1;
	if (state->num_pieces > 0) {
		return;
	}

	if (tevent_req_nterror(req, state->status)) {
		return;
	}
	tevent_req_done(req);
}

struct tevent_req *librsvd_read_send(TALLOC_CTX *mem_ctx,
				     struct librsvd_disk *disk,
				     void *buf, size_t length,
				     uint64_t offset)
{
	return librsvd_io_send(mem_ctx, disk, false, 0, buf, length, offset);
}

NTSTATUS librsvd_read_recv(struct tevent_req *req, size_t *nread)
{
	struct librsvd_io_state *state =
		tevent_req_data(req, struct librsvd_io_state);
	NTSTATUS status;

	if (tevent_req_is_nterror(req, &status)) {
		tevent_req_received(req);
		return status;
	}
	if (nread != NULL) {
		*nread = state->end;
	}
	tevent_req_received(req);
	return NT_STATUS_OK;
}

NTSTATUS librsvd_read(struct librsvd_disk *disk, void *buf, size_t length,
		      uint64_t offset, size_t *nread)
{
	TALLOC_CTX *frame = talloc_stackframe();
	struct tevent_req *req = NULL;
	NTSTATUS status;

	req = librsvd_read_send(frame, disk, buf, length, offset);
	status = librsvd_wait(disk->conn, req);
	if (NT_STATUS_IS_OK(status)) {
		status = librsvd_read_recv(req, nread);
	}
	TALLOC_FREE(frame);
	return status;
}

struct tevent_req *librsvd_write_send(TALLOC_CTX *mem_ctx,
				      struct librsvd_disk *disk,
				      const void *buf, size_t length,
				      uint64_t offset, uint32_t flags)
{
	return librsvd_io_send(mem_ctx, disk, true, flags,
			       discard_const_p(void, buf), length, offset);
}

NTSTATUS librsvd_write_recv(struct tevent_req *req)
{
	return tevent_req_simple_recv_ntstatus(req);
}

NTSTATUS librsvd_write(struct librsvd_disk *disk, const void *buf,
		       size_t length, uint64_t offset, uint32_t flags)
{
	TALLOC_CTX *frame = talloc_stackframe();
	struct tevent_req *req = NULL;
	NTSTATUS status;

	req = librsvd_write_send(frame, disk, buf, length, offset, flags);
	status = librsvd_wait(disk->conn, req);
	if (NT_STATUS_IS_OK(status)) {
		status = librsvd_write_recv(req);
	}
	TALLOC_FREE(frame);
	return status;
}

struct librsvd_flush_state {
	struct tevent_context *ev;
	struct librsvd_disk *disk;
	struct librsvd_ticket *ticket;
};

static void librsvd_flush_submit(void *private_data, NTSTATUS status,
				 uint32_t granted);
static void librsvd_flush_done(struct tevent_req *subreq);

struct tevent_req *librsvd_flush_send(TALLOC_CTX *mem_ctx,
				      struct librsvd_disk *disk)
{
	struct tevent_req *req = NULL;
	struct librsvd_flush_state *state = NULL;

	if (disk->conn == NULL) {
		return NULL;
	}

	req = tevent_req_create(mem_ctx, &state, struct librsvd_flush_state);
	if (req == NULL) {
		return NULL;
	}
	state->ev = disk->conn->ev;
	state->disk = disk;

	if (!librsvd_ticket_take(state, disk->conn, 1, 1,
				 librsvd_flush_submit, req, &state->ticket)) {
		tevent_req_oom(req);
	}
	if (!tevent_req_is_in_progress(req)) {
		return tevent_req_post(req, state->ev);
	}
	return req;
}

static void librsvd_flush_submit(void *private_data, NTSTATUS status,
				 uint32_t granted)
{
	struct tevent_req *req =
		talloc_get_type_abort(private_data, struct tevent_req);
	struct librsvd_flush_state *state =
		tevent_req_data(req, struct librsvd_flush_state);
	struct tevent_req *subreq = NULL;

	if (!NT_STATUS_IS_OK(status)) {
		tevent_req_defer_callback(req, state->ev);
		tevent_req_nterror(req, status);
		return;
	}

	subreq = smb2cli_flush_send(state, state->ev,
				    LIBRSVD_SMB2(state->disk->conn),
				    state->disk->fid_persistent,
				    state->disk->fid_volatile);
	if (tevent_req_nomem(subreq, req)) {
		return;
	}
	tevent_req_set_callback(subreq, librsvd_flush_done, req);
}

static void librsvd_flush_done(struct tevent_req *subreq)
{
	struct tevent_req *req =
		tevent_req_callback_data(subreq, struct tevent_req);
	struct librsvd_flush_state *state =
		tevent_req_data(req, struct librsvd_flush_state);
	NTSTATUS status;

	status = smb2cli_flush_recv(subreq);
	TALLOC_FREE(subreq);
	TALLOC_FREE(state->ticket);
	if (tevent_req_nterror(req, status)) {
		return;
	}
	tevent_req_done(req);
}

NTSTATUS librsvd_flush_recv(struct tevent_req *req)
{
	return tevent_req_simple_recv_ntstatus(req);
}

NTSTATUS librsvd_flush(struct librsvd_disk *disk)
{
	TALLOC_CTX *frame = talloc_stackframe();
	struct tevent_req *req = NULL;
	NTSTATUS status;

	req = librsvd_flush_send(frame, disk);
	status = librsvd_wait(disk->conn, req);
	if (NT_STATUS_IS_OK(status)) {
		status = librsvd_flush_recv(req);
	}
	TALLOC_FREE(frame);
	return status;
}
