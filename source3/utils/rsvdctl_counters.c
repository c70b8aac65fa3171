/*
 * rsvdctl: ask the smbd processes how much I/O there was
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "source3/utils/rsvdctl.h"
#include "source3/utils/rsvdctl_counters.h"
#include "lib/util/server_id.h"
#include "librpc/gen_ndr/ndr_rsvd_counters.h"
#include "messages.h"

/* One that is stopped, or has a slow disk to wait for, is not waited for. */
#define COUNTERS_TIMEOUT_SEC 1

struct counters_process {
	struct server_id id;
	struct rsvd_counters_reply *reply;	/* NULL: none yet */
};

struct rsvdctl_counters {
	struct messaging_context *msg_ctx;
	uint64_t cookie;
	struct counters_process *processes;
	size_t num_processes;
	size_t num_open;	/* those without a reply */
	bool timed_out;
};

struct rsvdctl_counters *rsvdctl_counters_init(
	TALLOC_CTX *mem_ctx, struct messaging_context *msg_ctx)
{
	static uint64_t last_cookie;
	struct rsvdctl_counters *counters = NULL;

	counters = talloc_zero(mem_ctx, struct rsvdctl_counters);
	if (counters == NULL) {
		return NULL;
	}
	counters->msg_ctx = msg_ctx;
	/* What is answered too late does not count for the next round. */
	counters->cookie = ++last_cookie;
	return counters;
}

static struct counters_process *counters_process(
	struct rsvdctl_counters *counters, const struct server_id *id)
{
	size_t i;

	for (i = 0; i < counters->num_processes; i++) {
		if (server_id_equal(&counters->processes[i].id, id)) {
			return &counters->processes[i];
		}
	}
	return NULL;
}

bool rsvdctl_counters_add(struct rsvdctl_counters *counters,
			  const struct server_id *id)
{
	struct counters_process *tmp = NULL;

	if (counters_process(counters, id) != NULL) {
		return true;
	}
	tmp = talloc_realloc(counters, counters->processes,
			     struct counters_process,
			     counters->num_processes + 1);
	if (tmp == NULL) {
		return false;
	}
	counters->processes = tmp;
	counters->processes[counters->num_processes++] =
		(struct counters_process) { .id = *id };
	counters->num_open += 1;
	return true;
}

static bool counters_filter(struct messaging_rec *rec, void *private_data)
{
	struct rsvdctl_counters *counters = private_data;
	struct counters_process *process = NULL;
	struct rsvd_counters_reply *reply = NULL;
	enum ndr_err_code ndr_err;

	if (rec->msg_type != RSVD_MSG_COUNTERS_REPLY) {
		return false;
	}
	process = counters_process(counters, &rec->src);
	if (process == NULL || process->reply != NULL) {
		return false;
	}
	reply = talloc_zero(counters, struct rsvd_counters_reply);
	if (reply == NULL) {
		return false;
	}
	ndr_err = ndr_pull_struct_blob_all(
		&rec->buf, reply, reply,
		(ndr_pull_flags_fn_t)ndr_pull_rsvd_counters_reply);
	if (!NDR_ERR_CODE_IS_SUCCESS(ndr_err) ||
	    reply->cookie != counters->cookie) {
		TALLOC_FREE(reply);
		return false;
	}
	process->reply = reply;
	counters->num_open -= 1;
	return counters->num_open == 0;
}

static void counters_timed_out(struct tevent_context *ev,
			       struct tevent_timer *te, struct timeval now,
			       void *private_data)
{
	struct rsvdctl_counters *counters = private_data;

	counters->timed_out = true;
}

static bool counters_send(struct rsvdctl_counters *counters)
{
	struct rsvd_counters_request request = { .cookie = counters->cookie };
	enum ndr_err_code ndr_err;
	DATA_BLOB blob;
	size_t i;

	ndr_err = ndr_push_struct_blob(
		&blob, counters, &request,
		(ndr_push_flags_fn_t)ndr_push_rsvd_counters_request);
	if (!NDR_ERR_CODE_IS_SUCCESS(ndr_err)) {
		return false;
	}
	for (i = 0; i < counters->num_processes; i++) {
		NTSTATUS status;

		status = messaging_send(counters->msg_ctx,
					counters->processes[i].id,
					RSVD_MSG_COUNTERS_REQUEST, &blob);
		if (!NT_STATUS_IS_OK(status)) {
			/* It has just ended. */
			counters->num_open -= 1;
		}
	}
	return true;
}

void rsvdctl_counters_ask(struct rsvdctl_counters *counters)
{
	struct tevent_context *ev = NULL;
	struct tevent_timer *timer = NULL;
	struct tevent_req *req = NULL;

	ev = samba_tevent_context_init(counters);
	if (ev == NULL) {
		return;
	}
	req = messaging_filtered_read_send(counters, ev, counters->msg_ctx,
					   counters_filter, counters);
	timer = tevent_add_timer(ev, ev, tevent_timeval_current_ofs(
					 COUNTERS_TIMEOUT_SEC, 0),
				 counters_timed_out, counters);
	if (req != NULL && timer != NULL && counters_send(counters)) {
		while (counters->num_open > 0 && !counters->timed_out) {
			if (tevent_loop_once(ev) != 0) {
				break;
			}
		}
	}
	TALLOC_FREE(req);
	TALLOC_FREE(ev);
}

const struct rsvd_io_counters *rsvdctl_counters_get(
	struct rsvdctl_counters *counters, const struct server_id *id,
	const struct file_id *file_id, uint64_t open_id)
{
	const struct counters_process *process = NULL;
	uint32_t i;

	process = counters_process(counters, id);
	if (process == NULL || process->reply == NULL) {
		return NULL;
	}
	for (i = 0; i < process->reply->num_opens; i++) {
		const struct rsvd_open_counters *o =
			&process->reply->opens[i];

		if (o->open_id == open_id && file_id_equal(&o->id, file_id)) {
			return &o->io;
		}
	}
	return NULL;
}
