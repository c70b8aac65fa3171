/*
 * vfs_rsvd: the VHDX image engine
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#ifndef _VHDX_H_
#define _VHDX_H_

#include "modules/vhdx/vhdx_storage.h"
#include "lib/util/data_blob.h"
#include "libcli/util/ntstatus.h"
#include "librpc/gen_ndr/misc.h"

struct vhdx;
struct vhdx_shared;

#define VHDX_MAX_VIRTUAL_SIZE (64ULL << 40) /* MS-VHDX 2.6.2.2 */

struct vhdx_geometry {
	uint64_t virtual_size;
	uint32_t block_size;
	uint32_t logical_sector_size;
	uint32_t physical_sector_size;
	bool leave_blocks_allocated; /* a fixed disk */
	bool has_parent;
	struct GUID virtual_disk_id;
};

#define VHDX_OPEN_READ_ONLY 0x1

/**
 * Open an image: check every structure, replay the log when there is one and
 * nobody else writes the image.
 *
 * @param[in]  storage  stays valid while the image is open
 * @param[in]  shared   the other users, NULL when there can be none
 * @param[in]  flags    VHDX_OPEN_*; nothing is ever written with
 *                      VHDX_OPEN_READ_ONLY (a log is then applied in memory)
 * @param[out] image    talloc child of mem_ctx; freeing it without
 *                      vhdx_close() is what a crash does
 * @param[out] reason   which structure, field and rule refused the image; a
 *                      child of mem_ctx; may be NULL
 * @return NT_STATUS_OK
 *         NT_STATUS_FILE_CORRUPT_ERROR  a rule of MS-VHDX is broken
 *         NT_STATUS_NOT_SUPPORTED       valid, but needs what we lack, as a
 *                                       differencing image its parents
 *         NT_STATUS_NO_MEMORY, or the error of the storage
 *
 * MS-VHDX 2.2 to 2.6.
 */
NTSTATUS vhdx_open(TALLOC_CTX *mem_ctx, struct vhdx_storage *storage,
		   struct vhdx_shared *shared, uint32_t flags,
		   struct vhdx **image, char **reason);

/**
 * Open the file of a parent, to be read only. Nobody may write it while the
 * result lives.
 *
 * @param[in]  mem_ctx  outlives the image, and the result goes with it
 * @param[in]  path     below the root that vhdx_parents.path is below: names
 *                      with '/' between them, none of them empty, "." or ".."
 */
typedef NTSTATUS (*vhdx_open_parent_fn)(TALLOC_CTX *mem_ctx, const char *path,
					void *private_data,
					struct vhdx_storage **storage);

/* Where the parents of a differencing image are */
struct vhdx_parents {
	const char *path;	/* of the image, as vhdx_open_parent_fn has it */
	vhdx_open_parent_fn open;
	void *private_data;
};

#define VHDX_MAX_PARENTS 64

/**
 * vhdx_open() for images that may have a parent. Parents are looked up by
 * their relative path, which must not lead out of the root; each must be the
 * one that the image was made from (DataWriteGuid), and none can come twice.
 *
 * @param[in]  parents  needed during the call only; NULL is vhdx_open()
 * @return as vhdx_open(), and
 *         NT_STATUS_OBJECT_PATH_INVALID  a path that leads out of the root
 *         NT_STATUS_FILE_INVALID         the parent has changed, or is another
 *         NT_STATUS_TOO_MANY_LINKS       more parents than VHDX_MAX_PARENTS,
 *                                        or one is its own ancestor
 *         or the error of vhdx_open_parent_fn
 *
 * MS-VHDX 2.6.2.6.
 */
NTSTATUS vhdx_open_chain(TALLOC_CTX *mem_ctx, struct vhdx_storage *storage,
			 struct vhdx_shared *shared, uint32_t flags,
			 const struct vhdx_parents *parents,
			 struct vhdx **image, char **reason);

/* What a differencing image is based on, or NULL; goes with the image. */
struct vhdx *vhdx_parent(const struct vhdx *image);
/* Its path as vhdx_open_parent_fn got it, or NULL */
const char *vhdx_parent_path(const struct vhdx *image);

/**
 * Leave the image in order: the last writer empties the log and gives
 * unused reserved space back. *image* is freed and set to NULL, also on error.
 * Requests that wait for a new block or a flush end with
 * NT_STATUS_FILE_CLOSED; those that the storage has are its to finish.
 */
NTSTATUS vhdx_close(struct vhdx **image);

/* As it is now: the virtual size can change with every call. */
const struct vhdx_geometry *vhdx_geometry(struct vhdx *image);

