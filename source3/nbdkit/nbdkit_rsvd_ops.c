/*
 * nbdkit-rsvd-plugin: from NBD requests to RSVD's
 *
 * Data goes by SMB2 READ and WRITE, what has no data by SCSI commands through
 * the tunnel: UNMAP, WRITE SAME, GET LBA STATUS (SBC-3).
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "source3/nbdkit/nbdkit_rsvd.h"
#include "lib/util/bytearray.h"
#include "lib/util/tevent_ntstatus.h"

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

/* Each kind is reported once; more of them is no disk. */
#define RSVD_NBD_UNIT_ATTENTIONS 16

#define RSVD_NBD_BUSY_MSEC 20
#define RSVD_NBD_BUSY_RETRIES 500

/* Of one answer to an NBD client; it asks again for the rest. */
#define RSVD_NBD_MAX_EXTENTS 4096

/* The longest command, whatever the disk offers: a server is busy with it. */
#define RSVD_NBD_MAX_ZERO_BYTES (64 * 1024 * 1024)

#define SCSI_GOOD 0x00
#define SCSI_CHECK_CONDITION 0x02
#define SCSI_BUSY 0x08
#define SCSI_RESERVATION_CONFLICT 0x18

#define SENSE_ILLEGAL_REQUEST 0x05
#define SENSE_UNIT_ATTENTION 0x06
#define SENSE_DATA_PROTECT 0x07

#define ASC_INVALID_OPCODE 0x2000
#define ASC_INVALID_FIELD_IN_CDB 0x2400
#define ASC_SPACE_ALLOCATION_FAILED 0x2707

/* Sense data, fixed or descriptor format (SPC-4 4.5). */
static void sense_parse(const struct librsvd_sense *sense, uint8_t *key,
			uint16_t *asc)
{
	const uint8_t *d = sense->data;

	*key = 0;
	*asc = 0;
	if (sense->length < 4) {
		return;
	}
	switch (d[0] & 0x7F) {
	case 0x70:
	case 0x71:
		*key = d[2] & 0x0F;
		if (sense->length >= 14) {
			*asc = PULL_BE_U16(d, 12);
		}
		break;
	case 0x72:
	case 0x73:
		*key = d[1] & 0x0F;
		*asc = PULL_BE_U16(d, 2);
		break;
	}
}

static int sense_errno(const struct librsvd_sense *sense)
{
	uint8_t key;
	uint16_t asc;

	switch (sense->scsi_status) {
	case SCSI_GOOD:
		return 0;
	case SCSI_RESERVATION_CONFLICT:
		return EPERM;
	case SCSI_CHECK_CONDITION:
		break;
	default:
		return EIO;
	}
	sense_parse(sense, &key, &asc);
	if (key == SENSE_ILLEGAL_REQUEST) {
		return asc == ASC_INVALID_OPCODE ? EOPNOTSUPP : EINVAL;
	}
	if (key == SENSE_DATA_PROTECT) {
		return asc == ASC_SPACE_ALLOCATION_FAILED ? ENOSPC : EPERM;
	}
	return EIO;
}

static int status_errno(NTSTATUS status)
{
	const struct {
		NTSTATUS status;
		int err;
	} table[] = {
		{ LIBRSVD_STATUS_RESERVATION_CONFLICT, EPERM },
		{ NT_STATUS_ACCESS_DENIED, EPERM },
		{ NT_STATUS_MEDIA_WRITE_PROTECTED, EPERM },
		{ NT_STATUS_DISK_FULL, ENOSPC },
		{ NT_STATUS_NO_MEMORY, ENOMEM },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(table); i++) {
		if (NT_STATUS_EQUAL(status, table[i].status)) {
			return table[i].err;
		}
	}
	return EIO;
}

