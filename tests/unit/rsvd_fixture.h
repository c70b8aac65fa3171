/*
 * vfs_rsvd: a disk to open, for tests
 *
 * An image of 64 MiB in a temporary directory, and the databases beside it. A
 * process is a view of the disk with a server_id of its own.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#ifndef _RSVD_FIXTURE_H_
#define _RSVD_FIXTURE_H_

#include "modules/rsvd/rsvd_disk.h"
#include "modules/rsvd/rsvd_open.h"
#include "modules/rsvd/rsvd_tunnel.h"
#include "modules/vhdx/vhdx.h"

#define RSVD_FIXTURE_PROCESSES 4
#define RSVD_FIXTURE_DISK_SIZE (64 * 1024 * 1024)

struct rsvd_fixture {
	char dir[64];
	struct db_context *db;
	struct db_context *reservations_db;
	struct db_context *lock_db;
	struct file_id file_id;
	struct GUID boot_id;
	struct vhdx_storage *storage;
	struct vhdx *image;
	struct rsvd_disk *process[RSVD_FIXTURE_PROCESSES];
	bool dead[RSVD_FIXTURE_PROCESSES];
	uint64_t next_open_id;
};

extern const struct GUID rsvd_fixture_initiator[RSVD_FIXTURE_PROCESSES];

/* NULL when anything fails. fixed: the kind of image */
struct rsvd_fixture *rsvd_fixture_init(bool fixed);
void rsvd_fixture_free(struct rsvd_fixture *f);

/* What a well-behaved client opens with, to be changed before use. */
struct rsvd_fixture_open {
	int process;
	struct GUID initiator;
	uint32_t context_version;
	uint32_t server_version;
	uint32_t originator;
	uint32_t create_options;
	bool may_read;
	bool may_write;
	const char *file_name;
};

struct rsvd_fixture_open rsvd_fixture_default_open(int process);

/* NULL when it is refused */
struct rsvd_open *rsvd_fixture_open(struct rsvd_fixture *f,
				    const struct rsvd_fixture_open *o);

#endif /* _RSVD_FIXTURE_H_ */
