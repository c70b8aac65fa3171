/*
 * vfs_rsvd: one flush for all who wait for one
 *
 * Who asks for a flush while one is under way cannot use that one, it may
 * have begun before their writes. All who came meanwhile share the next.
 *
 * Every flush, whoever wanted it for what, also says which log entries, which
 * header and which file size are now stable (struct vhdx_mark).
 *
 * Most flushes are for just these, and all that was written to the disk since
 * the last one may be a lot. Where the storage can, such a one is only of what
 * comes before the blocks: headers, log, metadata and BAT. A BAT that a resize
 * has moved has blocks before it, which then are flushed, too.
 *
 * A file system tells an error once, to whoever flushes next. If that was not
 * the user, the user's next flush fails.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "lib/util/dlinklist.h"
#include "lib/util/tevent_ntstatus.h"
#include "modules/vhdx/vhdx_private.h"

struct sync_waiter {
	struct sync_waiter *prev, *next;
	struct tevent_req *req;
	struct tevent_context *ev;
	struct vhdx_sync *sync;
	enum vhdx_sync_kind kind;
	bool served;	/* by the flush that is under way */
};

struct vhdx_sync {
	struct vhdx *image;		/* NULL: closed */
	const struct vhdx_storage_ops *ops;
	struct sync_waiter *waiters;
	struct vhdx_mark mark;
	struct tevent_req *subreq;	/* the flush under way */
};

static void sync_finish(struct vhdx_sync *sync, bool served, NTSTATUS status);
static void sync_start(struct vhdx_sync *sync);
static void sync_done(struct tevent_req *subreq);

static uint64_t range_end(const struct vhdx_range *range)
{
	return range->offset + range->length;
}

/*
 * With *end, for a flush of what is before that: all that log entries up to the
 * mark have changed. One that moved the BAT was flushed with all before it (R2
 * in vhdx_resize.c).
 */
static NTSTATUS mark_take(struct vhdx *image, struct vhdx_mark *mark,
			  uint64_t *end)
{
	struct vhdx_shape shape;
	NTSTATUS status;

	status = vhdx_state_peek(image, mark, &shape);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (end != NULL) {
		*end = MAX(range_end(&image->log), range_end(&image->bat));
		*end = MAX(*end, range_end(&image->metadata));
		*end = MAX(*end, shape.bat_offset + shape.bat_length);
		/* Holes are elsewhere. */
		mark->clean_sequence = 0;
		return NT_STATUS_OK;
	}
	if (mark->can_clean && !image->read_only) {
		/* So that this flush does for what was trimmed, too */
		vhdx_catch_up(image);
		status = vhdx_state_peek(image, mark, &shape);
	}
	return status;
}

/* A flush that began earlier can end later: everything only goes forward. */
static void mark_reached(struct vhdx *image, const struct vhdx_mark *mark)
{
	struct vhdx_mark *stable = &image->stable;

	if (stable->session != mark->session) {
		*stable = *mark;
		return;
	}
	stable->header_step = MAX(stable->header_step, mark->header_step);
	stable->log_step = MAX(stable->log_step, mark->log_step);
	stable->growing_end = MAX(stable->growing_end, mark->growing_end);
	stable->clean_sequence = MAX(stable->clean_sequence,
				     mark->clean_sequence);
	stable->fill_sequence = MAX(stable->fill_sequence,
				    mark->fill_sequence);
	if (mark->log_sequence > stable->log_sequence) {
		stable->log_sequence = mark->log_sequence;
		stable->log_head = mark->log_head;
		stable->log_last_tail = mark->log_last_tail;
	}
}

