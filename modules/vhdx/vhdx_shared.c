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
	vhdx_ask_fn ask;	/* or NULL */
	void *ask_data;
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

void vhdx_shared_set_ask(struct vhdx_shared *shared, vhdx_ask_fn ask,
			 void *private_data)
{
	shared->ask = ask;
	shared->ask_data = private_data;
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

static NTSTATUS shared_store(struct db_record *rec, TALLOC_CTX *mem_ctx,
			     struct vhdx_state *state)
{
	enum ndr_err_code err;
	DATA_BLOB blob;
	NTSTATUS status;
	TDB_DATA data;

	err = ndr_push_struct_blob(&blob, mem_ctx, state,
				   (ndr_push_flags_fn_t)ndr_push_vhdx_state);
	if (!NDR_ERR_CODE_IS_SUCCESS(err)) {
		return ndr_map_error2ntstatus(err);
	}
	data = (TDB_DATA) { .dptr = blob.data, .dsize = blob.length };
	status = dbwrap_record_store(rec, data, 0);
	data_blob_free(&blob);
	return status;
}

NTSTATUS vhdx_state_store(struct vhdx *image, struct vhdx_state *state)
{
	if (image->shared == NULL) {
		/* Nobody else looks at it. */
		return NT_STATUS_OK;
	}
	return shared_store(image->locked_rec, image, state);
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
	NTSTATUS status;

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
	image->locked_rec = rec;
	locked->status = locked->fn(image, &state, &changed,
				    locked->private_data);
	image->locked_rec = NULL;
	if (!changed) {
		TALLOC_FREE(frame);
		return;
	}

	if (state.num_users == 0) {
		status = dbwrap_record_delete(rec);
	} else {
		status = shared_store(rec, frame, &state);
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
		.clean_sequence = state->clean_sequence,
		.fill_sequence = state->fill_sequence,
		.can_clean = vhdx_release_can_clean(state),
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

static NTSTATUS settle_locked(struct vhdx *image, struct vhdx_state *state,
			      bool *changed, void *private_data)
{
	return vhdx_step_begin(image, state, changed);
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
	while (NT_STATUS_IS_OK(status) && shape.releasing &&
	       mark.session == image->session && !image->read_only) {
		/* T1 in vhdx_release.c: after who does it, or in its place */
		status = vhdx_state_locked(image, settle_locked, NULL);
		if (NT_STATUS_IS_OK(status)) {
			status = vhdx_state_peek(image, &mark, &shape);
		}
	}
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (shape.releasing) {
		/* Who only reads goes by the file, and looks again. */
		vhdx_bat_forget(image);
		seqnum = 0;
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
		image->release_known = shape.release_sequence;
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

bool vhdx_user_is_alive(struct vhdx *image, const struct vhdx_user *user)
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
		    vhdx_user_is_alive(image, &state->users[i])) {
			return true;
		}
	}
	return false;
}

struct vhdx_user *vhdx_state_self(struct vhdx *image,
				  struct vhdx_state *state)
{
	uint32_t i;

	for (i = 0; i < state->num_users; i++) {
		if (user_is_self(image, &state->users[i])) {
			return &state->users[i];
		}
	}
	return NULL;
}

void vhdx_user_ask(struct vhdx *image, const struct vhdx_user *user)
{
	struct vhdx_shared *shared = image->shared;

	if (shared != NULL && shared->ask != NULL) {
		shared->ask(&user->process, shared->ask_data);
	}
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

/*
 * Keep the users that live and are not this one. Who only reads leaves the
 * dead to those who can finish what they had begun.
 */
static void users_prune(struct vhdx *image, struct vhdx_state *state)
{
	uint32_t num = 0;
	uint32_t i;

	for (i = 0; i < state->num_users; i++) {
		if (user_is_self(image, &state->users[i])) {
			continue;
		}
		if (!image->read_only &&
		    !vhdx_user_is_alive(image, &state->users[i])) {
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
		.seen = state->release_sequence,
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
	struct vhdx_user *self = vhdx_state_self(image, state);
	uint32_t num = 0;
	uint32_t i;

	for (i = 0; i < state->num_fills; i++) {
		if (state->fills[i].instance != image->instance) {
			state->fills[num] = state->fills[i];
			num += 1;
		}
	}
	state->num_fills = num;
	if (self != NULL && vhdx_release_has_io(image)) {
		/* It may still reach the file, until this process ends. */
		self->writes = false;
		return;
	}
	users_prune(image, state);
}