enum vhdx_extent_kind {
	VHDX_EXTENT_FILE, /* at file_offset */
	VHDX_EXTENT_ZERO, /* reads as zeros, a write has to allocate */
	VHDX_EXTENT_PARENT, /* in a parent, a write has to copy */
};

struct vhdx_extent {
	enum vhdx_extent_kind kind;
	uint64_t file_offset;
	uint64_t length;
};

/**
 * Say where the bytes from *offset* on are: the one run that starts there, at
 * most *length* long (it may end before another of the same kind begins).
 * This is the fast path of smbd: no lock, and no system call when the block is
 * known to be mapped.
 *
 * @param[in]  offset, length  bytes of the virtual disk, any alignment;
 *                             length > 0, the range is on the disk
 * @return NT_STATUS_OK
 *         NT_STATUS_INVALID_PARAMETER  off the disk
 *         NT_STATUS_FILE_CORRUPT_ERROR the BAT names a place outside the file
 *
 * MS-VHDX 2.5.
 */
NTSTATUS vhdx_map(struct vhdx *image, uint64_t offset, uint64_t length,
		  struct vhdx_extent *extent);

/**
 * vhdx_map() for who is going to write to the place in the file. As long as
 * the headers do not say that the data has changed (MS-VHDX 2.2.2,
 * DataWriteGuid), which is until the first vhdx_write_send() or vhdx_write()
 * of anybody is done, everything is VHDX_EXTENT_ZERO: write with those.
 *
 * @return as vhdx_map(), and
 *         NT_STATUS_MEDIA_WRITE_PROTECTED  the image is open read-only
 */
NTSTATUS vhdx_map_write(struct vhdx *image, uint64_t offset, uint64_t length,
			struct vhdx_extent *extent);

struct vhdx_epoch;

/**
 * For who reads or writes the file itself where vhdx_map() says: begin before
 * the call, end when the I/O has ended. What is between is counted, so that
 * the place is not another block's meanwhile. An I/O that is given up while
 * the system works on it never ends.
 *
 * @return for vhdx_io_end(), which may come after vhdx_close()
 */
struct vhdx_epoch *vhdx_io_begin(struct vhdx *image);
void vhdx_io_end(struct vhdx_epoch *epoch);	/* NULL: nothing */

/**
 * Another process waits to hear that nothing is under way here that was
 * translated before it trimmed blocks: tell it now, or when it is so. See
 * vhdx_shared_set_ask().
 */
void vhdx_catch_up(struct vhdx *image);

/**
 * Say whether space is taken for the bytes from *offset* on: not for those
 * that were never written, nor, where the storage can tell, for those that
 * vhdx_zero() gave back. Not for a fast path.
 *
 * @param[out] run_length  of how many bytes this is true, at most *length*
 * @return as vhdx_map()
 */
NTSTATUS vhdx_provisioned(struct vhdx *image, uint64_t offset, uint64_t length,
			  uint64_t *run_length, bool *provisioned);

/**
 * Read or write a range of the virtual disk; a write allocates what it needs.
 * Offsets and lengths are bytes; off the disk is NT_STATUS_INVALID_PARAMETER,
 * a write to a read-only image NT_STATUS_MEDIA_WRITE_PROTECTED, a full file
 * system NT_STATUS_DISK_FULL. The buffer is the caller's and stays until
 * _recv. A write is durable after the next flush that starts when it is done.
 */
struct tevent_req *vhdx_read_send(TALLOC_CTX *mem_ctx,
				  struct tevent_context *ev,
				  struct vhdx *image, void *buf,
				  size_t length, uint64_t offset);
NTSTATUS vhdx_read_recv(struct tevent_req *req);
struct tevent_req *vhdx_write_send(TALLOC_CTX *mem_ctx,
				   struct tevent_context *ev,
				   struct vhdx *image, const void *buf,
				   size_t length, uint64_t offset);
NTSTATUS vhdx_write_recv(struct tevent_req *req);
struct tevent_req *vhdx_flush_send(TALLOC_CTX *mem_ctx,
				   struct tevent_context *ev,
				   struct vhdx *image);
NTSTATUS vhdx_flush_recv(struct tevent_req *req);

/* The same, blocking: for the tools and the synchronous SCSI tunnel. */
NTSTATUS vhdx_read(struct vhdx *image, void *buf, size_t length,
		   uint64_t offset);
NTSTATUS vhdx_write(struct vhdx *image, const void *buf, size_t length,
		    uint64_t offset);
NTSTATUS vhdx_flush(struct vhdx *image);

/**
 * Make a range read as zeros at once, for every user of the image. Space is
 * given back where the storage can, and other blocks can have that of whole
 * ones; on a disk that leaves its blocks allocated the space stays.
 */