/* These say nothing of the request; another connection may serve it. */
static bool status_is_lost(NTSTATUS status)
{
	const NTSTATUS table[] = {
		NT_STATUS_CONNECTION_DISCONNECTED,
		NT_STATUS_CONNECTION_RESET,
		NT_STATUS_CONNECTION_ABORTED,
		NT_STATUS_CONNECTION_INVALID,
		NT_STATUS_LOCAL_DISCONNECT,
		NT_STATUS_REMOTE_DISCONNECT,
		NT_STATUS_NETWORK_NAME_DELETED,
		NT_STATUS_NETWORK_SESSION_EXPIRED,
		NT_STATUS_USER_SESSION_DELETED,
		NT_STATUS_FILE_CLOSED,
		NT_STATUS_INVALID_NETWORK_RESPONSE,
		NT_STATUS_IO_TIMEOUT,
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(table); i++) {
		if (NT_STATUS_EQUAL(status, table[i])) {
			return true;
		}
	}
	return false;
}

/* MS-RSVD 2.2.3: those that are a unit attention by themselves. */
static bool status_is_unit_attention(NTSTATUS status)
{
	uint32_t v = NT_STATUS_V(status);

	return v >= NT_STATUS_V(LIBRSVD_STATUS_UNIT_ATTENTION_AVAILABLE) &&
	       v <= NT_STATUS_V(LIBRSVD_STATUS_OPERATING_DEFINITION_CHANGED);
}

/*
 * A SCSI command, as initiators execute it: again after a unit attention, and
 * after a while when the disk is busy.
 */

struct scsi_state {
	struct tevent_context *ev;
	struct librsvd_disk *const *disk;
	struct librsvd_scsi_command command;
	uint8_t cdb[16];
	unsigned int num_attentions;
	unsigned int num_busy;
	struct librsvd_scsi_result result;
};

static void scsi_next(struct tevent_req *req);
static void scsi_done(struct tevent_req *subreq);
static void scsi_waited(struct tevent_req *subreq);

static struct tevent_req *scsi_send(TALLOC_CTX *mem_ctx,
				    struct tevent_context *ev,
				    struct librsvd_disk *const *disk,
				    const uint8_t cdb[16],
				    const uint8_t *data_out,
				    uint32_t data_out_length,
				    uint32_t data_in_length)
{
	struct tevent_req *req = NULL;
	struct scsi_state *state = NULL;

	req = tevent_req_create(mem_ctx, &state, struct scsi_state);
	if (req == NULL) {
		return NULL;
	}
	state->ev = ev;
	state->disk = disk;
	memcpy(state->cdb, cdb, sizeof(state->cdb));
	state->command = (struct librsvd_scsi_command) {
		.cdb = state->cdb,
		/* SPC-4 4.2.5.1: the group tells the length */
		.cdb_length = cdb[0] < 0x20 ? 6 : cdb[0] < 0x60 ? 10 : 16,
		.data_out = data_out,
		.data_out_length = data_out_length,
		.data_in_length = data_in_length,
	};
	scsi_next(req);
	if (!tevent_req_is_in_progress(req)) {
		return tevent_req_post(req, ev);
	}
	return req;
}

static void scsi_next(struct tevent_req *req)
{
	struct scsi_state *state = tevent_req_data(req, struct scsi_state);
	struct tevent_req *subreq = NULL;

	if (*state->disk == NULL) {
		tevent_req_nterror(req, NT_STATUS_CONNECTION_DISCONNECTED);
		return;
	}
	subreq = librsvd_scsi_send(state, *state->disk, &state->command);
	if (tevent_req_nomem(subreq, req)) {
		return;
	}
	tevent_req_set_callback(subreq, scsi_done, req);
}

static void scsi_done(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(
		subreq, struct tevent_req);
	struct scsi_state *state = tevent_req_data(req, struct scsi_state);
	uint8_t key;
	uint16_t asc;
	NTSTATUS status;

	status = librsvd_scsi_recv(subreq, state, &state->result);
	TALLOC_FREE(subreq);
	if (tevent_req_nterror(req, status)) {
		return;
	}

	if (state->result.sense.scsi_status == SCSI_BUSY &&
	    state->num_busy++ < RSVD_NBD_BUSY_RETRIES) {
		subreq = tevent_wakeup_send(
			state, state->ev, tevent_timeval_current_ofs(
				0, RSVD_NBD_BUSY_MSEC * 1000));
		if (tevent_req_nomem(subreq, req)) {
			return;
		}
		tevent_req_set_callback(subreq, scsi_waited, req);
		return;
	}
	if (state->result.sense.scsi_status == SCSI_CHECK_CONDITION) {
		sense_parse(&state->result.sense, &key, &asc);
		if (key == SENSE_UNIT_ATTENTION &&
		    state->num_attentions++ < RSVD_NBD_UNIT_ATTENTIONS) {
			nbdkit_debug("unit attention %04x", asc);
			scsi_next(req);
			return;
		}
	}
	tevent_req_done(req);
}

