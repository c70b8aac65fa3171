/*
 * vfs_rsvd: the bytes of the disk
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "lib/util/tevent_ntstatus.h"
#include "modules/vhdx/vhdx_private.h"

/*
 * How many blocks one vhdx_map() looks at: it must not take long, and who
 * wants more asks again.
 */
#define MAX_RUN_BLOCKS 32768

bool vhdx_range_is_valid(const struct vhdx *image, uint64_t offset,
			 uint64_t length)
{
	uint64_t size = image->geometry.virtual_size;

	return length > 0 && offset < size && length <= size - offset;
}

/*
 * With a log that only we have replayed, in memory, the file may still be
 * shorter than it says: what is missing is zeros.
 */
static NTSTATUS overlay_clip(struct vhdx *image, struct vhdx_extent *extent)
{
	uint64_t size;
	NTSTATUS status;

	if (vhdx_log_covers(image, extent->file_offset, extent->length)) {
		/* 2.3: the log is not for payload. */
		return NT_STATUS_FILE_CORRUPT_ERROR;
	}
	status = vhdx_file_size(image->storage, &size);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (extent->file_offset >= size) {
		extent->kind = VHDX_EXTENT_ZERO;
		extent->file_offset = 0;
	} else {
		extent->length = MIN(extent->length,
				     size - extent->file_offset);
	}
	return NT_STATUS_OK;
}

static enum vhdx_extent_kind place_kind(uint64_t place)
{
	if (place == VHDX_PLACE_NONE) {
		return VHDX_EXTENT_ZERO;
	}
	if (vhdx_place_is_mapped(place)) {
		return VHDX_EXTENT_FILE;
	}
	return VHDX_EXTENT_PARENT;
}

/* For a map of blocks, one that is there in part is not there. */
enum map_kind { MAP_READ, MAP_WRITE, MAP_BLOCKS };

static NTSTATUS map_blocks(struct vhdx *image, uint64_t offset,
			   uint64_t length, enum map_kind kind,
			   struct vhdx_extent *extent)
{
	uint64_t block_size = image->geometry.block_size;
	uint64_t block = offset >> image->block_shift;
	uint64_t in_block = offset & (block_size - 1);
	uint64_t run = block_size - in_block;
	uint64_t known_fresh = UINT64_MAX;
	uint64_t first;
	uint64_t i;
	NTSTATUS status;

	status = vhdx_bat_place(image, block, &known_fresh, &first);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (vhdx_place_is_partial(first) && kind != MAP_BLOCKS) {
		return vhdx_bitmap_map(image, block, in_block,
				       MIN(run, length),
				       first - VHDX_PLACE_PARTIAL, extent);
	}
	if (kind == MAP_WRITE && place_kind(first) == VHDX_EXTENT_PARENT) {
		/* Each block is filled on its own. */
		length = MIN(run, length);
	}
	for (i = 1; run < length && i < MAX_RUN_BLOCKS; i++) {
		uint64_t next = first;
		uint64_t place;

		status = vhdx_bat_place(image, block + i, &known_fresh,
					&place);
		if (!NT_STATUS_IS_OK(status)) {
			/* Told to who comes to that block. */
			break;
		}
		if (vhdx_place_is_mapped(first)) {
			next += i * block_size;
		}
		if (place != next) {
			break;
		}
		run += block_size;
	}
	*extent = (struct vhdx_extent) {
		.kind = place_kind(first),
		.length = MIN(run, length),
	};
	if (extent->kind == VHDX_EXTENT_FILE) {
		extent->file_offset = first + in_block;
	}
	return NT_STATUS_OK;
}

static NTSTATUS map(struct vhdx *image, uint64_t offset, uint64_t length,
		    enum map_kind kind, struct vhdx_extent *extent)
{
	NTSTATUS status;

