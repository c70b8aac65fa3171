/*
 * vfs_rsvd: VFS modules for the tests
 *
 * First, have smbd register its built-in VFS modules early. The tests load rsvd.so from the build directory, which only "preload
 * modules" can do. But smbd registers the modules it has built in when the
 * first share is connected, and only if no module is registered by then:
 * after a preloaded one it would run without its default VFS. So this is
 * preloaded before. A module that is installed where smbd looks for it needs
 * none of this.
 *
 * Second, "vfs objects = ... slow_write": a storage whose asynchronous writes
 * take slow_write:milliseconds, so that a test can do things while one is on
 * its way.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "includes.h"
#include "smbd/smbd.h"
#include "lib/util/tevent_unix.h"

struct slow_write_state {
	struct tevent_context *ev;
	struct vfs_handle_struct *handle;
	files_struct *fsp;
	const void *data;
	size_t n;
	off_t offset;
	ssize_t ret;
	struct vfs_aio_state aio_state;
};

static void slow_write_waited(struct tevent_req *subreq);
static void slow_write_done(struct tevent_req *subreq);

static struct tevent_req *slow_write_pwrite_send(
	struct vfs_handle_struct *handle, TALLOC_CTX *mem_ctx,
	struct tevent_context *ev, struct files_struct *fsp, const void *data,
	size_t n, off_t offset)
{
	int milliseconds = lp_parm_int(SNUM(handle->conn), "slow_write",
				       "milliseconds", 100);
	struct slow_write_state *state = NULL;
	struct tevent_req *subreq = NULL;
	struct tevent_req *req = NULL;

	req = tevent_req_create(mem_ctx, &state, struct slow_write_state);
	if (req == NULL) {
		return NULL;
	}
	*state = (struct slow_write_state) {
		.ev = ev,
		.handle = handle,
		.fsp = fsp,
		.data = data,
		.n = n,
		.offset = offset,
	};
	subreq = tevent_wakeup_send(state, ev,
				    timeval_current_ofs_msec(milliseconds));
	if (tevent_req_nomem(subreq, req)) {
		return tevent_req_post(req, ev);
	}
	tevent_req_set_callback(subreq, slow_write_waited, req);
	return req;
}

static void slow_write_waited(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(
		subreq, struct tevent_req);
	struct slow_write_state *state = tevent_req_data(
		req, struct slow_write_state);

	tevent_wakeup_recv(subreq);
	TALLOC_FREE(subreq);
	subreq = SMB_VFS_NEXT_PWRITE_SEND(state, state->ev, state->handle,
					  state->fsp, state->data, state->n,
					  state->offset);
	if (tevent_req_nomem(subreq, req)) {
		return;
	}
	tevent_req_set_callback(subreq, slow_write_done, req);
}

static void slow_write_done(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(
		subreq, struct tevent_req);
	struct slow_write_state *state = tevent_req_data(
		req, struct slow_write_state);

	state->ret = SMB_VFS_PWRITE_RECV(subreq, &state->aio_state);
	TALLOC_FREE(subreq);
	if (state->ret == -1) {
		tevent_req_error(req, state->aio_state.error);
		return;
	}
	tevent_req_done(req);
}

static ssize_t slow_write_pwrite_recv(struct tevent_req *req,
				      struct vfs_aio_state *aio_state)
{
	struct slow_write_state *state = tevent_req_data(
		req, struct slow_write_state);

	if (tevent_req_is_unix_error(req, &aio_state->error)) {
		return -1;
	}
	*aio_state = state->aio_state;
	return state->ret;
}

static struct vfs_fn_pointers slow_write_fns = {
	.pwrite_send_fn = slow_write_pwrite_send,
	.pwrite_recv_fn = slow_write_pwrite_recv,
};

static_decl_vfs;

NTSTATUS samba_init_module(TALLOC_CTX *mem_ctx);
NTSTATUS samba_init_module(TALLOC_CTX *mem_ctx)
{
	static_init_vfs(mem_ctx);
	return smb_register_vfs(SMB_VFS_INTERFACE_VERSION, "slow_write",
				&slow_write_fns);
}
