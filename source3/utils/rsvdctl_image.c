/*
 * rsvdctl: local images
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "source3/utils/rsvdctl.h"
#include "librpc/ndr/libndr.h"
#include "modules/vhdx/vhdx.h"
#include "system/filesys.h"
#include "system/wait.h"

static struct {
	const char *size;
	const char *type;
	const char *block_size;
	const char *sector_size;
	const char *physical_sector_size;
	const char *parent;
	int preallocate;
} create_opts;

static struct poptOption create_options[] = {
	{
		.longName = "size",
		.argInfo = POPT_ARG_STRING,
		.arg = &create_opts.size,
		.descrip = "Size of the virtual disk, up to 64T",
		.argDescrip = "SIZE",
	},
	{
		.longName = "type",
		.argInfo = POPT_ARG_STRING,
		.arg = &create_opts.type,
		.descrip = "Whether blocks are allocated when they are "
			   "written (the default) or at once",
		.argDescrip = "dynamic|fixed",
	},
	{
		.longName = "block-size",
		.argInfo = POPT_ARG_STRING,
		.arg = &create_opts.block_size,
		.descrip = "1M to 256M, a power of two; default 32M",
		.argDescrip = "SIZE",
	},
	{
		.longName = "sector-size",
		.argInfo = POPT_ARG_STRING,
		.arg = &create_opts.sector_size,
		.descrip = "Logical sector size, 512 (the default) or 4096",
		.argDescrip = "SIZE",
	},
	{
		.longName = "physical-sector-size",
		.argInfo = POPT_ARG_STRING,
		.arg = &create_opts.physical_sector_size,
		.descrip = "512 or 4096 (the default)",
		.argDescrip = "SIZE",
	},
	{
		.longName = "parent",
		.argInfo = POPT_ARG_STRING,
		.arg = &create_opts.parent,
		.descrip = "Make a differencing image of this one, which "
			   "must not be written any more; sizes are its own",
		.argDescrip = "FILE",
	},
	{
		.longName = "preallocate",
		.argInfo = POPT_ARG_NONE,
		.arg = &create_opts.preallocate,
		.descrip = "Have the file system set aside all the space "
			   "of a fixed disk now",
	},
	POPT_TABLEEND
};

bool rsvdctl_type(struct rsvdctl *ctl, const char *text, bool *fixed)
{
	*fixed = (text != NULL && strcmp(text, "fixed") == 0);
	if (text == NULL || *fixed || strcmp(text, "dynamic") == 0) {
		return true;
	}
	rsvdctl_usage(ctl, "no such --type: %s", text);
	return false;
}

/* What looks like an image, but is half of one, must not be left behind. */
static const char *volatile create_unfinished;

static void create_interrupted(int signum)
{
	const char *path = create_unfinished;

	if (path != NULL) {
		unlink(path);
	}
	/* The handler is gone by now; this ends us when it returns. */
	raise(signum);
}

struct vhdx_storage *rsvdctl_create_begin(struct rsvdctl *ctl,
					  const char *path)
{
	const int signals[] = { SIGHUP, SIGINT, SIGTERM };
	struct sigaction action = {
		.sa_handler = create_interrupted,
		.sa_flags = SA_RESETHAND,
	};
	struct sigaction old;
	struct vhdx_storage *storage = NULL;
	size_t i;
	int err;

	err = vhdx_storage_posix_open(ctl->mem_ctx, path,
				      O_RDWR | O_CREAT | O_EXCL, &storage);
	if (err != 0) {
		rsvdctl_error(ctl, "cannot create %s: %s", path,
			      strerror(err));
		return NULL;
	}
	create_unfinished = path;
	for (i = 0; i < ARRAY_SIZE(signals); i++) {
		/* nohup(1) and shells have them ignored. */
		if (sigaction(signals[i], NULL, &old) == 0 &&
		    old.sa_handler != SIG_IGN) {
			sigaction(signals[i], &action, NULL);
		}
	}
	return storage;
}

void rsvdctl_create_end(const char *path, bool complete)
{
	create_unfinished = NULL;
	if (!complete) {
		unlink(path);
	}
}

