/*
 * vfs_rsvd: blocks that lose their places, and what becomes of those
 *
 * A block of a dynamic disk that is zeroed or trimmed as a whole becomes ZERO
 * in the BAT, with no place: of the states of MS-VHDX 2.5.1.1 the one that
 * reads as zeros for everybody. Its place goes on a list in the record, and
 * other blocks get it before the file grows. What always holds:
 *
 * T1 Before anything of it is written, the record says that blocks are losing
 *    their places (releasing); when it is in the log and in the BAT, the
 *    record is stored with the list, a new release_sequence and a new map
 *    generation. Who translates an offset looks at the record first: where it
 *    is told of the former, it takes the lock, which is to wait for who does
 *    it, or, where that one has died, to bring it to an end. So nobody writes
 *    to a place without knowing that its block has lost it, but I/O that was
 *    under way already, and which of that and the trim came first nobody can
 *    say.
 * T2 No flush comes between the log entry and the BAT. Power cuts can make any
 *    mix of it, of which each block is zeros in one way or the other, or what
 *    it was: nobody has its place before all of it is stable.
 * T3 A place is on the list or in the BAT. Who dies between giving it to a
 *    block and storing the record has done so when the log entry is complete,
 *    and who finishes that takes the place off the list.
 * T4 A place is given to a block only when
 *      - no living user of the image has I/O under way that was translated
 *        before it lost its block (seen), who only reads included,
 *      - after that it was made a hole again,
 *      - and after that the file was flushed, by which the log entry that took
 *        it away is stable, too.
 * T5 I/O is counted while it is under way, in two epochs: new I/O is counted
 *    in one, the other only gets less. When the other is empty, all that is
 *    under way has begun after the turn from one to the other, and has seen
 *    what was known then. Then the two change places, if more is known. So
 *    this costs a counter, and a process that never rests comes to an end of
 *    its old I/O, too. Blocking I/O needs no count: nothing is told meanwhile.
 *    A process tells what it has seen when it has the lock anyway, and when
 *    it is asked to; it is asked once, and then when it has answered.
 * T6 The list has room for so many runs of blocks. Where it is full, a block
 *    keeps its place, which is a hole. At the beginning of a session the list
 *    is all that belongs to nothing, if the BAT is small enough to be looked
 *    at then. At its end, what is at the end of the file is cut off.
 *
 * Nothing of this is done where the file system has no holes, on a disk that
 * leaves its blocks allocated, and in a child (C2 in vhdx_child.c).
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "lib/util/debug.h"
#include "librpc/ndr/libndr.h"
#include "modules/vhdx/vhdx_private.h"

#define SECTOR VHDX_SECTOR_SIZE
#define SECTOR_ENTRIES (SECTOR / VHDX_BAT_ENTRY_SIZE)

/* Under the lock at a time: holes that are made, sectors of the BAT */
#define MAX_CLEAN 16
#define MAX_LOOK 256

/* So much later, who has not answered is asked again. */
#define ASK_AGAIN 64

struct vhdx_epoch {
	struct vhdx *image;	/* NULL: closed */
	uint64_t num;		/* I/O under way */
	uint64_t since;		/* all of it has seen this release_sequence */
	bool wanted;		/* somebody waits for its end */
};

/* Epochs, T5 */

/* With I/O under way it stays when the image goes. */
static int epoch_destructor(struct vhdx_epoch *epoch)
{
	epoch->image = NULL;
	return (epoch->num > 0) ? -1 : 0;
}

NTSTATUS vhdx_release_init(struct vhdx *image)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(image->epochs); i++) {
		struct vhdx_epoch *epoch = talloc_zero(image,
						       struct vhdx_epoch);
		if (epoch == NULL) {
			return NT_STATUS_NO_MEMORY;
		}
		epoch->image = image;
		talloc_set_destructor(epoch, epoch_destructor);
		image->epochs[i] = epoch;
	}
	return NT_STATUS_OK;
}

struct vhdx_epoch *vhdx_io_begin(struct vhdx *image)
{
	struct vhdx_epoch *epoch = image->epochs[image->epoch];

