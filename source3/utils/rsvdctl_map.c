/*
 * rsvdctl: which parts of an image are allocated, and where
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
	uint64_t file_offset;
};

static void map_print(struct rsvdctl *ctl, const struct map_run *run,
		      const char *path, bool *first)
{
	if (run->length == 0) {
		return;
	}
	if (ctl->json) {
		/* The keys of "qemu-img map --output=json" */
		printf("%s\n  { \"start\": %"PRIu64", \"length\": %"PRIu64", "
		       "\"depth\": 0, \"present\": %s, \"zero\": %s, "
		       "\"data\": %s", *first ? "[" : ",", run->start,
		       run->length, run->in_file ? "true" : "false",
		       run->in_file ? "false" : "true",
		       run->in_file ? "true" : "false");
		if (run->in_file) {
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
	if (run->in_file) {
		printf("0x%-16"PRIx64" 0x%-16"PRIx64" 0x%-16"PRIx64" %s\n",
		       run->start, run->length, run->file_offset, path);
	} else if (map_all) {
		printf("0x%-16"PRIx64" 0x%-16"PRIx64" %-18s\n",
		       run->start, run->length, "zeros");
	}
}

static int rsvdctl_map_run(struct rsvdctl *ctl)
{
	const char *path = poptGetArg(ctl->pc);
	struct map_run run = { .length = 0 };
	struct vhdx *image = NULL;
	uint64_t size, offset;
	bool first = true;
	NTSTATUS status;

	if (path == NULL || poptPeekArg(ctl->pc) != NULL) {
		return rsvdctl_usage(ctl, "name one image");
	}
	if (rsvdctl_is_remote(path)) {
		return rsvdctl_usage(ctl, "only the server knows where in the "
				     "file %s is: run this there", path);
	}
	image = rsvdctl_local_vhdx(ctl, path);
	if (image == NULL) {
		return RSVDCTL_FAILED;
	}
	size = vhdx_geometry(image)->virtual_size;

	for (offset = 0; offset < size;) {
		struct vhdx_extent extent;
		bool in_file;

		status = vhdx_map(image, offset, size - offset, &extent);
		if (!NT_STATUS_IS_OK(status)) {
			return rsvdctl_nterror(ctl, status, "cannot map %s",
					       path);
		}
		in_file = (extent.kind == VHDX_EXTENT_FILE);
		if (run.length > 0 && run.in_file == in_file &&
		    (!in_file ||
		     run.file_offset + run.length == extent.file_offset)) {
			run.length += extent.length;
		} else {
			map_print(ctl, &run, path, &first);
			run = (struct map_run) {
				.start = offset,
				.length = extent.length,
				.in_file = in_file,
				.file_offset = extent.file_offset,
			};
		}
		offset += extent.length;
	}
	map_print(ctl, &run, path, &first);
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
	.args = "FILE",
	.summary = "tell which parts of an image are allocated, and where",
	.options = map_options,
	.run = rsvdctl_map_run,
};
