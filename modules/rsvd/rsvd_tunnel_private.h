/*
 * vfs_rsvd: the handlers of the tunnel operations
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#ifndef _RSVD_TUNNEL_PRIVATE_H_
#define _RSVD_TUNNEL_PRIVATE_H_

#include "librpc/ndr/libndr.h"
#include "librpc/gen_ndr/ndr_rsvd.h"
#include "modules/rsvd/rsvd_private.h"

struct rsvd_tunnel_request {
	struct rsvd_open *open;
	TALLOC_CTX *mem_ctx;	/* of the response */
	struct svhdx_tunnel_operation_header header;
	DATA_BLOB payload;	/* what follows the header */
	uint32_t max_output;	/* MaxOutputResponse */
	DATA_BLOB *output;
};

/**
 * The two ways to answer. Where MS-RSVD has the server "fail the request", a
 * handler returns the status of the FSCTL. Where it has it set the Status
 * field of the header, a handler returns one of these.
 */

/* The header, and nothing behind it. */
NTSTATUS rsvd_tunnel_reply_status(struct rsvd_tunnel_request *req,
				  NTSTATUS status);

/* The header with a status, and a structure. */
NTSTATUS rsvd_tunnel_reply_struct(struct rsvd_tunnel_request *req,
				  NTSTATUS status, const void *p,
				  ndr_push_flags_fn_t fn);

#define rsvd_tunnel_reply(req, status, type, p)				\
	rsvd_tunnel_reply_struct((req), (status),			\
				 (1 ? (p) : (struct type *)0),		\
				 (ndr_push_flags_fn_t)ndr_push_##type)

/**
 * Parse the payload, or a part of one.
 *
 * @return NT_STATUS_BUFFER_TOO_SMALL  it ends before the structure does
 */
NTSTATUS rsvd_tunnel_pull_struct(struct rsvd_tunnel_request *req,
				 const DATA_BLOB *blob, void *p,
				 ndr_pull_flags_fn_t fn);

#define rsvd_tunnel_pull(req, blob, type, p)				\
	rsvd_tunnel_pull_struct((req), (blob),				\
				(1 ? (p) : (struct type *)0),		\
				(ndr_pull_flags_fn_t)ndr_pull_##type)

/* The status of an operation of the disk on an open that has none (VHDMP). */
#define RSVD_TUNNEL_NO_DISK NT_STATUS_INVALID_DEVICE_REQUEST

/* rsvd_tunnel_disk.c */
NTSTATUS rsvd_tunnel_initial_info(struct rsvd_tunnel_request *req);
NTSTATUS rsvd_tunnel_check_connection(struct rsvd_tunnel_request *req);
NTSTATUS rsvd_tunnel_srb_status(struct rsvd_tunnel_request *req);
NTSTATUS rsvd_tunnel_disk_info(struct rsvd_tunnel_request *req);
NTSTATUS rsvd_tunnel_validate_disk(struct rsvd_tunnel_request *req);
NTSTATUS rsvd_tunnel_safe_size(struct rsvd_tunnel_request *req);

/* rsvd_tunnel_scsi.c */
NTSTATUS rsvd_tunnel_scsi(struct rsvd_tunnel_request *req);

/* rsvd_tunnel_meta.c */
NTSTATUS rsvd_tunnel_meta_start(struct rsvd_tunnel_request *req);
NTSTATUS rsvd_tunnel_meta_progress(struct rsvd_tunnel_request *req);

/* rsvd_tunnel_vhdset.c */
NTSTATUS rsvd_tunnel_vhdset_query(struct rsvd_tunnel_request *req);
NTSTATUS rsvd_tunnel_delete_snapshot(struct rsvd_tunnel_request *req);
NTSTATUS rsvd_tunnel_tracking_get_parameters(struct rsvd_tunnel_request *req);
NTSTATUS rsvd_tunnel_tracking_start(struct rsvd_tunnel_request *req);
NTSTATUS rsvd_tunnel_tracking_stop(struct rsvd_tunnel_request *req);
NTSTATUS rsvd_tunnel_query_changes(struct rsvd_tunnel_request *req);

#endif /* _RSVD_TUNNEL_PRIVATE_H_ */