static void scsi_waited(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(
		subreq, struct tevent_req);
	bool ok;

	ok = tevent_wakeup_recv(subreq);
	TALLOC_FREE(subreq);
	if (!ok) {
		tevent_req_oom(req);
		return;
	}
	scsi_next(req);
}

static NTSTATUS scsi_recv(struct tevent_req *req, TALLOC_CTX *mem_ctx,
			  struct librsvd_scsi_result *result)
{
	struct scsi_state *state = tevent_req_data(req, struct scsi_state);
	NTSTATUS status;

	if (tevent_req_is_nterror(req, &status)) {
		tevent_req_received(req);
		return status;
	}
	*result = state->result;
	talloc_steal(mem_ctx, result->data_in);
	tevent_req_received(req);
	return NT_STATUS_OK;
}

static struct tevent_req *lba_status_send(TALLOC_CTX *mem_ctx,
					  struct tevent_context *ev,
					  struct librsvd_disk *const *disk,
					  uint64_t lba, uint32_t descriptors)
{
	/* SERVICE ACTION IN(16), GET LBA STATUS: SBC-3 5.4 */
	uint8_t cdb[16] = { 0x9E, 0x12 };
	uint32_t length = 8 + 16 * descriptors;

	PUSH_BE_U64(cdb, 2, lba);
	PUSH_BE_U32(cdb, 10, length);
	return scsi_send(mem_ctx, ev, disk, cdb, NULL, 0, length);
}

/*
 * What is it?
 */

struct probe_state {
	struct tevent_context *ev;
	struct librsvd_disk *disk;
	struct rsvd_nbd_geometry geometry;
};

static void probe_got_initial_info(struct tevent_req *subreq);
static void probe_got_disk_info(struct tevent_req *subreq);
static void probe_got_limits(struct tevent_req *subreq);
static void probe_got_provisioning(struct tevent_req *subreq);
static void probe_got_lba_status(struct tevent_req *subreq);

struct tevent_req *rsvd_nbd_probe_send(TALLOC_CTX *mem_ctx,
				       struct tevent_context *ev,
				       struct librsvd_disk *disk)
{
	struct tevent_req *req = NULL, *subreq = NULL;
	struct probe_state *state = NULL;

	req = tevent_req_create(mem_ctx, &state, struct probe_state);
	if (req == NULL) {
		return NULL;
	}
	state->ev = ev;
	state->disk = disk;

	subreq = librsvd_initial_info_send(state, disk);
	if (tevent_req_nomem(subreq, req)) {
		return tevent_req_post(req, ev);
	}
	tevent_req_set_callback(subreq, probe_got_initial_info, req);
	return req;
}

static void probe_got_initial_info(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(
		subreq, struct tevent_req);
	struct probe_state *state = tevent_req_data(req, struct probe_state);
	struct librsvd_initial_info info;
	NTSTATUS status;

	status = librsvd_initial_info_recv(subreq, &info);
	TALLOC_FREE(subreq);
	if (tevent_req_nterror(req, status)) {
		return;
	}
	state->geometry.size = info.virtual_size;
	state->geometry.sector_size = info.sector_size;
	state->geometry.physical_sector_size = info.physical_sector_size;

	subreq = librsvd_disk_info_send(state, state->disk);
	if (tevent_req_nomem(subreq, req)) {
		return;
	}
	tevent_req_set_callback(subreq, probe_got_disk_info, req);
}

static void probe_inquiry(struct tevent_req *req, uint8_t page,
			  tevent_req_fn callback)
{
	struct probe_state *state = tevent_req_data(req, struct probe_state);
	struct tevent_req *subreq = NULL;
	/* INQUIRY with EVPD: SPC-4 6.6 */
	uint8_t cdb[16] = { 0x12, 0x01, page, 0, 64 };

	subreq = scsi_send(state, state->ev, &state->disk, cdb, NULL, 0, 64);
	if (tevent_req_nomem(subreq, req)) {
		return;
	}
	tevent_req_set_callback(subreq, callback, req);
}