void vhdx_mark_apply(struct vhdx *image, struct vhdx_state *state,
		     bool *changed)
{
	const struct vhdx_mark *stable = &image->stable;

	if (stable->session != state->session) {
		return;
	}
	if (stable->growing_end > state->stable_end) {
		state->stable_end = stable->growing_end;
		*changed = true;
	}
	if (stable->clean_sequence > state->clean_flushed) {
		state->clean_flushed = stable->clean_sequence;
		*changed = true;
	}
	if (state->log_step == VHDX_LOG_READY &&
	    stable->log_step == VHDX_LOG_READY &&
	    stable->log_sequence > state->log_flushed) {
		/* L2, L3 in vhdx_log.c */
		state->log_flushed = stable->log_sequence;
		state->log_tail = stable->log_head;
		state->log_free = stable->log_last_tail;
		*changed = true;
	}
}

static int sync_waiter_destructor(struct sync_waiter *waiter)
{
	if (waiter->sync != NULL) {
		DLIST_REMOVE(waiter->sync->waiters, waiter);
		waiter->sync = NULL;
	}
	return 0;
}

/*
 * The image goes, and with it what they wait for. But what the storage works
 * on must not be freed: smbd's own requests do not bear it.
 */
static int sync_destructor(struct vhdx_sync *sync)
{
	sync_finish(sync, true, NT_STATUS_FILE_CLOSED);
	sync_finish(sync, false, NT_STATUS_FILE_CLOSED);
	sync->image = NULL;
	return (sync->subreq != NULL) ? -1 : 0;
}

static NTSTATUS user_status(const struct vhdx *image, NTSTATUS status)
{
	return NT_STATUS_IS_OK(status) ? image->flush_error : status;
}

static void sync_finish(struct vhdx_sync *sync, bool served, NTSTATUS status)
{
	struct sync_waiter *waiter = NULL;
	struct sync_waiter *next = NULL;
	NTSTATUS for_user = user_status(sync->image, status);
	bool has_user = false;

	for (waiter = sync->waiters; waiter != NULL; waiter = next) {
		bool is_user = waiter->kind == VHDX_SYNC_USER;
		NTSTATUS result = is_user ? for_user : status;

		next = waiter->next;
		if (waiter->served != served) {
			continue;
		}
		has_user |= is_user;
		DLIST_REMOVE(sync->waiters, waiter);
		waiter->sync = NULL;
		/* Its callback may do anything, also free other waiters. */
		tevent_req_defer_callback(waiter->req, waiter->ev);
		if (NT_STATUS_IS_OK(result)) {
			tevent_req_done(waiter->req);
		} else {
			tevent_req_nterror(waiter->req, result);
		}
	}
	if (has_user) {
		sync->image->flush_error = NT_STATUS_OK;
	}
}

/* What the waiters need that the next flush is for */
static enum vhdx_sync_kind sync_kind(const struct vhdx_sync *sync)
{
	enum vhdx_sync_kind kind = VHDX_SYNC_METADATA;
	const struct sync_waiter *waiter = NULL;

	for (waiter = sync->waiters; waiter != NULL; waiter = waiter->next) {
		kind = MAX(kind, waiter->kind);
	}
	return kind;
}

/*
 * In a child, what a flush is for is everywhere: sector bitmaps, and fills (C1
 * in vhdx_child.c).
 */
static bool sync_has_range(const struct vhdx *image, enum vhdx_sync_kind kind)
{
	return kind == VHDX_SYNC_METADATA && !image->geometry.has_parent &&
	       image->storage->ops->fsync_range != NULL;
}

