/*
 * vfs_rsvd: what the processes that use one image know together
 *
 * An image that only one process can have keeps the same state in memory, so
 * that there is one way to do things.
 *
 * Nobody may hold the lock of a record of the same database when calling the
 * engine.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "lib/util/debug.h"
#include "librpc/ndr/libndr.h"
#include "librpc/gen_ndr/ndr_vhdx_state.h"
#include "modules/vhdx/vhdx_private.h"

struct vhdx_shared {
	struct db_context *db;
	TDB_DATA key;
	struct server_id self;
	vhdx_alive_fn alive;
	void *private_data;
};

struct vhdx_shared *vhdx_shared_init(TALLOC_CTX *mem_ctx,
				     struct db_context *db, TDB_DATA key,
				     struct server_id self,
				     vhdx_alive_fn alive, void *private_data)
{
	struct vhdx_shared *shared = NULL;

	shared = talloc(mem_ctx, struct vhdx_shared);
	if (shared == NULL) {
		return NULL;
	}
	*shared = (struct vhdx_shared) {
		.db = db,
		.self = self,
		.alive = alive,
		.private_data = private_data,
	};
	shared->key.dsize = key.dsize;
	shared->key.dptr = talloc_memdup(shared, key.dptr, key.dsize);
	if (shared->key.dptr == NULL) {
		TALLOC_FREE(shared);
		return NULL;
	}
	return shared;
}

int vhdx_shared_seqnum(struct vhdx_shared *shared)
{
	return dbwrap_get_seqnum(shared->db);
}

static NTSTATUS state_pull(TALLOC_CTX *mem_ctx, TDB_DATA value,
			   struct vhdx_state *state)
{
	DATA_BLOB blob = { .data = value.dptr, .length = value.dsize };
	enum ndr_err_code err;

	if (value.dsize == 0) {
		*state = (struct vhdx_state) {
			.version = VHDX_STATE_VERSION,
		};
		return NT_STATUS_OK;
	}
	err = ndr_pull_struct_blob_all(
		&blob, mem_ctx, state,
		(ndr_pull_flags_fn_t)ndr_pull_vhdx_state);
	if (!NDR_ERR_CODE_IS_SUCCESS(err)) {
		return ndr_map_error2ntstatus(err);
	}
	if (state->version != VHDX_STATE_VERSION) {
		/* Two versions of this program at one image */
		return NT_STATUS_REVISION_MISMATCH;
	}
	return NT_STATUS_OK;
}

struct locked_state {
	struct vhdx *image;
	vhdx_state_fn fn;
	void *private_data;
	NTSTATUS status;
};

static void shared_locked(struct db_record *rec, TDB_DATA value,
			  void *private_data)
{
	struct locked_state *locked = private_data;
	struct vhdx *image = locked->image;
	TALLOC_CTX *frame = talloc_new(image);
	struct vhdx_state state;
	bool changed = false;
	enum ndr_err_code err;
	NTSTATUS status;
	DATA_BLOB blob;

	if (frame == NULL) {
		locked->status = NT_STATUS_NO_MEMORY;
		return;
	}
	status = state_pull(frame, value, &state);
	if (!NT_STATUS_IS_OK(status)) {
		locked->status = status;
		TALLOC_FREE(frame);
		return;
	}
	locked->status = locked->fn(image, &state, &changed,
				    locked->private_data);
	if (!changed) {
		TALLOC_FREE(frame);
		return;
	}

	if (state.num_users == 0) {
		status = dbwrap_record_delete(rec);
	} else {
		err = ndr_push_struct_blob(
			&blob, frame, &state,
			(ndr_push_flags_fn_t)ndr_push_vhdx_state);
		if (!NDR_ERR_CODE_IS_SUCCESS(err)) {
			status = ndr_map_error2ntstatus(err);
		} else {
			TDB_DATA data = {
				.dptr = blob.data, .dsize = blob.length,
			};
			status = dbwrap_record_store(rec, data, 0);
		}
	}
	TALLOC_FREE(frame);
	if (!NT_STATUS_IS_OK(status)) {
		DBG_ERR("cannot store the state of the image: %s\n",
			nt_errstr(status));
		locked->status = status;
	}
}

static void own_locked(struct locked_state *locked)
{
	struct vhdx *image = locked->image;
	struct vhdx_state state = *image->own_state;
	bool changed = false;

	locked->status = locked->fn(image, &state, &changed,
				    locked->private_data);
	if (changed) {
		/* Users that fn added hang on the old ones or the image. */
		*image->own_state = state;
	}
}

NTSTATUS vhdx_state_locked(struct vhdx *image, vhdx_state_fn fn,
			   void *private_data)
{
	struct locked_state locked = {
		.image = image,
		.fn = fn,
		.private_data = private_data,
		.status = NT_STATUS_INTERNAL_ERROR,
	};
	NTSTATUS status;

	if (image->shared == NULL) {
		own_locked(&locked);
	} else {
		status = dbwrap_do_locked(image->shared->db,
					  image->shared->key, shared_locked,
					  &locked);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
	}
	if (NT_STATUS_IS_OK(locked.status)) {
		image->log_unsure = false;
	}
	return locked.status;
}

struct peek_state {
	struct vhdx_mark *mark;
	struct vhdx_shape *shape;
	NTSTATUS status;
};

