/*
 * vfs_rsvd: make sure that a preempted initiator's I/O has ended
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * PREEMPT and PREEMPT AND ABORT take an initiator its registration. Once the
 * disk record says so no process lets new I/O of it through. But a write that
 * was let through before may still be on its way to the file, and one that
 * lands after the winner was told that the disk is its own destroys data. So
 * the answer to the command has to wait for them, in every process.
 *
 * The command comes as an FSCTL, and the FSCTL hook of the VFS is synchronous.
 * Two things are waited for in two ways.
 *
 * Other processes are asked by message. The wait runs an event context of its
 * own, on which nothing but these messages and a timer happens: no request of
 * the client is read, no file is closed, no handle goes away under the hook.
 * A message of another kind that arrives meanwhile is kept by Samba's messaging
 * for the main event context; only who asks the same of us is answered. A process that dies has no I/O any more.
 *
 * I/O of this process completes on the main event context, which must not run
 * here. It matters only when two initiators of one disk came through the same
 * connection, two guests of one host. Then the command is answered BUSY before
 * it has changed anything, and the initiator repeats it, as SAM-5 5.3.1
 * wants. Until it does, for a short time, I/O of the others on this disk is
 * held back, so that a busy victim can't win that race for ever.
 *
 * That a process waits only when none of its own I/O but that of the
 * preempting initiator is in flight also keeps two of them from waiting for
 * each other: who was preempted first finds itself unregistered and does not
 * wait at all.
 *
 * SANITIZE waits in the same way, for all others, once the disk record says
 * that the medium is not there for them: what lands later would be left on it.
 */

#include "source3/modules/vfs_rsvd.h"
#include "source3/modules/vfs_rsvd_compat.h"
#include "lib/util/dlinklist.h"
#include "lib/util/server_id.h"
#include "lib/util/tevent_ntstatus.h"
#include "lib/util/tevent_unix.h"
#include "librpc/gen_ndr/ndr_rsvd_fence.h"
#include "librpc/gen_ndr/ndr_rsvd.h"
#include "modules/scsi/scsi.h"

/* A storage that takes longer to finish a write is as good as broken. */
#define RSVD_FENCE_TIMEOUT_SEC 30
/* How soon a dead process is noticed. */
#define RSVD_FENCE_POLL_MSEC 100
/* How long others are held back for an initiator that was answered BUSY. */
#define RSVD_FENCE_HOLD_SEC 3

#define SCSI_OPCODE_PERSISTENT_RESERVE_OUT 0x5F
#define SCSI_PR_OUT_PREEMPT 0x04
#define SCSI_PR_OUT_PREEMPT_AND_ABORT 0x05
#define SCSI_OPCODE_SANITIZE 0x48
#define SCSI_SANITIZE_EXIT_FAILURE_MODE 0x1F

static bool rsvd_fence_is_victim(const struct rsvd_fsp *rf,
				 const struct file_id *id,
				 const struct GUID *initiators,
				 size_t num_initiators)
{
	size_t i;

	if (!file_id_equal(&rf->fsp->file_id, id)) {
		return false;
	}
	for (i = 0; i < num_initiators; i++) {
		if (GUID_equal(&rf->initiator_id, &initiators[i])) {
			return true;
		}
	}
	return false;
}

/*
 * Is I/O of these initiators on its way from this process?
 */
static bool rsvd_fence_has_io(const struct file_id *id,
			      const struct GUID *initiators,
			      size_t num_initiators)
{
	struct rsvd_fsp *rf = NULL;

	for (rf = rsvd_fsps; rf != NULL; rf = rf->next) {
		if (rsvd_fence_is_victim(rf, id, initiators, num_initiators) &&
		    rsvd_fsp_has_io(rf))
		{
			return true;
		}
	}
	return false;
}

/*
 * The side that is asked.
 */

struct rsvd_fence_pending {
	struct rsvd_fence_pending *prev, *next;
	struct messaging_context *msg_ctx;
	struct server_id src;
	struct rsvd_fence_request *request;
};

static struct rsvd_fence_pending *rsvd_fence_pendings;