/*
 * How to get from the directory of one file to another file: "../base.vhdx".
 * The first need not exist, its directory does.
 */
static char *rsvdctl_relative_path(TALLOC_CTX *mem_ctx, const char *from,
				   const char *to)
{
	const char *slash = strrchr(from, '/');
	char *directory = NULL, *from_real = NULL, *to_real = NULL;
	char *path = NULL;
	const char *p = NULL;
	size_t i, common = 0;

	directory = slash == NULL ? talloc_strdup(mem_ctx, ".") :
		    slash == from ? talloc_strdup(mem_ctx, "/") :
		    talloc_strndup(mem_ctx, from, slash - from);
	from_real = directory != NULL ? realpath(directory, NULL) : NULL;
	to_real = realpath(to, NULL);
	if (from_real == NULL || to_real == NULL) {
		goto done;
	}
	if (strcmp(from_real, "/") == 0) {
		from_real[0] = '\0';
	}

	/* Up to the last name that both have */
	for (i = 0; from_real[i] == to_real[i] || from_real[i] == '\0'; i++) {
		if (to_real[i] == '/') {
			common = i;
		}
		if (from_real[i] == '\0') {
			break;
		}
	}
	path = talloc_strdup(mem_ctx, "");
	for (p = from_real + common; *p != '\0'; p++) {
		if (*p == '/') {
			path = talloc_asprintf_append(path, "../");
		}
	}
	path = talloc_asprintf_append(path, "%s", to_real + common + 1);
done:
	SAFE_FREE(from_real);
	SAFE_FREE(to_real);
	return path;
}

static bool rsvdctl_create_parent(struct rsvdctl *ctl, const char *path,
				  struct vhdx_create_params *params)
{
	if (create_opts.parent == NULL) {
		return true;
	}
	if (params->virtual_size != 0 || params->fixed) {
		rsvdctl_usage(ctl, "a differencing image has the --size of "
			      "its parent, and is dynamic");
		return false;
	}
	/* A writer of now would not be noticed by the child later. */
	params->parent = rsvdctl_local_vhdx_unwritten(ctl, create_opts.parent);
	if (params->parent == NULL) {
		return false;
	}
	params->parent_path = rsvdctl_relative_path(ctl->mem_ctx, path,
						    create_opts.parent);
	if (params->parent_path == NULL) {
		rsvdctl_error(ctl, "cannot tell the way from %s to %s", path,
			      create_opts.parent);
		return false;
	}
	return true;
}

/* Zeros stay zeros; 0 or an errno */
static int create_preallocate(const char *path)
{
	struct stat st;
	int fd, err;

	fd = open(path, O_RDWR);
	if (fd == -1) {
		return errno;
	}
	err = (fstat(fd, &st) == 0) ? posix_fallocate(fd, 0, st.st_size) :
				      errno;
	if (close(fd) == -1 && err == 0) {
		err = errno;
	}
	return err;
}

