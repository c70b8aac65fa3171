/*
 * vfs_rsvd: what comes through FSCTL
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#ifndef _RSVD_TUNNEL_H_
#define _RSVD_TUNNEL_H_

#include "replace.h"
#include <talloc.h>
#include "lib/util/data_blob.h"
#include "libcli/util/ntstatus.h"

struct rsvd_disk;
struct rsvd_open;

/**
 * Serve FSCTL_SVHDX_SYNC_TUNNEL_REQUEST and FSCTL_SVHDX_ASYNC_TUNNEL_REQUEST.
 *
 * @param[in]  open        NULL: the handle is not of a shared virtual disk
 * @param[in]  max_output  MaxOutputResponse
 * @param[out] output      a child of mem_ctx, set with NT_STATUS_OK only
 * @return the status of the FSCTL. With NT_STATUS_OK the client may still
 *         find an error in the header of the response.
 *
 * MS-RSVD 3.2.5.5.
 */
NTSTATUS rsvd_tunnel_dispatch(struct rsvd_open *open, TALLOC_CTX *mem_ctx,
			      const DATA_BLOB *input, uint32_t max_output,
			      DATA_BLOB *output);

/**
 * Serve FSCTL_QUERY_SHARED_VIRTUAL_DISK_SUPPORT, on any handle of any file.
 *
 * @param[in]  disk  the disk that may be in the file of the handle
 * @param[in]  open  NULL: the handle is not of a shared virtual disk
 * @return NT_STATUS_OK
 *         NT_STATUS_BUFFER_TOO_SMALL
 *
 * MS-RSVD 3.2.5.6.
 */
NTSTATUS rsvd_tunnel_query_support(struct rsvd_disk *disk,
				   const struct rsvd_open *open,
				   uint32_t server_version,
				   TALLOC_CTX *mem_ctx, uint32_t max_output,
				   DATA_BLOB *output);

#endif /* _RSVD_TUNNEL_H_ */