static void rsvd_fence_reply(struct messaging_context *msg_ctx,
			     struct server_id dst,
			     uint64_t cookie)
{
	struct rsvd_fence_reply reply = { .cookie = cookie };
	enum ndr_err_code ndr_err;
	DATA_BLOB blob;

	ndr_err = ndr_push_struct_blob(
		&blob,
		talloc_tos(),
		&reply,
		(ndr_push_flags_fn_t)ndr_push_rsvd_fence_reply);
	if (!NDR_ERR_CODE_IS_SUCCESS(ndr_err)) {
		/* The asker repeats nothing, but it gives up in time. */
		DBG_ERR("ndr_push_rsvd_fence_reply: %s\n",
			ndr_errstr(ndr_err));
		return;
	}
	messaging_send(msg_ctx, dst, RSVD_MSG_FENCE_REPLY, &blob);
	data_blob_free(&blob);
}

static struct rsvd_fence_request *rsvd_fence_pull(TALLOC_CTX *mem_ctx,
						  const DATA_BLOB *blob)
{
	struct rsvd_fence_request *request = NULL;
	enum ndr_err_code ndr_err;

	request = talloc_zero(mem_ctx, struct rsvd_fence_request);
	if (request == NULL) {
		return NULL;
	}
	ndr_err = ndr_pull_struct_blob_all(
		blob,
		request,
		request,
		(ndr_pull_flags_fn_t)ndr_pull_rsvd_fence_request);
	if (!NDR_ERR_CODE_IS_SUCCESS(ndr_err)) {
		DBG_WARNING("ndr_pull_rsvd_fence_request: %s\n",
			    ndr_errstr(ndr_err));
		TALLOC_FREE(request);
	}
	return request;
}

static bool rsvd_fence_answer(struct rsvd_fence_pending *pending)
{
	if (rsvd_io_abandoned) {
		/* Our death is the answer. */
		return false;
	}
	if (rsvd_fence_has_io(&pending->request->id,
			      pending->request->initiators,
			      pending->request->num_initiators))
	{
		return false;
	}
	rsvd_fence_reply(pending->msg_ctx,
			 pending->src,
			 pending->request->cookie);
	return true;
}

static void rsvd_fence_request_received(struct messaging_context *msg_ctx,
					void *private_data,
					uint32_t msg_type,
					struct server_id src,
					DATA_BLOB *data)
{
	struct rsvd_fence_pending *pending = NULL;

	pending = talloc_zero(NULL, struct rsvd_fence_pending);
	if (pending == NULL) {
		return;
	}
	pending->msg_ctx = msg_ctx;
	pending->src = src;
	pending->request = rsvd_fence_pull(pending, data);
	if (pending->request == NULL || rsvd_fence_answer(pending)) {
		TALLOC_FREE(pending);
		return;
	}
	DLIST_ADD(rsvd_fence_pendings, pending);
}

void rsvd_fence_io_ended(void)
{
	struct rsvd_fence_pending *pending = NULL;
	struct rsvd_fence_pending *next = NULL;

	for (pending = rsvd_fence_pendings; pending != NULL; pending = next) {
		next = pending->next;
		if (rsvd_fence_answer(pending)) {
			DLIST_REMOVE(rsvd_fence_pendings, pending);
			TALLOC_FREE(pending);
		}
	}
}

/*
 * Blocks were trimmed, and another process waits to hear that our I/O of
 * before has ended. It looks into the record for that, so this has no reply.
 */

static void rsvd_catch_up_received(struct messaging_context *msg_ctx,
				   void *private_data,
				   uint32_t msg_type,
				   struct server_id src,
				   DATA_BLOB *data)
{
	struct rsvd_fsp *rf = NULL;

	for (rf = rsvd_fsps; rf != NULL; rf = rf->next) {
		if (rf->is_virtual) {
			vhdx_catch_up(rf->image);
		}
	}
}

void rsvd_ask_to_catch_up(const struct server_id *id, void *private_data)
{
	struct messaging_context *msg_ctx = talloc_get_type_abort(
		private_data, struct messaging_context);
	struct server_id process = *id;

	/* The task is one handle of the process. */
	process.task_id = 0;
	messaging_send(msg_ctx, process, RSVD_MSG_CATCH_UP, NULL);
}

