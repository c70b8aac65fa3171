/*
 * vfs_rsvd: drive the engine on a local image, for the tests with other
 * programs
 *
 * vhdx_tool create FILE SIZE BLOCK_SIZE LOGICAL_SECTOR_SIZE dynamic|fixed
 * vhdx_tool child FILE PARENT BLOCK_SIZE    both in one directory
 * vhdx_tool run FILE    commands on stdin, one a line:
 *                       write OFFSET LENGTH BYTE, zero OFFSET LENGTH, flush,
 *                       crash (end here and now, without closing)
 * vhdx_tool read FILE   the whole disk to stdout
 * vhdx_tool check FILE  what is wrong with it; fails if anything is
 * vhdx_tool merge FILE  into its parent
 * vhdx_tool flatten FILE
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "system/filesys.h"
#include "modules/vhdx/vhdx.h"
#include "libcli/util/error.h"

#define PIECE (1024 * 1024)

static bool ok(const char *what, NTSTATUS status)
{
	if (NT_STATUS_IS_OK(status)) {
		return true;
	}
	fprintf(stderr, "%s: %s\n", what, nt_errstr(status));
	return false;
}

static bool storage_open(TALLOC_CTX *mem_ctx, const char *path, int flags,
			 struct vhdx_storage **storage)
{
	int err = vhdx_storage_posix_open(mem_ctx, path, flags, storage);

	if (err != 0) {
		fprintf(stderr, "%s: %s\n", path, strerror(err));
		return false;
	}
	return true;
}

struct directory {
	char *path;
	int oflags;	/* of the next file */
};

/* Parents are in the directory of the image. */
static NTSTATUS parent_open(TALLOC_CTX *mem_ctx, const char *name,
			    void *private_data, struct vhdx_storage **storage)
{
	struct directory *directory = private_data;
	char *path = talloc_asprintf(mem_ctx, "%s/%s", directory->path, name);
	int err = vhdx_storage_posix_open(mem_ctx, path, directory->oflags,
					  storage);

	directory->oflags = O_RDONLY;
	return (err == 0) ? NT_STATUS_OK :
			    map_nt_error_from_unix_common(err);
}

static struct vhdx_parents parents_of(TALLOC_CTX *mem_ctx, const char *path,
				      int oflags)
{
	struct directory *directory = talloc(mem_ctx, struct directory);
	struct vhdx_parents parents = {
		.path = path,
		.open = parent_open,
		.private_data = directory,
	};
	char *slash = NULL;

	directory->path = talloc_strdup(directory, path);
	directory->oflags = oflags;
	slash = strrchr(directory->path, '/');
	if (slash == NULL) {
		directory->path = talloc_strdup(directory, ".");
	} else {
		slash[0] = '\0';
		parents.path = slash + 1;
	}
	return parents;
}

static bool image_open(TALLOC_CTX *mem_ctx, const char *path, uint32_t flags,
		       struct vhdx **image)
{
	int oflags = (flags & VHDX_OPEN_READ_ONLY) != 0 ? O_RDONLY : O_RDWR;
	struct vhdx_parents parents = parents_of(mem_ctx, path, O_RDONLY);
	struct vhdx_storage *storage = NULL;
	char *reason = NULL;
	NTSTATUS status;

	if (!storage_open(mem_ctx, path, oflags, &storage)) {
		return false;
	}
	status = vhdx_open_chain(mem_ctx, storage, NULL, flags, &parents,
				 image, &reason);
	return ok(reason != NULL ? reason : path, status);
}

static bool tool_create(TALLOC_CTX *mem_ctx, char **args)
{
	struct vhdx_create_params params = {
		.virtual_size = strtoull(args[1], NULL, 0),
		.block_size = strtoul(args[2], NULL, 0),
		.logical_sector_size = strtoul(args[3], NULL, 0),
		.fixed = strcmp(args[4], "fixed") == 0,
	};
	struct vhdx_storage *storage = NULL;

	return storage_open(mem_ctx, args[0], O_RDWR | O_CREAT | O_EXCL,
			    &storage) &&
	       ok("create", vhdx_create(storage, &params));
}

static bool tool_child(TALLOC_CTX *mem_ctx, char **args)
{
	struct vhdx_create_params params = {
		.block_size = strtoul(args[2], NULL, 0),
		.parent_path = strrchr(args[1], '/') + 1,
	};
	struct vhdx_storage *storage = NULL;
	struct vhdx *parent = NULL;

	if (!image_open(mem_ctx, args[1], VHDX_OPEN_READ_ONLY, &parent)) {
		return false;
	}
	params.parent = parent;
	return storage_open(mem_ctx, args[0], O_RDWR | O_CREAT | O_EXCL,
			    &storage) &&
	       ok("create", vhdx_create(storage, &params));
}

