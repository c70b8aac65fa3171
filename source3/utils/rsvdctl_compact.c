/*
 * rsvdctl: make the file of an image as small as it can be
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "source3/utils/rsvdctl.h"
#include "modules/vhdx/vhdx.h"

static struct poptOption compact_options[] = {
	RSVDCTL_OPTION_JSON,
	POPT_TABLEEND
};

struct compact_progress {
	struct rsvdctl *ctl;
	struct vhdx_storage *storage;
	bool started;
};

/* Whoever wants to open the image waits for us, so end then. */
static bool compact_progress(uint64_t done, uint64_t total,
			     void *private_data)
{
	struct compact_progress *progress = private_data;

	if (!progress->started) {
		rsvdctl_progress_start(progress->ctl, "compact", total);
		progress->started = true;
	}
	rsvdctl_progress_update(progress->ctl, done);
	return !vhdx_storage_posix_is_wanted(progress->storage);
}

static int rsvdctl_compact_run(struct rsvdctl *ctl)
{
	const char *path = poptGetArg(ctl->pc);
	struct compact_progress progress = { .ctl = ctl };
	struct vhdx_compact_report report;
	char *reason = NULL;
	NTSTATUS status;

	if (path == NULL || poptPeekArg(ctl->pc) != NULL) {
		return rsvdctl_usage(ctl, "name one file to compact");
	}
	if (!rsvdctl_is_local(ctl, path)) {
		return RSVDCTL_FAILED;
	}
	progress.storage = rsvdctl_local_storage(ctl, path, true);
	if (progress.storage == NULL) {
		return RSVDCTL_FAILED;
	}
	status = vhdx_compact(ctl->mem_ctx, progress.storage,
			      compact_progress, &progress, &report, &reason);
	rsvdctl_progress_end(ctl);
	if (!NT_STATUS_IS_OK(status)) {
		return rsvdctl_nterror(ctl, status, "cannot compact %s%s%s",
				       path, reason != NULL ? ": " : "",
				       reason != NULL ? reason : "");
	}
	if (report.stopped) {
		return rsvdctl_error(ctl, "%s is wanted by others: stopped "
				     "before the end", path);
	}
	if (ctl->json) {
		return rsvdctl_print_json(ctl, json_pack(
			"{s:s, s:I, s:I, s:I, s:I}",
			"image", rsvdctl_utf8(ctl->mem_ctx, path),
			"dropped-blocks", (json_int_t)report.num_dropped,
			"moved-blocks", (json_int_t)report.num_moved,
			"old-file-size", (json_int_t)report.old_size,
			"file-size", (json_int_t)report.new_size));
	}
	printf("%s: %"PRIu64" blocks dropped, %"PRIu64" moved, %s",
	       path, report.num_dropped, report.num_moved,
	       rsvdctl_size_string(ctl->mem_ctx, report.old_size));
	printf(" before, %s now\n",
	       rsvdctl_size_string(ctl->mem_ctx, report.new_size));
	return RSVDCTL_OK;
}

struct rsvdctl_command rsvdctl_compact = {
	.name = "compact",
	.args = "FILE",
	.summary = "make the file of an image smaller",
	.options = compact_options,
	.run = rsvdctl_compact_run,
};