	epoch->num += 1;
	return epoch;
}

void vhdx_io_end(struct vhdx_epoch *epoch)
{
	if (epoch == NULL) {
		return;
	}
	epoch->num -= 1;
	if (epoch->num > 0) {
		return;
	}
	if (epoch->image == NULL) {
		TALLOC_FREE(epoch);
	} else if (epoch->wanted) {
		vhdx_catch_up(epoch->image);
	}
}

bool vhdx_release_has_io(const struct vhdx *image)
{
	return image->epochs[0]->num > 0 || image->epochs[1]->num > 0;
}

/* What all that is under way has seen */
static uint64_t epochs_seen(struct vhdx *image)
{
	struct vhdx_epoch *now = image->epochs[image->epoch];
	struct vhdx_epoch *old = image->epochs[1 - image->epoch];
	uint64_t seen = image->release_known;

	if (now->num > 0) {
		seen = MIN(seen, now->since);
	}
	if (old->num > 0) {
		seen = MIN(seen, old->since);
	}
	if (now->num == 0) {
		now->since = image->release_known;
	} else if (old->num == 0 && now->since < image->release_known) {
		old->since = image->release_known;
		image->epoch = 1 - image->epoch;
	}
	return seen;
}

void vhdx_release_ack(struct vhdx *image, struct vhdx_state *state,
		      bool *changed)
{
	struct vhdx_user *self = vhdx_state_self(image, state);
	uint64_t seen = epochs_seen(image);

	if (self == NULL || self->seen >= seen ||
	    state->num_released == 0) {
		return;
	}
	self->seen = seen;
	*changed = true;
}

static NTSTATUS catch_up_locked(struct vhdx *image, struct vhdx_state *state,
				bool *changed, void *private_data)
{
	NTSTATUS status;

	if (image->read_only) {
		vhdx_release_ack(image, state, changed);
		return NT_STATUS_OK;
	}
	status = vhdx_step_begin(image, state, changed);
	if (NT_STATUS_IS_OK(status)) {
		vhdx_release_clean(image, state, changed);
	}
	return status;
}

void vhdx_catch_up(struct vhdx *image)
{
	NTSTATUS status = NT_STATUS_OK;
	size_t i;

	if (image->read_only) {
		/* A writer does as much under the lock. */
		status = vhdx_state_refresh(image);
	}
	if (NT_STATUS_IS_OK(status)) {
		status = vhdx_state_locked(image, catch_up_locked, NULL);
	}
	if (!NT_STATUS_IS_OK(status)) {
		DBG_NOTICE("%s\n", nt_errstr(status));
	}
	for (i = 0; i < ARRAY_SIZE(image->epochs); i++) {
		struct vhdx_epoch *epoch = image->epochs[i];

		epoch->wanted = epoch->num > 0 &&
				epoch->since < image->release_known;
	}
}

/* The list: runs of blocks, by place, with something between any two */

static bool run_is_ready(const struct vhdx_state *state,
			 const struct vhdx_released *run)
{
	return run->cleaned != 0 && run->cleaned <= state->clean_flushed;
}

static bool run_is_quiet(struct vhdx *image, const struct vhdx_state *state,
			 const struct vhdx_released *run)
{
	uint32_t i;

	for (i = 0; i < state->num_users; i++) {
		if (state->users[i].seen < run->released &&
		    vhdx_user_is_alive(image, &state->users[i])) {
			return false;
		}
	}
	return true;
}

static void run_remove(struct vhdx_released *runs, uint32_t *num, uint32_t i)
{
	*num -= 1;
	memmove(&runs[i], &runs[i + 1], (*num - i) * sizeof(runs[0]));
}

/* One run of two that follow each other, as far as the worse of them */
static void run_join(struct vhdx_released *run,
		     const struct vhdx_released *next)
{
	run->length += next->length;
	run->released = MAX(run->released, next->released);
	run->cleaned = MAX(run->cleaned, next->cleaned);
	run->found &= next->found;
}