NTSTATUS rsvd_fence_init(struct messaging_context *msg_ctx)
{
	static struct messaging_context *registered;
	NTSTATUS status;

	if (registered == msg_ctx) {
		return NT_STATUS_OK;
	}
	status = messaging_register(msg_ctx,
				    NULL,
				    RSVD_MSG_FENCE_REQUEST,
				    rsvd_fence_request_received);
	if (NT_STATUS_IS_OK(status)) {
		status = messaging_register(msg_ctx,
					    NULL,
					    RSVD_MSG_CATCH_UP,
					    rsvd_catch_up_received);
	}
	if (NT_STATUS_IS_OK(status)) {
		registered = msg_ctx;
	}
	return status;
}

/*
 * The side that asks.
 */

struct rsvd_fence_peer {
	struct server_id id;
	bool done;
};

struct rsvd_fence_wait {
	struct messaging_context *msg_ctx;
	struct rsvd_fence_request request;
	struct rsvd_fence_peer *peers;
	size_t num_peers;
	size_t num_open;	/* peers that are not done */
};

static void rsvd_fence_peer_done(struct rsvd_fence_wait *wait,
				 struct rsvd_fence_peer *peer)
{
	if (!peer->done) {
		peer->done = true;
		wait->num_open -= 1;
	}
}

static bool rsvd_fence_add_peer(struct rsvd_fence_wait *wait,
				const struct server_id *id)
{
	size_t i;

	for (i = 0; i < wait->num_peers; i++) {
		if (server_id_equal(&wait->peers[i].id, id)) {
			return true;
		}
	}
	wait->peers = talloc_realloc(wait,
				     wait->peers,
				     struct rsvd_fence_peer,
				     wait->num_peers + 1);
	if (wait->peers == NULL) {
		return false;
	}
	wait->peers[wait->num_peers] = (struct rsvd_fence_peer) { .id = *id };
	wait->num_peers += 1;
	wait->num_open += 1;
	return true;
}

/*
 * Every process in which one of the victims has the disk open. The table of
 * opens is read after the new reservations were stored: who opens it later
 * is refused I/O.
 */
static NTSTATUS rsvd_fence_find_peers(struct rsvd_fence_wait *wait,
				      struct rsvd_fsp *rf)
{
	struct server_id self = messaging_server_id(wait->msg_ctx);
	struct rsvd_disk_record *record = NULL;
	NTSTATUS status;
	uint32_t i;

	status = rsvd_disk_get(rf->disk, wait, &record);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	for (i = 0; i < record->num_opens; i++) {
		const struct rsvd_disk_open *entry = &record->opens[i];
		bool is_victim = false;
		uint32_t j;

		for (j = 0; j < wait->request.num_initiators; j++) {
			is_victim |= GUID_equal(&entry->initiator_id,
						&wait->request.initiators[j]);
		}
		if (!is_victim || server_id_equal(&entry->server_id, &self)) {
			continue;
		}
		if (!rsvd_fence_add_peer(wait, &entry->server_id)) {
			return NT_STATUS_NO_MEMORY;
		}
	}
	return NT_STATUS_OK;
}

static NTSTATUS rsvd_fence_ask(struct rsvd_fence_wait *wait)
{
	enum ndr_err_code ndr_err;
	DATA_BLOB blob;
	size_t i;

	ndr_err = ndr_push_struct_blob(
		&blob,
		wait,
		&wait->request,
		(ndr_push_flags_fn_t)ndr_push_rsvd_fence_request);
	if (!NDR_ERR_CODE_IS_SUCCESS(ndr_err)) {
		return ndr_map_error2ntstatus(ndr_err);
	}
	for (i = 0; i < wait->num_peers; i++) {
		/*
		 * An error is most likely the death of the peer, which the
		 * timer sees.
		 */
		messaging_send(wait->msg_ctx,
			       wait->peers[i].id,
			       RSVD_MSG_FENCE_REQUEST,
			       &blob);
	}
	return NT_STATUS_OK;
}

/*
 * Runs for each message that arrives while we wait. What is not taken here
 * goes to the main event context.
 */