static int rsvdctl_create_run(struct rsvdctl *ctl)
{
	const char *path = poptGetArg(ctl->pc);
	struct vhdx_create_params params = { .fixed = false };
	struct vhdx_storage *storage = NULL;
	uint64_t block_size = 0, sector_size = 0, physical_sector_size = 0;
	NTSTATUS status;

	if (path == NULL || poptPeekArg(ctl->pc) != NULL) {
		return rsvdctl_usage(ctl, "name one file to create");
	}
	if (!rsvdctl_is_local(ctl, path)) {
		return RSVDCTL_FAILED;
	}
	if (create_opts.size == NULL && create_opts.parent == NULL) {
		return rsvdctl_usage(ctl, "--size is missing, or --parent");
	}
	if (!rsvdctl_size(ctl, "--size", create_opts.size,
			  &params.virtual_size) ||
	    !rsvdctl_size(ctl, "--block-size", create_opts.block_size,
			  &block_size) ||
	    !rsvdctl_size(ctl, "--sector-size", create_opts.sector_size,
			  &sector_size) ||
	    !rsvdctl_size(ctl, "--physical-sector-size",
			  create_opts.physical_sector_size,
			  &physical_sector_size)) {
		return RSVDCTL_FAILED;
	}
	/* What does not fit into 32 bits is wrong anyhow. */
	params.block_size = MIN(block_size, UINT32_MAX);
	params.logical_sector_size = MIN(sector_size, UINT32_MAX);
	params.physical_sector_size = MIN(physical_sector_size, UINT32_MAX);

	if (!rsvdctl_type(ctl, create_opts.type, &params.fixed) ||
	    !rsvdctl_create_parent(ctl, path, &params)) {
		return RSVDCTL_FAILED;
	}
	if (create_opts.preallocate && !params.fixed) {
		return rsvdctl_usage(ctl, "--preallocate needs --type=fixed");
	}

	storage = rsvdctl_create_begin(ctl, path);
	if (storage == NULL) {
		return RSVDCTL_FAILED;
	}
	status = vhdx_create(storage, &params);
	TALLOC_FREE(storage);
	if (NT_STATUS_IS_OK(status) && create_opts.preallocate) {
		int err = create_preallocate(path);

		if (err != 0) {
			rsvdctl_create_end(path, false);
			return rsvdctl_error(ctl, "cannot set aside the space "
					     "for %s: %s", path,
					     strerror(err));
		}
	}
	rsvdctl_create_end(path, NT_STATUS_IS_OK(status));
	if (NT_STATUS_EQUAL(status, NT_STATUS_INVALID_PARAMETER)) {
		return rsvdctl_usage(ctl, "a VHDX cannot have these sizes");
	}
	if (!NT_STATUS_IS_OK(status)) {
		return rsvdctl_nterror(ctl, status, "cannot create %s", path);
	}
	return RSVDCTL_OK;
}

struct rsvdctl_command rsvdctl_create = {
	.name = "create",
	.args = "--size=SIZE|--parent=FILE FILE",
	.summary = "make a new, empty image",
	.options = create_options,
	.run = rsvdctl_create_run,
};

/*
 * Opening an image, for info, read and write
 */

struct rsvdctl_local {
	struct vhdx_storage *storage;
	struct vhdx *image;
};

/*
 * A file to be written to must be nobody else's meanwhile, or smbd and we
 * would each go by what the other changes.
 */
struct vhdx_storage *rsvdctl_local_storage(struct rsvdctl *ctl,
					   const char *path, bool writable)
{
	struct vhdx_storage *storage = NULL;
	int err;

	err = vhdx_storage_posix_open(ctl->mem_ctx, path,
				      writable ? O_RDWR : O_RDONLY, &storage);
	if (err != 0) {
		rsvdctl_error(ctl, "cannot open %s: %s", path, strerror(err));
		return NULL;
	}
	if (!writable) {
		return storage;
	}
	err = vhdx_storage_posix_exclusive(storage);
	switch (err) {
	case 0:
		return storage;
	case EAGAIN:
		rsvdctl_error(ctl, "%s is in use: \"rsvdctl status\" tells by "
			      "whom, //server/share/path writes to it all the "
			      "same", path);
		break;
	case EACCES:
		rsvdctl_error(ctl, "only the owner of %s and root can tell "
			      "whether it is in use", path);
		break;
	default:
		rsvdctl_error(ctl, "cannot tell whether %s is in use: %s",
			      path, strerror(err));
		break;
	}
	TALLOC_FREE(storage);
	return NULL;
}

bool rsvdctl_go_on(uint64_t done, uint64_t total, void *private_data)
{
	struct rsvdctl_working *on = private_data;

	rsvdctl_progress_phase(on->ctl, done, total);
	return !vhdx_storage_posix_is_wanted(on->storage);
}

int rsvdctl_wanted(struct rsvdctl *ctl, const char *path)
{
	return rsvdctl_error(ctl, "%s is wanted by others: stopped before the "
			     "end", path);
}

/* Whoever runs this may go wherever he can: the root is that of the system. */
static NTSTATUS rsvdctl_local_parent(TALLOC_CTX *mem_ctx, const char *path,
				     void *private_data,
				     struct vhdx_storage **storage)
{
	char *full = talloc_asprintf(mem_ctx, "/%s", path);
	int err;