/* A run that is not clean goes in; false: there is no room. */
static bool runs_add(struct vhdx_released *runs, uint32_t *num,
		     const struct vhdx_released *run)
{
	struct vhdx_released *before = NULL;
	struct vhdx_released *after = NULL;
	uint32_t i = *num;

	while (i > 0 && runs[i - 1].place > run->place) {
		i -= 1;
	}
	if (i > 0 && runs[i - 1].cleaned == 0 &&
	    runs[i - 1].place + runs[i - 1].length == run->place) {
		before = &runs[i - 1];
	}
	if (i < *num && runs[i].cleaned == 0 &&
	    run->place + run->length == runs[i].place) {
		after = &runs[i];
	}
	if (before != NULL) {
		run_join(before, run);
		if (after != NULL) {
			run_join(before, after);
			run_remove(runs, num, i);
		}
		return true;
	}
	if (after != NULL) {
		struct vhdx_released joined = *run;

		run_join(&joined, after);
		*after = joined;
		return true;
	}
	if (*num == VHDX_MAX_RELEASED) {
		return false;
	}
	memmove(&runs[i + 1], &runs[i], (*num - i) * sizeof(runs[0]));
	runs[i] = *run;
	*num += 1;
	return true;
}

/* Runs that are equally far become one. */
static void runs_join(struct vhdx_state *state)
{
	struct vhdx_released *runs = state->released;
	uint32_t i;

	for (i = 1; i < state->num_released; i++) {
		struct vhdx_released *run = &runs[i - 1];

		if (run->place + run->length != runs[i].place ||
		    (run->cleaned == 0) != (runs[i].cleaned == 0) ||
		    run_is_ready(state, run) !=
		    run_is_ready(state, &runs[i])) {
			continue;
		}
		run_join(run, &runs[i]);
		run_remove(runs, &state->num_released, i);
		i -= 1;
	}
}

static void users_ask(struct vhdx *image, struct vhdx_state *state,
		      const struct vhdx_released *run, bool *changed)
{
	uint32_t i;

	for (i = 0; i < state->num_users; i++) {
		struct vhdx_user *user = &state->users[i];

		if (user->seen >= run->released ||
		    user->instance == image->instance) {
			continue;
		}
		if (user->asked > user->seen &&
		    user->asked + ASK_AGAIN > state->release_sequence) {
			continue;
		}
		user->asked = state->release_sequence;
		*changed = true;
		vhdx_user_ask(image, user);
	}
}

void vhdx_release_clean(struct vhdx *image, struct vhdx_state *state,
			bool *changed)
{
	unsigned num = 0;
	uint32_t i;

	if (state->header_step != VHDX_HEADER_READY) {
		/* MS-VHDX 2.2.2: no change of the file before that */
		return;
	}
	for (i = 0; i < state->num_released && num < MAX_CLEAN; i++) {
		struct vhdx_released *run = &state->released[i];
		NTSTATUS status;

		if (run->cleaned != 0) {
			continue;
		}
		if (!run_is_quiet(image, state, run)) {
			users_ask(image, state, run, changed);
			continue;
		}
		status = vhdx_file_punch(image->storage, run->place,
					 run->length);
		if (NT_STATUS_EQUAL(status, NT_STATUS_NOT_SUPPORTED)) {
			image->no_holes = true;
			state->num_released = 0;
			*changed = true;
			return;
		}
		if (!NT_STATUS_IS_OK(status)) {
			DBG_WARNING("cannot make a hole of %" PRIu64 " bytes "
				    "at %" PRIu64 ": %s\n", run->length,
				    run->place, nt_errstr(status));
			return;
		}
		run->cleaned = state->clean_sequence + 1;
		num += 1;
	}
	if (num > 0) {
		state->clean_sequence += 1;
		runs_join(state);
		*changed = true;
	}
}

bool vhdx_release_can_clean(const struct vhdx_state *state)
{
	uint64_t seen = UINT64_MAX;
	uint32_t i;

	if (state->header_step != VHDX_HEADER_READY) {
		return false;
	}
	for (i = 0; i < state->num_users; i++) {
		seen = MIN(seen, state->users[i].seen);
	}
	for (i = 0; i < state->num_released; i++) {
		if (state->released[i].cleaned == 0 &&
		    state->released[i].released <= seen) {
			return true;
		}
	}
	return false;
}

