/*
 * vfs_rsvd: the stored forms of what is known about one disk
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#ifndef _RSVD_RECORD_H_
#define _RSVD_RECORD_H_

#include "replace.h"
#include <talloc.h>
#include "lib/util/data_blob.h"
#include "libcli/util/ntstatus.h"
#include "librpc/gen_ndr/rsvd_disk.h"

/* A record of a disk that nobody uses; NULL when out of memory. */
struct rsvd_disk_record *rsvd_record_init(TALLOC_CTX *mem_ctx);

/**
 * @return NT_STATUS_INTERNAL_DB_CORRUPTION  written by a version that we do
 *         not know, or no record at all. It is left alone: whoever wrote
 *         it may be an smbd that runs.
 */
NTSTATUS rsvd_record_pull(TALLOC_CTX *mem_ctx, DATA_BLOB blob,
			  struct rsvd_disk_record **record);
NTSTATUS rsvd_record_push(TALLOC_CTX *mem_ctx,
			  const struct rsvd_disk_record *record,
			  DATA_BLOB *blob);

/* Nothing would be lost if the record were not there. */
bool rsvd_record_is_empty(const struct rsvd_disk_record *record);

/**
 * What of the SCSI state has to outlive the processes: registrations, the
 * reservation, a failed SANITIZE.
 *
 * @param[out] blob  empty: there is nothing to keep
 */
NTSTATUS rsvd_reservations_push(TALLOC_CTX *mem_ctx,
				const struct scsi_state *state,
				const struct GUID *boot_id, DATA_BLOB *blob);

/**
 * The state that rsvd_reservations_push() kept, in a server that starts.
 *
 * @param[in]  boot_id  other than the stored one: the machine lost power,
 *                      and only what APTPL protects is left. NULL: never
 */
NTSTATUS rsvd_reservations_pull(TALLOC_CTX *mem_ctx, DATA_BLOB blob,
				const struct GUID *boot_id,
				struct scsi_state **state);

#endif /* _RSVD_RECORD_H_ */
