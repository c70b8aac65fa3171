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

static int rsvdctl_compact_run(struct rsvdctl *ctl)
{
	const char *path = poptGetArg(ctl->pc);
	struct rsvdctl_working on = { .ctl = ctl };
	struct vhdx_compact_report report;
	char *reason = NULL;
	NTSTATUS status;

	if (path == NULL || poptPeekArg(ctl->pc) != NULL) {
		return rsvdctl_usage(ctl, "name one file to compact");
	}
	if (!rsvdctl_is_local(ctl, path)) {
		return RSVDCTL_FAILED;
	}
	on.storage = rsvdctl_local_storage(ctl, path, true);
	if (on.storage == NULL) {
		return RSVDCTL_FAILED;
	}
	status = vhdx_compact(ctl->mem_ctx, on.storage, rsvdctl_go_on, &on,
			      &report, &reason);
	rsvdctl_progress_end(ctl);
	if (!NT_STATUS_IS_OK(status)) {
		return rsvdctl_nterror(ctl, status, "cannot compact %s%s%s",
				       path, reason != NULL ? ": " : "",
				       reason != NULL ? reason : "");
	}
	if (report.stopped) {
		return rsvdctl_wanted(ctl, path);
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