bool vhdx_release_is_near(const struct vhdx_state *state)
{
	uint32_t i;

	for (i = 0; i < state->num_released; i++) {
		if (state->released[i].cleaned != 0) {
			return true;
		}
	}
	return false;
}

bool vhdx_release_wants_flush(const struct vhdx_state *state)
{
	uint32_t i;

	for (i = 0; i < state->num_released; i++) {
		if (run_is_ready(state, &state->released[i])) {
			return false;
		}
	}
	return vhdx_release_is_near(state);
}

bool vhdx_release_take(struct vhdx *image, struct vhdx_state *state,
		       uint64_t *place)
{
	uint64_t block_size = image->geometry.block_size;
	uint32_t i;

	for (i = 0; i < state->num_released; i++) {
		struct vhdx_released *run = &state->released[i];

		if (!run_is_ready(state, run)) {
			continue;
		}
		*place = run->place;
		run->place += block_size;
		run->length -= block_size;
		if (run->length == 0) {
			run_remove(state->released, &state->num_released, i);
		}
		return true;
	}
	return false;
}

void vhdx_release_forget(struct vhdx *image, struct vhdx_state *state,
			 uint64_t place)
{
	uint64_t end = place + image->geometry.block_size;
	uint32_t i;

	for (i = 0; i < state->num_released; i++) {
		struct vhdx_released *run = &state->released[i];
		uint64_t run_end = run->place + run->length;

		if (place >= run_end || end <= run->place) {
			continue;
		}
		/*
		 * Who takes places takes them from the start of a run. What
		 * might be before it is left to the next session.
		 */
		if (end >= run_end) {
			run_remove(state->released, &state->num_released, i);
		} else {
			run->place = end;
			run->length = run_end - end;
		}
		return;
	}
}

/* Releasing, T1 to T3 */

static void releasing_done(struct vhdx *image, struct vhdx_state *state)
{
	state->releasing = false;
	state->release_sequence += 1;
	vhdx_shape_publish(image, state);
	image->release_known = state->release_sequence;
}

void vhdx_release_settle(struct vhdx *image, struct vhdx_state *state,
			 bool *changed)
{
	if (!state->releasing) {
		return;
	}
	/* The places are left to the next session. */
	vhdx_bat_forget(image);
	releasing_done(image, state);
	*changed = true;
}

struct release_step {
	uint64_t end;		/* of what is trimmed, in bytes */
	uint64_t next;		/* the first block that was not looked at */
	bool done;
};

/* What one log entry is going to change */
struct release_batch {
	struct vhdx_log_update *updates;
	uint64_t *sectors;	/* of the BAT, by index */
	uint8_t *buf;
	size_t num;
	size_t max;
	struct vhdx_released *runs;	/* the list as it will be */
	uint32_t num_runs;
};

static struct release_batch *batch_new(struct vhdx *image,
				       const struct vhdx_state *state)
{
	size_t max = vhdx_log_max_updates(image);
	struct release_batch *batch = NULL;

	batch = talloc_zero(image, struct release_batch);
	if (batch == NULL) {
		return NULL;
	}
	batch->updates = talloc_array(batch, struct vhdx_log_update, max);
	batch->sectors = talloc_array(batch, uint64_t, max);
	batch->buf = talloc_size(batch, max * SECTOR);
	batch->runs = talloc_array(batch, struct vhdx_released,
				   VHDX_MAX_RELEASED);
	if (batch->updates == NULL || batch->sectors == NULL ||
	    batch->buf == NULL || batch->runs == NULL) {
		TALLOC_FREE(batch);
		return NULL;
	}
	batch->max = max;
	batch->num_runs = state->num_released;
	if (state->num_released > 0) {
		memcpy(batch->runs, state->released,
		       state->num_released * sizeof(batch->runs[0]));
	}
	return batch;
}