static bool rsvd_fence_filter(struct messaging_rec *rec, void *private_data)
{
	struct rsvd_fence_wait *wait = private_data;
	struct rsvd_fence_reply reply;
	enum ndr_err_code ndr_err;
	size_t i;

	if (rec->msg_type == RSVD_MSG_FENCE_REQUEST) {
		/*
		 * Two processes that ask each other at the same time must not
		 * both wait for the other's end of waiting. What is answered
		 * here is answered once more later, which nobody minds.
		 */
		rsvd_fence_request_received(wait->msg_ctx,
					    NULL,
					    rec->msg_type,
					    rec->src,
					    &rec->buf);
		return false;
	}
	if (rec->msg_type != RSVD_MSG_FENCE_REPLY) {
		return false;
	}
	ndr_err = ndr_pull_struct_blob_all(
		&rec->buf,
		wait,
		&reply,
		(ndr_pull_flags_fn_t)ndr_pull_rsvd_fence_reply);
	if (!NDR_ERR_CODE_IS_SUCCESS(ndr_err) ||
	    reply.cookie != wait->request.cookie)
	{
		return false;
	}
	for (i = 0; i < wait->num_peers; i++) {
		if (server_id_equal(&wait->peers[i].id, &rec->src)) {
			rsvd_fence_peer_done(wait, &wait->peers[i]);
		}
	}
	/* Done with the last one; more may come before. */
	return wait->num_open == 0;
}

static void rsvd_fence_reap(struct rsvd_fence_wait *wait)
{
	size_t i;

	for (i = 0; i < wait->num_peers; i++) {
		struct rsvd_fence_peer *peer = &wait->peers[i];

		if (!peer->done && !serverid_exists(&peer->id)) {
			rsvd_fence_peer_done(wait, peer);
		}
	}
}

