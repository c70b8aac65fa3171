/*
 * vfs_rsvd: a child is merged into its parent, or flattened
 *
 * Two files change, one process changes them, and the power goes for both at
 * the same moment: whenever a call on either of them ends, it is noted how far
 * the other one is.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "tests/crash/crash_merge.h"
#include "tests/crash/crash_parent.h"

enum { CHILD, PARENT, NUM_FILES };

struct moment {
	uint64_t time[NUM_FILES];
};

/* The files of a chain, and what happened to them */
struct chain {
	const struct crash_plan *plan;
	bool flatten;
	struct crash_disk *disks[NUM_FILES];
	struct crash_random random;
	struct moment *moments;		/* a talloc array */
	size_t num_moments;
};

/* One process's view of it */
struct chain_port {
	struct chain *chain;
	struct file_port {
		struct chain_port *owner;
		struct crash_port *port;
		struct vhdx_storage storage;
	} files[NUM_FILES];
	struct vhdx_parents parents;
	unsigned stop_in;		/* calls of progress; 0: never */
	bool stopped;
	NTSTATUS status;
	char *reason;
};

/* The storage: that of the port, with the moment noted */

static void moment_note(struct chain *chain)
{
	struct moment moment = { .time = { 0 } };
	unsigned i;

	for (i = 0; i < NUM_FILES; i++) {
		moment.time[i] = crash_disk_time(chain->disks[i]);
	}
	if (talloc_array_length(chain->moments) == chain->num_moments) {
		chain->moments = talloc_realloc(
			chain, chain->moments, struct moment,
			MAX(256, 2 * chain->num_moments));
	}
	chain->moments[chain->num_moments] = moment;
	chain->num_moments += 1;
}

static const struct vhdx_storage *below(void *private_data)
{
	struct file_port *file = private_data;

	return crash_port_storage(file->port);
}

static ssize_t file_pread(void *private_data, void *buf, size_t length,
			  off_t offset)
{
	const struct vhdx_storage *s = below(private_data);

	return s->ops->pread(s->private_data, buf, length, offset);
}

static off_t file_size(void *private_data)
{
	const struct vhdx_storage *s = below(private_data);

	return s->ops->size(s->private_data);
}

static ssize_t file_pwrite(void *private_data, const void *buf,
			   size_t length, off_t offset)
{
	struct file_port *file = private_data;
	const struct vhdx_storage *s = below(file);
	ssize_t ret = s->ops->pwrite(s->private_data, buf, length, offset);

	moment_note(file->owner->chain);
	return ret;
}

static int file_fsync(void *private_data)
{
	struct file_port *file = private_data;
	const struct vhdx_storage *s = below(file);
	int ret = s->ops->fsync(s->private_data);

	moment_note(file->owner->chain);
	return ret;
}

static int file_ftruncate(void *private_data, off_t length)
{
	struct file_port *file = private_data;
	const struct vhdx_storage *s = below(file);
	int ret = s->ops->ftruncate(s->private_data, length);

	moment_note(file->owner->chain);
	return ret;
}

static int file_punch_hole(void *private_data, off_t offset, off_t length)
{
	struct file_port *file = private_data;
	const struct vhdx_storage *s = below(file);
	int ret = s->ops->punch_hole(s->private_data, offset, length);

	moment_note(file->owner->chain);
	return ret;
}

/* Nothing of this is asynchronous. */
static const struct vhdx_storage_ops file_ops = {
	.pread = file_pread,
	.pwrite = file_pwrite,
	.fsync = file_fsync,
	.ftruncate = file_ftruncate,
	.size = file_size,
	.punch_hole = file_punch_hole,
};

static NTSTATUS parent_open(TALLOC_CTX *mem_ctx, const char *path,
			    void *private_data, struct vhdx_storage **storage)
{
	struct chain_port *port = private_data;

	if (strcmp(path, CRASH_PARENT_NAME) != 0) {
		return NT_STATUS_OBJECT_NAME_NOT_FOUND;
	}
	*storage = &port->files[PARENT].storage;
	return NT_STATUS_OK;
}

static struct chain_port *chain_port_new(TALLOC_CTX *mem_ctx,
					 struct chain *chain)
{
	struct chain_port *port = talloc_zero(mem_ctx, struct chain_port);
	unsigned i;

	port->chain = chain;
	for (i = 0; i < NUM_FILES; i++) {
		port->files[i] = (struct file_port) {
			.owner = port,
			.port = crash_port_new(port, chain->disks[i],
					       &chain->random),
		};
		port->files[i].storage = (struct vhdx_storage) {
			.ops = &file_ops,
			.private_data = &port->files[i],
		};
	}
	port->parents = (struct vhdx_parents) {
		.path = "child.vhdx",
		.open = parent_open,
		.private_data = port,
	};
	return port;
}