/*
 * A block loses its place if it has one, all of it is trimmed, and the list
 * has room for it.
 */
static NTSTATUS batch_block(struct vhdx *image, const struct vhdx_state *state,
			    struct release_batch *batch, uint64_t block,
			    uint8_t *sector, bool *dirty)
{
	size_t at = vhdx_bat_index(image, block) % SECTOR_ENTRIES *
		    VHDX_BAT_ENTRY_SIZE;
	struct vhdx_released run = {
		.length = image->geometry.block_size,
		.released = state->release_sequence + 1,
	};

	run.place = vhdx_bat_entry_place(image, block,
					 PULL_LE_U64(sector, at), NULL);
	if (run.place == VHDX_PLACE_BAD) {
		return NT_STATUS_FILE_CORRUPT_ERROR;
	}
	if (!vhdx_place_is_mapped(run.place) ||
	    run.place + run.length > state->stable_end ||
	    run.place + run.length > state->next_free ||
	    !runs_add(batch->runs, &batch->num_runs, &run)) {
		return NT_STATUS_OK;
	}
	PUSH_LE_U64(sector, at, VHDX_PAYLOAD_ZERO);
	*dirty = true;
	return NT_STATUS_OK;
}

/* As many as go into a log entry; moves step->next on. */
static NTSTATUS batch_fill(struct vhdx *image, const struct vhdx_state *state,
			   struct release_batch *batch,
			   struct release_step *step)
{
	uint64_t end = MIN(step->end, image->geometry.virtual_size);
	uint64_t block = step->next;
	unsigned looked;

	for (looked = 0; looked < MAX_LOOK && batch->num < batch->max &&
	     block < image->num_blocks; looked++) {
		uint8_t *buf = batch->buf + batch->num * SECTOR;
		uint64_t sector = vhdx_bat_index(image, block) /
				  SECTOR_ENTRIES;
		bool dirty = false;
		NTSTATUS status;

		if ((block << image->block_shift) +
		    vhdx_bat_block_length(image, block) > end) {
			break;
		}
		status = vhdx_bat_sector_read(image, sector, buf);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		for (; block < image->num_blocks &&
		     vhdx_bat_index(image, block) / SECTOR_ENTRIES == sector;
		     block++) {
			if ((block << image->block_shift) +
			    vhdx_bat_block_length(image, block) > end) {
				break;
			}
			status = batch_block(image, state, batch, block, buf,
					     &dirty);
			if (!NT_STATUS_IS_OK(status)) {
				return status;
			}
		}
		if (dirty) {
			batch->updates[batch->num] = (struct vhdx_log_update) {
				.file_offset = image->bat.offset +
					       sector * SECTOR,
				.sector = buf,
			};
			batch->sectors[batch->num] = sector;
			batch->num += 1;
		}
		step->next = block;
	}
	step->done = block >= image->num_blocks ||
		     (block << image->block_shift) +
		     vhdx_bat_block_length(image, block) > end;
	return NT_STATUS_OK;
}

/* T1 */
static NTSTATUS batch_write(struct vhdx *image, struct vhdx_state *state,
			    struct release_batch *batch, bool *changed)
{
	NTSTATUS status;
	size_t i;

	if (image->released == NULL) {
		image->released = talloc_array(image, struct vhdx_released,
					       VHDX_MAX_RELEASED);
		if (image->released == NULL) {
			return NT_STATUS_NO_MEMORY;
		}
	}
	state->releasing = true;
	*changed = true;
	status = vhdx_state_store(image, state);
	if (NT_STATUS_IS_OK(status)) {
		status = vhdx_log_append(image, state, batch->updates,
					 batch->num, false);
	}
	if (!NT_STATUS_IS_OK(status)) {
		/* Whoever is next finds out what has become of it. */
		return status;
	}
	for (i = 0; i < batch->num; i++) {
		vhdx_bat_sector_changed(image, batch->sectors[i],
					batch->updates[i].sector);
	}
	memcpy(image->released, batch->runs,
	       batch->num_runs * sizeof(batch->runs[0]));
	state->released = image->released;
	state->num_released = batch->num_runs;
	releasing_done(image, state);
	vhdx_release_ack(image, state, changed);
	vhdx_release_clean(image, state, changed);
	return NT_STATUS_OK;
}

