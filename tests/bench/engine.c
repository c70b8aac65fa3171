/*
 * vfs_rsvd: the image engine in a process of its own, driven as
 * "qemu-img bench" drives qemu's
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Reads or writes so many pieces of a disk, one every so many bytes from its
 * start on and over again, and prints {"seconds": S}: how long that took, the
 * opening and closing not counted. With --raw the file is the disk, or so many
 * bytes of it are, reached through the storage that the engine uses.
 */

#include "replace.h"
#include "system/filesys.h"
#include "system/time.h"
#include "lib/util/talloc_stack.h"
#include "lib/util/tevent_ntstatus.h"
#include "lib/util/time.h"
#include "modules/vhdx/vhdx.h"
#include "libcli/util/error.h"
#include <popt.h>

struct engine {
	struct tevent_context *ev;
	struct vhdx_storage *storage;
	struct vhdx *image;		/* NULL: raw */
	uint64_t disk_size;
	uint64_t base;			/* of the disk in a raw file */
	uint64_t offset;		/* of the next piece */
	size_t length;
	uint64_t step;
	bool is_write;
	long left;
	long in_flight;
	NTSTATUS status;
};

struct piece {
	struct engine *engine;
	uint8_t *buf;
	uint64_t offset;
	size_t done;	/* the storage may move less than it is asked to */
};

static void piece_done(struct tevent_req *req);

static struct tevent_req *piece_send(struct piece *piece)
{
	struct engine *engine = piece->engine;
	const struct vhdx_storage_ops *ops = engine->storage->ops;
	void *private_data = engine->storage->private_data;
	uint64_t offset = engine->base + piece->offset + piece->done;
	uint8_t *buf = piece->buf + piece->done;
	size_t length = engine->length - piece->done;

	if (engine->image == NULL && engine->is_write) {
		return ops->pwrite_send(engine, engine->ev, private_data,
					buf, length, offset);
	}
	if (engine->image == NULL) {
		return ops->pread_send(engine, engine->ev, private_data, buf,
				       length, offset);
	}
	if (engine->is_write) {
		return vhdx_write_send(engine, engine->ev, engine->image,
				       buf, length, offset);
	}
	return vhdx_read_send(engine, engine->ev, engine->image, buf, length,
			      offset);
}

static NTSTATUS piece_recv(struct piece *piece, struct tevent_req *req)
{
	struct engine *engine = piece->engine;
	const struct vhdx_storage_ops *ops = engine->storage->ops;
	ssize_t n;
	int err = 0;

	if (engine->image != NULL) {
		piece->done = engine->length;
		return engine->is_write ? vhdx_write_recv(req) :
					  vhdx_read_recv(req);
	}
	n = engine->is_write ? ops->pwrite_recv(req, &err) :
			       ops->pread_recv(req, &err);
	if (n == -1) {
		return map_nt_error_from_unix_common(err);
	}
	piece->done += n;
	return (n > 0) ? NT_STATUS_OK : NT_STATUS_END_OF_FILE;
}

static void piece_go_on(struct piece *piece)
{
	struct engine *engine = piece->engine;
	struct tevent_req *req = piece_send(piece);

	if (req == NULL) {
		engine->status = NT_STATUS_NO_MEMORY;
		return;
	}
	engine->in_flight += 1;
	tevent_req_set_callback(req, piece_done, piece);
}

static void piece_start(struct piece *piece)
{
	struct engine *engine = piece->engine;

	if (engine->left == 0 || !NT_STATUS_IS_OK(engine->status)) {
		return;
	}
	engine->left -= 1;
	piece->offset = engine->offset;
	piece->done = 0;
	engine->offset = (engine->offset + engine->step) % engine->disk_size;
	piece_go_on(piece);
}

static void piece_done(struct tevent_req *req)
{
	struct piece *piece = tevent_req_callback_data(req, struct piece);
	NTSTATUS status;

	status = piece_recv(piece, req);
	TALLOC_FREE(req);
	piece->engine->in_flight -= 1;
	if (!NT_STATUS_IS_OK(status)) {
		piece->engine->status = status;
	} else if (piece->done < piece->engine->length) {
		piece_go_on(piece);
		return;
	}
	piece_start(piece);
}

static NTSTATUS engine_run(struct engine *engine, int depth,
			   double *seconds)
{
	struct timespec start, end;
	int i;

	clock_gettime_mono(&start);
	for (i = 0; i < depth; i++) {
		struct piece *piece = talloc_zero(engine, struct piece);

		if (piece == NULL) {
			return NT_STATUS_NO_MEMORY;
		}
		piece->engine = engine;
		piece->buf = talloc_size(piece, engine->length);
		if (piece->buf == NULL) {
			return NT_STATUS_NO_MEMORY;
		}
		memset(piece->buf, 0xA5, engine->length);
		piece_start(piece);
	}
	while (engine->in_flight > 0) {
		if (tevent_loop_once(engine->ev) != 0) {
			return NT_STATUS_INTERNAL_ERROR;
		}
	}
	clock_gettime_mono(&end);
	*seconds = (end.tv_sec - start.tv_sec) +
		   (end.tv_nsec - start.tv_nsec) / 1e9;
	return engine->status;
}