	/* First, as the disk may have another size now. */
	status = vhdx_state_refresh(image);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (!vhdx_range_is_valid(image, offset, length)) {
		return NT_STATUS_INVALID_PARAMETER;
	}
	status = map_blocks(image, offset, length, kind, extent);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (image->overlay != NULL && extent->kind == VHDX_EXTENT_FILE) {
		return overlay_clip(image, extent);
	}
	return NT_STATUS_OK;
}

NTSTATUS vhdx_map(struct vhdx *image, uint64_t offset, uint64_t length,
		  struct vhdx_extent *extent)
{
	return map(image, offset, length, MAP_READ, extent);
}

static NTSTATUS map_write(struct vhdx *image, uint64_t offset, uint64_t length,
			  enum map_kind kind, struct vhdx_extent *extent)
{
	NTSTATUS status;

	if (image->read_only) {
		return NT_STATUS_MEDIA_WRITE_PROTECTED;
	}
	status = map(image, offset, length, kind, extent);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (!image->session_ready) {
		/* The header comes first: only vhdx_write_send() can do it. */
		*extent = (struct vhdx_extent) {
			.kind = VHDX_EXTENT_ZERO,
			.length = length,
		};
	}
	return NT_STATUS_OK;
}

NTSTATUS vhdx_map_write(struct vhdx *image, uint64_t offset, uint64_t length,
			struct vhdx_extent *extent)
{
	return map_write(image, offset, length, MAP_WRITE, extent);
}

NTSTATUS vhdx_map_blocks(struct vhdx *image, uint64_t offset, uint64_t length,
			 struct vhdx_extent *extent)
{
	return map_write(image, offset, length, MAP_BLOCKS, extent);
}

/* Is it on the disk, which may have another size than it had? */
static NTSTATUS range_check(struct vhdx *image, uint64_t offset,
			    uint64_t length)
{
	NTSTATUS status;

	status = vhdx_state_refresh(image);
	if (NT_STATUS_IS_OK(status) &&
	    !vhdx_range_is_valid(image, offset, length)) {
		return NT_STATUS_INVALID_PARAMETER;
	}
	return status;
}

/* Blocking */

NTSTATUS vhdx_read(struct vhdx *image, void *buf, size_t length,
		   uint64_t offset)
{
	uint8_t *p = buf;
	NTSTATUS status;

	if (length == 0) {
		return NT_STATUS_OK;
	}
	status = range_check(image, offset, length);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	while (length > 0) {
		struct vhdx_source source;

		status = vhdx_source_find(image, offset, length, &source);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		if (source.storage == NULL) {
			memset(p, 0, source.length);
		} else {
			status = vhdx_file_read(source.storage, p,
						source.length,
						source.file_offset);
			if (!NT_STATUS_IS_OK(status)) {
				return status;
			}
		}
		p += source.length;
		offset += source.length;
		length -= source.length;
	}
	return NT_STATUS_OK;
}

static NTSTATUS write_check(struct vhdx *image, size_t length,
			    uint64_t offset)
{
	if (image->read_only) {
		return NT_STATUS_MEDIA_WRITE_PROTECTED;
	}
	return range_check(image, offset, length);
}

/*
 * Before the session has begun nobody knows whether there is a place for it:
 * then nothing of a child is copied for that.
 */
static uint64_t alloc_length(const struct vhdx *image, uint64_t length)
{
	return (image->geometry.has_parent && !image->session_ready) ? 0 :
	       length;
}

/* A run that is not in the file; *done: this was enough. */
static NTSTATUS write_new(struct vhdx *image, const void *buf,
			  uint64_t offset, const struct vhdx_extent *extent,
			  bool *done)
{
	struct vhdx_want want = {
		.kind = VHDX_WANT_DATA,
		.buf = buf,
		.start = offset,
		.offset = offset,
		.end = offset + extent->length,
	};
	NTSTATUS status;

	if (extent->kind != VHDX_EXTENT_PARENT) {
		*done = false;
		return vhdx_alloc(image, offset,
				  alloc_length(image, extent->length));
	}
	status = vhdx_alloc_want(image, &want);
	*done = !want.missed;
	return status;
}

