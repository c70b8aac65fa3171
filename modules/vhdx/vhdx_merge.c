/*
 * vfs_rsvd: what a child has goes into its parent
 *
 * For images that nobody else has open. The steps, each of them stable before
 * the next begins:
 *
 *    link    the child also takes a parent with a new DataWriteGuid for its
 *            parent: parent_linkage2 (MS-VHDX 2.6.2.6.3, note 12)
 *    mark    the parent gets that DataWriteGuid: before anything else of it
 *            changes (2.2.2), so other children of it are refused from now on
 *    grow    the parent, if the child is larger
 *    copy    to the parent what is in the child; the parent is closed
 *    relink  the child takes no other parent than this one any more
 *    empty   entries of the child's BAT become NOT_PRESENT, and its file
 *            ends with the BAT
 *
 * What always holds:
 *
 * M1 Up to "relink", nothing leaves the child, and whatever changes in the
 *    parent is behind something of the child, or behind the end of what the
 *    parent was. So the child reads the same at any moment, and as long as the
 *    parent has either DataWriteGuid it is found. All is done again from the
 *    start when it was interrupted, with yet another DataWriteGuid: somebody
 *    may have made a child of what it was then.
 * M2 From then on the parent alone reads as the child does, so any mix of old
 *    and new entries in the child does too. Sector bitmaps go last, when no
 *    block needs one.
 * M3 The child takes no parent from before the merge, a backup say, when
 *    something may have left the child: that is what "relink" is for.
 *
 * What the child reads as does not change, and its DataWriteGuid does not
 * either: it goes on being the parent of its children.
 *
 * What the states of 2.5.1.1 mean here: FULLY_PRESENT is copied, and of
 * PARTIALLY_PRESENT the sectors with a bit. ZERO, UNMAPPED and UNDEFINED read
 * as zeros and hide the parent, so it gets zeros there. NOT_PRESENT is in the
 * parent already.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "lib/util/samba_util.h"
#include "librpc/ndr/libndr.h"
#include "modules/vhdx/vhdx_private.h"

#define COPY_PIECE ((size_t)VHDX_MIB)
/* Between two looks at whether it is to go on */
#define STEP (256 * VHDX_MIB)

struct merge {
	struct vhdx *child;
	struct vhdx *parent;
	struct GUID linkage2;		/* what the parent gets */
	struct vhdx_merge_report *report;
	vhdx_progress_fn progress;
	void *private_data;
	uint8_t *buf;			/* COPY_PIECE */
	uint64_t done;			/* bytes copied */
	uint64_t total;
	bool has_anything;
};

static bool goes_on(struct merge *m)
{
	if (m->progress != NULL && !m->report->stopped) {
		m->report->stopped = !m->progress(m->done, m->total,
						  m->private_data);
	}
	return !m->report->stopped;
}

/*
 * The parent that the child was opened with, to be written to. The child has
 * it for its parent from now on.
 */
static NTSTATUS parent_open(struct merge *m, TALLOC_CTX *mem_ctx,
			    const struct vhdx_parents *parents, char **reason)
{
	struct vhdx_parents grandparents = *parents;
	char *why = NULL;
	NTSTATUS status;

	grandparents.path = m->child->parent_path;
	status = vhdx_open_image(mem_ctx, m->child->parent->storage, NULL, 0,
				 &grandparents, NULL, &m->parent, &why);
	if (!NT_STATUS_IS_OK(status)) {
		*reason = talloc_asprintf(mem_ctx, "parent %s: %s",
					  m->child->parent_path,
					  why != NULL ? why :
					  nt_errstr(status));
		return status;
	}
	TALLOC_FREE(m->child->parent);
	m->child->parent = m->parent;
	return NT_STATUS_OK;
}