	if (full == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	err = vhdx_storage_posix_open(mem_ctx, full, O_RDONLY, storage);
	TALLOC_FREE(full);
	return err == 0 ? NT_STATUS_OK : map_nt_error_from_unix_common(err);
}

static struct rsvdctl_local *rsvdctl_local_image(struct rsvdctl *ctl,
						 const char *path,
						 bool writable)
{
	struct vhdx_parents parents = { .open = rsvdctl_local_parent };
	struct rsvdctl_local *local = NULL;
	char *reason = NULL, *real = NULL;
	NTSTATUS status;

	local = talloc_zero(ctl->mem_ctx, struct rsvdctl_local);
	if (local == NULL) {
		rsvdctl_error(ctl, "out of memory");
		return NULL;
	}
	local->storage = rsvdctl_local_storage(ctl, path, writable);
	if (local->storage == NULL) {
		TALLOC_FREE(local);
		return NULL;
	}
	talloc_steal(local, local->storage);
	real = realpath(path, NULL);
	parents.path = talloc_strdup(local, real != NULL ? real + 1 : path);
	SAFE_FREE(real);
	status = vhdx_open_chain(local, local->storage, NULL,
				 writable ? 0 : VHDX_OPEN_READ_ONLY, &parents,
				 &local->image, &reason);
	if (!NT_STATUS_IS_OK(status)) {
		rsvdctl_nterror(ctl, status, "cannot open %s: %s", path,
				reason != NULL ? reason : "not a VHDX");
		TALLOC_FREE(local);
		return NULL;
	}
	return local;
}

struct vhdx *rsvdctl_local_vhdx(struct rsvdctl *ctl, const char *path)
{
	struct rsvdctl_local *local = rsvdctl_local_image(ctl, path, false);

