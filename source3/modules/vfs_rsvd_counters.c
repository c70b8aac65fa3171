/*
 * vfs_rsvd: tell "rsvdctl status" how much I/O there was
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "source3/modules/vfs_rsvd.h"
#include "lib/util/server_id.h"
#include "librpc/gen_ndr/ndr_rsvd_counters.h"
#include "messages.h"

static struct rsvd_counters_reply *rsvd_counters_collect(TALLOC_CTX *mem_ctx)
{
	struct rsvd_counters_reply *reply = NULL;
	struct rsvd_fsp *rf = NULL;
	size_t num = 0;

	for (rf = rsvd_fsps; rf != NULL; rf = rf->next) {
		num += 1;
	}
	num = MIN(num, RSVD_COUNTERS_MAX_OPENS);

	reply = talloc_zero(mem_ctx, struct rsvd_counters_reply);
	if (reply == NULL) {
		return NULL;
	}
	reply->opens = talloc_zero_array(reply,
					 struct rsvd_open_counters,
					 num);
	if (reply->opens == NULL) {
		TALLOC_FREE(reply);
		return NULL;
	}
	for (rf = rsvd_fsps; rf != NULL && reply->num_opens < num;
	     rf = rf->next)
	{
		reply->opens[reply->num_opens++] = (struct rsvd_open_counters) {
			.id = rf->fsp->file_id,
			.open_id = rf->open_id,
			.io = rf->counters,
		};
	}
	return reply;
}

static void rsvd_counters_request_received(struct messaging_context *msg_ctx,
					   void *private_data,
					   uint32_t msg_type,
					   struct server_id src,
					   DATA_BLOB *data)
{
	TALLOC_CTX *frame = talloc_stackframe();
	struct rsvd_counters_request request;
	struct rsvd_counters_reply *reply = NULL;
	enum ndr_err_code ndr_err;
	DATA_BLOB blob;

	ndr_err = ndr_pull_struct_blob_all(
		data,
		frame,
		&request,
		(ndr_pull_flags_fn_t)ndr_pull_rsvd_counters_request);
	if (!NDR_ERR_CODE_IS_SUCCESS(ndr_err)) {
		DBG_WARNING("ndr_pull_rsvd_counters_request: %s\n",
			    ndr_errstr(ndr_err));
		goto done;
	}
	reply = rsvd_counters_collect(frame);
	if (reply == NULL) {
		goto done;
	}
	reply->cookie = request.cookie;
	ndr_err = ndr_push_struct_blob(
		&blob,
		frame,
		reply,
		(ndr_push_flags_fn_t)ndr_push_rsvd_counters_reply);
	if (!NDR_ERR_CODE_IS_SUCCESS(ndr_err)) {
		DBG_WARNING("ndr_push_rsvd_counters_reply: %s\n",
			    ndr_errstr(ndr_err));
		goto done;
	}
	messaging_send(msg_ctx, src, RSVD_MSG_COUNTERS_REPLY, &blob);
done:
	/* Who asked does without. */
	TALLOC_FREE(frame);
}

NTSTATUS rsvd_counters_init(struct messaging_context *msg_ctx)
{
	static struct messaging_context *registered;
	NTSTATUS status;

	if (registered == msg_ctx) {
		return NT_STATUS_OK;
	}
	status = messaging_register(msg_ctx,
				    NULL,
				    RSVD_MSG_COUNTERS_REQUEST,
				    rsvd_counters_request_received);
	if (NT_STATUS_IS_OK(status)) {
		registered = msg_ctx;
	}
	return status;
}