NTSTATUS vhdx_write(struct vhdx *image, const void *buf, size_t length,
		    uint64_t offset)
{
	const uint8_t *p = buf;
	NTSTATUS status;

	if (length == 0) {
		return NT_STATUS_OK;
	}
	status = write_check(image, length, offset);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	while (length > 0) {
		struct vhdx_extent extent;

		status = vhdx_map_write(image, offset, length, &extent);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		if (extent.kind != VHDX_EXTENT_FILE) {
			bool done;

			status = write_new(image, p, offset, &extent, &done);
			if (NT_STATUS_IS_OK(status) && !done) {
				continue;
			}
		} else {
			status = vhdx_file_write(image->storage, p,
						 extent.length,
						 extent.file_offset);
		}
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		p += extent.length;
		offset += extent.length;
		length -= extent.length;
	}
	return NT_STATUS_OK;
}

static NTSTATUS zero_in_place(struct vhdx *image,
			      const struct vhdx_extent *extent)
{
	NTSTATUS status = NT_STATUS_NOT_SUPPORTED;

	/* A disk that leaves its blocks allocated keeps its space too. */
	if (!image->no_holes && !image->geometry.leave_blocks_allocated) {
		status = vhdx_file_punch(image->storage, extent->file_offset,
					 extent->length);
		image->no_holes = NT_STATUS_EQUAL(status,
						  NT_STATUS_NOT_SUPPORTED);
	}
	if (NT_STATUS_EQUAL(status, NT_STATUS_NOT_SUPPORTED)) {
		status = vhdx_file_zero(image->storage, extent->file_offset,
					extent->length, false);
	}
	return status;
}

/*
 * All of it is zeros in place, then whole blocks lose their places. That they
 * are zeros already is what makes it as good when they do not.
 */
NTSTATUS vhdx_zero(struct vhdx *image, uint64_t offset, uint64_t length)
{
	uint64_t start = offset;
	uint64_t all = length;
	bool in_file = false;
	NTSTATUS status;

	if (length == 0) {
		return NT_STATUS_OK;
	}
	status = write_check(image, length, offset);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (!image->session_ready) {
		status = vhdx_alloc(image, 0, 0);
	}
	while (NT_STATUS_IS_OK(status) && length > 0) {
		struct vhdx_extent extent;

		bool done;

		status = map(image, offset, length, MAP_BLOCKS, &extent);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		if (extent.kind == VHDX_EXTENT_PARENT) {
			status = vhdx_child_zero(image, offset, &extent.length,
						 &done);
			if (!done) {
				continue;
			}
		}
		if (extent.kind == VHDX_EXTENT_FILE) {
			status = zero_in_place(image, &extent);
			in_file = true;
		}
		offset += extent.length;
		length -= extent.length;
	}
	if (NT_STATUS_IS_OK(status) && in_file) {
		status = vhdx_release(image, start, all);
	}
	return status;
}

/*
 * One run of a request on the storage, continued until it is complete. The
 * request is its parent; it tells io_piece_done().
 */
struct io_piece {
	struct io_state *io;
	struct vhdx_storage *storage;	/* may outlive the image */
	struct vhdx_epoch *epoch;	/* stays counted if we are freed */
	uint8_t *buf;
	size_t length;
	uint64_t file_offset;
};

struct io_state {
	struct tevent_req *req;
	struct tevent_context *ev;
	struct vhdx *image;
	uint8_t *buf;
	size_t length;
	uint64_t offset;
	bool is_write;
	bool starting;
	size_t num_pieces;	/* under way */
	NTSTATUS status;	/* the first error */
};

/* A run of a write that parents have: one that fills it, or a write again */
struct io_new {
	struct io_state *io;
	uint8_t *buf;
	size_t length;
	uint64_t offset;
};