	return local != NULL ? local->image : NULL;
}

struct vhdx *rsvdctl_local_vhdx_unwritten(struct rsvdctl *ctl,
					  const char *path)
{
	struct vhdx_storage *storage = NULL;
	bool is_written;

	storage = rsvdctl_local_storage(ctl, path, false);
	if (storage == NULL) {
		return NULL;
	}
	/* Only looked at: who wants to write it next need not wait. */
	is_written = vhdx_storage_posix_unwritten(storage) == EAGAIN;
	TALLOC_FREE(storage);
	if (is_written) {
		rsvdctl_error(ctl, "%s is open for writing: \"rsvdctl status\" "
			      "tells by whom", path);
		return NULL;
	}
	return rsvdctl_local_vhdx(ctl, path);
}

static NTSTATUS rsvdctl_local_read(struct rsvdctl_disk *disk, void *buf,
				   size_t length, uint64_t offset)
{
	struct rsvdctl_local *local =
		talloc_get_type_abort(disk->private_data, struct rsvdctl_local);

	return vhdx_read(local->image, buf, length, offset);
}

static NTSTATUS rsvdctl_local_write(struct rsvdctl_disk *disk, const void *buf,
				    size_t length, uint64_t offset)
{
	struct rsvdctl_local *local =
		talloc_get_type_abort(disk->private_data, struct rsvdctl_local);

	return vhdx_write(local->image, buf, length, offset);
}

static NTSTATUS rsvdctl_local_flush(struct rsvdctl_disk *disk)
{
	struct rsvdctl_local *local =
		talloc_get_type_abort(disk->private_data, struct rsvdctl_local);

	return vhdx_flush(local->image);
}

static NTSTATUS rsvdctl_local_close(struct rsvdctl_disk *disk)
{
	struct rsvdctl_local *local =
		talloc_get_type_abort(disk->private_data, struct rsvdctl_local);

	return vhdx_close(&local->image);
}

static bool rsvdctl_local_is_wanted(struct rsvdctl_disk *disk)
{
	struct rsvdctl_local *local =
		talloc_get_type_abort(disk->private_data, struct rsvdctl_local);

	return vhdx_storage_posix_is_wanted(local->storage);
}

static int rsvdctl_local_error(struct rsvdctl_disk *disk, NTSTATUS status,
			       const char *what)
{
	return rsvdctl_nterror(disk->ctl, status, "cannot %s %s", what,
			       disk->name);
}

static const struct rsvdctl_disk_ops rsvdctl_local_ops = {
	.read = rsvdctl_local_read,
	.write = rsvdctl_local_write,
	.flush = rsvdctl_local_flush,
	.close = rsvdctl_local_close,
	.is_wanted = rsvdctl_local_is_wanted,
	.error = rsvdctl_local_error,
};

struct rsvdctl_disk *rsvdctl_local_open(struct rsvdctl *ctl, const char *path,
					bool writable)
{
	struct rsvdctl_local *local = NULL;
	struct rsvdctl_disk *disk = NULL;

	local = rsvdctl_local_image(ctl, path, writable);
	if (local == NULL) {
		return NULL;
	}
	disk = talloc_zero(ctl->mem_ctx, struct rsvdctl_disk);
	if (disk == NULL) {
		rsvdctl_error(ctl, "out of memory");
		return NULL;
	}
	*disk = (struct rsvdctl_disk) {
		.ops = &rsvdctl_local_ops,
		.ctl = ctl,
		.name = path,
		.size = vhdx_geometry(local->image)->virtual_size,
		.sector_size = vhdx_geometry(local->image)->logical_sector_size,
		.private_data = local,
	};
	return disk;
}

/*
 * info
 */

/* To look at each entry of a larger table takes seconds: "check" does. */
#define INFO_MAX_BLOCKS (1024 * 1024)

int rsvdctl_local_info(struct rsvdctl *ctl, const char *path)
{
	struct rsvdctl_local *local = NULL;
	struct vhdx_check_report *report = NULL;
	const struct vhdx_geometry *geometry = NULL;
	const char *type = NULL;
	char *id = NULL, *parent = NULL;
	json_t *allocated = NULL;
	uint64_t num_blocks;
	off_t file_size;
	NTSTATUS status;

	local = rsvdctl_local_image(ctl, path, false);
	if (local == NULL) {
		return RSVDCTL_FAILED;
	}
	geometry = vhdx_geometry(local->image);
	num_blocks = (geometry->virtual_size + geometry->block_size - 1) /
		     geometry->block_size;
	file_size = local->storage->ops->size(local->storage->private_data);
	if (file_size == -1) {
		return rsvdctl_nterror(ctl,
				       map_nt_error_from_unix_common(errno),
				       "cannot read %s", path);
	}
	if (num_blocks <= INFO_MAX_BLOCKS) {
		status = vhdx_check(ctl->mem_ctx, local->storage, NULL, NULL,
				    &report);
		if (!NT_STATUS_IS_OK(status)) {
			return rsvdctl_nterror(ctl, status, "cannot read %s",
					       path);
		}
	}

	type = geometry->leave_blocks_allocated ? "fixed" :
	       geometry->has_parent ? "differencing" : "dynamic";
	id = GUID_string(ctl->mem_ctx, &geometry->virtual_disk_id);
	if (geometry->has_parent) {
		parent = talloc_asprintf(ctl->mem_ctx, "/%s",
					 vhdx_parent_path(local->image));
	}

	if (ctl->json) {
		allocated = (report == NULL) ? json_null() : json_integer(
			(json_int_t)report->num_allocated_blocks);
		return rsvdctl_print_json(ctl, json_pack(
			"{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:o, s:I, s:I,"
			" s:s, s:s?}",
			"image", rsvdctl_utf8(ctl->mem_ctx, path),
			"format", "vhdx",
			"type", type,
			"virtual-size", (json_int_t)geometry->virtual_size,
			"file-size", (json_int_t)file_size,
			"block-size", (json_int_t)geometry->block_size,
			"blocks", (json_int_t)num_blocks,
			"allocated-blocks", allocated,
			"sector-size",
			(json_int_t)geometry->logical_sector_size,
			"physical-sector-size",
			(json_int_t)geometry->physical_sector_size,
			"virtual-disk-id", id,
			"parent", rsvdctl_utf8(ctl->mem_ctx, parent)));
	}

	printf("image:                %s\n", path);
	printf("format:               vhdx, %s\n", type);
	printf("virtual size:         %s (%"PRIu64" bytes)\n",
	       rsvdctl_size_string(ctl->mem_ctx, geometry->virtual_size),
	       geometry->virtual_size);
	printf("file size:            %s (%"PRIu64" bytes)\n",
	       rsvdctl_size_string(ctl->mem_ctx, file_size),
	       (uint64_t)file_size);
	printf("block size:           %s\n",
	       rsvdctl_size_string(ctl->mem_ctx, geometry->block_size));
	if (report != NULL) {
		printf("allocated blocks:     %"PRIu64" of %"PRIu64"\n",
		       report->num_allocated_blocks, num_blocks);
	} else {
		printf("blocks:               %"PRIu64", not counted\n",
		       num_blocks);
	}
	printf("sector size:          %"PRIu32"\n",
	       geometry->logical_sector_size);
	printf("physical sector size: %"PRIu32"\n",
	       geometry->physical_sector_size);
	printf("virtual disk id:      %s\n", id);
	if (parent != NULL) {
		printf("parent:               %s\n", parent);
	}
	return RSVDCTL_OK;
}

/*
 * resize
 */

static NTSTATUS local_resize(struct vhdx *image, uint32_t flags,
			     const uint64_t *size, bool more,
			     struct rsvdctl_working *on)
{
	uint64_t old_size = vhdx_geometry(image)->virtual_size;
	uint64_t new_size = 0;
	NTSTATUS status;