NTSTATUS vhdx_zero(struct vhdx *image, uint64_t offset, uint64_t length);

/**
 * How far something is that can take long: called often. What goes through
 * several things begins each of them with a *done* of 0 and a total of its own.
 *
 * @param[in]  done   bytes, up to total
 * @return false: leave it at that, in order
 */
typedef bool (*vhdx_progress_fn)(uint64_t done, uint64_t total,
				 void *private_data);

/* VHD_RESIZE_WOULD_TRUNCATE_DATA, as Windows has it in winerror.h */
#define NT_STATUS_VHD_RESIZE_WOULD_TRUNCATE_DATA NT_STATUS(0xC03A0025)

#define VHDX_RESIZE_SHRINK 0x1	/* it may become smaller */
#define VHDX_RESIZE_DISCARD 0x2	/* also over blocks with data */
/* Nobody has I/O under way: blocks of which all is zero are not data. */
#define VHDX_RESIZE_ALONE 0x4

/**
 * The end of the last block with data: what the disk can safely be shrunk to.
 * A block that has a place in the file is data, whatever is there, since it
 * may just be written; but see VHDX_RESIZE_ALONE.
 *
 * @param[in]  progress  may be NULL
 * @return NT_STATUS_CANCELLED      progress said so
 *         NT_STATUS_NOT_SUPPORTED  the image has a parent
 */
NTSTATUS vhdx_safe_size(struct vhdx *image, uint32_t flags,
			vhdx_progress_fn progress, void *private_data,
			uint64_t *size);

/**
 * Give the disk another size, while it is used: everybody who has it open
 * sees the new one at once, and a power cut leaves either. New space reads as
 * zeros. Durable when it returns; it flushes.
 *
 * @param[in]  new_size  bytes, a multiple of the logical sector size
 * @param[in]  flags     VHDX_RESIZE_*
 * @param[in]  progress  may be NULL
 * @return NT_STATUS_CANCELLED          progress said so before anything was
 *                                      changed; later it is not asked
 *         NT_STATUS_INVALID_PARAMETER  no such size, or smaller than it is
 *                                      without VHDX_RESIZE_SHRINK
 *         NT_STATUS_VHD_RESIZE_WOULD_TRUNCATE_DATA  see vhdx_safe_size()
 *         NT_STATUS_NOT_SUPPORTED      the image has a parent
 *
 * MS-VHDX 2.6.2.2 (virtual disk size), 2.2.3 (the BAT may have to move).
 */
NTSTATUS vhdx_resize(struct vhdx *image, uint64_t new_size, uint32_t flags,
		     vhdx_progress_fn progress, void *private_data);

struct vhdx_create_params {
	uint64_t virtual_size;		/* multiple of the logical sector */
	uint32_t block_size;		/* 0: 32 MiB */
	uint32_t logical_sector_size;	/* 512 or 4096; 0: 512 */
	uint32_t physical_sector_size;	/* 512 or 4096; 0: 4096 */
	uint32_t log_size;		/* multiple of 1 MiB; 0: 1 MiB */
	bool fixed;
	struct GUID virtual_disk_id;	/* all zero: a new one */
	/*
	 * A differencing image: of this one, which nobody may write as long
	 * as there is the new one. Sizes that are 0, and the id, are the
	 * parent's; blocks are 2 MiB.
	 */
	const struct vhdx *parent;
	/* How to get there from the new file: names, "..", '/' between */
	const char *parent_path;
};

/**
 * Write a new, empty image into an empty file.
 *
 * What the parent says of the virtual disk is copied, but for metadata items
 * that we do not know.
 *
 * @return NT_STATUS_INVALID_PARAMETER  a value that MS-VHDX does not allow
 *         NT_STATUS_OBJECT_NAME_COLLISION  the file is not empty
 */
NTSTATUS vhdx_create(struct vhdx_storage *storage,
		     const struct vhdx_create_params *params);

/* One broken rule: "bat", "payload[17].FileOffsetMB", "outside the file". */
struct vhdx_check_finding {
	bool is_error;			/* or: space leaked, log not empty */
	const char *structure;
	const char *field;
	const char *rule;
};

struct vhdx_check_report {
	struct vhdx_check_finding *findings;
	size_t num_findings;
	uint64_t num_blocks;
	uint64_t num_allocated_blocks;
	uint64_t file_size;
	/* Belong to nothing; holes do not count, but at the end of the file. */
	uint64_t leaked_bytes;
	bool stopped;		/* and so not everything was looked at */
};

/**
 * Look at every structure of an image without changing it.
 *
 * NT_STATUS_OK whatever was found, as long as the file could be read.
 *
 * @param[in]  progress  may be NULL
 */