static void io_start(struct io_state *io);
static void io_allocated(struct tevent_req *subreq);
static void io_filled(struct tevent_req *subreq);
static void io_rewritten(struct tevent_req *subreq);
static void io_piece_moved(struct tevent_req *subreq);

/* The request ends when the last piece has, also when one failed. */
static void io_check_done(struct io_state *io)
{
	if (io->starting || io->num_pieces > 0) {
		return;
	}
	if (!NT_STATUS_IS_OK(io->status)) {
		tevent_req_nterror(io->req, io->status);
		return;
	}
	if (io->length > 0) {
		return;
	}
	tevent_req_done(io->req);
}

static void io_fail(struct io_state *io, NTSTATUS status)
{
	if (NT_STATUS_IS_OK(io->status)) {
		io->status = status;
	}
}

static bool io_piece_send(struct io_piece *piece)
{
	struct io_state *io = piece->io;
	struct vhdx_storage *storage = piece->storage;
	struct tevent_req *subreq = NULL;

	if (io->is_write) {
		subreq = storage->ops->pwrite_send(
			piece, io->ev, storage->private_data, piece->buf,
			piece->length, piece->file_offset);
	} else {
		subreq = storage->ops->pread_send(
			piece, io->ev, storage->private_data, piece->buf,
			piece->length, piece->file_offset);
	}
	if (subreq == NULL) {
		return false;
	}
	tevent_req_set_callback(subreq, io_piece_moved, piece);
	return true;
}

/*
 * As much of a run as the storage does at once, which needs no request of its
 * own. 0: nothing, or what a request has to find out more about.
 */
static uint64_t io_quick(const struct io_state *io,
			 const struct vhdx_source *source)
{
	const struct vhdx_storage *storage = source->storage;
	ssize_t n = -1;

	if (io->is_write && storage->ops->pwrite_quick != NULL) {
		n = storage->ops->pwrite_quick(storage->private_data, io->buf,
					       source->length,
					       source->file_offset);
	} else if (!io->is_write && storage->ops->pread_quick != NULL) {
		n = storage->ops->pread_quick(storage->private_data, io->buf,
					      source->length,
					      source->file_offset);
	}
	return MAX(n, 0);
}

/* The run is cut to what is done or under way after this. */
static void io_piece_start(struct io_state *io, struct vhdx_source *source,
			   struct vhdx_epoch *epoch)
{
	struct io_piece *piece = NULL;
	uint64_t done = io_quick(io, source);

	if (done > 0) {
		vhdx_io_end(epoch);
		source->length = done;
		return;
	}

	piece = talloc(io, struct io_piece);
	if (piece == NULL) {
		vhdx_io_end(epoch);
		io_fail(io, NT_STATUS_NO_MEMORY);
		return;
	}
	*piece = (struct io_piece) {
		.io = io,
		.storage = source->storage,
		.epoch = epoch,
		.buf = io->buf,
		.length = source->length,
		.file_offset = source->file_offset,
	};
	if (!io_piece_send(piece)) {
		TALLOC_FREE(piece);
		vhdx_io_end(epoch);
		io_fail(io, NT_STATUS_NO_MEMORY);
		return;
	}
	io->num_pieces += 1;
}

static void io_piece_done(struct io_piece *piece, NTSTATUS status)
{
	struct io_state *io = piece->io;
	struct vhdx_epoch *epoch = piece->epoch;

	TALLOC_FREE(piece);
	vhdx_io_end(epoch);
	io->num_pieces -= 1;
	if (!NT_STATUS_IS_OK(status)) {
		io_fail(io, status);
	}
	io_check_done(io);
}