static void probe_got_disk_info(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(
		subreq, struct tevent_req);
	struct probe_state *state = tevent_req_data(req, struct probe_state);
	struct librsvd_disk_info info;
	NTSTATUS status;

	status = librsvd_disk_info_recv(subreq, &info);
	TALLOC_FREE(subreq);
	if (tevent_req_nterror(req, status)) {
		return;
	}
	state->geometry.disk_id = info.virtual_disk_id;

	/* Block Limits: SBC-3 6.6.3 */
	probe_inquiry(req, 0xB0, probe_got_limits);
}

static void probe_got_limits(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(
		subreq, struct tevent_req);
	struct probe_state *state = tevent_req_data(req, struct probe_state);
	struct librsvd_scsi_result result;
	NTSTATUS status;

	status = scsi_recv(subreq, state, &result);
	TALLOC_FREE(subreq);
	if (tevent_req_nterror(req, status)) {
		return;
	}
	/* A disk without the page has no limits and none of the commands. */
	if (result.sense.scsi_status == SCSI_GOOD &&
	    result.data_in_length >= 44) {
		state->geometry.max_unmap = PULL_BE_U32(result.data_in, 20);
		state->geometry.max_write_same =
			PULL_BE_U64(result.data_in, 36);
	}
	/* Logical Block Provisioning: SBC-3 6.6.4 */
	probe_inquiry(req, 0xB2, probe_got_provisioning);
}

static void probe_got_provisioning(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(
		subreq, struct tevent_req);
	struct probe_state *state = tevent_req_data(req, struct probe_state);
	struct rsvd_nbd_geometry *g = &state->geometry;
	struct librsvd_scsi_result result;
	NTSTATUS status;

	status = scsi_recv(subreq, state, &result);
	TALLOC_FREE(subreq);
	if (tevent_req_nterror(req, status)) {
		return;
	}
	if (result.sense.scsi_status == SCSI_GOOD &&
	    result.data_in_length >= 8) {
		uint8_t flags = result.data_in[5];

		g->unmap = (flags & 0x80) != 0 && g->max_unmap > 0;
		g->zeros_after_unmap = (flags & 0x04) != 0;
		g->write_same_unmap = (flags & 0x40) != 0 &&
				      g->zeros_after_unmap;
	}
	/* Some do without the limit, but then say this of the command. */
	g->write_same = g->max_write_same > 0 || g->write_same_unmap;
	g->no_data_out_buffer = true;

	subreq = lba_status_send(state, state->ev, &state->disk, 0, 1);
	if (tevent_req_nomem(subreq, req)) {
		return;
	}
	tevent_req_set_callback(subreq, probe_got_lba_status, req);
}

static void probe_got_lba_status(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(
		subreq, struct tevent_req);
	struct probe_state *state = tevent_req_data(req, struct probe_state);
	struct librsvd_scsi_result result;
	NTSTATUS status;

	status = scsi_recv(subreq, state, &result);
	TALLOC_FREE(subreq);
	if (tevent_req_nterror(req, status)) {
		return;
	}
	state->geometry.lba_status = result.sense.scsi_status == SCSI_GOOD;
	tevent_req_done(req);
}

NTSTATUS rsvd_nbd_probe_recv(struct tevent_req *req,
			     struct rsvd_nbd_geometry *geometry)
{
	struct probe_state *state = tevent_req_data(req, struct probe_state);
	NTSTATUS status;

	if (tevent_req_is_nterror(req, &status)) {
		tevent_req_received(req);
		return status;
	}
	*geometry = state->geometry;
	tevent_req_received(req);
	return NT_STATUS_OK;
}

/*
 * Requests
 */

struct op_state {
	struct tevent_context *ev;
	struct librsvd_disk *const *disk;
	struct rsvd_nbd_geometry *geometry;
	bool write_through;
	struct rsvd_nbd_request *request;
	uint64_t done;		/* bytes of the request */
	uint64_t under_way;	/* and after this command */
	unsigned int num_attentions;
	bool used_ndob;
	bool flushing;
	bool lost;
	int err;
};