	/* Only now is it known that nobody else has it open. */
	flags |= VHDX_RESIZE_ALONE;
	if (size != NULL && more) {
		if (*size > UINT64_MAX - old_size) {
			return NT_STATUS_INVALID_PARAMETER;
		}
		new_size = old_size + *size;
	} else if (size != NULL) {
		new_size = *size;
	} else {
		status = vhdx_safe_size(image, flags, rsvdctl_go_on, on,
					&new_size);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
	}
	return vhdx_resize(image, new_size, flags, rsvdctl_go_on, on);
}

bool rsvdctl_local_resize(struct rsvdctl *ctl, const char *path,
			  uint32_t flags, const uint64_t *size, bool more,
			  NTSTATUS *_status)
{
	struct rsvdctl_local *local = rsvdctl_local_image(ctl, path, true);
	struct vhdx_repair_report *report = NULL;
	struct rsvdctl_working on = { .ctl = ctl };
	NTSTATUS status;
	NTSTATUS closed;

	if (local == NULL) {
		return false;
	}
	on.storage = local->storage;
	status = local_resize(local->image, flags, size, more, &on);
	closed = vhdx_close(&local->image);
	if (NT_STATUS_IS_OK(status)) {
		status = closed;
	}
	if (NT_STATUS_IS_OK(status)) {
		/* What was dropped from the end of the file */
		status = vhdx_repair(local, local->storage, NULL,
				     rsvdctl_go_on, &on, &report);
	}
	rsvdctl_progress_end(ctl);
	TALLOC_FREE(local);
	*_status = status;
	return true;
}

/*
 * check
 */

static int check_repair;

static struct poptOption check_options[] = {
	{
		.longName = "repair",
		.argInfo = POPT_ARG_NONE,
		.arg = &check_repair,
		.descrip = "Put right what can be without guessing",
	},
	RSVDCTL_OPTION_JSON,
	POPT_TABLEEND
};

static size_t check_num_errors(const struct vhdx_check_report *report)
{
	size_t num_errors = 0;
	size_t i;

	for (i = 0; i < report->num_findings; i++) {
		num_errors += report->findings[i].is_error ? 1 : 0;
	}
	return num_errors;
}

static json_t *check_json(struct rsvdctl *ctl, const char *path,
			  const struct vhdx_check_report *report,
			  const struct vhdx_repair_report *repair)
{
	json_t *findings = json_array();
	json_t *json = NULL;
	size_t i;

	for (i = 0; i < report->num_findings; i++) {
		const struct vhdx_check_finding *f = &report->findings[i];

		json_array_append_new(findings, json_pack(
			"{s:b, s:s, s:s, s:s}",
			"error", f->is_error,
			"structure", f->structure,
			"field", f->field,
			"rule", f->rule));
	}
	json = json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:o}",
			 "image", rsvdctl_utf8(ctl->mem_ctx, path),
			 "errors", (json_int_t)check_num_errors(report),
			 "leaked-bytes", (json_int_t)report->leaked_bytes,
			 "blocks", (json_int_t)report->num_blocks,
			 "allocated-blocks",
			 (json_int_t)report->num_allocated_blocks,
			 "file-size", (json_int_t)report->file_size,
			 "findings", findings);
	if (repair == NULL) {
		return json;
	}
	findings = json_array();
	for (i = 0; i < repair->num_fixed; i++) {
		const struct vhdx_check_finding *f = &repair->fixed[i];

		json_array_append_new(findings, json_pack(
			"{s:s, s:s, s:s}",
			"structure", f->structure,
			"field", f->field,
			"what", f->rule));
	}
	json_object_set_new(json, "fixed", findings);
	return json;
}