static void io_piece_moved(struct tevent_req *subreq)
{
	struct io_piece *piece = tevent_req_callback_data(subreq,
							  struct io_piece);
	struct io_state *io = piece->io;
	const struct vhdx_storage_ops *ops = piece->storage->ops;
	ssize_t n;
	int err = 0;

	n = io->is_write ? ops->pwrite_recv(subreq, &err) :
			   ops->pread_recv(subreq, &err);
	TALLOC_FREE(subreq);
	if (n == -1 && err != EINTR) {
		io_piece_done(piece, vhdx_errno_status(err));
		return;
	}
	if (n == 0) {
		io_piece_done(piece, io->is_write ? NT_STATUS_DISK_FULL :
						    NT_STATUS_END_OF_FILE);
		return;
	}
	if (n > 0) {
		piece->buf += n;
		piece->length -= n;
		piece->file_offset += n;
	}
	if (piece->length == 0) {
		io_piece_done(piece, NT_STATUS_OK);
		return;
	}
	if (!io_piece_send(piece)) {
		io_piece_done(piece, NT_STATUS_NO_MEMORY);
	}
}

/* What a write finds without a place waits until there is one. */
static bool io_allocate(struct io_state *io, uint64_t length)
{
	struct tevent_req *subreq = NULL;

	subreq = vhdx_alloc_send(io, io->ev, io->image, io->offset,
				 alloc_length(io->image, length));
	if (subreq == NULL) {
		io_fail(io, NT_STATUS_NO_MEMORY);
		return false;
	}
	tevent_req_set_callback(subreq, io_allocated, io);
	/* Counted like a piece, so that the request does not end before. */
	io->num_pieces += 1;
	return true;
}

static void io_fill(struct io_state *io, size_t length)
{
	struct tevent_req *subreq = NULL;
	struct io_new *fill = talloc(io, struct io_new);

	if (fill != NULL) {
		*fill = (struct io_new) {
			.io = io,
			.buf = io->buf,
			.length = length,
			.offset = io->offset,
		};
		subreq = vhdx_alloc_data_send(fill, io->ev, io->image,
					      fill->buf, fill->offset,
					      fill->length);
	}
	if (subreq == NULL) {
		TALLOC_FREE(fill);
		io_fail(io, NT_STATUS_NO_MEMORY);
		return;
	}
	tevent_req_set_callback(subreq, io_filled, fill);
	io->num_pieces += 1;
}

static void io_new_done(struct io_new *fill, NTSTATUS status)
{
	struct io_state *io = fill->io;

	TALLOC_FREE(fill);
	io->num_pieces -= 1;
	if (!NT_STATUS_IS_OK(status)) {
		io_fail(io, status);
	}
	io_check_done(io);
}

static void io_filled(struct tevent_req *subreq)
{
	struct io_new *fill = tevent_req_callback_data(subreq, struct io_new);
	struct io_state *io = fill->io;
	bool done;
	NTSTATUS status;

	status = vhdx_alloc_data_recv(subreq, &done);
	TALLOC_FREE(subreq);
	if (!NT_STATUS_IS_OK(status) || done) {
		io_new_done(fill, status);
		return;
	}
	subreq = vhdx_write_send(fill, io->ev, io->image, fill->buf,
				 fill->length, fill->offset);
	if (subreq == NULL) {
		io_new_done(fill, NT_STATUS_NO_MEMORY);
		return;
	}
	tevent_req_set_callback(subreq, io_rewritten, fill);
}

static void io_rewritten(struct tevent_req *subreq)
{
	struct io_new *fill = tevent_req_callback_data(subreq, struct io_new);
	NTSTATUS status;

	status = vhdx_write_recv(subreq);
	TALLOC_FREE(subreq);
	io_new_done(fill, status);
}

/*
 * A write's place is in the image itself; no storage: there is none yet, and
 * *fill, when it is to be filled.
 */