static void op_next(struct tevent_req *req);
static void op_io_done(struct tevent_req *subreq);
static void op_got_sense(struct tevent_req *subreq);
static void op_scsi_done(struct tevent_req *subreq);

struct tevent_req *rsvd_nbd_op_send(TALLOC_CTX *mem_ctx,
				    struct tevent_context *ev,
				    struct librsvd_disk *const *disk,
				    struct rsvd_nbd_geometry *geometry,
				    bool write_through,
				    struct rsvd_nbd_request *request)
{
	struct tevent_req *req = NULL;
	struct op_state *state = NULL;

	req = tevent_req_create(mem_ctx, &state, struct op_state);
	if (req == NULL) {
		return NULL;
	}
	state->ev = ev;
	state->disk = disk;
	state->geometry = geometry;
	state->write_through = write_through ||
			       (request->flags & NBDKIT_FLAG_FUA) != 0;
	state->request = request;
	/* It may have been on its way before. */
	request->num_extents = 0;

	op_next(req);
	if (!tevent_req_is_in_progress(req)) {
		return tevent_req_post(req, ev);
	}
	return req;
}

/* The request has ended. */
static void op_end(struct tevent_req *req, int err)
{
	struct op_state *state = tevent_req_data(req, struct op_state);

	state->err = err;
	tevent_req_done(req);
}

static void op_status(struct tevent_req *req, NTSTATUS status)
{
	struct op_state *state = tevent_req_data(req, struct op_state);

	if (status_is_lost(status)) {
		state->lost = true;
		op_end(req, EIO);
		return;
	}
	op_end(req, status_errno(status));
}

/*
 * READ, WRITE and FLUSH
 */

static struct tevent_req *op_io(struct op_state *state)
{
	struct rsvd_nbd_request *r = state->request;

	switch (r->operation) {
	case RSVD_NBD_READ:
		return librsvd_read_send(state, *state->disk, r->buf, r->count,
					 r->offset);
	case RSVD_NBD_WRITE:
		return librsvd_write_send(state, *state->disk, r->buf,
					  r->count, r->offset,
					  state->write_through ?
					  LIBRSVD_WRITE_THROUGH : 0);
	default:
		/* FLUSH, or what ends TRIM and ZERO */
		state->flushing = true;
		return librsvd_flush_send(state, *state->disk);
	}
}

static void op_io_done(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(
		subreq, struct tevent_req);
	struct op_state *state = tevent_req_data(req, struct op_state);
	struct rsvd_nbd_request *r = state->request;
	size_t nread = 0;
	uint8_t key;
	NTSTATUS status;

	switch (r->operation) {
	case RSVD_NBD_READ:
		status = librsvd_read_recv(subreq, &nread);
		if (NT_STATUS_IS_OK(status) && nread != r->count) {
			/* The disk got smaller. */
			status = NT_STATUS_END_OF_FILE;
		}
		break;
	case RSVD_NBD_WRITE:
		status = librsvd_write_recv(subreq);
		break;
	default:
		status = librsvd_flush_recv(subreq);
		break;
	}
	TALLOC_FREE(subreq);

	if (NT_STATUS_IS_OK(status)) {
		op_end(req, 0);
		return;
	}
	if (status_is_unit_attention(status) &&
	    state->num_attentions++ < RSVD_NBD_UNIT_ATTENTIONS) {
		op_next(req);
		return;
	}
	if (librsvd_status_is_stored(status, &key) && *state->disk != NULL) {
		subreq = librsvd_srb_status_send(state, *state->disk, key);
		if (tevent_req_nomem(subreq, req)) {
			return;
		}
		tevent_req_set_callback(subreq, op_got_sense, req);
		return;
	}
	op_status(req, status);
}

