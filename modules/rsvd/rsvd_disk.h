/*
 * vfs_rsvd: one shared virtual disk, as all smbd processes see it
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#ifndef _RSVD_DISK_H_
#define _RSVD_DISK_H_

#include "replace.h"
#include <talloc.h>
#include "lib/dbwrap/dbwrap.h"
#include "lib/util/data_blob.h"
#include "lib/util/time.h"
#include "libcli/util/ntstatus.h"
#include "librpc/gen_ndr/file_id.h"
#include "librpc/gen_ndr/misc.h"
#include "librpc/gen_ndr/server_id.h"
#include "librpc/gen_ndr/rsvd_disk.h"
#include "modules/scsi/scsi.h"

struct rsvd_disk;

/* Room for the key of rsvd_disk_key(). */
#define RSVD_DISK_KEY_SIZE 25

/**
 * Tell whether a process lives: in smbd serverid_exists(). Asked for every
 * entry when the record is changed, never on the data path.
 */
typedef bool (*rsvd_disk_alive_fn)(const struct server_id *id,
				   void *private_data);

/**
 * Wait until no I/O that one of these initiators started earlier is in flight
 * on this disk, in any process. Called with no lock held, after the record
 * that keeps new I/O of theirs out was stored.
 *
 * SPC-4 5.13.11.2.6 (PREEMPT AND ABORT).
 */
typedef NTSTATUS (*rsvd_disk_fence_fn)(const struct GUID *initiators,
				       size_t num_initiators,
				       void *private_data);

/**
 * The key of a kind of record of one file: 'D' the disk record, 'M' the
 * engine's map record, 'X' the lock of COMPARE AND WRITE.
 *
 * @param[out] buf  backs the result
 */
TDB_DATA rsvd_disk_key(const struct file_id *id, char kind,
		       uint8_t buf[RSVD_DISK_KEY_SIZE]);

/**
 * This process's view of the disk in a file. Touches no database; several
 * opens of one process may share a view or have one each.
 *
 * @param[in]  db    rsvd.tdb, opened with TDB_SEQNUM; stays valid while the
 *                   result lives
 * @param[in]  id    the image file
 * @param[in]  self  this process
 * @return NULL when out of memory
 */
struct rsvd_disk *rsvd_disk_init(TALLOC_CTX *mem_ctx, struct db_context *db,
				 const struct file_id *id,
				 struct server_id self,
				 rsvd_disk_alive_fn alive, void *private_data);

/**
 * Say where persistent reservations are kept over a restart. To be called
 * before the first rsvd_disk_add_open(); without it they live as long as db.
 *
 * @param[in]  db       rsvd_reservations.tdb: no TDB_CLEAR_IF_FIRST, changed
 *                      in transactions
 * @param[in]  disk_id  VirtualDiskId: together with the inode it names the
 *                      disk, because device numbers change over a reboot
 * @param[in]  boot_id  of this boot of the machine; state that was not to
 *                      survive a loss of power (APTPL 0) is dropped
 *                      when it differs. NULL: never
 */
void rsvd_disk_set_persistent(struct rsvd_disk *disk, struct db_context *db,
			      const struct GUID *disk_id,
			      const struct GUID *boot_id);

const struct file_id *rsvd_disk_file_id(const struct rsvd_disk *disk);

void rsvd_disk_set_fence(struct rsvd_disk *disk, rsvd_disk_fence_fn fence,
			 void *private_data);

/**
 * Put an open into the table, or refuse it, in one step.
 *
 * Two ways of use exclude each other: as a shared disk by any number of
 * opens, and raw, as the image file, by one (MS-RSVD 3.2.5.1, VHDMP).
 * Entries of dead processes are dropped first.
 *
 * @param[in]  open  server_id is set by the callee; open_id is the caller's,
 *                   unique in this process (fsp->fh->gen_id)
 * @return NT_STATUS_OK
 *         NT_STATUS_VHD_SHARED         a raw open of a disk that is in use
 *         NT_STATUS_SHARING_VIOLATION  a shared open of one in raw use
 *         NT_STATUS_INSUFFICIENT_RESOURCES  RSVD_DISK_MAX_OPENS reached
 *         NT_STATUS_INTERNAL_DB_CORRUPTION  the record cannot be read
 */
NTSTATUS rsvd_disk_add_open(struct rsvd_disk *disk,
			    const struct rsvd_disk_open *open);

/**
 * Take an open of this process out again. Registrations of its initiator
 * stay (SPC-4 5.13.7): a lost nexus must not let a fenced node back in.
 *
 * @return NT_STATUS_NOT_FOUND  it was not there
 */
NTSTATUS rsvd_disk_remove_open(struct rsvd_disk *disk, uint64_t open_id);

/**
 * Is the disk attached, by this or another process that lives? For every plain
 * open of any file: costs one look at the database when it is not.
 */
bool rsvd_disk_is_attached(struct rsvd_disk *disk);

/**
 * Is this one of the opens in the table? Tells the share modes of attached
 * initiators from those of plain opens.
 */
bool rsvd_disk_has_open(struct rsvd_disk *disk, const struct server_id *pid,
			uint64_t open_id);

/**
 * What the initiators share, for scsi_disk_ops.state: about a microsecond, no
 * lock, and good until the next call for this disk.
 *
 * @param[out] generation  another number when the state is another one; may
 *                         be NULL
 * @return NULL  the record cannot be read
 */
const struct scsi_state *rsvd_disk_scsi_state(struct rsvd_disk *disk,
					      uint64_t *generation);

/**
 * Change it under the lock of the record, for scsi_disk_ops.update_state. What
 * concerns reservations is in the persistent database before any process
 * sees it; a process that is killed on the way leaves the old or the new
 * state.
 */
NTSTATUS rsvd_disk_scsi_update(struct rsvd_disk *disk, scsi_state_fn fn,
			       void *fn_data);

/* scsi_disk_ops.fence */
NTSTATUS rsvd_disk_fence(struct rsvd_disk *disk, const struct GUID *initiators,
			 size_t num_initiators);

/**
 * A copy of the record without the entries of the dead, for rsvdctl.
 *
 * @return NT_STATUS_NOT_FOUND  nobody uses the disk
 */
NTSTATUS rsvd_disk_get(struct rsvd_disk *disk, TALLOC_CTX *mem_ctx,
		       struct rsvd_disk_record **record);

#endif /* _RSVD_DISK_H_ */