static struct chain *chain_new(TALLOC_CTX *mem_ctx,
			       const struct crash_plan *plan, bool flatten,
			       struct crash_file *child,
			       struct crash_file *parent,
			       enum crash_flush flush, uint64_t seed)
{
	struct chain *chain = talloc_zero(mem_ctx, struct chain);

	chain->plan = plan;
	chain->flatten = flatten;
	chain->random.state = seed;
	chain->disks[CHILD] = crash_disk_new(chain, child, flush);
	chain->disks[PARENT] = crash_disk_new(chain, parent, flush);
	return chain;
}

/* The work */

static bool progress(uint64_t done, uint64_t total, void *private_data)
{
	struct chain_port *port = private_data;

	if (port->stop_in > 0) {
		port->stop_in -= 1;
		return port->stop_in > 0;
	}
	return true;
}

static void port_run(struct chain_port *port)
{
	struct vhdx_storage *child = &port->files[CHILD].storage;
	struct vhdx_flatten_report flattened = { .num_copied = 0 };
	struct vhdx_merge_report merged = { .num_copied = 0 };

	if (port->chain->flatten) {
		port->status = vhdx_flatten(port, child, &port->parents,
					    progress, port, &flattened,
					    &port->reason);
	} else {
		port->status = vhdx_merge(port, child, &port->parents,
					  VHDX_MERGE_EMPTY, progress, port,
					  &merged, &port->reason);
	}
	port->stopped = flattened.stopped || merged.stopped;
}

/* False: the process was killed. */
static bool port_enter(struct chain_port *port)
{
	if (sigsetjmp(*crash_port_jump(port->files[CHILD].port), 0) != 0 ||
	    sigsetjmp(*crash_port_jump(port->files[PARENT].port), 0) != 0) {
		return false;
	}
	port_run(port);
	return true;
}

/* As often as it takes; NULL, or why it failed */
static const char *chain_run(TALLOC_CTX *mem_ctx, struct chain *chain,
			     bool disturb)
{
	unsigned tries;
	bool done = false;

	for (tries = 0; !done; tries++) {
		struct chain_port *port = chain_port_new(chain, chain);
		struct crash_random *random = &chain->random;
		const char *reason = NULL;

		if (disturb && tries < 5 && crash_chance(random, 60)) {
			unsigned i = crash_random(random, NUM_FILES);

			crash_port_kill_in(port->files[i].port,
					   1 + crash_random(random, 200));
		}
		if (disturb && tries < 5 && crash_chance(random, 30)) {
			port->stop_in = 1 + crash_random(random, 20);
		}
		if (port_enter(port)) {
			done = !port->stopped;
			if (!NT_STATUS_IS_OK(port->status)) {
				reason = talloc_asprintf(
					mem_ctx, "%s: %s",
					nt_errstr(port->status),
					port->reason ? port->reason : "-");
			}
		}
		TALLOC_FREE(port);
		if (reason != NULL) {
			return reason;
		}
	}
	return NULL;
}

/* Comparing */

static const char *image_compare(TALLOC_CTX *mem_ctx, struct chain *chain,
				 struct crash_oracle *oracle, unsigned which,
				 uint32_t flags, bool alone)
{
	struct chain_port *port = chain_port_new(chain, chain);
	const char *reason = NULL;
	struct vhdx *image = NULL;
	char *why = NULL;
	NTSTATUS status;

	status = vhdx_open_chain(port, &port->files[which].storage, NULL,
				 flags, alone ? NULL : &port->parents, &image,
				 &why);
	if (!NT_STATUS_IS_OK(status)) {
		reason = talloc_asprintf(mem_ctx, "open %s: %s: %s",
					 which == CHILD ? "child" : "parent",
					 nt_errstr(status),
					 why != NULL ? why : "-");
	} else {
		reason = crash_image_compare(image, oracle, chain->plan,
					     CRASH_NEVER, CRASH_NEVER, NULL);
		status = vhdx_close(&image);
		if (reason == NULL && !NT_STATUS_IS_OK(status)) {
			reason = "close";
		}
	}
	TALLOC_FREE(port);
	return reason;
}

static const char *files_check(TALLOC_CTX *mem_ctx, struct chain *chain,
			       crash_file_check_fn check)
{
	const char *reason = NULL;
	unsigned i;

	for (i = 0; i < NUM_FILES && reason == NULL; i++) {
		reason = check(mem_ctx, crash_disk_now(chain->disks[i]),
			       false);
	}
	return reason;
}

