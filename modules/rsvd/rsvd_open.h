/*
 * vfs_rsvd: one open of a shared virtual disk
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#ifndef _RSVD_OPEN_H_
#define _RSVD_OPEN_H_

#include "replace.h"
#include <talloc.h>
#include "lib/util/data_blob.h"
#include "libcli/util/ntstatus.h"
#include "librpc/gen_ndr/rsvd.h"
#include "modules/vhdx/vhdx.h"

struct rsvd_disk;
struct rsvd_open;

/* What the client's create context says, checked. */
struct rsvd_open_context {
	uint32_t version;	/* RSVD_ECP_CONTEXT_VERSION_1 or _2 */
	struct GUID initiator_id; /* zero when there is none */
	uint32_t originator;
	/*
	 * The open is for the image file itself (SVHDX_ORIGINATOR_VHDMP, and
	 * what Windows takes for it, MS-RSVD 6 <10>): READ and WRITE go to
	 * the file, no image is opened.
	 */
	bool raw;
	/* UTF-8, without control characters; "" when there is none */
	const char *host_name;
	uint64_t open_request_id;
	/* as received, to be echoed */
	struct svhdx_open_device_context_v2 wire;
};

/**
 * Check the SVHDX_OPEN_DEVICE_CONTEXT create context of an open.
 *
 * @param[in]  server_version  the highest version served, 1 or 2
 * @param[in]  blob            the data of the create context
 * @return NT_STATUS_OK
 *         NT_STATUS_BUFFER_TOO_SMALL   shorter than its version says
 *         NT_STATUS_INVALID_PARAMETER  unknown version, HasInitiatorId that is
 *                                      no boolean, a host name longer
 *                                      than its field or not UTF-16
 *
 * MS-RSVD 3.2.5.1. Whether the file exists and holds an image comes after:
 * an empty or new file is NT_STATUS_FILE_CORRUPT_ERROR (6 <9>).
 */
NTSTATUS rsvd_open_context_parse(TALLOC_CTX *mem_ctx, uint32_t server_version,
				 const DATA_BLOB *blob,
				 struct rsvd_open_context **context);

struct rsvd_open_params {
	uint32_t server_version;
	const struct rsvd_open_context *context; /* copied */
	const char *file_name;	/* of the base file; copied */
	uint32_t create_options;
	/* What smbd granted the handle. */
	bool may_read;
	bool may_write;
	/* These stay valid while the open lives. */
	struct rsvd_disk *disk;
	struct vhdx *image;		/* NULL for a raw open */
	struct vhdx_storage *storage;	/* the file below, for its size */
	/*
	 * Where COMPARE AND WRITE and its kin take their lock, while the
	 * engine may take its own under it: not the database of the disk
	 * and map records. NULL: there are no other processes.
	 */
	struct db_context *lock_db;
};

/**
 * The state of an open (MS-RSVD 3.2.1.2), to be made after
 * rsvd_disk_add_open().
 *
 * @return NULL when out of memory
 */
struct rsvd_open *rsvd_open_init(TALLOC_CTX *mem_ctx,
				 const struct rsvd_open_params *params);

/**
 * The create context that answers the open.
 *
 * MS-RSVD 2.2.4.31, 2.2.4.33, 3.2.5.1.
 */
NTSTATUS rsvd_open_response(struct rsvd_open *open, TALLOC_CTX *mem_ctx,
			    DATA_BLOB *blob);

/* READ and WRITE are of the virtual disk, not of the file. */
bool rsvd_open_is_virtual_scsi_disk(const struct rsvd_open *open);

/**
 * What READ or WRITE has to answer before any byte moves. Costs about a
 * microsecond and takes no lock, but for a unit attention that is reported.
 *
 * @return NT_STATUS_OK  go on
 *         any other     the status for the client, already the right one
 *                       (STATUS_SVHDX_ERROR_STORED with its key,
 *                       STATUS_SVHDX_RESERVATION_CONFLICT,
 *                       STATUS_SVHDX_UNIT_ATTENTION_*,
 *                       NT_STATUS_NOT_SUPPORTED, NT_STATUS_ACCESS_DENIED)
 *
 * MS-RSVD 3.2.5.3, 3.2.5.4.
 */
NTSTATUS rsvd_open_check_io(struct rsvd_open *open, bool is_write);

/**
 * Store sense data for an I/O of the virtual disk that failed.
 *
 * @param[in]  error  why it failed: what the engine or the storage returned;
 *                    NT_STATUS_INVALID_PARAMETER is a range off the disk
 * @return the status for the client: STATUS_SVHDX_ERROR_STORED with the key,
 *         or error itself when it is already one of MS-RSVD 2.2.3, or on a
 *         raw open
 */
NTSTATUS rsvd_open_store_error(struct rsvd_open *open, bool is_write,
			       NTSTATUS error);

/**
 * A write has to be on stable storage before it is acknowledged: an initiator
 * switched the write cache off (caching mode page, WCE 0).
 */
bool rsvd_open_write_through(struct rsvd_open *open);

#endif /* _RSVD_OPEN_H_ */