NTSTATUS vhdx_check(TALLOC_CTX *mem_ctx, struct vhdx_storage *storage,
		    vhdx_progress_fn progress,
		    void *private_data, struct vhdx_check_report **report);

struct vhdx_repair_report {
	struct vhdx_check_finding *fixed;
	size_t num_fixed;
	struct vhdx_check_report *left;	/* what vhdx_check() says after it */
};

/**
 * Put right what can be without guessing: see vhdx_repair.c for what that is.
 * An image that is right already is not written to.
 *
 * @param[in]  shared  who may use it, NULL when the caller knows that nobody
 *                     does
 * @param[in]  progress  may be NULL
 * @return NT_STATUS_OK                 whatever is left; left->stopped when
 *                                      progress said so
 *         NT_STATUS_SHARING_VIOLATION  somebody writes the image
 */
NTSTATUS vhdx_repair(TALLOC_CTX *mem_ctx, struct vhdx_storage *storage,
		     struct vhdx_shared *shared, vhdx_progress_fn progress,
		     void *private_data, struct vhdx_repair_report **report);

struct vhdx_compact_report {
	uint64_t num_dropped;	/* blocks of zeros */
	uint64_t num_moved;
	uint64_t old_size;	/* of the file */
	uint64_t new_size;
	bool stopped;
};

/**
 * Make the file of an image as small as it can be: blocks of zeros leave it,
 * those at its end move into holes. A fixed disk keeps its blocks.
 *
 * @param[in]  storage   nobody else may have it open; not a differencing
 *                       image
 * @param[in]  progress  may be NULL
 * @param[out] report    also set when it fails
 * @param[out] reason    as vhdx_open()
 */
NTSTATUS vhdx_compact(TALLOC_CTX *mem_ctx, struct vhdx_storage *storage,
		      vhdx_progress_fn progress,
		      void *private_data, struct vhdx_compact_report *report,
		      char **reason);

struct vhdx_merge_report {
	uint64_t num_copied;	/* bytes */
	uint64_t num_zeroed;
	bool stopped;
	const char *parent_path; /* as vhdx_open_parent_fn got it; or NULL */
};

/* When all is done, the child has nothing of its own any more. */
#define VHDX_MERGE_EMPTY 0x1

/**
 * Put what a differencing image has into its parent, which reads as the child
 * does from then on. The child reads the same all the time, and does as well
 * when this is interrupted, by an error, a power cut or the end of the process:
 * then it can be done again. Other children of the parent are refused from now
 * on, since that has other data; those of the child are not.
 *
 * @param[in]  storage   the child; nobody else may have it or the parent open
 * @param[in]  parents   the first file that parents->open is asked for is the
 *                       parent: that one has to be open for writing
 * @param[in]  flags     VHDX_MERGE_*
 * @param[in]  progress  may be NULL
 * @param[out] report    also set when it fails; parent_path is a child of
 *                       mem_ctx
 * @param[out] reason    as vhdx_open()
 * @return as vhdx_open_chain(), and
 *         NT_STATUS_INVALID_PARAMETER  it has no parent
 *         NT_STATUS_NOT_SUPPORTED      the two have not the same size, and the
 *                                      parent cannot be made as large
 *
 * MS-VHDX 2.6.2.6.3 (parent_linkage2), 2.5.1.1.
 */
NTSTATUS vhdx_merge(TALLOC_CTX *mem_ctx, struct vhdx_storage *storage,
		    const struct vhdx_parents *parents, uint32_t flags,
		    vhdx_progress_fn progress,
		    void *private_data, struct vhdx_merge_report *report,
		    char **reason);

struct vhdx_flatten_report {
	uint64_t num_copied;	/* blocks */
	bool stopped;
};

/**
 * Put what the parents of a differencing image have into the image, which
 * needs them no more: it is a dynamic one then. It reads the same all the
 * time, also when this is interrupted, and can then be done again. Its children
 * stay its children. Nothing is done to an image without a parent.
 *
 * @param[in]  storage   nobody else may have it open, and nobody may write the
 *                       parents
 * @param[in]  progress  may be NULL
 * @param[out] report    also set when it fails
 * @param[out] reason    as vhdx_open()
 *
 * MS-VHDX 2.6.2.1 (HasParent), 2.5.1.2.
 */
NTSTATUS vhdx_flatten(TALLOC_CTX *mem_ctx, struct vhdx_storage *storage,
		      const struct vhdx_parents *parents,
		      vhdx_progress_fn progress,
		      void *private_data, struct vhdx_flatten_report *report,
		      char **reason);

#endif /* _VHDX_H_ */