static NTSTATUS engine_flush(struct engine *engine)
{
	struct tevent_req *req = NULL;
	NTSTATUS status;

	req = vhdx_flush_send(engine, engine->ev, engine->image);
	if (req == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	if (!tevent_req_poll_ntstatus(req, engine->ev, &status)) {
		return status;
	}
	status = vhdx_flush_recv(req);
	TALLOC_FREE(req);
	return status;
}

static NTSTATUS engine_open(struct engine *engine, const char *path, bool raw,
			    uint64_t base, uint64_t disk_size)
{
	char *reason = NULL;
	NTSTATUS status;
	int err;

	err = vhdx_storage_posix_open(engine, path, O_RDWR,
				      &engine->storage);
	if (err != 0) {
		return map_nt_error_from_unix_common(err);
	}
	if (raw) {
		uint64_t size = engine->storage->ops->size(
			engine->storage->private_data);

		if (base > size || disk_size > size - base) {
			return NT_STATUS_INVALID_PARAMETER;
		}
		engine->base = base;
		engine->disk_size = (disk_size > 0) ? disk_size : size - base;
		return NT_STATUS_OK;
	}
	status = vhdx_open(engine, engine->storage, NULL, 0, &engine->image,
			   &reason);
	if (NT_STATUS_IS_OK(status)) {
		engine->disk_size =
			vhdx_geometry(engine->image)->virtual_size;
	} else if (reason != NULL) {
		fprintf(stderr, "engine: %s\n", reason);
	}
	return status;
}

int main(int argc, const char **argv)
{
	TALLOC_CTX *frame = talloc_stackframe();
	struct engine *engine = talloc_zero(frame, struct engine);
	long length = 4096, step = 0, count = 1, base = 0, size = 0;
	int depth = 1, is_write = 0, raw = 0;
	const struct poptOption table[] = {
		POPT_AUTOHELP
		{ "raw", 0, POPT_ARG_NONE, &raw, 0,
		  "the file is the disk, not an image", NULL },
		{ "base", 0, POPT_ARG_LONG, &base, 0,
		  "with --raw, the disk begins there in the file", "BYTES" },
		{ "size", 0, POPT_ARG_LONG, &size, 0,
		  "with --raw, of the disk (default: to the file's end)",
		  "BYTES" },
		{ "write", 0, POPT_ARG_NONE, &is_write, 0,
		  "write, do not read", NULL },
		{ "count", 0, POPT_ARG_LONG, &count, 0,
		  "so many pieces", "N" },
		{ "depth", 0, POPT_ARG_INT, &depth, 0,
		  "so many at the same time", "N" },
		{ "length", 0, POPT_ARG_LONG, &length, 0,
		  "of a piece", "BYTES" },
		{ "step", 0, POPT_ARG_LONG, &step, 0,
		  "from one piece to the next (default: its length)",
		  "BYTES" },
		POPT_TABLEEND
	};
	poptContext pc = poptGetContext("engine", argc, argv, table, 0);
	const char *path = NULL;
	double seconds = 0;
	NTSTATUS status;
	int ret = 1;

	poptSetOtherOptionHelp(pc, "[OPTION...] FILE");
	if (poptGetNextOpt(pc) != -1 || (path = poptGetArg(pc)) == NULL ||
	    length <= 0 || step < 0 || base < 0 || size < 0 || count <= 0 ||
	    depth <= 0) {
		poptPrintUsage(pc, stderr, 0);
		goto done;
	}
	engine->ev = tevent_context_init(engine);
	engine->length = length;
	engine->step = (step > 0) ? step : length;
	engine->is_write = is_write;
	engine->left = count;
	engine->status = NT_STATUS_OK;

	status = engine_open(engine, path, raw, base, size);
	if (NT_STATUS_IS_OK(status) &&
	    (engine->disk_size == 0 || engine->disk_size % length != 0 ||
	     engine->step % length != 0)) {
		/* The last piece would not be on the disk. */
		status = NT_STATUS_INVALID_PARAMETER;
	}
	if (NT_STATUS_IS_OK(status)) {
		status = engine_run(engine, depth, &seconds);
	}
	if (engine->image != NULL && NT_STATUS_IS_OK(status)) {
		/* After this nobody is at a flush that was begun ahead. */
		status = engine_flush(engine);
	}
	if (engine->image != NULL) {
		NTSTATUS closed = vhdx_close(&engine->image);

		if (NT_STATUS_IS_OK(status)) {
			status = closed;
		}
	}
	if (!NT_STATUS_IS_OK(status)) {
		fprintf(stderr, "engine: %s: %s\n", path, nt_errstr(status));
		goto done;
	}
	printf("{\"seconds\": %.6f}\n", seconds);
	ret = 0;
done:
	poptFreeContext(pc);
	TALLOC_FREE(frame);
	return ret;
}