static bool tool_command(TALLOC_CTX *mem_ctx, struct vhdx *image,
			 const char *line)
{
	unsigned long long offset;
	unsigned long long length;
	unsigned byte;
	uint8_t *buf = NULL;

	if (sscanf(line, "write %llu %llu %u", &offset, &length, &byte) == 3) {
		NTSTATUS status;

		buf = talloc_array(mem_ctx, uint8_t, length);
		if (buf == NULL) {
			return false;
		}
		memset(buf, byte, length);
		status = vhdx_write(image, buf, length, offset);
		TALLOC_FREE(buf);
		return ok("write", status);
	}
	if (sscanf(line, "zero %llu %llu", &offset, &length) == 2) {
		return ok("zero", vhdx_zero(image, offset, length));
	}
	if (strcmp(line, "flush\n") == 0) {
		return ok("flush", vhdx_flush(image));
	}
	if (strcmp(line, "crash\n") == 0) {
		_exit(0);
	}
	fprintf(stderr, "what is %s", line);
	return false;
}

static bool tool_run(TALLOC_CTX *mem_ctx, char **args)
{
	struct vhdx *image = NULL;
	char line[256];

	if (!image_open(mem_ctx, args[0], 0, &image)) {
		return false;
	}
	while (fgets(line, sizeof(line), stdin) != NULL) {
		if (!tool_command(mem_ctx, image, line)) {
			return false;
		}
	}
	return ok("close", vhdx_close(&image));
}

static bool tool_read(TALLOC_CTX *mem_ctx, char **args)
{
	uint8_t *buf = talloc_array(mem_ctx, uint8_t, PIECE);
	struct vhdx *image = NULL;
	uint64_t offset;
	uint64_t size;

	if (buf == NULL ||
	    !image_open(mem_ctx, args[0], VHDX_OPEN_READ_ONLY, &image)) {
		return false;
	}
	size = vhdx_geometry(image)->virtual_size;
	for (offset = 0; offset < size; offset += PIECE) {
		size_t n = MIN(PIECE, size - offset);

		if (!ok("read", vhdx_read(image, buf, n, offset))) {
			return false;
		}
		if (fwrite(buf, 1, n, stdout) != n) {
			return false;
		}
	}
	return ok("close", vhdx_close(&image));
}

static bool tool_check(TALLOC_CTX *mem_ctx, char **args)
{
	struct vhdx_check_report *report = NULL;
	struct vhdx_storage *storage = NULL;
	bool good = true;
	size_t i;

	if (!storage_open(mem_ctx, args[0], O_RDONLY, &storage) ||
	    !ok("check", vhdx_check(mem_ctx, storage, NULL, NULL, &report))) {
		return false;
	}
	for (i = 0; i < report->num_findings; i++) {
		const struct vhdx_check_finding *f = &report->findings[i];

		printf("%s: %s: %s: %s\n", f->is_error ? "error" : "note",
		       f->structure, f->field, f->rule);
		good &= !f->is_error;
	}
	return good;
}

static bool tool_merge(TALLOC_CTX *mem_ctx, char **args)
{
	struct vhdx_parents parents = parents_of(mem_ctx, args[0], O_RDWR);
	struct vhdx_merge_report report;
	struct vhdx_storage *storage = NULL;
	char *reason = NULL;
	NTSTATUS status;

	if (!storage_open(mem_ctx, args[0], O_RDWR, &storage)) {
		return false;
	}
	status = vhdx_merge(mem_ctx, storage, &parents, VHDX_MERGE_EMPTY,
			    NULL, NULL, &report, &reason);
	return ok(reason != NULL ? reason : args[0], status);
}

static bool tool_flatten(TALLOC_CTX *mem_ctx, char **args)
{
	struct vhdx_parents parents = parents_of(mem_ctx, args[0], O_RDONLY);
	struct vhdx_flatten_report report;
	struct vhdx_storage *storage = NULL;
	char *reason = NULL;
	NTSTATUS status;

	if (!storage_open(mem_ctx, args[0], O_RDWR, &storage)) {
		return false;
	}
	status = vhdx_flatten(mem_ctx, storage, &parents, NULL, NULL, &report,
			      &reason);
	return ok(reason != NULL ? reason : args[0], status);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int num_args;
		bool (*run)(TALLOC_CTX *mem_ctx, char **args);
	} tools[] = {
		{ "create", 5, tool_create },
		{ "child", 3, tool_child },
		{ "run", 1, tool_run },
		{ "read", 1, tool_read },
		{ "check", 1, tool_check },
		{ "merge", 1, tool_merge },
		{ "flatten", 1, tool_flatten },
	};
	TALLOC_CTX *mem_ctx = talloc_new(NULL);
	size_t i;

	for (i = 0; argc > 2 && i < ARRAY_SIZE(tools); i++) {
		if (strcmp(argv[1], tools[i].name) == 0 &&
		    argc - 2 == tools[i].num_args) {
			bool good = tools[i].run(mem_ctx, argv + 2);

			TALLOC_FREE(mem_ctx);
			return good ? 0 : 1;
		}
	}
	fprintf(stderr, "usage: vhdx_tool create|child|run|read|check|"
		"merge|flatten FILE ...\n");
	return 2;
}
