/*
 * rsvdctl: differencing images become one with their parents
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "source3/utils/rsvdctl.h"
#include "modules/vhdx/vhdx.h"

static int merge_delete;

static struct poptOption merge_options[] = {
	{
		.longName = "delete",
		.argInfo = POPT_ARG_NONE,
		.arg = &merge_delete,
		.descrip = "Remove the file, which is otherwise left as an "
			   "empty child",
	},
	RSVDCTL_OPTION_JSON,
	POPT_TABLEEND
};

static struct poptOption flatten_options[] = {
	RSVDCTL_OPTION_JSON,
	POPT_TABLEEND
};

/* A file of the chain; the first one is the image itself. */
struct chain_file {
	struct vhdx_storage *storage;
	dev_t dev;
	ino_t ino;
};

struct chain {
	struct rsvdctl *ctl;
	char *path;		/* of the image, with no link in it */
	struct vhdx_parents parents;
	bool writes_parent;	/* the first one that is opened */
	bool told;		/* what failed was said already */
	struct chain_file files[1 + VHDX_MAX_PARENTS];
	size_t num_files;
};

static bool chain_add(struct chain *chain, struct vhdx_storage *storage,
		      const struct stat *st)
{
	if (chain->num_files == ARRAY_SIZE(chain->files)) {
		return false;
	}
	chain->files[chain->num_files] = (struct chain_file) {
		.storage = storage, .dev = st->st_dev, .ino = st->st_ino,
	};
	chain->num_files += 1;
	return true;
}

/* To be read only; who writes it would change what we have copied. */
static NTSTATUS chain_read_parent(struct chain *chain, const char *path,
				  struct vhdx_storage **storage)
{
	int err;

	*storage = rsvdctl_local_storage(chain->ctl, path, false);
	if (*storage == NULL) {
		chain->told = true;
		return NT_STATUS_UNSUCCESSFUL;
	}
	err = vhdx_storage_posix_unwritten(*storage);
	if (err == 0) {
		return NT_STATUS_OK;
	}
	chain->told = true;
	TALLOC_FREE(*storage);
	if (err == EAGAIN) {
		rsvdctl_error(chain->ctl, "%s is open for writing: \"rsvdctl "
			      "status\" tells by whom", path);
		return NT_STATUS_SHARING_VIOLATION;
	}
	rsvdctl_error(chain->ctl, "cannot tell whether %s is being written: "
		      "%s", path, err == EACCES ? "that takes its owner or "
		      "root" : strerror(err));
	return map_nt_error_from_unix_common(err);
}

static NTSTATUS chain_open_parent(TALLOC_CTX *mem_ctx, const char *path,
				  void *private_data,
				  struct vhdx_storage **storage)
{
	struct chain *chain = private_data;
	char *full = talloc_asprintf(mem_ctx, "/%s", path);
	NTSTATUS status = NT_STATUS_OK;
	struct stat st;
	size_t i;

	if (full == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	if (stat(full, &st) == -1) {
		return map_nt_error_from_unix_common(errno);
	}
	/* Each once, or we would wait for ourselves to let go of it. */
	for (i = 0; i < chain->num_files; i++) {
		const struct chain_file *file = &chain->files[i];

		if (file->dev != st.st_dev || file->ino != st.st_ino) {
			continue;
		}
		if (i == 0) {
			return NT_STATUS_TOO_MANY_LINKS;
		}
		*storage = file->storage;
		return NT_STATUS_OK;
	}
	if (chain->writes_parent && chain->num_files == 1) {
		*storage = rsvdctl_local_storage(chain->ctl, full, true);
		if (*storage == NULL) {
			chain->told = true;
			status = NT_STATUS_SHARING_VIOLATION;
		}
	} else {
		status = chain_read_parent(chain, full, storage);
	}
	TALLOC_FREE(full);
	if (NT_STATUS_IS_OK(status) && !chain_add(chain, *storage, &st)) {
		status = NT_STATUS_TOO_MANY_LINKS;
	}
	return status;
}

static struct chain *chain_open(struct rsvdctl *ctl, bool writes_parent)
{
	const char *path = poptGetArg(ctl->pc);
	struct vhdx_storage *storage = NULL;
	struct chain *chain = NULL;
	char *real = NULL;
	struct stat st;