static NTSTATUS sizes_check(const struct merge *m, TALLOC_CTX *mem_ctx,
			    char **reason)
{
	uint64_t size = m->child->geometry.virtual_size;
	uint64_t parent_size = m->parent->geometry.virtual_size;

	if (size < parent_size) {
		/* Which of the two would the disk have? */
		*reason = talloc_strdup(mem_ctx, "the disk is smaller than "
					"that of its parent");
		return NT_STATUS_NOT_SUPPORTED;
	}
	if (size > parent_size && m->parent->geometry.has_parent) {
		*reason = talloc_strdup(mem_ctx, "the disk is larger than "
					"that of its parent, which has a "
					"parent itself");
		return NT_STATUS_NOT_SUPPORTED;
	}
	return NT_STATUS_OK;
}

static NTSTATUS child_measure(struct merge *m)
{
	uint64_t size = m->child->geometry.virtual_size;
	uint64_t offset;
	struct vhdx_extent extent;

	m->has_anything = size > m->parent->geometry.virtual_size;
	for (offset = 0; offset < size; offset += extent.length) {
		NTSTATUS status = vhdx_map(m->child, offset, size - offset,
					   &extent);

		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		m->has_anything |= extent.kind != VHDX_EXTENT_PARENT;
		if (extent.kind == VHDX_EXTENT_FILE) {
			m->total += extent.length;
		}
	}
	return NT_STATUS_OK;
}

static NTSTATUS link_and_mark(struct merge *m)
{
	NTSTATUS status;

	m->linkage2 = GUID_random();
	status = vhdx_locator_relink(m->child,
				     &m->parent->header.data_write_guid,
				     &m->linkage2);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	m->parent->new_data_guid = m->linkage2;
	return vhdx_alloc(m->parent, 0, 0);
}

static NTSTATUS piece_copy(struct merge *m, uint64_t file_offset,
			   size_t length, uint64_t offset)
{
	NTSTATUS status;

	status = vhdx_file_read(m->child->storage, m->buf, length,
				file_offset);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (all_zero(m->buf, length)) {
		/* It takes no space where there is none yet. */
		return vhdx_zero(m->parent, offset, length);
	}
	return vhdx_write(m->parent, m->buf, length, offset);
}

static NTSTATUS extent_copy(struct merge *m, uint64_t offset,
			    const struct vhdx_extent *extent)
{
	uint64_t done;
	size_t piece;

	if (extent->kind == VHDX_EXTENT_PARENT) {
		return NT_STATUS_OK;
	}
	if (extent->kind == VHDX_EXTENT_ZERO) {
		m->report->num_zeroed += extent->length;
		return vhdx_zero(m->parent, offset, extent->length);
	}
	for (done = 0; done < extent->length; done += piece) {
		NTSTATUS status;

		if (!goes_on(m)) {
			break;
		}
		/* Up to the next boundary, so that blocks are whole ones */
		piece = MIN(extent->length - done,
			    COPY_PIECE - (offset + done) % COPY_PIECE);
		status = piece_copy(m, extent->file_offset + done, piece,
				    offset + done);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		m->done += piece;
		m->report->num_copied += piece;
	}
	return NT_STATUS_OK;
}