/* The server keeps the sense of what failed: MS-RSVD 3.1.5.3. */
static void op_got_sense(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(
		subreq, struct tevent_req);
	struct op_state *state = tevent_req_data(req, struct op_state);
	struct librsvd_sense sense;
	uint8_t key;
	uint16_t asc;
	NTSTATUS status;

	status = librsvd_srb_status_recv(subreq, &sense);
	TALLOC_FREE(subreq);
	if (!NT_STATUS_IS_OK(status)) {
		op_status(req, status);
		return;
	}
	sense_parse(&sense, &key, &asc);
	if (key == SENSE_UNIT_ATTENTION &&
	    state->num_attentions++ < RSVD_NBD_UNIT_ATTENTIONS) {
		nbdkit_debug("unit attention %04x", asc);
		op_next(req);
		return;
	}
	/* It failed, whatever the sense says. */
	op_end(req, sense.scsi_status == SCSI_GOOD ? EIO : sense_errno(&sense));
}

/*
 * TRIM, ZERO and EXTENTS: as many commands as it takes
 */

static struct tevent_req *op_unmap(struct op_state *state, uint64_t lba,
				   uint64_t left)
{
	/* UNMAP, with one descriptor: SBC-3 5.28 */
	uint8_t cdb[16] = { 0x42 };
	uint8_t list[24] = { 0 };
	uint32_t num = MIN(left, state->geometry->max_unmap);

	state->under_way = (uint64_t)num * state->geometry->sector_size;
	PUSH_BE_U16(cdb, 7, sizeof(list));
	PUSH_BE_U16(list, 0, sizeof(list) - 2);
	PUSH_BE_U16(list, 2, sizeof(list) - 8);
	PUSH_BE_U64(list, 8, lba);
	PUSH_BE_U32(list, 16, num);
	return scsi_send(state, state->ev, state->disk, cdb, list,
			 sizeof(list), 0);
}

static struct tevent_req *op_write_same(struct op_state *state, uint64_t lba,
					uint64_t left)
{
	static const uint8_t zeros[65536];
	struct rsvd_nbd_geometry *g = state->geometry;
	/* WRITE SAME(16): SBC-3 5.47 */
	uint8_t cdb[16] = { 0x93 };
	uint32_t num = MIN(left, RSVD_NBD_MAX_ZERO_BYTES / g->sector_size);

	if (g->max_write_same > 0) {
		num = MIN(num, g->max_write_same);
	}
	if (g->write_same_unmap &&
	    (state->request->flags & NBDKIT_FLAG_MAY_TRIM) != 0) {
		cdb[1] |= 0x08;
	}
	state->used_ndob = g->no_data_out_buffer;
	if (state->used_ndob) {
		cdb[1] |= 0x01;
	}
	state->under_way = (uint64_t)num * g->sector_size;
	PUSH_BE_U64(cdb, 2, lba);
	PUSH_BE_U32(cdb, 10, num);
	return scsi_send(state, state->ev, state->disk, cdb,
			 state->used_ndob ? NULL : zeros,
			 state->used_ndob ? 0 : g->sector_size, 0);
}

static void op_next(struct tevent_req *req)
{
	struct op_state *state = tevent_req_data(req, struct op_state);
	struct rsvd_nbd_request *r = state->request;
	struct tevent_req *subreq = NULL;
	uint64_t lba, left;

	if (*state->disk == NULL) {
		op_status(req, NT_STATUS_CONNECTION_DISCONNECTED);
		return;
	}
	if (r->operation == RSVD_NBD_READ || r->operation == RSVD_NBD_WRITE ||
	    r->operation == RSVD_NBD_FLUSH || state->flushing) {
		subreq = op_io(state);
		if (tevent_req_nomem(subreq, req)) {
			return;
		}
		tevent_req_set_callback(subreq, op_io_done, req);
		return;
	}

	if (state->done == r->count) {
		if (r->operation != RSVD_NBD_EXTENTS && state->write_through) {
			state->flushing = true;
			op_next(req);
			return;
		}
		op_end(req, 0);
		return;
	}

	lba = (r->offset + state->done) / state->geometry->sector_size;
	left = (r->count - state->done) / state->geometry->sector_size;

	switch (r->operation) {
	case RSVD_NBD_TRIM:
		subreq = op_unmap(state, lba, left);
		break;
	case RSVD_NBD_ZERO:
		subreq = op_write_same(state, lba, left);
		break;
	default:
		subreq = lba_status_send(
			state, state->ev, state->disk, lba,
			(r->flags & NBDKIT_FLAG_REQ_ONE) != 0 ? 1 : 256);
		break;
	}
	if (tevent_req_nomem(subreq, req)) {
		return;
	}
	tevent_req_set_callback(subreq, op_scsi_done, req);
}