static void check_print(const char *path,
			const struct vhdx_check_report *report,
			const struct vhdx_repair_report *repair)
{
	size_t i;

	for (i = 0; repair != NULL && i < repair->num_fixed; i++) {
		const struct vhdx_check_finding *f = &repair->fixed[i];

		printf("fixed: %s: %s: %s\n", f->structure, f->field,
		       f->rule);
	}
	for (i = 0; i < report->num_findings; i++) {
		const struct vhdx_check_finding *f = &report->findings[i];

		printf("%s: %s: %s: %s\n", f->is_error ? "error" : "note",
		       f->structure, f->field, f->rule);
	}
	printf("%s: %zu errors, %"PRIu64" bytes leaked, "
	       "%"PRIu64" of %"PRIu64" blocks allocated\n",
	       path, check_num_errors(report), report->leaked_bytes,
	       report->num_allocated_blocks, report->num_blocks);
}

static int rsvdctl_check_run(struct rsvdctl *ctl)
{
	const char *path = poptGetArg(ctl->pc);
	struct rsvdctl_working on = { .ctl = ctl };
	struct vhdx_check_report *report = NULL;
	struct vhdx_repair_report *repair = NULL;
	NTSTATUS status;
	int ret;

	if (path == NULL || poptPeekArg(ctl->pc) != NULL) {
		return rsvdctl_usage(ctl, "name one file to check");
	}
	if (!rsvdctl_is_local(ctl, path)) {
		return RSVDCTL_FAILED;
	}
	on.storage = rsvdctl_local_storage(ctl, path, check_repair);
	if (on.storage == NULL) {
		return RSVDCTL_FAILED;
	}
	if (check_repair) {
		status = vhdx_repair(ctl->mem_ctx, on.storage, NULL,
				     rsvdctl_go_on, &on, &repair);
		report = NT_STATUS_IS_OK(status) ? repair->left : NULL;
	} else {
		status = vhdx_check(ctl->mem_ctx, on.storage, rsvdctl_go_on,
				    &on, &report);
	}
	rsvdctl_progress_end(ctl);
	if (!NT_STATUS_IS_OK(status)) {
		return rsvdctl_nterror(ctl, status, "cannot %s %s",
				       check_repair ? "repair" : "check",
				       path);
	}
	if (report->stopped) {
		return rsvdctl_wanted(ctl, path);
	}

	if (ctl->json) {
		ret = rsvdctl_print_json(ctl, check_json(ctl, path,
							 report, repair));
		if (ret != RSVDCTL_OK) {
			return ret;
		}
	} else {
		check_print(path, report, repair);
	}

	if (check_num_errors(report) > 0) {
		return RSVDCTL_CHECK_ERRORS;
	}
	if (report->leaked_bytes > 0) {
		return RSVDCTL_CHECK_LEAKS;
	}
	return RSVDCTL_OK;
}

struct rsvdctl_command rsvdctl_check = {
	.name = "check",
	.args = "FILE",
	.summary = "look for errors in an image, and repair it",
	.options = check_options,
	.run = rsvdctl_check_run,
};