static NTSTATUS release_locked(struct vhdx *image, struct vhdx_state *state,
			       bool *changed, void *private_data)
{
	struct release_step *step = private_data;
	struct release_batch *batch = NULL;
	uint64_t next = step->next;
	NTSTATUS status;

	status = vhdx_session_prepare(image, state, changed);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	status = vhdx_log_make_room(image, state,
				    vhdx_log_max_updates(image), changed);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	/* What is far enough is not to wait with what comes now. */
	vhdx_release_clean(image, state, changed);
	batch = batch_new(image, state);
	if (batch == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	status = batch_fill(image, state, batch, step);
	if (NT_STATUS_IS_OK(status) && batch->num > 0) {
		status = batch_write(image, state, batch, changed);
	}
	if (!NT_STATUS_IS_OK(status)) {
		step->next = next;
	}
	TALLOC_FREE(batch);
	return status;
}

NTSTATUS vhdx_release(struct vhdx *image, uint64_t offset, uint64_t length)
{
	uint64_t block_size = image->geometry.block_size;
	struct release_step step = {
		.end = offset + length,
		.next = (offset + block_size - 1) >> image->block_shift,
	};

	if (image->no_holes || image->geometry.has_parent ||
	    image->geometry.leave_blocks_allocated) {
		return NT_STATUS_OK;
	}
	if (step.next >= image->num_blocks ||
	    (step.next << image->block_shift) +
	    vhdx_bat_block_length(image, step.next) > step.end) {
		return NT_STATUS_OK;
	}
	while (!step.done) {
		NTSTATUS status = vhdx_state_locked(image, release_locked,
						    &step);

		if (NT_STATUS_EQUAL(status, NT_STATUS_RETRY)) {
			status = vhdx_sync(image, VHDX_SYNC_METADATA);
		}
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
	}
	return NT_STATUS_OK;
}

/* Sessions, T6 */

NTSTATUS vhdx_release_start(struct vhdx *image, struct vhdx_state *state)
{
	uint64_t block_size = image->geometry.block_size;
	struct vhdx_released run = { .length = block_size, .found = true };
	uint64_t i;

	state->releasing = false;
	state->release_sequence += 1;
	state->clean_sequence = 0;
	state->clean_flushed = 0;
	state->num_released = 0;
	if (image->space == NULL) {
		return NT_STATUS_OK;
	}
	if (image->released == NULL) {
		image->released = talloc_array(image, struct vhdx_released,
					       VHDX_MAX_RELEASED);
		if (image->released == NULL) {
			return NT_STATUS_NO_MEMORY;
		}
	}
	state->released = image->released;
	run.released = state->release_sequence;
	/* There can be no use for more than a disk of them. */
	for (i = 0; i < image->num_blocks; i++) {
		if (!vhdx_space_find(image->space, block_size, &run.place) ||
		    run.place + block_size > state->stable_end ||
		    !runs_add(state->released, &state->num_released, &run)) {
			break;
		}
		vhdx_space_take(image->space, run.place, block_size);
	}
	return NT_STATUS_OK;
}

void vhdx_release_end(struct vhdx *image, struct vhdx_state *state)
{
	uint32_t i = state->num_released;

	/* Only what we know why it is there, and nobody writes to. */
	while (i > 0) {
		const struct vhdx_released *run = &state->released[i - 1];

		if (run->found ||
		    run->place + run->length != state->next_free ||
		    !run_is_quiet(image, state, run)) {
			break;
		}
		state->next_free = run->place;
		i -= 1;
	}
	state->num_released = i;
	while (i > 0) {
		const struct vhdx_released *run = &state->released[i - 1];

		if (!run->found && run->cleaned == 0 &&
		    run_is_quiet(image, state, run)) {
			vhdx_file_punch(image->storage, run->place,
					run->length);
		}
		i -= 1;
	}
	state->num_released = 0;
}
