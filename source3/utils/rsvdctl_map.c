/*
 * rsvdctl: which parts of a disk are allocated, and where in its file
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "source3/utils/rsvdctl.h"
#include "modules/vhdx/vhdx.h"

static int map_all;

static struct poptOption map_options[] = {
	{
		.longName = "all",
		.argInfo = POPT_ARG_NONE,
		.arg = &map_all,
		.descrip = "Show what is not allocated, too, as --json does",
	},
	RSVDCTL_OPTION_JSON,
	POPT_TABLEEND
};

/* Neighbours that are neighbours in the file as well are one run. */
struct map_run {
	uint64_t start;
	uint64_t length;
	bool in_file;
	/* A server does not tell the place. */
	bool has_offset;
	uint64_t file_offset;
	/* Whose file: 0 of the image, 1 of its parent, ... */
	unsigned int depth;
	const char *file;
};

/* What is mapped: an image here, or a disk on a server. */
struct map_target {
	const char *name;
	uint64_t size;
	struct vhdx *image;
	struct rsvdctl_disk *disk;
};

static bool map_open(struct rsvdctl *ctl, struct map_target *target)
{
	if (rsvdctl_is_remote(target->name)) {
		target->disk = rsvdctl_remote_open(ctl, target->name, false);
		if (target->disk == NULL) {
			return false;
		}
		target->size = target->disk->size;
		return true;
	}
	target->image = rsvdctl_local_vhdx(ctl, target->name);
	if (target->image == NULL) {
		return false;
	}
	target->size = vhdx_geometry(target->image)->virtual_size;
	return true;
}

static bool map_next(struct rsvdctl *ctl, struct map_target *target,
		     uint64_t offset, struct map_run *run)
{
	struct vhdx *image = target->image;
	struct vhdx_extent extent;
	NTSTATUS status;

	*run = (struct map_run) { .start = offset };
	if (target->disk != NULL) {
		return rsvdctl_remote_run(target->disk, offset, &run->length,
					  &run->in_file);
	}
	run->file = target->name;
	run->length = target->size - offset;
	while (true) {
		/* A child may be larger than its parent. */
		if (offset >= vhdx_geometry(image)->virtual_size) {
			return true;
		}
		run->length = MIN(run->length,
				  vhdx_geometry(image)->virtual_size - offset);
		status = vhdx_map(image, offset, run->length, &extent);
		if (!NT_STATUS_IS_OK(status)) {
			rsvdctl_nterror(ctl, status, "cannot map %s",
					run->file);
			return false;
		}
		run->length = extent.length;
		if (extent.kind != VHDX_EXTENT_PARENT) {
			break;
		}
		run->file = talloc_asprintf(ctl->mem_ctx, "/%s",
					    vhdx_parent_path(image));
		run->depth += 1;
		image = vhdx_parent(image);
	}
	run->in_file = (extent.kind == VHDX_EXTENT_FILE);
	run->has_offset = run->in_file;
	run->file_offset = extent.file_offset;
	return true;
}

static bool map_continues(const struct map_run *run,
			  const struct map_run *next)
{
	return run->length > 0 && run->in_file == next->in_file &&
	       run->depth == next->depth &&
	       (!next->has_offset ||
		run->file_offset + run->length == next->file_offset);
}

static void map_print(struct rsvdctl *ctl, const struct map_run *run,
		      const char *path, bool *first)
{
	if (run->length == 0) {
		return;
	}
	if (ctl->json) {
		/* The keys of "qemu-img map --output=json" */
		printf("%s\n  { \"start\": %"PRIu64", \"length\": %"PRIu64", "
		       "\"depth\": %u, \"present\": %s, \"zero\": %s, "
		       "\"data\": %s", *first ? "[" : ",", run->start,
		       run->length, run->depth, run->in_file ? "true" : "false",
		       run->in_file ? "false" : "true",
		       run->in_file ? "true" : "false");
		if (run->has_offset) {
			printf(", \"offset\": %"PRIu64, run->file_offset);
		}
		printf(" }");
		*first = false;
		return;
	}
	if (*first) {
		printf("%-18s %-18s %-18s %s\n", "Offset", "Length",
		       "Mapped to", "File");
		*first = false;
	}
	if (run->in_file && !run->has_offset) {
		printf("0x%-16"PRIx64" 0x%-16"PRIx64" %-18s %s\n",
		       run->start, run->length, "data", path);
	} else if (run->in_file) {
		printf("0x%-16"PRIx64" 0x%-16"PRIx64" 0x%-16"PRIx64" %s\n",
		       run->start, run->length, run->file_offset, run->file);
	} else if (map_all) {
		printf("0x%-16"PRIx64" 0x%-16"PRIx64" %-18s\n",
		       run->start, run->length, "zeros");
	}
}

static int rsvdctl_map_run(struct rsvdctl *ctl)
{
	struct map_target target = { .name = poptGetArg(ctl->pc) };
	struct map_run run = { .length = 0 };
	uint64_t offset;
	bool first = true;

	if (target.name == NULL || poptPeekArg(ctl->pc) != NULL) {
		return rsvdctl_usage(ctl, "name one image, or "
				     "//server/share/path");
	}
	if (!map_open(ctl, &target)) {
		return RSVDCTL_FAILED;
	}
	/* On one terminal, the bar and the runs would be in each other's way. */
	if (!isatty(STDOUT_FILENO)) {
		rsvdctl_progress_start(ctl, "map", target.size);
	}

	for (offset = 0; offset < target.size;) {
		struct map_run next;

		if (!map_next(ctl, &target, offset, &next)) {
			return RSVDCTL_FAILED;
		}
		offset += next.length;
		rsvdctl_progress_update(ctl, offset);
		if (map_continues(&run, &next)) {
			run.length += next.length;
			continue;
		}
		map_print(ctl, &run, target.name, &first);
		run = next;
	}
	rsvdctl_progress_end(ctl);
	map_print(ctl, &run, target.name, &first);
	if (ctl->json) {
		printf("\n]\n");
	}
	if (fflush(stdout) != 0) {
		return rsvdctl_error(ctl, "cannot write: %s", strerror(errno));
	}
	return RSVDCTL_OK;
}

struct rsvdctl_command rsvdctl_map = {
	.name = "map",
	.args = "TARGET",
	.summary = "tell which parts of a disk are allocated, and where",
	.options = map_options,
	.remote = true,
	.run = rsvdctl_map_run,
};