	if (path == NULL || poptPeekArg(ctl->pc) != NULL) {
		rsvdctl_usage(ctl, "name one differencing image");
		return NULL;
	}
	if (!rsvdctl_is_local(ctl, path)) {
		return NULL;
	}
	storage = rsvdctl_local_storage(ctl, path, true);
	if (storage == NULL) {
		return NULL;
	}
	real = realpath(path, NULL);
	if (real == NULL || stat(real, &st) == -1) {
		rsvdctl_error(ctl, "%s: %s", path, strerror(errno));
		SAFE_FREE(real);
		return NULL;
	}
	chain = talloc_zero(ctl->mem_ctx, struct chain);
	if (chain != NULL) {
		chain->path = talloc_strdup(chain, real);
	}
	SAFE_FREE(real);
	if (chain == NULL || chain->path == NULL) {
		rsvdctl_error(ctl, "out of memory");
		return NULL;
	}
	chain->ctl = ctl;
	chain->writes_parent = writes_parent;
	chain->parents = (struct vhdx_parents) {
		.path = chain->path + 1,
		.open = chain_open_parent,
		.private_data = chain,
	};
	chain_add(chain, storage, &st);
	return chain;
}

/* Whoever wants to open one of the files waits for us, so end then. */
static bool chain_progress(uint64_t done, uint64_t total, void *private_data)
{
	struct chain *chain = private_data;
	size_t i;

	rsvdctl_progress_phase(chain->ctl, done, total);
	for (i = 0; i < chain->num_files; i++) {
		if (vhdx_storage_posix_is_wanted(chain->files[i].storage)) {
			return false;
		}
	}
	return true;
}

static int chain_failed(struct chain *chain, NTSTATUS status,
			const char *reason)
{
	if (chain->told) {
		return RSVDCTL_FAILED;
	}
	return rsvdctl_nterror(chain->ctl, status, "cannot %s %s%s%s",
			       chain->ctl->command, chain->path,
			       reason != NULL ? ": " : "",
			       reason != NULL ? reason : "");
}

static int chain_stopped(struct chain *chain)
{
	return rsvdctl_error(chain->ctl, "%s or a parent is wanted by "
			     "others: stopped before the end, and can be done "
			     "again", chain->path);
}

static int rsvdctl_merge_run(struct rsvdctl *ctl)
{
	struct chain *chain = chain_open(ctl, true);
	struct vhdx_merge_report report;
	char *reason = NULL;
	char *parent = NULL;
	NTSTATUS status;

	if (chain == NULL) {
		return RSVDCTL_FAILED;
	}
	status = vhdx_merge(ctl->mem_ctx, chain->files[0].storage,
			    &chain->parents,
			    merge_delete ? 0 : VHDX_MERGE_EMPTY,
			    chain_progress, chain, &report, &reason);
	rsvdctl_progress_end(ctl);
	if (!NT_STATUS_IS_OK(status)) {
		return chain_failed(chain, status, reason);
	}
	if (report.stopped) {
		return chain_stopped(chain);
	}
	if (merge_delete && unlink(chain->path) == -1) {
		return rsvdctl_error(ctl, "merged, but cannot remove %s: %s",
				     chain->path, strerror(errno));
	}
	parent = talloc_asprintf(ctl->mem_ctx, "/%s", report.parent_path);
	if (parent == NULL) {
		return rsvdctl_error(ctl, "out of memory");
	}
	if (ctl->json) {
		return rsvdctl_print_json(ctl, json_pack(
			"{s:s, s:s, s:I, s:I, s:b}",
			"image", rsvdctl_utf8(ctl->mem_ctx, chain->path),
			"parent", rsvdctl_utf8(ctl->mem_ctx, parent),
			"merged-bytes", (json_int_t)report.num_copied,
			"zeroed-bytes", (json_int_t)report.num_zeroed,
			"deleted", merge_delete));
	}
	printf("%s: %s merged into %s; it is %s now\n", chain->path,
	       rsvdctl_size_string(ctl->mem_ctx, report.num_copied),
	       rsvdctl_printable(ctl->mem_ctx, parent),
	       merge_delete ? "removed" : "empty");
	return RSVDCTL_OK;
}

struct rsvdctl_command rsvdctl_merge = {
	.name = "merge",
	.args = "CHILD",
	.summary = "put a differencing image into its parent",
	.options = merge_options,
	.run = rsvdctl_merge_run,
};

static int rsvdctl_flatten_run(struct rsvdctl *ctl)
{
	struct chain *chain = chain_open(ctl, false);
	struct vhdx_flatten_report report;
	char *reason = NULL;
	NTSTATUS status;

	if (chain == NULL) {
		return RSVDCTL_FAILED;
	}
	status = vhdx_flatten(ctl->mem_ctx, chain->files[0].storage,
			      &chain->parents, chain_progress, chain, &report,
			      &reason);
	rsvdctl_progress_end(ctl);
	if (!NT_STATUS_IS_OK(status)) {
		return chain_failed(chain, status, reason);
	}
	if (report.stopped) {
		return chain_stopped(chain);
	}
	if (ctl->json) {
		return rsvdctl_print_json(ctl, json_pack(
			"{s:s, s:I}",
			"image", rsvdctl_utf8(ctl->mem_ctx, chain->path),
			"copied-blocks", (json_int_t)report.num_copied));
	}
	printf("%s: %"PRIu64" blocks copied, it has no parent now\n",
	       chain->path, report.num_copied);
	return RSVDCTL_OK;
}

struct rsvdctl_command rsvdctl_flatten = {
	.name = "flatten",
	.args = "CHILD",
	.summary = "make a differencing image need no parent",
	.options = flatten_options,
	.run = rsvdctl_flatten_run,
};