static NTSTATUS rsvd_fence_wait_for_peers(struct rsvd_fence_wait *wait)
{
	struct timeval deadline = timeval_current_ofs(RSVD_FENCE_TIMEOUT_SEC,
						      0);
	struct tevent_context *ev = NULL;
	struct tevent_req *req = NULL;
	NTSTATUS status;

	ev = samba_tevent_context_init(wait);
	if (ev == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	req = messaging_filtered_read_send(wait,
					   ev,
					   wait->msg_ctx,
					   rsvd_fence_filter,
					   wait);
	if (req == NULL) {
		return NT_STATUS_NO_MEMORY;
	}

	status = rsvd_fence_ask(wait);
	while (NT_STATUS_IS_OK(status)) {
		struct tevent_req *tick = NULL;

		rsvd_fence_reap(wait);
		if (wait->num_open == 0) {
			break;
		}
		if (timeval_expired(&deadline)) {
			DBG_ERR("I/O of another initiator is in flight "
				"for %d seconds\n",
				RSVD_FENCE_TIMEOUT_SEC);
			status = NT_STATUS_IO_TIMEOUT;
			break;
		}
		tick = tevent_wakeup_send(
			wait,
			ev,
			timeval_current_ofs_msec(RSVD_FENCE_POLL_MSEC));
		if (tick == NULL) {
			status = NT_STATUS_NO_MEMORY;
			break;
		}
		while (tevent_req_is_in_progress(tick) &&
		       wait->num_open > 0)
		{
			if (tevent_loop_once(ev) != 0) {
				status = NT_STATUS_INTERNAL_ERROR;
				break;
			}
		}
		TALLOC_FREE(tick);
	}

	TALLOC_FREE(req);
	TALLOC_FREE(ev);
	return status;
}

/*
 * rsvd_disk_fence_fn
 */
NTSTATUS rsvd_fence(const struct GUID *initiators, size_t num_initiators,
		    void *private_data)
{
	static uint64_t last_cookie;
	struct rsvd_fsp *rf = private_data;
	struct rsvd_fence_wait *wait = NULL;
	NTSTATUS status;

	if (num_initiators > RSVD_FENCE_MAX_INITIATORS) {
		return NT_STATUS_INSUFFICIENT_RESOURCES;
	}
	if (rsvd_fence_has_io(&rf->fsp->file_id, initiators, num_initiators)) {
		/* rsvd_fence_is_busy() keeps this from happening. */
		DBG_ERR("own I/O of another initiator is in flight\n");
		return NT_STATUS_IO_TIMEOUT;
	}

	wait = talloc_zero(talloc_tos(), struct rsvd_fence_wait);
	if (wait == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	wait->msg_ctx = rf->handle->conn->sconn->msg_ctx;
	wait->request = (struct rsvd_fence_request) {
		.cookie = ++last_cookie,
		.id = rf->fsp->file_id,
		.num_initiators = num_initiators,
		.initiators = discard_const_p(struct GUID, initiators),
	};

	status = rsvd_fence_find_peers(wait, rf);
	if (NT_STATUS_IS_OK(status) && wait->num_open > 0) {
		status = rsvd_fence_wait_for_peers(wait);
	}
	TALLOC_FREE(wait);
	return status;
}

/*
 * I/O of this process.
 */

struct rsvd_fence_hold {
	struct rsvd_fence_hold *prev, *next;
	struct file_id id;
	struct GUID initiator_id;	/* whose command was answered BUSY */
};

static struct rsvd_fence_hold *rsvd_fence_holds;

static struct rsvd_fence_hold *rsvd_fence_find_hold(const struct file_id *id)
{
	struct rsvd_fence_hold *hold = NULL;

	for (hold = rsvd_fence_holds; hold != NULL; hold = hold->next) {
		if (file_id_equal(&hold->id, id)) {
			return hold;
		}
	}
	return NULL;
}

bool rsvd_fence_holds_back(const struct rsvd_fsp *rf)
{
	struct rsvd_fence_hold *hold = NULL;

	if (rsvd_fence_holds == NULL) {
		return false;
	}
	hold = rsvd_fence_find_hold(&rf->fsp->file_id);
	return hold != NULL &&
	       !GUID_equal(&hold->initiator_id, &rf->initiator_id);
}

static void rsvd_fence_release(struct rsvd_fence_hold *hold)
{
	struct file_id id = hold->id;
	struct rsvd_fsp *rf = NULL;

	DLIST_REMOVE(rsvd_fence_holds, hold);
	TALLOC_FREE(hold);

	for (rf = rsvd_fsps; rf != NULL; rf = rf->next) {
		if (file_id_equal(&rf->fsp->file_id, &id)) {
			rsvd_io_resume(rf);
		}
	}
}

static void rsvd_fence_hold_expired(struct tevent_context *ev,
				    struct tevent_timer *te,
				    struct timeval now,
				    void *private_data)
{
	struct rsvd_fence_hold *hold = talloc_get_type_abort(
		private_data, struct rsvd_fence_hold);

	rsvd_fence_release(hold);
}

static void rsvd_fence_hold_others(struct rsvd_fsp *rf)
{
	struct rsvd_fence_hold *hold = NULL;
	struct tevent_timer *te = NULL;

	hold = talloc_zero(NULL, struct rsvd_fence_hold);
	if (hold == NULL) {
		return;
	}
	hold->id = rf->fsp->file_id;
	hold->initiator_id = rf->initiator_id;
	te = tevent_add_timer(rf->handle->conn->sconn->ev_ctx,
			      hold,
			      timeval_current_ofs(RSVD_FENCE_HOLD_SEC, 0),
			      rsvd_fence_hold_expired,
			      hold);
	if (te == NULL) {
		/* The next attempt may be luckier. */
		TALLOC_FREE(hold);
		return;
	}
	DLIST_ADD(rsvd_fence_holds, hold);
}

void rsvd_fence_command_done(struct rsvd_fsp *rf)
{
	struct rsvd_fence_hold *hold = NULL;

	if (rsvd_fence_holds == NULL) {
		return;
	}
	hold = rsvd_fence_find_hold(&rf->fsp->file_id);
	if (hold != NULL &&
	    GUID_equal(&hold->initiator_id, &rf->initiator_id))
	{
		rsvd_fence_release(hold);
	}
}

/*
 * Is I/O of another initiator on its way to this disk from this process?
 */
static bool rsvd_fence_others_have_io(struct rsvd_fsp *self)
{
	struct rsvd_fsp *rf = NULL;

	for (rf = rsvd_fsps; rf != NULL; rf = rf->next) {
		if (file_id_equal(&rf->fsp->file_id, &self->fsp->file_id) &&
		    !GUID_equal(&rf->initiator_id, &self->initiator_id) &&
		    rsvd_fsp_has_io(rf))
		{
			return true;
		}
	}
	return false;
}

/*
 * Is this a request that waits for I/O of others? What is malformed is not, and
 * is left to those who answer it.
 */
static bool rsvd_fence_parse(TALLOC_CTX *mem_ctx,
			     const DATA_BLOB *input,
			     struct svhdx_tunnel_operation_header *header,
			     struct svhdx_tunnel_scsi_request *scsi)
{
	enum ndr_err_code ndr_err;
	DATA_BLOB body;
	uint8_t action;

	if (input->length < SVHDX_TUNNEL_OPERATION_HEADER_SIZE) {
		return false;
	}
	ndr_err = ndr_pull_struct_blob(
		input,
		mem_ctx,
		header,
		(ndr_pull_flags_fn_t)ndr_pull_svhdx_tunnel_operation_header);
	if (!NDR_ERR_CODE_IS_SUCCESS(ndr_err) ||
	    header->operation_code != RSVD_TUNNEL_SCSI_OPERATION)
	{
		return false;
	}
	body = data_blob_const(
		input->data + SVHDX_TUNNEL_OPERATION_HEADER_SIZE,
		input->length - SVHDX_TUNNEL_OPERATION_HEADER_SIZE);
	ndr_err = ndr_pull_struct_blob(
		&body,
		mem_ctx,
		scsi,
		(ndr_pull_flags_fn_t)ndr_pull_svhdx_tunnel_scsi_request);
	if (!NDR_ERR_CODE_IS_SUCCESS(ndr_err)) {
		return false;
	}
	if (scsi->cdb_length < 10) {
		return false;
	}
	action = scsi->cdb_buffer[1] & 0x1F;
	switch (scsi->cdb_buffer[0]) {
	case SCSI_OPCODE_PERSISTENT_RESERVE_OUT:
		return action == SCSI_PR_OUT_PREEMPT ||
		       action == SCSI_PR_OUT_PREEMPT_AND_ABORT;
	case SCSI_OPCODE_SANITIZE:
		return action != SCSI_SANITIZE_EXIT_FAILURE_MODE;
	}
	return false;
}

bool rsvd_fence_is_busy(struct rsvd_fsp *rf, TALLOC_CTX *mem_ctx,
			const DATA_BLOB *input, uint32_t max_output,
			DATA_BLOB *output)
{
	struct svhdx_tunnel_operation_header header;
	struct svhdx_tunnel_scsi_request scsi;
	struct svhdx_tunnel_scsi_response response;
	enum ndr_err_code ndr_err;
	DATA_BLOB head;
	DATA_BLOB body;
	bool ok;

	if (!rsvd_fence_others_have_io(rf)) {
		return false;
	}
	if (max_output < SVHDX_TUNNEL_OPERATION_HEADER_SIZE +
			 SVHDX_TUNNEL_SCSI_RESPONSE_SIZE)
	{
		return false;
	}
	if (!rsvd_fence_parse(mem_ctx, input, &header, &scsi)) {
		return false;
	}

	header.status = NT_STATUS_OK;
	response = (struct svhdx_tunnel_scsi_response) {
		.length = SVHDX_TUNNEL_SCSI_RESPONSE_SIZE,
		.srb_status = RSVD_SRB_STATUS_ERROR,
		.scsi_status = SCSI_STATUS_BUSY,
		.cdb_length = scsi.cdb_length,
		.sense_info_ex_length = RSVD_SCSI_SENSE_BUFFER_SIZE,
		.disposition = scsi.disposition,
		.srb_flags = scsi.srb_flags,
	};
	ndr_err = ndr_push_struct_blob(
		&head,
		mem_ctx,
		&header,
		(ndr_push_flags_fn_t)ndr_push_svhdx_tunnel_operation_header);
	if (NDR_ERR_CODE_IS_SUCCESS(ndr_err)) {
		ndr_err = ndr_push_struct_blob(
			&body,
			mem_ctx,
			&response,
			(ndr_push_flags_fn_t)
				ndr_push_svhdx_tunnel_scsi_response);
	}
	if (!NDR_ERR_CODE_IS_SUCCESS(ndr_err)) {
		return false;
	}
	ok = data_blob_append(mem_ctx, &head, body.data, body.length);
	data_blob_free(&body);
	if (!ok) {
		return false;
	}
	*output = head;
	if (rsvd_fence_find_hold(&rf->fsp->file_id) == NULL) {
		rsvd_fence_hold_others(rf);
	}
	return true;
}
