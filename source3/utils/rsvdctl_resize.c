/*
 * rsvdctl: another size for a disk
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "source3/utils/rsvdctl.h"
#include "modules/vhdx/vhdx.h"

static struct {
	int shrink;
	int discard;
	int minimum;
} resize_opts;

static struct poptOption resize_options[] = {
	{
		.longName = "shrink",
		.argInfo = POPT_ARG_NONE,
		.arg = &resize_opts.shrink,
		.descrip = "Let the disk become smaller, where nothing has "
			   "been written",
	},
	{
		.longName = "discard",
		.argInfo = POPT_ARG_NONE,
		.arg = &resize_opts.discard,
		.descrip = "Let it become smaller, and lose the data there",
	},
	{
		.longName = "minimum",
		.argInfo = POPT_ARG_NONE,
		.arg = &resize_opts.minimum,
		.descrip = "In place of a SIZE: the smallest that loses no "
			   "data",
	},
	POPT_TABLEEND
};

static int resize_failed(struct rsvdctl *ctl, const char *target,
			 NTSTATUS status)
{
	if (NT_STATUS_EQUAL(status,
			    NT_STATUS_VHD_RESIZE_WOULD_TRUNCATE_DATA)) {
		return rsvdctl_error(ctl, "%s has data behind that size; "
				     "--discard would lose it", target);
	}
	if (NT_STATUS_EQUAL(status, NT_STATUS_INVALID_PARAMETER)) {
		return rsvdctl_error(ctl, "%s cannot have that size; to make "
				     "it smaller takes --shrink", target);
	}
	if (NT_STATUS_EQUAL(status, NT_STATUS_CANCELLED)) {
		return rsvdctl_wanted(ctl, target);
	}
	return rsvdctl_nterror(ctl, status, "cannot resize %s", target);
}

static int resize_local(struct rsvdctl *ctl, const char *path, uint64_t size,
			bool more)
{
	uint32_t flags = 0;
	NTSTATUS status;

	if (resize_opts.shrink || resize_opts.minimum) {
		flags |= VHDX_RESIZE_SHRINK;
	}
	if (resize_opts.discard) {
		flags |= VHDX_RESIZE_SHRINK | VHDX_RESIZE_DISCARD;
	}
	if (!rsvdctl_local_resize(ctl, path, flags,
				  resize_opts.minimum ? NULL : &size, more,
				  &status)) {
		return RSVDCTL_FAILED;
	}
	if (!NT_STATUS_IS_OK(status)) {
		return resize_failed(ctl, path, status);
	}
	return RSVDCTL_OK;
}

/* What it has, and so much more. */
static NTSTATUS resize_add(struct rsvdctl_attach *attach, uint64_t *size)
{
	struct librsvd_initial_info info;
	NTSTATUS status;

	status = librsvd_initial_info(attach->disk, &info);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (*size > UINT64_MAX - info.virtual_size) {
		return NT_STATUS_INVALID_PARAMETER;
	}
	*size += info.virtual_size;
	return NT_STATUS_OK;
}

static int resize_remote(struct rsvdctl *ctl, const char *unc, uint64_t size,
			 bool more)
{
	struct librsvd_guid transaction = librsvd_guid_random();
	struct librsvd_meta_operation operation = {
		.type = LIBRSVD_META_RESIZE,
		.resize = {
			.expand_only = !resize_opts.shrink &&
				       !resize_opts.discard &&
				       !resize_opts.minimum,
			.allow_unsafe_virtual_size = resize_opts.discard,
			.shrink_to_minimum_safe_size = resize_opts.minimum,
		},
	};
	struct rsvdctl_attach *attach = NULL;
	NTSTATUS status = NT_STATUS_OK;

	attach = rsvdctl_remote_attach(ctl, unc, true);
	if (attach == NULL) {
		return RSVDCTL_FAILED;
	}
	if (more) {
		status = resize_add(attach, &size);
	}
	if (NT_STATUS_IS_OK(status)) {
		operation.resize.new_size = size;
		status = librsvd_meta_operation(attach->disk, &transaction,
						&operation, NULL);
	}
	if (NT_STATUS_EQUAL(status,
			    NT_STATUS_VHD_RESIZE_WOULD_TRUNCATE_DATA) ||
	    NT_STATUS_EQUAL(status, NT_STATUS_INVALID_PARAMETER)) {
		return resize_failed(ctl, unc, status);
	}
	if (!NT_STATUS_IS_OK(status)) {
		return rsvdctl_remote_error(ctl, attach->disk, status,
					    "resize", unc);
	}
	librsvd_close(attach->disk);
	return RSVDCTL_OK;
}

static int rsvdctl_resize_run(struct rsvdctl *ctl)
{
	const char *target = poptGetArg(ctl->pc);
	const char *text = NULL;
	uint64_t size = 0;
	bool more;

	if (target == NULL) {
		return rsvdctl_usage(ctl, "name a disk");
	}
	text = poptGetArg(ctl->pc);
	if ((text == NULL) != (resize_opts.minimum != 0) ||
	    poptPeekArg(ctl->pc) != NULL) {
		return rsvdctl_usage(ctl, "name a disk and a size, or "
				     "--minimum");
	}
	if (resize_opts.minimum && resize_opts.discard) {
		return rsvdctl_usage(ctl, "--minimum loses no data");
	}
	more = (text != NULL && text[0] == '+');
	if (!rsvdctl_size(ctl, "SIZE", more ? text + 1 : text, &size)) {
		return RSVDCTL_FAILED;
	}
	if (rsvdctl_is_remote(target)) {
		return resize_remote(ctl, target, size, more);
	}
	return resize_local(ctl, target, size, more);
}

struct rsvdctl_command rsvdctl_resize = {
	.name = "resize",
	.args = "TARGET [[+]SIZE]",
	.summary = "give a disk another size",
	.options = resize_options,
	.remote = true,
	.run = rsvdctl_resize_run,
};