static void peek_at(const struct vhdx_state *state, struct peek_state *peek)
{
	*peek->mark = (struct vhdx_mark) {
		.session = state->session,
		.header_step = state->header_step,
		.log_step = state->log_step,
		.growing_end = state->growing_end,
		.log_sequence = state->log_sequence,
		.log_head = state->log_head,
		.log_last_tail = state->log_last_tail,
	};
	*peek->shape = vhdx_state_shape(state);
}

static void peek_parse(TDB_DATA key, TDB_DATA value, void *private_data)
{
	struct peek_state *peek = private_data;
	TALLOC_CTX *frame = talloc_new(NULL);
	struct vhdx_state state;

	if (frame == NULL) {
		peek->status = NT_STATUS_NO_MEMORY;
		return;
	}
	peek->status = state_pull(frame, value, &state);
	if (NT_STATUS_IS_OK(peek->status)) {
		peek_at(&state, peek);
	}
	TALLOC_FREE(frame);
}

NTSTATUS vhdx_state_peek(struct vhdx *image, struct vhdx_mark *mark,
			 struct vhdx_shape *shape)
{
	struct peek_state peek = { .mark = mark, .shape = shape };
	NTSTATUS status;

	if (image->shared == NULL) {
		peek_at(image->own_state, &peek);
		return NT_STATUS_OK;
	}
	status = dbwrap_parse_record(image->shared->db, image->shared->key,
				     peek_parse, &peek);
	if (NT_STATUS_EQUAL(status, NT_STATUS_NOT_FOUND)) {
		/* Nobody has the image: all zero, as a new record would be */
		struct vhdx_state none = { .version = VHDX_STATE_VERSION };

		peek_at(&none, &peek);
		return NT_STATUS_OK;
	}
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	return peek.status;
}

/*
 * The sequence number is that of the whole database, so mostly there is
 * nothing new for this image.
 */
NTSTATUS vhdx_state_refresh_slow(struct vhdx *image, int seqnum)
{
	struct vhdx_shape shape;
	struct vhdx_mark mark;
	NTSTATUS status;

	status = vhdx_state_peek(image, &mark, &shape);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (mark.session != image->session ||
	    shape.map_generation != image->map_generation) {
		if (!image->read_only) {
			/*
			 * A session lasts until its last writer has left, so
			 * others took us for dead. They may have put other
			 * data where ours was.
			 */
			if (mark.session != image->session) {
				return NT_STATUS_FILE_CLOSED;
			}
		} else if (mark.session != 0) {
			/* The first writer has replayed the log. */
			TALLOC_FREE(image->overlay);
		}
		vhdx_bat_forget(image);
		status = (mark.session != 0) ?
			 vhdx_shape_follow(image, &shape) :
			 vhdx_shape_reload(image);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		image->session = mark.session;
		image->map_generation = shape.map_generation;
	}
	if (mark.header_step == VHDX_HEADER_READY && !image->read_only) {
		image->session_ready = true;
	}
	image->seqnum = seqnum;
	return NT_STATUS_OK;
}

static bool user_is_self(const struct vhdx *image,
			 const struct vhdx_user *user)
{
	return user->instance == image->instance;
}

static bool user_is_alive(struct vhdx *image, const struct vhdx_user *user)
{
	struct vhdx_shared *shared = image->shared;

	if (shared == NULL || user_is_self(image, user)) {
		return true;
	}
	return shared->alive(&user->process, shared->private_data);
}

bool vhdx_state_has_writer(struct vhdx *image, const struct vhdx_state *state)
{
	uint32_t i;

	for (i = 0; i < state->num_users; i++) {
		if (state->users[i].writes &&
		    user_is_alive(image, &state->users[i])) {
			return true;
		}
	}
	return false;
}

bool vhdx_state_is_user(struct vhdx *image, const struct vhdx_state *state)
{
	uint32_t i;

	for (i = 0; i < state->num_users; i++) {
		if (user_is_self(image, &state->users[i])) {
			return state->session == image->session;
		}
	}
	return false;
}

bool vhdx_state_is_shared(const struct vhdx *image,
			  const struct vhdx_state *state)
{
	uint32_t i;

	for (i = 0; i < state->num_users; i++) {
		if (state->users[i].writes &&
		    !user_is_self(image, &state->users[i])) {
			return true;
		}
	}
	return false;
}

/* Keep the users that live and are not this one. */
static void users_prune(struct vhdx *image, struct vhdx_state *state)
{
	uint32_t num = 0;
	uint32_t i;

	for (i = 0; i < state->num_users; i++) {
		if (user_is_self(image, &state->users[i]) ||
		    !user_is_alive(image, &state->users[i])) {
			continue;
		}
		state->users[num] = state->users[i];
		num += 1;
	}
	state->num_users = num;
}

NTSTATUS vhdx_state_join(struct vhdx *image, struct vhdx_state *state)
{
	struct vhdx_user *users = NULL;

	users_prune(image, state);
	/* On the image: with no database it stays as long as that does. */
	users = talloc_array(image, struct vhdx_user, state->num_users + 1);
	if (users == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	if (state->num_users > 0) {
		memcpy(users, state->users,
		       state->num_users * sizeof(users[0]));
	}
	users[state->num_users] = (struct vhdx_user) {
		.instance = image->instance,
		.writes = !image->read_only,
	};
	if (image->shared != NULL) {
		users[state->num_users].process = image->shared->self;
	}
	state->users = users;
	state->num_users += 1;
	return NT_STATUS_OK;
}

void vhdx_state_leave(struct vhdx *image, struct vhdx_state *state)
{
	users_prune(image, state);
}