static bool op_add_extent(struct rsvd_nbd_request *r,
			  const struct rsvd_nbd_extent *extent)
{
	struct rsvd_nbd_extent *tmp = NULL;

	/* Not talloc: another thread frees it. */
	tmp = realloc(r->extents, (r->num_extents + 1) * sizeof(*tmp));
	if (tmp == NULL) {
		return false;
	}
	r->extents = tmp;
	r->extents[r->num_extents++] = *extent;
	return true;
}

/*
 * Parameter data of GET LBA STATUS: SBC-3 5.4.3. Returns an errno, and in
 * state->under_way how far it goes.
 */
static int op_parse_extents(struct op_state *state, const uint8_t *data,
			    size_t length)
{
	struct rsvd_nbd_request *r = state->request;
	const struct rsvd_nbd_geometry *g = state->geometry;
	uint64_t start = r->offset + state->done;
	size_t pos;

	state->under_way = 0;
	if (length < 8) {
		return EIO;
	}
	length = MIN(length, (uint64_t)PULL_BE_U32(data, 0) + 4);

	for (pos = 8; pos + 16 <= length; pos += 16) {
		struct rsvd_nbd_extent extent = {
			.offset = PULL_BE_U64(data, pos) * g->sector_size,
			.length = (uint64_t)PULL_BE_U32(data, pos + 8) *
				  g->sector_size,
		};

		if (extent.offset != start || extent.length == 0) {
			break;
		}
		if ((data[pos + 12] & 0x0F) != 0) {
			extent.type = NBDKIT_EXTENT_HOLE;
			if (g->zeros_after_unmap) {
				extent.type |= NBDKIT_EXTENT_ZERO;
			}
		}
		if (!op_add_extent(r, &extent)) {
			return ENOMEM;
		}
		start += extent.length;
		if ((r->flags & NBDKIT_FLAG_REQ_ONE) != 0) {
			break;
		}
	}
	if (start == r->offset + state->done) {
		return EIO;
	}
	state->under_way = start - r->offset - state->done;
	if ((r->flags & NBDKIT_FLAG_REQ_ONE) != 0 ||
	    r->num_extents >= RSVD_NBD_MAX_EXTENTS) {
		state->under_way = r->count - state->done;
	}
	/* A descriptor may go beyond what was asked for. */
	state->under_way = MIN(state->under_way, r->count - state->done);
	return 0;
}

static void op_scsi_done(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(
		subreq, struct tevent_req);
	struct op_state *state = tevent_req_data(req, struct op_state);
	struct librsvd_scsi_result result;
	NTSTATUS status;
	int err;

	status = scsi_recv(subreq, state, &result);
	TALLOC_FREE(subreq);
	if (!NT_STATUS_IS_OK(status)) {
		op_status(req, status);
		return;
	}

	err = sense_errno(&result.sense);
	if (err == EINVAL && state->request->operation == RSVD_NBD_ZERO &&
	    state->used_ndob) {
		/* NDOB came with SBC-4: send a sector of zeros instead. */
		state->geometry->no_data_out_buffer = false;
		op_next(req);
		return;
	}
	if (err == 0 && state->request->operation == RSVD_NBD_EXTENTS) {
		err = op_parse_extents(state, result.data_in,
				       result.data_in_length);
	}
	TALLOC_FREE(result.data_in);
	if (err != 0) {
		op_end(req, err);
		return;
	}
	state->done += state->under_way;
	op_next(req);
}

int rsvd_nbd_op_recv(struct tevent_req *req, bool *lost)
{
	struct op_state *state = tevent_req_data(req, struct op_state);
	NTSTATUS status;
	int err;

	*lost = false;
	if (tevent_req_is_nterror(req, &status)) {
		err = status_errno(status);
	} else {
		*lost = state->lost;
		err = state->err;
	}
	tevent_req_received(req);
	return err;
}