static NTSTATUS child_copy(struct merge *m)
{
	uint64_t size = m->child->geometry.virtual_size;
	struct vhdx_extent extent;
	uint64_t offset;
	NTSTATUS status;

	m->buf = talloc_size(m, COPY_PIECE);
	if (m->buf == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	status = link_and_mark(m);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (size > m->parent->geometry.virtual_size) {
		status = vhdx_resize(m->parent, size, 0, NULL, NULL);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
	}
	for (offset = 0; offset < size; offset += extent.length) {
		if (!goes_on(m)) {
			break;
		}
		status = vhdx_map(m->child, offset, MIN(size - offset, STEP),
				  &extent);
		if (NT_STATUS_IS_OK(status)) {
			status = extent_copy(m, offset, &extent);
		}
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
	}
	return vhdx_flush(m->parent);
}

static NTSTATUS parent_merge(struct merge *m, TALLOC_CTX *mem_ctx,
			     char **reason)
{
	NTSTATUS status;
	NTSTATUS closed;

	status = sizes_check(m, mem_ctx, reason);
	if (NT_STATUS_IS_OK(status)) {
		status = child_measure(m);
	}
	m->linkage2 = m->parent->header.data_write_guid;
	if (NT_STATUS_IS_OK(status) && m->has_anything) {
		status = child_copy(m);
	}
	m->child->parent = NULL;
	closed = vhdx_close(&m->parent);
	return NT_STATUS_IS_OK(status) ? closed : status;
}

static NTSTATUS child_empty(struct merge *m)
{
	struct vhdx_findings *findings = talloc_zero(m, struct vhdx_findings);
	struct vhdx_locator *locator = NULL;
	NTSTATUS status;

	if (findings == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	status = vhdx_locator_load(m->child, m, &locator, findings);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (!GUID_equal(&locator->linkage, &m->linkage2) ||
	    !GUID_all_zero(&locator->linkage2)) {
		status = vhdx_locator_relink(m->child, &m->linkage2, NULL);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
	}
	status = vhdx_bat_clear(m->child, VHDX_BAT_PAYLOAD);
	if (NT_STATUS_IS_OK(status)) {
		status = vhdx_bat_clear(m->child, VHDX_BAT_BITMAPS);
	}
	return status;
}

/* The log is not named any more, and the BAT, which names nothing, stable. */
static NTSTATUS file_end(struct vhdx_storage *storage, uint64_t end)
{
	uint64_t size;
	NTSTATUS status;

	status = vhdx_file_size(storage, &size);
	if (!NT_STATUS_IS_OK(status) || size <= end) {
		return status;
	}
	status = vhdx_file_resize(storage, end);
	if (NT_STATUS_IS_OK(status)) {
		status = vhdx_file_flush(storage);
	}
	return status;
}

static NTSTATUS child_merge(struct merge *m, TALLOC_CTX *mem_ctx,
			    const struct vhdx_parents *parents,
			    uint32_t flags, char **reason)
{
	struct vhdx_storage *storage = m->child->storage;
	bool is_empty = false;
	uint64_t end;
	NTSTATUS status;
	NTSTATUS closed;

	if (!m->child->geometry.has_parent) {
		*reason = talloc_strdup(mem_ctx, "it has no parent");
		vhdx_close(&m->child);
		return NT_STATUS_INVALID_PARAMETER;
	}
	m->child->same_data = true;
	m->report->parent_path = talloc_strdup(mem_ctx,
					       m->child->parent_path);
	status = parent_open(m, mem_ctx, parents, reason);
	if (NT_STATUS_IS_OK(status)) {
		status = parent_merge(m, mem_ctx, reason);
	}
	if (NT_STATUS_IS_OK(status) && !m->report->stopped &&
	    (flags & VHDX_MERGE_EMPTY) != 0) {
		status = child_empty(m);
		is_empty = NT_STATUS_IS_OK(status);
	}
	end = vhdx_region_end(m->child);
	closed = vhdx_close(&m->child);
	if (NT_STATUS_IS_OK(status)) {
		status = closed;
	}
	if (NT_STATUS_IS_OK(status) && is_empty) {
		status = file_end(storage, end);
	}
	return status;
}

NTSTATUS vhdx_merge(TALLOC_CTX *mem_ctx, struct vhdx_storage *storage,
		    const struct vhdx_parents *parents, uint32_t flags,
		    vhdx_progress_fn progress,
		    void *private_data, struct vhdx_merge_report *report,
		    char **_reason)
{
	struct merge *m = NULL;
	char *reason = NULL;
	NTSTATUS status;

	*report = (struct vhdx_merge_report) { .num_copied = 0 };
	m = talloc_zero(mem_ctx, struct merge);
	if (m == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	m->report = report;
	m->progress = progress;
	m->private_data = private_data;
	status = vhdx_open_chain(mem_ctx, storage, NULL, 0, parents,
				 &m->child, &reason);
	if (NT_STATUS_IS_OK(status)) {
		status = child_merge(m, mem_ctx, parents, flags, &reason);
	}
	TALLOC_FREE(m);
	if (_reason != NULL) {
		*_reason = reason;
	} else {
		TALLOC_FREE(reason);
	}
	return status;
}