static void sync_start(struct vhdx_sync *sync)
{
	struct vhdx_storage *storage = sync->image->storage;
	bool has_range = sync_has_range(sync->image, sync_kind(sync));
	struct sync_waiter *waiter = NULL;
	struct tevent_context *ev = NULL;
	uint64_t end = 0;
	NTSTATUS status;

	if (sync->waiters == NULL) {
		return;
	}
	ev = sync->waiters->ev;
	for (waiter = sync->waiters; waiter != NULL; waiter = waiter->next) {
		waiter->served = true;
	}
	status = mark_take(sync->image, &sync->mark, has_range ? &end : NULL);
	if (!NT_STATUS_IS_OK(status)) {
		sync_finish(sync, true, status);
		return;
	}
	sync->ops = storage->ops;
	if (has_range) {
		sync->subreq = storage->ops->fsync_range_send(
			sync, ev, storage->private_data, 0, end);
	} else {
		sync->subreq = storage->ops->fsync_send(
			sync, ev, storage->private_data);
	}
	if (sync->subreq == NULL) {
		sync_finish(sync, true, NT_STATUS_NO_MEMORY);
		return;
	}
	tevent_req_set_callback(sync->subreq, sync_done, sync);
}

static void sync_done(struct tevent_req *subreq)
{
	struct vhdx_sync *sync = tevent_req_callback_data(subreq,
							  struct vhdx_sync);
	NTSTATUS status = NT_STATUS_OK;
	int err = 0;
	int ret;

	ret = sync->ops->fsync_recv(subreq, &err);
	TALLOC_FREE(subreq);
	sync->subreq = NULL;
	if (sync->image == NULL) {
		TALLOC_FREE(sync);
		return;
	}
	if (ret == -1) {
		status = vhdx_errno_status(err);
		sync->image->flush_error = status;
	} else {
		mark_reached(sync->image, &sync->mark);
	}
	sync_finish(sync, true, status);
	sync_start(sync);
}

struct tevent_req *vhdx_sync_send(TALLOC_CTX *mem_ctx,
				  struct tevent_context *ev,
				  struct vhdx *image,
				  enum vhdx_sync_kind kind)
{
	struct tevent_req *req = NULL;
	struct sync_waiter *waiter = NULL;

	req = tevent_req_create(mem_ctx, &waiter, struct sync_waiter);
	if (req == NULL) {
		return NULL;
	}
	if (image->sync == NULL) {
		image->sync = talloc_zero(image, struct vhdx_sync);
		if (tevent_req_nomem(image->sync, req)) {
			return tevent_req_post(req, ev);
		}
		image->sync->image = image;
		talloc_set_destructor(image->sync, sync_destructor);
	}
	waiter->req = req;
	waiter->ev = ev;
	waiter->sync = image->sync;
	waiter->kind = kind;
	DLIST_ADD_END(image->sync->waiters, waiter);
	talloc_set_destructor(waiter, sync_waiter_destructor);

	if (image->sync->subreq == NULL) {
		sync_start(image->sync);
	}
	return req;
}

NTSTATUS vhdx_sync_recv(struct tevent_req *req)
{
	return tevent_req_simple_recv_ntstatus(req);
}

NTSTATUS vhdx_sync(struct vhdx *image, enum vhdx_sync_kind kind)
{
	bool has_range = sync_has_range(image, kind);
	struct vhdx_mark mark;
	uint64_t end = 0;
	NTSTATUS status;

	status = mark_take(image, &mark, has_range ? &end : NULL);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (has_range) {
		status = vhdx_file_flush_range(image->storage, 0, end);
	} else {
		status = vhdx_file_flush(image->storage);
	}
	if (NT_STATUS_IS_OK(status)) {
		mark_reached(image, &mark);
	} else {
		image->flush_error = status;
	}
	if (kind == VHDX_SYNC_USER) {
		status = user_status(image, status);
		image->flush_error = NT_STATUS_OK;
	}
	return status;
}

struct tevent_req *vhdx_flush_send(TALLOC_CTX *mem_ctx,
				   struct tevent_context *ev,
				   struct vhdx *image)
{
	return vhdx_sync_send(mem_ctx, ev, image, VHDX_SYNC_USER);
}

NTSTATUS vhdx_flush_recv(struct tevent_req *req)
{
	return vhdx_sync_recv(req);
}

NTSTATUS vhdx_flush(struct vhdx *image)
{
	return vhdx_sync(image, VHDX_SYNC_USER);
}