/* All is done: what was the child's, the parent has; or it has all. */
static const char *result_compare(TALLOC_CTX *mem_ctx, struct chain *chain,
				  struct crash_oracle *oracle,
				  crash_file_check_fn check)
{
	const char *reason = files_check(mem_ctx, chain, check);

	if (reason == NULL) {
		reason = image_compare(mem_ctx, chain, oracle, CHILD,
				       VHDX_OPEN_READ_ONLY, chain->flatten);
	}
	if (reason == NULL && !chain->flatten) {
		reason = image_compare(mem_ctx, chain, oracle, PARENT,
				       VHDX_OPEN_READ_ONLY, true);
	}
	return reason;
}

/* Power cuts */

static const char *files_verify(TALLOC_CTX *mem_ctx,
				const struct chain *before,
				struct crash_file *child,
				struct crash_file *parent,
				struct crash_oracle *oracle, uint64_t seed,
				crash_file_check_fn check)
{
	struct chain *chain = chain_new(mem_ctx, before->plan,
					before->flatten, child, parent,
					CRASH_FLUSH_WORKS, seed);
	const char *reason = files_check(mem_ctx, chain, check);

	if (reason == NULL) {
		reason = image_compare(mem_ctx, chain, oracle, CHILD,
				       VHDX_OPEN_READ_ONLY, false);
	}
	if (reason == NULL && crash_chance(&chain->random, 30)) {
		/* Who writes replays the log in the file. */
		reason = image_compare(mem_ctx, chain, oracle, CHILD, 0,
				       false);
	}
	if (reason == NULL && crash_chance(&chain->random, 30)) {
		reason = chain_run(mem_ctx, chain, true);
		if (reason == NULL) {
			reason = result_compare(mem_ctx, chain, oracle,
						check);
		}
	}
	return reason;
}

static const char *chain_cut(TALLOC_CTX *mem_ctx, struct chain *chain,
			     struct crash_oracle *oracle, uint64_t cuts,
			     crash_file_check_fn check, uint64_t *num_cuts)
{
	struct crash_cutter *cutters[NUM_FILES] = {
		crash_cutter_new(chain, chain->disks[CHILD]),
		crash_cutter_new(chain, chain->disks[PARENT]),
	};
	struct crash_random *random = &chain->random;
	size_t k;

	for (k = 0; k < chain->num_moments; k++) {
		const struct moment *moment = &chain->moments[k];
		uint64_t num = crash_share(random, cuts, chain->num_moments);
		unsigned i;

		for (i = 0; i < NUM_FILES; i++) {
			while (crash_cutter_time(cutters[i]) <
			       moment->time[i]) {
				crash_cutter_next(cutters[i]);
			}
		}
		for (; num > 0; num--) {
			TALLOC_CTX *frame = talloc_new(mem_ctx);
			struct crash_file *files[NUM_FILES];
			const char *reason = NULL;

			for (i = 0; i < NUM_FILES; i++) {
				files[i] = crash_cutter_cut(cutters[i],
							    random);
			}
			reason = files_verify(frame, chain, files[CHILD],
					      files[PARENT], oracle,
					      crash_random(random, 0), check);
			*num_cuts += 1;
			if (reason != NULL) {
				return talloc_asprintf(
					mem_ctx, "%s, cut at %zu: %s",
					chain->flatten ? "flatten" : "merge",
					k, reason);
			}
			TALLOC_FREE(frame);
		}
	}
	return NULL;
}

const char *crash_merge(TALLOC_CTX *mem_ctx, const struct crash_plan *plan,
			const struct crash_file *child,
			const struct crash_file *parent,
			struct crash_oracle *oracle, enum crash_flush flush,
			uint64_t seed, uint64_t cuts,
			crash_file_check_fn check, struct crash_file **result,
			uint64_t *num_cuts)
{
	struct chain *chain = chain_new(
		mem_ctx, plan, seed % 3 == 0, crash_file_copy(child),
		crash_file_copy(parent), flush, seed);
	const char *reason = chain_run(mem_ctx, chain, true);

	if (reason == NULL) {
		reason = result_compare(mem_ctx, chain, oracle, check);
	}
	if (reason != NULL) {
		return talloc_asprintf(mem_ctx, "%s: %s",
				       chain->flatten ? "flatten" : "merge",
				       reason);
	}
	*result = crash_file_copy(crash_disk_now(
		chain->disks[chain->flatten ? CHILD : PARENT]));
	return chain_cut(mem_ctx, chain, oracle, cuts, check, num_cuts);
}