static NTSTATUS io_source(struct io_state *io, struct vhdx_source *source,
			  bool *fill)
{
	struct vhdx_extent extent;
	NTSTATUS status;

	if (!io->is_write) {
		return vhdx_source_find(io->image, io->offset, io->length,
					source);
	}
	status = vhdx_map_write(io->image, io->offset, io->length, &extent);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	*source = (struct vhdx_source) { .length = extent.length };
	*fill = extent.kind == VHDX_EXTENT_PARENT;
	if (extent.kind == VHDX_EXTENT_FILE) {
		source->storage = io->image->storage;
		source->file_offset = extent.file_offset;
	}
	return NT_STATUS_OK;
}

static void io_start(struct io_state *io)
{
	io->starting = true;
	while (io->length > 0 && NT_STATUS_IS_OK(io->status)) {
		struct vhdx_epoch *epoch = vhdx_io_begin(io->image);
		struct vhdx_source source = { .storage = NULL };
		bool fill = false;
		NTSTATUS status;

		status = io_source(io, &source, &fill);
		if (NT_STATUS_IS_OK(status) && source.storage != NULL) {
			io_piece_start(io, &source, epoch);
		} else {
			vhdx_io_end(epoch);
		}
		if (!NT_STATUS_IS_OK(status)) {
			io_fail(io, status);
			break;
		}
		if (source.storage != NULL) {
			/* Under way, or done */
		} else if (fill) {
			io_fill(io, source.length);
		} else if (io->is_write) {
			io_allocate(io, source.length);
			break;
		} else {
			memset(io->buf, 0, source.length);
		}
		io->buf += source.length;
		io->offset += source.length;
		io->length -= source.length;
	}
	io->starting = false;
	io_check_done(io);
}

static void io_allocated(struct tevent_req *subreq)
{
	struct io_state *io = tevent_req_callback_data(subreq,
						       struct io_state);
	NTSTATUS status;

	status = vhdx_alloc_recv(subreq);
	TALLOC_FREE(subreq);
	io->num_pieces -= 1;
	if (!NT_STATUS_IS_OK(status)) {
		io_fail(io, status);
		io_check_done(io);
		return;
	}
	io_start(io);
}

static struct tevent_req *io_send(TALLOC_CTX *mem_ctx,
				  struct tevent_context *ev,
				  struct vhdx *image, void *buf,
				  size_t length, uint64_t offset,
				  bool is_write)
{
	struct tevent_req *req = NULL;
	struct io_state *io = NULL;
	NTSTATUS status = NT_STATUS_OK;

	req = tevent_req_create(mem_ctx, &io, struct io_state);
	if (req == NULL) {
		return NULL;
	}
	*io = (struct io_state) {
		.req = req,
		.ev = ev,
		.image = image,
		.buf = buf,
		.length = length,
		.offset = offset,
		.is_write = is_write,
		.status = NT_STATUS_OK,
	};
	if (is_write && image->read_only) {
		status = NT_STATUS_MEDIA_WRITE_PROTECTED;
	} else if (length > 0) {
		status = range_check(image, offset, length);
	}
	if (tevent_req_nterror(req, status)) {
		return tevent_req_post(req, ev);
	}
	io_start(io);
	if (!tevent_req_is_in_progress(req)) {
		return tevent_req_post(req, ev);
	}
	return req;
}

struct tevent_req *vhdx_read_send(TALLOC_CTX *mem_ctx,
				  struct tevent_context *ev,
				  struct vhdx *image, void *buf,
				  size_t length, uint64_t offset)
{
	return io_send(mem_ctx, ev, image, buf, length, offset, false);
}

NTSTATUS vhdx_read_recv(struct tevent_req *req)
{
	return tevent_req_simple_recv_ntstatus(req);
}

struct tevent_req *vhdx_write_send(TALLOC_CTX *mem_ctx,
				   struct tevent_context *ev,
				   struct vhdx *image, const void *buf,
				   size_t length, uint64_t offset)
{
	return io_send(mem_ctx, ev, image, discard_const(buf), length, offset,
		       true);
}

NTSTATUS vhdx_write_recv(struct tevent_req *req)
{
	return tevent_req_simple_recv_ntstatus(req);
}
